//! Truncates a write-ahead log after its last commit.
//!
//! A transaction that is larger than the page cache writes to the write-ahead log before it commits. After a rollback
//! or a crash, its frames stay in the file and take space that a checkpoint may need. SQLite itself shortens the log
//! only after a checkpoint.
//!
//! Neither readers nor recovery use a frame after the last commit, and only the connection that holds the write lock
//! appends frames. Therefore the connection that holds the write lock may remove those frames, provided that it has
//! written nothing itself. After a crash during the truncation, some of the frames remain; they are ignored in the same
//! way (<https://sqlite.org/walformat.html>, <https://sqlite.org/fileformat2.html#the_write_ahead_log>).

use std::ffi::c_int;

use rusqlite::{Connection, ffi};

use super::probe::{error_of_code, file_of};
use crate::model::SqlError;

/// The size of the header of the write-ahead log, in bytes.
const HEADER_BYTES: i64 = 32;
/// The size of the header of a frame in the write-ahead log, in bytes. A page follows the header.
const FRAME_HEADER_BYTES: i64 = 24;
/// The size of the region of the WAL index that SQLite maps at a time, in bytes.
const REGION_BYTES: c_int = 32 << 10;
/// The size of one of the two identical headers of the WAL index, in bytes.
const INDEX_HEADER_BYTES: usize = 48;

/// Truncates the write-ahead log of the main database after its last commit. Returns the number of bytes that were
/// removed.
///
/// The database must be in WAL mode. The connection must be in a transaction that holds the write lock and has written
/// nothing.
pub(crate) fn cut(connection: &Connection) -> Result<i64, SqlError> {
    let database = file_of(connection, ffi::SQLITE_FCNTL_FILE_POINTER)?;
    let log = file_of(connection, ffi::SQLITE_FCNTL_JOURNAL_POINTER)?;
    let (Some(database), Some(log)) = (database, log) else { return Ok(0) };
    // SAFETY: both files belong to the connection, which keeps them open during its transaction. The connection holds
    // the write lock, as this function requires, and only this thread uses it.
    unsafe {
        let Some(end) = end_of_commits(database)? else { return Ok(0) };
        let size = size_of_file(log)?;
        if size > end {
            truncate(log, end)?;
        }
        Ok((size - end).max(0))
    }
}

/// Returns the offset in the write-ahead log at which the last committed frame ends. Reads it from the WAL index;
/// `None` if there is no valid index.
///
/// # Safety
/// The file is the open main database file, in WAL mode, of a connection that holds the write lock.
unsafe fn end_of_commits(database: *mut ffi::sqlite3_file) -> Result<Option<i64>, SqlError> {
    let mut region = std::ptr::null_mut();
    // SAFETY: the file is open. A mapped region has this size and stays mapped while the connection is open. Only the
    // owner of the write lock changes the headers, so they are not changed during the read.
    let headers = unsafe {
        let methods = (*database).pMethods;
        let Some(map) = (*methods).xShmMap.filter(|_| (*methods).iVersion >= 2) else { return Ok(None) };
        checked(map(database, 0, REGION_BYTES, 0, &raw mut region))?;
        if region.is_null() {
            return Ok(None);
        }
        region.cast::<[[u8; INDEX_HEADER_BYTES]; 2]>().cast_const().read_unaligned()
    };
    let [first, second] = headers;
    Ok((first == second).then(|| end_in(&first)).flatten())
}

/// Returns the offset in the write-ahead log at which the last committed frame ends, according to a header of the WAL
/// index; `None` if the header is not initialized (<https://sqlite.org/walformat.html#the_wal_index_header>).
fn end_in(header: &[u8; INDEX_HEADER_BYTES]) -> Option<i64> {
    let initialized = header[12] != 0;
    let page_bytes = match u16::from_ne_bytes([header[14], header[15]]) {
        1 => 65_536,
        bytes => i64::from(bytes),
    };
    let frames = i64::from(u32::from_ne_bytes([header[16], header[17], header[18], header[19]]));
    initialized.then(|| HEADER_BYTES + frames * (FRAME_HEADER_BYTES + page_bytes))
}

/// The size of a file, in bytes.
///
/// # Safety
/// The file is open.
unsafe fn size_of_file(file: *mut ffi::sqlite3_file) -> Result<i64, SqlError> {
    let mut size = 0;
    // SAFETY: the caller guarantees that the file is open; `size` is a local variable.
    unsafe {
        let ask = (*(*file).pMethods).xFileSize;
        checked(ask.map_or(ffi::SQLITE_IOERR_FSTAT, |ask| ask(file, &raw mut size)))?;
    }
    Ok(size)
}

/// Truncates a file to `size` bytes.
///
/// # Safety
/// The file is open, and no connection uses the bytes after `size`.
unsafe fn truncate(file: *mut ffi::sqlite3_file, size: i64) -> Result<(), SqlError> {
    // SAFETY: the caller guarantees that the file is open and that the bytes are unused.
    let code = unsafe { (*(*file).pMethods).xTruncate.map_or(ffi::SQLITE_IOERR_TRUNCATE, |cut| cut(file, size)) };
    checked(code)
}

fn checked(code: c_int) -> Result<(), SqlError> {
    if code == ffi::SQLITE_OK { Ok(()) } else { Err(error_of_code(code, None)) }
}
