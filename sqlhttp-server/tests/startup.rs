//! Start-up cases recorded from the original server (`fixtures/ws4sqlite-startup.jsonl`): the command line, the
//! companion file, the exit status, and the lines printed. Where ours differs on purpose, `adjust` says how.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::path::Path;
use std::sync::Mutex;

use common::{Exit, Launch, names, temp_dir, write};
use serde::Deserialize;

const THREADS: usize = 2;

#[derive(Debug, Clone, Deserialize)]
struct Case {
    id: String,
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

/// How the lines on standard error are compared, each with the expected line at its place.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Errors {
    /// The first lines are these.
    Exact,
    /// The first line begins like this.
    Prefix,
    /// Some line holds each of these words.
    Somewhere,
}

/// A case with what ours should do.
#[derive(Debug)]
struct Expectation {
    case: Case,
    errors: Errors,
    /// Lines on standard output that may be missing or differ behind this beginning.
    free: Option<&'static str>,
}

fn cases() -> Vec<Case> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/ws4sqlite-startup.jsonl");
    let text = std::fs::read_to_string(path).expect("the fixture");
    text.lines().map(|line| serde_json::from_str(line).expect("a case")).collect()
}

/// Turns what the original does into what ours should do.
fn adjust(mut case: Case) -> Expectation {
    let mut errors = Errors::Exact;
    let mut free = None;
    match case.id.as_str() {
        // The usage line names the program.
        "L04" => case.err = vec!["Usage of sqlhttp-standalone:".into()],
        // One credential is one credential.
        "L12" | "L61" => {
            for line in &mut case.out {
                *line = line.replace("with 1 credentials", "with 1 credential");
            }
        }
        // Nothing ran out of memory: the directory does not exist.
        "L27" => case.err = vec!["FATAL | <ts> | accessing the database 'x': unable to open database file (14)".into()],
        // Unknown keys are warned about, with the nearest known key.
        "L44" => (errors, case.err) = (Errors::Somewhere, vec!["WARN".into(), "readOnly".into()]),
        "L81" => (errors, case.err) = (Errors::Somewhere, vec!["WARN".into(), "scheduledTasks".into()]),
        // The wording of YAML errors belongs to the YAML library.
        "L46" | "L47" | "L49" | "L50" | "L60" => {
            (errors, case.err) = (Errors::Prefix, vec!["FATAL | <ts> | in parsing config file: ".into()]);
        }
        // A refusal instead of a panic; whether the value was echoed before does not matter.
        "L57" => {
            case.exit = End::Status(1);
            (errors, case.err) = (Errors::Prefix, vec!["FATAL | <ts> | ".into()]);
            case.out.retain(|line| !line.contains("CORS Origin"));
            free = Some("  + CORS Origin set to a.com");
        }
        // A zone prefix may be described in words or shown as written.
        "L67" => {
            case.out.retain(|line| !line.contains("Task 0"));
            free = Some("  + Task 0 scheduled ");
        }
        // The backup directory is created.
        "L75" => {
            case.exit = End::runs();
            case.err.clear();
            case.out.push("  + Task 0 scheduled at 12:00 am".into());
        }
        // A read-only database can be backed up.
        "L82" => case.out.retain(|line| !line.starts_with("ERR")),
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
    match case.id.as_str() {
        "L12" => drop(write(dir, "selfhost.db", "")),
        "L28" => {
            drop(write(dir, "n.db", "this is not a database, it only looks like a file of some size\n".repeat(99)))
        }
        _ => {}
    }
}

/// Starts the server as the case says. One that runs is asked to stop: its exit status is then `None` here.
fn run(case: &Case, dir: &Path) -> (End, Exit) {
    let mut launch = Launch::new().dir(dir).args(case.args.clone());
    // Flags that only ask something are typed alone.
    if ["L02", "L03", "L04", "L05"].contains(&case.id.as_str()) {
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
    if case.id == "L08" {
        // As in the original, flags end at the first word that is none; ours also warns about what it ignores.
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
    wrong.iter().map(|problem| format!("{} {:?}: {problem}", case.id, case.args)).collect()
}

/// What a case must have done to the disk.
fn check_files(case: &Case, dir: &Path) -> Option<String> {
    match case.id.as_str() {
        // A file that a failed start created is removed again.
        "L21" if dir.join("x.db").exists() => Some("x.db was left behind".into()),
        "L28" if !dir.join("n.db").exists() => Some("a file that was there before was removed".into()),
        "L82" => {
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
fn recorded_cases_hold() {
    // L30 depends on the machine and has a test of its own.
    let all = cases();
    assert!(all.len() > 50, "only {} cases", all.len());
    let queue = Mutex::new(all.into_iter().filter(|case| case.id != "L30").map(adjust));
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

/// L30: the original wants IPv6 addresses in brackets, ours takes both forms.
#[test]
fn ipv6_addresses_work_with_and_without_brackets() {
    if std::net::TcpListener::bind("[::1]:0").is_err() {
        eprintln!("this machine has no IPv6: nothing to test");
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
fn wrong_flags_end_with_status_2_and_say_why() {
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
fn usage_names_every_flag_of_the_original() {
    let exit = Launch::new().without_address().args(["-h"]).run();
    assert_eq!(exit.code, Some(0));
    let usage = exit.stderr.join("\n");
    for flag in ["-bind-host", "-db", "-mem-db", "-port", "-serve-dir", "-version"] {
        assert!(usage.contains(flag), "{flag} is missing in\n{usage}");
    }
    assert!(usage.contains("12321") && usage.contains("0.0.0.0"), "defaults are missing in\n{usage}");
}
