//! The disk fails at every operation of the installation of a snapshot, and the process or the power ends afterwards.
//! The database then has the old content or the new one, never a mix, and loses nothing that was durable.
#![cfg(feature = "fault-injection")]
#![allow(clippy::expect_used, clippy::panic, reason = "clippy does not see that this is a test")]

mod common;
mod snapshot_support;

use common::{TestDir, block_on};
use snapshot_support::{append, apply, check, options, snapshot};
use sqlhttp_core::{Database, DiskFault, Error, FaultyDisk, Loss};

const DATABASE: &str = "/db.sqlite";
const SNAPSHOT: &str = "/snapshot.db";
const OWN_LOG: u128 = 9;
/// The last entry that the old content, and the snapshot, contain.
const OLD: u64 = 10;
const NEW: u64 = 40;
/// More operations than an installation needs.
const OPERATIONS_MAX: u64 = 5_000;

/// How the process ends after the installation.
#[derive(Debug, Clone, Copy)]
enum End {
    Killed,
    Power(Loss),
}

const ENDS: [End; 3] = [End::Killed, End::Power(Loss::Unsynced), End::Power(Loss::Torn)];

fn try_open(disk: &FaultyDisk) -> Result<Database, Error> {
    let options =
        options().vfs(Some(disk.name().to_owned())).busy_timeout(std::time::Duration::from_millis(50)).read_threads(1);
    Database::open(DATABASE, options)
}

fn open(disk: &FaultyDisk) -> Database {
    try_open(disk).expect("open the database")
}

/// A disk with a database and a snapshot. The second half of the entries is not checkpointed.
fn set_up(seed: u64, snapshot: &[u8]) -> (FaultyDisk, Database) {
    let disk = FaultyDisk::new(seed).expect("the simulated disk is registered");
    disk.put(SNAPSHOT, snapshot.to_vec());
    let database = open(&disk);
    database.set_log(OWN_LOG);
    apply(&database, 1, "CREATE TABLE t(n INTEGER PRIMARY KEY, half INTEGER NOT NULL, ballast BLOB)");
    apply(&database, 2, "INSERT INTO t SELECT -1, 0, zeroblob(30000)");
    append(&database, 3, OLD / 2);
    block_on(database.checkpoint()).expect("a checkpoint");
    append(&database, OLD / 2 + 1, OLD);
    block_on(database.sync()).expect("a sync");
    (disk, database)
}

fn snapshot_bytes() -> Vec<u8> {
    let test_dir = TestDir::new();
    let file = test_dir.path("snapshot.db");
    snapshot(&file, 20_000, NEW);
    std::fs::read(file).expect("read the snapshot")
}

/// Calls `run` with a fault after 0, 1, 2, … operations, until the fault is not reached. Returns the number of calls.
fn at_every_operation(mut run: impl FnMut(u64) -> bool) -> u64 {
    let mut after = 0;
    while run(after) {
        after += 1;
        assert!(after < OPERATIONS_MAX, "the installation does not end");
    }
    after
}

/// Ends the process. After the power is cut, everything that was not synced may be lost.
fn end(disk: &FaultyDisk, database: Database, end: End) {
    match end {
        End::Killed => {
            drop(database);
            disk.heal();
        }
        End::Power(loss) => {
            disk.power_cut(loss);
            drop(database);
        }
    }
}

/// Opens the database, checks its content, and continues the log. The content belongs to the log `OWN_LOG`, or to none
/// if `may_lack_log`.
fn check_restarted(disk: &FaultyDisk, last: u64, may_lack_log: bool) {
    let database = open(disk);
    let log = database.progress().log;
    assert!(log == OWN_LOG || log == 0 && may_lack_log, "the content belongs to another log: {log}");
    database.set_log(OWN_LOG);
    check(&database, last);
    append(&database, last + 1, last + 2);
    check(&database, last + 2);
}

/// The results of the installations of a test, to make sure that it covers all of them.
#[derive(Debug, Default)]
struct Seen {
    installed: u64,
    poisoned: u64,
    refused: u64,
}

