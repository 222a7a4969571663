//! Transfers of files, with servers that misbehave, and the memory that transfers need.

use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::time::Duration;

use crate::support::{Exit, node, run, shell};

/// Starts a server that reads the header of each request and passes the connection to `respond`. Returns its port.
fn server(respond: impl Fn(BufReader<TcpStream>, &str) + Send + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let mut reader = BufReader::new(stream);
            let mut header = String::new();
            while !header.ends_with("\r\n\r\n") && reader.read_line(&mut header).is_ok_and(|length| length > 0) {}
            respond(reader, &header);
        }
    });
    port
}

/// Starts a server that sends the same bytes to each request and closes the connection.
fn server_that_sends(response: Vec<u8>) -> u16 {
    server(move |mut stream, _| {
        let _ = stream.get_mut().write_all(&response);
    })
}

fn response(length: usize, body: &[u8]) -> Vec<u8> {
    let mut response =
        format!("HTTP/1.1 200 OK\r\nx-rqlite-version: 10\r\ncontent-length: {length}\r\n\r\n").into_bytes();
    response.extend_from_slice(body);
    response
}

/// Returns the header of a database file with two pages, and its first page.
fn first_page() -> Vec<u8> {
    let file = tempfile::NamedTempFile::new().unwrap();
    let database = rusqlite::Connection::open(file.path()).unwrap();
    database.execute_batch("CREATE TABLE t(a)").unwrap();
    drop(database);
    std::fs::read(file.path()).unwrap()[..4096].to_vec()
}

#[test]
fn a_backup_that_is_not_complete_replaces_no_file() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("kept.db");
    std::fs::write(&file, "kept").unwrap();
    let page = first_page();
    for (what, sent, message) in [
        ("a connection that is closed", response(8192, &page), "the connection failed"),
        ("a missing page", response(4096, &page), "4096 of 8192 bytes have arrived"),
        ("no database", response(5, b"hello"), "what arrived is no SQLite database"),
        ("nothing", response(0, b""), "what arrived is no SQLite database"),
        ("another server", b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".to_vec(), "another program has sent it"),
        ("an error", b"HTTP/1.1 503 No\r\ncontent-length: 4\r\n\r\nbusy".to_vec(), "server responded with 503: busy"),
    ] {
        let exit = run(server_that_sends(sent), &[&format!(".backup {}", file.display())], "");
        assert!(exit.status == 1 && exit.out.is_empty() && exit.err.contains(message), "{what}: {exit:?}");
        assert_eq!(std::fs::read(&file).unwrap(), b"kept", "{what}");
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1, "{what}");
    }
}

#[test]
fn a_dump_that_is_not_complete_replaces_no_file() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("kept.sql");
    std::fs::write(&file, "kept").unwrap();
    // Without a length, the end of the connection is the end of the body.
    let cut =
        b"HTTP/1.1 200 OK\r\nx-rqlite-version: 10\r\n\r\nPRAGMA foreign_keys=OFF;\nBEGIN TRANSACTION;\nCRE".to_vec();
    let exit = run(server_that_sends(cut), &[&format!(".dump {}", file.display())], "");
    assert!(exit.status == 1 && exit.err.contains("does not end with COMMIT"), "{exit:?}");
    assert_eq!(std::fs::read(&file).unwrap(), b"kept");
}

#[test]
fn the_text_of_an_error_is_cut_off() {
    let text = "x".repeat(10_000_000);
    let head = format!("HTTP/1.1 500 No\r\ncontent-length: {}\r\n\r\n", text.len());
    let exit = run(server_that_sends([head.as_bytes(), text.as_bytes()].concat()), &["SELECT 1"], "");
    let begin = "ERR! server responded with 500: ";
    let expected = format!("{begin}{}\n", "x".repeat(64 * 1024 - begin.len()));
    assert!(exit.status == 1 && exit.err == expected, "{} bytes", exit.err.len());
}

#[test]
fn a_byte_order_mark_is_ignored() {
    let directory = tempfile::tempdir().unwrap();
    for (name, content) in [("bom.csv", "\u{feff}a\n1\n"), ("bom.jsonl", "\u{feff}{\"a\":1}\n")] {
        let table = name.replace('.', "_");
        let import = command_for(directory.path(), &format!(".import FILE {table}"), name, content.as_bytes());
        assert_eq!(run(node(), &[&import], "").err, "", "{name}");
        assert_eq!(csv(&format!("SELECT a FROM {table}")), "a\n1\n", "{name}");
    }
}

