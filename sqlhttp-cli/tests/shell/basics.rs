//! Input, output, exit status and settings of the program.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;

use crate::support::{Exit, free_port, node, run, shell};

fn success(out: &str) -> Exit {
    Exit { out: out.to_owned(), err: String::new(), status: 0 }
}

#[test]
fn a_script_from_standard_input() {
    let script = "CREATE TABLE script(id INTEGER PRIMARY KEY,\n  name TEXT);\n\
                  INSERT INTO script(name) VALUES('a;b'); INSERT INTO script(name) VALUES('c'),('d');\n\
                  SELECT * FROM script WHERE id < 3;\n.mode csv\nSELECT id FROM script WHERE id = 3";
    let expected = "0 row affected\n1 row affected\n2 rows affected\n\
                    +----+------+\n| id | name |\n+----+------+\n| 1  | a;b  |\n+----+------+\n| 2  | c    |\n+----+------+\n\
                    id\n3\n";
    assert_eq!(run(node(), &[], script), success(expected));
}

#[test]
fn statements_on_the_command_line() {
    let create = ["-e", "CREATE TABLE args(a)", "-e", "INSERT INTO args VALUES(1); INSERT INTO args VALUES('x')"];
    assert_eq!(run(node(), &create, "").out, "0 row affected\n1 row affected\n1 row affected\n");
    assert_eq!(run(node(), &["--format", "jsonl", "SELECT a FROM args"], ""), success("{\"a\":1}\n{\"a\":\"x\"}\n"));
    // Messages would disturb a program that reads the results.
    let insert = ["--format", "csv", "INSERT INTO args VALUES(2)"];
    assert_eq!(run(node(), &insert, ""), success(""));
}

#[test]
fn errors_have_their_exit_status_and_do_not_end_a_script() {
    let failed = run(node(), &[], "SELECT * FROM missing;\nSELECT 1 AS a;\n");
    assert_eq!(failed.out, "+---+\n| a |\n+---+\n| 1 |\n+---+\n");
    assert_eq!((failed.err.as_str(), failed.status), ("Error: no such table: missing\n", 1));
    let unknown = run(node(), &[".nonsense"], "");
    assert_eq!(
        (unknown.err.as_str(), unknown.status),
        ("ERR! unknown command '.nonsense'. Enter \".help\" for usage hints.\n", 1)
    );
    for arguments in
        [&["--bogus"][..], &["-u", "name"], &["-c", "/nonexistent"], &["-o", "/nonexistent/file", "SELECT 1"]]
    {
        let refused = run(node(), arguments, "");
        assert!(refused.status == 2 && refused.out.is_empty() && !refused.err.is_empty(), "{arguments:?}: {refused:?}");
    }
    let unreachable = run(free_port(), &["SELECT 1"], "");
    assert_eq!(unreachable.status, 3, "{unreachable:?}");
    assert!(unreachable.err.starts_with("ERR! no host can be reached: http://127.0.0.1:"), "{unreachable:?}");
}

#[test]
fn a_transaction_that_is_refused_ends_a_script() {
    run(node(), &["CREATE TABLE refused(a)"], "");
    let script = "begin;\nINSERT INTO refused VALUES(1);\nROLLBACK;\n";
    let exit = run(node(), &[], script);
    assert!(exit.status == 1 && exit.err.starts_with("Error: BEGIN is not allowed"), "{exit:?}");
    assert_eq!(run(node(), &["--format", "csv", "SELECT count(*) AS n FROM refused"], ""), success("n\n0\n"));
}

#[test]
fn a_comment_may_begin_sql_on_the_command_line() {
    assert_eq!(run(node(), &["--format", "csv", "-e", "-- a comment\nSELECT 1 AS a"], ""), success("a\n1\n"));
    assert_eq!(run(node(), &["--format", "csv", "--", "-- a comment\nSELECT 1 AS a"], ""), success("a\n1\n"));
}

#[test]
fn another_server_is_used_if_the_first_one_cannot_be_reached() {
    let other = format!("127.0.0.1:{}", node());
    assert_eq!(run(free_port(), &["-a", &other, "--format", "csv", "SELECT 1 AS a"], ""), success("a\n1\n"));
}

#[test]
fn settings_are_shown_and_changed() {
    let script = ".show\n.mode line\n.consistency strong\n.timer on\n.changes on\n.blobarray on\n.forcewrites on\n.show\n.mode\n\
                  .consistency\n.timer\n";
    let expected = "  blobarray: off\n  changes: off\n  consistency: weak\n  forcewrites: off\n  mode: column\n  output: stdout\n  \
                    pager: off\n  timer: off\n  blobarray: on\n  changes: on\n  consistency: strong\n  forcewrites: on\n  \
                    mode: line\n  output: stdout\n  pager: off\n  timer: on\nline\nstrong\non\n";
    assert_eq!(run(node(), &[], script), success(expected));
    let blob = "SELECT x'00ff' AS b;\n";
    assert_eq!(run(node(), &["--format", "csv"], blob).out, "b\nAP8=\n");
    assert_eq!(run(node(), &["--format", "csv"], &format!(".blobarray on\n{blob}")).out, "b\n\"[0,255]\"\n");
}

