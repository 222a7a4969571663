//! The files in memory that exist, and their open handles.

use std::collections::BTreeMap;
use std::ffi::c_int;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use rusqlite::ffi;

use super::content::Content;
use super::name::{NAME_LEN, PREFIX};
use crate::engine::sqlite::file::{Code, VfsFile};
use crate::engine::sqlite::locks::{FileLocks, HandleId, Region, SharedMemory};

/// The three files of a database in memory: the suffix of the name, and the type with which SQLite opens the file. A
/// client with permission to ATTACH can name these files, but can neither open one as another type nor create other
/// files.
const KINDS: [(&[u8], c_int); 3] =
    [(b"", ffi::SQLITE_OPEN_MAIN_DB), (b"-wal", ffi::SQLITE_OPEN_WAL), (b"-journal", ffi::SQLITE_OPEN_MAIN_JOURNAL)];

/// The files of one database in memory, in the order of [`KINDS`]; `None` for a file that does not exist.
type Files = [Option<Arc<File>>; KINDS.len()];

/// All databases in memory that have an owner, by name.
static DATABASES: Mutex<BTreeMap<Box<[u8]>, Files>> = Mutex::new(BTreeMap::new());

fn databases() -> MutexGuard<'static, BTreeMap<Box<[u8]>, Files>> {
    DATABASES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A file in memory.
#[derive(Debug, Default)]
pub(super) struct File {
    content: RwLock<Content>,
    locks: Mutex<Locks>,
}

#[derive(Debug, Default)]
struct Locks {
    file: FileLocks,
    memory: SharedMemory,
}

/// Creates an empty database in memory with this name.
pub(super) fn create(name: &[u8]) {
    databases().insert(name.into(), [Some(Arc::default()), None, None]);
}

/// Removes a database in memory. Files of it that are open remain until they are closed.
pub(super) fn remove(name: &[u8]) {
    let files = databases().remove(name);
    // Freeing much memory takes time; the lock on the list of databases has been released here.
    drop(files);
}

/// Returns whether a file name is reserved for files in memory. The file need not exist.
pub(super) fn is_ours(name: &[u8]) -> bool {
    name.starts_with(PREFIX.as_bytes())
}

/// Splits a file name into the name of the database and the index of the suffix in [`KINDS`].
fn split(name: &[u8]) -> Option<(&[u8], usize)> {
    let (database, suffix) = name.split_at_checked(NAME_LEN)?;
    let kind = KINDS.iter().position(|(known, _)| *known == suffix)?;
    Some((database, kind))
}

/// Opens a file in memory. A file without a name is temporary and belongs to the returned handle only.
pub(super) fn open(name: Option<&[u8]>, flags: c_int) -> Result<Handle, Code> {
    let file = match name {
        Some(name) => find_or_create(name, flags).ok_or(ffi::SQLITE_CANTOPEN)?,
        None => Arc::default(),
    };
    Ok(Handle::new(file, flags & ffi::SQLITE_OPEN_READONLY != 0))
}

fn find_or_create(name: &[u8], flags: c_int) -> Option<Arc<File>> {
    let (database, kind) = split(name)?;
    if flags & KINDS[kind].1 == 0 {
        return None;
    }
    let mut databases = databases();
    let file = &mut databases.get_mut(database)?[kind];
    let must_be_new = ffi::SQLITE_OPEN_CREATE | ffi::SQLITE_OPEN_EXCLUSIVE;
    match file {
        Some(_) if flags & must_be_new == must_be_new => None,
        None if flags & ffi::SQLITE_OPEN_CREATE == 0 => None,
        file => Some(file.get_or_insert_default().clone()),
    }
}

/// Removes a file in memory. Handles that have opened the file can still use it.
pub(super) fn delete(name: &[u8]) -> Result<(), Code> {
    let file = split(name).and_then(|(database, kind)| databases().get_mut(database)?[kind].take());
    file.map(drop).ok_or(ffi::SQLITE_IOERR_DELETE_NOENT)
}

/// Returns whether a file in memory exists. As in SQLite's own VFS, an empty file counts as one that does not exist.
pub(super) fn exists(name: &[u8]) -> bool {
    let file = split(name).and_then(|(database, kind)| databases().get(database)?[kind].clone());
    file.is_some_and(|file| file.len() > 0)
}

