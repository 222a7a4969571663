//! Power cuts, full disks and disk errors at every possible operation of a database that applies a log. Afterwards the
//! content agrees with the log up to the recorded progress, and the rest of the log completes it.
#![cfg(feature = "fault-injection")]
#![allow(clippy::expect_used, clippy::panic, reason = "clippy does not see that this is a test")]

mod crash_support;
mod log_support;

use crash_support::{block_on, seeds};
use log_support::workload::Log;
use log_support::{CrashKind, LogRun, Operation, check, content, crash, open, position, sync};
use sqlhttp_core::{AfterStop, DiskFault, Error, FaultyDisk, Loss, Progress};

/// More syncs than any workload in this file needs.
const SYNCS_MAX: u64 = 2_000;
const OPERATIONS_MAX: u64 = 50_000;

fn disk(seed: u64) -> FaultyDisk {
    FaultyDisk::new(seed).expect("the simulated disk is registered")
}

/// The number of operations of the whole log between two tested faults. `SQLHTTP_CRASH_STRIDE=1` tests every operation;
/// the tests of a part of the log always do.
fn stride() -> u64 {
    let wanted = std::env::var("SQLHTTP_CRASH_STRIDE").ok().and_then(|text| text.parse().ok());
    wanted.unwrap_or(17).max(1)
}

/// Calls `run` with a fault after `first` operations, after `stride` more, and so on, until the fault is not reached.
fn at_operations(first: u64, stride: u64, mut run: impl FnMut(u64) -> Result<bool, String>) {
    let mut after = first % stride;
    while run(after).unwrap_or_else(|what| panic!("{what}; fault after {after} operations")) {
        after += stride;
        assert!(after < OPERATIONS_MAX, "the workload does not end");
    }
    assert!(after > 20, "the workload has only {after} operations, too few for a test");
}

/// Lets the disk fail from some operation on while the whole log is applied, and then ends the run.
fn crash_in_the_whole_log(kind: CrashKind, first: u64) {
    let log = Log::new();
    at_operations(first, stride(), |after| {
        let disk = disk(after);
        disk.fail_after(after, DiskFault::Io);
        let run = LogRun::begin(&disk, &log);
        let reached = disk.failures() > 0;
        let run = crash(&disk, run, kind);
        check(&disk, &log, &run).map_err(|what| format!("{what}; {kind:?}"))?;
        Ok(reached)
    });
}

/// Lets the disk fail at every single operation of a part of the log, after the part before it has been synced, and
/// then cuts the power.
fn cut_power_in_a_part(synced: &[Operation], part: &[Operation]) {
    let log = Log::new();
    for loss in [Loss::Unsynced, Loss::Torn] {
        at_operations(0, 1, |after| {
            let disk = disk(after);
            let database = open(&disk).map_err(|error| format!("cannot open: {error:?}"))?;
            let mut run = LogRun { database: Some(database), ..LogRun::default() };
            run.perform_all(synced, &disk, &log);
            let failures = disk.failures();
            disk.fail_after(after, DiskFault::Io);
            run.perform_all(part, &disk, &log);
            let reached = disk.failures() > failures;
            let run = crash(&disk, run, CrashKind::Power(loss));
            check(&disk, &log, &run).map_err(|what| format!("{what}; {loss:?}"))?;
            Ok(reached)
        });
    }
}

#[test]
fn a_power_cut_at_any_operation_of_commits_a_sync_and_a_checkpoint_is_recovered() {
    let part = [
        Operation::Apply(4, 4),
        Operation::Sync,
        Operation::Apply(5, 6),
        Operation::Checkpoint,
        Operation::Apply(7, 7),
    ];
    cut_power_in_a_part(&[Operation::Apply(1, 3), Operation::Sync], &part);
}

/// Afterwards there is the old content or the new one, with the matching progress.
#[test]
fn a_power_cut_at_any_operation_of_a_replacement_in_the_log_is_recovered() {
    cut_power_in_a_part(
        &[Operation::Apply(1, 12), Operation::Sync],
        &[Operation::Apply(13, 13), Operation::Sync, Operation::Apply(14, 14)],
    );
}

/// A replacement that the owner requests is not part of the log, so it does not change the progress.
#[test]
fn a_crash_at_any_operation_of_a_replacement_outside_the_log_is_recovered() {
    let log = Log::new();
    let new = log.content_of_image();
    let mut found_new = 0;
    for kind in [CrashKind::Power(Loss::Unsynced), CrashKind::Power(Loss::Torn), CrashKind::Process] {
        at_operations(0, 1, |after| {
            let disk = disk(after);
            let database = open(&disk).map_err(|error| format!("cannot open: {error:?}"))?;
            let mut run = LogRun { database: Some(database.clone()), ..LogRun::default() };
            run.perform_all(&[Operation::Apply(1, 6), Operation::Sync], &disk, &log);
            let (before, failures) = (database.progress(), disk.failures());
            disk.fail_after(after, DiskFault::Io);
            // The log does not contain this content, so the replacement is synced at once.
            let replaced = block_on(database.replace(log.image("another"))).is_ok();
            let reached = disk.failures() > failures;
            drop(database);
            crash(&disk, run, kind);
            let database = open(&disk).map_err(|error| format!("cannot reopen: {error:?}; {kind:?}"))?;
            let (progress, found) = (database.progress(), content(&database)?);
            let is_new = found == new;
            found_new += u64::from(is_new);
            if progress != before || !is_new && found != *log.content_at(&before) {
                return Err(format!("neither the old content nor the new at {progress:?}; {kind:?}"));
            }
            if !is_new && replaced {
                return Err(format!("the new content is lost; {kind:?}"));
            }
            Ok(reached)
        });
    }
    assert!(found_new > 3, "the content is never replaced");
}

