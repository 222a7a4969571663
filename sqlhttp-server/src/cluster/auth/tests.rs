//! Tests of auth files and of the access that they grant.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::*;

const FILE: &str = r#"[
    {"username": "bob", "password": "secret1", "perms": ["all"], "comment": 1},
    {"username": "mary", "password": "secret2", "perms": ["query", "backup", "join"]},
    {"username": "exec", "password": "p", "perms": ["execute"]},
    {"username": "nothing", "password": "n"},
    {"username": "nobody", "perms": ["query"]},
    {"username": "*", "perms": ["status", "ready", "join-read-only"]}
]"#;

fn parse(text: &str) -> Result<CredentialStore, AuthFileError> {
    CredentialStore::parse(text.as_bytes(), Path::new("auth.json"))
}

async fn may(store: &CredentialStore, who: &str, needed: &[Permission]) -> bool {
    let credentials = who
        .split_once(':')
        .map(|(username, password)| BasicCredentials { username: username.to_owned(), password: password.to_owned() });
    let access = store.access(credentials.as_ref(), needed).await;
    assert_eq!(store.access_blocking(credentials.as_ref(), needed), access == Access::Granted, "{who}");
    access == Access::Granted
}

use Permission::{All, Execute, JoinReadOnly, JoinReadReplica, LeaderOps, Query, Ready, Status};

