//! The directory, the files and the open handles of a simulated disk.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::{CStr, CString, c_int};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rusqlite::ffi;

use super::faults::{FaultAction, Faults, Operation};
use super::image::{Image, Loss, Random};
use crate::engine::sqlite::file::{Code, VfsFile};
use crate::engine::sqlite::locks::{FileLocks, HandleId, Region, SharedMemory};

/// A full path, as SQLite passes it.
type Name = Box<[u8]>;
/// Identifies a file of a simulated disk independently of its name.
type FileId = u64;

/// A simulated disk. It is never freed, because SQLite keeps its address.
#[derive(Debug)]
pub(super) struct Disk {
    name: CString,
    state: Mutex<State>,
}

/// The state of a simulated disk.
#[derive(Debug, Default)]
pub(super) struct State {
    files: HashMap<FileId, File>,
    /// The directory as the process sees it, by name.
    live: BTreeMap<Name, FileId>,
    /// Like `live`, but without the changes that the disk pretended to make after it had stopped.
    real: BTreeMap<Name, FileId>,
    /// The directory that remains after a power cut.
    durable: BTreeMap<Name, FileId>,
    /// The renames that are not durable: the old and the new name of each. A power cut undoes both changes of the
    /// directory or none.
    renames: Vec<(Name, Name)>,
    next_id: u64,
    /// The number of power cuts and reformats so far. Operations on a handle that was opened in an earlier epoch fail.
    epoch: u64,
    /// The number of handles from earlier epochs that have not been closed. While there are any, the disk is off: no
    /// file can be opened, created or deleted. Such a call does not identify its process, so it could come from the
    /// process that the power cut has ended.
    stale_handles: usize,
    random: Random,
    pub(super) faults: Faults,
    /// The maximum total size of all files of the disk, in bytes; `None` if there is no limit.
    pub(super) capacity: Option<usize>,
}

#[derive(Debug, Default)]
struct File {
    image: Image,
    handles: usize,
    locks: FileLocks,
    memory: SharedMemory,
}

/// The handle of an open file on a simulated disk.
#[derive(Debug)]
pub(super) struct Handle {
    disk: &'static Disk,
    file: FileId,
    id: HandleId,
    epoch: u64,
    /// Whether the next sync of the file also syncs the directory, as SQLite's own VFS does for journals that it may
    /// have created.
    syncs_directory: AtomicBool,
    /// The name with which the file was opened; empty for a temporary file.
    name: Name,
    /// The name to remove from the directory when the file is closed; `None` if the file stays.
    delete_on_close: Option<Name>,
}

impl Disk {
    pub(super) fn new(name: CString) -> Self {
        Disk { name, state: Mutex::default() }
    }

    pub(super) fn name(&self) -> &str {
        self.name.to_str().unwrap_or_default()
    }

    pub(super) fn c_name(&self) -> &CStr {
        &self.name
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens a file. A file without a name is temporary.
    pub(super) fn open(&'static self, name: Option<&[u8]>, flags: c_int) -> Result<Handle, Code> {
        let mut state = self.state();
        let file = state.find_or_create(name, flags)?;
        state.next_id += 1;
        let id = state.next_id;
        if let Some(file) = state.files.get_mut(&file) {
            file.handles += 1;
        }
        let journal = ffi::SQLITE_OPEN_MAIN_JOURNAL | ffi::SQLITE_OPEN_SUPER_JOURNAL | ffi::SQLITE_OPEN_WAL;
        let syncs_directory = flags & ffi::SQLITE_OPEN_CREATE != 0 && flags & journal != 0;
        Ok(Handle {
            disk: self,
            file,
            id,
            epoch: state.epoch,
            name: name.unwrap_or_default().into(),
            syncs_directory: AtomicBool::new(syncs_directory),
            delete_on_close: name.filter(|_| flags & ffi::SQLITE_OPEN_DELETEONCLOSE != 0).map(Box::from),
        })
    }
}

impl State {
    /// Reformats the disk: removes all files and ends all faults.
    pub(super) fn format(&mut self, seed: u64) {
        self.live.clear();
        self.real.clear();
        self.durable.clear();
        self.renames.clear();
        self.random = Random::new(seed);
        self.faults = Faults::default();
        self.capacity = None;
        self.begin_epoch();
    }

