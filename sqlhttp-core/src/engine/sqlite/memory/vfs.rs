//! The functions of the VFS for databases in memory that SQLite calls (<https://sqlite.org/c3ref/vfs.html>). The
//! functions of an open file are in [`mod@file`].

use std::ffi::{CStr, c_char, c_int};
use std::sync::OnceLock;

use rusqlite::ffi;

use super::directory::{self, Handle};
use crate::engine::sqlite::clock;
use crate::engine::sqlite::file::{self, code, path};

const NAME: &CStr = c"sqlhttp-memory";

/// The default VFS, which handles all file names that are not reserved for files in memory.
struct Base(*mut ffi::sqlite3_vfs);

// SAFETY: the default VFS stays registered for the life of the process and may be called by any thread. Of a registered
// VFS, SQLite changes only `pNext`, which this module does not use.
unsafe impl Send for Base {}
// SAFETY: as for `Send`.
unsafe impl Sync for Base {}

static BASE: OnceLock<Option<Base>> = OnceLock::new();

/// Returns the VFS name for connections to databases in memory. The first call registers the VFS. Returns `None` if
/// SQLite cannot register the VFS. The VFS uses the clock of [`clock`].
pub(crate) fn vfs_name() -> Option<&'static CStr> {
    BASE.get_or_init(register).as_ref().map(|_| NAME)
}

/// Registers the VFS for databases in memory, and returns the default VFS; `None` if SQLite cannot register the new
/// one.
///
/// The methods that concern neither files nor paths (sleeping, loading extensions, randomness) are copied from the
/// default VFS, together with the `pAppData` that they may use.
fn register() -> Option<Base> {
    // SAFETY: `sqlite3_initialize` may be called at any time from any thread. `sqlite3_vfs_find` returns null or a VFS
    // that stays registered for the life of the process. The copy is leaked and its name is static, so they outlive
    // every connection, as `sqlite3_vfs_register` requires.
    unsafe {
        if ffi::sqlite3_initialize() != ffi::SQLITE_OK {
            return None;
        }
        let base = ffi::sqlite3_vfs_find(std::ptr::null());
        if base.is_null() {
            return None;
        }
        let mut vfs = *base;
        // An open file may belong to this VFS or to the default one.
        vfs.szOsFile = vfs.szOsFile.max(file::size_of_open_file::<Handle>() as c_int);
        vfs.zName = NAME.as_ptr();
        vfs.pNext = std::ptr::null_mut();
        vfs.xOpen = Some(open);
        vfs.xDelete = Some(delete);
        vfs.xAccess = Some(access);
        vfs.xFullPathname = Some(full_pathname);
        clock::install(&mut vfs);
        (ffi::sqlite3_vfs_register(Box::leak(Box::new(vfs)), 0) == ffi::SQLITE_OK).then_some(Base(base))
    }
}

/// The default VFS; `None` before [`register`] has succeeded.
fn base() -> Option<*mut ffi::sqlite3_vfs> {
    BASE.get()?.as_ref().map(|base| base.0)
}

unsafe extern "C" fn open(
    _vfs: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    file: *mut ffi::sqlite3_file,
    flags: c_int,
    out_flags: *mut c_int,
) -> c_int {
    // SAFETY: SQLite passes a NUL-terminated name or null, `szOsFile` bytes aligned to 8 bytes, and a valid pointer for
    // the flags or null.
    unsafe {
        file::place_nothing(file);
        let path = path(name);
        if path.is_some_and(|path| !directory::is_ours(path)) {
            return open_elsewhere(name, file, flags, out_flags);
        }
        match directory::open(path, flags) {
            Ok(handle) => file::place(file, handle),
            Err(code) => return code,
        }
        if !out_flags.is_null() {
            *out_flags = flags;
        }
    }
    ffi::SQLITE_OK
}

/// Opens a file of the default VFS. SQLite then calls the methods of that VFS directly.
///
/// # Safety
/// The arguments are those that SQLite passes to `xOpen`.
unsafe fn open_elsewhere(
    name: *const c_char,
    file: *mut ffi::sqlite3_file,
    flags: c_int,
    out_flags: *mut c_int,
) -> c_int {
    // SAFETY: the caller passes SQLite's arguments; `szOsFile` is large enough for both VFSs.
    unsafe {
        match base().map(|base| (base, (*base).xOpen)) {
            Some((base, Some(open))) => open(base, name, file, flags, out_flags),
            _ => ffi::SQLITE_CANTOPEN,
        }
    }
}

unsafe extern "C" fn delete(_vfs: *mut ffi::sqlite3_vfs, name: *const c_char, sync_directory: c_int) -> c_int {
    // SAFETY: SQLite passes a NUL-terminated name, which is passed on to the default VFS unchanged.
    unsafe {
        let path = path(name).unwrap_or_default();
        match base().map(|base| (base, (*base).xDelete)) {
            _ if directory::is_ours(path) => code(directory::delete(path)),
            Some((base, Some(delete))) => delete(base, name, sync_directory),
            _ => ffi::SQLITE_IOERR_DELETE,
        }
    }
}

unsafe extern "C" fn access(_vfs: *mut ffi::sqlite3_vfs, name: *const c_char, flags: c_int, out: *mut c_int) -> c_int {
    // SAFETY: SQLite passes a NUL-terminated name and a valid pointer for the result, which are passed on to the
    // default VFS unchanged.
    unsafe {
        let path = path(name).unwrap_or_default();
        match base().map(|base| (base, (*base).xAccess)) {
            _ if directory::is_ours(path) => {
                *out = c_int::from(directory::exists(path));
                ffi::SQLITE_OK
            }
            Some((base, Some(access))) => access(base, name, flags, out),
            _ => ffi::SQLITE_IOERR_ACCESS,
        }
    }
}

unsafe extern "C" fn full_pathname(
    _vfs: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    out_len: c_int,
    out: *mut c_char,
) -> c_int {
    // SAFETY: SQLite passes a NUL-terminated name and a buffer of `out_len` bytes, which are passed on to the default
    // VFS unchanged.
    unsafe {
        match base().map(|base| (base, (*base).xFullPathname)) {
            _ if directory::is_ours(path(name).unwrap_or_default()) => file::copy_path(name, out_len, out),
            Some((base, Some(full_pathname))) => full_pathname(base, name, out_len, out),
            _ => ffi::SQLITE_CANTOPEN,
        }
    }
}
