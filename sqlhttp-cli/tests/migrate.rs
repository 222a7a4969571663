//! `sqlhttp migrate` as a program, with real files, a node in this process, and the recorded documents of rqlite.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::ffi::OsString;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use rusqlite::Connection;
use tempfile::TempDir;

#[derive(Debug, PartialEq, Eq)]
struct Exit {
    out: String,
    err: String,
    status: i32,
}

/// Runs the program in a directory.
fn sqlhttp(directory: &Path, arguments: &[&str]) -> Exit {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sqlhttp"));
    command.args(arguments).current_dir(directory).env_remove("RQLITE_HOST").env_remove("SQLHTTP_PASSWORD");
    let ended = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Exit { out: text(ended.stdout), err: text(ended.stderr), status: ended.status.code().unwrap() }
}

/// Reports on a command line of ws4sqlite.
fn from_ws4sqlite(directory: &Path, arguments: &[&str], line: &str) -> Exit {
    let words = ["migrate", "from-ws4sqlite"].into_iter().chain(arguments.iter().copied()).chain(["--"]);
    sqlhttp(directory, &words.chain(line.split(' ')).collect::<Vec<_>>())
}

/// A directory with two databases and a companion file.
fn databases() -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    for (file, mode) in [("a.db", "WAL"), ("b.sqlite", "DELETE")] {
        let connection = Connection::open(directory.path().join(file)).unwrap();
        let sql = format!("PRAGMA journal_mode={mode}; CREATE TABLE t(v); INSERT INTO t VALUES(1),(2)");
        connection.execute_batch(&sql).unwrap();
    }
    let yaml = "auth:\n  mode: HTTP\n  byCredentials:\n    - {user: u, hashedPassword: b133a0c0e9bee3be20163d2ad31d6248db292aa6dcb1ee087a2aa50e0fc75ae2}\n";
    fs::write(directory.path().join("a.yaml"), yaml).unwrap();
    fs::write(directory.path().join("m.cfg"), "initStatements: [CREATE TABLE T(a)]\n").unwrap();
    directory
}

/// The names of the files in a directory.
fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = entries.collect();
    names.sort();
    names
}

#[test]
fn a_report_on_ws4sqlite_writes_nothing() {
    let directory = databases();
    let before = names(directory.path());
    let line = "ws4sqlite --db a.db --mem-db m:m.cfg --db b.sqlite -port 12399";
    let expected = "\
Command line:
  sqlhttp-standalone --db a.db --db b.sqlite --mem-db m:m.cfg --port 12399

What differs:
  --db: if the file is replaced while it is served, writes are refused; in ws4sqlite they are lost
  a.yaml: auth: failed logins are delayed without blocking the database for others; more than thirty that wait receive 503
  a.yaml: auth.mode: responses with 401 contain WWW-Authenticate, so browsers ask for a password
  a.yaml: auth.byCredentials: the start-up line contains '1 credential', in ws4sqlite '1 credentials'
  a.yaml: auth.byCredentials[0].hashedPassword: clients send the password, not the hash, as ws4sqlite itself expects; \
some of its instructions differ
  docs/differences.md lists all differences, also those that only clients can notice.

Files:
  a.db: 8192 bytes, no WAL beside it
  b.sqlite: 8192 bytes, no WAL beside it
  m: in memory, so there is no file to move
  Both servers must not run on the same file at the same time.

Steps:
  1. Stop ws4sqlite.
  2. To keep its files as they are, copy them: --perform --to DIR before the '--' of this command.
  3. Start sqlhttp-standalone with the command line above, in the working directory of ws4sqlite.
";
    let report = from_ws4sqlite(directory.path(), &[], line);
    assert_eq!(report, Exit { out: expected.to_owned(), err: String::new(), status: 0 });
    assert_eq!(names(directory.path()), before);
    // The name of the program may be left out.
    assert_eq!(from_ws4sqlite(directory.path(), &[], &line["ws4sqlite ".len()..]), report);
}

#[test]
fn problems_make_the_exit_status_1() {
    let directory = databases();
    fs::write(directory.path().join("b.yaml"), "readOnly: [\n").unwrap();
    let report = from_ws4sqlite(directory.path(), &[], "--db a.db --db b.sqlite --db gone.db --prot 1");
    assert_eq!((report.status, report.err.as_str()), (1, ""), "{report:?}");
    let problems: Vec<&str> =
        report.out.split("Problems:\n").nth(1).unwrap().split("\n\n").next().unwrap().lines().collect();
    let begins = [
        "  command line: --prot: flag provided but not defined: -prot; the flag is left out; did you mean --port?",
        "  b.yaml: this is not YAML: ",
        "  gone.db: --db: the file does not exist; ",
    ];
    assert_eq!(problems.len(), begins.len(), "{problems:?}");
    assert!(problems.iter().zip(begins).all(|(problem, begin)| problem.starts_with(begin)), "{problems:?}");
    assert!(!directory.path().join("gone.db").exists());
}