#[test]
fn a_reply_without_a_result_is_an_error() {
    let directory = tempfile::tempdir().unwrap();
    let port = server_that_sends(response(14, b"{\"results\":[]}"));
    let file = directory.path().join("t.csv");
    for sql in ["SELECT 1".to_owned(), format!(".export {} t", file.display())] {
        let exit = run(port, &[&sql], "");
        assert_eq!((exit.status, exit.err.as_str()), (1, "ERR! the reply contains no result\n"), "{sql}");
    }
    assert!(!file.exists());
}

#[test]
fn a_database_with_changes_in_its_wal_is_not_sent() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("wal.db");
    let database = rusqlite::Connection::open(&file).unwrap();
    database.execute_batch("PRAGMA journal_mode=WAL; CREATE TABLE in_wal(a)").unwrap();
    for command in [".restore", ".boot"] {
        let exit = run(node(), &[&format!("{command} {}", file.display())], "");
        assert!(exit.status == 1 && exit.err.contains("wal.db-wal contains changes"), "{exit:?}");
    }
}

#[test]
#[cfg(unix)]
fn a_signal_ends_a_script_and_removes_its_incomplete_file() {
    let directory = tempfile::tempdir().unwrap();
    let (sender, received) = std::sync::mpsc::channel();
    let port = server(move |mut stream, _| {
        stream.get_mut().write_all(&response(8192, &first_page())).unwrap();
        sender.send(stream).unwrap();
    });
    for signal in ["-INT", "-TERM"] {
        let command = format!(".backup {}", directory.path().join("copy.db").display());
        let child = shell(port, &[&command]).spawn().unwrap();
        let stream = received.recv_timeout(Duration::from_secs(20)).unwrap();
        let partial = || std::fs::read_dir(directory.path()).unwrap().count();
        while partial() == 0 {
            std::thread::yield_now();
        }
        let status = std::process::Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap();
        assert!(status.success());
        assert_eq!(child.wait_with_output().unwrap().status.code(), Some(130));
        assert_eq!(partial(), 0);
        drop(stream);
    }
}

#[test]
fn damage_is_found_on_request() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("copy.db");
    // The second page belongs to a table, but it is empty.
    let damaged = response(8192, &[first_page(), vec![0; 4096]].concat());
    let port = server_that_sends(damaged);
    let checked = run(port, &[&format!(".backup --check {}", file.display())], "");
    assert!(checked.status == 1 && checked.err.contains("copy.db: "), "{checked:?}");
    assert!(!file.exists());
    assert_eq!(run(port, &[&format!(".backup {}", file.display())], "").status, 0);
}

#[test]
fn the_time_limit_does_not_apply_to_transfers() {
    let directory = tempfile::tempdir().unwrap();
    let port = server(|mut stream, header| {
        let length = header.lines().find_map(|line| line.strip_prefix("content-length: "));
        let length = length.map_or(0, |length| length.parse().unwrap());
        let mut body = vec![0; length];
        stream.read_exact(&mut body).unwrap();
        std::thread::sleep(Duration::from_millis(300));
        let body: &[u8] = if header.starts_with("GET") { b"COMMIT;\n" } else { b"{\"results\":[]}" };
        let _ = stream.get_mut().write_all(&response(body.len(), body));
    });
    let limited = run(port, &["-t", "100ms", "SELECT 1"], "");
    assert!(limited.status == 1 && limited.err.contains("no response within 100ms"), "{limited:?}");
    let text = directory.path().join("text.sql");
    std::fs::write(&text, "SELECT 1;").unwrap();
    for command in [".dump", ".restore"] {
        let done = run(port, &["-t", "100ms", &format!("{command} {}", text.display())], "");
        assert_eq!((done.status, done.err.as_str()), (0, ""), "{command}");
    }
}

#[test]
fn the_file_of_the_password_must_be_private() {
    let port = server(|mut stream, header| {
        let expected = "authorization: Basic am9lOnNlY3JldA==";
        let status = if header.contains(expected) { 200 } else { 401 };
        let _ = stream.get_mut().write_all(format!("HTTP/1.1 {status} x\r\ncontent-length: 0\r\n\r\n").as_bytes());
    });
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("password");
    std::fs::write(&file, "secret\r\n").unwrap();
    let arguments = ["-u", "joe", "--password-file", &file.to_string_lossy(), ".ready"].map(str::to_owned);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o640)).unwrap();
        let refused = run(port, &arguments, "");
        assert!(refused.status == 2 && refused.err.contains("others can read the password"), "{refused:?}");
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    }
    assert_eq!(run(port, &arguments, ""), Exit { out: "ready\n".into(), err: String::new(), status: 0 });
    assert_eq!(run(port, &["-u", "joe:wrong", ".ready"], "").err, "ERR! unauthorized\n");
}

