//! An open file as SQLite sees it: the C face that the VFSs of this crate share.
//!
//! A VFS whose files live in this process implements [`VfsFile`] for its handle, and puts a handle where SQLite wants
//! it with [`place`]. From then on SQLite calls the methods through the table made here.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::sync::atomic::{Ordering, fence};

use rusqlite::ffi;

use super::locks::Region;

/// The SQLite result code of what went wrong.
pub(super) type Code = c_int;

/// What SQLite's own VFS reports for a hard disk.
const SECTOR_SIZE: c_int = 4096;

/// A file that is open. Dropping it closes it; locks and shared memory are then released.
///
/// SQLite uses one handle on one thread at a time, but not always on the same.
pub(super) trait VfsFile: Send + Sized + 'static {
    /// What SQLite may rely on (`SQLITE_IOCAP_`...).
    const CHARACTERISTICS: c_int;

    /// Fills the buffer, which holds zeros. Returns how much of it the file had.
    fn read(&self, offset: usize, buffer: &mut [u8]) -> Result<usize, Code>;
    fn write(&self, offset: usize, bytes: &[u8]) -> Result<(), Code>;
    fn truncate(&self, len: usize) -> Result<(), Code>;
    fn sync(&self) -> Result<(), Code>;
    fn len(&self) -> Result<usize, Code>;

    /// Takes SHARED, RESERVED or EXCLUSIVE; `SQLITE_BUSY` if others are in the way.
    fn lock(&self, level: c_int) -> Result<(), Code>;
    /// Goes down to this level.
    fn unlock(&self, level: c_int);
    /// Whether anybody is about to write.
    fn reserved(&self) -> bool;

    /// A region of the memory that all connections to this file share. The handle's VFS keeps it until this handle has
    /// left or is dropped.
    fn map_memory(&self, number: usize, bytes: usize, extend: bool) -> Result<Option<Region>, Code>;
    /// Takes the locks of the mask, all or none; whether that was possible.
    fn lock_memory(&self, mask: u32, exclusive: bool) -> bool;
    fn unlock_memory(&self, mask: u32);
    fn leave_memory(&self);
}

/// What stands in the memory that SQLite gives for an open file.
#[repr(C)]
struct OpenFile<F> {
    base: ffi::sqlite3_file,
    handle: F,
}

/// How much memory SQLite must give for an open file (`szOsFile`), bytes.
pub(super) const fn size_of_open_file<F: VfsFile>() -> usize {
    // SQLite aligns it for any type of C's, and no more.
    assert!(align_of::<OpenFile<F>>() <= align_of::<u64>());
    size_of::<OpenFile<F>>()
}

/// Makes an open file out of a handle.
///
/// # Safety
/// `file` points to at least [`size_of_open_file`] bytes, aligned as SQLite does, which hold no open file.
pub(super) unsafe fn place<F: VfsFile>(file: *mut ffi::sqlite3_file, handle: F) {
    let base = ffi::sqlite3_file { pMethods: Methods::<F>::TABLE };
    // SAFETY: the caller's promise; what is there is overwritten without being looked at.
    unsafe { file.cast::<OpenFile<F>>().write(OpenFile { base, handle }) };
}

/// Tells SQLite that there is nothing to close.
///
/// # Safety
/// `file` points to a `sqlite3_file`, initialized or not.
pub(super) unsafe fn place_nothing(file: *mut ffi::sqlite3_file) {
    // SAFETY: the caller's promise.
    unsafe { file.write(ffi::sqlite3_file { pMethods: std::ptr::null() }) };
}

/// A name or a path.
///
/// # Safety
/// `name` is null or points to a NUL-terminated string that lives for `'a`.
pub(super) unsafe fn path<'a>(name: *const c_char) -> Option<&'a [u8]> {
    // SAFETY: the caller's promise.
    (!name.is_null()).then(|| unsafe { CStr::from_ptr(name) }.to_bytes())
}

/// Answers `xFullPathname` with the name itself.
///
/// # Safety
/// `name` points to a NUL-terminated string, and `out` to room for `out_len` bytes.
pub(super) unsafe fn copy_path(name: *const c_char, out_len: c_int, out: *mut c_char) -> c_int {
    // SAFETY: the caller's promise, and the length is checked before anything is written.
    unsafe {
        let bytes = CStr::from_ptr(name).to_bytes_with_nul();
        if bytes.len() > len(out_len) {
            return ffi::SQLITE_CANTOPEN;
        }
        std::ptr::copy_nonoverlapping(bytes.as_ptr(), out.cast(), bytes.len());
    }
    ffi::SQLITE_OK
}

