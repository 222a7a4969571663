//! Power cuts at every sync of a workload of concurrent writers: no acknowledged write is lost, and no batch is applied
//! in part.
#![cfg(feature = "fault-injection")]
#![allow(clippy::expect_used, clippy::panic, reason = "clippy does not see that this is a test")]

mod crash_support;

use crash_support::{Answer, History, Plan, SMALL, block_on, seeds};
use sqlhttp_core::{AfterStop, Batch, Database, FaultyDisk, JournalMode, Loss, Options, Stamp, Step, StepOutcome};

/// More syncs than any workload in this file needs.
const SYNCS_MAX: u64 = 2_000;

const MODES: [AfterStop; 2] = [AfterStop::Fail, AfterStop::Pretend];

/// Opens the database, creates the tables and lets the clients write, until all are done or the disk stops. Then closes
/// the database.
fn run(plan: &Plan, disk: &FaultyDisk, history: &mut History) {
    let Ok(database) = plan.open(disk) else { return };
    if history.create_schema(&database, disk) {
        history.write(&database, disk);
    }
}

/// Cuts the power, several times during the recovery too, and checks the content. Then writes and checks again.
fn check_after_power_cuts(plan: &Plan, disk: &FaultyDisk, history: &mut History, loss: Loss) -> Result<(), String> {
    disk.power_cut(loss);
    for sync in [1, 2, 3] {
        disk.stop_at_sync(sync, AfterStop::Fail);
        drop(plan.open(disk));
        disk.power_cut(loss);
    }
    let database = plan.reopen(disk);
    history.check(&database)?;
    // The database accepts writes as before.
    if history.create_schema(&database, disk) {
        history.write(&database, disk);
    }
    history.check(&database)
}

/// Cuts the power at every sync of the workload. Returns the number of syncs.
fn cut_at_every_sync(plan: Plan, then: AfterStop, loss: Loss) -> u64 {
    for sync in 1..SYNCS_MAX {
        let plan = Plan { seed: plan.seed.wrapping_mul(SYNCS_MAX) + sync, ..plan };
        let disk = plan.disk();
        let mut history = History::default();
        disk.stop_at_sync(sync, then);
        run(&plan, &disk, &mut history);
        let stopped = disk.stopped().is_some();
        check_after_power_cuts(&plan, &disk, &mut history, loss)
            .unwrap_or_else(|what| panic!("{what}; power cut at sync {sync}, {then:?}, {loss:?}, {plan:?}"));
        if !stopped {
            return sync - 1;
        }
    }
    panic!("the workload does not end");
}

#[test]
fn power_cuts_with_a_write_ahead_log_lose_nothing() {
    for then in MODES {
        let syncs = cut_at_every_sync(Plan::new(1), then, Loss::Unsynced);
        assert!(syncs > 10, "only {syncs} syncs, too few for a test");
    }
}

#[test]
fn power_cuts_with_a_write_ahead_log_and_torn_writes_lose_nothing() {
    for seed in seeds().step_by(20) {
        for then in MODES {
            cut_at_every_sync(Plan::new(seed), then, Loss::Torn);
        }
    }
}

#[test]
fn power_cuts_without_grouping_lose_nothing() {
    let plan = Plan { group_len_max: 1, ..Plan::new(2) };
    cut_at_every_sync(plan, AfterStop::Fail, Loss::Torn);
}

#[test]
fn power_cuts_with_the_default_cache_and_checkpoints_lose_nothing() {
    let plan = Plan { script: "", ..Plan::new(3) };
    cut_at_every_sync(plan, AfterStop::Fail, Loss::Torn);
}

#[test]
fn power_cuts_with_a_truncated_rollback_journal_lose_nothing() {
    rollback_journal(JournalMode::Truncate, SMALL);
}

#[test]
fn power_cuts_with_a_persistent_rollback_journal_lose_nothing() {
    rollback_journal(JournalMode::Persist, SMALL);
}

/// With `synchronous=EXTRA`, SQLite also syncs the directory after deleting the journal, which is the commit
/// (<https://sqlite.org/pragma.html#pragma_synchronous>).
#[test]
fn power_cuts_with_a_deleted_rollback_journal_and_a_synced_directory_lose_nothing() {
    rollback_journal(JournalMode::Delete, "PRAGMA cache_size=8; PRAGMA synchronous=EXTRA");
}

#[test]
fn power_cuts_with_a_deleted_rollback_journal_lose_nothing() {
    rollback_journal(JournalMode::Delete, SMALL);
}

#[test]
fn power_cuts_with_the_default_journal_mode_of_a_new_file_lose_nothing() {
    rollback_journal(JournalMode::Keep, SMALL);
}

fn rollback_journal(journal_mode: JournalMode, script: &'static str) {
    for loss in [Loss::Unsynced, Loss::Torn] {
        for then in MODES {
            let plan = Plan { journal_mode, script, ..Plan::new(4) };
            cut_at_every_sync(plan, then, loss);
        }
    }
}

#[test]
fn a_power_cut_after_the_last_write_loses_no_acknowledged_write() {
    for seed in seeds() {
        for loss in [Loss::Unsynced, Loss::Torn] {
            let plan = Plan::new(seed);
            let disk = plan.disk();
            let mut history = History::default();
            let database = plan.reopen(&disk);
            assert!(history.create_schema(&database, &disk));
            history.write(&database, &disk);
            // The power is cut while the database is open, because closing it would sync.
            disk.power_cut(loss);
            drop(database);
            assert!(history.count(Answer::Acknowledged) > 10);
            let database = plan.reopen(&disk);
            history.check(&database).unwrap_or_else(|what| panic!("{what}; {loss:?}, {plan:?}"));
        }
    }
}

