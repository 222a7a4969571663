//! What SQLite calls: the C face of a simulated disk.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::sync::atomic::{AtomicU64, Ordering, fence};

use rusqlite::ffi;

use super::disk::{Code, Disk, Handle};

/// The longest path, bytes, with its NUL.
const PATH_LEN_MAX: c_int = 1024;
/// What SQLite's own VFS reports for a hard disk.
const SECTOR_SIZE: c_int = 4096;

/// An open file as SQLite sees it. SQLite gives the memory.
#[repr(C)]
struct OpenFile {
    base: ffi::sqlite3_file,
    handle: *mut Handle,
}

static METHODS: ffi::sqlite3_io_methods = ffi::sqlite3_io_methods {
    // Shared memory, but no memory-mapped files.
    iVersion: 2,
    xClose: Some(close),
    xRead: Some(read),
    xWrite: Some(write),
    xTruncate: Some(truncate),
    xSync: Some(sync),
    xFileSize: Some(file_size),
    xLock: Some(lock),
    xUnlock: Some(unlock),
    xCheckReservedLock: Some(check_reserved_lock),
    xFileControl: Some(file_control),
    xSectorSize: Some(sector_size),
    xDeviceCharacteristics: Some(device_characteristics),
    xShmMap: Some(shm_map),
    xShmLock: Some(shm_lock),
    xShmBarrier: Some(shm_barrier),
    xShmUnmap: Some(shm_unmap),
    xFetch: None,
    xUnfetch: None,
};

/// Makes a disk and registers it under a name of its own. What is neither file nor path (sleeping, loading, chance) is
/// the default VFS's affair.
pub(super) fn register() -> Option<&'static Disk> {
    static DISKS: AtomicU64 = AtomicU64::new(0);
    let name = format!("faulty-{}", DISKS.fetch_add(1, Ordering::Relaxed));
    let disk: &'static Disk = Box::leak(Box::new(Disk::new(CString::new(name).ok()?)));
    // SAFETY: `sqlite3_initialize` may be called at any time from any thread. The default VFS stays registered for the
    // life of the process; those of its methods that are kept do not look at `pAppData`. The copy, its name and the
    // disk are leaked, so they outlive every connection, as `sqlite3_vfs_register` demands.
    unsafe {
        if ffi::sqlite3_initialize() != ffi::SQLITE_OK {
            return None;
        }
        let default = ffi::sqlite3_vfs_find(std::ptr::null());
        if default.is_null() {
            return None;
        }
        let mut vfs = *default;
        vfs.szOsFile = size_of::<OpenFile>() as c_int;
        vfs.mxPathname = PATH_LEN_MAX;
        vfs.pNext = std::ptr::null_mut();
        vfs.zName = disk.c_name().as_ptr();
        vfs.pAppData = std::ptr::from_ref(disk).cast_mut().cast();
        vfs.xOpen = Some(open);
        vfs.xDelete = Some(delete);
        vfs.xAccess = Some(access);
        vfs.xFullPathname = Some(full_pathname);
        (ffi::sqlite3_vfs_register(Box::leak(Box::new(vfs)), 0) == ffi::SQLITE_OK).then_some(disk)
    }
}

fn code(result: Result<(), Code>) -> c_int {
    result.err().unwrap_or(ffi::SQLITE_OK)
}

/// An offset or a length from SQLite, which are never negative.
fn len(number: impl TryInto<usize>) -> usize {
    number.try_into().unwrap_or_default()
}

/// # Safety
/// `vfs` is one that [`register`] made, or a copy of it that kept `pAppData`.
unsafe fn disk(vfs: *mut ffi::sqlite3_vfs) -> &'static Disk {
    // SAFETY: the caller's promise; `pAppData` is a disk that was leaked.
    unsafe { &*(*vfs).pAppData.cast::<Disk>() }
}

