//! The record of a node that its content differs from that of the majority: the file `raft/differs.json`. It survives
//! restarts, so that such a node never serves its content unnoticed.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use super::messages::Verdict;
use crate::identity::{sync_directory_of, write_durably};

/// The contents of `raft/differs.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Contents {
    /// The index of the Raft log at which the content was compared.
    index: u64,
    /// The digest of the node's content, in hexadecimal digits.
    digest: String,
    /// The digest of the majority's content, in hexadecimal digits.
    expected: String,
}

/// Whether the content of this node differs from that of the majority.
pub(crate) struct DifferenceMark {
    file: PathBuf,
    /// Whether there is a reason. Reads check this without a lock.
    marked: AtomicBool,
    reason: Mutex<Option<Arc<str>>>,
}

impl DifferenceMark {
    /// Reads the record of a node's directory.
    ///
    /// # Errors
    /// The file cannot be read, or is no record.
    pub(crate) fn open(directory: &Path) -> io::Result<DifferenceMark> {
        let file = directory.join("raft").join("differs.json");
        let reason = match std::fs::read(&file) {
            Ok(bytes) => {
                let contents: Contents = serde_json::from_slice(&bytes).map_err(|error| {
                    io::Error::new(io::ErrorKind::InvalidData, format!("{}: {error}", file.display()))
                })?;
                Some(reason_of(&contents))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        Ok(DifferenceMark { file, marked: AtomicBool::new(reason.is_some()), reason: Mutex::new(reason) })
    }

    /// Returns whether the content of this node is known to differ.
    pub(crate) fn is_marked(&self) -> bool {
        self.marked.load(Ordering::Acquire)
    }

    /// Why this node serves no reads of its own; `None` if its content is not known to differ.
    pub(crate) fn reason(&self) -> Option<Arc<str>> {
        self.reason.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Records the verdict of a verification durably. Returns whether this has changed the record. Blocks.
    ///
    /// # Errors
    /// A file operation failed. If the node differs, it is marked for as long as the process runs.
    pub(crate) fn record(&self, verdict: &Verdict) -> io::Result<bool> {
        let contents = (verdict.digest != verdict.expected).then(|| Contents {
            index: verdict.index,
            digest: format!("{:032x}", verdict.digest),
            expected: format!("{:032x}", verdict.expected),
        });
        let before = self.set(contents.as_ref().map(reason_of));
        match &contents {
            Some(contents) => {
                write_durably(&self.file, &serde_json::to_vec_pretty(contents).map_err(io::Error::other)?)?
            }
            None => self.remove_file()?,
        }
        Ok(before != contents.is_some())
    }

    /// Sets the reason. Returns whether there was one before.
    fn set(&self, reason: Option<Arc<str>>) -> bool {
        let mut current = self.reason.lock().unwrap_or_else(PoisonError::into_inner);
        self.marked.store(reason.is_some(), Ordering::Release);
        std::mem::replace(&mut *current, reason).is_some()
    }

    fn remove_file(&self) -> io::Result<()> {
        match std::fs::remove_file(&self.file) {
            Ok(()) => sync_directory_of(&self.file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }
}

fn reason_of(contents: &Contents) -> Arc<str> {
    let Contents { index, digest, expected } = contents;
    format!(
        "the content of this node differs from that of the majority: at index {index} of the Raft log its digest was \
         {digest}, not {expected}. POST /verify?repair replaces its content"
    )
    .into()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_mark_survives_a_restart_until_the_content_is_equal() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("raft")).unwrap();
        let mark = DifferenceMark::open(directory.path()).unwrap();
        assert_eq!(mark.reason(), None);
        assert!(!mark.record(&Verdict { index: 3, digest: 1, expected: 1 }).unwrap());
        assert!(mark.record(&Verdict { index: 5, digest: 1, expected: 2 }).unwrap());
        assert!(!mark.record(&Verdict { index: 6, digest: 1, expected: 2 }).unwrap());
        let again = DifferenceMark::open(directory.path()).unwrap();
        assert_eq!(again.reason(), mark.reason());
        assert!(again.reason().unwrap().contains("at index 6"));
        assert!(again.record(&Verdict { index: 7, digest: 2, expected: 2 }).unwrap());
        assert_eq!(DifferenceMark::open(directory.path()).unwrap().reason(), None);
        std::fs::write(directory.path().join("raft/differs.json"), "{").unwrap();
        assert!(DifferenceMark::open(directory.path()).is_err());
    }
}