/// Installs the snapshot while the disk fails after `after` operations. If `removes_intent`, the process continues
/// after an installation, or after a failed one that has left the old content in use. Returns whether the fault was
/// reached.
fn install(after: u64, fault: DiskFault, ended: End, removes_intent: bool, bytes: &[u8], seen: &mut Seen) -> bool {
    let (disk, database) = set_up(after, bytes);
    let failures = disk.failures();
    disk.fail_after(after, fault);
    let installed = block_on(database.install(SNAPSHOT.into()));
    let reached = disk.failures() > failures;
    let expected = match &installed {
        Ok(progress) => {
            seen.installed += 1;
            assert_eq!((progress.index, progress.log), (NEW, OWN_LOG));
            NEW
        }
        Err(Error::Poisoned(_)) => {
            seen.poisoned += 1;
            assert!(database.status().poisoned.is_some());
            end(&disk, database, ended);
            disk.finish_install(DATABASE, SNAPSHOT).expect("the disk works again");
            check_restarted(&disk, NEW, true);
            return reached;
        }
        Err(_) => {
            seen.refused += 1;
            OLD
        }
    };
    disk.heal();
    if !removes_intent {
        // The process ends before its caller has removed the record of the installation.
        end(&disk, database, ended);
        assert_eq!(disk.finish_install(DATABASE, SNAPSHOT).expect("the disk works again"), expected == OLD);
        check_restarted(&disk, NEW, expected == OLD);
        return reached;
    }
    check(&database, expected);
    append(&database, expected + 1, expected + 1);
    block_on(database.sync()).expect("a sync");
    end(&disk, database, ended);
    if installed.is_ok() {
        // The removal of the record need not be durable.
        assert!(!disk.finish_install(DATABASE, SNAPSHOT).expect("the disk works again"));
    }
    check_restarted(&disk, expected + 1, false);
    reached
}

#[test]
fn a_fault_at_any_operation_leaves_the_old_content_or_the_new() {
    let bytes = snapshot_bytes();
    for fault in [DiskFault::Io, DiskFault::IoOnce, DiskFault::Full] {
        let mut seen = Seen::default();
        for ended in ENDS {
            for removes_intent in [false, true] {
                let operations = at_every_operation(|after| {
                    println!("{fault:?} after {after} operations, {ended:?}, {removes_intent}");
                    install(after, fault, ended, removes_intent, &bytes, &mut seen)
                });
                assert!(fault == DiskFault::Full || operations > 30, "only {operations} operations");
            }
        }
        assert!(seen.installed > 0, "{fault:?}: {seen:?}");
        assert!(fault == DiskFault::Full || seen.poisoned > 0 && seen.refused > 0, "{fault:?}: {seen:?}");
    }
}

/// The operations that finish an installation fail as well, and are repeated after each restart.
#[test]
fn a_fault_while_an_installation_is_finished_is_repaired_by_the_next_attempt() {
    let bytes = snapshot_bytes();
    for ended in ENDS {
        let operations = at_every_operation(|after| {
            println!("a fault after {after} operations, {ended:?}");
            let (disk, database) = set_up(after, &bytes);
            end(&disk, database, ended);
            let failures = disk.failures();
            disk.fail_after(after, DiskFault::Io);
            let finished = disk.finish_install(DATABASE, SNAPSHOT);
            let reached = disk.failures() > failures;
            assert_eq!(finished.is_err(), reached);
            match ended {
                End::Killed => disk.heal(),
                End::Power(loss) => disk.power_cut(loss),
            }
            disk.finish_install(DATABASE, SNAPSHOT).expect("the disk works again");
            check_restarted(&disk, NEW, true);
            reached
        });
        assert!(operations >= 5, "only {operations} operations");
    }
}

/// A power cut may undo the removal of the old write-ahead log, and keep the rename of the snapshot.
#[test]
fn a_power_cut_never_leaves_the_old_write_ahead_log_beside_the_snapshot() {
    let bytes = snapshot_bytes();
    for seed in 0..40 {
        at_every_operation(|after| {
            println!("seed {seed}, a fault after {after} operations");
            let (disk, database) = set_up(seed, &bytes);
            drop_without_close(&disk, database);
            let failures = disk.failures();
            disk.fail_after(after, DiskFault::Io);
            let finished = disk.finish_install(DATABASE, SNAPSHOT);
            disk.power_cut(Loss::Torn);
            if finished.is_err() {
                disk.finish_install(DATABASE, SNAPSHOT).expect("the disk works again");
            }
            check_restarted(&disk, NEW, true);
            disk.failures() > failures
        });
    }
}

/// Ends the process so that the write-ahead log stays.
fn drop_without_close(disk: &FaultyDisk, database: Database) {
    disk.power_cut(Loss::Unsynced);
    drop(database);
}

/// A snapshot is not in WAL mode, so opening it changes its journal mode.
#[test]
fn a_fault_while_a_snapshot_is_opened_loses_no_entry_that_is_synced_later() {
    let bytes = snapshot_bytes();
    let mut opened = 0;
    let operations = at_every_operation(|after| {
        println!("a fault after {after} operations");
        let disk = FaultyDisk::new(after).expect("the simulated disk is registered");
        disk.put(DATABASE, bytes.clone());
        disk.fail_after(after, DiskFault::IoOnce);
        let tried = try_open(&disk);
        let reached = disk.failures() > 0;
        disk.heal();
        let last = match tried {
            Ok(database) => {
                opened += 1;
                append(&database, NEW + 1, NEW + 1);
                block_on(database.sync()).expect("a sync");
                disk.power_cut(Loss::Unsynced);
                NEW + 1
            }
            Err(_) => NEW,
        };
        check_restarted(&disk, last, true);
        reached
    });
    assert!(operations > 10 && opened > 1, "{opened} of {operations}");
}