#[test]
fn the_copies_are_complete_and_the_sources_are_not_changed() {
    let directory = databases();
    // A server that runs: its last writes are in the WAL.
    let writer = Connection::open(directory.path().join("a.db")).unwrap();
    writer.execute_batch("INSERT INTO t VALUES(3)").unwrap();
    let read = |file: &str| fs::read(directory.path().join(file)).unwrap();
    let before = ["a.db", "a.db-wal", "b.sqlite", "a.yaml"].map(read);
    let perform = ["--perform", "--to", "new/copies"];
    let line = "--db a.db --db b.sqlite --mem-db m:m.cfg --port 1";
    let report = from_ws4sqlite(directory.path(), &perform, line);
    assert_eq!((report.status, report.err.as_str()), (0, ""), "{report:?}");
    assert_eq!(["a.db", "a.db-wal", "b.sqlite", "a.yaml"].map(read), before);
    let copies = directory.path().join("new/copies");
    assert_eq!(names(&copies), ["a.db", "a.yaml", "b.sqlite", "m.yaml"]);
    let sum = |file: &str| -> i64 {
        let connection = Connection::open(copies.join(file)).unwrap();
        connection.query_row("SELECT sum(v) FROM t", [], |row| row.get(0)).unwrap()
    };
    assert_eq!((sum("a.db"), sum("b.sqlite")), (6, 3));
    assert_eq!(fs::read(copies.join("a.yaml")).unwrap(), before[3]);
    let label = "  # for the copies in new/copies\n";
    let expected =
        "  sqlhttp-standalone --db new/copies/a.db --db new/copies/b.sqlite --mem-db m:new/copies/m.yaml --port 1\n";
    assert!(report.out.contains(&format!("{label}{expected}")), "{}", report.out);
    assert!(report.out.starts_with("Command line:\n  # for the files where they are\n"), "{}", report.out);
    assert!(report.out.contains("  new/copies/a.db: a copy of a.db, 8192 bytes, checked\n"), "{}", report.out);
    // A second copy would replace the first one.
    let second = from_ws4sqlite(directory.path(), &perform, line);
    assert_eq!(second.status, 1);
    let problem =
        "a.db: cannot be copied to new/copies/a.db: the file exists already; choose an empty directory with --to";
    assert!(second.out.contains(problem) && !second.out.contains(label), "{}", second.out);
    drop(writer);
}

#[test]
fn a_database_that_cannot_be_copied_is_a_problem() {
    let directory = databases();
    fs::write(directory.path().join("b.sqlite"), "this is no database, and it is longer than a header").unwrap();
    let report = from_ws4sqlite(directory.path(), &["--perform", "--to", "new"], "--db a.db --db b.sqlite");
    assert_eq!(report.status, 1);
    assert!(
        report.out.contains("b.sqlite: cannot be copied to new/b.sqlite: file is not a database"),
        "{}",
        report.out
    );
    assert_eq!(names(&directory.path().join("new")), ["a.db", "a.yaml"]);
}

#[test]
fn a_wrong_command_line_has_exit_status_2() {
    let directory = tempfile::tempdir().unwrap();
    for arguments in [
        &["migrate"][..],
        &["migrate", "from-ws4sqlite"],
        &["migrate", "from-ws4sqlite", "--perform", "--", "--db", "a"],
        &["migrate", "from-rqlite", "--to", "x"],
        &["SELECT 1", "migrate", "from-rqlite"],
    ] {
        let refused = sqlhttp(directory.path(), arguments);
        assert!(refused.status == 2 && refused.out.is_empty() && !refused.err.is_empty(), "{arguments:?}: {refused:?}");
    }
}

#[test]
fn each_level_has_a_help() {
    let directory = tempfile::tempdir().unwrap();
    for (command, text) in [
        (&["migrate", "--help"][..], "from-ws4sqlite"),
        (&["migrate", "from-ws4sqlite", "-h"], "--perform"),
        (&["migrate", "from-rqlite", "--help"], "--to <DIR>"),
    ] {
        let help = sqlhttp(directory.path(), command);
        assert!(help.status == 0 && help.err.is_empty() && help.out.contains(text), "{command:?}: {help:?}");
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// The HTTP port of a node in this process.
fn node() -> u16 {
    static PORT: OnceLock<u16> = OnceLock::new();
    *PORT.get_or_init(|| {
        let [http, raft] = [free_port(), free_port()];
        let directory = tempfile::tempdir().unwrap().keep();
        let arguments = ["-http-addr", &format!("127.0.0.1:{http}"), "-raft-addr", &format!("127.0.0.1:{raft}"), "-fk"];
        let mut arguments: Vec<OsString> = arguments.into_iter().map(OsString::from).collect();
        arguments.push(directory.into());
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Runtime::new().unwrap();
            runtime.block_on(sqlhttp_server::cluster::serve::main(&arguments))
        });
        let until = Instant::now() + Duration::from_secs(20);
        while sqlhttp(Path::new("."), &["-p", &http.to_string(), ".ready"]).out != "ready\n" {
            assert!(Instant::now() < until, "the node is not ready");
            std::thread::sleep(Duration::from_millis(20));
        }
        http
    })
}

