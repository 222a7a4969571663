//! Transcripts of rqlite's shell, compared with the output of ours for the same input under the name
//! `rqlite`. `rqlite_shell/*.in` and `*.out` were recorded with the shell and a node of rqlite 10.2. `differences.diff`
//! contains all differences; the section "The shell" of `docs/differences-rqlite.md` gives the reasons.

#![cfg(unix)]

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use crate::support::{Node, assert_golden, run_as_rqlite, without_times};

#[test]
fn the_transcripts_of_rqlite_differ_only_where_documented() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/rqlite_shell");
    let entries = std::fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().path());
    let mut scripts: Vec<PathBuf> = entries.filter(|path| path.extension().is_some_and(|end| end == "in")).collect();
    scripts.sort();
    assert!(scripts.len() > 15);
    let mut differences = String::new();
    for script in scripts {
        let expected = without_times(&std::fs::read_to_string(script.with_extension("out")).unwrap());
        let printed = without_times(&transcript(&std::fs::read_to_string(&script).unwrap()));
        if expected != printed {
            let diff = similar::TextDiff::from_lines(expected.as_str(), printed.as_str());
            let name = script.file_stem().unwrap().to_string_lossy();
            writeln!(differences, "=== {name}\n{}", diff.unified_diff().context_radius(0)).unwrap();
        }
    }
    assert_golden(&directory.join("differences.diff"), &differences);
}

/// Runs a script with a new node and a new directory of files. Returns what the shell prints, without the addresses and
/// the name of the directory.
fn transcript(script: &str) -> String {
    let files = tempfile::tempdir().unwrap();
    let path = files.path().to_string_lossy().into_owned();
    write_files(files.path());
    let node = Node::new();
    let port = node.port;
    let exit = run_as_rqlite(port, &script.replace("@DIR@", &path));
    assert_eq!((exit.err.as_str(), exit.status), ("", 0), "{script}");
    exit.out.replace(&path, "@DIR@").replace(&format!("127.0.0.1:{port}"), "@HOST@")
}

/// Writes the files that the scripts read.
fn write_files(directory: &Path) {
    for (name, content) in [
        ("bad.sql", "this is not sql;\n"),
        ("empty.sql", ""),
        ("one.sql", "CREATE TABLE one (x);\nINSERT INTO one VALUES(1),(2);\n"),
        (
            "read.sql",
            "-- comment\nCREATE TABLE rd (id INTEGER PRIMARY KEY, t TEXT);\n\n  INSERT INTO rd(t) VALUES('a');\n\
             INSERT INTO rd(t) VALUES('b'); INSERT INTO rd(t) VALUES('same line');\nSELECT * FROM rd;\nSELECT *\n\
             FROM rd;\n.tables\nINSERT INTO rd(t) VALUES('last, no newline');",
        ),
        (
            "read2.sql",
            "INSERT INTO rd(t) VALUES('c');\nSELECT id FROM rd;\nINSERT INTO nosuch VALUES(1);\nquit\n\
             SELECT 'after quit';\n",
        ),
        ("longer.txt", &"0123456789\n".repeat(40)),
    ] {
        std::fs::write(directory.join(name), content).unwrap();
    }
    let database = rusqlite::Connection::open(directory.join("boot.db")).unwrap();
    database.execute_batch("CREATE TABLE bt(a); INSERT INTO bt VALUES('booted')").unwrap();
}
