//! The disk fills up, or fails, at every operation of a workload of concurrent writers: every client gets an answer,
//! nothing acknowledged is lost, and nothing half is left.
#![cfg(feature = "fault-injection")]
#![allow(clippy::expect_used, clippy::panic, reason = "clippy does not see that this is a test")]

mod crash_support;

use crash_support::{Answer, Notes, Plan, seeds};
use sqlhttp_core::{Database, DiskFault, Error, FaultyDisk, JournalMode, Loss};

/// More operations than any workload here needs.
const OPERATIONS_MAX: u64 = 20_000;

/// A database with some content, on a disk that is well.
fn begin(plan: &Plan) -> (FaultyDisk, Database, Notes) {
    let disk = plan.disk();
    let database = plan.reopen(&disk);
    let mut notes = Notes::default();
    assert!(notes.create_schema(&database, &disk));
    notes.write(&database, &disk);
    (disk, database, notes)
}

fn plan(journal_mode: JournalMode, seed: u64) -> Plan {
    Plan { journal_mode, ..Plan::new(seed) }
}

/// Does this for a fault after 0, 1, 2, … operations (taking longer steps later), until the fault is not reached.
fn at_every_operation(mut run: impl FnMut(u64) -> Result<bool, String>) {
    let mut after = 0;
    loop {
        let reached = run(after).unwrap_or_else(|what| panic!("{what}; fault after {after} operations"));
        if !reached {
            assert!(after > 5, "the workload has only {after} operations: it tests nothing");
            return;
        }
        after += 1 + after / 64;
        assert!(after < OPERATIONS_MAX, "the workload never ends");
    }
}

#[test]
fn a_full_disk_stops_nothing_but_what_needs_room() {
    for mode in [JournalMode::Wal, JournalMode::Truncate, JournalMode::Persist] {
        at_every_operation(|after| {
            let plan = plan(mode, after);
            full_disk(&plan, after).map_err(|what| format!("{what}; {plan:?}"))
        });
    }
}

fn full_disk(plan: &Plan, after: u64) -> Result<bool, String> {
    let (disk, database, mut notes) = begin(plan);
    let failures = disk.failures();
    disk.fail_after(after, DiskFault::Full);
    notes.write(&database, &disk);
    let reached = disk.failures() > failures;
    if let Some(why) = database.status().poisoned {
        return Err(format!("a full disk poisons the database: {why}"));
    }
    // The journal that persists may have no room even for the mark that it is void, and then readers, which cannot roll
    // it back, have to wait until the next write does.
    let readers_wait = plan.journal_mode == JournalMode::Persist;
    if !readers_wait {
        notes.check(&database).map_err(|what| format!("while full: {what}"))?;
    }
    disk.heal();
    if readers_wait {
        notes.write(&database, &disk);
    }
    let acknowledged = notes.count(Answer::Acknowledged);
    notes.write(&database, &disk);
    if notes.count(Answer::Acknowledged) < acknowledged + notes.sound_batches() {
        return Err(format!("the database does not go on when there is room again: {:#?}", notes.said));
    }
    notes.check(&database).map_err(|what| format!("with room again: {what}"))?;
    drop(database);
    disk.power_cut(Loss::Torn);
    notes.check(&plan.reopen(&disk)).map_err(|what| format!("after a restart: {what}"))?;
    Ok(reached)
}

/// Nobody is told that nothing remains of a batch that then turns up after a crash.
#[test]
fn a_crash_on_a_full_disk_brings_nothing_back() {
    for mode in [JournalMode::Wal, JournalMode::Truncate, JournalMode::Persist] {
        at_every_operation(|after| {
            let plan = plan(mode, after);
            let (disk, database, mut notes) = begin(&plan);
            let failures = disk.failures();
            disk.fail_after(after, DiskFault::Full);
            notes.write(&database, &disk);
            let reached = disk.failures() > failures;
            disk.power_cut(Loss::Torn);
            drop(database);
            let checked = notes.check(&plan.reopen(&disk));
            checked.map(|()| reached).map_err(|what| format!("{what}; {plan:?}"))
        });
    }
}

#[test]
fn a_disk_that_fails_for_good_loses_nothing() {
    for mode in [JournalMode::Wal, JournalMode::Truncate, JournalMode::Persist] {
        at_every_operation(|after| {
            let plan = plan(mode, after);
            dead_disk(&plan, after).map_err(|what| format!("{what}; {plan:?}"))
        });
    }
}

