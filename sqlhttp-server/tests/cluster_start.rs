//! How a node starts, refuses to start, and ends: the exit statuses, streams and messages of rqlited, and data
//! directories that are in use, damaged, or contain foreign files.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use common::cluster::{free_port, run};
use common::{Exit, Node, Random, Request, Server, names, temp_dir, write};
use serde_json::json;

/// A node with a fresh data directory.
fn fresh() -> (tempfile::TempDir, Node) {
    let dir = temp_dir();
    let node = Node::new(&dir.path().join("data"));
    (dir, node)
}

fn assert_refused(exit: &Exit, code: i32, message: &str) {
    assert_eq!(exit.code, Some(code), "{exit:#?}");
    assert!(exit.stderr.iter().any(|line| line.contains(message)), "no {message:?} in {exit:#?}");
    assert!(!exit.stderr.iter().any(|line| line.contains("panicked")), "{exit:#?}");
}

/// Asserts that a start with these words is refused with exactly this line.
fn assert_fatal(words: &[&str], message: &str) {
    let exit = run(words.iter().copied());
    assert_eq!((exit.code, exit.stderr.as_slice()), (Some(1), &[format!("fatal: {message}")][..]), "{words:?}");
    assert!(exit.stdout.is_empty());
}

#[test]
fn a_start_without_arguments_is_refused() {
    let exit = run::<String>([]);
    assert_refused(&exit, 1, "failed to parse command-line flags: missing required argument: DataPath");
    assert!(exit.stderr[0].starts_with("[rqlited] "), "{exit:#?}");
}

#[test]
fn a_start_without_a_directory_is_refused() {
    assert_fatal(&["-node-id", "n1"], "data directory path is required");
}

#[test]
fn unknown_flags_and_bad_values_are_reported_in_three_lines() {
    for (words, message) in [
        (["-bogus", "d"], "flag provided but not defined: -bogus"),
        (["-join-attempts=x", "d"], "invalid value \"x\" for flag -join-attempts: parse error"),
        (["-fk=maybe", "d"], "invalid boolean value \"maybe\" for -fk: parse error"),
        (["-on-disk-path=x", "d"], "flag provided but not defined: -on-disk-path"),
        (["-raft-snap-int=5", "d"], "for flag -raft-snap-int: parse error"),
    ] {
        let exit = run(words);
        assert_eq!(exit.code, Some(2), "{exit:#?}");
        assert!(exit.stderr[0].contains(message), "{words:?}: {:?}", exit.stderr[0]);
        assert!(exit.stderr.len() <= 3 && exit.stderr.last().unwrap().contains("-help"), "{exit:#?}");
    }
}

#[test]
fn help_and_version_are_printed() {
    for word in ["-h", "-help", "--help"] {
        let exit = run([word]);
        assert_eq!(exit.code, Some(0));
        assert!(exit.stdout.iter().any(|line| line.contains("-http-adv-addr")), "{exit:#?}");
        assert!(exit.stderr.is_empty());
    }
    let exit = run(["-version", "-http-cert", "x"]);
    assert_eq!((exit.code, exit.stderr.len()), (Some(0), 1), "{exit:#?}");
    assert!(exit.stderr[0].contains(env!("CARGO_PKG_VERSION")) && exit.stderr[0].contains("sqlite3."), "{exit:#?}");
}

#[test]
fn generated_texts_are_printed_before_anything_is_started() {
    let dir = temp_dir();
    let data = dir.path().join("data").to_string_lossy().into_owned();
    for (kind, first) in [("man", ".ie "), ("bash", "_sqlhttp__cluster()"), ("zsh", "#compdef "), ("fish", "")] {
        let exit = run(["-http-cert", "x", "-generate", kind, &data]);
        assert_eq!(exit.code, Some(0), "{exit:#?}");
        assert!(exit.stderr.is_empty() && exit.stdout[0].starts_with(first), "{exit:#?}");
        assert!(exit.stdout.iter().any(|line| line.replace("\\-", "-").contains("http-adv-addr")), "{exit:#?}");
    }
    assert!(names(dir.path()).is_empty());
    let message = "invalid value \"elvish\" for flag -generate: must be one of man, bash, zsh, fish";
    assert_refused(&run(["-generate", "elvish", &data]), 2, message);
}

#[test]
fn arguments_after_the_directory_are_refused() {
    let exit = run(["d", "extra"]);
    assert_eq!(exit.code, Some(1));
    assert_eq!(exit.stderr, ["arguments after data directory (d) are not accepted ([extra])"]);
}