#[test]
fn a_node_is_reported_and_its_database_is_downloaded() {
    let directory = tempfile::tempdir().unwrap();
    let port = node().to_string();
    let create = "CREATE TABLE \"t\" (\"id\" INTEGER PRIMARY KEY, \"ts\" TEXT DEFAULT (datetime(2461374.653268)))";
    let created = sqlhttp(directory.path(), &["-p", &port, create, "-e", "SELECT 1"]);
    assert_eq!(created.status, 0, "{created:?}");
    let arguments = ["-H", "127.0.0.1", "-p", &port, "migrate", "from-rqlite"];
    let report = sqlhttp(directory.path(), &arguments);
    // The arguments in /debug/vars are those of this test, so the flags are derived from /status.
    assert_eq!((report.status, report.err.as_str()), (1, ""), "{report:?}");
    let line = "sqlhttp-cluster -node-id 127.0.0.1:";
    assert!(report.out.contains(line), "{}", report.out);
    assert!(
        report.out.contains(&format!(" -http-addr 127.0.0.1:{port} ")) && report.out.contains(" -fk /"),
        "{}",
        report.out
    );
    let frozen = "  table t\n    column ts: datetime(2461374.653268) may have been datetime('now'); each new row gets \
                  the time 2026-11-30T03:40:42Z\n";
    assert!(report.out.contains(frozen), "{}", report.out);
    assert_eq!(names(directory.path()), Vec::<String>::new());

    let performed = sqlhttp(directory.path(), &[&arguments[..], &["--perform", "--to", "d"]].concat());
    assert!(performed.out.contains(frozen), "{}", performed.out);
    assert!(performed.out.contains("\nFiles:\n  d/rqlite.db: a backup of the database, "), "{}", performed.out);
    let boot = format!("sqlhttp -H 127.0.0.1 -p {port} '.boot d/rqlite.db'\n");
    let restore = format!("sqlhttp -H 127.0.0.1 -p {port} '.restore d/rqlite.db'\n");
    assert!(performed.out.contains(&boot) && performed.out.contains(&restore), "{}", performed.out);
    assert_eq!(names(&directory.path().join("d")), ["rqlite.db"]);
    let copy = Connection::open(directory.path().join("d/rqlite.db")).unwrap();
    let stored: String =
        copy.query_row("SELECT sql FROM sqlite_master WHERE name = 't'", [], |row| row.get(0)).unwrap();
    assert_eq!(stored, create);

    let second = sqlhttp(directory.path(), &[&arguments[..], &["--perform", "--to", "d"]].concat());
    assert!(second.out.contains("d: --to: no backup: the file exists already; "), "{}", second.out);
}

#[test]
fn a_server_that_cannot_be_used() {
    let directory = tempfile::tempdir().unwrap();
    let unreachable = sqlhttp(directory.path(), &["-p", &free_port().to_string(), "migrate", "from-rqlite"]);
    assert_eq!((unreachable.status, unreachable.out.as_str()), (3, ""), "{unreachable:?}");
    assert!(unreachable.err.starts_with("sqlhttp: no host can be reached: "), "{unreachable:?}");
    let other = serve(|_| (401, String::new()));
    let refused = sqlhttp(directory.path(), &["-p", &other.to_string(), "migrate", "from-rqlite"]);
    let expected = "sqlhttp: /status: the server responded with 401: unauthorized; give a user with --user\n";
    assert_eq!(refused, Exit { out: String::new(), err: expected.to_owned(), status: 1 });
}

/// Serves the answers of a function to paths. Returns the port.
fn serve(answer: impl Fn(&str) -> (u16, String) + Send + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || listener.incoming().map_while(Result::ok).for_each(|stream| respond(stream, &answer)));
    port
}

