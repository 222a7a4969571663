//! Tests that memory is freed, and that only the files of a database can be opened.

use std::sync::{Arc, Weak};

use rusqlite::{Connection, OpenFlags, ffi};

use super::directory::{self, File};
use super::{MemoryDatabase, vfs_name};
use crate::engine::sqlite::file::VfsFile;
use crate::{Batch, Database, Options, Step, StepOutcome};

fn try_connect(name: &str) -> rusqlite::Result<Connection> {
    let vfs = vfs_name().expect("the VFS");
    Connection::open_with_flags_and_vfs(name, OpenFlags::default(), vfs)
}

fn connect(database: &MemoryDatabase) -> Connection {
    let connection = try_connect(database.name()).expect("a connection");
    let mode: String = connection.query_row("PRAGMA journal_mode=WAL", [], |row| row.get(0)).expect("a mode");
    assert_eq!(mode, "wal");
    connection
}

/// Returns the existing files of a database in memory.
fn files(name: &str) -> Vec<Weak<File>> {
    directory::files(name).iter().map(Arc::downgrade).collect()
}

/// The size of the memory that these files still occupy, in bytes.
fn live_bytes(files: &[Weak<File>]) -> usize {
    files.iter().filter_map(Weak::upgrade).map(|file| file.allocated()).sum()
}

const FILL: &str = "CREATE TABLE t AS WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 100) \
                    SELECT n, zeroblob(1 << 20) AS b FROM c";

fn exec(db: &Database, sql: &str) -> StepOutcome {
    let mut outcome = db.blocking().run(Batch::one(Step::query(sql, ()))).expect("an outcome");
    match outcome.steps.pop() {
        None | Some(StepOutcome::Failed(_)) => panic!("{sql}: {outcome:?}"),
        Some(step) => step,
    }
}

/// The internal name of a database in memory.
fn name_of(db: &Database) -> String {
    db.memory_name().expect("a database in memory").to_owned()
}

#[test]
fn a_large_database_is_freed_when_it_is_dropped() {
    let db = Database::open(":memory:", Options::default()).expect("open");
    exec(&db, FILL);
    let name = name_of(&db);
    let files_of = files(&name);
    assert!(live_bytes(&files_of) >= 100 << 20, "{}", live_bytes(&files_of));
    drop(db);
    assert_eq!(live_bytes(&files_of), 0);
    assert!(files_of.iter().all(|file| file.strong_count() == 0));
    assert!(directory::files(&name).is_empty());
    assert!(try_connect(&name).is_err(), "a removed database cannot be opened again");
}

#[test]
fn many_dropped_databases_are_freed() {
    let mut all = Vec::new();
    for n in 0..300 {
        let db = Database::open(":memory:", Options::default()).expect("open");
        exec(&db, "CREATE TABLE t(a)");
        exec(&db, &format!("INSERT INTO t VALUES ({n})"));
        let name = name_of(&db);
        let files_of = files(&name);
        assert!(live_bytes(&files_of) > 0);
        drop(db);
        all.extend(files_of);
    }
    assert_eq!(live_bytes(&all), 0);
    assert!(all.iter().all(|file| file.strong_count() == 0));
}

#[test]
fn the_memory_of_the_log_and_of_deleted_pages_is_freed() {
    let db = MemoryDatabase::new();
    let connection = connect(&db);
    connection.execute_batch(FILL).expect("fill");
    let files = || directory::files(db.name()).iter().map(|file| file.allocated()).collect::<Vec<_>>();
    assert_eq!(files().len(), 2, "the database and its log, but no journal");
    connection.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)").expect("checkpoint");
    assert!(files()[0] >= 100 << 20 && files()[1] == 0, "{:?}", files());
    connection.execute_batch("DROP TABLE t; VACUUM; PRAGMA wal_checkpoint(TRUNCATE)").expect("vacuum");
    assert!(files()[0] <= 1 << 20 && files()[1] == 0, "{:?}", files());
}