    pub(super) fn power_cut(&mut self, loss: Loss) {
        let names: BTreeSet<Name> = self.real.keys().chain(self.durable.keys()).cloned().collect();
        let mut found = BTreeMap::new();
        let renames = self.surviving_renames(loss);
        for name in names {
            let survivor = match renames.get(&name) {
                Some(true) => self.real.get(&name).copied(),
                Some(false) => self.durable.get(&name).copied(),
                None => self.survivor(&name, loss),
            };
            // Open handles may still refer to the old file, so the surviving content is moved to a new file.
            if let Some(image) =
                survivor.and_then(|id| self.files.get_mut(&id)).map(|file| std::mem::take(&mut file.image))
            {
                let content = image.after_power_cut(loss, &mut self.random);
                let id = self.add(Image::durable(content));
                found.insert(name, id);
            }
        }
        self.live = found.clone();
        self.real = found.clone();
        self.durable = found;
        self.faults.end_all();
        self.begin_epoch();
    }

    fn begin_epoch(&mut self) {
        self.epoch += 1;
        self.stale_handles = self.files.values().map(|file| file.handles).sum();
        self.forget_unreachable();
    }

    /// Whether files that were opened before the last power cut are still open.
    pub(super) fn is_off(&self) -> bool {
        self.stale_handles > 0
    }

    /// The total size of all files, in bytes.
    pub(super) fn used(&self) -> usize {
        self.files.values().map(|file| file.image.len()).sum()
    }

    /// Returns whether the capacity of the disk permits the file to have `len` bytes, or the file is already that long.
    fn has_room(&self, file: FileId, len: usize) -> bool {
        let (Some(capacity), Some(file)) = (self.capacity, self.files.get(&file)) else { return true };
        self.used() + len.saturating_sub(file.image.len()) <= capacity || len <= file.image.len()
    }

    fn decide(&mut self, operation: Operation) -> FaultAction {
        if self.is_off() {
            return FaultAction::Stopped(operation.io_error());
        }
        self.faults.decide(operation)
    }

    /// Like [`State::decide`], for an operation that changes the file with this name.
    fn decide_change(&mut self, operation: Operation, name: &[u8]) -> FaultAction {
        if self.is_off() {
            return FaultAction::Stopped(operation.io_error());
        }
        self.faults.decide_change(operation, name, (0, &[]))
    }

    /// Chooses the file that has this name after a power cut; `None` if no file has it.
    fn survivor(&mut self, name: &Name, loss: Loss) -> Option<FileId> {
        let (real, durable) = (self.real.get(name).copied(), self.durable.get(name).copied());
        let survives = match loss {
            Loss::Unsynced => false,
            Loss::Torn => real != durable && self.random.coin(),
            Loss::Nothing => true,
        };
        if survives { real } else { durable }
    }

    /// Chooses the renames that a power cut does not undo. Returns the choice for both names of each rename.
    fn surviving_renames(&mut self, loss: Loss) -> BTreeMap<Name, bool> {
        let mut survives = BTreeMap::new();
        for (from, to) in std::mem::take(&mut self.renames) {
            let both = loss == Loss::Nothing || loss == Loss::Torn && self.random.coin();
            survives.extend([(from, both), (to, both)]);
        }
        survives
    }

    fn add(&mut self, image: Image) -> FileId {
        self.next_id += 1;
        let file = File { image, ..File::default() };
        self.files.insert(self.next_id, file);
        self.next_id
    }

    fn forget_unreachable(&mut self) {
        let directories = [&self.live, &self.real, &self.durable];
        let named: BTreeSet<FileId> = directories.iter().flat_map(|directory| directory.values()).copied().collect();
        self.files.retain(|id, file| file.handles > 0 || named.contains(id));
    }

    fn find_or_create(&mut self, name: Option<&[u8]>, flags: c_int) -> Result<FileId, Code> {
        if self.is_off() {
            return Err(ffi::SQLITE_CANTOPEN);
        }
        let existing = name.and_then(|name| self.live.get(name).copied());
        if let Some(id) = existing {
            let must_be_new = ffi::SQLITE_OPEN_CREATE | ffi::SQLITE_OPEN_EXCLUSIVE;
            return if flags & must_be_new == must_be_new { Err(ffi::SQLITE_CANTOPEN) } else { Ok(id) };
        }
        if name.is_some() && flags & ffi::SQLITE_OPEN_CREATE == 0 {
            return Err(ffi::SQLITE_CANTOPEN);
        }
        let action = self.decide_change(Operation::Create, name.unwrap_or_default());
        if let FaultAction::Stopped(code) | FaultAction::Fail(code) = action {
            return Err(code);
        }
        let id = self.add(Image::default());
        if let Some(name) = name {
            self.live.insert(name.into(), id);
            if action == FaultAction::Proceed {
                self.real.insert(name.into(), id);
            }
        }
        Ok(id)
    }

