//! Starts recorded from ws4sqlite (`fixtures/ws4sqlite-startup.jsonl`): the command line, the companion file, the exit
//! status, and the lines printed. `adjust` describes where this server differs on purpose.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::path::Path;
use std::sync::Mutex;

use common::{Exit, Launch, names, temp_dir, write};
use serde::Deserialize;

const THREADS: usize = 2;

#[derive(Debug, Clone, Deserialize)]
struct Case {
    name: String,
    args: Vec<String>,
    file: Option<String>,
    yaml: Option<String>,
    exit: End,
    out: Vec<String>,
    #[serde(default)]
    err: Vec<String>,
}

/// An exit status, or `runs`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(untagged)]
enum End {
    Status(i32),
    Runs(String),
}

impl End {
    fn runs() -> End {
        End::Runs("runs".into())
    }
}

/// How the lines on standard error are compared with the expected ones.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Errors {
    /// The first lines are the expected ones.
    Exact,
    /// The first line begins with the expected one.
    Prefix,
    /// One line contains each of the expected words.
    Somewhere,
}

/// A recorded start, adjusted to what this server does.
#[derive(Debug)]
struct Expectation {
    case: Case,
    errors: Errors,
    /// Lines on standard output that begin with this are not compared.
    free: Option<&'static str>,
}

fn cases() -> Vec<Case> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/ws4sqlite-startup.jsonl");
    let text = std::fs::read_to_string(path).expect("the fixture");
    text.lines().map(|line| serde_json::from_str(line).expect("a case")).collect()
}

/// Turns what ws4sqlite does into what this server does.
fn adjust(mut case: Case) -> Expectation {
    let mut errors = Errors::Exact;
    let mut free = None;
    match case.name.as_str() {
        // The usage line names the program.
        "--help" => case.err = vec!["Usage of sqlhttp-standalone:".into()],
        // The number of one credential is followed by a singular.
        "an existing file with one user" | "all lines in their order" => {
            for line in &mut case.out {
                *line = line.replace("with 1 credentials", "with 1 credential");
            }
        }
        // The directory does not exist; ws4sqlite reports a lack of memory.
        "a file in a directory that is missing" => {
            case.err = vec!["FATAL | <ts> | accessing the database 'x': unable to open database file (14)".into()]
        }
        // Unknown keys are warned about, with the nearest known key.
        "keys in another case" => (errors, case.err) = (Errors::Somewhere, vec!["WARN".into(), "readOnly".into()]),
        "an unknown key" => (errors, case.err) = (Errors::Somewhere, vec!["WARN".into(), "scheduledTasks".into()]),
        // The wording of YAML errors is that of the YAML library.
        "a word for a boolean"
        | "a number for a boolean"
        | "a tab in YAML"
        | "a list for a map"
        | "a string for a list" => {
            (errors, case.err) = (Errors::Prefix, vec!["FATAL | <ts> | in parsing config file: ".into()]);
        }
        // The start is refused, where ws4sqlite panics. The line with the value may come before.
        "an origin without a scheme" => {
            case.exit = End::Status(1);
            (errors, case.err) = (Errors::Prefix, vec!["FATAL | <ts> | ".into()]);
            case.out.retain(|line| !line.contains("CORS Origin"));
            free = Some("  + CORS Origin set to a.com");
        }
        // A time zone may be described in words or shown as written.
        "a schedule with a time zone" => {
            case.out.retain(|line| !line.contains("Task 0"));
            free = Some("  + Task 0 scheduled ");
        }
        // The backup directory is created.
        "a directory of backups that is missing" => {
            case.exit = End::runs();
            case.err.clear();
            case.out.push("  + Task 0 scheduled at 12:00 am".into());
        }
        // A read-only database can be backed up.
        "a backup of a read-only database at the start" => case.out.retain(|line| !line.starts_with("ERR")),
        _ => {}
    }
    Expectation { case, errors, free }
}

fn prepare(case: &Case, dir: &Path) {
    for folder in ["bk", "web", "dir.d"] {
        std::fs::create_dir(dir.join(folder)).expect("a folder");
    }
    if let (Some(file), Some(yaml)) = (&case.file, &case.yaml) {
        write(dir, file, yaml);
    }
    match case.name.as_str() {
        "an existing file with one user" => drop(write(dir, "selfhost.db", "")),
        "a file that is no database" => {
            drop(write(dir, "n.db", "this is not a database, it only looks like a file of some size\n".repeat(99)))
        }
        _ => {}
    }
}