#[test]
fn contradictory_flags_are_refused() {
    for (flags, message) in [
        ("-http-cert x", "either both -http-cert and -http-key must be set, or neither"),
        ("-http-verify-common-name x", "-http-verify-common-name requires -http-verify-client"),
        ("-http-addr localhost:4002", "HTTP and Raft addresses must differ"),
        ("-http-adv-addr h:1 -raft-adv-addr h:1", "advertised HTTP and Raft addresses must differ"),
        ("-http-addr http://localhost:4001", "HTTP options should not include protocol (http:// or https://)"),
        ("-http-addr localhost", "HTTP bind address not valid"),
        ("-raft-addr localhost", "raft bind address not valid"),
        ("-raft-addr localhost:x", "raft bind port not valid"),
        (
            "-raft-addr 0.0.0.0:4002",
            "advertised Raft address is not routable (0.0.0.0), specify it via -raft-addr or -raft-adv-addr",
        ),
        ("-raft-reap-node-timeout 0s", "-raft-reap-node-timeout must be greater than 0"),
        ("-time-zone Europe/Atlantis", "-time-zone: unknown time zone Europe/Atlantis"),
    ] {
        let words: Vec<&str> = flags.split(' ').chain(["/nonexistent/d"]).collect();
        assert_fatal(&words, message);
    }
}

#[test]
fn flags_of_missing_features_are_refused() {
    for flag in ["-extensions-path=.", "-auto-backup=x", "-auto-restore=x", "-cdc-config=stdout", "-otlp-endpoint=h:1"]
    {
        let name = flag.split('=').next().unwrap();
        assert_fatal(&[flag, "/nonexistent/d"], &format!("{name} is not supported yet"));
    }
    let remedy = "use dns or dns-srv, or name the other nodes with -join";
    let message = format!("-disco-mode etcd-kv is not supported yet: {remedy}");
    assert_fatal(&["-disco-mode", "etcd-kv", "/nonexistent/d"], &message);
    assert!(!Path::new("/nonexistent").exists());
}

#[test]
fn missing_and_malformed_files_are_named() {
    let (dir, node) = fresh();
    let path = |name: &str| dir.path().join(name).to_string_lossy().into_owned();
    let missing = path("missing");
    assert_refused(&node.clone().flags(["-auth", &missing]).run(), 1, &missing);
    for content in ["", "{", "{}", "[{\"username\": 1}]", "[1]", "\u{0}\u{1}"] {
        write(dir.path(), "auth.json", content);
        let exit = node.clone().flags(["-auth", &path("auth.json")]).run();
        assert_refused(&exit, 1, &path("auth.json"));
    }
    for (name, content) in
        [("empty.pem", ""), ("text.pem", "hello\n"), ("cut.pem", "-----BEGIN CERTIFICATE-----\nAAAA")]
    {
        write(dir.path(), name, content);
        let exit = node.clone().flags(["-http-cert", &path(name), "-http-key", &path(name)]).run();
        assert_refused(&exit, 1, &path(name));
    }
    let exit = node.clone().flags(["-http-cert", &missing, "-http-key", &missing]).run();
    assert_refused(&exit, 1, &missing);
    node.start().db_execute(json!(["CREATE TABLE t(a)"]));
}

#[test]
fn a_data_directory_that_is_a_file_is_refused() {
    let dir = temp_dir();
    let file = write(dir.path(), "file", "mine");
    assert_refused(&Node::new(&file).run(), 1, &file.to_string_lossy());
    assert_eq!(std::fs::read(&file).unwrap(), b"mine");
    let below = file.join("data");
    assert_refused(&Node::new(&below).run(), 1, &below.to_string_lossy());
}

#[test]
fn addresses_in_use_are_refused() {
    let (_dir, node) = fresh();
    let _server = node.start();
    let other = temp_dir();
    let words = node.words();
    let (http, raft) = (words[3].clone(), words[5].clone());
    let free = format!("127.0.0.1:{}", free_port());
    let data = other.path().join("data").to_string_lossy().into_owned();
    let exit = run(["-http-addr", &http, "-raft-addr", &free, &data]);
    assert_refused(&exit, 1, &http);
    let exit = run(["-http-addr", &free, "-raft-addr", &raft, &data]);
    assert_refused(&exit, 1, &raft);
}

