//! Records whether a disk was full, and stops a write-ahead log from taking the last free space of its disk.
//!
//! SQLite reports the same code (`SQLITE_FULL`, <https://sqlite.org/rescode.html#full>) when an AUTOINCREMENT table has
//! no unused rowid; only the VFS can distinguish the two cases. Writes to temporary files are recorded too: they may be
//! on another disk, and may have been deleted by the time the result code is examined.
//!
//! A transaction that is larger than the page cache writes to the write-ahead log before it commits. So it could fill
//! the disk. If the process were then killed, there would be no space for what must be written after a restart: the
//! checkpoint, the WAL index, the Raft log. Therefore a write to the write-ahead log fails if it would use a reserve of
//! free space.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::sync::{Mutex, PoisonError};

use rusqlite::ffi;

thread_local! {
    /// Whether a write on this thread has failed because the disk was full, since the last call of [`forget`].
    static MET_FULL_DISK: Cell<bool> = const { Cell::new(false) };
    /// The number of bytes that this thread has written since the last call of [`forget`].
    static WRITTEN: Cell<u64> = const { Cell::new(0) };
}

/// The free space is checked each time a write-ahead log has grown by this many bytes.
const CHECK_EVERY: i64 = 1 << 20;
/// The reserve: the free space, in bytes, that a growing write-ahead log must leave on the disk. On a disk smaller than
/// 16 times this size, the reserve is a sixteenth of the disk.
#[cfg(unix)]
const RESERVE_BYTES_MAX: u64 = 8 << 20;

/// Resets the records of this thread: no full disk, no bytes written.
pub(crate) fn forget() {
    MET_FULL_DISK.set(false);
    WRITTEN.set(0);
}

/// The number of bytes that this thread has written to database files and temporary files since the last call of
/// [`forget`].
pub(crate) fn bytes_written() -> u64 {
    WRITTEN.get()
}

/// Whether a write on this thread has failed because the disk was full since the last call of [`forget`].
pub(crate) fn was_met() -> bool {
    MET_FULL_DISK.get()
}

/// A copy of an open file's method table, in which `xWrite` is replaced.
#[repr(C)]
struct WrappedMethods {
    /// The method table that SQLite uses. It is the first field, so that SQLite's pointer to it is also a pointer to
    /// this structure.
    methods: ffi::sqlite3_io_methods,
    base: &'static ffi::sqlite3_io_methods,
    /// The offset of the pointer to the file name, in bytes from the start of SQLite's structure for the open file.
    name_offset: usize,
}

type Open = unsafe extern "C" fn(
    *mut ffi::sqlite3_vfs,
    ffi::sqlite3_filename,
    *mut ffi::sqlite3_file,
    c_int,
    *mut c_int,
) -> c_int;

/// The properties of an original VFS, whose copy calls it.
#[derive(Clone, Copy)]
struct Original {
    open: Open,
    /// The size of the original VFS's structure for an open file, rounded up, in bytes. In the copy, the pointer to the
    /// file name follows this structure.
    file_bytes: usize,
}

/// The properties of the original VFSs, by the address of the copy.
static ORIGINALS: Mutex<BTreeMap<usize, Original>> = Mutex::new(BTreeMap::new());

/// Replaces `xOpen` of a VFS, so that writes to the files that it opens are recorded. `vfs` must be a copy of an
/// original VFS whose `xOpen` accepts the copy in place of the original. Because `vfs` is `'static`, its address does
/// not change.
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
    // SAFETY: the arguments are those that SQLite passes, for the function that SQLite would have called. That function
    // sets `pMethods` to a method table, which lives as long as the process, or to null. SQLite provides `szOsFile`
    // bytes for the file, aligned to 8 bytes, and `install` has increased `szOsFile` by the size of the pointer to the
    // name.
    unsafe {
        let code = (original.open)(vfs, name, file, flags, out_flags);
        if let Some(methods) = (*file).pMethods.as_ref() {
            let is_log = flags & ffi::SQLITE_OPEN_WAL != 0;
            (*file).pMethods = &raw const wrapped_methods(methods, is_log, original.file_bytes).methods;
            file.byte_add(original.file_bytes).cast::<*const c_char>().write(name);
        }
        code
    }
}