#[test]
fn an_open_connection_keeps_the_files_after_the_owner_is_dropped() {
    let db = MemoryDatabase::new();
    let connection = connect(&db);
    connection.execute_batch("CREATE TABLE t(a); INSERT INTO t VALUES (1)").expect("write");
    let files_of = files(db.name());
    drop(db);
    assert!(live_bytes(&files_of) > 0);
    connection.execute_batch("INSERT INTO t VALUES (2)").expect("write");
    drop(connection);
    assert_eq!(live_bytes(&files_of), 0);
}

#[test]
fn a_database_remains_after_its_last_connection_is_closed() {
    let db = MemoryDatabase::new();
    connect(&db).execute_batch("CREATE TABLE t(a); INSERT INTO t VALUES (1)").expect("write");
    let count = connect(&db).query_row("SELECT count(*) FROM t", [], |row| row.get(0));
    assert_eq!(count, Ok(1));
}

#[test]
fn a_temporary_file_is_freed_with_its_handle() {
    let flags = ffi::SQLITE_OPEN_TEMP_DB | ffi::SQLITE_OPEN_READWRITE | ffi::SQLITE_OPEN_CREATE;
    let (one, other) = (directory::open(None, flags).expect("a file"), directory::open(None, flags).expect("a file"));
    one.write(0, b"private").expect("write");
    assert_eq!(other.len(), Ok(0));
    let file = Arc::downgrade(one.file());
    drop(one);
    assert_eq!(file.strong_count(), 0);
}

#[test]
fn only_the_files_of_a_database_can_be_opened_and_only_as_their_type() {
    let db = MemoryDatabase::new();
    let connection = connect(&db);
    connection.execute_batch("CREATE TABLE t(a)").expect("write");
    let create = ffi::SQLITE_OPEN_READWRITE | ffi::SQLITE_OPEN_CREATE;
    for (suffix, flags) in [
        ("-wal", ffi::SQLITE_OPEN_MAIN_DB),
        ("-journal", ffi::SQLITE_OPEN_MAIN_DB),
        ("-other", ffi::SQLITE_OPEN_MAIN_DB),
        ("-mj0123456789", ffi::SQLITE_OPEN_SUPER_JOURNAL),
        ("", ffi::SQLITE_OPEN_MAIN_DB | ffi::SQLITE_OPEN_EXCLUSIVE),
    ] {
        let name = format!("{}{suffix}", db.name());
        let opened = directory::open(Some(name.as_bytes()), create | flags);
        assert_eq!(opened.err(), Some(ffi::SQLITE_CANTOPEN), "{suffix}");
    }
    assert!(try_connect(&db.name()[..db.name().len() - 1]).is_err());
}

#[test]
fn a_read_only_connection_cannot_write() {
    let db = MemoryDatabase::new();
    let writer = connect(&db);
    writer.execute_batch("CREATE TABLE t(a); INSERT INTO t VALUES (1)").expect("write");
    let vfs = vfs_name().expect("the VFS");
    let reader = Connection::open_with_flags_and_vfs(db.name(), OpenFlags::SQLITE_OPEN_READ_ONLY, vfs).expect("open");
    assert_eq!(reader.query_row("SELECT a FROM t", [], |row| row.get(0)), Ok(1));
    let refused = reader.execute_batch("INSERT INTO t VALUES (2)").map_err(|error| error.sqlite_error_code());
    assert_eq!(refused, Err(Some(rusqlite::ErrorCode::ReadOnly)));
    let flags = ffi::SQLITE_OPEN_MAIN_DB | ffi::SQLITE_OPEN_READONLY;
    let handle = directory::open(Some(db.name().as_bytes()), flags).expect("a handle");
    assert_eq!(handle.write(0, b"x"), Err(ffi::SQLITE_READONLY));
    assert_eq!(handle.truncate(0), Err(ffi::SQLITE_READONLY));
    assert_eq!(handle.lock(ffi::SQLITE_LOCK_SHARED), Ok(()));
    assert_eq!(handle.lock(ffi::SQLITE_LOCK_EXCLUSIVE), Err(ffi::SQLITE_READONLY));
}