#[test]
fn an_interrupted_checkpoint_loses_nothing() {
    interrupt("checkpoint", |database| drop(block_on(database.checkpoint())));
}

#[test]
fn an_interrupted_close_loses_nothing() {
    interrupt("close", |database| drop(block_on(database.close())));
}

#[test]
fn an_interrupted_vacuum_loses_nothing() {
    interrupt("vacuum", |database| drop(block_on(database.vacuum())));
}

/// Writes, and then performs an operation during which the power is cut, at every sync of that operation.
fn interrupt(what: &str, work: impl Fn(&Database)) {
    let mut interrupted = 0;
    for seed in seeds().step_by(4) {
        for (then, loss) in
            [(AfterStop::Fail, Loss::Torn), (AfterStop::Pretend, Loss::Torn), (AfterStop::Fail, Loss::Unsynced)]
        {
            for sync in 1..SYNCS_MAX {
                let plan = Plan {
                    script: "PRAGMA wal_autocheckpoint=0; PRAGMA cache_size=8",
                    ..Plan::new(seed * SYNCS_MAX + sync)
                };
                let disk = plan.disk();
                let mut history = History::default();
                let database = plan.reopen(&disk);
                assert!(history.create_schema(&database, &disk));
                history.write(&database, &disk);
                disk.stop_at_sync(sync, then);
                work(&database);
                let stopped = disk.stopped().is_some();
                disk.power_cut(loss);
                drop(database);
                check_after_power_cuts(&plan, &disk, &mut history, loss).unwrap_or_else(|error| {
                    panic!("{error}; {what}, power cut at its sync {sync}, {then:?}, {loss:?}, {plan:?}")
                });
                if !stopped {
                    break;
                }
                interrupted += 1;
            }
        }
    }
    assert!(interrupted > 0, "{what} does not sync");
}

/// Tests the harness itself: without syncs at commit, it detects that acknowledged writes are lost.
#[test]
fn the_harness_detects_lost_writes() {
    let scripts = [
        "PRAGMA wal_autocheckpoint=0; PRAGMA synchronous=OFF",
        "PRAGMA wal_autocheckpoint=0; PRAGMA synchronous=NORMAL",
    ];
    for script in scripts {
        let plan = Plan { script, ..Plan::new(5) };
        let disk = plan.disk();
        let mut history = History::default();
        let database = plan.reopen(&disk);
        assert!(history.create_schema(&database, &disk));
        history.write(&database, &disk);
        history.check(&database).expect("no error before the power cut");
        disk.power_cut(Loss::Unsynced);
        drop(database);
        let found = history.check(&plan.reopen(&disk));
        assert!(found.is_err(), "no write is lost although nothing was synced: {script}");
    }
}

/// Tests the harness itself: with a rollback journal and without syncs, torn writes corrupt the database.
#[test]
fn the_harness_detects_torn_writes() {
    let plan = |seed| Plan {
        script: "PRAGMA synchronous=OFF; PRAGMA cache_size=8",
        journal_mode: JournalMode::Truncate,
        ..Plan::new(seed)
    };
    let is_corrupt = |seed| {
        let plan = plan(seed);
        let disk = plan.disk();
        let mut history = History::default();
        let database = plan.reopen(&disk);
        assert!(history.create_schema(&database, &disk));
        history.write(&database, &disk);
        disk.power_cut(Loss::Torn);
        drop(database);
        match plan.open(&disk) {
            Err(_) => true,
            Ok(database) => history.check(&database).is_err_and(|what| !what.contains("is lost")),
        }
    };
    assert!((0..200).any(is_corrupt), "torn writes never corrupt the database");
}

#[test]
fn the_time_of_the_stamp_applies_on_any_vfs() {
    let plan = Plan::new(6);
    let disk = plan.disk();
    let database = plan.reopen(&disk);
    let stamp = Stamp { unix_ms: 1_234_567_890_123, seed: 1 };
    let batch = Batch {
        stamp: Some(stamp),
        ..Batch::one(Step::query("SELECT CAST(unixepoch('subsec') * 1000 AS INTEGER)", ()))
    };
    let outcome = database.blocking().run(batch).expect("an outcome");
    let [StepOutcome::Rows(rows)] = outcome.steps.as_slice() else {
        panic!("no rows: {outcome:?}");
    };
    let found: Vec<_> = rows.iter().flat_map(|row| row.values()).filter_map(|value| value.as_integer()).collect();
    assert_eq!(found, [stamp.unix_ms]);
}

#[test]
fn an_unknown_vfs_is_refused() {
    let options = Options::default().vfs(Some("no-such-disk".into()));
    let error = Database::open("/crash.db", options).expect_err("there is no such VFS");
    assert!(error.to_string().contains("no such vfs: no-such-disk"), "{error}");
}

/// Tests the harness itself: its clients share transactions, so that power cuts hit groups.
#[test]
fn the_clients_of_the_harness_share_transactions() {
    let plan = Plan::new(7);
    let disk = plan.disk();
    let mut history = History::default();
    let database = plan.reopen(&disk);
    assert!(history.create_schema(&database, &disk));
    for _ in 0..5 {
        history.write(&database, &disk);
    }
    let status = database.status();
    assert!(status.groups_committed < status.batches_written, "{status:?}");
}
