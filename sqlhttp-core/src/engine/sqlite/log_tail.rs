//! Cuts a write-ahead log behind its last commit.
//!
//! A transaction larger than the page cache writes to the log before it commits. After a rollback or a crash its frames
//! stay in the file, and the space they take may be the space that a checkpoint needs. SQLite itself shortens the log only
//! after a checkpoint.
//!
//! No reader and no recovery uses a frame behind the last commit, and only the connection with the write lock adds frames. So
//! the owner of that lock, which has written nothing yet, may cut them off. A crash in between leaves a part of them, which
//! is ignored like the whole (<https://sqlite.org/walformat.html>, <https://sqlite.org/fileformat2.html#the_write_ahead_log>).

use std::ffi::c_int;

use rusqlite::{Connection, ffi};

use super::probe::{error_of_code, file_of};
use crate::model::SqlError;

/// The size of the header of a log, bytes.
const HEADER_BYTES: i64 = 32;
/// The size of the header of a frame, bytes. A page follows it.
const FRAME_HEADER_BYTES: i64 = 24;
/// The size of a part of the index that SQLite maps at a time, bytes.
const REGION_BYTES: c_int = 32 << 10;
/// The size of one of the two equal headers of the index, bytes.
const INDEX_HEADER_BYTES: usize = 48;

/// Cuts the log of the main database behind its last commit. Returns by how many bytes it is shorter.
///
/// The database must be in WAL mode, and the connection in a transaction that holds the write lock and has written nothing.
pub(crate) fn cut(connection: &Connection) -> Result<i64, SqlError> {
    let database = file_of(connection, ffi::SQLITE_FCNTL_FILE_POINTER)?;
    let log = file_of(connection, ffi::SQLITE_FCNTL_JOURNAL_POINTER)?;
    let (Some(database), Some(log)) = (database, log) else { return Ok(0) };
    // SAFETY: both files belong to the connection, which keeps them open while its transaction is. The connection is used
    // on this thread only.
    unsafe {
        let Some(end) = end_of_commits(database)? else { return Ok(0) };
        let size = size_of_file(log)?;
        if size > end {
            truncate(log, end)?;
        }
        Ok((size - end).max(0))
    }
}

/// Where the last committed frame ends, as the index of the log tells; `None` if there is no index.
///
/// # Safety
/// The file is an open database, in WAL mode, of a connection that holds the write lock.
unsafe fn end_of_commits(database: *mut ffi::sqlite3_file) -> Result<Option<i64>, SqlError> {
    let mut region = std::ptr::null_mut();
    // SAFETY: the file is open. A region that is mapped stays so while the connection is open, and has this size. Only
    // owners of the write lock change the headers.
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

/// The same out of a header of the index.
fn end_in(header: &[u8; INDEX_HEADER_BYTES]) -> Option<i64> {
    let initialized = header[12] != 0;
    let page_bytes = match u16::from_ne_bytes([header[14], header[15]]) {
        1 => 65_536,
        bytes => i64::from(bytes),
    };
    let frames = i64::from(u32::from_ne_bytes([header[16], header[17], header[18], header[19]]));
    initialized.then(|| HEADER_BYTES + frames * (FRAME_HEADER_BYTES + page_bytes))
}

/// # Safety
/// The file is open.
unsafe fn size_of_file(file: *mut ffi::sqlite3_file) -> Result<i64, SqlError> {
    let mut size = 0;
    // SAFETY: the caller's promise; the place for the answer is ours.
    unsafe {
        let ask = (*(*file).pMethods).xFileSize;
        checked(ask.map_or(ffi::SQLITE_IOERR_FSTAT, |ask| ask(file, &raw mut size)))?;
    }
    Ok(size)
}

/// # Safety
/// The file is open, and no connection reads the bytes behind `size`.
unsafe fn truncate(file: *mut ffi::sqlite3_file, size: i64) -> Result<(), SqlError> {
    // SAFETY: the caller's promise.
    let code = unsafe { (*(*file).pMethods).xTruncate.map_or(ffi::SQLITE_IOERR_TRUNCATE, |cut| cut(file, size)) };
    checked(code)
}

fn checked(code: c_int) -> Result<(), SqlError> {
    if code == ffi::SQLITE_OK { Ok(()) } else { Err(error_of_code(code, None)) }
}
