//! The output of each dot command, with the files of `golden/`: a script `NAME.in`, and what the shell prints for it,
//! `NAME.out`. Errors stand before the results, as `error: …`.

use std::path::{Path, PathBuf};

use crate::support::{Node, assert_golden, run, without_times};

#[test]
fn scripts_print_what_they_should() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let entries = std::fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().path());
    let mut scripts: Vec<PathBuf> = entries.filter(|path| path.extension().is_some_and(|end| end == "in")).collect();
    scripts.sort();
    let mut all = String::new();
    for script in scripts {
        let input = std::fs::read_to_string(&script).unwrap();
        assert_golden(&script.with_extension("out"), &printed(&input));
        all += &input;
    }
    // A command that is added needs a script.
    let node = Node::new();
    for line in run(node.port, &[], ".help").out.lines() {
        let command = line.split(' ').next().unwrap();
        let used = all.lines().any(|line| line.split(' ').next() == Some(command));
        assert!(used, "no script uses {command}");
    }
}

/// Runs each line of a script on its own, so that errors and results keep their order. Returns the lines and what the
/// shell prints for them.
fn printed(script: &str) -> String {
    let files = tempfile::tempdir().unwrap();
    let path = files.path().to_string_lossy().into_owned();
    let node = Node::new();
    let port = node.port;
    let mut printed = String::new();
    for part in script.split_inclusive("\n\n") {
        let exit = run(port, &[], &part.replace("@DIR@", &path));
        for line in part.trim_end().lines() {
            printed += &format!("> {line}\n");
        }
        for line in exit.err.lines() {
            printed += &format!("error: {line}\n");
        }
        printed += &without_times(&exit.out);
        printed += &format!("[{}]\n\n", exit.status);
    }
    printed.replace(&path, "@DIR@").replace(&format!("127.0.0.1:{port}"), "@HOST@")
}
