//! A simulated disk for tests: it keeps files in memory, fails on request, and loses unsynced data.
//!
//! Every file has two images: the one that the process sees, and the one that remains after a power cut. A write
//! changes only the first image; a sync copies the changes to the second. The directory also has two images: the
//! creation or deletion of a file becomes durable when the directory is synced. SQLite accesses the disk through a VFS
//! (<https://sqlite.org/vfs.html>), which is selected by [`Options::vfs`](crate::Options::vfs).
//!
//! * [`image`]: the content of one file, before and after a power cut.
//! * [`faults`]: selects the operations that fail.
//! * [`disk`]: the directory, the files and the open handles. One mutex protects the state of a disk.
//! * [`vfs`]: the functions that SQLite calls. Only this module contains `unsafe` code.
//! * [`files`]: the file operations of an installation ([`FileSystem`]).
//! * [`power`]: cuts the power of one or more disks at a chosen operation.

mod disk;
mod faults;
mod files;
mod image;
mod power;
mod vfs;

use std::sync::{Arc, Mutex, PoisonError};

use disk::Disk;
pub use faults::{AfterStop, DiskFault};
pub(crate) use files::file_system;
pub use image::Loss;
pub use power::{DiskChange, Power, PowerSupply};

use crate::engine::replicated::swap::{self, FileSystem};
use crate::model::Error;

/// The simulated disks that are not in use. A disk is reused instead of freed: its VFS cannot be unregistered, because
/// connections may refer to it.
static UNUSED_DISKS: Mutex<Vec<&'static Disk>> = Mutex::new(Vec::new());

/// A simulated disk, empty at first. Dropping a `FaultyDisk` removes its files; operations on files that are still open
/// then fail.
///
/// ```
/// use sqlhttp_core::{AfterStop, Batch, Database, FaultyDisk, Loss, Options, Step};
///
/// let disk = FaultyDisk::new(1)?;
/// let options = Options::new().vfs(Some(disk.name().to_owned()));
/// let database = Database::open("/data.db", options.clone())?;
/// database.blocking().run(Batch::one(Step::execute("CREATE TABLE t(x)", ())))?;
///
/// disk.stop_at_sync(1, AfterStop::Fail);
/// let unlucky = database.blocking().run(Batch::one(Step::execute("INSERT INTO t VALUES (1)", ())));
/// assert!(unlucky.is_err());
///
/// drop(database);
/// disk.power_cut(Loss::Torn);
/// let database = Database::open("/data.db", options)?;
/// database.blocking().run(Batch::one(Step::execute("INSERT INTO t VALUES (2)", ())))?;
/// # Ok::<(), sqlhttp_core::Error>(())
/// ```
#[derive(Debug)]
pub struct FaultyDisk {
    disk: &'static Disk,
}

impl FaultyDisk {
    /// Creates an empty disk. The seed determines all random choices of the disk (the data that survives a power cut,
    /// the bytes of a failing write that are stored).
    ///
    /// # Errors
    /// [`Error::Unsupported`] if SQLite does not register the VFS.
    pub fn new(seed: u64) -> Result<FaultyDisk, Error> {
        let disk = match take_unused() {
            Some(disk) => disk,
            None => files::register()?,
        };
        disk.state().format(seed);
        Ok(FaultyDisk { disk })
    }

    /// The name of the disk's VFS, for [`Options::vfs`](crate::Options::vfs).
    pub fn name(&self) -> &str {
        self.disk.name()
    }

    /// The number of syncs that SQLite has requested, successful or not, since the disk was created.
    pub fn syncs(&self) -> u64 {
        self.disk.state().faults.syncs()
    }

    /// The number of operations that SQLite has requested (reads, writes, syncs, creations, deletions and others) since
    /// the disk was created.
    pub fn operations(&self) -> u64 {
        self.disk.state().faults.operations()
    }

    /// The number of operations that have failed since the disk was created.
    pub fn failures(&self) -> u64 {
        self.disk.state().faults.failures()
    }

    /// Stops the disk at the `n`-th sync from now (1 is the next one): this sync and all later changes do not take
    /// place. Only [`FaultyDisk::power_cut`] restarts the disk.
    pub fn stop_at_sync(&self, n: u64, then: AfterStop) {
        self.disk.state().faults.stop_at_sync(n, then);
    }

    /// The behaviour of the stopped disk; `None` if the sync of [`FaultyDisk::stop_at_sync`] has not been reached.
    pub fn stopped(&self) -> Option<AfterStop> {
        self.disk.state().faults.stopped()
    }

    /// Sets a fault that begins later: the next `operations` operations of the kinds that `fault` affects succeed, and
    /// the one after them fails.
    pub fn fail_after(&self, operations: u64, fault: DiskFault) {
        self.disk.state().faults.fail_after(operations, fault);
    }

    /// Ends the fault of [`FaultyDisk::fail_after`].
    pub fn heal(&self) {
        self.disk.state().faults.heal();
    }

    /// Sets the maximum total size of all files, in bytes. A write that would exceed this size fails with
    /// `SQLITE_FULL`.
    pub fn set_capacity(&self, bytes: usize) {
        self.disk.state().capacity = Some(bytes);
    }

    /// The current total size of all files on the disk, in bytes.
    pub fn used(&self) -> usize {
        self.disk.state().used()
    }

    /// Stores a file, which is durable at once. An existing file of this name is replaced.
    pub fn put(&self, name: &str, content: Vec<u8>) {
        self.disk.state().put(name.as_bytes(), content);
    }

    /// Stores a file as [`FaultyDisk::put`] does. Its content is durable only if `synced` is set, and its name only if
    /// `named` is set.
    pub fn put_partly_durable(&self, name: &str, content: Vec<u8>, synced: bool, named: bool) {
        self.disk.state().put_partly_durable(name.as_bytes(), content, synced, named);
    }

    /// Connects the disk to a supply, which decides about each further operation that changes the disk.
    pub fn connect(&self, supply: Arc<dyn PowerSupply>) {
        self.disk.state().faults.connect(supply);
    }

    /// Like [`Database::finish_install`](crate::Database::finish_install), for files on this disk.
    ///
    /// # Errors
    /// As [`Database::finish_install`](crate::Database::finish_install).
    pub fn finish_install(&self, database: &str, snapshot: &str) -> std::io::Result<bool> {
        let files: &dyn FileSystem = &self.disk;
        swap::finish(files, database.as_ref(), snapshot.as_ref())
    }

    /// Simulates a power cut and a restart: unsynced data is lost, and all faults end. Operations on files that were
    /// opened before the power cut fail. The disk can be used again when all these files have been closed.
    pub fn power_cut(&self, loss: Loss) {
        self.disk.state().power_cut(loss);
    }
}

fn take_unused() -> Option<&'static Disk> {
    let mut unused = UNUSED_DISKS.lock().unwrap_or_else(PoisonError::into_inner);
    let usable = unused.iter().position(|disk| !disk.state().is_off())?;
    Some(unused.swap_remove(usable))
}

impl Drop for FaultyDisk {
    fn drop(&mut self) {
        self.disk.state().format(0);
        UNUSED_DISKS.lock().unwrap_or_else(PoisonError::into_inner).push(self.disk);
    }
}
