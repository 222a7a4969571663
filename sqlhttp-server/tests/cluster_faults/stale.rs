//! A run whose reads are recorded as if they were linearizable, although they have another level.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;

use super::checker::{self, Verdict};
use super::connection::{Connection, Reply};
use super::digest;
use super::history::{History, Op, Outcome};
use super::network;
use super::nodes::{Formation, Nodes};
use super::session;

/// The time during which the leader is isolated: several elections.
const ISOLATED: Duration = Duration::from_secs(6);
const PATIENCE: Duration = Duration::from_secs(5);
const KEY: &str = "k";

/// Isolates the leader while clients write through the other nodes and read at the old leader with this level. Returns
/// the checker's verdict on all operations.
pub fn verdict_on_reads_of_an_isolated_node(level: &str, seed: u64) -> Verdict {
    let directory = session::directory(&format!("isolated-{level}"), seed);
    let mut nodes = Nodes::new(3, false, Formation::Together, &directory);
    nodes.heal();
    digest::await_equal(&mut nodes, false).expect("a cluster");
    session::must_write(0, &json!(["CREATE TABLE registers(k TEXT PRIMARY KEY, v INTEGER)"]));
    let leader = nodes.leader().expect("a leader");
    let others: Vec<usize> = nodes.all().into_iter().filter(|node| *node != leader).collect();

    let history = History::create(&directory.join("history.jsonl"));
    let done = AtomicBool::new(false);
    let (writes, reads) = std::thread::scope(|scope| {
        let writer = scope.spawn(|| write(&history, 1, others[0], &done));
        let reader = scope.spawn(|| read(&history, 2, leader, level, &done));
        for other in &others {
            nodes.network.cut_both(leader, *other);
        }
        let deadline = Instant::now() + ISOLATED;
        // A write after the election, so that the value at the old leader is stale.
        while Instant::now() < deadline || history.counts.ok.load(Ordering::Relaxed) < 5 {
            assert!(Instant::now() < deadline + ISOLATED * 5, "no write succeeds without the old leader");
            std::thread::sleep(Duration::from_millis(50));
        }
        done.store(true, Ordering::Relaxed);
        (writer.join().expect("the writer"), reader.join().expect("the reader"))
    });
    history.flush();
    let verdict = checker::check(&directory.join("history.jsonl"));
    println!("isolated leader, reads of level {level}, seed {seed}: {writes} writes, {reads} reads, {verdict:?}");
    assert!(writes > 0 && (level != "none" || reads > 0), "{writes} writes, {reads} reads");
    nodes.heal();
    digest::await_equal(&mut nodes, true).expect("the same content on all nodes");
    drop(nodes);
    let _ = std::fs::remove_dir_all(directory);
    verdict
}

/// Writes increasing numbers through a node. Returns the number of acknowledged writes.
fn write(history: &History, process: u64, node: usize, done: &AtomicBool) -> u64 {
    let mut connection = Connection::new(PATIENCE);
    let (mut value, mut written) = (0_i64, 0);
    while !done.load(Ordering::Relaxed) {
        value += 1;
        let call = history.now();
        let statement = json!(["INSERT OR REPLACE INTO registers VALUES(?, ?)", KEY, value]);
        let outcome = match connection.statements(network::http(node), "/db/execute?timeout=2s", &json!([statement])) {
            Reply::Results(_) => Outcome::Written,
            Reply::NoEffect(_) => Outcome::Failed,
            Reply::Unknown(_) => Outcome::Unknown,
        };
        written += u64::from(outcome == Outcome::Written);
        // After an operation with an unknown outcome, another process continues.
        let process = if outcome == Outcome::Unknown { process + 10 * value.unsigned_abs() } else { process };
        history.record(process, KEY, Op::Write(value), "", call, outcome);
        std::thread::sleep(Duration::from_millis(20));
    }
    written
}

/// Reads at a node. Returns the number of reads with a response.
fn read(history: &History, process: u64, node: usize, level: &str, done: &AtomicBool) -> u64 {
    let mut connection = Connection::new(PATIENCE);
    let (target, mut read) = (format!("/db/query?level={level}&timeout=200ms"), 0);
    while !done.load(Ordering::Relaxed) {
        let call = history.now();
        let query = json!([["SELECT v FROM registers WHERE k = ?", KEY]]);
        if let Reply::Results(results) = connection.statements(network::http(node), &target, &query) {
            read += 1;
            let value = results[0]["values"][0][0].as_i64();
            history.record(process, KEY, Op::Read, level, call, Outcome::Read(value));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    read
}
