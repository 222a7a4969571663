//! Warnings of the standalone server about missing authentication, failed logins and certificates.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::{Launch, Request, Server, temp_dir, write};

const AUTH: &str = "auth: {mode: HTTP, byCredentials: [{user: u, password: p}]}\n";

/// The lines about missing authentication that a server on all interfaces with these databases logs.
fn lines_about_authentication(databases: &[(&str, &str)]) -> Vec<String> {
    let dir = temp_dir();
    let mut launch = Launch::new().dir(dir.path()).without_address().args(["-bind-host", "0.0.0.0", "-port", "0"]);
    for (name, yaml) in databases {
        write(dir.path(), &format!("{name}.yaml"), yaml);
        launch = launch.args(["-mem-db".to_owned(), format!("{name}:{name}.yaml")]);
    }
    let server = launch.start();
    // An answer shows that the server has begun to serve. The lines are complete when the process has ended.
    server.get("/nope");
    let lines = server.stop().stderr;
    lines.into_iter().filter(|line| line.contains("without authentication")).collect()
}

#[test]
fn a_database_without_authentication_on_all_interfaces_is_warned_about() {
    let lines = lines_about_authentication(&[("guarded", AUTH), ("open", "{}\n")]);
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].contains("database 'open' is served without authentication on 0.0.0.0:"), "{lines:?}");
    assert_eq!(lines_about_authentication(&[("guarded", AUTH)]), [""; 0]);
    let local = Server::memory();
    local.get("/nope");
    let exit = local.stop();
    assert!(!exit.stderr.iter().any(|line| line.contains("without authentication")), "{exit:#?}");
}

#[test]
fn failed_logins_are_logged_with_the_address_of_the_client() {
    let server = Server::configured(AUTH);
    let login = Request::json("/t", r#"{"transaction":[{"query":"SELECT 1"}]}"#).basic("u:wrong");
    assert_eq!(server.send(&login).status, 401);
    server.wait_stderr("credentials not valid for user 'u' from 127.0.0.1:");
    let inline = Server::configured("auth: {mode: INLINE, byCredentials: [{user: u, password: p}]}\n");
    let login = r#"{"credentials":{"user":"u","password":"x"},"transaction":[{"query":"SELECT 1"}]}"#;
    assert_eq!(inline.post("t", login).status, 401);
    inline.wait_stderr("credentials not valid for user 'u' from 127.0.0.1:");
}

#[test]
fn an_expired_certificate_is_warned_about() {
    let dir = temp_dir();
    let mut parameters = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    (parameters.not_before, parameters.not_after) =
        (rcgen::date_time_ymd(2001, 1, 1), rcgen::date_time_ymd(2002, 1, 1));
    let key = rcgen::KeyPair::generate().unwrap();
    write(dir.path(), "cert.pem", parameters.self_signed(&key).unwrap().pem());
    write(dir.path(), "key.pem", key.serialize_pem());
    let words = ["-mem-db", "t", "-tls-cert", "cert.pem", "-tls-key", "key.pem"];
    let server = Launch::new().dir(dir.path()).args(words).start();
    let line = server.wait_stderr("has expired on");
    assert!(line.contains("cert.pem"), "{line}");
}
