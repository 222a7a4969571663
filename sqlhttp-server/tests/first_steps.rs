//! The first steps of an operator with a new database: create, fill and query a table, add users and hashed passwords,
//! back up on a schedule with rotation, and restore.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::path::Path;

use common::{Launch, Request, Response, Server, names, temp_dir, write};
use serde_json::{Value, json};

const CREATE: &str = "
                CREATE TABLE USERS (
                    ID INT PRIMARY KEY,
                    FIRST_NAME VARCHAR(50),
                    LAST_NAME VARCHAR(50)
                );
            ";

const INSERT: &str = "
                INSERT INTO USERS (ID, FIRST_NAME, LAST_NAME)
                VALUES (:id, :first_name, :last_name)
            ";

const ONE_USER: &str = "auth:
  mode: HTTP
  byCredentials:
    - user: user1
      password: password
";

const TWO_USERS: &str = "auth:
  mode: HTTP
  byCredentials:
    - user: user1
      password: password
    - user: user2
      hashedPassword: 5e884898da28047151d0e56f8dc6292773603d0d6aabbdd62a11ef721d1542d8
";

fn serve(dir: &Path) -> Server {
    Launch::new().dir(dir).args(["--db", "selfhost.db"]).start()
}

fn fill(server: &Server) {
    let created = server.transaction("selfhost", json!([{ "statement": CREATE }]));
    assert_eq!((created.status, created.json()), (200, json!({"results": [{"success": true, "rowsUpdated": 0}]})));
    let values = json!({"id": 1, "first_name": "John", "last_name": "Doe"});
    let inserted = server.transaction("selfhost", json!([{ "statement": INSERT, "values": values }]));
    assert_eq!((inserted.status, inserted.json()), (200, json!({"results": [{"success": true, "rowsUpdated": 1}]})));
}

fn john() -> Value {
    json!({"results": [{
        "success": true,
        "resultHeaders": ["ID", "FIRST_NAME", "LAST_NAME"],
        "resultSet": [{"ID": 1, "FIRST_NAME": "John", "LAST_NAME": "Doe"}]
    }]})
}

/// Queries all users, with these credentials.
fn ask(server: &Server, credentials: Option<&str>) -> Response {
    let mut request = Request::json("/selfhost", json!({"transaction": {"query": "SELECT * FROM USERS;"}}));
    if let Some(credentials) = credentials {
        request = request.basic(credentials);
    }
    server.send(&request)
}

#[test]
fn a_table_is_created_filled_and_queried() {
    let dir = temp_dir();
    let server = serve(dir.path());
    assert_eq!(
        server.stdout()[1..5],
        [
            "- Serving database 'selfhost' from selfhost.db?_pragma=journal_mode(WAL)",
            "  + No valid config file specified, using defaults",
            "  + File not present, it will be created",
            "  + Using WAL",
        ]
    );
    fill(&server);
    let response = server.post("selfhost", json!({"transaction": {"query": {"statement": "SELECT * FROM USERS;"}}}));
    assert_eq!((response.status, response.json()), (200, john()));
    // The fields are in this order.
    let text = response.text();
    let order: Vec<usize> =
        ["success", "resultHeaders", "resultSet"].iter().map(|k| text.find(k).expect("key")).collect();
    assert!(order.is_sorted(), "{text}");
}

#[test]
fn every_form_of_a_transaction_is_accepted() {
    let dir = temp_dir();
    let server = serve(dir.path());
    fill(&server);
    let sql = "SELECT * FROM USERS;";
    for transaction in [
        json!([{ "query": sql }]),
        json!({ "query": sql }),
        json!({ "query": { "statement": sql } }),
        json!([{ "query": { "statement": sql } }]),
        json!({ "query": { "query": sql } }),
        json!({ "query": { "sql": sql } }),
        json!({ "query": { "statement": "SELECT * FROM USERS WHERE ID = :id", "values": {"id": 1} } }),
        json!({ "query": { "statement": "SELECT * FROM USERS WHERE ID = ?" }, "values": [1] }),
    ] {
        let response = server.post("selfhost", json!({ "transaction": transaction }));
        assert_eq!((response.status, response.json()), (200, john()), "{transaction}");
    }
    let update = json!({"statement": {"statement": "UPDATE USERS SET LAST_NAME = :n", "values": {"n": "Roe"}}});
    let response = server.post("selfhost", json!({ "transaction": update }));
    assert_eq!(response.json(), json!({"results": [{"success": true, "rowsUpdated": 1}]}));
    let tolerated = json!({"statement": {"statement": "INSERT INTO USERS (ID) VALUES (1)", "noFail": true}});
    let response = server.post("selfhost", json!({ "transaction": tolerated }));
    assert_eq!((response.status, response.json()["results"][0]["success"].clone()), (200, json!(false)));
    let twice = json!({"query": {"statement": "SELECT ?", "values": [1]}, "values": [2]});
    let response = server.post("selfhost", json!({ "transaction": twice }));
    assert_eq!(response.status, 400, "values at both levels: {}", response.text());
}