#[test]
fn a_directory_in_use_is_refused() {
    let (dir, node) = fresh();
    let server = node.start();
    server.db_execute(json!(["CREATE TABLE t(a)"]));
    let data = dir.path().join("data");
    let exit = Node::new(&data).run();
    assert_refused(&exit, 1, &data.to_string_lossy());
    assert!(exit.stderr.iter().any(|line| line.contains("in use")), "{exit:#?}");
    server.db_execute(json!(["INSERT INTO t VALUES(1)"]));
    server.crash();
    // The lock ends with the process, so that no file has to be removed.
    assert_eq!(Node::new(&data).start().db_query("SELECT a FROM t"), json!([[1]]));
}

/// Starts a node, lets it acknowledge `n` writes, and kills it.
fn killed_after(node: &Node, n: u32) {
    let server = node.start();
    server.db_execute(json!(["CREATE TABLE t(a)"]));
    for i in 0..n {
        server.db_execute(json!([format!("INSERT INTO t VALUES({i})")]));
    }
    server.crash();
}

/// The last segment of the log, and the number of bytes before the zeros at its end.
fn last_segment(data: &Path) -> (PathBuf, usize) {
    let log = data.join("raft/log");
    let name = names(&log).into_iter().rfind(|name| name.ends_with(".log")).expect("a segment");
    let content = std::fs::read(log.join(&name)).unwrap();
    let written = content.iter().rposition(|byte| *byte != 0).expect("something is written") + 1;
    (log.join(name), written)
}

/// The contents of all files below a directory.
fn contents(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in std::fs::read_dir(dir).unwrap().flatten() {
        if entry.file_type().unwrap().is_dir() {
            files.extend(contents(&entry.path()));
        } else {
            files.insert(entry.path(), std::fs::read(entry.path()).unwrap());
        }
    }
    files
}

#[test]
fn a_flipped_bit_in_the_log_is_reported_with_its_offset() {
    let (dir, node) = fresh();
    killed_after(&node, 40);
    let data = dir.path().join("data");
    let (segment, written) = last_segment(&data);
    let good = std::fs::read(&segment).unwrap();
    for place in [written / 3, written / 2, written * 2 / 3] {
        let mut bad = good.clone();
        bad[place] ^= 0x10;
        std::fs::write(&segment, &bad).unwrap();
        let before = contents(&data);
        let exit = node.run();
        assert_refused(&exit, 1, &segment.to_string_lossy());
        let line = exit.stderr.iter().find(|line| line.contains(&*segment.to_string_lossy())).unwrap();
        let numbers = line.split(|c: char| !c.is_ascii_digit()).filter_map(|digits| digits.parse::<usize>().ok());
        assert!(numbers.clone().any(|n| n <= place && n + 400 > place && n > 127), "no offset near {place}: {line}");
        assert!(contents(&data) == before, "files were changed");
    }
    std::fs::write(&segment, &good).unwrap();
    assert_eq!(node.start().db_query("SELECT count(*) FROM t"), json!([[40]]));
}

/// The statement that inserts a row whose log entry has several sectors of 512 bytes.
fn insert_of_sectors() -> String {
    let mut random = Random::new(1);
    let text: String = (0..200).map(|_| format!("{:016x}", random.next())).collect();
    format!("INSERT INTO t VALUES('{text}')")
}

/// Removes the last 1200 written bytes of a segment, so that a sector is missing: the file ends there, or zeros follow.
fn tear(segment: &Path, written: usize, zeros: bool) {
    let mut content = std::fs::read(segment).unwrap();
    let size = content.len();
    content.truncate(written - 1200);
    content.resize(if zeros { size } else { written - 1200 }, 0);
    std::fs::write(segment, content).unwrap();
}

/// The contents of the files of the database.
fn database_files(data: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = contents(data);
    files.retain(|path, _| path.parent() == Some(data));
    files
}

/// Leaves the directory as a crash does after the twentieth row was written to the log and before it was applied.
fn killed_while_writing(node: &Node, data: &Path) {
    killed_after(node, 19);
    let server = node.start();
    let before = database_files(data);
    server.db_execute(json!([insert_of_sectors()]));
    server.crash();
    for path in database_files(data).keys() {
        std::fs::remove_file(path).unwrap();
    }
    for (path, content) in before {
        std::fs::write(path, content).unwrap();
    }
}