#[test]
fn the_documents_of_the_node() {
    let nodes = run(node(), &[".nodes"], "");
    assert!(nodes.out.contains("\n  leader: true\n") && nodes.out.contains("\n  reachable: true\n"), "{nodes:?}");
    assert_eq!(run(node(), &[".leader"], "").out.lines().next(), nodes.out.lines().next());
    let build = run(node(), &[".status build"], "");
    assert!(build.out.starts_with("build:\n") && !build.out.contains("store:"), "{build:?}");
    assert!(run(node(), &[".expvar cmdline"], "").out.starts_with("cmdline: ["));
    assert_eq!(run(node(), &[".reap"], "").out.split(':').next(), Some("snapshots reaped"));
    assert_eq!(run(node(), &[".snapshot"], "").status, 0);
    let refused = run(node(), &[".remove nobody", "-e", ".stepdown nobody"], "");
    assert!(refused.err.contains("ERR! server responded with 500: "), "{refused:?}");
    assert!(run(node(), &[".help"], "").out.lines().all(|line| line.starts_with('.') && line.chars().count() <= 100));
}

#[test]
fn a_backup_is_restored() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str| directory.path().join(name).to_string_lossy().into_owned();
    let (text, results) = (file("dump.sql"), file("results.csv"));
    run(node(), &["CREATE TABLE kept(a); INSERT INTO kept VALUES(7)"], "");
    let dumped = run(node(), &[&format!(".dump {text} kept")], "");
    assert_eq!(dumped, success("SQL text file written successfully\n"));
    run(node(), &["DROP TABLE kept"], "");
    let restored = run(node(), &[&format!(".restore {text}")], "");
    assert!(restored.out.ends_with("Database restored successfully.\n"), "{restored:?}");
    assert_eq!(run(node(), &["-o", &results, "--format", "csv", "SELECT a FROM kept"], ""), success(""));
    assert_eq!(std::fs::read_to_string(&results).unwrap(), "a\n7\n");
    let copy = file("copy.db");
    assert_eq!(run(node(), &[&format!(".backup {copy}")], ""), success("backup file written successfully\n"));
    assert!(std::fs::read(&copy).unwrap().starts_with(b"SQLite format 3\0"));
    assert!(!Path::new(&format!("{copy}.partial")).exists());
    let missing = run(node(), &[".restore /nonexistent"], "");
    assert!(missing.err.starts_with("ERR! /nonexistent: ") && missing.status == 1, "{missing:?}");
}

#[test]
fn files_are_read_and_may_not_be_nested_without_end() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("script");
    std::fs::write(&file, ".mode csv\nSELECT\n  1 AS a;\n").unwrap();
    let command = format!(".read {}", file.display());
    assert_eq!(run(node(), &[&command], ""), success("a\n1\n"));
    std::fs::write(&file, &command).unwrap();
    let nested = run(node(), &[&command], "");
    assert!(nested.err.contains("nested more than 8 levels deep") && nested.status == 1, "{nested:?}");
}

#[test]
fn the_reader_of_the_results_may_end_early() {
    let numbers = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<100000) SELECT i FROM n";
    let mut child = shell(node(), &["--format", "csv", numbers]).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "i");
    drop(lines);
    let ended = child.wait_with_output().unwrap();
    assert_eq!((ended.status.code(), String::from_utf8(ended.stderr).unwrap().as_str()), (Some(0), ""));
}

#[test]
fn statements_after_the_end_of_the_reader_are_not_executed_in_silence() {
    let numbers = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<100000) SELECT i FROM n";
    let mut child = shell(node(), &["-e", numbers, "-e", "CREATE TABLE not_executed(a)"]).spawn().unwrap();
    drop(child.stdout.take());
    let ended = child.wait_with_output().unwrap();
    let err = String::from_utf8(ended.stderr).unwrap();
    assert_eq!(ended.status.code(), Some(1));
    assert!(err.contains("the statements after it are not executed"), "{err}");
    assert_eq!(run(node(), &["SELECT * FROM not_executed"], "").err, "Error: no such table: not_executed\n");
}

#[test]
fn a_connection_that_is_no_http_is_an_error() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let mut stream: TcpStream = stream;
            let _ = stream.write_all(b"garbage\r\n\r\n");
        }
    });
    let failed = run(port, &["SELECT 1"], "");
    assert!(failed.status == 1 && failed.err.contains("the connection failed"), "{failed:?}");
}
