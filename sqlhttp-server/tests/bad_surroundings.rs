//! Faults of files, directories, ports and networks: they end a start with a clear message and exit status 1, and a
//! later request with a clear error, and affect nothing else.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::io::{Seek as _, SeekFrom, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use common::{Client, Exit, Launch, Request, Server, temp_dir, write};
use serde_json::json;

fn assert_fatal(exit: &Exit, parts: &[&str]) {
    assert_eq!(exit.code, Some(1), "{exit:#?}");
    let line = exit.stderr.first().unwrap_or_else(|| panic!("nothing on standard error: {exit:#?}"));
    assert!(line.starts_with("FATAL | ") && parts.iter().all(|part| line.contains(part)), "{line}");
    assert!(!exit.stdout.iter().any(|line| line.contains("listening")), "{exit:#?}");
}

fn start_fails(dir: &Path, args: &[&str], parts: &[&str]) {
    assert_fatal(&Launch::new().dir(dir).args(args.iter().copied()).run(), parts);
}

/// A directory with a database `t.db` of some pages.
fn filled() -> tempfile::TempDir {
    let dir = temp_dir();
    let server = Server::file(dir.path());
    server.execute("t", "CREATE TABLE T(a INTEGER PRIMARY KEY, b)");
    let filling = "INSERT INTO T(b) WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM c WHERE x < 2000)
         SELECT hex(randomblob(100)) FROM c";
    assert_eq!(server.execute("t", filling), 2000);
    assert_eq!(server.stop().code, Some(0));
    dir
}

#[test]
fn a_file_that_is_no_database_stops_the_start_and_is_left_alone() {
    let dir = temp_dir();
    let garbage = "no database, but long enough to look like one\n".repeat(200);
    write(dir.path(), "n.db", &garbage);
    start_fails(dir.path(), &["--db", "n.db"], &["accessing the database 'n'", "file is not a database (26)"]);
    assert_eq!(std::fs::read_to_string(dir.path().join("n.db")).expect("the file"), garbage);
}

#[test]
fn a_damaged_page_is_reported_and_other_databases_are_unaffected() {
    let dir = filled();
    let path = dir.path().join("t.db");
    let mut file = std::fs::OpenOptions::new().write(true).open(&path).expect("the file");
    let length = file.metadata().expect("its length").len();
    file.seek(SeekFrom::Start(4096)).expect("a seek");
    file.write_all(&vec![0xa5; usize::try_from(length).expect("a size") - 4096]).expect("damaged");
    drop(file);
    let server = Launch::new().dir(dir.path()).args(["--db", "t.db", "--mem-db", "m"]).start();
    for item in [json!({"query": "SELECT * FROM T"}), json!({"statement": "INSERT INTO T(b) VALUES(1)"})] {
        let response = server.transaction("t", json!([item]));
        assert!([500, 503].contains(&response.status), "{}", response.text());
        assert!(response.error().contains("malformed"), "{}", response.error());
    }
    server.assert_alive("m");
    server.assert_alive("t");
}

#[test]
fn a_truncated_file_is_reported() {
    let dir = filled();
    let path = dir.path().join("t.db");
    let length = std::fs::metadata(&path).expect("the file").len();
    std::fs::OpenOptions::new().write(true).open(&path).expect("the file").set_len(length / 2).expect("cut");
    match Launch::new().dir(dir.path()).args(["--db", "t.db"]).try_start() {
        Err(exit) => assert_fatal(&exit, &["accessing the database 't'"]),
        Ok(server) => {
            let response = server.transaction("t", json!([{"query": "SELECT * FROM T"}]));
            assert_eq!(response.status, 500, "{}", response.text());
            server.assert_alive("t");
        }
    }
}

#[test]
fn places_where_no_file_can_be_created_stop_the_start() {
    let dir = temp_dir();
    write(dir.path(), "file", "");
    std::fs::create_dir(dir.path().join("folder.db")).expect("a folder");
    start_fails(
        dir.path(),
        &["--db", "missing/x.db"],
        &["accessing the database 'x'", "unable to open database file (14)"],
    );
    start_fails(dir.path(), &["--db", "file/x.db"], &["'x'"]);
    start_fails(dir.path(), &["--db", "folder.db"], &["'folder'"]);
    if Path::new("/proc").is_dir() {
        start_fails(dir.path(), &["--db", "/proc/sqlhttp.db"], &["'sqlhttp'"]);
    }
}

#[test]
fn a_directory_without_write_permission_stops_the_start_of_a_new_database() {
    let dir = temp_dir();
    let locked = dir.path().join("locked");
    std::fs::create_dir(&locked).expect("a folder");
    std::fs::set_permissions(&locked, std::fs::Permissions::from_mode(0o555)).expect("permissions");
    if std::fs::write(locked.join("probe"), "").is_ok() {
        eprintln!("skipped: this user may write everywhere");
        return;
    }
    start_fails(dir.path(), &["--db", "locked/x.db"], &["accessing the database 'x'"]);
}

#[test]
fn a_read_only_file_can_be_served_read_only() {
    let dir = filled();
    let path = dir.path().join("t.db");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o444)).expect("permissions");
    write(dir.path(), "t.yaml", "readOnly: true\n");
    let server = Server::file(dir.path());
    assert_eq!(server.query("t", "SELECT count(*) FROM T"), json!([[2000]]));
    let response = server.transaction("t", json!([{"statement": "DELETE FROM T"}]));
    assert_eq!((response.status, response.error().as_str()), (500, "attempt to write a readonly database (8)"));
}