    pub(super) fn delete(&mut self, name: &[u8], sync_directory: bool) -> Result<(), Code> {
        if !self.live.contains_key(name) && !self.is_off() {
            self.decide_query(Operation::Delete)?;
            return Err(ffi::SQLITE_IOERR_DELETE_NOENT);
        }
        let action = self.decide_change(Operation::Delete, name);
        if let FaultAction::Stopped(code) | FaultAction::Fail(code) = action {
            return Err(code);
        }
        let Some(_) = self.live.remove(name) else {
            return Err(ffi::SQLITE_IOERR_DELETE_NOENT);
        };
        if action == FaultAction::Proceed {
            self.real.remove(name);
            if sync_directory {
                self.sync_directory();
            }
        }
        self.forget_unreachable();
        Ok(())
    }

    fn sync_directory(&mut self) {
        self.durable = self.real.clone();
        self.renames.clear();
        self.forget_unreachable();
    }

    /// Adds a durable file. An existing file of this name is replaced.
    pub(super) fn put(&mut self, name: &[u8], content: Vec<u8>) {
        let id = self.add(Image::durable(content));
        for directory in [&mut self.live, &mut self.real, &mut self.durable] {
            directory.insert(name.into(), id);
        }
        self.forget_unreachable();
    }

    /// Adds a file as [`State::put`] does, whose content or name is not durable.
    pub(super) fn put_partly_durable(&mut self, name: &[u8], content: Vec<u8>, synced: bool, named: bool) {
        let mut image = Image::durable(if synced { content.clone() } else { Vec::new() });
        if !synced {
            image.write(0, &content, true);
        }
        let id = self.add(image);
        self.live.insert(name.into(), id);
        self.real.insert(name.into(), id);
        if named {
            self.durable.insert(name.into(), id);
        }
        self.forget_unreachable();
    }

    pub(super) fn rename(&mut self, from: &[u8], to: &[u8]) -> Result<(), Code> {
        let action = self.decide_change(Operation::Rename, to);
        if let FaultAction::Stopped(code) | FaultAction::Fail(code) = action {
            return Err(code);
        }
        let id = self.live.remove(from).ok_or(ffi::SQLITE_NOTFOUND)?;
        self.live.insert(to.into(), id);
        if action == FaultAction::Proceed {
            self.real.remove(from);
            self.real.insert(to.into(), id);
            self.renames.push((from.into(), to.into()));
        }
        self.forget_unreachable();
        Ok(())
    }

    pub(super) fn sync_directory_now(&mut self) -> Result<(), Code> {
        let action = match self.is_off() {
            true => FaultAction::Stopped(Operation::Sync.io_error()),
            false => self.faults.decide_directory_sync(),
        };
        match action {
            FaultAction::Proceed => self.sync_directory(),
            FaultAction::Pretend => {}
            FaultAction::Stopped(code) | FaultAction::Fail(code) => return Err(code),
        }
        Ok(())
    }

    /// Whether a file exists. As in SQLite's own VFS, an empty file does not count.
    pub(super) fn exists(&mut self, name: &[u8]) -> Result<bool, Code> {
        self.decide_query(Operation::Exists)?;
        let file = self.live.get(name).and_then(|id| self.files.get(id));
        Ok(file.is_some_and(|file| file.image.len() > 0))
    }

    fn decide_query(&mut self, operation: Operation) -> Result<(), Code> {
        match self.decide(operation) {
            FaultAction::Proceed | FaultAction::Pretend => Ok(()),
            FaultAction::Stopped(code) | FaultAction::Fail(code) => Err(code),
        }
    }
}

impl Handle {
    /// Calls `f` with the file of this handle. Fails if there was a power cut or a reformat since the file was opened.
    fn with<T>(&self, f: impl FnOnce(&mut File, &mut Faults, &mut Random) -> Result<T, Code>) -> Result<T, Code> {
        let state = &mut *self.disk.state();
        if state.epoch != self.epoch {
            return Err(ffi::SQLITE_IOERR);
        }
        let file = state.files.get_mut(&self.file).ok_or(ffi::SQLITE_IOERR)?;
        f(file, &mut state.faults, &mut state.random)
    }

    /// Calls `f` with the file of this handle, also after a power cut. Used for locks and shared memory, which every
    /// handle must be able to release.
    fn always<T>(&self, f: impl FnOnce(&mut File) -> T) -> Option<T> {
        self.disk.state().files.get_mut(&self.file).map(f)
    }
}

impl VfsFile for Handle {
    const CHARACTERISTICS: c_int = ffi::SQLITE_IOCAP_POWERSAFE_OVERWRITE;

