//! A simulated disk, for tests: it keeps files in memory, fails when told to, and loses what was not synced.
//!
//! Every file has two images: what the process sees, and what a power cut leaves. Writing changes only the first;
//! syncing makes the second equal to it. The same holds for the directory: a file that was created or deleted is
//! durably so only once the directory is synced. SQLite sees the disk as a VFS (<https://sqlite.org/vfs.html>), to be
//! named in [`Options::vfs`](crate::Options::vfs).
//!
//! * [`image`]: one file, and what a power cut makes of it.
//! * [`faults`]: which operation fails, and how.
//! * [`disk`]: directory, files and handles; all state of a disk behind one mutex.
//! * [`vfs`]: what SQLite calls; here is the `unsafe`.

mod disk;
mod faults;
mod image;
mod vfs;

use std::sync::{Mutex, PoisonError};

use disk::Disk;
pub use faults::{AfterStop, DiskFault};
pub use image::Loss;

use crate::model::Error;

/// Disks that nobody uses. A VFS is never unregistered, because connections may know it, so it is used again.
static SPARE: Mutex<Vec<&'static Disk>> = Mutex::new(Vec::new());

/// A simulated disk, empty at first. When it is dropped its files are gone, and whoever still has them open sees errors.
///
/// ```
/// use sqlhttp_core::{AfterStop, Batch, Database, FaultyDisk, Loss, Options, Step};
///
/// let disk = FaultyDisk::new(1)?;
/// let options = Options { vfs: Some(disk.name().to_owned()), ..Options::default() };
/// let database = Database::open("/data.db", options.clone())?;
/// database.execute_blocking(Batch::one(Step::execute("CREATE TABLE t(x)", ())))?;
///
/// disk.stop_at_sync(1, AfterStop::Fail);
/// let unlucky = database.execute_blocking(Batch::one(Step::execute("INSERT INTO t VALUES (1)", ())));
/// assert!(unlucky.is_err());
///
/// drop(database);
/// disk.power_cut(Loss::Torn);
/// let database = Database::open("/data.db", options)?;
/// database.execute_blocking(Batch::one(Step::execute("INSERT INTO t VALUES (2)", ())))?;
/// # Ok::<(), sqlhttp_core::Error>(())
/// ```
#[derive(Debug)]
pub struct FaultyDisk {
    disk: &'static Disk,
}

impl FaultyDisk {
    /// A new disk. All its choices (what survives a power cut, where a write is torn) follow from the seed.
    ///
    /// # Errors
    /// [`Error::Unsupported`] if SQLite refuses to register it.
    pub fn new(seed: u64) -> Result<FaultyDisk, Error> {
        let disk = match take_spare() {
            Some(disk) => disk,
            None => vfs::register().ok_or_else(|| Error::Unsupported("cannot register the simulated disk".into()))?,
        };
        disk.state().format(seed);
        Ok(FaultyDisk { disk })
    }

    /// The name for [`Options::vfs`](crate::Options::vfs).
    pub fn name(&self) -> &str {
        self.disk.name()
    }

    /// How many syncs have been asked for since the start, successful or not.
    pub fn syncs(&self) -> u64 {
        self.disk.state().faults.syncs()
    }

    /// How many operations have been asked for since the start: reads, writes, syncs, creations, deletions.
    pub fn operations(&self) -> u64 {
        self.disk.state().faults.operations()
    }

    /// How many operations have failed since the start.
    pub fn failures(&self) -> u64 {
        self.disk.state().faults.failures()
    }

    /// The `n`-th sync from now (1 is the next) does not take place, nor does anything that would change the disk after
    /// it. Only [`FaultyDisk::power_cut`] brings the disk back to life.
    pub fn stop_at_sync(&self, n: u64, then: AfterStop) {
        self.disk.state().faults.stop_at_sync(n, then);
    }

    /// What the disk does now that the sync of [`FaultyDisk::stop_at_sync`] has been reached; `None` before that.
    pub fn stopped(&self) -> Option<AfterStop> {
        self.disk.state().faults.stopped()
    }

    /// Lets the next `operations` operations that `fault` could hit succeed; the one after them fails.
    pub fn fail_after(&self, operations: u64, fault: DiskFault) {
        self.disk.state().faults.fail_after(operations, fault);
    }

    /// Ends the fault of [`FaultyDisk::fail_after`]: there is room again, or the cable is back.
    pub fn heal(&self) {
        self.disk.state().faults.heal();
    }

    /// Lets all files together have this many bytes; a write that would exceed that finds a full disk.
    pub fn set_capacity(&self, bytes: usize) {
        self.disk.state().capacity = Some(bytes);
    }

    /// How many bytes all files together have.
    pub fn used(&self) -> usize {
        self.disk.state().used()
    }

    /// The power fails and comes back: what was not durable is lost, and all faults are over. Whoever has a file open
    /// sees errors from now on, and the disk can be used again when he has closed it.
    pub fn power_cut(&self, loss: Loss) {
        self.disk.state().power_cut(loss);
    }
}

fn take_spare() -> Option<&'static Disk> {
    let mut spare = SPARE.lock().unwrap_or_else(PoisonError::into_inner);
    let usable = spare.iter().position(|disk| !disk.state().is_off())?;
    Some(spare.swap_remove(usable))
}

impl Drop for FaultyDisk {
    fn drop(&mut self) {
        self.disk.state().format(0);
        SPARE.lock().unwrap_or_else(PoisonError::into_inner).push(self.disk);
    }
}
