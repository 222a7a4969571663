//! Which files there are, and handles to them.

use std::collections::BTreeMap;
use std::ffi::c_int;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use rusqlite::ffi;

use super::content::Content;
use super::{NAME_LEN, PREFIX};
use crate::engine::sqlite::file::{Code, VfsFile};
use crate::engine::sqlite::locks::{FileLocks, HandleId, Region, SharedMemory};

/// What the three files of a database are called after its name, and what SQLite takes each for. Clients that may
/// ATTACH can name a file, but neither open one for what it is not nor make further ones.
const KINDS: [(&[u8], c_int); 3] =
    [(b"", ffi::SQLITE_OPEN_MAIN_DB), (b"-wal", ffi::SQLITE_OPEN_WAL), (b"-journal", ffi::SQLITE_OPEN_MAIN_JOURNAL)];

/// The files of one database; those that exist.
type Files = [Option<Arc<File>>; KINDS.len()];

/// All databases that have an owner.
static DATABASES: Mutex<BTreeMap<Box<[u8]>, Files>> = Mutex::new(BTreeMap::new());

fn databases() -> MutexGuard<'static, BTreeMap<Box<[u8]>, Files>> {
    DATABASES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One file.
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

/// Makes a database of this name, without content.
pub(super) fn create(name: &[u8]) {
    databases().insert(name.into(), [Some(Arc::default()), None, None]);
}

/// Forgets a database. What somebody has open stays until he closes it.
pub(super) fn remove(name: &[u8]) {
    let files = databases().remove(name);
    // Freeing much memory takes time, and now nobody waits for it.
    drop(files);
}

/// Whether a name is that of a file in memory, be there one or not.
pub(super) fn is_ours(name: &[u8]) -> bool {
    name.starts_with(PREFIX.as_bytes())
}

/// The name of a database, and which of its files is meant.
fn split(name: &[u8]) -> Option<(&[u8], usize)> {
    let (database, suffix) = name.split_at_checked(NAME_LEN)?;
    let kind = KINDS.iter().position(|(known, _)| *known == suffix)?;
    Some((database, kind))
}

/// Opens a file; one without a name is temporary, and nobody else's.
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

/// Removes a name. Who has the file open keeps it.
pub(super) fn delete(name: &[u8]) -> Result<(), Code> {
    let file = split(name).and_then(|(database, kind)| databases().get_mut(database)?[kind].take());
    file.map(drop).ok_or(ffi::SQLITE_IOERR_DELETE_NOENT)
}

/// Whether there is such a file. An empty one does not count, as in SQLite's own VFS.
pub(super) fn exists(name: &[u8]) -> bool {
    let file = split(name).and_then(|(database, kind)| databases().get(database)?[kind].clone());
    file.is_some_and(|file| file.len() > 0)
}

/// All files that a database has.
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

    /// How much memory its content takes, bytes.
    #[cfg(test)]
    pub(super) fn allocated(&self) -> usize {
        self.content.read().unwrap_or_else(PoisonError::into_inner).allocated()
    }
}

/// A file that is open.
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
    // A write is done whole, while nobody reads, and nothing survives the process; so there is nothing that SQLite
    // would have to guard against.
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