    fn read(&self, offset: usize, buffer: &mut [u8]) -> Result<usize, Code> {
        self.with(|file, faults, _| match faults.decide(Operation::Read) {
            FaultAction::Stopped(code) | FaultAction::Fail(code) => Err(code),
            FaultAction::Proceed | FaultAction::Pretend => Ok(file.image.read(offset, buffer)),
        })
    }

    fn write(&self, offset: usize, bytes: &[u8]) -> Result<(), Code> {
        if !self.disk.state().has_room(self.file, offset.saturating_add(bytes.len())) {
            return Err(ffi::SQLITE_FULL);
        }
        self.with(|file, faults, random| {
            let grows = offset.saturating_add(bytes.len()) > file.image.len();
            let action = faults.decide_change(Operation::Write { grows }, &self.name, (offset, bytes));
            match action {
                FaultAction::Stopped(code) => return Err(code),
                FaultAction::Fail(code) => {
                    let written = random.up_to(bytes.len());
                    if written > 0 {
                        file.image.write(offset, &bytes[..written], true);
                    }
                    return Err(code);
                }
                FaultAction::Proceed | FaultAction::Pretend => {}
            }
            file.image.write(offset, bytes, action == FaultAction::Proceed);
            Ok(())
        })
    }

    fn truncate(&self, len: usize) -> Result<(), Code> {
        self.with(|file, faults, _| {
            let action = faults.decide_change(Operation::Truncate, &self.name, (0, &[]));
            if let FaultAction::Stopped(code) | FaultAction::Fail(code) = action {
                return Err(code);
            }
            file.image.truncate(len, action == FaultAction::Proceed);
            Ok(())
        })
    }

    fn sync(&self) -> Result<(), Code> {
        self.with(|file, faults, random| match faults.decide_change(Operation::Sync, &self.name, (0, &[])) {
            FaultAction::Proceed => {
                file.image.sync();
                Ok(true)
            }
            FaultAction::Pretend => Ok(false),
            FaultAction::Stopped(code) => Err(code),
            FaultAction::Fail(code) => {
                file.image.fail_to_sync(random);
                Err(code)
            }
        })
        .map(|synced| {
            if synced && self.syncs_directory.swap(false, Ordering::Relaxed) {
                self.disk.state().sync_directory();
            }
        })
    }

    fn len(&self) -> Result<usize, Code> {
        self.with(|file, faults, _| match faults.decide(Operation::Size) {
            FaultAction::Stopped(code) | FaultAction::Fail(code) => Err(code),
            FaultAction::Proceed | FaultAction::Pretend => Ok(file.image.len()),
        })
    }

    fn lock(&self, level: c_int) -> Result<(), Code> {
        let granted = self.always(|file| file.locks.lock(self.id, level)).unwrap_or(false);
        if granted { Ok(()) } else { Err(ffi::SQLITE_BUSY) }
    }

    fn unlock(&self, level: c_int) {
        self.always(|file| file.locks.unlock(self.id, level));
    }

    fn reserved(&self) -> bool {
        self.always(|file| file.locks.reserved()).unwrap_or(false)
    }

    fn map_memory(&self, number: usize, bytes: usize, extend: bool) -> Result<Option<Region>, Code> {
        self.with(|file, faults, _| {
            if extend && file.memory.lacks(number) {
                match faults.decide(Operation::ShareMemory) {
                    FaultAction::Stopped(code) | FaultAction::Fail(code) => return Err(code),
                    FaultAction::Proceed | FaultAction::Pretend => {}
                }
            }
            Ok(file.memory.map(self.id, number, bytes, extend))
        })
    }

    fn lock_memory(&self, mask: u32, exclusive: bool) -> bool {
        self.always(|file| file.memory.lock(self.id, mask, exclusive)).unwrap_or(false)
    }

    fn unlock_memory(&self, mask: u32) {
        self.always(|file| file.memory.unlock(self.id, mask));
    }

    fn leave_memory(&self) {
        self.always(|file| file.memory.leave(self.id));
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        let state = &mut *self.disk.state();
        if let Some(file) = state.files.get_mut(&self.file) {
            file.handles = file.handles.saturating_sub(1);
            file.locks.unlock(self.id, ffi::SQLITE_LOCK_NONE);
            file.memory.leave(self.id);
        }
        if state.epoch != self.epoch {
            state.stale_handles = state.stale_handles.saturating_sub(1);
        }
        if let Some(name) = self.delete_on_close.as_ref().filter(|_| state.epoch == self.epoch) {
            state.live.remove(name);
            state.real.remove(name);
        }
        state.forget_unreachable();
    }
}
