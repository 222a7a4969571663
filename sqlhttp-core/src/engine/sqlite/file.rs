//! The C functions of an open file, which the VFSs of this crate share (<https://sqlite.org/c3ref/io_methods.html>).
//!
//! A VFS that keeps its files in the memory of this process implements [`VfsFile`] for its file handle. When it opens a
//! file, it stores the handle in SQLite's `sqlite3_file` with [`place`]. SQLite then calls the methods of the handle
//! through the method table of this module.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::sync::atomic::{Ordering, fence};

use rusqlite::ffi;

use super::locks::Region;

/// The SQLite result code of an operation that failed.
pub(super) type Code = c_int;

/// The sector size that SQLite's own VFS reports for a hard disk, in bytes.
const SECTOR_SIZE: c_int = 4096;

/// The handle of an open file. Dropping the handle closes the file and releases the handle's locks and shared memory.
///
/// SQLite uses a handle on one thread at a time, but not always on the same thread.
pub(super) trait VfsFile: Send + Sized + 'static {
    /// The device characteristics that SQLite may rely on, `SQLITE_IOCAP_*`
    /// (<https://sqlite.org/c3ref/c_iocap_atomic.html>).
    const CHARACTERISTICS: c_int;

    /// Reads from `offset` of the file into `buffer`, which contains zeros. Returns the number of bytes that were read;
    /// at the end of the file it is less than the length of `buffer`.
    fn read(&self, offset: usize, buffer: &mut [u8]) -> Result<usize, Code>;
    fn write(&self, offset: usize, bytes: &[u8]) -> Result<(), Code>;
    fn truncate(&self, len: usize) -> Result<(), Code>;
    fn sync(&self) -> Result<(), Code>;
    fn len(&self) -> Result<usize, Code>;

    /// Raises the lock of this handle to `level`: SHARED, RESERVED or EXCLUSIVE. Fails with `SQLITE_BUSY` if locks of
    /// other handles conflict.
    fn lock(&self, level: c_int) -> Result<(), Code>;
    /// Lowers the lock of this handle to `level`.
    fn unlock(&self, level: c_int);
    /// Returns whether any handle of the file holds RESERVED or a higher lock.
    fn reserved(&self) -> bool;

    /// Returns a region of the memory that all connections to this file share (`xShmMap`). The region stays valid until
    /// this handle calls [`VfsFile::leave_memory`] or is dropped.
    fn map_memory(&self, number: usize, bytes: usize, extend: bool) -> Result<Option<Region>, Code>;
    /// Acquires all locks of the shared memory that are in `mask`, and returns true. If one of them conflicts, acquires
    /// none and returns false.
    fn lock_memory(&self, mask: u32, exclusive: bool) -> bool;
    fn unlock_memory(&self, mask: u32);
    fn leave_memory(&self);
}

/// The content of the memory that SQLite provides for an open file.
#[repr(C)]
struct OpenFile<F> {
    base: ffi::sqlite3_file,
    handle: F,
}

/// The size of the memory that SQLite must provide for an open file (`szOsFile`), in bytes.
pub(super) const fn size_of_open_file<F: VfsFile>() -> usize {
    // SQLite aligns this memory to 8 bytes.
    assert!(align_of::<OpenFile<F>>() <= align_of::<u64>());
    size_of::<OpenFile<F>>()
}

/// Stores a handle in SQLite's memory for an open file.
///
/// # Safety
/// `file` points to at least [`size_of_open_file`] bytes, aligned to 8 bytes, which contain no open file.
pub(super) unsafe fn place<F: VfsFile>(file: *mut ffi::sqlite3_file, handle: F) {
    let base = ffi::sqlite3_file { pMethods: Methods::<F>::TABLE };
    // SAFETY: the caller provides the memory; `write` does not read or drop its old content.
    unsafe { file.cast::<OpenFile<F>>().write(OpenFile { base, handle }) };
}

/// Marks a file as not open, so that SQLite does not close it.
///
/// # Safety
/// `file` points to memory for a `sqlite3_file`, initialized or not.
pub(super) unsafe fn place_nothing(file: *mut ffi::sqlite3_file) {
    // SAFETY: the caller provides the memory; `write` does not read its old content.
    unsafe { file.write(ffi::sqlite3_file { pMethods: std::ptr::null() }) };
}

/// Returns the bytes of a file name or a path without the terminating NUL; `None` for a null pointer.
///
/// # Safety
/// `name` is null or points to a NUL-terminated string that lives for `'a`.
pub(super) unsafe fn path<'a>(name: *const c_char) -> Option<&'a [u8]> {
    // SAFETY: `name` is not null here, and the caller guarantees that it points to such a string.
    (!name.is_null()).then(|| unsafe { CStr::from_ptr(name) }.to_bytes())
}

