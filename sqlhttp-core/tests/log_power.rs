//! The power fails, the disk fills up or fails, wherever that can be, while a database applies a log: what is found
//! afterwards is what the log says up to the database's own note of progress, and the rest of the log completes it.
#![cfg(feature = "fault-injection")]
#![allow(clippy::expect_used, clippy::panic, reason = "clippy does not see that this is a test")]

mod crash_support;
mod log_support;

use crash_support::{block_on, seeds};
use log_support::workload::Log;
use log_support::{Act, Cut, Life, check, content, crash, open, place, sync};
use sqlhttp_core::{AfterStop, DiskFault, Error, FaultyDisk, Loss, Progress};

/// More syncs and operations than any workload here needs.
const SYNCS_MAX: u64 = 2_000;
const OPERATIONS_MAX: u64 = 50_000;

fn disk(seed: u64) -> FaultyDisk {
    FaultyDisk::new(seed).expect("the simulated disk is registered")
}

/// How many operations of the whole log lie between two faults. `SQLHTTP_CRASH_STRIDE=1` leaves out none; the tests of
/// a part of the log never do.
fn stride() -> u64 {
    let wanted = std::env::var("SQLHTTP_CRASH_STRIDE").ok().and_then(|text| text.parse().ok());
    wanted.unwrap_or(17).max(1)
}

/// Does this for a fault after `first` operations, `stride` more, and so on, until the fault is not reached.
fn at_operations(first: u64, stride: u64, mut run: impl FnMut(u64) -> Result<bool, String>) {
    let mut after = first % stride;
    while run(after).unwrap_or_else(|what| panic!("{what}; fault after {after} operations")) {
        after += stride;
        assert!(after < OPERATIONS_MAX, "the workload never ends");
    }
    assert!(after > 20, "the workload has only {after} operations: it tests nothing");
}

/// The disk is gone from some operation on, then the machine is.
fn cut_the_whole_log(cut: Cut, first: u64) {
    let log = Log::new();
    at_operations(first, stride(), |after| {
        let disk = disk(after);
        disk.fail_after(after, DiskFault::Io);
        let life = Life::begin(&disk, &log);
        let reached = disk.failures() > 0;
        let life = crash(&disk, life, cut);
        check(&disk, &log, &life).map_err(|what| format!("{what}; {cut:?}"))?;
        Ok(reached)
    });
}

/// The same at every single operation of a part of the log, after the part before it has been synced.
fn cut_a_part(synced: &[Act], part: &[Act]) {
    let log = Log::new();
    for loss in [Loss::Unsynced, Loss::Torn] {
        at_operations(0, 1, |after| {
            let disk = disk(after);
            let database = open(&disk).map_err(|error| format!("cannot open: {error:?}"))?;
            let mut life = Life { database: Some(database), ..Life::default() };
            life.go_on(synced, &disk, &log);
            let failures = disk.failures();
            disk.fail_after(after, DiskFault::Io);
            life.go_on(part, &disk, &log);
            let reached = disk.failures() > failures;
            let life = crash(&disk, life, Cut::Power(loss));
            check(&disk, &log, &life).map_err(|what| format!("{what}; {loss:?}"))?;
            Ok(reached)
        });
    }
}

#[test]
fn every_operation_of_commits_a_sync_and_a_checkpoint() {
    let part = [Act::Apply(4, 4), Act::Sync, Act::Apply(5, 6), Act::Checkpoint, Act::Apply(7, 7)];
    cut_a_part(&[Act::Apply(1, 3), Act::Sync], &part);
}

/// The old content or the new, and the note of progress that belongs to it.
#[test]
fn every_operation_of_a_replacement_in_the_log() {
    cut_a_part(&[Act::Apply(1, 12), Act::Sync], &[Act::Apply(13, 13), Act::Sync, Act::Apply(14, 14)]);
}

