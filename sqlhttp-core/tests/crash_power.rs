//! The power fails at every sync of a workload of concurrent writers: what was acknowledged is there, and nothing half.
#![cfg(feature = "fault-injection")]
#![allow(clippy::expect_used, clippy::panic, reason = "clippy does not see that this is a test")]

mod crash_support;

use crash_support::{Answer, Notes, Plan, SMALL, block_on, seeds};
use sqlhttp_core::{AfterStop, Batch, Database, FaultyDisk, JournalMode, Loss, Options, Stamp, Step, StepOutcome};

/// More syncs than any workload here needs.
const SYNCS_MAX: u64 = 2_000;

const MODES: [AfterStop; 2] = [AfterStop::Fail, AfterStop::Pretend];

/// Opens, creates the tables and lets the clients write, until all is done or the disk stops; then everybody is gone.
fn run(plan: &Plan, disk: &FaultyDisk, notes: &mut Notes) {
    let Ok(database) = plan.open(disk) else { return };
    if notes.create_schema(&database, disk) {
        notes.write(&database, disk);
    }
}

/// Cuts the power, and looks at what is left; then cuts it again during the recovery, and looks again.
fn survive(plan: &Plan, disk: &FaultyDisk, notes: &mut Notes, loss: Loss) -> Result<(), String> {
    disk.power_cut(loss);
    for sync in [1, 2, 3] {
        disk.stop_at_sync(sync, AfterStop::Fail);
        drop(plan.open(disk));
        disk.power_cut(loss);
    }
    let database = plan.reopen(disk);
    notes.check(&database)?;
    // It can be written to as if nothing had happened.
    if notes.create_schema(&database, disk) {
        notes.write(&database, disk);
    }
    notes.check(&database)
}

/// Cuts the power at each sync there is. Returns at how many.
fn cut_at_every_sync(plan: Plan, then: AfterStop, loss: Loss) -> u64 {
    for sync in 1..SYNCS_MAX {
        let plan = Plan { seed: plan.seed.wrapping_mul(SYNCS_MAX) + sync, ..plan };
        let disk = plan.disk();
        let mut notes = Notes::default();
        disk.stop_at_sync(sync, then);
        run(&plan, &disk, &mut notes);
        let stopped = disk.stopped().is_some();
        survive(&plan, &disk, &mut notes, loss)
            .unwrap_or_else(|what| panic!("{what}; power cut at sync {sync}, {then:?}, {loss:?}, {plan:?}"));
        if !stopped {
            return sync - 1;
        }
    }
    panic!("the workload never ends");
}

#[test]
fn every_sync_with_a_write_ahead_log() {
    for then in MODES {
        let syncs = cut_at_every_sync(Plan::new(1), then, Loss::Unsynced);
        assert!(syncs > 10, "only {syncs} syncs: the workload tests nothing");
    }
}

#[test]
fn every_sync_with_a_write_ahead_log_and_torn_writes() {
    for seed in seeds().step_by(20) {
        for then in MODES {
            cut_at_every_sync(Plan::new(seed), then, Loss::Torn);
        }
    }
}

#[test]
fn every_sync_without_grouping() {
    let plan = Plan { group_len_max: 1, ..Plan::new(2) };
    cut_at_every_sync(plan, AfterStop::Fail, Loss::Torn);
}

#[test]
fn every_sync_with_the_default_cache_and_checkpoints() {
    let plan = Plan { script: "", ..Plan::new(3) };
    cut_at_every_sync(plan, AfterStop::Fail, Loss::Torn);
}

#[test]
fn every_sync_with_a_truncated_rollback_journal() {
    rollback_journal(JournalMode::Truncate, SMALL);
}

#[test]
fn every_sync_with_a_persistent_rollback_journal() {
    rollback_journal(JournalMode::Persist, SMALL);
}

/// `synchronous=EXTRA` also syncs the directory when the journal is deleted, which is what commits.
#[test]
fn every_sync_with_a_deleted_rollback_journal_and_a_synced_directory() {
    rollback_journal(JournalMode::Delete, "PRAGMA cache_size=8; PRAGMA synchronous=EXTRA");
}

#[test]
fn every_sync_with_a_deleted_rollback_journal() {
    rollback_journal(JournalMode::Delete, SMALL);
}