#[tokio::test]
async fn permissions_of_the_star_apply_to_all_clients_even_with_a_wrong_password() {
    let store = parse(FILE).unwrap();
    for who in ["", "mary:wrong", "who:x", ":"] {
        assert!(may(&store, who, &[Status]).await, "{who}");
        assert!(may(&store, who, &[Status, Ready]).await, "{who}");
        assert!(!may(&store, who, &[Query]).await, "{who}");
        assert!(!may(&store, who, &[Status, Query]).await, "{who}");
    }
    assert!(may(&store, "", &[JoinReadReplica]).await);
    assert!(may(&store, "", &[JoinReadOnly]).await);
    let open = parse(r#"[{"username": "*", "perms": ["all"]}]"#).unwrap();
    assert!(may(&open, "who:x", &[Query, Execute, All]).await);
}

#[tokio::test]
async fn users_have_the_permissions_of_their_entry() {
    let store = parse(FILE).unwrap();
    assert!(may(&store, "bob:secret1", &[Query, Execute, LeaderOps]).await);
    assert!(!may(&store, "bob:secret", &[Query]).await);
    assert!(!may(&store, "BOB:secret1", &[Query]).await);
    assert!(may(&store, "mary:secret2", &[Query]).await);
    assert!(may(&store, "mary:secret2", &[Status, Query]).await);
    assert!(!may(&store, "mary:secret2", &[Query, Execute]).await);
    assert!(!may(&store, "mary:secret2", &[LeaderOps]).await);
    assert!(!may(&store, "exec:p", &[Query, Execute]).await);
}

#[tokio::test]
async fn an_entry_inherits_nothing_from_the_one_before() {
    let store = parse(FILE).unwrap();
    assert!(!may(&store, "nothing:n", &[Execute]).await);
    for who in ["nobody:", "nobody:n", "nobody:null", "*:", "*:n"] {
        assert!(!may(&store, who, &[Query]).await, "{who}");
    }
}

#[tokio::test]
async fn an_empty_username_cannot_log_in() {
    let store = parse(r#"[{"username": "", "password": "", "perms": ["all"]}, {"password": "x", "perms": ["all"]}]"#);
    let store = store.unwrap();
    assert!(!may(&store, ":", &[Query]).await);
    assert!(!may(&store, ":x", &[Query]).await);
}

#[tokio::test]
async fn the_later_of_two_entries_applies() {
    let store = parse(
        r#"[{"username": "a", "password": "1", "perms": ["all"]},
            {"username": "a", "password": "2", "perms": ["query"]}]"#,
    )
    .unwrap();
    assert!(!may(&store, "a:1", &[Query]).await);
    assert!(may(&store, "a:2", &[Query]).await);
    assert!(!may(&store, "a:2", &[Execute]).await);
}

#[test]
fn a_malformed_file_is_an_error_that_names_it() {
    for text in ["", "{}", "[", r#"[{"username": 1}]"#, r#"[{"username": "a", "perms": "all"}]"#, "[] []", "[1]"] {
        let error = parse(text).unwrap_err().to_string();
        assert!(error.starts_with("auth file 'auth.json': it must be a JSON array"), "{error}");
    }
    let missing = CredentialStore::read(Path::new("/nowhere/auth.json")).unwrap_err().to_string();
    assert!(missing.starts_with("auth file '/nowhere/auth.json': "), "{missing}");
}

#[test]
fn invalid_and_expensive_hashes_are_refused() {
    let expensive = "$2b$31$abcdefghijklmnopqrstuuSsBcbb6PYcZXCm0ZeBnGC3mGDzKs9yS";
    let huge = "$argon2id$v=19$m=4194304,t=1,p=1$c29tZXNhbHQ$Ky7gIQ2XmMCVXSCrgXaTpFnEQbVXyXBGqXFEQ0TAvOw";
    for password in
        ["$2b$12$short", expensive, "$argon2id$v=19$m=16,t=1,p=1", "$argon2x$v=19$m=16,t=1,p=1$c29tZXNhbHQ", huge]
    {
        let error = parse(&serde_json::json!([{"username": "u", "password": password}]).to_string()).unwrap_err();
        assert!(error.to_string().starts_with("auth file 'auth.json': the password of user 'u': "), "{error}");
        assert!(!error.to_string().contains(password), "{error}");
    }
    assert_eq!(parse(FILE).unwrap().clear_password("mary"), Some("secret2"));
}

/// Returns hashes of the password "secret" in the formats of several programs, with the minimum cost.
fn hashes() -> Vec<String> {
    use argon2::password_hash::CustomizedPasswordHasher;
    let cheap = argon2::Params::new(argon2::Params::MIN_M_COST, 1, 1, None).unwrap();
    let argon2 = argon2::Argon2::default();
    let phc = |id| argon2.hash_password_customized(b"secret", b"saltsalt", Some(id), None, cheap.clone()).unwrap();
    let bcrypt = bcrypt::hash("secret", 4).unwrap();
    let php_prefix = bcrypt.replacen("$2b$", "$2y$", 1);
    let old_prefix = bcrypt.replacen("$2b$", "$2a$", 1);
    vec![bcrypt, php_prefix, old_prefix, phc("argon2id").to_string(), phc("argon2i").to_string()]
}

#[tokio::test]
async fn hashed_passwords() {
    for hash in hashes() {
        let file = serde_json::json!([{"username": "u", "password": hash, "perms": ["query"]}, {"username": "v"}]);
        let store = parse(&file.to_string()).unwrap();
        assert!(may(&store, "u:secret", &[Query]).await, "{hash}");
        assert_eq!(store.checker.cached_len(), 1);
        // The second check finds the credentials in the cache. That must not grant further permissions.
        assert!(may(&store, "u:secret", &[Query]).await, "{hash}");
        assert!(!may(&store, "u:secret", &[Execute]).await, "{hash}");
        for who in ["u:Secret", "v:secret", "w:secret", "usecret:", &format!("u:{hash}")] {
            assert!(!may(&store, who, &[Query]).await, "{hash} {who}");
        }
        assert_eq!(store.clear_password("u"), None);
    }
}

#[tokio::test]
async fn hashes_of_other_programs_are_accepted() {
    let bcrypt = "$2b$04$abcdefghijklmnopqrstuuPp7HPfoAs8I2dCQCQ/fW7zEJv8I8C8e";
    let argon2 = "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc";
    let file = serde_json::json!([
        {"username": "b", "password": bcrypt, "perms": ["query"]},
        {"username": "a", "password": argon2, "perms": ["query"]},
    ]);
    let store = parse(&file.to_string()).unwrap();
    assert!(may(&store, "b:x", &[Query]).await);
    assert!(may(&store, "a:password", &[Query]).await);
    assert!(!may(&store, "a:x", &[Query]).await);
}

#[tokio::test]
async fn logins_at_the_same_time_are_all_answered() {
    let file = serde_json::json!([{"username": "u", "password": hashes()[0], "perms": ["query"]}]);
    let store = Arc::new(parse(&file.to_string()).unwrap());
    let logins: Vec<_> = (0..100)
        .map(|n| {
            let store = Arc::clone(&store);
            tokio::spawn(async move { may(&store, if n % 2 == 0 { "u:secret" } else { "u:wrong" }, &[Query]).await })
        })
        .collect();
    for (n, login) in logins.into_iter().enumerate() {
        assert_eq!(login.await.unwrap(), n % 2 == 0);
    }
}

#[tokio::test]
async fn a_changed_file_takes_effect_and_a_broken_one_does_not() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("auth.json");
    let with_password = |hash: &str| {
        let text = serde_json::json!([{"username": "u", "password": hash, "perms": ["query"]}]).to_string();
        std::fs::write(&path, text).unwrap();
    };
    with_password(&hashes()[0]);
    let file = AuthFile::open(&path).unwrap();
    let old = BasicCredentials { username: "u".into(), password: "secret".into() };
    let new = BasicCredentials { username: "u".into(), password: "new one".into() };
    assert!(file.access(Some(&old), &[Query]).await == Access::Granted);
    assert!(file.access(Some(&new), &[Query]).await != Access::Granted);

    with_password("new one");
    file.reload_if_changed();
    // The credentials cached for the old content of the file are no longer accepted.
    assert!(file.access(Some(&old), &[Query]).await != Access::Granted);
    assert!(file.access(Some(&new), &[Query]).await == Access::Granted);

    std::fs::write(&path, "[{").unwrap();
    file.reload_if_changed();
    assert!(file.access(Some(&new), &[Query]).await == Access::Granted);
    std::fs::remove_file(&path).unwrap();
    file.reload_if_changed();
    assert!(file.access(Some(&new), &[Query]).await == Access::Granted);

    assert!(AuthFile::open(&path).is_err());
}

