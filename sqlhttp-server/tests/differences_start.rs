//! Where this server differs from ws4sqlite on purpose, at the start, in scheduled tasks, or at the end of the process:
//! tests for rows of `docs/differences.md`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use serde_json::json;

use common::{Launch, Request, Server, assert_backup, eventually, names, temp_dir, write};

/// A companion file with a task that backs up to `bk/` at every start.
fn backup_at_start(number: u32) -> String {
    format!(
        "scheduledTasks:
  - atStartup: true
    doBackup: true
    backupTemplate: bk/t_%s.db
    numFiles: {number}
    statements: [\"INSERT INTO T VALUES(9)\"]
"
    )
}

/// A directory with a database `t.db` of one row.
fn filled() -> tempfile::TempDir {
    let dir = temp_dir();
    let server = Server::file(dir.path());
    server.execute("t", "CREATE TABLE T(a); INSERT INTO T VALUES(1)");
    assert_eq!(server.stop().code, Some(0));
    dir
}

#[test]
fn a_read_only_database_is_backed_up_whole() {
    let dir = filled();
    write(dir.path(), "t.yaml", format!("readOnly: true\n{}", backup_at_start(3)));
    let server = Server::file(dir.path());
    let backups = names(&dir.path().join("bk"));
    assert_eq!(backups.len(), 1, "{backups:?}; {:?}", server.stderr());
    assert_backup(&dir.path().join("bk").join(&backups[0]), "SELECT a FROM T", json!([[1]]));
}

#[test]
fn a_database_in_memory_is_backed_up_too() {
    let dir = temp_dir();
    let yaml = format!("initStatements: [\"CREATE TABLE T(a)\", \"INSERT INTO T VALUES(3)\"]\n{}", backup_at_start(1));
    write(dir.path(), "m.yaml", yaml);
    let server = Launch::new().dir(dir.path()).args(["--mem-db", "m:m.yaml"]).start();
    let backups = names(&dir.path().join("bk"));
    assert_eq!(backups.len(), 1, "{:?}", server.stderr());
    assert_backup(&dir.path().join("bk").join(&backups[0]), "SELECT a FROM T", json!([[3]]));
}

#[test]
fn a_missing_backup_directory_is_created() {
    let dir = filled();
    let yaml = backup_at_start(3).replace("bk/", "deep/er/bk/");
    write(dir.path(), "t.yaml", yaml);
    let server = Server::file(dir.path());
    assert_eq!(names(&dir.path().join("deep/er/bk")).len(), 1, "{:?}", server.stderr());
}

#[test]
fn a_second_backup_in_a_minute_gets_a_suffix_and_the_task_goes_on() {
    let dir = filled();
    write(dir.path(), "t.yaml", backup_at_start(9));
    for starts in 1..=3 {
        let server = Server::file(dir.path());
        let backups = names(&dir.path().join("bk"));
        assert_eq!(backups.len(), starts, "{backups:?}; {:?}", server.stderr());
        assert_eq!(server.query("t", "SELECT count(*) FROM T"), json!([[1 + starts]]), "the statements did not run");
        assert_eq!(server.stop().code, Some(0));
    }
}

#[test]
fn rotation_removes_the_oldest_backups_and_nothing_else() {
    let dir = filled();
    write(dir.path(), "t.yaml", backup_at_start(2));
    // The time 991231-2359 is later than that of a new backup.
    let backups = ["200101-0101", "210101-0101", "991231-2359"];
    let others = ["20200101-0101", "abc", "aaaaaa-bbbb", "zzzzzz-zzzz"];
    for name in backups.iter().chain(&others) {
        write(dir.path(), &format!("bk/t_{name}.db"), "old");
    }
    let server = Server::file(dir.path());
    let left = names(&dir.path().join("bk"));
    for name in others.iter().chain(&["991231-2359"]) {
        assert!(left.contains(&format!("t_{name}.db")), "{name} is gone: {left:?}");
    }
    for name in &backups[..2] {
        assert!(!left.contains(&format!("t_{name}.db")), "{name} was kept: {left:?}");
    }
    let known: Vec<String> = backups.iter().chain(&others).map(|name| format!("t_{name}.db")).collect();
    let new: Vec<&String> = left.iter().filter(|name| !known.contains(name)).collect();
    assert_eq!(new.len(), 1, "{left:?}; {:?}", server.stderr());
    assert_backup(&dir.path().join("bk").join(new[0]), "SELECT a FROM T", json!([[1]]));
}

#[test]
fn rotation_never_removes_the_backup_it_just_wrote() {
    let dir = filled();
    write(dir.path(), "t.yaml", backup_at_start(1));
    write(dir.path(), "bk/t_991231-2359.db", "the clock was wrong once");
    let server = Server::file(dir.path());
    let new: Vec<String> = names(&dir.path().join("bk")).into_iter().filter(|n| !n.contains("991231-2359")).collect();
    assert_eq!(new.len(), 1, "{:?}", server.stderr());
    assert_backup(&dir.path().join("bk").join(&new[0]), "SELECT a FROM T", json!([[1]]));
}

#[test]
fn descriptors_are_accepted_as_schedules() {
    let schedules = ["@daily", "@hourly", "@weekly", "@monthly", "@yearly", "@annually", "@midnight", "@every 1h"];
    for schedule in
        schedules.iter().chain(&["CRON_TZ=Europe/Rome 5 4 * * *", "*/5 8-18 * jan-mar MON-fri", "? 1 * * ?"])
    {
        let server = Server::configured(&format!("scheduledTasks: [{{schedule: \"{schedule}\", doVacuum: true}}]\n"));
        let scheduled = server.stdout().iter().any(|line| line.starts_with("  + Task 0 scheduled "));
        assert!(scheduled, "{schedule}: {:?}", server.stdout());
    }
}

#[test]
fn wrong_schedules_stop_the_start_with_the_words_of_the_original() {
    for (schedule, message) in [
        ("* * * *", "expected exactly 5 fields, found 4: [* * * *]"),
        ("60 * * * *", "end of range (60) above maximum (59): 60"),
        ("5-1 * * * *", "beginning of range (5) beyond end of range (1): 5-1"),
        ("* * 0 * *", "beginning of range (0) below minimum (1): 0"),
        ("*/0 * * * *", "step of range should be a positive number: */0"),
        ("1-2-3 * * * *", "too many hyphens: 1-2-3"),
        ("1/2/3 * * * *", "too many slashes: 1/2/3"),
        ("@reboot", "unrecognized descriptor: @reboot"),
        ("TZ=Foo/Bar 1 * * * *", "provided bad location Foo/Bar: unknown time zone Foo/Bar"),
    ] {
        let dir = temp_dir();
        write(dir.path(), "c.yaml", format!("scheduledTasks: [{{schedule: \"{schedule}\", doVacuum: true}}]\n"));
        let exit = Launch::new().dir(dir.path()).args(["--mem-db", "m:c.yaml"]).run();
        assert_eq!(exit.code, Some(1), "{schedule}");
        assert!(exit.stderr[0].ends_with(message), "{schedule}: {:?}", exit.stderr);
    }
}

#[test]
fn a_companion_file_that_is_named_must_exist() {
    let dir = temp_dir();
    let exit = Launch::new().dir(dir.path()).args(["--db", "x.db:typo.yaml"]).run();
    assert_eq!(exit.code, Some(1));
    assert!(exit.stderr[0].starts_with("FATAL | ") && exit.stderr[0].contains("typo.yaml"), "{:?}", exit.stderr);
    assert!(!dir.path().join("x.db").exists(), "a database without protection was created");
}

#[test]
fn unknown_keys_are_warned_about_with_the_nearest_known_one() {
    let yaml = "schedTasks: []\nauth:\n  mode: INLINE\n  byCredential: []\n  byCredentials: [{user: u, pasword: x, password: p}]\n";
    let server = Server::configured(yaml);
    for (unknown, known) in
        [("schedTasks", "scheduledTasks"), ("byCredential", "byCredentials"), ("pasword", "password")]
    {
        // Standard error is another pipe than standard output, on which the test has waited for the start.
        eventually(unknown, || {
            let is_warning = |line: &String| line.starts_with("WARN") && line.contains(unknown) && line.contains(known);
            server.stderr().iter().any(is_warning)
        });
    }
}

#[test]
fn the_listening_line_comes_after_binding_and_names_the_real_port() {
    let server = Server::memory();
    assert_eq!(server.stdout().last(), Some(&format!("- Web Service listening on 127.0.0.1:{}", server.port())));
    assert_ne!(server.port(), 0);
    server.assert_alive("t");
    let taken = server.port().to_string();
    let exit = Launch::new().args(["--mem-db", "t", "-port", &taken]).run();
    assert_eq!(exit.code, Some(1));
    assert!(!exit.stdout.iter().any(|line| line.contains("listening")), "{:?}", exit.stdout);
    assert!(exit.stderr[0].to_lowercase().contains("address already in use"), "{:?}", exit.stderr);
}

#[test]
fn the_banner_has_the_shape_of_the_original() {
    let exit = Launch::new().without_address().args(["--version"]).run();
    let expected = format!("sqlhttp-standalone v{}, based on sqlite v3.", env!("CARGO_PKG_VERSION"));
    assert!(exit.stdout.len() == 1 && exit.stdout[0].starts_with(&expected), "{:?}", exit.stdout);
}

#[test]
fn a_body_of_more_than_four_mebibytes_is_accepted_up_to_the_configured_limit() {
    let body = |length: usize| {
        let mut body = json!({"transaction": [{"query": "SELECT 1 AS a"}]}).to_string();
        body.push_str(&" ".repeat(length - body.len()));
        Request::json("/t", body)
    };
    let server = Server::memory();
    assert_eq!(server.send(&body((4 << 20) + 1)).status, 200);
    assert_eq!(server.send(&body(64 << 20)).status, 200);
    let response = server.send(&body((64 << 20) + 1));
    let text = "Request Entity Too Large: more than 67108864 bytes, see -max-body";
    assert_eq!((response.status, response.error().as_str()), (413, text));
    assert_eq!(response.json()["reqIdx"], -1);
    let server = Server::start(["--max-body", "1000", "--mem-db", "t"]);
    assert_eq!(server.send(&body(1000)).status, 200);
    assert_eq!(server.send(&body(1001)).status, 413);
}

#[test]
fn headers_of_more_than_four_kibibytes_are_accepted_up_to_the_limit() {
    let server = Server::memory();
    let with = |length: usize| {
        let ask = Request::json("/t", json!({"transaction": [{"query": "SELECT 1"}]}));
        server.client().send(&ask.header("X-Long", "x".repeat(length))).expect("an answer").status
    };
    assert_eq!(with(5_000), 200);
    assert_eq!(with(60_000), 200);
    assert_eq!(with(200_000), 431);
    server.assert_alive("t");
}

#[test]
fn a_termination_signal_ends_the_process_cleanly() {
    for signal in ["TERM", "INT"] {
        let dir = filled();
        let server = Server::file(dir.path());
        server.execute("t", "INSERT INTO T VALUES(2)");
        server.signal(signal);
        let exit = server.wait();
        assert_eq!(exit.code, Some(0), "{signal}: {:?}", exit.stderr);
        let left = names(dir.path());
        assert_eq!(left, ["t.db"], "the write-ahead log was not checkpointed");
        assert_eq!(Server::file(dir.path()).query("t", "SELECT a FROM T"), json!([[1], [2]]));
    }
}