/// The same if the owner asks for it: then the place in the log stays what it was.
#[test]
fn every_operation_of_a_replacement_beside_the_log() {
    let log = Log::new();
    let new = log.content_of_image();
    let mut found_new = 0;
    for cut in [Cut::Power(Loss::Unsynced), Cut::Power(Loss::Torn), Cut::Process] {
        at_operations(0, 1, |after| {
            let disk = disk(after);
            let database = open(&disk).map_err(|error| format!("cannot open: {error:?}"))?;
            let mut life = Life { database: Some(database.clone()), ..Life::default() };
            life.go_on(&[Act::Apply(1, 6), Act::Sync], &disk, &log);
            let (before, failures) = (database.progress(), disk.failures());
            disk.fail_after(after, DiskFault::Io);
            // The log does not have this content, so it is durable at once.
            let replaced = block_on(database.replace(log.image("another"))).is_ok();
            let reached = disk.failures() > failures;
            drop(database);
            crash(&disk, life, cut);
            let database = open(&disk).map_err(|error| format!("cannot reopen: {error:?}; {cut:?}"))?;
            let (progress, found) = (database.progress(), content(&database)?);
            let is_new = found == new;
            found_new += u64::from(is_new);
            if progress != before || !is_new && found != *log.content_at(&before) {
                return Err(format!("neither the old content nor the new at {progress:?}; {cut:?}"));
            }
            if !is_new && replaced {
                return Err(format!("the new content is lost; {cut:?}"));
            }
            Ok(reached)
        });
    }
    assert!(found_new > 3, "nothing is ever replaced");
}

#[test]
fn cut_anywhere_and_what_was_not_synced_is_lost() {
    cut_the_whole_log(Cut::Power(Loss::Unsynced), 0);
}

#[test]
fn cut_anywhere_and_what_was_not_synced_is_torn() {
    cut_the_whole_log(Cut::Power(Loss::Torn), 4);
}

/// The process dies, the machine lives on: whatever has been told is there.
#[test]
fn cut_anywhere_and_all_that_was_written_is_kept() {
    cut_the_whole_log(Cut::Process, 8);
}

#[test]
fn every_sync() {
    let log = Log::new();
    let ends = [(AfterStop::Fail, Loss::Torn), (AfterStop::Pretend, Loss::Unsynced), (AfterStop::Pretend, Loss::Torn)];
    for (then, loss) in ends {
        let mut syncs = 0;
        for sync in 1..SYNCS_MAX {
            let disk = disk(sync);
            disk.stop_at_sync(sync, then);
            let life = Life::begin(&disk, &log);
            let stopped = disk.stopped().is_some();
            let life = crash(&disk, life, Cut::Power(loss));
            check(&disk, &log, &life).unwrap_or_else(|what| panic!("{what}; sync {sync}, {then:?}, {loss:?}"));
            if !stopped {
                break;
            }
            syncs = sync;
        }
        assert!(syncs > 10, "only {syncs} syncs: the workload tests nothing");
    }
}

/// Cut, started again, cut during the recovery or while it catches up, and so on until the log's end.
#[test]
fn a_life_of_power_cuts() {
    let log = Log::new();
    for seed in seeds().step_by(10) {
        let disk = disk(seed);
        let mut promised = Progress::default();
        for round in 0..200_u64 {
            let after = (seed + 1).wrapping_mul(7919).wrapping_add(round * 104_729) % (40 + 40 * round);
            disk.fail_after(after, DiskFault::Io);
            let life = Life::begin(&disk, &log);
            let done = life.error.is_none();
            let cut = [Cut::Power(Loss::Torn), Cut::Power(Loss::Unsynced), Cut::Process][(seed + round) as usize % 3];
            let mut life = crash(&disk, life, cut);
            if place(&life.promised) > place(&promised) {
                promised = life.promised.clone();
            }
            life.promised = promised.clone();
            if done {
                check(&disk, &log, &life).unwrap_or_else(|what| panic!("{what}; round {round}, seed {seed}"));
                break;
            }
            let database = open(&disk).unwrap_or_else(|error| panic!("cannot reopen: {error:?}; seed {seed}"));
            let checked = log_support::check_as_found(&database, &log, &life);
            checked.unwrap_or_else(|what| panic!("{what}; {cut:?}, round {round}, seed {seed}"));
            assert!(round < 199, "the log is never applied to its end");
        }
    }
}

