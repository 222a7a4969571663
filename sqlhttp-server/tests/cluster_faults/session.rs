//! One combination from the start of its nodes to the verdict.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use serde_json::json;

use super::checker::{self, Verdict};
use super::combinations::Combination;
use super::common::{Launch, Random, Request, temp_dir};
use super::connection::{Connection, Reply};
use super::digest;
use super::history::History;
use super::nemesis::Nemesis;
use super::network;
use super::nodes::{Formation, Nodes};
use super::run::Run;
use super::sandbox;
use super::workload::{self, Workload};

/// The time limit of a start.
const START: Duration = Duration::from_secs(60);

/// Texts in the log of a node that is broken, or whose content was not that of the others for some time.
const BROKEN: [&str; 3] = ["panicked at", "has computed another outcome", "differs from that of the majority"];

/// The names of the columns of a [`Report`].
pub const HEADING: &str = "combination              seed  nodes  faults      ok   fail  unknown  elections  installs  \
                           equal  seconds  verdict";

/// The result of a run.
#[derive(Debug)]
pub struct Report {
    name: &'static str,
    seed: u64,
    nodes: usize,
    faults: usize,
    ok: u64,
    failed: u64,
    unknown: u64,
    elections: u64,
    installs: usize,
    comparisons: u64,
    time: Duration,
    digest: String,
    /// The broken promises.
    pub violations: Vec<String>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = match self.violations.as_slice() {
            [] => format!("linearizable, nothing lost or doubled, digest {}", self.digest),
            violations => format!("{} VIOLATIONS: {}", violations.len(), violations[0]),
        };
        write!(f, "{:<23} {:>5} {:>6} {:>7} ", self.name, self.seed, self.nodes, self.faults)?;
        write!(f, "{:>7} {:>6} {:>8} {:>10} ", self.ok, self.failed, self.unknown, self.elections)?;
        write!(f, "{:>9} {:>6} {:>8}  {verdict}", self.installs, self.comparisons, self.time.as_secs())
    }
}

/// Starts a cluster, lets clients and faults work on it for `time`, and checks what it has promised. Without a
/// violation, its directory is removed.
pub fn run(combination: &Combination, time: Duration) -> Report {
    let begun = Instant::now();
    let directory = directory(combination.name, combination.seed);
    let mut nodes = Nodes::new(combination.nodes, combination.proxied, combination.formation, &directory);
    let history = History::create(&directory.join("history.jsonl"));
    let run = Run::new(combination.nodes, combination.seed, history, initial_file());
    form(&mut nodes, &run.file);

    let workload = Workload::new(combination.work);
    let term = nodes.term();
    let mut nemesis = Nemesis { nodes: &mut nodes, run: &run, random: Random::new(combination.seed) };
    std::thread::scope(|scope| {
        workload.spawn(scope, &run);
        // The clients must end also if the nemesis panics.
        let _stop = StopOnDrop(&run);
        nemesis.attack(combination.faults, combination.overlap, Instant::now() + time);
    });
    let digest = finish(&mut nodes, &run, &workload);
    let verdict = checker::check(&directory.join("history.jsonl"));
    if verdict != Verdict::Linearizable {
        run.violation(format!("the history is {verdict:?}"));
    }
    let (ok, failed, unknown) = sum(run.history.counts.get(), run.others.get());
    let report = Report {
        name: combination.name,
        seed: combination.seed,
        nodes: combination.nodes,
        faults: run.faults().len(),
        ok,
        failed,
        unknown,
        elections: nodes.term().saturating_sub(term),
        installs: nodes.log_lines("was replaced by the leader's snapshot").len(),
        comparisons: run.comparisons(),
        time: begun.elapsed(),
        digest,
        violations: run.violations(),
    };
    let notes = format!("{report:#?}\n{:?}\n{:#?}\n", run.faults(), run.errors());
    std::fs::write(directory.join("notes.txt"), notes).expect("the notes can be written");
    drop(nodes);
    if report.violations.is_empty() && !sandbox::keeps() {
        let _ = std::fs::remove_dir_all(directory);
    }
    report
}

/// Ends the clients.
struct StopOnDrop<'a>(&'a Run);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.stop.store(true, Ordering::Relaxed);
    }
}

type Numbers = (u64, u64, u64);

fn sum(a: Numbers, b: Numbers) -> Numbers {
    (a.0 + b.0, a.1 + b.1, a.2 + b.2)
}

/// An empty directory for a run.
pub fn directory(name: &str, seed: u64) -> PathBuf {
    let directory = sandbox::directory().join(format!("{name}-{seed}"));
    let _ = std::fs::remove_dir_all(&directory);
    std::fs::create_dir_all(&directory).expect("a directory");
    directory
}

/// A database file with the initial content of all workloads.
fn initial_file() -> Vec<u8> {
    let dir = temp_dir();
    let server = Launch::new().dir(dir.path()).args(["--db", "o.db"]).start();
    let statements = workload::schema();
    let items = statements.as_array().expect("a list").iter().map(|sql| json!({ "statement": sql })).collect();
    server.transaction("o", items).results();
    assert_eq!(server.stop().code, Some(0));
    std::fs::read(Path::new(dir.path()).join("o.db")).expect("the database")
}

/// Starts the nodes with the initial content, and waits until all vote.
fn form(nodes: &mut Nodes, file: &[u8]) {
    match nodes.formation() {
        Formation::Boot => {
            nodes.start(0);
            let boot = Request::new("POST", "/boot").body(file);
            await_results(nodes, &boot);
            // The others join while the clients and faults begin.
            nodes.heal();
        }
        Formation::Together => {
            nodes.heal();
            digest::await_equal(nodes, false).expect("a cluster");
            await_results(nodes, &Request::json("/db/execute?transaction", workload::schema()));
        }
    }
}

/// Sends a request to the first node until it succeeds.
fn await_results(nodes: &mut Nodes, request: &Request) {
    let deadline = Instant::now() + START;
    loop {
        let response = nodes.ask(0, request, START);
        if response.as_ref().is_ok_and(|response| response.status == 200 && !response.text().contains("\"error\"")) {
            return;
        }
        let log = || nodes.log(0);
        assert!(Instant::now() < deadline, "{response:?}\n{}", log());
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Waits until the nodes are the same, and checks what the clients were promised. Returns the digest of the content.
fn finish(nodes: &mut Nodes, run: &Run, workload: &Workload) -> String {
    let digest = digest::await_equal(nodes, true).unwrap_or_else(|why| {
        run.violation(why);
        String::new()
    });
    workload.finish(run);
    run.history.flush();
    nodes.note_ends();
    let lines = BROKEN.iter().flat_map(|text| nodes.log_lines(text));
    for what in nodes.unexpected_ends.iter().cloned().chain(lines) {
        run.violation(format!("unexpected: {what}"));
    }
    digest
}

/// Writes a register through a node. Panics if that fails.
pub fn must_write(node: usize, statements: &serde_json::Value) {
    let mut connection = Connection::new(START);
    match connection.statements(network::http(node), "/db/execute", statements) {
        Reply::Results(_) => {}
        other => panic!("{other:?}"),
    }
}