fn dead_disk(plan: &Plan, after: u64) -> Result<bool, String> {
    let (disk, database, mut notes) = begin(plan);
    let failures = disk.failures();
    disk.fail_after(after, DiskFault::Io);
    notes.write(&database, &disk);
    let reached = disk.failures() > failures;
    if reached {
        let acknowledged = notes.count(Answer::Acknowledged);
        notes.write(&database, &disk);
        if notes.count(Answer::Acknowledged) > acknowledged {
            return Err("a write was acknowledged by a dead disk".into());
        }
    }
    drop(database);
    disk.power_cut(Loss::Torn);
    notes.check(&plan.reopen(&disk))?;
    Ok(reached)
}

#[test]
fn a_single_failure_of_the_disk_loses_nothing() {
    for mode in [JournalMode::Wal, JournalMode::Truncate, JournalMode::Persist] {
        at_every_operation(|after| {
            let plan = plan(mode, after);
            single_failure(&plan, after).map_err(|what| format!("{what}; {plan:?}"))
        });
    }
}

/// After the failure the database goes on, or is poisoned. What it acknowledges then must be true as well: a sync that
/// succeeds after one that failed proves nothing.
fn single_failure(plan: &Plan, after: u64) -> Result<bool, String> {
    let (disk, database, mut notes) = begin(plan);
    let failures = disk.failures();
    disk.fail_after(after, DiskFault::IoOnce);
    notes.write(&database, &disk);
    let reached = disk.failures() > failures;
    let poisoned = database.status().poisoned.is_some();
    if !poisoned && notes.said.iter().any(|said| said.contains("action: \"commit\"")) {
        return Err(format!("a commit failed, and nobody knows what the disk holds, but: {:#?}", notes.said));
    }
    let acknowledged = notes.count(Answer::Acknowledged);
    notes.write(&database, &disk);
    let went_on = notes.count(Answer::Acknowledged) - acknowledged;
    if poisoned && went_on > 0 {
        return Err("a poisoned database acknowledged a write".into());
    }
    if !poisoned && database.status().poisoned.is_none() && reached && went_on < notes.sound_batches() {
        return Err(format!("neither poisoned nor well: {:#?}", notes.said));
    }
    disk.power_cut(Loss::Torn);
    drop(database);
    notes.check(&plan.reopen(&disk))?;
    Ok(reached)
}

/// Whatever fails while a database is opened, the next one to open it finds it whole.
#[test]
fn opening_on_a_failing_disk_harms_nothing() {
    for fault in [DiskFault::Full, DiskFault::Io, DiskFault::IoOnce] {
        for mode in [JournalMode::Wal, JournalMode::Truncate] {
            for after in 0..60 {
                let plan = plan(mode, after);
                let (disk, database, notes) = begin(&plan);
                disk.power_cut(Loss::Torn);
                drop(database);
                disk.fail_after(after, fault);
                match plan.open(&disk) {
                    Ok(_) | Err(Error::Sqlite { .. } | Error::Busy(_) | Error::Poisoned(_) | Error::Closed) => {}
                    Err(error) => panic!("{error:?}; {fault:?} after {after} operations, {plan:?}"),
                }
                disk.power_cut(Loss::Torn);
                notes
                    .check(&plan.reopen(&disk))
                    .unwrap_or_else(|what| panic!("{what}; {fault:?} after {after} operations, {plan:?}"));
            }
        }
    }
}

/// The same faults at random moments, one after the other on the same disk, with crashes between.
#[test]
fn a_life_full_of_trouble_loses_nothing() {
    for seed in seeds() {
        let plan = Plan::new(seed);
        let (disk, mut database, mut notes) = begin(&plan);
        for round in 0..6 {
            let fault = [DiskFault::Full, DiskFault::Io, DiskFault::IoOnce][(seed + round) as usize % 3];
            disk.fail_after(seed.wrapping_mul(7919).wrapping_add(round * 104_729) % 250, fault);
            notes.write(&database, &disk);
            disk.power_cut(if round % 2 == 0 { Loss::Torn } else { Loss::Unsynced });
            drop(database);
            database = plan.reopen(&disk);
            notes.check(&database).unwrap_or_else(|what| panic!("{what}; round {round}, {fault:?}, {plan:?}"));
        }
    }
}
