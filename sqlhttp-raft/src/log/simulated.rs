//! A disk in memory that simulates power cuts, write errors and a lack of space.
//!
//! The simulated disk distinguishes what the operating system sees from what is on the medium: writes by sector, names
//! by directory entry. After a power cut, each sector and each name that has not been synced may or may not be on the
//! medium. A rename is one change of a directory, of which a power cut leaves all or nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::disk::{Disk, DiskFile, Space};

const SECTOR_BYTES: usize = 512;

/// The effect of a crash on the changes that have not been synced.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Loss {
    /// The power fails, and all changes that have not been synced are lost.
    All,
    /// The power fails, but no change is lost.
    Nothing,
    /// The power fails, and a pseudo-random part of the changes that have not been synced is lost. The value is the
    /// seed.
    Part(u64),
    /// The process is killed. The operating system still has all changes, but they may not be on the medium yet.
    Killed,
}

/// The next fault of the disk. Operations that change the disk are numbered from 0.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Fault {
    None,
    /// The power fails during the operation with this number: it and all later operations fail.
    CutAt(u64),
    /// The operation with this number fails, and later ones do not.
    FailAt(u64),
    /// The disk is full: nothing can be written or created.
    Full,
}

/// The operations that [`SimulatedDisk::hold`] blocks.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Held {
    /// All operations that change the disk.
    All,
    /// Syncs of files.
    Syncs,
    /// Removals of files.
    Removals,
}

/// The simulated disk. Clones share it.
#[derive(Clone)]
pub(crate) struct SimulatedDisk(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    files: Vec<Content>,
    /// The file of each name, as the operating system sees it.
    names: BTreeMap<PathBuf, usize>,
    /// The file of each name, according to the directory entries on the medium.
    durable_names: BTreeMap<PathBuf, usize>,
    /// The directories that have been created, as the operating system sees them. A directory that is in neither set
    /// existed before the disk was used, and is durable.
    directories: BTreeSet<PathBuf>,
    durable_directories: BTreeSet<PathBuf>,
    /// The old and the new name of each rename that is not durable.
    renames: Vec<(PathBuf, PathBuf)>,
    /// Decides at which operation the power fails.
    #[cfg(feature = "sim")]
    supply: Option<Arc<dyn sqlhttp_core::PowerSupply>>,
    operations: u64,
    fault: Fault,
    dead: bool,
    locked: bool,
    /// The number of simulated crashes. Files that were opened before the last crash are closed.
    crashes: u64,
    /// The operations that are blocked.
    held: Option<Held>,
    /// Whether removals of files succeed without an effect.
    ignores_removals: bool,
    /// The number of operations that are blocked.
    waiting: usize,
}

#[derive(Default)]
struct Content {
    now: Vec<u8>,
    durable: Vec<u8>,
    /// The sectors in which `now` and `durable` may differ, because they were written and not synced.
    dirty: BTreeSet<usize>,
}

impl Content {
    fn write(&mut self, bytes: &[u8], offset: usize) {
        let end = offset + bytes.len();
        if self.now.len() < end {
            self.now.resize(end, 0);
        }
        self.now[offset..end].copy_from_slice(bytes);
        self.dirty.extend(offset / SECTOR_BYTES..end.div_ceil(SECTOR_BYTES));
    }

    fn empty(&mut self) {
        self.dirty.extend(0..self.now.len().div_ceil(SECTOR_BYTES));
        self.now.clear();
    }

    fn truncate(&mut self, len: usize) {
        self.dirty.extend(len / SECTOR_BYTES..self.now.len().div_ceil(SECTOR_BYTES));
        self.now.truncate(len);
    }

    fn sync(&mut self) {
        self.durable.resize(self.now.len(), 0);
        for sector in std::mem::take(&mut self.dirty) {
            let start = (sector * SECTOR_BYTES).min(self.now.len());
            let end = (start + SECTOR_BYTES).min(self.now.len());
            self.durable[start..end].copy_from_slice(&self.now[start..end]);
        }
    }

    /// Copies the changes for which `keep` returns `true` to the medium, and discards the others.
    fn settle(&mut self, keep: &mut impl FnMut() -> bool) {
        let mut bytes = std::mem::take(&mut self.durable);
        if bytes.len() != self.now.len() && keep() {
            bytes.resize(self.now.len(), 0);
        }
        for sector in std::mem::take(&mut self.dirty) {
            let start = sector * SECTOR_BYTES;
            let end = (start + SECTOR_BYTES).min(self.now.len());
            if start < end && keep() {
                bytes.resize(bytes.len().max(end), 0);
                bytes[start..end].copy_from_slice(&self.now[start..end]);
            }
        }
        self.now.clone_from(&bytes);
        self.durable = bytes;
    }
}