/// Starts the server as the case says. A server that runs is stopped.
fn run(case: &Case, dir: &Path) -> (End, Exit) {
    let mut launch = Launch::new().dir(dir).args(case.args.clone());
    // These flags are given alone.
    if ["--version", "-version", "--help", "an unknown flag"].contains(&case.name.as_str()) {
        launch = launch.without_address();
    }
    match launch.try_start() {
        Ok(server) => (End::runs(), server.stop()),
        Err(exit) => (exit.code.map_or(End::Runs("was killed".into()), End::Status), exit),
    }
}

/// Replaces the time in `LEVEL | 2026/11/21 03:04:05 | text`.
fn without_time(line: &str) -> String {
    let parts: Vec<&str> = line.splitn(3, " | ").collect();
    match parts[..] {
        [level, time, text] if is_time(time) => format!("{level} | <ts> | {text}"),
        _ => line.to_owned(),
    }
}

fn is_time(text: &str) -> bool {
    let shape: String = text.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    shape == "0000/00/00 00:00:00"
}

fn is_banner(line: &str) -> bool {
    let Some((name, sqlite)) = line.split_once(", based on sqlite v") else {
        return false;
    };
    name.starts_with("sqlhttp-standalone v") && sqlite.split('.').count() == 3
}

fn check(expectation: &Expectation) -> Vec<String> {
    let Expectation { case, errors, free } = expectation;
    let dir = temp_dir();
    prepare(case, dir.path());
    let (end, exit) = run(case, dir.path());
    let mut wrong = Vec::new();
    if end != case.exit {
        wrong.push(format!("ended with {end:?}, expected {:?}", case.exit));
    }
    let mut stdout: Vec<String> = exit.stdout.iter().map(|line| without_time(line)).collect();
    if stdout.is_empty() || !is_banner(&stdout.remove(0)) {
        wrong.push("the first line is no banner".into());
    }
    stdout.retain(|line| !line.starts_with("- Web Service listening on "));
    stdout.retain(|line| free.is_none_or(|free| !line.starts_with(free)));
    if stdout != case.out {
        wrong.push(format!("standard output\n      expected {:#?}\n      got {stdout:#?}", case.out));
    }
    let mut stderr: Vec<String> = exit.stderr.iter().map(|line| without_time(line)).collect();
    if case.name == "flags end at the first other word" {
        // As in ws4sqlite, flags end at the first word that is none. This server also warns about the ignored words.
        stderr.retain(|line| !line.starts_with("WARN"));
    }
    let fits = match errors {
        Errors::Exact => stderr.starts_with(&case.err),
        Errors::Prefix => stderr.first().is_some_and(|line| line.starts_with(&case.err[0])),
        Errors::Somewhere => stderr.iter().any(|line| case.err.iter().all(|word| line.contains(word))),
    };
    if !fits {
        wrong.push(format!("standard error ({errors:?})\n      expected {:#?}\n      got {stderr:#?}", case.err));
    }
    wrong.extend(check_files(case, dir.path()));
    wrong.iter().map(|problem| format!("{} {:?}: {problem}", case.name, case.args)).collect()
}

/// Checks the files that a case leaves behind.
fn check_files(case: &Case, dir: &Path) -> Option<String> {
    match case.name.as_str() {
        // A failed start removes the file that it has created.
        "two files of one name" if dir.join("x.db").exists() => Some("x.db was left behind".into()),
        "a file that is no database" if !dir.join("n.db").exists() => {
            Some("a file that was there before was removed".into())
        }
        "a backup of a read-only database at the start" => {
            let backups = names(&dir.join("bk"));
            let complete = backups.iter().all(|name| {
                std::fs::read(dir.join("bk").join(name)).is_ok_and(|content| content.starts_with(b"SQLite format 3\0"))
            });
            (backups.len() != 1 || !complete).then(|| format!("no valid backup among {backups:?}"))
        }
        _ => None,
    }
}