/// Implements `xFullPathname` for a VFS whose file names are already full paths: copies the name to `out`.
///
/// # Safety
/// `name` points to a NUL-terminated string, and `out` to memory for `out_len` bytes.
pub(super) unsafe fn copy_path(name: *const c_char, out_len: c_int, out: *mut c_char) -> c_int {
    // SAFETY: the caller guarantees both pointers, and the length is checked before the copy. SQLite passes an output
    // buffer that does not overlap the name.
    unsafe {
        let bytes = CStr::from_ptr(name).to_bytes_with_nul();
        if bytes.len() > len(out_len) {
            return ffi::SQLITE_CANTOPEN;
        }
        std::ptr::copy_nonoverlapping(bytes.as_ptr(), out.cast(), bytes.len());
    }
    ffi::SQLITE_OK
}

/// Converts a `Result` to SQLite's result code: `SQLITE_OK`, or the code of the failure.
pub(super) fn code(result: Result<(), Code>) -> c_int {
    result.err().unwrap_or(ffi::SQLITE_OK)
}

/// Converts an offset or a length that SQLite passes. SQLite never passes a negative number; the result would be 0.
fn len(number: impl TryInto<usize>) -> usize {
    number.try_into().unwrap_or_default()
}

/// The method table for files with handles of type `F`.
struct Methods<F>(std::marker::PhantomData<F>);

impl<F: VfsFile> Methods<F> {
    const TABLE: &'static ffi::sqlite3_io_methods = &ffi::sqlite3_io_methods {
        // Version 2 includes shared memory but not memory-mapped files (`xFetch`).
        iVersion: 2,
        xClose: Some(close::<F>),
        xRead: Some(read::<F>),
        xWrite: Some(write::<F>),
        xTruncate: Some(truncate::<F>),
        xSync: Some(sync::<F>),
        xFileSize: Some(file_size::<F>),
        xLock: Some(lock::<F>),
        xUnlock: Some(unlock::<F>),
        xCheckReservedLock: Some(check_reserved_lock::<F>),
        xFileControl: Some(file_control),
        xSectorSize: Some(sector_size),
        xDeviceCharacteristics: Some(device_characteristics::<F>),
        xShmMap: Some(shm_map::<F>),
        xShmLock: Some(shm_lock::<F>),
        xShmBarrier: Some(shm_barrier),
        xShmUnmap: Some(shm_unmap::<F>),
        xFetch: None,
        xUnfetch: None,
    };
}

/// Returns the handle of an open file.
///
/// # Safety
/// [`place`] initialized `file` with a handle of this type, and the file is not closed during `'a`.
unsafe fn handle<'a, F: VfsFile>(file: *mut ffi::sqlite3_file) -> &'a F {
    // SAFETY: the caller guarantees that the handle is there; only `close` drops it.
    unsafe { &(*file.cast::<OpenFile<F>>()).handle }
}