#[test]
fn a_power_cut_that_loses_unsynced_data_is_recovered() {
    crash_in_the_whole_log(CrashKind::Power(Loss::Unsynced), 0);
}

#[test]
fn a_power_cut_that_tears_unsynced_data_is_recovered() {
    crash_in_the_whole_log(CrashKind::Power(Loss::Torn), 4);
}

/// The process ends, but the machine continues: all entries whose outcomes were returned are applied.
#[test]
fn a_crash_of_the_process_is_recovered() {
    crash_in_the_whole_log(CrashKind::Process, 8);
}

#[test]
fn a_power_cut_at_any_sync_is_recovered() {
    let log = Log::new();
    let ends = [(AfterStop::Fail, Loss::Torn), (AfterStop::Pretend, Loss::Unsynced), (AfterStop::Pretend, Loss::Torn)];
    for (then, loss) in ends {
        let mut syncs = 0;
        for sync in 1..SYNCS_MAX {
            let disk = disk(sync);
            disk.stop_at_sync(sync, then);
            let run = LogRun::begin(&disk, &log);
            let stopped = disk.stopped().is_some();
            let run = crash(&disk, run, CrashKind::Power(loss));
            check(&disk, &log, &run).unwrap_or_else(|what| panic!("{what}; sync {sync}, {then:?}, {loss:?}"));
            if !stopped {
                break;
            }
            syncs = sync;
        }
        assert!(syncs > 10, "only {syncs} syncs, too few for a test");
    }
}

/// A crash, a restart, a crash during the recovery or while the log is applied again, and so on, until the whole log
/// has been applied.
#[test]
fn repeated_crashes_are_recovered() {
    let log = Log::new();
    for seed in seeds().step_by(10) {
        let disk = disk(seed);
        let mut synced = Progress::default();
        for round in 0..200_u64 {
            let after = (seed + 1).wrapping_mul(7919).wrapping_add(round * 104_729) % (40 + 40 * round);
            disk.fail_after(after, DiskFault::Io);
            let run = LogRun::begin(&disk, &log);
            let done = run.error.is_none();
            let kind = [CrashKind::Power(Loss::Torn), CrashKind::Power(Loss::Unsynced), CrashKind::Process]
                [(seed + round) as usize % 3];
            let mut run = crash(&disk, run, kind);
            if position(&run.synced) > position(&synced) {
                synced = run.synced.clone();
            }
            run.synced = synced.clone();
            if done {
                check(&disk, &log, &run).unwrap_or_else(|what| panic!("{what}; round {round}, seed {seed}"));
                break;
            }
            let database = open(&disk).unwrap_or_else(|error| panic!("cannot reopen: {error:?}; seed {seed}"));
            let checked = log_support::check_as_found(&database, &log, &run);
            checked.unwrap_or_else(|what| panic!("{what}; {kind:?}, round {round}, seed {seed}"));
            assert!(round < 199, "the log is not applied to its end");
        }
    }
}

/// Tests the harness itself: a sync through one handle makes the writes of another handle durable, like fsync, and
/// without it a power cut loses what was applied.
#[test]
fn only_a_sync_makes_applied_entries_durable() {
    let log = Log::new();
    for (syncs, expected) in [(true, 8), (false, 4)] {
        let disk = disk(1);
        let database = open(&disk).expect("a database");
        log_support::script(&database, "PRAGMA wal_autocheckpoint=0");
        log.apply(&database, 1, 4).expect("outcomes");
        let synced = log_support::sync(&database).expect("a sync");
        assert_eq!(synced.index, 4);
        log.apply(&database, 5, 8).expect("outcomes");
        if syncs {
            log_support::sync(&database).expect("a sync");
        }
        log.apply(&database, 9, 10).expect("outcomes");
        disk.power_cut(Loss::Unsynced);
        drop(database);
        let database = open(&disk).expect("a database");
        assert_eq!(database.progress().index, expected);
    }
}

