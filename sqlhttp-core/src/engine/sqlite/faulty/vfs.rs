//! What SQLite calls: the C face of a simulated disk. (That of its files is [`mod@file`].)

use std::ffi::{CString, c_char, c_int};
use std::sync::atomic::{AtomicU64, Ordering};

use rusqlite::ffi;

use super::disk::{Disk, Handle};
use crate::engine::sqlite::file::{self, code, path};

/// The longest path, bytes, with its NUL.
const PATH_LEN_MAX: c_int = 1024;

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
        vfs.szOsFile = file::size_of_open_file::<Handle>() as c_int;
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

/// # Safety
/// `vfs` is one that [`register`] made, or a copy of it that kept `pAppData`.
unsafe fn disk(vfs: *mut ffi::sqlite3_vfs) -> &'static Disk {
    // SAFETY: the caller's promise; `pAppData` is a disk that was leaked.
    unsafe { &*(*vfs).pAppData.cast::<Disk>() }
}

unsafe extern "C" fn open(
    vfs: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    file: *mut ffi::sqlite3_file,
    flags: c_int,
    out_flags: *mut c_int,
) -> c_int {
    // SAFETY: SQLite passes a VFS of ours, a NUL-terminated name or null, room for `szOsFile` bytes that are aligned
    // for any type, and a place for the flags or null.
    unsafe {
        file::place_nothing(file);
        let handle = match disk(vfs).open(path(name), flags) {
            Ok(handle) => handle,
            Err(code) => return code,
        };
        file::place(file, handle);
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
    unsafe { file::copy_path(name, out_len, out) }
}
