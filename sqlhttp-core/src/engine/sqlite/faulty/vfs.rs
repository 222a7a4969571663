//! The functions of a simulated disk that SQLite calls (<https://sqlite.org/c3ref/vfs.html>). The functions of an open
//! file are in [`mod@file`].

use std::ffi::{CString, c_char, c_int};
use std::sync::atomic::{AtomicU64, Ordering};

use rusqlite::ffi;

use super::disk::{Disk, Handle};
use crate::engine::sqlite::file::{self, code, path};

/// The maximum length of a path with its NUL, in bytes.
const PATH_LEN_MAX: c_int = 1024;

/// Creates a simulated disk and registers a VFS for it under a new name; `None` if SQLite cannot register the VFS. The
/// methods of the VFS that concern neither files nor paths (sleeping, loading extensions, randomness) are those of the
/// default VFS.
pub(super) fn register() -> Option<&'static Disk> {
    static DISKS: AtomicU64 = AtomicU64::new(0);
    let name = format!("faulty-{}", DISKS.fetch_add(1, Ordering::Relaxed));
    let disk: &'static Disk = Box::leak(Box::new(Disk::new(CString::new(name).ok()?)));
    // SAFETY: `sqlite3_initialize` may be called at any time from any thread. The default VFS stays registered for the
    // life of the process, and those of its methods that are kept do not use `pAppData`. The copy, its name and the
    // disk are leaked, so they outlive every connection, as `sqlite3_vfs_register` requires.
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

/// Returns the simulated disk that belongs to a VFS.
///
/// # Safety
/// `vfs` was created by [`register`], or is a copy with the same `pAppData`.
unsafe fn disk(vfs: *mut ffi::sqlite3_vfs) -> &'static Disk {
    // SAFETY: the caller guarantees that `pAppData` is the address of a disk, which is leaked.
    unsafe { &*(*vfs).pAppData.cast::<Disk>() }
}

unsafe extern "C" fn open(
    vfs: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    file: *mut ffi::sqlite3_file,
    flags: c_int,
    out_flags: *mut c_int,
) -> c_int {
    // SAFETY: SQLite passes a VFS of this module or a copy of it, a NUL-terminated name or null, `szOsFile` bytes
    // aligned to 8 bytes, and a valid pointer for the flags or null.
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
    // SAFETY: SQLite passes a VFS of this module or a copy of it, and a NUL-terminated name.
    let (disk, name) = unsafe { (disk(vfs), path(name)) };
    code(disk.state().delete(name.unwrap_or_default(), sync_directory != 0))
}

unsafe extern "C" fn access(vfs: *mut ffi::sqlite3_vfs, name: *const c_char, _flags: c_int, out: *mut c_int) -> c_int {
    // SAFETY: SQLite passes a VFS of this module or a copy of it, a NUL-terminated name and a valid pointer for the
    // result.
    unsafe {
        let exists = disk(vfs).state().exists(path(name).unwrap_or_default());
        *out = c_int::from(exists.unwrap_or(false));
        code(exists.map(drop))
    }
}

/// `xFullPathname`: returns the path unchanged, because a simulated disk has only one directory and no links.
unsafe extern "C" fn full_pathname(
    _vfs: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    out_len: c_int,
    out: *mut c_char,
) -> c_int {
    // SAFETY: SQLite passes a NUL-terminated name and a buffer of `out_len` bytes.
    unsafe { file::copy_path(name, out_len, out) }
}
