//! The disk becomes full or fails at every operation of a workload of concurrent writers. Every client receives an
//! answer, no acknowledged write is lost, and no batch is applied in part.
#![cfg(feature = "fault-injection")]
#![allow(clippy::expect_used, clippy::panic, reason = "clippy does not see that this is a test")]

mod crash_support;

use crash_support::{Answer, History, Plan, seeds};
use sqlhttp_core::{Database, DiskFault, Error, FaultyDisk, JournalMode, Loss};

/// More operations than any workload in this file needs.
const OPERATIONS_MAX: u64 = 20_000;

/// Creates a database with some content, on a disk without faults.
fn set_up(plan: &Plan) -> (FaultyDisk, Database, History) {
    let disk = plan.disk();
    let database = plan.reopen(&disk);
    let mut history = History::default();
    assert!(history.create_schema(&database, &disk));
    history.write(&database, &disk);
    (disk, database, history)
}

fn plan(journal_mode: JournalMode, seed: u64) -> Plan {
    Plan { journal_mode, ..Plan::new(seed) }
}

/// Calls `run` with a fault after 0, 1, 2, … operations (in larger steps later), until the fault is not reached.
fn at_every_operation(mut run: impl FnMut(u64) -> Result<bool, String>) {
    let mut after = 0;
    loop {
        let reached = run(after).unwrap_or_else(|what| panic!("{what}; fault after {after} operations"));
        if !reached {
            assert!(after > 5, "the workload has only {after} operations, too few for a test");
            return;
        }
        after += 1 + after / 64;
        assert!(after < OPERATIONS_MAX, "the workload does not end");
    }
}

#[test]
fn a_full_disk_fails_only_the_writes_that_need_space() {
    for mode in [JournalMode::Wal, JournalMode::Truncate, JournalMode::Persist] {
        at_every_operation(|after| {
            let plan = plan(mode, after);
            full_disk(&plan, after).map_err(|what| format!("{what}; {plan:?}"))
        });
    }
}

fn full_disk(plan: &Plan, after: u64) -> Result<bool, String> {
    let (disk, database, mut history) = set_up(plan);
    let failures = disk.failures();
    disk.fail_after(after, DiskFault::Full);
    history.write(&database, &disk);
    let reached = disk.failures() > failures;
    if let Some(why) = database.status().poisoned {
        return Err(format!("a full disk poisons the database: {why}"));
    }
    // With JournalMode::Persist, the disk may lack space even for invalidating the journal. Readers, which cannot roll
    // it back, then have to wait until the next write does.
    let readers_wait = plan.journal_mode == JournalMode::Persist;
    if !readers_wait {
        history.check(&database).map_err(|what| format!("with a full disk: {what}"))?;
    }
    disk.heal();
    if readers_wait {
        history.write(&database, &disk);
    }
    let acknowledged = history.count(Answer::Acknowledged);
    history.write(&database, &disk);
    if history.count(Answer::Acknowledged) < acknowledged + history.sound_batches() {
        return Err(format!("the database does not continue when there is space again: {:#?}", history.reply_texts));
    }
    history.check(&database).map_err(|what| format!("with free space again: {what}"))?;
    drop(database);
    disk.power_cut(Loss::Torn);
    history.check(&plan.reopen(&disk)).map_err(|what| format!("after a restart: {what}"))?;
    Ok(reached)
}

/// A batch that was reported as rolled back must not be there after a crash.
#[test]
fn a_power_cut_on_a_full_disk_does_not_restore_failed_writes() {
    for mode in [JournalMode::Wal, JournalMode::Truncate, JournalMode::Persist] {
        at_every_operation(|after| {
            let plan = plan(mode, after);
            let (disk, database, mut history) = set_up(&plan);
            let failures = disk.failures();
            disk.fail_after(after, DiskFault::Full);
            history.write(&database, &disk);
            let reached = disk.failures() > failures;
            disk.power_cut(Loss::Torn);
            drop(database);
            let checked = history.check(&plan.reopen(&disk));
            checked.map(|()| reached).map_err(|what| format!("{what}; {plan:?}"))
        });
    }
}

#[test]
fn a_permanent_disk_failure_loses_no_acknowledged_write() {
    for mode in [JournalMode::Wal, JournalMode::Truncate, JournalMode::Persist] {
        at_every_operation(|after| {
            let plan = plan(mode, after);
            dead_disk(&plan, after).map_err(|what| format!("{what}; {plan:?}"))
        });
    }
}