impl State {
    /// Counts an operation. Returns whether the operation is carried out, and the result that its caller receives.
    fn operation(&mut self, change: Change<'_>) -> (bool, io::Result<()>) {
        if self.dead {
            return (false, Err(power()));
        }
        if let Some(happens) = self.power_fails(&change) {
            self.dead = true;
            return (happens, Err(power()));
        }
        let number = self.operations;
        self.operations += 1;
        match self.fault {
            Fault::CutAt(cut) if number >= cut => {
                self.dead = true;
                (true, Err(power()))
            }
            Fault::FailAt(fail) if number == fail => (false, Err(io::Error::other("a simulated error"))),
            _ => (true, Ok(())),
        }
    }

    /// Asks the supply whether the power fails at this operation. If it does, returns whether the operation is carried
    /// out nevertheless.
    #[cfg(feature = "sim")]
    fn power_fails(&self, change: &Change<'_>) -> Option<bool> {
        let Change { kind, path, offset, bytes } = *change;
        let file = path.to_string_lossy();
        match self.supply.as_ref()?.at(&sqlhttp_core::DiskChange { kind, file: &file, offset, bytes }) {
            sqlhttp_core::Power::On => None,
            sqlhttp_core::Power::Off => Some(false),
            sqlhttp_core::Power::Fails => Some(true),
        }
    }

    #[cfg(not(feature = "sim"))]
    fn power_fails(&self, _change: &Change<'_>) -> Option<bool> {
        None
    }

    /// Returns the name of a file.
    fn name_of(&self, file: usize) -> PathBuf {
        let named = self.names.iter().find(|(_, named)| **named == file);
        named.map(|(path, _)| path.clone()).unwrap_or_default()
    }

    fn has_space(&self) -> io::Result<()> {
        if self.fault == Fault::Full { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    fn alive(&self) -> io::Result<()> {
        if self.dead { Err(power()) } else { Ok(()) }
    }

    fn settle(&mut self, mut keep: impl FnMut() -> bool) {
        self.files.iter_mut().for_each(|file| file.settle(&mut keep));
        let mut together = BTreeMap::new();
        for (from, to) in std::mem::take(&mut self.renames) {
            let kept = keep();
            together.extend([(from, kept), (to, kept)]);
        }
        let all: BTreeSet<PathBuf> = self.names.keys().chain(self.durable_names.keys()).cloned().collect();
        for path in all {
            let (now, durable) = (self.names.get(&path).copied(), self.durable_names.get(&path).copied());
            let is_kept = now == durable || together.get(&path).copied().unwrap_or_else(&mut keep);
            match if is_kept { now } else { durable } {
                Some(file) => drop(self.names.insert(path, file)),
                None => drop(self.names.remove(&path)),
            }
        }
        self.settle_directories(&mut keep);
        self.durable_names = self.names.clone();
    }

    /// Keeps or discards the directories that are not durable, with the files in them.
    fn settle_directories(&mut self, keep: &mut impl FnMut() -> bool) {
        let created: Vec<PathBuf> = self.directories.difference(&self.durable_directories).cloned().collect();
        for lost in created.into_iter().filter(|_| !keep()) {
            self.directories.retain(|directory| !directory.starts_with(&lost));
            self.names.retain(|path, _| !path.starts_with(&lost));
        }
        self.durable_directories = self.directories.clone();
    }
}

/// An operation that changes the disk.
#[cfg_attr(not(feature = "sim"), expect(dead_code, reason = "only the power supply of a simulation reads it"))]
struct Change<'a> {
    kind: &'static str,
    path: &'a Path,
    offset: u64,
    bytes: &'a [u8],
}

impl<'a> Change<'a> {
    fn of(kind: &'static str, path: &'a Path) -> Change<'a> {
        Change { kind, path, offset: 0, bytes: &[] }
    }
}

fn power() -> io::Error {
    io::Error::other("the power has failed")
}

/// Returns a pseudo-random generator of booleans: Xorshift, the 64-bit generator of Marsaglia.
fn coin(mut seed: u64) -> impl FnMut() -> bool {
    seed = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    move || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed >> 40 & 1 == 1
    }
}

