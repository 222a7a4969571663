//! Power cuts at each operation on the disks of a machine of a simulated cluster. The example `simulate` repeats one of
//! them, and prints its trace.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use sqlhttp_raft::sim::{self, CutReport, DiskStep, Effect, Mutation, PowerCut, Scenario};

const SEED: u64 = 1;
/// One in this number of writes to the write-ahead log of the database is cut by default. They are half of all
/// operations.
const WAL_STRIDE: usize = 4;

/// Simulations share one engine, and a fault of the engine affects all of them, so only one test runs at a time.
static ALONE: Mutex<()> = Mutex::new(());

/// A power cut in a scenario, whose operations without a power cut are known.
#[derive(Clone, Copy)]
struct Planned<'s> {
    scenario: Scenario,
    steps: &'s [DiskStep],
    cut: PowerCut,
    mutation: Option<Mutation>,
}

impl Planned<'_> {
    /// Runs the scenario. Returns the violation of an invariant, if there is one.
    fn run(&self) -> Option<String> {
        let Planned { scenario, steps, cut, mutation } = *self;
        let run = sim::run_with_power_cut(scenario, SEED, mutation, Some(cut));
        let differs = || (run.steps[..=cut.at] != steps[..=cut.at]).then(|| "the run is not the same".to_owned());
        let violation = run.report.violation.or_else(differs)?;
        Some(format!("{scenario:?} {} {:?}, {}: {violation}", cut.at, cut.effect, steps[cut.at]))
    }
}

fn record(scenario: Scenario, mutation: Option<Mutation>) -> CutReport {
    sim::run_with_power_cut(scenario, SEED, mutation, None)
}

/// The operations of all scenarios, without a power cut.
fn record_all() -> Vec<(Scenario, Vec<DiskStep>)> {
    let recorded = Scenario::ALL.map(|scenario| {
        let run = record(scenario, None);
        assert_eq!(run.report.violation, None, "{scenario:?}");
        (scenario, run.steps)
    });
    recorded.into()
}

