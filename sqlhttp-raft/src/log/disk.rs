//! The file operations of the log and of other files of a node, behind a trait, so that tests can simulate power cuts
//! and full disks.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The file operations of a node.
pub(crate) trait Disk: Send + Sync {
    /// Returns the names of all files in a directory.
    fn list(&self, directory: &Path) -> io::Result<Vec<String>>;
    /// Creates a directory and the directories that contain it, unless they exist. Those that it creates are durable on
    /// return.
    fn create_directories(&self, directory: &Path) -> io::Result<()>;
    /// Returns the contents of a file.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;
    /// Renames a file, and replaces the file that has the new name.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Creates an empty file, or empties an existing one.
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;
    /// Opens an existing file.
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;
    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Syncs a directory, which makes the creation and the removal of files in it durable.
    fn sync_directory(&self, directory: &Path) -> io::Result<()>;
    /// Returns the free and the total space of the disk that contains the directory, or `None` if they are unknown.
    fn space(&self, directory: &Path) -> Option<Space>;
    /// Locks the directory against other processes until the returned value is dropped. Returns `None` if another
    /// process holds the lock.
    fn lock(&self, directory: &Path) -> io::Result<Option<Box<dyn Send + Sync>>>;
}

/// The free and the total space of a disk, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Space {
    pub(crate) free: u64,
    pub(crate) total: u64,
}

/// A file that is open for reading and writing.
pub(crate) trait DiskFile: Send + Sync {
    fn len(&self) -> io::Result<u64>;
    fn read_exact_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()>;
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Shortens the file to `len` bytes.
    fn truncate(&self, len: u64) -> io::Result<()>;
    /// Makes everything that was written to the file durable.
    fn sync(&self) -> io::Result<()>;
}

/// Returns the disk of this machine: that of the operating system or, in a simulation, the simulated one.
pub(crate) fn current() -> Arc<dyn Disk> {
    #[cfg(feature = "sim")]
    if let Some(machine) = crate::sim::machine() {
        return Arc::new(machine.log_disk());
    }
    Arc::new(SystemDisk)
}

/// Returns the length of a segment of the log, in bytes.
pub(super) fn segment_bytes() -> u32 {
    #[cfg(feature = "sim")]
    if let Some(machine) = crate::sim::machine() {
        return machine.segment_bytes();
    }
    16 << 20
}

/// The implementation of [`Disk`] with the file system of the operating system.
pub(super) struct SystemDisk;

impl Disk for SystemDisk {
    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(directory)? {
            names.push(entry?.file_name().to_string_lossy().into_owned());
        }
        Ok(names)
    }

    fn create_directories(&self, directory: &Path) -> io::Result<()> {
        if directory.is_dir() {
            return Ok(());
        }
        // The parent of a relative path with one component is empty.
        let parent = directory.parent().filter(|parent| !parent.as_os_str().is_empty());
        if let Some(parent) = parent {
            self.create_directories(parent)?;
        }
        match std::fs::create_dir(directory) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists || !directory.is_dir() => Err(error),
            _ => self.sync_directory(parent.unwrap_or(Path::new("."))),
        }
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        std::fs::read(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(path)?;
        Ok(Arc::new(SystemFile(file)))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(SystemFile(OpenOptions::new().read(true).write(true).open(path)?)))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }

    fn sync_directory(&self, directory: &Path) -> io::Result<()> {
        File::open(directory)?.sync_all()
    }

    #[cfg(unix)]
    fn space(&self, directory: &Path) -> Option<Space> {
        let stat = rustix::fs::statvfs(directory).ok()?;
        let bytes = |blocks: u64| blocks.saturating_mul(stat.f_frsize);
        Some(Space { free: bytes(stat.f_bavail), total: bytes(stat.f_blocks) })
    }

    #[cfg(not(unix))]
    fn space(&self, _directory: &Path) -> Option<Space> {
        None
    }

    fn lock(&self, directory: &Path) -> io::Result<Option<Box<dyn Send + Sync>>> {
        let path: PathBuf = directory.join("LOCK");
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Box::new(file))),
            Err(std::fs::TryLockError::WouldBlock) => Ok(None),
            Err(std::fs::TryLockError::Error(error)) => Err(error),
        }
    }
}

struct SystemFile(File);

#[cfg(unix)]
impl DiskFile for SystemFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn read_exact_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        std::os::unix::fs::FileExt::read_exact_at(&self.0, bytes, offset)
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        std::os::unix::fs::FileExt::write_all_at(&self.0, bytes, offset)
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn sync(&self) -> io::Result<()> {
        // fdatasync also syncs the size of the file, without which the data could not be read back.
        self.0.sync_data()
    }
}