#[tokio::test]
async fn the_file_is_watched_until_it_is_dropped() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("auth.json");
    std::fs::write(&path, "[]").unwrap();
    let file = AuthFile::open(&path).unwrap();
    file.watch_every(Duration::from_millis(1));
    std::fs::write(&path, r#"[{"username": "*", "perms": ["query"]}]"#).unwrap();
    while file.access(None, &[Query]).await != Access::Granted {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let watched = Arc::downgrade(&file);
    drop(file);
    while watched.strong_count() > 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[test]
fn credentials_come_from_a_header_and_do_not_show_the_password() {
    let found = BasicCredentials::from_header(b"basic bWFyeTpzZWNyZXQy").unwrap();
    assert_eq!((found.username.as_str(), found.password.as_str()), ("mary", "secret2"));
    assert!(!format!("{found:?}").contains("secret2"));
    assert_eq!(BasicCredentials::from_header(b"Bearer x"), None);
}

#[test]
fn unknown_permissions_are_refused_by_name() {
    let error = parse(r#"[{"username": "mary", "password": "p", "perms": ["query", "querry"]}]"#).err().unwrap();
    let text = error.to_string();
    assert!(text.contains("user 'mary': there is no permission 'querry'; the permissions are all, backup, "), "{text}");
    assert!(text.ends_with("status, ui"), "{text}");
    assert!(parse(r#"[{"username": "*", "perms": ["QUERY"]}]"#).is_err(), "names are in lower case");
}
