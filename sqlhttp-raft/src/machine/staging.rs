//! The file of a load while its parts are applied.
//!
//! The file is only a cache: its content is in the Raft log until the load has ended. So it is not needed after a
//! crash, and a failed file operation does not fail the load: the file is written again from the log when the load is
//! committed ([`super::loads`]).

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

/// The number of bytes after which the file is synced. The data need not be durable, but the pages that the operating
/// system has not written yet would delay the next sync of the Raft log.
const SYNC_BYTES: u64 = 8 << 20;

/// The file of a load, and what has been received of it. Dropping it removes the file.
pub(super) struct Staging {
    /// The index of the entry that began the load.
    load: u64,
    /// The announced length of the file, in bytes.
    bytes: u64,
    /// The number of bytes that have been received.
    received: u64,
    hasher: crc32fast::Hasher,
    path: PathBuf,
    /// The open file, or the error of the first file operation that has failed.
    file: io::Result<File>,
}

impl Staging {
    /// Creates the file of the load that the entry at `load` begins. Blocks.
    pub(super) fn begin(directory: &Path, load: u64, bytes: u64) -> Staging {
        let path = directory.join(format!("restore-load-{load}.sqlite"));
        let file = OpenOptions::new().create(true).truncate(true).write(true).open(&path);
        Staging { load, bytes, received: 0, hasher: crc32fast::Hasher::new(), path, file }
    }

    pub(super) fn load(&self) -> u64 {
        self.load
    }

    /// Writes a part of the file. Returns `false`, and does nothing, if the part does not follow the last one or
    /// exceeds the announced length. Blocks.
    pub(super) fn append(&mut self, offset: u64, bytes: &[u8]) -> bool {
        let len = bytes.len() as u64;
        if offset != self.received || len > self.bytes - self.received {
            return false;
        }
        if let Ok(file) = &self.file
            && let Err(error) = write(file, offset, bytes)
        {
            self.file = Err(error);
        }
        self.hasher.update(bytes);
        self.received += len;
        true
    }

    /// Returns whether the file has its announced length and this CRC-32.
    pub(super) fn is_complete(&self, checksum: u32) -> bool {
        self.received == self.bytes && self.hasher.clone().finalize() == checksum
    }

    /// The error of the first file operation that has failed; `None` if the file has been written.
    pub(super) fn error(&self) -> Option<&io::Error> {
        self.file.as_ref().err()
    }

    /// Returns the path of the file, which is not removed then.
    ///
    /// # Errors
    /// The error of the first file operation that has failed. The file is removed then.
    pub(super) fn finish(mut self) -> io::Result<PathBuf> {
        match std::mem::replace(&mut self.file, Err(io::ErrorKind::Other.into())) {
            Ok(_) => Ok(std::mem::take(&mut self.path)),
            Err(error) => Err(error),
        }
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        if !self.path.as_os_str().is_empty() {
            // Best effort: a file that cannot be removed now is removed at the next start.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn write(file: &File, offset: u64, bytes: &[u8]) -> io::Result<()> {
    file.write_all_at(bytes, offset)?;
    let end = offset + bytes.len() as u64;
    if end / SYNC_BYTES > offset / SYNC_BYTES { file.sync_data() } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn only_the_part_that_follows_is_taken() {
        let directory = tempfile::tempdir().unwrap();
        let mut staging = Staging::begin(directory.path(), 7, 6);
        assert!(!staging.append(1, b"a"));
        assert!(staging.append(0, b"abc"));
        assert!(!staging.append(0, b"abc"), "again");
        assert!(!staging.append(3, b"defg"), "longer than announced");
        assert!(!staging.is_complete(crc32fast::hash(b"abc")));
        assert!(staging.append(3, b"def"));
        assert!(!staging.is_complete(crc32fast::hash(b"abcdeg")));
        assert!(staging.is_complete(crc32fast::hash(b"abcdef")));
        let file = staging.finish().unwrap();
        assert_eq!(std::fs::read(file).unwrap(), b"abcdef");
    }

    #[test]
    fn a_file_that_is_not_needed_is_removed() {
        let directory = tempfile::tempdir().unwrap();
        let mut staging = Staging::begin(directory.path(), 7, 6);
        assert!(staging.append(0, b"abc"));
        drop(staging);
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
    }

    #[test]
    fn parts_are_counted_although_the_file_cannot_be_written() {
        let directory = tempfile::tempdir().unwrap();
        let mut staging = Staging::begin(&directory.path().join("missing"), 7, 3);
        assert!(staging.append(0, b"abc"));
        assert!(staging.is_complete(crc32fast::hash(b"abc")));
        assert_eq!(staging.error().unwrap().kind(), io::ErrorKind::NotFound);
        assert!(staging.finish().is_err());
    }
}
