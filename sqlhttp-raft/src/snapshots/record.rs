//! The file `raft/install.json`, which a follower writes before it installs a snapshot. It remains until the Raft log
//! has been purged up to the snapshot: until then the log may end before the last entry that the database contains.
//!
//! A node also writes it before a loaded file becomes the database. The Raft log then contains the last entry, so the
//! file is removed at once.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::small_files::{self, remove_durably, write_durably};
use crate::types::{LogId, id_at};

/// The contents of `raft/install.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct InstallRecord {
    /// The name of the file with the snapshot, in the directory of the node.
    file: String,
    term: u64,
    /// The index of the last entry that the snapshot contains, counted from 1.
    index: u64,
}

impl InstallRecord {
    pub(crate) fn new(file: &Path, term: u64, index: u64) -> InstallRecord {
        let file = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        InstallRecord { file, term, index }
    }

    /// Reads the record of a node's directory. Returns `None` if there is none.
    ///
    /// # Errors
    /// The file cannot be read, or is no record.
    pub(crate) fn read(directory: &Path) -> io::Result<Option<InstallRecord>> {
        match small_files::read(&path(directory)) {
            Ok(bytes) => {
                let record = serde_json::from_slice(&bytes);
                record.map(Some).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Writes the record durably.
    ///
    /// # Errors
    /// A file operation failed.
    pub(crate) fn write(&self, directory: &Path) -> io::Result<()> {
        let file = path(directory);
        std::fs::create_dir_all(directory.join("raft"))?;
        write_durably(&file, &serde_json::to_vec(self).map_err(io::Error::other)?)
    }

    /// Removes the record of a node's directory durably, if there is one.
    ///
    /// # Errors
    /// A file operation failed.
    pub(crate) fn remove(directory: &Path) -> io::Result<()> {
        remove_durably(&path(directory))
    }

    /// The path of the file with the snapshot.
    pub(crate) fn snapshot_file(&self, directory: &Path) -> PathBuf {
        directory.join(&self.file)
    }

    /// The last entry that the snapshot contains.
    pub(crate) fn last_entry(&self) -> Option<LogId> {
        id_at(self.term, self.index)
    }
}

/// Returns the path of the record in a node's directory.
pub(crate) fn path(directory: &Path) -> PathBuf {
    directory.join("raft").join("install.json")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_record_survives_until_it_is_removed() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(InstallRecord::read(directory.path()).unwrap(), None);
        let record = InstallRecord::new(Path::new("/data/db.sqlite-download-1"), 3, 9);
        record.write(directory.path()).unwrap();
        assert_eq!(InstallRecord::read(directory.path()).unwrap(), Some(record.clone()));
        assert_eq!(record.snapshot_file(directory.path()), directory.path().join("db.sqlite-download-1"));
        assert_eq!(record.last_entry(), id_at(3, 9));
        InstallRecord::remove(directory.path()).unwrap();
        InstallRecord::remove(directory.path()).unwrap();
        assert_eq!(InstallRecord::read(directory.path()).unwrap(), None);
        std::fs::write(path(directory.path()), "{").unwrap();
        assert!(InstallRecord::read(directory.path()).is_err());
    }
}