/// What SQLite is told.
pub(super) fn code(result: Result<(), Code>) -> c_int {
    result.err().unwrap_or(ffi::SQLITE_OK)
}

/// An offset or a length from SQLite, which are never negative.
fn len(number: impl TryInto<usize>) -> usize {
    number.try_into().unwrap_or_default()
}

/// The methods of a kind of file.
struct Methods<F>(std::marker::PhantomData<F>);

impl<F: VfsFile> Methods<F> {
    const TABLE: &'static ffi::sqlite3_io_methods = &ffi::sqlite3_io_methods {
        // Shared memory, but no memory-mapped files.
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

/// # Safety
/// `file` was made by [`place`] with a handle of this type, and has not been closed.
unsafe fn handle<'a, F: VfsFile>(file: *mut ffi::sqlite3_file) -> &'a F {
    // SAFETY: the caller's promise; only `close` drops the handle.
    unsafe { &(*file.cast::<OpenFile<F>>()).handle }
}

unsafe extern "C" fn close<F: VfsFile>(file: *mut ffi::sqlite3_file) -> c_int {
    // SAFETY: `place` has put a handle there, and SQLite closes a file once.
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
    // SAFETY: SQLite passes an open file and room for `amount` bytes, which need not be initialized: so they are, first.
    let (handle, buffer) = unsafe {
        std::ptr::write_bytes(buffer.cast::<u8>(), 0, len(amount));
        (handle::<F>(file), std::slice::from_raw_parts_mut(buffer.cast::<u8>(), len(amount)))
    };
    match handle.read(len(offset), buffer) {
        Ok(there) if there < len(amount) => ffi::SQLITE_IOERR_SHORT_READ,
        result => code(result.map(drop)),
    }
}

unsafe extern "C" fn write<F: VfsFile>(
    file: *mut ffi::sqlite3_file,
    bytes: *const c_void,
    amount: c_int,
    offset: i64,
) -> c_int {
    // SAFETY: SQLite passes an open file and `amount` bytes.
    let (handle, bytes) = unsafe { (handle::<F>(file), std::slice::from_raw_parts(bytes.cast::<u8>(), len(amount))) };
    code(handle.write(len(offset), bytes))
}

unsafe extern "C" fn truncate<F: VfsFile>(file: *mut ffi::sqlite3_file, size: i64) -> c_int {
    // SAFETY: SQLite passes an open file.
    code(unsafe { handle::<F>(file) }.truncate(len(size)))
}

unsafe extern "C" fn sync<F: VfsFile>(file: *mut ffi::sqlite3_file, _flags: c_int) -> c_int {
    // SAFETY: SQLite passes an open file.
    code(unsafe { handle::<F>(file) }.sync())
}

unsafe extern "C" fn file_size<F: VfsFile>(file: *mut ffi::sqlite3_file, out: *mut i64) -> c_int {
    // SAFETY: SQLite passes an open file and a place for the answer.
    unsafe {
        let size = handle::<F>(file).len();
        *out = i64::try_from(size.unwrap_or_default()).unwrap_or(i64::MAX);
        code(size.map(drop))
    }
}

unsafe extern "C" fn lock<F: VfsFile>(file: *mut ffi::sqlite3_file, level: c_int) -> c_int {
    // SAFETY: SQLite passes an open file.
    code(unsafe { handle::<F>(file) }.lock(level))
}

unsafe extern "C" fn unlock<F: VfsFile>(file: *mut ffi::sqlite3_file, level: c_int) -> c_int {
    // SAFETY: SQLite passes an open file.
    unsafe { handle::<F>(file) }.unlock(level);
    ffi::SQLITE_OK
}

unsafe extern "C" fn check_reserved_lock<F: VfsFile>(file: *mut ffi::sqlite3_file, out: *mut c_int) -> c_int {
    // SAFETY: SQLite passes an open file and a place for the answer.
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
    // SAFETY: SQLite passes an open file and a place for the pointer. The region stays until this file calls
    // `shm_unmap` or `close`, after which SQLite does not use the pointer.
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
    // SAFETY: SQLite passes an open file.
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
    // SAFETY: SQLite passes an open file.
    unsafe { handle::<F>(file) }.leave_memory();
    ffi::SQLITE_OK
}