/// Writes a file, and returns a command with its path.
fn command_for(directory: &Path, command: &str, name: &str, content: &[u8]) -> String {
    let file = directory.join(name);
    std::fs::write(&file, content).unwrap();
    command.replace("FILE", &file.to_string_lossy())
}

fn csv(sql: &str) -> String {
    run(node(), &["--format", "csv", sql], "").out
}

#[test]
fn rows_that_cannot_be_inserted_do_not_prevent_the_others() {
    let directory = tempfile::tempdir().unwrap();
    run(node(), &["CREATE TABLE many(id INTEGER PRIMARY KEY, name TEXT)"], "");
    // Each chunk contains a row that is a duplicate.
    let rows: String = (0..12_000).map(|row| format!("{},r\n", if row % 4000 == 3999 { 1 } else { row })).collect();
    let import = command_for(directory.path(), ".import FILE many", "many.csv", rows.as_bytes());
    let exit = run(node(), &[&import], "");
    assert_eq!((exit.status, exit.out.as_str()), (1, "11997 rows imported into many\n"));
    let lines: Vec<&str> = exit.err.lines().filter_map(|line| line.split(": ").nth(1)).collect();
    assert_eq!(lines, ["line 4000", "line 8000", "line 12000", "3 records were not imported"]);
    assert_eq!(csv("SELECT count(*) AS n, count(DISTINCT id) AS d FROM many"), "n,d\n11997,11997\n");
}

#[test]
fn a_deferred_foreign_key_concerns_its_row_only() {
    let directory = tempfile::tempdir().unwrap();
    let create = "CREATE TABLE parent(id INTEGER PRIMARY KEY); INSERT INTO parent VALUES(1); \
                  CREATE TABLE child(p REFERENCES parent DEFERRABLE INITIALLY DEFERRED)";
    let node = crate::support::Node::with_flags(&["-fk"]);
    run(node.port, &[create], "");
    let import = command_for(directory.path(), ".import FILE child", "child.csv", b"1\n2\n1\n");
    let exit = run(node.port, &[&import], "");
    assert_eq!(exit.out, "2 rows imported into child\n");
    assert!(exit.err.contains("line 2: FOREIGN KEY constraint failed"), "{exit:?}");
}

#[test]
fn values_that_the_protocol_cannot_express_are_imported() {
    let directory = tempfile::tempdir().unwrap();
    let lines = br#"{"a":"x'00'","b":1e999,"c":-1e999,"d":"X'","e":"\u0000"}"#;
    let import = command_for(directory.path(), ".import FILE odd", "odd.jsonl", lines);
    assert_eq!(run(node(), &[&import], "").err, "");
    assert_eq!(
        csv("SELECT typeof(a), a, b > 1e308, c < -1e308, typeof(d), d, typeof(e), length(hex(e)) FROM odd")
            .lines()
            .nth(1),
        Some("text,x'00',1,1,text,X',text,2")
    );
}

#[test]
#[cfg(unix)]
fn records_are_read_from_a_pipe_and_no_file_is_sent_from_one() {
    let rows: String = (0..9000).map(|row| format!("{row}\n")).collect();
    let imported = run(node(), &[".import --csv /dev/stdin piped"], &format!("id\n{rows}"));
    assert_eq!(imported.out, "9000 rows imported into piped\n");
    assert_eq!(csv("SELECT count(DISTINCT id) AS n FROM piped"), "n\n9000\n");
    let refused = run(node(), &[".restore /dev/stdin"], "CREATE TABLE never(a);");
    assert!(refused.status == 1 && refused.err.contains("is not a regular file"), "{refused:?}");
}

#[test]
fn an_export_is_imported_again() {
    let directory = tempfile::tempdir().unwrap();
    let create =
        "CREATE TABLE back(a); INSERT INTO back VALUES(''), (NULL), ('two\nlines'), ('\"q\"'), (' x'), ('x,y')";
    run(node(), &[create], "");
    for name in ["back.csv", "back.tsv", "back.jsonl"] {
        let table = name.replace('.', "_");
        let file = directory.path().join(name).to_string_lossy().into_owned();
        let export = format!(".export {file} back");
        let import = format!(".import --null NULL {file} {table}");
        let done = run(node(), &["-e", &export, "-e", &import], "");
        assert_eq!(done.err, "", "{name}");
        let differences = format!("SELECT count(*) AS n FROM (SELECT * FROM back EXCEPT SELECT * FROM {table})");
        assert_eq!(csv(&differences), "n\n0\n", "{name}");
        assert_eq!(csv(&format!("SELECT count(*) AS n FROM {table}")), "n\n6\n", "{name}");
    }
}