/// # Safety
/// `file` was opened by [`open`] and has not been closed.
unsafe fn handle<'a>(file: *mut ffi::sqlite3_file) -> &'a Handle {
    // SAFETY: the caller's promise; only `close` frees the handle.
    unsafe { &*(*file.cast::<OpenFile>()).handle }
}

/// # Safety
/// `name` is null or points to a NUL-terminated string that lives for `'a`.
unsafe fn path<'a>(name: *const c_char) -> Option<&'a [u8]> {
    // SAFETY: the caller's promise.
    (!name.is_null()).then(|| unsafe { CStr::from_ptr(name) }.to_bytes())
}

unsafe extern "C" fn open(
    vfs: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    file: *mut ffi::sqlite3_file,
    flags: c_int,
    out_flags: *mut c_int,
) -> c_int {
    // SAFETY: SQLite passes a VFS of ours, a NUL-terminated name or null, room for `szOsFile` bytes that are aligned
    // for any type, and a place for the flags or null. Null methods tell it that there is nothing to close.
    unsafe {
        let open_file = file.cast::<OpenFile>();
        (*open_file).base.pMethods = std::ptr::null();
        let handle = match disk(vfs).open(path(name), flags) {
            Ok(handle) => handle,
            Err(code) => return code,
        };
        (*open_file).handle = Box::into_raw(Box::new(handle));
        (*open_file).base.pMethods = &raw const METHODS;
        if !out_flags.is_null() {
            *out_flags = flags;
        }
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn delete(vfs: *mut ffi::sqlite3_vfs, name: *const c_char, sync_directory: c_int) -> c_int {
    // SAFETY: SQLite passes a VFS of ours and a NUL-terminated name.
    let (disk, name) = unsafe { (disk(vfs), path(name)) };
    code(disk.state().delete(name.unwrap_or_default(), sync_directory != 0))
}

unsafe extern "C" fn access(vfs: *mut ffi::sqlite3_vfs, name: *const c_char, _flags: c_int, out: *mut c_int) -> c_int {
    // SAFETY: SQLite passes a VFS of ours, a NUL-terminated name and a place for the answer.
    unsafe {
        let exists = disk(vfs).state().exists(path(name).unwrap_or_default());
        *out = c_int::from(exists.unwrap_or(false));
        code(exists.map(drop))
    }
}

/// There is one directory, and paths mean what they say.
unsafe extern "C" fn full_pathname(
    _vfs: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    out_len: c_int,
    out: *mut c_char,
) -> c_int {
    // SAFETY: SQLite passes a NUL-terminated name and room for `out_len` bytes.
    unsafe {
        let bytes = CStr::from_ptr(name).to_bytes_with_nul();
        if bytes.len() > len(out_len) {
            return ffi::SQLITE_CANTOPEN;
        }
        std::ptr::copy_nonoverlapping(bytes.as_ptr(), out.cast(), bytes.len());
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn close(file: *mut ffi::sqlite3_file) -> c_int {
    // SAFETY: `open` made the handle with `Box::into_raw`, and SQLite closes a file once.
    unsafe {
        let open_file = file.cast::<OpenFile>();
        drop(Box::from_raw((*open_file).handle));
        (*open_file).base.pMethods = std::ptr::null();
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn read(file: *mut ffi::sqlite3_file, buffer: *mut c_void, amount: c_int, offset: i64) -> c_int {
    // SAFETY: SQLite passes an open file and room for `amount` bytes, which need not be initialized: so they are, first.
    let (handle, buffer) = unsafe {
        std::ptr::write_bytes(buffer.cast::<u8>(), 0, len(amount));
        (handle(file), std::slice::from_raw_parts_mut(buffer.cast::<u8>(), len(amount)))
    };
    match handle.read(len(offset), buffer) {
        Ok(there) if there < len(amount) => ffi::SQLITE_IOERR_SHORT_READ,
        result => code(result.map(drop)),
    }
}

unsafe extern "C" fn write(file: *mut ffi::sqlite3_file, bytes: *const c_void, amount: c_int, offset: i64) -> c_int {
    // SAFETY: SQLite passes an open file and `amount` bytes.
    let (handle, bytes) = unsafe { (handle(file), std::slice::from_raw_parts(bytes.cast::<u8>(), len(amount))) };
    code(handle.write(len(offset), bytes))
}

unsafe extern "C" fn truncate(file: *mut ffi::sqlite3_file, size: i64) -> c_int {
    // SAFETY: SQLite passes an open file.
    code(unsafe { handle(file) }.truncate(len(size)))
}

unsafe extern "C" fn sync(file: *mut ffi::sqlite3_file, _flags: c_int) -> c_int {
    // SAFETY: SQLite passes an open file.
    code(unsafe { handle(file) }.sync())
}

unsafe extern "C" fn file_size(file: *mut ffi::sqlite3_file, out: *mut i64) -> c_int {
    // SAFETY: SQLite passes an open file and a place for the answer.
    unsafe {
        let size = handle(file).len();
        *out = i64::try_from(size.unwrap_or_default()).unwrap_or(i64::MAX);
        code(size.map(drop))
    }
}

fn granted(granted: bool) -> c_int {
    if granted { ffi::SQLITE_OK } else { ffi::SQLITE_BUSY }
}

unsafe extern "C" fn lock(file: *mut ffi::sqlite3_file, level: c_int) -> c_int {
    // SAFETY: SQLite passes an open file.
    granted(unsafe { handle(file) }.lock(level))
}

unsafe extern "C" fn unlock(file: *mut ffi::sqlite3_file, level: c_int) -> c_int {
    // SAFETY: SQLite passes an open file.
    unsafe { handle(file) }.unlock(level);
    ffi::SQLITE_OK
}

unsafe extern "C" fn check_reserved_lock(file: *mut ffi::sqlite3_file, out: *mut c_int) -> c_int {
    // SAFETY: SQLite passes an open file and a place for the answer.
    unsafe { *out = c_int::from(handle(file).reserved()) };
    ffi::SQLITE_OK
}

unsafe extern "C" fn file_control(_file: *mut ffi::sqlite3_file, _operation: c_int, _argument: *mut c_void) -> c_int {
    ffi::SQLITE_NOTFOUND
}

unsafe extern "C" fn sector_size(_file: *mut ffi::sqlite3_file) -> c_int {
    SECTOR_SIZE
}

unsafe extern "C" fn device_characteristics(_file: *mut ffi::sqlite3_file) -> c_int {
    ffi::SQLITE_IOCAP_POWERSAFE_OVERWRITE
}

unsafe extern "C" fn shm_map(
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
        match handle(file).map_memory(len(number), len(bytes), extend != 0) {
            Ok(Some(region)) => *out = region.as_ptr().cast_mut().cast(),
            Ok(None) => {}
            Err(code) => return code,
        }
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn shm_lock(file: *mut ffi::sqlite3_file, offset: c_int, count: c_int, flags: c_int) -> c_int {
    // SAFETY: SQLite passes an open file.
    let handle = unsafe { handle(file) };
    let mask = (0..ffi::SQLITE_SHM_NLOCK)
        .filter(|lock| (offset..offset + count).contains(lock))
        .fold(0, |mask, lock| mask | 1 << lock);
    if flags & ffi::SQLITE_SHM_UNLOCK != 0 {
        handle.unlock_memory(mask);
        return ffi::SQLITE_OK;
    }
    granted(handle.lock_memory(mask, flags & ffi::SQLITE_SHM_EXCLUSIVE != 0))
}

unsafe extern "C" fn shm_barrier(_file: *mut ffi::sqlite3_file) {
    fence(Ordering::SeqCst);
}

unsafe extern "C" fn shm_unmap(file: *mut ffi::sqlite3_file, _delete: c_int) -> c_int {
    // SAFETY: SQLite passes an open file.
    unsafe { handle(file) }.leave_memory();
    ffi::SQLITE_OK
}