#[test]
fn users_are_read_from_the_companion_file() {
    let dir = temp_dir();
    fill(&serve(dir.path()));
    write(dir.path(), "selfhost.yaml", ONE_USER);
    let server = serve(dir.path());
    assert_eq!(
        server.stdout()[1..5],
        [
            "- Serving database 'selfhost' from selfhost.db?_pragma=journal_mode(WAL)",
            "  + Parsed companion config file: selfhost.yaml",
            "  + Using WAL",
            "  + Authentication enabled, with 1 credential",
        ]
    );
    let response = ask(&server, Some("user1:password"));
    assert_eq!((response.status, response.json()), (200, john()));
    for credentials in [None, Some("user1:wrong"), Some("nobody:password"), Some("USER1:password"), Some("user1:")] {
        let response = ask(&server, credentials);
        assert_eq!((response.status, response.text().as_str()), (401, "Unauthorized"), "{credentials:?}");
    }
}

#[test]
fn hashed_users_log_in_with_the_password_and_not_with_the_hash() {
    let dir = temp_dir();
    fill(&serve(dir.path()));
    write(dir.path(), "selfhost.yaml", TWO_USERS);
    let server = serve(dir.path());
    assert!(server.stdout().contains(&"  + Authentication enabled, with 2 credentials".to_owned()));
    assert_eq!(ask(&server, Some("user1:password")).json(), john());
    assert_eq!(ask(&server, Some("user2:password")).json(), john());
    let hash = TWO_USERS.trim().rsplit(' ').next().expect("the hash");
    assert_eq!(ask(&server, Some(&format!("user2:{hash}"))).status, 401);
}

fn backup_config(when: &str) -> String {
    format!(
        "{ONE_USER}scheduledTasks:
  - {when}
    doBackup: true
    backupTemplate: ./backups/dump_%s.db
    numFiles: 3
"
    )
}

#[test]
fn the_hourly_schedule_is_accepted_and_described() {
    let dir = temp_dir();
    write(dir.path(), "selfhost.yaml", backup_config("schedule: \"1 * * * *\" # Every hour"));
    let server = serve(dir.path());
    assert!(server.stdout().contains(&"  + Task 0 scheduled at 1 minutes past the hour".to_owned()));
    server.signal("TERM");
    assert_eq!(server.wait().code, Some(0));
    write(dir.path(), "selfhost.yaml", backup_config("schedule: \"* * * * *\""));
    assert!(serve(dir.path()).stdout().contains(&"  + Task 0 scheduled every minute".to_owned()));
}

#[test]
fn backups_go_to_their_directory_and_only_the_newest_are_kept() {
    let dir = temp_dir();
    fill(&serve(dir.path()));
    write(dir.path(), "selfhost.yaml", backup_config("atStartup: true"));
    let backups = dir.path().join("backups");
    let mut seen = Vec::new();
    for round in 1..=5 {
        let server = serve(dir.path());
        let now = names(&backups);
        assert_eq!(now.len(), round.min(3), "after {round} starts: {now:?}; {:?}", server.stderr());
        let new: Vec<&String> = now.iter().filter(|name| !seen.contains(*name)).collect();
        assert_eq!(new.len(), 1, "each start writes one new file: {now:?}, before {seen:?}");
        assert!(new[0].starts_with("dump_") && new[0].ends_with(".db"), "{new:?}");
        seen.extend(now);
        assert_eq!(server.stop().code, Some(0));
    }
    for name in names(&backups) {
        let rows = json!([[1, "John", "Doe"]]);
        common::assert_backup(&backups.join(name), "SELECT * FROM USERS", rows);
    }
}

#[test]
fn a_backup_is_restored_by_copying_it() {
    let dir = temp_dir();
    fill(&serve(dir.path()));
    write(dir.path(), "selfhost.yaml", backup_config("atStartup: true"));
    let server = serve(dir.path());
    let lost = Request::json("/selfhost", json!({"transaction": [{"statement": "DROP TABLE USERS"}]}));
    assert_eq!(server.send(&lost.basic("user1:password")).status, 200);
    assert_eq!(ask(&server, Some("user1:password")).status, 500);
    let backup = dir.path().join("backups").join(&names(&dir.path().join("backups"))[0]);
    assert_eq!(server.stop().code, Some(0));
    std::fs::copy(backup, dir.path().join("selfhost.db")).expect("the copy");
    let response = ask(&serve(dir.path()), Some("user1:password"));
    assert_eq!((response.status, response.json()), (200, john()));
}