fn dead_disk(plan: &Plan, after: u64) -> Result<bool, String> {
    let (disk, database, mut history) = set_up(plan);
    let failures = disk.failures();
    disk.fail_after(after, DiskFault::Io);
    history.write(&database, &disk);
    let reached = disk.failures() > failures;
    if reached {
        let acknowledged = history.count(Answer::Acknowledged);
        history.write(&database, &disk);
        if history.count(Answer::Acknowledged) > acknowledged {
            return Err("a write was acknowledged by a dead disk".into());
        }
    }
    drop(database);
    disk.power_cut(Loss::Torn);
    history.check(&plan.reopen(&disk))?;
    Ok(reached)
}

#[test]
fn a_single_failed_operation_loses_no_acknowledged_write() {
    for mode in [JournalMode::Wal, JournalMode::Truncate, JournalMode::Persist] {
        at_every_operation(|after| {
            let plan = plan(mode, after);
            single_failure(&plan, after).map_err(|what| format!("{what}; {plan:?}"))
        });
    }
}

/// After the failure, the database continues or is poisoned. The writes that it acknowledges then must be durable as
/// well: a successful sync after a failed one does not write the data that the failed one has lost.
fn single_failure(plan: &Plan, after: u64) -> Result<bool, String> {
    let (disk, database, mut history) = set_up(plan);
    let failures = disk.failures();
    disk.fail_after(after, DiskFault::IoOnce);
    history.write(&database, &disk);
    let reached = disk.failures() > failures;
    let poisoned = database.status().poisoned.is_some();
    if !poisoned && history.reply_texts.iter().any(|text| text.contains("action: \"commit\"")) {
        return Err(format!("a commit failed, but the database is not poisoned: {:#?}", history.reply_texts));
    }
    let acknowledged = history.count(Answer::Acknowledged);
    history.write(&database, &disk);
    let went_on = history.count(Answer::Acknowledged) - acknowledged;
    if poisoned && went_on > 0 {
        return Err("a poisoned database acknowledged a write".into());
    }
    if !poisoned && database.status().poisoned.is_none() && reached && went_on < history.sound_batches() {
        return Err(format!("neither poisoned nor working: {:#?}", history.reply_texts));
    }
    disk.power_cut(Loss::Torn);
    drop(database);
    history.check(&plan.reopen(&disk))?;
    Ok(reached)
}

/// A fault while a database is opened does not damage it: it can be opened later.
#[test]
fn a_fault_during_open_does_not_damage_the_database() {
    for fault in [DiskFault::Full, DiskFault::Io, DiskFault::IoOnce] {
        for mode in [JournalMode::Wal, JournalMode::Truncate] {
            for after in 0..60 {
                let plan = plan(mode, after);
                let (disk, database, history) = set_up(&plan);
                disk.power_cut(Loss::Torn);
                drop(database);
                disk.fail_after(after, fault);
                match plan.open(&disk) {
                    Ok(_) | Err(Error::Sqlite { .. } | Error::Busy(_) | Error::Poisoned(_) | Error::Closed) => {}
                    Err(error) => panic!("{error:?}; {fault:?} after {after} operations, {plan:?}"),
                }
                disk.power_cut(Loss::Torn);
                history
                    .check(&plan.reopen(&disk))
                    .unwrap_or_else(|what| panic!("{what}; {fault:?} after {after} operations, {plan:?}"));
            }
        }
    }
}

/// The same faults after random numbers of operations, one after the other on the same disk, with power cuts between
/// them.
#[test]
fn repeated_faults_and_power_cuts_lose_no_acknowledged_write() {
    for seed in seeds() {
        let plan = Plan::new(seed);
        let (disk, mut database, mut history) = set_up(&plan);
        for round in 0..6 {
            let fault = [DiskFault::Full, DiskFault::Io, DiskFault::IoOnce][(seed + round) as usize % 3];
            disk.fail_after(seed.wrapping_mul(7919).wrapping_add(round * 104_729) % 250, fault);
            history.write(&database, &disk);
            disk.power_cut(if round % 2 == 0 { Loss::Torn } else { Loss::Unsynced });
            drop(database);
            database = plan.reopen(&disk);
            history.check(&database).unwrap_or_else(|what| panic!("{what}; round {round}, {fault:?}, {plan:?}"));
        }
    }
}