#[test]
fn malformed_records_are_reported_and_may_be_skipped() {
    let directory = tempfile::tempdir().unwrap();
    let content = b"not JSON\n{\"a\":1}\n{\"a\":\n{\"a\":2}\n";
    let import = command_for(directory.path(), ".import FILE malformed", "m.jsonl", content);
    let exit = run(node(), &[&import], "");
    assert_eq!((exit.status, exit.out.as_str()), (1, "2 rows imported into malformed\n"), "{exit:?}");
    assert!(exit.err.contains("line 1: not a JSON object") && exit.err.contains("line 3: "), "{exit:?}");
    let skipped = run(node(), &[&import.replace(".import", ".import --skip 3")], "");
    assert_eq!((skipped.status, skipped.out.as_str()), (0, "1 row imported into malformed\n"), "{skipped:?}");
    let nothing = run(node(), &[&import.replace(".import", ".import --skip 18446744073709551615")], "");
    assert_eq!((nothing.status, nothing.out.as_str()), (0, "0 rows imported into malformed\n"), "{nothing:?}");
}

#[test]
fn an_import_that_loses_the_connection_says_what_is_in_the_table() {
    let directory = tempfile::tempdir().unwrap();
    let requests = std::sync::atomic::AtomicUsize::new(0);
    let port = server(move |mut stream, header| {
        let length = header.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
        let mut body = vec![0; length.parse().unwrap()];
        stream.read_exact(&mut body).unwrap();
        let column: &[u8] = br#"{"results":[{"columns":["name"],"types":["text"],"values":[["a"]]}]}"#;
        match requests.fetch_add(1, std::sync::atomic::Ordering::Relaxed) {
            0 => stream.get_mut().write_all(&response(column.len(), column)).unwrap(),
            1 => stream.get_mut().write_all(&response(14, b"{\"results\":[]}")).unwrap(),
            _ => {}
        }
    });
    let rows = "1\n".repeat(12_000);
    let import = command_for(directory.path(), ".import FILE t", "t.csv", rows.as_bytes());
    let exit = run(port, &[&import], "");
    let expected = "5000 rows imported, and perhaps those of the lines 5001 to 10000: ";
    assert!(exit.status == 1 && exit.err.contains(expected) && exit.out.is_empty(), "{exit:?}");
}

/// Returns the maximum of the resident memory of a process until now, in KiB.
#[cfg(target_os = "linux")]
fn resident_max(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// The memory that the shell needs while it transfers many times more, in KiB.
#[cfg(target_os = "linux")]
const RESIDENT_MAX: u64 = 48 * 1024;

#[test]
#[cfg(target_os = "linux")]
fn a_result_of_any_size_needs_little_memory() {
    let rows = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<2000) \
                SELECT i, hex(zeroblob(15000)) AS text FROM n";
    for mode in ["csv", "json", "jsonl", "line"] {
        let mut child = shell(node(), &["--format", mode, rows]).spawn().unwrap();
        let mut out = child.stdout.take().unwrap();
        let mut read = vec![0; 50_000_000];
        out.read_exact(&mut read).unwrap();
        let resident = resident_max(child.id());
        assert!(resident < RESIDENT_MAX, "{mode}: {resident} KiB");
        drop(out);
        child.wait().unwrap();
    }
}

#[test]
#[cfg(target_os = "linux")]
fn a_file_of_any_size_is_sent_in_little_memory() {
    const LENGTH: usize = 200_000_000;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("large.db");
    write_sparse(&file, LENGTH as u64);
    for command in [".boot", ".restore"] {
        let (sender, received) = std::sync::mpsc::channel();
        let port = server(move |mut stream, _| {
            let mut part = vec![0; LENGTH];
            stream.read_exact(&mut part).unwrap();
            sender.send(stream).unwrap();
        });
        let mut child = shell(port, &[&format!("{command} {}", file.display())]).spawn().unwrap();
        let mut stream = received.recv_timeout(Duration::from_secs(60)).unwrap();
        let resident = resident_max(child.id());
        assert!(resident < RESIDENT_MAX, "{command}: {resident} KiB");
        stream.get_mut().write_all(&response(0, b"")).unwrap();
        assert!(child.wait().unwrap().success(), "{command}");
    }
}

/// Writes a file with the header of a database and no data on the disk.
#[cfg(target_os = "linux")]
fn write_sparse(file: &Path, length: u64) {
    let mut file = std::fs::File::create(file).unwrap();
    file.write_all(&first_page()).unwrap();
    file.set_len(length).unwrap();
}