#[test]
fn a_torn_tail_is_truncated_and_reported_in_one_line() {
    for zeros in [false, true] {
        let (dir, node) = fresh();
        let data = dir.path().join("data");
        killed_while_writing(&node, &data);
        let (segment, written) = last_segment(&data);
        tear(&segment, written, zeros);
        let segment = &*segment.to_string_lossy();
        let server = node.start();
        server.wait_stderr(segment);
        let lines: Vec<String> = server.stderr().into_iter().filter(|line| line.contains(segment)).collect();
        assert_eq!(lines.len(), 1, "{:#?}", server.stderr());
        server.db_execute(json!(["INSERT INTO t VALUES(-1)"]));
        server.crash();
        let server = node.start();
        assert!(!server.stderr().iter().any(|line| line.contains(segment)), "the log is repaired once more");
        assert_eq!(server.db_query("SELECT count(*) FROM t WHERE a BETWEEN 0 AND 18"), json!([[19]]));
        assert_eq!(server.db_query("SELECT count(*) FROM t WHERE a = -1"), json!([[1]]));
    }
}

#[test]
fn a_log_that_ends_before_the_database_is_refused() {
    let (dir, node) = fresh();
    killed_after(&node, 20);
    let server = node.start();
    server.db_execute(json!([insert_of_sectors()]));
    server.crash();
    let (segment, written) = last_segment(&dir.path().join("data"));
    // The cut goes through the last entry, after which the log may have written the commit index.
    tear(&segment, written - 60, true);
    // The database has applied entries that were durable in the log, so this is a loss and not a torn write.
    assert_refused(&node.run(), 1, "entries are missing");
}

#[test]
fn a_log_without_its_first_segment_is_refused() {
    let (dir, node) = fresh();
    killed_after(&node, 5);
    let data = dir.path().join("data");
    let (segment, _) = last_segment(&data);
    std::fs::remove_file(&segment).unwrap();
    // The database has applied acknowledged entries, so the node must not start with an empty log.
    let exit = node.run();
    assert_eq!(exit.code, Some(1), "{exit:#?}");
}

fn assert_stopped(exit: &Exit) {
    assert_eq!(exit.code, Some(0), "{exit:#?}");
    let last = exit.stderr.last().expect("a last line");
    assert!(last.starts_with("[rqlited] ") && last.ends_with(" rqlite server stopped"), "{exit:#?}");
}

fn assert_starts_again(node: &Node, rows: u64) -> Server {
    let server = node.start();
    assert_eq!(server.db_query("SELECT count(*) FROM t"), json!([[rows]]));
    server.db_execute(json!(["INSERT INTO t VALUES(1)"]));
    server
}

#[test]
fn a_node_restarts_on_the_same_ports() {
    let (_dir, node) = fresh();
    killed_after(&node, 1);
    for round in 0..3 {
        let server = assert_starts_again(&node, 1 + 3 * round);
        // An open connection must not keep the port in use.
        let _client = server.client();
        server.signal(if round == 0 { "INT" } else { "TERM" });
        assert_stopped(&server.wait());
        assert_starts_again(&node, 2 + 3 * round).crash();
        assert_starts_again(&node, 3 + 3 * round).crash();
    }
}

#[test]
fn the_start_logs_the_lines_of_rqlited() {
    let (dir, node) = fresh();
    let data = dir.path().join("data");
    let server = node.start();
    let port = server.port();
    let raft_port = server.raft_port().unwrap();
    for part in [
        format!("mux serving on 127.0.0.1:{raft_port}, advertising 127.0.0.1:{raft_port}"),
        format!("launch command: {} {}", env!("CARGO_BIN_EXE_sqlhttp-cluster"), node.words().join(" ")),
        format!("no preexisting node state detected in {}, node may be bootstrapping", data.display()),
        "bootstrapping single new node".to_owned(),
        format!("service listening on 127.0.0.1:{port}"),
        format!("opening store with node ID n1, listening on 127.0.0.1:{raft_port}"),
        format!("this node (ID=n1, addr=127.0.0.1:{raft_port}) is now Leader"),
        format!("node HTTP API available at http://127.0.0.1:{port}"),
    ] {
        server.wait_stderr(&part);
    }
    assert_stopped(&server.stop());
    let again = node.start();
    let line = again.wait_stderr("preexisting node state detected in");
    assert!(line.ends_with(&format!(" preexisting node state detected in {}", data.display())), "{line}");
    assert!(!line.contains(" no ") && !again.stderr().iter().any(|line| line.contains("bootstrapping")), "{line}");
}