fn respond(stream: TcpStream, answer: &impl Fn(&str) -> (u16, String)) {
    let mut reader = BufReader::new(&stream);
    let (mut path, mut length) = (String::new(), 0);
    for line in reader.by_ref().lines().map_while(Result::ok).take_while(|line| !line.is_empty()) {
        if path.is_empty() {
            path = line.split(' ').nth(1).unwrap().to_owned();
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    let (status, body) = answer(path.split('?').next().unwrap());
    let head = format!("HTTP/1.1 {status} x\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    // The client may have closed the connection.
    let _ = (&stream).write_all(format!("{head}{body}").as_bytes());
}

/// The documents of a node of rqlited v10.3.0-dev, without the members that the report does not use.
fn rqlite(path: &str) -> (u16, String) {
    let body = match path {
        "/status" => {
            r#"{"cluster":{"addr":"127.0.0.1:14802","api_addr":"127.0.0.1:14801","https":"false"},
                "extensions":{"dir":"/srv/data/extensions","names":[]},
                "http":{"auth":"disabled","bind_addr":"127.0.0.1:14801","tls":{"enabled":"false"}},
                "store":{"addr":"127.0.0.1:14802","db_conf":{"fk_constraints":true},"dir":"/srv/data","node_id":"n1",
                         "raft":{"state":"Leader","voter":true},"snapshot_threshold":4096}}"#
        }
        "/nodes" => {
            r#"{"n1":{"id":"n1","api_addr":"http://127.0.0.1:14801","addr":"127.0.0.1:14802","version":"10","voter":true,
                      "reachable":true,"leader":true,"time":0.000025518,"time_s":"25.568µs"}}"#
        }
        "/debug/vars" => {
            r#"{"cmdline":["./rqlited","-node-id","n1","-http-addr","127.0.0.1:14801","-raft-addr","127.0.0.1:14802","-fk",
                "-raft-snap","4096","-auto-vacuum-int=12h","data"],
                "http":{"backups":0,"loads":0,"queued_executions":0},
                "sql.processor":{"num_parser_panics":0,"num_rewritten_stmts":13}}"#
        }
        "/db/query" => {
            r#"{"results":[{"columns":["type","name","tbl_name","sql"],"types":["text","text","text","text"],"values":[
                ["trigger","tr2","wr","CREATE TRIGGER \"tr2\" AFTER INSERT ON \"wr\" BEGIN INSERT INTO \"mix\" (\"a\", \"b\") VALUES (\"CURRENT_TIMESTAMP\", 5812494967647120232); END"]
            ]}]}"#
        }
        _ => return (404, String::new()),
    };
    (200, body.to_owned())
}

#[test]
fn a_report_on_rqlite() {
    let directory = tempfile::tempdir().unwrap();
    let port = serve(rqlite);
    let report = sqlhttp(directory.path(), &["-p", &port.to_string(), "migrate", "from-rqlite"]);
    let expected = format!(
        "\
Command line:
  # node n1, which creates the cluster
  sqlhttp-cluster -node-id n1 -http-addr 127.0.0.1:14801 -raft-addr 127.0.0.1:14802 -fk -raft-snap 4096 -auto-vacuum-int 12h \
/srv/data-sqlhttp

What differs:
  /srv/data: the Raft log has another format: the new node needs an empty directory
  -auto-vacuum-int: the leader runs it for all nodes at the same log index, not each node when it takes a snapshot
  -raft-snap: a snapshot copies nothing and stops no writes
  -fk: a node without -fk cannot join
  sql.processor.num_rewritten_stmts is 13: SQL is never rewritten; all nodes compute the same time and random values
  docs/differences-rqlite.md lists all differences, also those that only clients can notice.

Frozen defaults:
  trigger tr2
    \"CURRENT_TIMESTAMP\" may have been CURRENT_TIMESTAMP; the trigger always uses this text instead of the time
    5812494967647120232 may have been random(); the trigger always uses this value
    If so, create the trigger again: write these statements to a file, and .restore it on the new server:
      DROP TRIGGER \"tr2\";
      CREATE TRIGGER \"tr2\" AFTER INSERT ON \"wr\" BEGIN INSERT INTO \"mix\" (\"a\", \"b\") VALUES (CURRENT_TIMESTAMP, random()); END;

Steps:
  1. Stop the writes of all clients.
  2. Download a backup and check it.
       sqlhttp -H 127.0.0.1 -p {port} migrate from-rqlite --perform --to DIR
  3. Stop rqlited on all nodes. Start the first node with its command line above, alone.
  4. Load the backup with one of these commands: .boot only while the node is alone, a file of any size; .restore at any \
time, a file of up to 10 GiB (-max-load).
       sqlhttp -H 127.0.0.1 -p 14801 '.boot DIR/rqlite.db'
       sqlhttp -H 127.0.0.1 -p 14801 '.restore DIR/rqlite.db'
  5. Compare the databases. Both hashes must be the same:
       sqlhttp -H 127.0.0.1 -p 14801 '.backup DIR/new.db'
       sqlite3 DIR/rqlite.db .sha3sum
       sqlite3 DIR/new.db .sha3sum
  6. Correct the frozen defaults on the new server.
"
    );
    assert_eq!(report, Exit { out: expected, err: String::new(), status: 0 });
}