/// The harness itself: a sync through one handle makes durable what was written through another, as fsync does, and
/// without it a power cut loses what was applied.
#[test]
fn only_a_sync_makes_durable_what_was_applied() {
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

/// The log is applied further as soon as there is space again, without a new process.
#[test]
fn the_log_goes_on_when_the_disk_has_space_again() {
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
            applying.join().expect("no panic").map_err(|trouble| format!("{trouble:?}"))?;
            Ok::<bool, String>(reached)
        })?;
        if database.waits_for().is_some() || database.status().poisoned.is_some() {
            return Err("it still waits".to_owned());
        }
        Ok(reached)
    });
    assert!(waited > 3, "the disk is never full while the log is applied");
}

/// Writes that find no space: no caller learns of what was not committed, and a process that ends then leaves what the log
/// completes.
#[test]
fn a_full_disk_anywhere() {
    let log = Log::new();
    let mut refused = 0;
    at_operations(1, stride().min(3), |after| {
        let disk = disk(after);
        disk.fail_after(after, DiskFault::Full);
        let life = Life::begin(&disk, &log);
        let reached = disk.failures() > 0;
        refused += u64::from(life.error.is_some() && life.database.is_some());
        life.check_poisoned(&log)?;
        let life = crash(&disk, life, Cut::Process);
        check(&disk, &log, &life)?;
        Ok(reached)
    });
    assert!(refused > 20, "the disk is never full while the log is applied");
}

/// The same, and then the power fails: what was half written before the disk was full must not come back to life.
#[test]
fn a_power_cut_on_a_full_disk_brings_nothing_back() {
    let log = Log::new();
    at_operations(3, stride().min(3), |after| {
        let disk = disk(after);
        disk.fail_after(after, DiskFault::Full);
        let life = Life::begin(&disk, &log);
        let reached = disk.failures() > 0;
        let life = crash(&disk, life, Cut::Power(Loss::Torn));
        check(&disk, &log, &life)?;
        Ok(reached)
    });
}

/// One operation fails and all others go well. Most of the time that ends in poison; where SQLite goes on, the content
/// must be right all the same, and so must a process that starts again.
#[test]
fn a_single_failure_anywhere() {
    let log = Log::new();
    at_operations(5, stride(), |after| {
        let disk = disk(after);
        disk.fail_after(after, DiskFault::IoOnce);
        let life = Life::begin(&disk, &log);
        let reached = disk.failures() > 0;
        life.check_poisoned(&log)?;
        let life = crash(&disk, life, Cut::Process);
        check(&disk, &log, &life)?;
        Ok(reached)
    });
}

/// A sync that fails throws away what it could not write, and a later one that succeeds proves nothing for it: what
/// `sync()` has promised must hold although something had failed before.
#[test]
fn a_single_failure_breaks_no_later_promise() {
    let log = Log::new();
    let mut broken = Vec::new();
    for loss in [Loss::Unsynced, Loss::Torn] {
        at_operations(7, stride(), |after| {
            let disk = disk(after);
            disk.fail_after(after, DiskFault::IoOnce);
            let mut life = Life::begin(&disk, &log);
            let reached = disk.failures() > 0;
            life.sync(&disk, &log);
            let life = crash(&disk, life, Cut::Power(loss));
            if let Err(what) = check(&disk, &log, &life) {
                broken.push(format!("{what}; fault after {after} operations, {loss:?}"));
            }
            Ok(reached)
        });
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

/// Where the connection for a sync cannot be opened (as without a free file descriptor), nothing was attempted, so the
/// database goes on and the next sync keeps its promise. A sync that fails itself stops the database.
#[test]
fn a_sync_that_cannot_begin_may_be_repeated() {
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
    assert!(repeated > 0 && stopped > 0, "{repeated} could not begin, {stopped} failed");
}
