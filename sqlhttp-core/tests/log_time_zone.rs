//! The time zone of the modifiers `localtime` and `utc`: in a database that applies a log it comes from the log, in
//! other databases from the process or from the options.
#![allow(clippy::expect_used, clippy::panic, reason = "clippy does not see that this is a test")]
#![cfg(feature = "replication")]
mod common;
mod replicas;

use std::process::Command;

use common::{memory, rows, text};
use replicas::{apply, close, each, log_of, open, open_with};
use sqlhttp_core::{Database, NamedZone, Options, TimeZone, Value, Writes};

/// The environment variable that is set in the child processes of the tests.
const CHILD: &str = "SQLHTTP_TEST_TIME_ZONE";

/// The local times of noon in winter and in summer, in the year 2100, and the time in UTC of noon local time.
const TIMES: &str = "SELECT datetime('2024-01-15 12:00', 'localtime'), datetime('2024-07-15 12:00', 'localtime'), \
                     datetime('2100-07-15 12:00:30', 'localtime'), datetime('2024-07-15 12:00', 'utc')";

/// Runs a test again in a process in another time zone. Returns whether this process is that child.
fn is_in_tokyo(test: &str) -> bool {
    if std::env::var_os(CHILD).is_some() {
        return true;
    }
    let program = std::env::current_exe().expect("the path of this program");
    let child = Command::new(program).args(["--exact", test]).env(CHILD, "1").env("TZ", "Asia/Tokyo").output();
    let child = child.expect("a child process");
    let output = String::from_utf8_lossy(&child.stdout);
    assert!(child.status.success() && output.contains("1 passed"), "{output}");
    false
}

fn times(database: &Database) -> Vec<Value> {
    rows(database, TIMES).remove(0)
}

fn texts(times: [&str; 4]) -> Vec<Value> {
    times.map(text).to_vec()
}

fn utc() -> Vec<Value> {
    texts(["2024-01-15 12:00:00", "2024-07-15 12:00:00", "2100-07-15 12:00:30", "2024-07-15 12:00:00"])
}

fn in_rome() -> Vec<Value> {
    texts(["2024-01-15 13:00:00", "2024-07-15 14:00:00", "2100-07-15 14:00:30", "2024-07-15 10:00:00"])
}

fn in_tokyo() -> Vec<Value> {
    texts(["2024-01-15 21:00:00", "2024-07-15 21:00:00", "2100-07-15 21:00:30", "2024-07-15 03:00:00"])
}

fn rome() -> NamedZone {
    "Europe/Rome".parse().expect("a time zone")
}

#[test]
fn local_time_is_utc_unless_the_log_says_otherwise() {
    if !is_in_tokyo("local_time_is_utc_unless_the_log_says_otherwise") {
        return;
    }
    let dir = common::TestDir::new();
    let create = "CREATE TABLE t(a, b, c, d, e DEFAULT (datetime('2024-07-15 12:00', 'localtime')))";
    let insert = format!("INSERT INTO t(a, b, c, d) {TIMES}");
    let mut entries = log_of(&[each(&[create]), each(&[&insert]), each(&[&insert]), each(&[&insert])]);
    for (entry, zone) in entries[2..].iter_mut().zip([Some(rome()), None]) {
        let conditions = entry.conditions.as_mut().expect("conditions");
        conditions.time_zone = zone;
    }
    // An entry of an older version.
    entries[3].conditions = None;
    for (name, options) in [
        ("default", Options::default()),
        ("utc", Options::default().time_zone(TimeZone::Utc)),
        ("rome", Options::default().time_zone(TimeZone::Named(rome()))),
    ] {
        let is_rome = name == "rome";
        let database = open_with(&dir.path(name), options);
        apply(&database, &entries);
        assert_eq!(rows(&database, "SELECT a, b, c, d FROM t"), [utc(), in_rome(), utc()], "{name}");
        let defaults: Vec<_> = rows(&database, "SELECT e FROM t").into_iter().flatten().collect();
        assert_eq!(defaults, [utc(), in_rome(), utc()].map(|times| times[1].clone()), "{name}");
        assert_eq!(times(&database), if is_rome { in_rome() } else { utc() }, "{name}");
        close(database);
    }
}

#[test]
fn local_time_is_that_of_the_process_without_a_log() {
    if !is_in_tokyo("local_time_is_that_of_the_process_without_a_log") {
        return;
    }
    let direct = memory();
    assert_eq!(times(&direct), in_tokyo());
    // A database that applies a log replaces SQLite's conversion for the whole process.
    let dir = common::TestDir::new();
    let log = open(&dir.path("log"));
    common::exec(&direct, &format!("CREATE TABLE t AS {TIMES}"));
    assert_eq!(rows(&direct, "SELECT * FROM t"), [in_tokyo()]);
    assert_eq!((times(&direct), times(&log)), (in_tokyo(), utc()));
    common::script(&direct, &format!("INSERT INTO t {TIMES}"));
    assert_eq!(rows(&direct, "SELECT * FROM t"), [in_tokyo(), in_tokyo()]);
    let options = Options::default().time_zone(TimeZone::Named(rome())).writes(Writes::Direct);
    let named = Database::open(":memory:", options).expect("open a database");
    common::exec(&named, &format!("CREATE TABLE t AS {TIMES}"));
    assert_eq!((rows(&named, "SELECT * FROM t"), times(&named)), (vec![in_rome()], in_rome()));
}
