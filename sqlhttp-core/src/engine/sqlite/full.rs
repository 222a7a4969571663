//! Notes whether a disk was full, and keeps a write-ahead log from taking the last of its space.
//!
//! SQLite reports the same code (`SQLITE_FULL`) when AUTOINCREMENT has no number left; only the VFS knows which it was.
//! Temporary files count, which may be on another disk and gone afterwards.
//!
//! A transaction larger than the page cache writes to the write-ahead log before it commits. It would fill the disk, and a
//! process that is killed then would leave no space for what comes next: the checkpoint, the index of the log, the log of a
//! cluster. So the log stops growing while there is still a reserve.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::sync::{Mutex, PoisonError};

use rusqlite::ffi;

thread_local! {
    /// A write on this thread met a full disk.
    static MET: Cell<bool> = const { Cell::new(false) };
    /// The bytes that this thread has written.
    static WRITTEN: Cell<u64> = const { Cell::new(0) };
}

/// How often a growing write-ahead log asks for the free space, in bytes of growth.
const ASK_EVERY: i64 = 1 << 20;
/// A write-ahead log leaves this much space on the disk free, bytes; on a small disk a sixteenth of it.
#[cfg(unix)]
const RESERVE_BYTES_MAX: u64 = 8 << 20;

/// Forgets what has been noted on this thread.
pub(crate) fn forget() {
    MET.set(false);
    WRITTEN.set(0);
}

/// How many bytes this thread has written to files of databases, temporary ones included, since [`forget`].
pub(crate) fn bytes_written() -> u64 {
    WRITTEN.get()
}

/// Whether a write on this thread has met a full disk since [`forget`].
pub(crate) fn was_met() -> bool {
    MET.get()
}

/// The methods of an open file, with ours in the place of the one that writes.
#[repr(C)]
struct Noting {
    /// First, so that SQLite's pointer to the methods is a pointer to all of this.
    methods: ffi::sqlite3_io_methods,
    base: &'static ffi::sqlite3_io_methods,
    /// Where the name of the file is kept, bytes from the beginning of SQLite's structure for the file.
    name_at: usize,
}

type Open = unsafe extern "C" fn(
    *mut ffi::sqlite3_vfs,
    ffi::sqlite3_filename,
    *mut ffi::sqlite3_file,
    c_int,
    *mut c_int,
) -> c_int;

/// The properties of the original of a copied VFS.
#[derive(Clone, Copy)]
struct Original {
    open: Open,
    /// The size of the original's structure for an open file, rounded up. The name of the file stands behind it.
    file_bytes: usize,
}

/// The originals of the copied VFSs, by the address of the copy.
static ORIGINALS: Mutex<BTreeMap<usize, Original>> = Mutex::new(BTreeMap::new());

/// Has the files of this VFS noted. It must stay where it is from now on, and be a copy of one whose `xOpen` takes the copy
/// for the original.
pub(super) fn install(vfs: &'static mut ffi::sqlite3_vfs) -> *mut ffi::sqlite3_vfs {
    let original = vfs.xOpen.replace(open);
    let file_bytes = usize::try_from(vfs.szOsFile).unwrap_or(0).next_multiple_of(size_of::<*const c_char>());
    let with_name = c_int::try_from(file_bytes + size_of::<*const c_char>());
    vfs.szOsFile = with_name.unwrap_or(vfs.szOsFile);
    let vfs = std::ptr::from_mut(vfs);
    if let Some(open) = original {
        let original = Original { open, file_bytes };
        ORIGINALS.lock().unwrap_or_else(PoisonError::into_inner).insert(vfs.addr(), original);
    }
    vfs
}

unsafe extern "C" fn open(
    vfs: *mut ffi::sqlite3_vfs,
    name: ffi::sqlite3_filename,
    file: *mut ffi::sqlite3_file,
    flags: c_int,
    out_flags: *mut c_int,
) -> c_int {
    let original = ORIGINALS.lock().unwrap_or_else(PoisonError::into_inner).get(&vfs.addr()).copied();
    let Some(original) = original else { return ffi::SQLITE_CANTOPEN };
    // SAFETY: SQLite's own arguments, for the function that it would have called. What that put into the file is its
    // table of methods, or null; such tables live as long as the process. SQLite provides `szOsFile` bytes for the file,
    // aligned to 8 bytes, and `install` has added the place for the name.
    unsafe {
        let code = (original.open)(vfs, name, file, flags, out_flags);
        if let Some(methods) = (*file).pMethods.as_ref() {
            let is_log = flags & ffi::SQLITE_OPEN_WAL != 0;
            (*file).pMethods = &raw const noting(methods, is_log, original.file_bytes).methods;
            file.byte_add(original.file_bytes).cast::<*const c_char>().write(name);
        }
        code
    }
}

