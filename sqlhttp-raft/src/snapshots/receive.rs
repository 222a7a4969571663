//! Receives a snapshot from the leader.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{DOWNLOAD_PREFIX, SYNC_BYTES};
use crate::log::disk::{self, DiskFile};

/// The snapshot that is being received.
struct Incoming {
    id: u128,
    file: Arc<dyn DiskFile>,
    path: PathBuf,
    bytes: u64,
    received: u64,
}

/// Receives snapshots into files in the directory of the node, one at a time.
pub(crate) struct Receiver {
    directory: PathBuf,
    incoming: Mutex<Option<Incoming>>,
    /// Whether a snapshot that has been received completely is being checked or installed.
    installing: AtomicBool,
    /// The number of transfers that continued at an offset above 0.
    pub(crate) resumed: AtomicU64,
    /// The number of bytes received.
    pub(crate) bytes: AtomicU64,
}

impl Receiver {
    pub(crate) fn new(directory: &Path) -> Receiver {
        Receiver {
            directory: directory.to_owned(),
            incoming: Mutex::default(),
            installing: AtomicBool::new(false),
            resumed: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Incoming>> {
        self.incoming.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Prepares for the snapshot with this id. Returns the number of bytes that have been received already, by this
    /// process or an earlier one. Removes the parts of other snapshots. Blocks.
    ///
    /// # Errors
    /// A file operation failed; or another snapshot is being installed.
    pub(crate) fn begin(&self, id: u128, bytes: u64) -> io::Result<u64> {
        let mut incoming = self.lock();
        if self.installing.load(Ordering::Acquire) {
            return Err(io::Error::other("a snapshot is being installed"));
        }
        let path = self.directory.join(format!("{DOWNLOAD_PREFIX}{id:032x}"));
        remove_others(&self.directory, &path)?;
        if let Some(current) = incoming.as_ref().filter(|current| current.id == id && current.bytes == bytes) {
            if current.received > 0 {
                self.resumed.fetch_add(1, Ordering::Relaxed);
            }
            return Ok(current.received);
        }
        let file = open_or_create(&path)?;
        // After a crash, only the part that was synced is known to be as it was sent. The last sync may not have
        // returned before the crash, but the one before it has.
        let found = file.len()?;
        let synced = (found / SYNC_BYTES).saturating_sub(1) * SYNC_BYTES;
        let received = if found > bytes { 0 } else { synced };
        file.truncate(received)?;
        if received > 0 {
            self.resumed.fetch_add(1, Ordering::Relaxed);
        }
        *incoming = Some(Incoming { id, file, path, bytes, received });
        Ok(received)
    }

    /// Writes a part of the snapshot with this id. Blocks.
    ///
    /// # Errors
    /// A file operation failed; or the part does not follow the last one.
    pub(crate) fn append(&self, id: u128, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut incoming = self.lock();
        let current = incoming.as_mut().filter(|current| current.id == id && current.received == offset);
        let current = current.ok_or_else(|| io::Error::other("the part does not follow the last one"))?;
        let end = offset + bytes.len() as u64;
        if end > current.bytes {
            return Err(io::Error::other("the snapshot is longer than announced"));
        }
        current.file.write_all_at(bytes, offset)?;
        current.received = end;
        self.bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        if end / SYNC_BYTES > offset / SYNC_BYTES || end == current.bytes {
            current.file.sync()?;
        }
        Ok(())
    }

    /// Takes the file of the snapshot with this id, which must have been received completely. No other snapshot is
    /// received until [`Receiver::end`] is called. Blocks.
    ///
    /// # Errors
    /// A file operation failed; or the snapshot is not complete.
    pub(crate) fn finish(&self, id: u128) -> io::Result<PathBuf> {
        let mut incoming = self.lock();
        match incoming.take_if(|current| current.id == id && current.received == current.bytes) {
            Some(current) => {
                current.file.sync()?;
                #[cfg(feature = "sim")]
                if let Some(machine) = crate::sim::machine() {
                    machine.show_download(&current.path)?;
                }
                self.installing.store(true, Ordering::Release);
                Ok(current.path)
            }
            None => Err(io::Error::other("the snapshot is not complete")),
        }
    }

    /// Ends the installation of a snapshot. Removes its file, unless the installation has renamed it.
    pub(crate) fn end(&self, file: &Path) {
        // Best effort: the next snapshot removes the file too.
        let _ = disk::current().remove(file);
        self.installing.store(false, Ordering::Release);
    }
}

/// Opens the file of a download, which an earlier process may have begun.
fn open_or_create(path: &Path) -> io::Result<Arc<dyn DiskFile>> {
    let disk = disk::current();
    match disk.open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => disk.create(path),
        opened => opened,
    }
}

/// Removes all downloads but `keep`.
fn remove_others(directory: &Path, keep: &Path) -> io::Result<()> {
    let disk = disk::current();
    for name in disk.list(directory)? {
        let path = directory.join(&name);
        if name.starts_with(DOWNLOAD_PREFIX) && path != keep {
            disk.remove(&path)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_transfer_continues_after_a_restart_at_the_last_sync() {
        let directory = tempfile::tempdir().unwrap();
        let content: Vec<u8> = (0..SYNC_BYTES as u32 * 3 + 100).map(|byte| byte as u8).collect();
        let len = content.len() as u64;
        let first = Receiver::new(directory.path());
        assert_eq!(first.begin(7, len).unwrap(), 0);
        let half = 2 * SYNC_BYTES as usize + 10;
        first.append(7, 0, &content[..half]).unwrap();
        assert!(first.append(7, 5, &content[5..9]).is_err(), "an offset that does not follow");
        assert!(first.append(8, half as u64, &content[half..]).is_err(), "another snapshot");
        assert!(first.finish(7).is_err(), "not complete");
        // In the same process, nothing is sent again.
        assert_eq!(first.begin(7, len).unwrap(), half as u64);
        drop(first);
        let second = Receiver::new(directory.path());
        assert_eq!(second.begin(7, len).unwrap(), SYNC_BYTES);
        assert_eq!(second.resumed.load(Ordering::Relaxed), 1);
        second.append(7, SYNC_BYTES, &content[SYNC_BYTES as usize..]).unwrap();
        let file = second.finish(7).unwrap();
        assert_eq!(std::fs::read(&file).unwrap(), content);
        assert!(second.begin(9, 1).is_err(), "a snapshot is being installed");
        second.end(&file);
        assert_eq!(second.begin(9, 1).unwrap(), 0);
    }

    #[test]
    fn another_snapshot_replaces_the_parts_of_the_last_one() {
        let directory = tempfile::tempdir().unwrap();
        let receiver = Receiver::new(directory.path());
        receiver.begin(1, 100).unwrap();
        receiver.append(1, 0, &[1; 10]).unwrap();
        assert_eq!(receiver.begin(2, 50).unwrap(), 0);
        assert!(receiver.append(2, 0, &[1; 51]).is_err(), "longer than announced");
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
    }
}
