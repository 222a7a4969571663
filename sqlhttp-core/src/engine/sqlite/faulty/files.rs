//! The file operations of an installation, on a simulated disk.

use std::io::{Error, Result};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use super::disk::Disk;
use super::vfs;
use crate::engine::replicated::swap::FileSystem;
use crate::engine::sqlite::file::Code;

/// All simulated disks of this process. They are never freed.
static DISKS: Mutex<Vec<&'static Disk>> = Mutex::new(Vec::new());

/// Creates a simulated disk.
pub(super) fn register() -> std::result::Result<&'static Disk, crate::model::Error> {
    let disk = vfs::register();
    let disk = disk.ok_or_else(|| crate::model::Error::Unsupported("cannot register the simulated disk".into()))?;
    DISKS.lock().unwrap_or_else(PoisonError::into_inner).push(disk);
    Ok(disk)
}

/// Returns the file operations of the simulated disk with this VFS; `None` if there is no such disk.
pub(crate) fn file_system(vfs: &str) -> Option<Box<dyn FileSystem>> {
    let disks = DISKS.lock().unwrap_or_else(PoisonError::into_inner);
    disks.iter().find(|disk| disk.name() == vfs).map(|disk| Box::new(*disk) as Box<dyn FileSystem>)
}

impl FileSystem for &'static Disk {
    fn exists(&self, file: &Path) -> Result<bool> {
        self.state().exists(bytes(file)).map_err(io_error)
    }

    fn remove(&self, file: &Path) -> Result<()> {
        match self.state().delete(bytes(file), false) {
            Err(rusqlite::ffi::SQLITE_IOERR_DELETE_NOENT) => Ok(()),
            removed => removed.map_err(io_error),
        }
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        self.state().rename(bytes(from), bytes(to)).map_err(io_error)
    }

    fn sync_directory(&self, _directory: &Path) -> Result<()> {
        self.state().sync_directory_now().map_err(io_error)
    }
}

fn bytes(file: &Path) -> &[u8] {
    file.as_os_str().as_encoded_bytes()
}

fn io_error(code: Code) -> Error {
    Error::other(format!("the simulated disk fails with code {code}"))
}