unsafe extern "C" fn close<F: VfsFile>(file: *mut ffi::sqlite3_file) -> c_int {
    // SAFETY: `place` stored a handle of type `F` together with this method table. SQLite closes a file only once and
    // does not use it afterwards.
    unsafe {
        std::ptr::drop_in_place(&raw mut (*file.cast::<OpenFile<F>>()).handle);
        place_nothing(file);
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn read<F: VfsFile>(
    file: *mut ffi::sqlite3_file,
    buffer: *mut c_void,
    amount: c_int,
    offset: i64,
) -> c_int {
    // SAFETY: SQLite passes an open file and a buffer of `amount` bytes. The buffer may be uninitialized, so it is
    // filled with zeros before a slice of it is made.
    let (handle, buffer) = unsafe {
        std::ptr::write_bytes(buffer.cast::<u8>(), 0, len(amount));
        (handle::<F>(file), std::slice::from_raw_parts_mut(buffer.cast::<u8>(), len(amount)))
    };
    match handle.read(len(offset), buffer) {
        Ok(available) if available < len(amount) => ffi::SQLITE_IOERR_SHORT_READ,
        result => code(result.map(drop)),
    }
}

unsafe extern "C" fn write<F: VfsFile>(
    file: *mut ffi::sqlite3_file,
    bytes: *const c_void,
    amount: c_int,
    offset: i64,
) -> c_int {
    // SAFETY: SQLite passes an open file and `amount` bytes to write.
    let (handle, bytes) = unsafe { (handle::<F>(file), std::slice::from_raw_parts(bytes.cast::<u8>(), len(amount))) };
    code(handle.write(len(offset), bytes))
}

unsafe extern "C" fn truncate<F: VfsFile>(file: *mut ffi::sqlite3_file, size: i64) -> c_int {
    // SAFETY: SQLite passes an open file of this type.
    code(unsafe { handle::<F>(file) }.truncate(len(size)))
}

unsafe extern "C" fn sync<F: VfsFile>(file: *mut ffi::sqlite3_file, _flags: c_int) -> c_int {
    // SAFETY: SQLite passes an open file of this type.
    code(unsafe { handle::<F>(file) }.sync())
}

unsafe extern "C" fn file_size<F: VfsFile>(file: *mut ffi::sqlite3_file, out: *mut i64) -> c_int {
    // SAFETY: SQLite passes an open file of this type and a valid pointer for the result.
    unsafe {
        let size = handle::<F>(file).len();
        *out = i64::try_from(size.unwrap_or_default()).unwrap_or(i64::MAX);
        code(size.map(drop))
    }
}

unsafe extern "C" fn lock<F: VfsFile>(file: *mut ffi::sqlite3_file, level: c_int) -> c_int {
    // SAFETY: SQLite passes an open file of this type.
    code(unsafe { handle::<F>(file) }.lock(level))
}

unsafe extern "C" fn unlock<F: VfsFile>(file: *mut ffi::sqlite3_file, level: c_int) -> c_int {
    // SAFETY: SQLite passes an open file of this type.
    unsafe { handle::<F>(file) }.unlock(level);
    ffi::SQLITE_OK
}

unsafe extern "C" fn check_reserved_lock<F: VfsFile>(file: *mut ffi::sqlite3_file, out: *mut c_int) -> c_int {
    // SAFETY: SQLite passes an open file of this type and a valid pointer for the result.
    unsafe { *out = c_int::from(handle::<F>(file).reserved()) };
    ffi::SQLITE_OK
}

unsafe extern "C" fn file_control(_file: *mut ffi::sqlite3_file, _operation: c_int, _argument: *mut c_void) -> c_int {
    ffi::SQLITE_NOTFOUND
}

unsafe extern "C" fn sector_size(_file: *mut ffi::sqlite3_file) -> c_int {
    SECTOR_SIZE
}

unsafe extern "C" fn device_characteristics<F: VfsFile>(_file: *mut ffi::sqlite3_file) -> c_int {
    F::CHARACTERISTICS
}

unsafe extern "C" fn shm_map<F: VfsFile>(
    file: *mut ffi::sqlite3_file,
    number: c_int,
    bytes: c_int,
    extend: c_int,
    out: *mut *mut c_void,
) -> c_int {
    // SAFETY: SQLite passes an open file of this type and a valid pointer for the result. The VFS keeps the region
    // until this file calls `shm_unmap` or `close`, and SQLite does not use the region's address after that.
    unsafe {
        *out = std::ptr::null_mut();
        match handle::<F>(file).map_memory(len(number), len(bytes), extend != 0) {
            Ok(Some(region)) => *out = region.as_ptr().cast_mut().cast(),
            Ok(None) => {}
            Err(code) => return code,
        }
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn shm_lock<F: VfsFile>(
    file: *mut ffi::sqlite3_file,
    offset: c_int,
    count: c_int,
    flags: c_int,
) -> c_int {
    // SAFETY: SQLite passes an open file of this type.
    let handle = unsafe { handle::<F>(file) };
    let mask = (0..ffi::SQLITE_SHM_NLOCK)
        .filter(|lock| (offset..offset + count).contains(lock))
        .fold(0, |mask, lock| mask | 1 << lock);
    if flags & ffi::SQLITE_SHM_UNLOCK != 0 {
        handle.unlock_memory(mask);
        return ffi::SQLITE_OK;
    }
    let granted = handle.lock_memory(mask, flags & ffi::SQLITE_SHM_EXCLUSIVE != 0);
    if granted { ffi::SQLITE_OK } else { ffi::SQLITE_BUSY }
}

unsafe extern "C" fn shm_barrier(_file: *mut ffi::sqlite3_file) {
    fence(Ordering::SeqCst);
}

unsafe extern "C" fn shm_unmap<F: VfsFile>(file: *mut ffi::sqlite3_file, _delete: c_int) -> c_int {
    // SAFETY: SQLite passes an open file of this type.
    unsafe { handle::<F>(file) }.leave_memory();
    ffi::SQLITE_OK
}