/// Returns a copy of a method table in which `xWrite` is replaced. Each copy is made once. Only a few exist: two for
/// each locking style of the VFS.
fn wrapped_methods(
    base: &'static ffi::sqlite3_io_methods,
    is_log: bool,
    name_offset: usize,
) -> &'static WrappedMethods {
    type Key = (usize, bool, usize);
    static TABLES: Mutex<BTreeMap<Key, &'static WrappedMethods>> = Mutex::new(BTreeMap::new());
    let mut tables = TABLES.lock().unwrap_or_else(PoisonError::into_inner);
    tables.entry((std::ptr::from_ref(base).addr(), is_log, name_offset)).or_insert_with(|| {
        let write = if is_log { write_log } else { write };
        let methods = ffi::sqlite3_io_methods { xWrite: Some(write), ..*base };
        Box::leak(Box::new(WrappedMethods { methods, base, name_offset }))
    })
}

unsafe extern "C" fn write(file: *mut ffi::sqlite3_file, bytes: *const c_void, amount: c_int, offset: i64) -> c_int {
    // SAFETY: only tables created by `wrapped_methods` contain this function, and each of them is the first field of a
    // `WrappedMethods`. The arguments are those that SQLite passes, for the method that SQLite would have called.
    let code = unsafe {
        let wrapped_methods = (*file).pMethods.cast::<WrappedMethods>();
        match (*wrapped_methods).base.xWrite {
            Some(write) => write(file, bytes, amount, offset),
            None => ffi::SQLITE_IOERR_WRITE,
        }
    };
    match code & 0xff {
        ffi::SQLITE_FULL => MET_FULL_DISK.set(true),
        ffi::SQLITE_OK => WRITTEN.set(WRITTEN.get().saturating_add(u64::try_from(amount).unwrap_or(0))),
        _ => {}
    }
    code
}

/// `xWrite` of a write-ahead log: like [`write`], but fails if the file would grow and the reserve of free space would
/// be used.
unsafe extern "C" fn write_log(
    file: *mut ffi::sqlite3_file,
    bytes: *const c_void,
    amount: c_int,
    offset: i64,
) -> c_int {
    let end = offset.saturating_add(i64::from(amount));
    // SAFETY: as in `write`. `open` has stored the name after the VFS's own structure. The name is null or, as SQLite
    // documents for `xOpen` (<https://sqlite.org/c3ref/vfs.html>), valid and unchanged until the file is closed.
    unsafe {
        if end / CHECK_EVERY > offset / CHECK_EVERY && grows(file, end) {
            let name =
                file.byte_add((*(*file).pMethods.cast::<WrappedMethods>()).name_offset).cast::<*const c_char>().read();
            if !name.is_null() && !has_reserve(CStr::from_ptr(name)) {
                MET_FULL_DISK.set(true);
                return ffi::SQLITE_FULL;
            }
        }
        write(file, bytes, amount, offset)
    }
}

/// Returns whether a write that ends at offset `end` makes the file longer. Also returns true if the size of the file
/// cannot be read.
///
/// # Safety
/// The file is open, and its method table is that of a [`WrappedMethods`].
unsafe fn grows(file: *mut ffi::sqlite3_file, end: i64) -> bool {
    let mut size = 0;
    // SAFETY: the caller guarantees that the file is open; `size` is a local variable.
    let known = unsafe {
        (*(*file).pMethods).xFileSize.is_some_and(|file_size| file_size(file, &raw mut size) == ffi::SQLITE_OK)
    };
    !known || end > size
}

/// Returns whether the disk of `file` has enough free space for the file to grow without using the reserve. Also
/// returns true if the file system does not report its free space.
#[cfg(unix)]
fn has_reserve(file: &CStr) -> bool {
    let bytes = |blocks: u64, size: u64| blocks.saturating_mul(size);
    rustix::fs::statvfs(file)
        .map_or(true, |stat| is_above_reserve(bytes(stat.f_bavail, stat.f_frsize), bytes(stat.f_blocks, stat.f_frsize)))
}

/// Returns whether a disk of `total` bytes, of which `free` bytes are free, still has the reserve after another
/// [`CHECK_EVERY`] bytes are written.
#[cfg(unix)]
fn is_above_reserve(free: u64, total: u64) -> bool {
    free >= RESERVE_BYTES_MAX.min(total / 16).saturating_add(CHECK_EVERY.unsigned_abs())
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