/// The table that goes with this one. There are few: two for each way of locking that the VFS knows.
fn noting(base: &'static ffi::sqlite3_io_methods, is_log: bool, name_at: usize) -> &'static Noting {
    type Key = (usize, bool, usize);
    static TABLES: Mutex<BTreeMap<Key, &'static Noting>> = Mutex::new(BTreeMap::new());
    let mut tables = TABLES.lock().unwrap_or_else(PoisonError::into_inner);
    tables.entry((std::ptr::from_ref(base).addr(), is_log, name_at)).or_insert_with(|| {
        let write = if is_log { write_log } else { write };
        let methods = ffi::sqlite3_io_methods { xWrite: Some(write), ..*base };
        Box::leak(Box::new(Noting { methods, base, name_at }))
    })
}

unsafe extern "C" fn write(file: *mut ffi::sqlite3_file, bytes: *const c_void, amount: c_int, offset: i64) -> c_int {
    // SAFETY: this function stands only in tables that `noting` has made, each the first part of a `Noting`. The arguments
    // are SQLite's own, for the method that it would have called.
    let code = unsafe {
        let noting = (*file).pMethods.cast::<Noting>();
        match (*noting).base.xWrite {
            Some(write) => write(file, bytes, amount, offset),
            None => ffi::SQLITE_IOERR_WRITE,
        }
    };
    match code & 0xff {
        ffi::SQLITE_FULL => MET.set(true),
        ffi::SQLITE_OK => WRITTEN.set(WRITTEN.get().saturating_add(u64::try_from(amount).unwrap_or(0))),
        _ => {}
    }
    code
}

/// The same for a write-ahead log.
unsafe extern "C" fn write_log(
    file: *mut ffi::sqlite3_file,
    bytes: *const c_void,
    amount: c_int,
    offset: i64,
) -> c_int {
    let end = offset.saturating_add(i64::from(amount));
    // SAFETY: as in `write`. `open` has written the name behind the structure of the VFS; it is null or, as SQLite
    // documents for `xOpen`, valid and unchanged until the file is closed.
    unsafe {
        if end / ASK_EVERY > offset / ASK_EVERY && grows(file, end) {
            let name = file.byte_add((*(*file).pMethods.cast::<Noting>()).name_at).cast::<*const c_char>().read();
            if !name.is_null() && !has_reserve(CStr::from_ptr(name)) {
                MET.set(true);
                return ffi::SQLITE_FULL;
            }
        }
        write(file, bytes, amount, offset)
    }
}

/// Whether a write up to this offset makes the file longer.
///
/// # Safety
/// The file is open, and its table of methods is one of a [`Noting`].
unsafe fn grows(file: *mut ffi::sqlite3_file, end: i64) -> bool {
    let mut size = 0;
    // SAFETY: the caller's promise; the place for the answer is ours.
    let known = unsafe { (*(*file).pMethods).xFileSize.is_some_and(|ask| ask(file, &raw mut size) == ffi::SQLITE_OK) };
    !known || end > size
}

/// Whether the disk of a file has more than the reserve. A disk that does not tell is not limited.
#[cfg(unix)]
fn has_reserve(file: &CStr) -> bool {
    let bytes = |blocks: u64, size: u64| blocks.saturating_mul(size);
    rustix::fs::statvfs(file)
        .map_or(true, |stat| is_above_reserve(bytes(stat.f_bavail, stat.f_frsize), bytes(stat.f_blocks, stat.f_frsize)))
}

/// Whether so many free bytes of a disk leave the reserve after the next [`ASK_EVERY`] bytes of growth.
#[cfg(unix)]
fn is_above_reserve(free: u64, total: u64) -> bool {
    free >= RESERVE_BYTES_MAX.min(total / 16).saturating_add(ASK_EVERY.unsigned_abs())
}

#[cfg(not(unix))]
fn has_reserve(_file: &CStr) -> bool {
    true
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn a_log_leaves_a_reserve_of_the_disk() {
        const MIB: u64 = 1 << 20;
        for (free, total, may_grow) in [
            (9 * MIB, 1000 * MIB, true),
            (9 * MIB - 1, 1000 * MIB, false),
            (3 * MIB + MIB / 2, 40 * MIB, true),
            (3 * MIB + MIB / 2 - 1, 40 * MIB, false),
        ] {
            assert_eq!(is_above_reserve(free, total), may_grow, "{free} of {total}");
        }
    }
}