#[test]
fn a_port_in_use_stops_the_start() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("an address").port().to_string();
    let dir = temp_dir();
    start_fails(dir.path(), &["--db", "t.db", "--port", &port], &["failed to listen", "ddress already in use"]);
    start_fails(dir.path(), &["--mem-db", "t", "--port", "70000"], &["70000"]);
    start_fails(dir.path(), &["--mem-db", "t", "--bind-host", "no.such.host.invalid"], &["failed to listen"]);
}

#[test]
fn a_second_process_on_the_same_file_loses_no_data() {
    let dir = temp_dir();
    let launch = || Launch::new().dir(dir.path()).args(["--db", "t.db"]);
    let first = launch().start();
    first.execute("t", "CREATE TABLE T(a)");
    // The second process either refuses to start with a message, or both work on the same data.
    match launch().try_start() {
        Err(exit) => assert_fatal(&exit, &["'t'"]),
        Ok(second) => {
            std::thread::scope(|scope| {
                for n in 0..8 {
                    let (first, second) = (&first, &second);
                    scope.spawn(move || assert_eq!(first.execute("t", &format!("INSERT INTO T VALUES({n})")), 1));
                    scope.spawn(move || assert_eq!(second.execute("t", &format!("INSERT INTO T VALUES({n})")), 1));
                }
            });
            for server in [&first, &second] {
                assert_eq!(server.query("t", "SELECT count(*) FROM T"), json!([[16]]));
                assert_eq!(server.query("t", "PRAGMA integrity_check"), json!([["ok"]]));
            }
        }
    }
    first.assert_alive("t");
}

#[test]
fn a_write_that_cannot_be_stored_is_reported_and_undone() {
    let dir = temp_dir();
    // SQLite reports a full database at its limit of pages in the same way as a full disk.
    let yaml = "scheduledTasks: [{atStartup: true, statements: [\"PRAGMA max_page_count=200\"]}]\n";
    write(dir.path(), "t.yaml", yaml);
    let server = Server::file(dir.path());
    server.execute("t", "CREATE TABLE T(a)");
    server.execute("t", "INSERT INTO T VALUES(zeroblob(100000))");
    let items =
        json!([{"statement": "INSERT INTO T VALUES(1)"}, {"statement": "INSERT INTO T VALUES(zeroblob(2000000))"}]);
    let response = server.transaction("t", items);
    assert_eq!((response.status, response.error().as_str()), (500, "database or disk is full (13)"));
    let response = server.transaction("t", json!([{"statement": "INSERT INTO T VALUES(zeroblob(3000000000))"}]));
    assert_eq!(response.status, 500);
    assert!(response.error().starts_with("string or blob too big"), "{}", response.text());
    assert_eq!(server.query("t", "SELECT count(*) FROM T"), json!([[1]]));
    assert_eq!(server.execute("t", "INSERT INTO T VALUES(2)"), 1);
    assert_eq!(server.query("t", "PRAGMA integrity_check"), json!([["ok"]]));
}

#[test]
fn slow_clients_time_out_and_do_not_delay_others() {
    let server = Server::start(["--header-timeout", "500ms", "--body-timeout", "500ms", "--mem-db", "t"]);
    let slow: Vec<Client> = [
        "P",
        "POST /t HTTP/1.1\r\nHost: x\r\nX-",
        "POST /t HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{\"tra",
        "POST /t HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{\"tra\r\n",
    ]
    .into_iter()
    .map(|beginning| {
        let mut client = server.client();
        client.write(beginning.as_bytes()).expect("sent");
        client
    })
    .collect();
    server.assert_alive("t");
    for mut client in slow {
        let answer = String::from_utf8(client.until_closed()).expect("text");
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
    }
    server.assert_alive("t");
}

#[test]
fn many_connections_are_served() {
    let server = Server::memory();
    let mut clients: Vec<Client> = (0..300).map(|_| server.client()).collect();
    for client in &mut clients {
        let response = client.send(&Request::json("/t", json!({"transaction": [{"query": "SELECT 1"}]})));
        assert_eq!(response.expect("an answer").status, 200);
    }
    server.assert_alive("t");
}

#[test]
fn connections_beyond_the_limit_are_refused_until_others_close() {
    let server = Launch::new().with_metrics().args(["--max-connections", "4", "--mem-db", "t"]).start();
    let endless = Request::json("/t", json!({"transaction": [{"query": common::ENDLESS}]}));
    for _ in 0..3 {
        let held: Vec<Client> = (0..4).map(|_| server.begin(&endless)).collect();
        server.await_requests_in_flight(4);
        let refused = server.send(&Request::json("/t", json!({"transaction": [{"query": "SELECT 1"}]})));
        assert_eq!(refused.status, 503, "the limit is not kept");
        assert!(refused.header("Retry-After").is_some());
        drop(held);
        common::eventually("the connections are closed", || server.metric("sqlhttp_connections") == 0.0);
    }
    server.assert_alive("t");
}

#[test]
fn a_client_that_does_not_read_its_answer_does_not_delay_others() {
    let dir = filled();
    let server = Server::file(dir.path());
    let large = Request::json("/t", json!({"transaction": [{"query": "SELECT x.b, y.b AS c FROM T x, T y"}]}));
    let stalled: Vec<Client> = (0..3)
        .map(|_| {
            let mut client = server.begin(&large);
            assert_eq!(client.receive(true).expect("the head of the answer").status, 200);
            client
        })
        .collect();
    for n in 0..20 {
        assert_eq!(server.execute("t", &format!("INSERT INTO T(b) VALUES({n})")), 1);
    }
    drop(stalled);
    server.assert_alive("t");
}