/// The database continues to apply the log as soon as there is free space, without a restart of the process.
#[test]
fn applying_continues_when_the_disk_has_free_space_again() {
    let log = Log::new();
    let mut waited = 0;
    at_operations(2, stride().max(29), |after| {
        let disk = disk(after);
        let database = open(&disk).map_err(|error| format!("cannot open: {error:?}"))?;
        let before = disk.failures();
        disk.fail_after(after, DiskFault::Full);
        let reached = std::thread::scope(|scope| {
            let applying = scope.spawn(|| log.apply_waiting(&database, 1, log.last()));
            while !applying.is_finished() && database.waits_for().is_none() {
                std::thread::yield_now();
            }
            waited += u64::from(database.waits_for().is_some());
            let reached = disk.failures() > before;
            disk.heal();
            applying.join().expect("no panic").map_err(|error| format!("{error:?}"))?;
            Ok::<bool, String>(reached)
        })?;
        if database.waits_for().is_some() || database.status().poisoned.is_some() {
            return Err("the database still waits".to_owned());
        }
        Ok(reached)
    });
    assert!(waited > 3, "the disk was never full while the log was applied");
}

/// If writes find no space, no outcome of an uncommitted entry is returned. If the process then ends, the log completes
/// what it leaves.
#[test]
fn a_full_disk_at_any_operation_is_recovered() {
    let log = Log::new();
    let mut refused = 0;
    at_operations(1, stride().min(3), |after| {
        let disk = disk(after);
        disk.fail_after(after, DiskFault::Full);
        let run = LogRun::begin(&disk, &log);
        let reached = disk.failures() > 0;
        refused += u64::from(run.error.is_some() && run.database.is_some());
        run.check_poisoned(&log)?;
        let run = crash(&disk, run, CrashKind::Process);
        check(&disk, &log, &run)?;
        Ok(reached)
    });
    assert!(refused > 20, "the disk was never full while the log was applied");
}

/// After a full disk, a power cut. Data that was partly written before the disk was full must not reappear.
#[test]
fn a_power_cut_on_a_full_disk_does_not_restore_failed_writes() {
    let log = Log::new();
    at_operations(3, stride().min(3), |after| {
        let disk = disk(after);
        disk.fail_after(after, DiskFault::Full);
        let run = LogRun::begin(&disk, &log);
        let reached = disk.failures() > 0;
        let run = crash(&disk, run, CrashKind::Power(Loss::Torn));
        check(&disk, &log, &run)?;
        Ok(reached)
    });
}

/// A single operation fails. That usually poisons the database; if SQLite continues, its content must be correct
/// nevertheless, also after a restart.
#[test]
fn a_single_failed_operation_is_recovered() {
    let log = Log::new();
    at_operations(5, stride(), |after| {
        let disk = disk(after);
        disk.fail_after(after, DiskFault::IoOnce);
        let run = LogRun::begin(&disk, &log);
        let reached = disk.failures() > 0;
        run.check_poisoned(&log)?;
        let run = crash(&disk, run, CrashKind::Process);
        check(&disk, &log, &run)?;
        Ok(reached)
    });
}

/// A failed sync discards the data that it could not write, and a later successful sync does not write that data. What
/// `sync()` returns must hold although an earlier operation has failed.
#[test]
fn a_sync_after_a_failed_operation_guarantees_its_progress() {
    let log = Log::new();
    let mut broken = Vec::new();
    for loss in [Loss::Unsynced, Loss::Torn] {
        at_operations(7, stride(), |after| {
            let disk = disk(after);
            disk.fail_after(after, DiskFault::IoOnce);
            let mut run = LogRun::begin(&disk, &log);
            let reached = disk.failures() > 0;
            run.sync(&disk, &log);
            let run = crash(&disk, run, CrashKind::Power(loss));
            if let Err(what) = check(&disk, &log, &run) {
                broken.push(format!("{what}; fault after {after} operations, {loss:?}"));
            }
            Ok(reached)
        });
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

/// If the connection for a sync cannot be opened (for example without a free file descriptor), nothing has been
/// attempted. The database continues, and the next sync guarantees its progress. If the sync itself fails, the database
/// is poisoned.
#[test]
fn a_sync_that_cannot_begin_can_be_repeated() {
    let log = Log::new();
    let (mut repeated, mut stopped) = (0, 0);
    for after in 0..40 {
        let disk = disk(after);
        let database = open(&disk).expect("open");
        let applied = log.apply(&database, 1, 4);
        assert!(applied.is_ok(), "{applied:?}");
        let failures = disk.failures();
        disk.fail_after(after, DiskFault::Io);
        let synced = sync(&database);
        let failed = disk.failures() > failures;
        disk.heal();
        match (synced, database.status().poisoned) {
            (Err(Error::Unavailable(_)), None) => {
                repeated += 1;
                assert_eq!(sync(&database).expect("a sync"), database.progress());
                let applied = log.apply(&database, 5, 6);
                assert!(applied.is_ok(), "{applied:?}");
            }
            (Err(_), Some(_)) => stopped += 1,
            (Ok(progress), None) => {
                assert_eq!(progress, database.progress());
                assert!(!failed || repeated > 0);
            }
            other => panic!("{other:?} after {after} operations"),
        }
    }
    assert!(repeated > 0 && stopped > 0, "{repeated} syncs could not begin, {stopped} failed");
}