#[test]
fn every_sync_with_the_journal_that_a_new_file_has() {
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
fn nothing_acknowledged_is_lost_if_the_power_fails_after_all_is_done() {
    for seed in seeds() {
        for loss in [Loss::Unsynced, Loss::Torn] {
            let plan = Plan::new(seed);
            let disk = plan.disk();
            let mut notes = Notes::default();
            let database = plan.reopen(&disk);
            assert!(notes.create_schema(&database, &disk));
            notes.write(&database, &disk);
            // While it is open, so that closing it makes nothing durable.
            disk.power_cut(loss);
            drop(database);
            assert!(notes.count(Answer::Acknowledged) > 10);
            let database = plan.reopen(&disk);
            notes.check(&database).unwrap_or_else(|what| panic!("{what}; {loss:?}, {plan:?}"));
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

/// Writes, then does something during which the power fails at every sync.
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
                let mut notes = Notes::default();
                let database = plan.reopen(&disk);
                assert!(notes.create_schema(&database, &disk));
                notes.write(&database, &disk);
                disk.stop_at_sync(sync, then);
                work(&database);
                let stopped = disk.stopped().is_some();
                disk.power_cut(loss);
                drop(database);
                survive(&plan, &disk, &mut notes, loss).unwrap_or_else(|error| {
                    panic!("{error}; {what}, power cut at its sync {sync}, {then:?}, {loss:?}, {plan:?}")
                });
                if !stopped {
                    break;
                }
                interrupted += 1;
            }
        }
    }
    assert!(interrupted > 0, "{what} never syncs");
}

/// The harness itself: without syncs at commit, it sees that acknowledged writes are lost.
#[test]
fn the_harness_sees_what_was_not_synced() {
    let scripts = [
        "PRAGMA wal_autocheckpoint=0; PRAGMA synchronous=OFF",
        "PRAGMA wal_autocheckpoint=0; PRAGMA synchronous=NORMAL",
    ];
    for script in scripts {
        let plan = Plan { script, ..Plan::new(5) };
        let disk = plan.disk();
        let mut notes = Notes::default();
        let database = plan.reopen(&disk);
        assert!(notes.create_schema(&database, &disk));
        notes.write(&database, &disk);
        notes.check(&database).expect("before the power cut all is well");
        disk.power_cut(Loss::Unsynced);
        drop(database);
        let found = notes.check(&plan.reopen(&disk));
        assert!(found.is_err(), "nothing was synced, and yet nothing is lost: {script}");
    }
}

/// The harness itself: with a rollback journal and no syncs, torn writes leave wrecks behind.
#[test]
fn the_harness_sees_torn_writes() {
    let plan = |seed| Plan {
        script: "PRAGMA synchronous=OFF; PRAGMA cache_size=8",
        journal_mode: JournalMode::Truncate,
        ..Plan::new(seed)
    };
    let is_wreck = |seed| {
        let plan = plan(seed);
        let disk = plan.disk();
        let mut notes = Notes::default();
        let database = plan.reopen(&disk);
        assert!(notes.create_schema(&database, &disk));
        notes.write(&database, &disk);
        disk.power_cut(Loss::Torn);
        drop(database);
        match plan.open(&disk) {
            Err(_) => true,
            Ok(database) => notes.check(&database).is_err_and(|what| !what.contains("is lost")),
        }
    };
    assert!((0..200).any(is_wreck), "torn writes do no harm: they are not torn");
}

#[test]
fn the_clock_of_the_batch_holds_on_any_vfs() {
    let plan = Plan::new(6);
    let disk = plan.disk();
    let database = plan.reopen(&disk);
    let stamp = Stamp { unix_ms: 1_234_567_890_123, seed: 1 };
    let batch = Batch {
        stamp: Some(stamp),
        ..Batch::one(Step::query("SELECT CAST(unixepoch('subsec') * 1000 AS INTEGER)", ()))
    };
    let outcome = database.execute_blocking(batch).expect("an outcome");
    let [StepOutcome::Rows(rows)] = outcome.steps.as_slice() else {
        panic!("no rows: {outcome:?}");
    };
    let told: Vec<_> = rows.iter().flat_map(|row| row.values()).filter_map(|value| value.as_integer()).collect();
    assert_eq!(told, [stamp.unix_ms]);
}

#[test]
fn an_unknown_vfs_is_refused() {
    let options = Options { vfs: Some("no-such-disk".into()), ..Options::default() };
    let error = Database::open("/crash.db", options).expect_err("there is no such VFS");
    assert!(error.to_string().contains("no such vfs: no-such-disk"), "{error}");
}

/// The harness itself: its clients share transactions, so that what is cut short is groups.
#[test]
fn the_harness_makes_groups() {
    let plan = Plan::new(7);
    let disk = plan.disk();
    let mut notes = Notes::default();
    let database = plan.reopen(&disk);
    assert!(notes.create_schema(&database, &disk));
    for _ in 0..5 {
        notes.write(&database, &disk);
    }
    let status = database.status();
    assert!(status.groups_committed < status.batches_written, "{status:?}");
}