#[test]
fn recorded_starts_are_repeated() {
    // The case of IPv6 depends on the machine and has a test of its own.
    let all = cases();
    assert!(all.len() > 50, "only {} cases", all.len());
    let queue = Mutex::new(all.into_iter().filter(|case| case.name != "an IPv6 address without brackets").map(adjust));
    let problems = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                loop {
                    let next = queue.lock().expect("queue").next();
                    let Some(expectation) = next else { break };
                    problems.lock().expect("problems").extend(check(&expectation));
                }
            });
        }
    });
    let problems = problems.into_inner().expect("problems");
    assert!(problems.is_empty(), "{} differences:\n{}", problems.len(), problems.join("\n"));
}

/// ws4sqlite accepts an IPv6 address in brackets only, this server in both forms.
#[test]
fn ipv6_addresses_work_with_and_without_brackets() {
    if std::net::TcpListener::bind("[::1]:0").is_err() {
        eprintln!("skipped: this machine has no IPv6");
        return;
    }
    for host in ["::1", "[::1]"] {
        let server = Launch::new().args(["--mem-db", "m", "--bind-host", host]).start();
        assert!(std::net::TcpStream::connect(("::1", server.port())).is_ok(), "{host} does not listen");
        assert!(std::net::TcpStream::connect(("127.0.0.1", server.port())).is_err(), "{host} listens elsewhere");
    }
}

#[test]
fn flags_are_accepted_in_every_spelling_of_the_original() {
    for args in [
        ["-mem-db", "m", "--bind-host=127.0.0.1", "-port=0"],
        ["--mem-db=m", "-bind-host=127.0.0.1", "--port=0x0", "--"],
        ["-mem-db=  m  ", "--port=1", "--bind-host=127.0.0.1", "-port=0"],
    ] {
        let server = Launch::new().without_address().args(args).start();
        server.assert_alive("m");
    }
}

#[test]
fn wrong_flags_end_with_status_2_and_a_reason() {
    for (args, message) in [
        (vec!["--port", "abc"], "invalid value \"abc\" for flag -port: parse error"),
        (vec!["--port"], "flag needs an argument: -port"),
        (vec!["---port=1"], "bad flag syntax: ---port=1"),
    ] {
        let exit = Launch::new().without_address().args(args.clone()).run();
        assert_eq!((exit.code, exit.stderr[0].as_str()), (Some(2), message), "{args:?}");
        assert!(
            exit.stderr.len() <= 3 && exit.stderr.last().unwrap().contains("-help"),
            "{args:?}: {:#?}",
            exit.stderr
        );
        assert!(is_banner(&exit.stdout[0]), "{args:?} prints no banner");
    }
}

#[test]
fn generated_texts_are_printed_before_anything_is_started() {
    let dir = temp_dir();
    for (kind, first) in [("man", ".ie "), ("bash", "_sqlhttp__standalone()"), ("zsh", "#compdef "), ("fish", "")] {
        let exit = Launch::new().dir(dir.path()).args(["--db", "x.db", "--generate", kind]).run();
        assert_eq!(exit.code, Some(0), "{exit:#?}");
        assert!(exit.stderr.is_empty() && exit.stdout[0].starts_with(first), "{exit:#?}");
        assert!(exit.stdout.iter().any(|line| line.replace("\\-", "-").contains("bind-host")), "{exit:#?}");
    }
    assert!(names(dir.path()).is_empty());
    let exit = Launch::new().without_address().args(["--generate", "elvish"]).run();
    let refused = "invalid value \"elvish\" for flag -generate: must be one of man, bash, zsh, fish";
    assert_eq!((exit.code, exit.stderr[0].as_str()), (Some(2), refused));
}

#[test]
fn usage_names_every_flag_of_the_original() {
    let exit = Launch::new().without_address().args(["-h"]).run();
    assert_eq!(exit.code, Some(0));
    let usage = exit.stderr.join("\n");
    for flag in ["-bind-host", "-db", "-mem-db", "-port", "-serve-dir", "-version"] {
        assert!(usage.contains(flag), "{flag} is missing in\n{usage}");
    }
    assert!(usage.contains("12321") && usage.contains("0.0.0.0"), "defaults are missing in\n{usage}");
}
