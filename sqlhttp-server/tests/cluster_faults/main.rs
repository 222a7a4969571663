//! Clusters of real processes under faults. Each node runs in a network namespace of its own; clients write and read
//! through all nodes while one fault after the other is caused: killed and stopped processes, partitions, slow networks
//! and disks, wrong clocks, changes of the membership, snapshots and loads. Afterwards,
//!
//! * a checker that is independent of this project ([porcupine](https://github.com/anishathalye/porcupine), in
//!   `checker/`) decides whether the history of all registers is linearizable, with reads of the levels `linearizable`
//!   and `strong`;
//! * each acknowledged insert must be present once, each insert without effect absent, and each transaction whole;
//! * all nodes must have the same content at the same index, which `integrity_check` finds sound: their SQL dumps must
//!   be the same, and `GET /verify?deep` must find them equal. The contents are also compared after each restart, join,
//!   snapshot and load;
//! * no process may have ended by itself or panicked.
//!
//! The tests need root, Go and the packages that `.ci/faults` installs, so they run on request only:
//!
//! ```console
//! $ .ci/faults
//! $ cargo test -p sqlhttp-server --test cluster_faults -- --ignored --nocapture
//! ```
//!
//! This runs the short form. Environment variables select other runs:
//!
//! | variable | content |
//! |---|---|
//! | `SQLHTTP_FAULTS` | `all`, or names of [`combinations`] separated by commas |
//! | `SQLHTTP_FAULTS_SECONDS` | the time of the faults in each combination, 10 if it is not set |
//! | `SQLHTTP_FAULTS_SEED` | the seed, instead of the published one of each combination |
//! | `SQLHTTP_FAULTS_PROGRAM` | the path of another build of `sqlhttp-cluster`, for example with optimizations |
//! | `SQLHTTP_FAULTS_KEEP` | if it is set, the directories of successful runs stay, too |
//!
//! A line for each combination names its seed. The same seed chooses the same faults, victims, times and operations
//! again; the threads and the network of the machine are not repeated, so that a violation may need several runs. If a
//! combination fails, its directory under `target/tmp/cluster_faults` stays: the log and the data of each node, the
//! history (`history.jsonl`), and the picture of a violation (`history.html`).
#![cfg(target_os = "linux")]
#![allow(unreachable_pub)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod checker;
mod combinations;
#[path = "../common/mod.rs"]
mod common;
mod connection;
mod digest;
mod fault;
mod history;
mod load;
mod nemesis;
mod network;
mod nodes;
mod proxy;
mod run;
mod sandbox;
mod session;
mod stale;
mod status;
mod workload;

use std::path::Path;
use std::time::Duration;

use checker::Verdict;
use combinations::{COMBINATIONS, Combination};

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

fn number(name: &str) -> Option<u64> {
    variable(name).map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is not a number: {text}")))
}

/// The combinations that the environment selects.
fn selected() -> Vec<Combination> {
    let all = COMBINATIONS.into_iter();
    match variable("SQLHTTP_FAULTS").as_deref() {
        None => all.filter(|combination| combination.short).collect(),
        Some("all") => all.collect(),
        Some(names) => {
            let named = |name: &str| *COMBINATIONS.iter().find(|one| one.name == name).expect("a known combination");
            names.split(',').map(named).collect()
        }
    }
}

#[test]
#[ignore = "needs root, Go, and what .ci/faults installs"]
fn a_cluster_keeps_its_promises_under_faults() {
    sandbox::run("a_cluster_keeps_its_promises_under_faults", || {
        let seconds = Duration::from_secs(number("SQLHTTP_FAULTS_SECONDS").unwrap_or(10));
        let mut failed = Vec::new();
        println!("{}", session::HEADING);
        for mut combination in selected() {
            combination.seed = number("SQLHTTP_FAULTS_SEED").unwrap_or(combination.seed);
            let report = session::run(&combination, seconds);
            println!("{report}");
            if !report.violations.is_empty() {
                failed.push((combination.name, combination.seed, report.violations));
            }
        }
        assert!(failed.is_empty(), "{failed:#?}");
    });
}

/// The proof that the checker is able to find violations, with histories that are written by hand.
#[test]
#[ignore = "needs root, Go, and what .ci/faults installs"]
fn the_checker_finds_the_violations_in_histories_written_by_hand() {
    sandbox::run("the_checker_finds_the_violations_in_histories_written_by_hand", || {
        let histories = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cluster_faults/checker/testdata");
        let copies = common::temp_dir();
        let names = common::names(&histories);
        assert!(names.len() >= 10, "{names:?}");
        for name in names {
            let copy = copies.path().join(&name);
            std::fs::copy(histories.join(&name), &copy).unwrap();
            let expected =
                if name.starts_with("violation-") { Verdict::NotLinearizable } else { Verdict::Linearizable };
            assert_eq!(checker::check(&copy), expected, "{name}");
        }
    });
}

#[test]
#[ignore = "needs root, Go, and what .ci/faults installs"]
fn reads_without_a_leader_are_reported_if_they_are_taken_for_linearizable() {
    sandbox::run("reads_without_a_leader_are_reported_if_they_are_taken_for_linearizable", || {
        assert_eq!(stale::verdict_on_reads_of_an_isolated_node("none", 1301), Verdict::NotLinearizable);
    });
}

/// rqlite's weak reads are stale at a leader that was cut off. Ours are refused after the lease, half a heartbeat
/// timeout, which ends before another node can be elected.
#[test]
#[ignore = "needs root, Go, and what .ci/faults installs"]
fn weak_reads_at_an_isolated_leader_are_refused_before_they_are_stale() {
    sandbox::run("weak_reads_at_an_isolated_leader_are_refused_before_they_are_stale", || {
        assert_eq!(stale::verdict_on_reads_of_an_isolated_node("weak", 1302), Verdict::Linearizable);
    });
}