/// Returns all existing files of a database in memory.
#[cfg(test)]
pub(super) fn files(name: &str) -> Vec<Arc<File>> {
    databases().get(name.as_bytes()).into_iter().flatten().flatten().cloned().collect()
}

impl File {
    fn len(&self) -> usize {
        self.content.read().unwrap_or_else(PoisonError::into_inner).len()
    }

    fn locks(&self) -> MutexGuard<'_, Locks> {
        self.locks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The size of the memory that the content of the file occupies, in bytes.
    #[cfg(test)]
    pub(super) fn allocated(&self) -> usize {
        self.content.read().unwrap_or_else(PoisonError::into_inner).allocated()
    }
}

/// The handle of an open file in memory.
#[derive(Debug)]
pub(super) struct Handle {
    file: Arc<File>,
    id: HandleId,
    read_only: bool,
}

impl Handle {
    fn new(file: Arc<File>, read_only: bool) -> Self {
        static HANDLES: AtomicU64 = AtomicU64::new(0);
        Handle { file, id: HANDLES.fetch_add(1, Ordering::Relaxed), read_only }
    }

    fn writable(&self) -> Result<(), Code> {
        if self.read_only { Err(ffi::SQLITE_READONLY) } else { Ok(()) }
    }

    #[cfg(test)]
    pub(super) fn file(&self) -> &Arc<File> {
        &self.file
    }
}

impl VfsFile for Handle {
    // Writes are atomic, because no read can run at the same time, and nothing survives the process, so SQLite needs no
    // protection against partial writes.
    const CHARACTERISTICS: c_int = ffi::SQLITE_IOCAP_ATOMIC
        | ffi::SQLITE_IOCAP_SAFE_APPEND
        | ffi::SQLITE_IOCAP_SEQUENTIAL
        | ffi::SQLITE_IOCAP_POWERSAFE_OVERWRITE
        | ffi::SQLITE_IOCAP_SUBPAGE_READ;

    fn read(&self, offset: usize, buffer: &mut [u8]) -> Result<usize, Code> {
        Ok(self.file.content.read().unwrap_or_else(PoisonError::into_inner).read(offset, buffer))
    }

    fn write(&self, offset: usize, bytes: &[u8]) -> Result<(), Code> {
        self.writable()?;
        self.file.content.write().unwrap_or_else(PoisonError::into_inner).write(offset, bytes)
    }

    fn truncate(&self, len: usize) -> Result<(), Code> {
        self.writable()?;
        let freed = self.file.content.write().unwrap_or_else(PoisonError::into_inner).set_len(len)?;
        drop(freed);
        Ok(())
    }

    fn sync(&self) -> Result<(), Code> {
        Ok(())
    }

    fn len(&self) -> Result<usize, Code> {
        Ok(self.file.len())
    }

    fn lock(&self, level: c_int) -> Result<(), Code> {
        if level > ffi::SQLITE_LOCK_SHARED {
            self.writable()?;
        }
        if self.file.locks().file.lock(self.id, level) { Ok(()) } else { Err(ffi::SQLITE_BUSY) }
    }

    fn unlock(&self, level: c_int) {
        self.file.locks().file.unlock(self.id, level);
    }

    fn reserved(&self) -> bool {
        self.file.locks().file.reserved()
    }

    fn map_memory(&self, number: usize, bytes: usize, extend: bool) -> Result<Option<Region>, Code> {
        Ok(self.file.locks().memory.map(self.id, number, bytes, extend))
    }

    fn lock_memory(&self, mask: u32, exclusive: bool) -> bool {
        self.file.locks().memory.lock(self.id, mask, exclusive)
    }

    fn unlock_memory(&self, mask: u32) {
        self.file.locks().memory.unlock(self.id, mask);
    }

    fn leave_memory(&self) {
        self.file.locks().memory.leave(self.id);
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        let mut locks = self.file.locks();
        locks.file.unlock(self.id, ffi::SQLITE_LOCK_NONE);
        locks.memory.leave(self.id);
    }
}