#[test]
fn a_signal_is_logged() {
    for (signal, name) in [("TERM", "terminated"), ("INT", "interrupt")] {
        let (_dir, node) = fresh();
        let server = node.start();
        server.signal(signal);
        let exit = server.wait();
        let expected = format!("received signal \"{name}\"");
        assert!(exit.stderr.iter().any(|line| line.contains(&expected)), "no {expected} in {exit:#?}");
    }
}

#[test]
fn foreign_files_are_left_alone() {
    let (dir, node) = fresh();
    let data = dir.path().join("data");
    let foreign = ["notes.txt", "raft/peers.json.bak", "raft/log/README", "db.sqlite.bak", "lost+found/x"];
    for name in foreign {
        write(&data, name, "mine");
    }
    killed_after(&node, 3);
    let server = assert_starts_again(&node, 3);
    assert_eq!(server.post_bytes("/snapshot?trailing_logs=1", "").status, 200);
    assert_stopped(&server.stop());
    for name in foreign {
        assert_eq!(std::fs::read(data.join(name)).unwrap(), b"mine", "{name}");
    }
}

#[test]
fn a_peers_file_is_refused() {
    let (dir, node) = fresh();
    let file = write(&dir.path().join("data"), "raft/peers.json", "[]");
    let exit = node.run();
    assert_refused(&exit, 1, &file.to_string_lossy());
}

#[test]
fn a_file_that_is_no_database_is_refused_and_left_alone() {
    let (dir, node) = fresh();
    let file = write(&dir.path().join("data"), "db.sqlite", "this is no database, and it is longer than a header");
    let exit = node.run();
    assert_refused(&exit, 1, &file.to_string_lossy());
    assert!(std::fs::read(file).unwrap().starts_with(b"this is no database"));
}

#[test]
fn an_address_without_a_host_binds_all_interfaces() {
    let (_dir, node) = fresh();
    let words = node.words();
    let (http, raft) = (words[3].clone(), words[5].clone());
    let port_of = |address: &str| address.rsplit(':').next().unwrap().to_owned();
    let [every_http, every_raft] = [&http, &raft].map(|address| format!(":{}", port_of(address)));
    let flags =
        ["-http-addr", &every_http, "-http-adv-addr", &http, "-raft-addr", &every_raft, "-raft-adv-addr", &raft];
    let server = node.flags(flags).start();
    let bound = server.get("/status?key=http.bind_addr").json();
    assert!(
        [format!("[::]{every_http}"), format!("0.0.0.0{every_http}")].contains(&bound.as_str().unwrap().to_owned())
    );
}

#[test]
fn a_lease_longer_than_the_heartbeat_timeout_is_refused() {
    let (_dir, node) = fresh();
    let lease = "LeaderLeaseTimeout (2s) cannot be larger than heartbeat timeout (1s)";
    assert_refused(&node.clone().flags(["-raft-leader-lease-timeout", "2s"]).run(), 1, lease);
    let lease = "LeaderLeaseTimeout (500ms) cannot be larger than heartbeat timeout (300ms)";
    assert_refused(&node.clone().flags(["-raft-heartbeat-timeout", "300ms"]).run(), 1, lease);
    // Zero selects the default of each flag.
    let zero = ["-raft-heartbeat-timeout=0s", "-raft-election-timeout=0s", "-raft-snap-int=0s"];
    node.flags(zero).start().db_execute(json!(["CREATE TABLE t(a)"]));
}

/// Clients of rqlite take the response `store not open` for a success, because its status is 200.
#[test]
fn a_write_waits_until_the_node_is_open() {
    let (_dir, node) = fresh();
    let server = node.start();
    server.db_execute(json!(["CREATE TABLE t(a)"]));
    assert_eq!(server.stop().code, Some(0));
    // The node opens only when it has read this file to its end.
    let skip = node.directory().join("raft/skip.json");
    rustix::fs::mknodat(rustix::fs::CWD, &skip, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();

    let server = node.spawn_server();
    server.wait_stderr("opening store with node ID n1");
    let mut client = server.client();
    client.write(&Request::json("/db/execute", json!(["INSERT INTO t VALUES(7)"])).encode()).unwrap();
    assert_eq!(server.get("/readyz").status, 503);
    std::fs::write(&skip, r#"{"index": 1, "digest": "00"}"#).unwrap();
    let response = client.receive(false).unwrap();
    assert_eq!(response.results(), [json!({ "last_insert_id": 1, "rows_affected": 1 })], "{}", response.text());
    std::fs::remove_file(&skip).unwrap();
}