/// Runs scenarios on two threads. Returns the violations, at most `limit` and some.
fn run_all(planned: &[Planned<'_>], limit: usize) -> Vec<String> {
    let (next, found) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let work = || {
        while found.lock().unwrap().len() < limit {
            let Some(planned) = planned.get(next.fetch_add(1, Ordering::Relaxed)) else { return };
            let violation = planned.run();
            found.lock().unwrap().extend(violation);
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(work);
        scope.spawn(work);
    });
    found.into_inner().unwrap()
}

fn is_wal_write(step: &DiskStep) -> bool {
    step.kind == "write" && step.file == "db.sqlite-wal"
}

/// Cuts the power at the operations of all scenarios, with the effects that `effects` returns for an operation.
fn cut_everywhere(effects: impl Fn(&DiskStep, usize) -> Vec<Effect>) {
    let _alone = ALONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let recorded = record_all();
    for (scenario, steps) in &recorded {
        let cuts = steps
            .iter()
            .enumerate()
            .flat_map(|(at, step)| effects(step, at).into_iter().map(move |effect| PowerCut { at, effect }));
        let planned = |cut| Planned { scenario: *scenario, steps, cut, mutation: None };
        let planned: Vec<_> = cuts.map(planned).collect();
        let begun = std::time::Instant::now();
        let found = run_all(&planned, 10);
        println!("{scenario:?}: {} operations, {} power cuts, {:.1?}", steps.len(), planned.len(), begun.elapsed());
        assert!(found.is_empty(), "{}", found.join("\n"));
    }
}

#[test]
fn a_power_cut_at_an_operation_loses_nothing() {
    cut_everywhere(|step, at| {
        let effect = Effect::ALL[at % Effect::ALL.len()];
        if is_wal_write(step) && at % WAL_STRIDE > 0 { Vec::new() } else { vec![effect] }
    });
}

#[test]
#[ignore = "takes some minutes"]
fn a_power_cut_at_any_operation_with_any_effect_loses_nothing() {
    cut_everywhere(|_, _| Effect::ALL.to_vec());
}

#[test]
fn the_scenarios_contain_all_kinds_of_operations() {
    let _alone = ALONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let recorded = record_all();
    for (scenario, steps) in &recorded {
        assert_eq!(*steps, record(*scenario, None).steps, "{scenario:?} has the same operations each time");
    }
    let contains = |wanted: Scenario, kind: &str, file: &str, frame: &str| {
        let (_, steps) = recorded.iter().find(|(scenario, _)| *scenario == wanted).unwrap();
        let is_wanted = |step: &DiskStep| {
            let has_frame = frame.is_empty() || step.frames.contains(&frame);
            step.kind == kind && step.file.starts_with(file) && has_frame
        };
        assert!(steps.iter().any(is_wanted), "{wanted:?} contains no {kind} {file} {frame}");
    };
    for kind in ["write", "sync"] {
        for frame in ["append", "vote", "truncate", "end"] {
            contains(Scenario::Leadership, kind, "raft/log/", frame);
        }
        contains(Scenario::Leadership, kind, "raft/log/vote", "");
        for scenario in [Scenario::Purge, Scenario::Install] {
            contains(scenario, kind, "raft/log/", "purge");
        }
        for file in ["db.sqlite-download-", "raft/install.tmp", "db.sqlite", "db.sqlite-wal"] {
            contains(Scenario::Install, kind, file, "");
        }
        for scenario in [Scenario::Creation, Scenario::Joining] {
            contains(scenario, kind, "node.tmp", "");
        }
    }
    for kind in ["rename", "delete"] {
        contains(Scenario::Install, kind, "raft/install.json", "");
    }
    contains(Scenario::Install, "rename", "db.sqlite", "");
    contains(Scenario::Install, "delete", "db.sqlite-wal", "");
    contains(Scenario::Install, "sync directory", ".", "");
    contains(Scenario::Install, "sync directory", "raft", "");
    contains(Scenario::Purge, "delete", "raft/log/", "");
    contains(Scenario::Purge, "sync directory", "raft/log", "");
    contains(Scenario::Leadership, "create", "raft/log/", "");
    contains(Scenario::Joining, "rename", "node.json", "");
}

/// Faults of the code, with a scenario and an effect that find them.
///
/// `UnsyncedInstall` is not among them. SQLite syncs the directory when it opens the snapshot, because it creates a
/// journal, and `raft/install.json` remains until then.
const FAULTS: [(Mutation, Scenario, Effect); 3] = [
    (Mutation::UnsyncedVote, Scenario::Leadership, Effect::Lost),
    (Mutation::UnsyncedLog, Scenario::Leadership, Effect::Lost),
    (Mutation::InstallWithoutRecord, Scenario::Install, Effect::Lost),
];

#[test]
#[ignore = "takes a minute"]
fn the_faults_of_the_code_are_found() {
    let _alone = ALONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    for (mutation, scenario, effect) in FAULTS {
        let run = record(scenario, Some(mutation));
        assert_eq!(run.report.violation, None, "{mutation:?} is found only by power cuts");
        let plan = |at| Planned { scenario, steps: &run.steps, cut: PowerCut { at, effect }, mutation: Some(mutation) };
        let at = (0..run.steps.len()).filter(|at| !is_wal_write(&run.steps[*at]));
        let planned: Vec<_> = at.map(plan).collect();
        let found = run_all(&planned, 1);
        assert!(!found.is_empty(), "{mutation:?} is not found");
        println!("{mutation:?}: {}", found[0]);
    }
    // This fault is found as soon as an entry is applied.
    let run = record(Scenario::Leadership, Some(Mutation::ApplyBeforeDurable));
    println!("ApplyBeforeDurable: {}", run.report.violation.expect("a violation"));
}
