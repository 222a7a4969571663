//! Simulations of a cluster. `SQLHTTP_SIM_SEEDS=FIRST..LAST` chooses the seeds, both inclusive.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use sqlhttp_raft::sim::{self, Mutation, Report};

/// The seeds that run by default.
const SEEDS: (u64, u64) = (1, 100);
/// Further seeds that always run: they have found faults that no other test shows. With the fault in the code, the seed
/// finds it again.
const FOUND_FAULTS: [(u64, Option<Mutation>); 6] = [
    (404, None),
    (876, None),
    (1771, Some(Mutation::ReadyAfterTransfer)),
    (3128, Some(Mutation::TruncateCommitted)),
    (6183, Some(Mutation::SnapshotConfirms)),
    (6198, Some(Mutation::SnapshotConfirms)),
];
/// The faults of the code that the seeds do not find. `UnsyncedInstall`: as long as the install record exists, the
/// start completes the installation, and SQLite probably syncs the directory before the record is removed.
/// `VoteAfterStart`: a scenario in `sim::cluster::scenarios` finds it. The others: seeds of [`FOUND_FAULTS`] find them.
const NOT_FOUND: [Mutation; 4] =
    [Mutation::UnsyncedInstall, Mutation::VoteAfterStart, Mutation::SnapshotConfirms, Mutation::TruncateCommitted];
/// The number of seeds within which each other fault of the code must be found.
const MUTATION_SEEDS_MAX: u64 = 1000;

fn seeds() -> (u64, u64) {
    let Ok(text) = std::env::var("SQLHTTP_SIM_SEEDS") else { return SEEDS };
    let (first, last) = text.split_once("..").expect("SQLHTTP_SIM_SEEDS is FIRST..LAST");
    (first.parse().unwrap(), last.parse().unwrap())
}

/// Simulations share one engine, and a fault of the engine affects all of them, so only one test runs at a time.
static ALONE: Mutex<()> = Mutex::new(());

/// Runs seeds on two threads. Returns the first report, by time, that `wanted` accepts.
fn find(first: u64, last: u64, mutation: Option<Mutation>, wanted: impl Fn(&Report) -> bool + Sync) -> Option<Report> {
    let (next, found) = (AtomicU64::new(first), Mutex::new(None));
    let work = || {
        while found.lock().unwrap().is_none() {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed > last {
                return;
            }
            let report = sim::run(seed, mutation);
            if wanted(&report) {
                found.lock().unwrap().get_or_insert(report);
            }
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(work);
        scope.spawn(work);
    });
    found.into_inner().unwrap()
}

#[test]
fn no_seed_violates_an_invariant() {
    let _alone = ALONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let (first, last) = seeds();
    let is_violated = |report: &Report| report.violation.is_some();
    let known = FOUND_FAULTS.into_iter().find_map(|(seed, _)| find(seed, seed, None, is_violated));
    if let Some(report) = known.or_else(|| find(first, last, None, is_violated)) {
        let tail = report.trace.len().saturating_sub(40);
        let trace = report.trace[tail..].join("\n");
        panic!("seed {}: {}\n{trace}", report.seed, report.violation.unwrap());
    }
}

#[test]
fn the_seeds_that_found_faults_find_them_again() {
    let _alone = ALONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    for (seed, mutation) in FOUND_FAULTS.into_iter().filter(|(_, mutation)| mutation.is_some()) {
        assert!(sim::run(seed, mutation).violation.is_some(), "seed {seed}, {mutation:?}");
    }
}

#[test]
fn a_seed_replays_to_the_same_trace() {
    let _alone = ALONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let seed = seeds().0;
    let (first, second) = (sim::run(seed, None), sim::run(seed, None));
    let differs = first.trace.iter().zip(&second.trace).find(|(first, second)| first != second);
    assert_eq!(differs, None);
    assert_eq!((first.trace.len(), first.fingerprint), (second.trace.len(), second.fingerprint));
    let other = sim::run(seed + 1, None);
    assert_ne!(first.fingerprint, other.fingerprint, "another seed has another trace");
}

#[test]
#[ignore = "takes some minutes"]
fn the_faults_of_the_code_are_found() {
    let _alone = ALONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let mut missed = Vec::new();
    for mutation in Mutation::ALL.into_iter().filter(|mutation| !NOT_FOUND.contains(mutation)) {
        let begun = Instant::now();
        match find(1, MUTATION_SEEDS_MAX, Some(mutation), |report| report.violation.is_some()) {
            Some(report) => {
                let violation = report.violation.unwrap();
                println!("{mutation:?}: {:.1?}, seed {}: {violation}", begun.elapsed(), report.seed);
            }
            None => missed.push(mutation),
        }
    }
    assert_eq!(missed, []);
}