impl SimulatedDisk {
    pub(crate) fn new() -> Self {
        let state = State {
            files: Vec::new(),
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            directories: BTreeSet::new(),
            durable_directories: BTreeSet::new(),
            renames: Vec::new(),
            #[cfg(feature = "sim")]
            supply: None,
            operations: 0,
            fault: Fault::None,
            dead: false,
            locked: false,
            crashes: 0,
            held: None,
            ignores_removals: false,
            waiting: 0,
        };
        SimulatedDisk(Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new() }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until an operation of this kind is not blocked by [`SimulatedDisk::hold`], and returns the state. `kind`
    /// is [`Held::All`] for an operation that only that value blocks.
    fn let_through(&self, kind: Held) -> MutexGuard<'_, State> {
        let mut state = self.state();
        state.waiting += 1;
        self.0.changed.notify_all();
        while state.held.is_some_and(|held| held == Held::All || held == kind) && !state.dead {
            state = self.0.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.waiting -= 1;
        state
    }

    /// Connects the disk to a supply, which decides about each further operation that changes the disk.
    #[cfg(feature = "sim")]
    pub(crate) fn connect(&self, supply: Arc<dyn sqlhttp_core::PowerSupply>) {
        self.state().supply = Some(supply);
    }

    /// Takes a file from the disk. Returns its content, and whether the content and the name are durable; `None` if the
    /// file does not exist.
    #[cfg(feature = "sim")]
    pub(crate) fn take(&self, path: &Path) -> Option<(Vec<u8>, bool, bool)> {
        let mut state = self.state();
        let file = state.names.remove(path)?;
        let is_named = state.durable_names.remove(path).is_some();
        let content = &state.files[file];
        Some((content.now.clone(), content.dirty.is_empty() && content.now == content.durable, is_named))
    }

    /// Sets the next fault of the disk, and numbers operations from 0 again.
    pub(crate) fn set_fault(&self, fault: Fault) {
        let mut state = self.state();
        state.operations = 0;
        state.fault = fault;
    }

    /// Returns the number of operations since the last fault was set.
    pub(crate) fn operations(&self) -> u64 {
        self.state().operations
    }

    /// Makes all removals of files succeed without an effect, as if the power had failed before them.
    pub(crate) fn ignore_removals(&self) {
        self.state().ignores_removals = true;
    }

    /// Returns whether the power has failed.
    pub(crate) fn is_dead(&self) -> bool {
        self.state().dead
    }

    /// Blocks further operations until [`SimulatedDisk::release`] is called.
    pub(crate) fn hold(&self, held: Held) {
        self.state().held = Some(held);
    }

    /// Waits until an operation is blocked or the power has failed.
    pub(crate) fn wait_until_one_is_held(&self) {
        let mut state = self.state();
        while state.waiting == 0 && !state.dead {
            state = self.0.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Ends the blocking of operations that [`SimulatedDisk::hold`] has begun.
    pub(crate) fn release(&self) {
        self.state().held = None;
        self.0.changed.notify_all();
    }

    /// Simulates a crash: keeps or discards the changes that have not been synced, according to `loss`; closes all
    /// files; and makes the disk work again.
    pub(crate) fn crash(&self, loss: Loss) {
        let mut state = self.state();
        match loss {
            Loss::All => state.settle(|| false),
            Loss::Nothing => state.settle(|| true),
            Loss::Part(seed) => state.settle(coin(seed)),
            Loss::Killed => {}
        }
        state.crashes += 1;
        state.fault = Fault::None;
        state.operations = 0;
        state.dead = false;
        state.locked = false;
        state.held = None;
    }

    fn handle(&self, file: usize, crashes: u64) -> Arc<dyn DiskFile> {
        Arc::new(SimulatedFile { disk: self.clone(), file, crashes })
    }
}

impl Disk for SimulatedDisk {
    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        let state = self.state();
        state.alive()?;
        let here = state.names.keys().filter(|path| path.parent() == Some(directory));
        Ok(here.filter_map(|path| Some(path.file_name()?.to_string_lossy().into_owned())).collect())
    }

    /// Directories that exist in the file system of the operating system exist on this disk, too.
    fn create_directories(&self, directory: &Path) -> io::Result<()> {
        if directory.is_dir() || self.state().directories.contains(directory) {
            return Ok(());
        }
        let Some(parent) = directory.parent() else { return Ok(()) };
        self.create_directories(parent)?;
        {
            let mut state = self.let_through(Held::All);
            let (happens, result) = state.operation(Change::of("create directory", directory));
            if happens {
                state.directories.insert(directory.to_owned());
            }
            result?;
        }
        self.sync_directory(parent)
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let state = self.state();
        state.alive()?;
        let file = state.names.get(path).copied().ok_or(io::ErrorKind::NotFound)?;
        Ok(state.files[file].now.clone())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.let_through(Held::All);
        state.alive()?;
        let file = state.names.get(from).copied().ok_or(io::ErrorKind::NotFound)?;
        let (happens, result) = state.operation(Change::of("rename", to));
        if happens {
            state.names.remove(from);
            state.names.insert(to.to_owned(), file);
            state.renames.push((from.to_owned(), to.to_owned()));
        }
        result
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.let_through(Held::All);
        state.has_space()?;
        let (happens, result) = state.operation(Change::of("create", path));
        let file = state.names.get(path).copied().unwrap_or(state.files.len());
        if happens && file < state.files.len() {
            state.files[file].empty();
        } else if happens {
            state.files.push(Content::default());
            state.names.insert(path.to_owned(), file);
        }
        result.map(|()| self.handle(file, state.crashes))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let state = self.state();
        state.alive()?;
        let file = state.names.get(path).copied().ok_or(io::ErrorKind::NotFound)?;
        Ok(self.handle(file, state.crashes))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.let_through(Held::Removals);
        state.alive()?;
        if !state.names.contains_key(path) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let (happens, result) = state.operation(Change::of("delete", path));
        if happens && !state.ignores_removals {
            state.names.remove(path).ok_or(io::ErrorKind::NotFound)?;
        }
        result
    }

    fn sync_directory(&self, directory: &Path) -> io::Result<()> {
        let mut state = self.let_through(Held::All);
        let (_, result) = state.operation(Change::of("sync directory", directory));
        result?;
        let State { names, durable_names, directories, durable_directories, renames, .. } = &mut *state;
        renames.retain(|(_, to)| to.parent() != Some(directory));
        durable_directories.extend(directories.iter().filter(|path| path.parent() == Some(directory)).cloned());
        durable_names.retain(|path, _| path.parent() != Some(directory));
        let here = names.iter().filter(|(path, _)| path.parent() == Some(directory));
        durable_names.extend(here.map(|(path, file)| (path.clone(), *file)));
        Ok(())
    }

    fn space(&self, _directory: &Path) -> Option<Space> {
        (self.state().fault == Fault::Full).then_some(Space { free: 12 << 20, total: 1 << 30 })
    }

    fn lock(&self, _directory: &Path) -> io::Result<Option<Box<dyn Send + Sync>>> {
        let mut state = self.state();
        if std::mem::replace(&mut state.locked, true) {
            return Ok(None);
        }
        Ok(Some(Box::new(Lock { disk: self.clone(), crashes: state.crashes })))
    }
}

struct Lock {
    disk: SimulatedDisk,
    crashes: u64,
}

impl Drop for Lock {
    fn drop(&mut self) {
        let mut state = self.disk.state();
        if state.crashes == self.crashes {
            state.locked = false;
        }
    }
}

struct SimulatedFile {
    disk: SimulatedDisk,
    file: usize,
    crashes: u64,
}

impl SimulatedFile {
    fn check<'s>(&self, state: MutexGuard<'s, State>) -> io::Result<MutexGuard<'s, State>> {
        if state.crashes == self.crashes { Ok(state) } else { Err(power()) }
    }
}

impl DiskFile for SimulatedFile {
    fn len(&self) -> io::Result<u64> {
        let state = self.check(self.disk.state())?;
        state.alive()?;
        Ok(state.files[self.file].now.len() as u64)
    }

    fn read_exact_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        let state = self.check(self.disk.state())?;
        state.alive()?;
        let start = offset as usize;
        let there = state.files[self.file].now.get(start..start + bytes.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        bytes.copy_from_slice(there);
        Ok(())
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut state = self.check(self.disk.let_through(Held::All))?;
        state.has_space()?;
        let path = state.name_of(self.file);
        let (happens, result) = state.operation(Change { kind: "write", path: &path, offset, bytes });
        if happens {
            state.files[self.file].write(bytes, offset as usize);
        }
        result
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        let mut state = self.check(self.disk.let_through(Held::All))?;
        let path = state.name_of(self.file);
        let (happens, result) = state.operation(Change::of("truncate", &path));
        if happens {
            state.files[self.file].truncate(len as usize);
        }
        result
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.check(self.disk.let_through(Held::Syncs))?;
        let path = state.name_of(self.file);
        let (_, result) = state.operation(Change::of("sync", &path));
        result?;
        state.files[self.file].sync();
        Ok(())
    }
}
