//! Notes whether a disk was full. SQLite reports the same code (`SQLITE_FULL`) when AUTOINCREMENT has no number left; only
//! whoever writes the files knows which it was. Temporary files count, which may be on another disk and gone afterwards.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::ffi::{c_int, c_void};
use std::sync::{Mutex, PoisonError};

use rusqlite::ffi;

thread_local! {
    /// A write on this thread met a full disk.
    static MET: Cell<bool> = const { Cell::new(false) };
}

/// Forgets what has been noted on this thread.
pub(crate) fn forget() {
    MET.set(false);
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
}

type Open = unsafe extern "C" fn(
    *mut ffi::sqlite3_vfs,
    ffi::sqlite3_filename,
    *mut ffi::sqlite3_file,
    c_int,
    *mut c_int,
) -> c_int;

/// How the original of each copied VFS opens files, by the address of the copy.
static ORIGINALS: Mutex<BTreeMap<usize, Open>> = Mutex::new(BTreeMap::new());

/// Has the files of this VFS noted. It must stay where it is from now on, and be a copy of one whose `xOpen` takes the copy
/// for the original.
pub(super) fn install(vfs: &'static mut ffi::sqlite3_vfs) -> *mut ffi::sqlite3_vfs {
    let original = vfs.xOpen.replace(open);
    let vfs = std::ptr::from_mut(vfs);
    if let Some(original) = original {
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
    // table of methods, or null; such tables live as long as the process.
    unsafe {
        let code = original(vfs, name, file, flags, out_flags);
        if let Some(methods) = (*file).pMethods.as_ref() {
            (*file).pMethods = &raw const noting(methods).methods;
        }
        code
    }
}

/// The table that goes with this one. There are few: one for each way of locking that the VFS knows.
fn noting(base: &'static ffi::sqlite3_io_methods) -> &'static Noting {
    static TABLES: Mutex<BTreeMap<usize, &'static Noting>> = Mutex::new(BTreeMap::new());
    let mut tables = TABLES.lock().unwrap_or_else(PoisonError::into_inner);
    tables.entry(std::ptr::from_ref(base).addr()).or_insert_with(|| {
        let methods = ffi::sqlite3_io_methods { xWrite: Some(write), ..*base };
        Box::leak(Box::new(Noting { methods, base }))
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
    if code & 0xff == ffi::SQLITE_FULL {
        MET.set(true);
    }
    code
}
