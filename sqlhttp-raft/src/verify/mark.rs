//! The record of a node that its content differs from that of the majority: the file `raft/differs.json`. It survives
//! restarts, so that such a node never serves its content unnoticed.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use super::messages::Verdict;
use crate::small_files::{self, remove_durably, write_durably};

/// The contents of `raft/differs.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Contents {
    /// The index of the Raft log at which the content was compared.
    index: u64,
    /// The digest of the node's content, in hexadecimal digits; `None` if the database is damaged.
    digest: Option<String>,
    /// The digest of the majority's content, in hexadecimal digits.
    expected: String,
}

impl Contents {
    /// Returns the contents for a node that differs; `None` for a node that does not.
    fn of(verdict: &Verdict) -> Option<Contents> {
        let Verdict { index, digest, expected } = *verdict;
        let text = |digest: u128| format!("{digest:032x}");
        (digest != Some(expected)).then(|| Contents { index, digest: digest.map(text), expected: text(expected) })
    }
}

/// Whether the content of this node differs from that of the majority.
pub(crate) struct DifferenceMark {
    file: PathBuf,
    /// Held while a verdict is recorded.
    recording: Mutex<()>,
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
        let reason = match small_files::read(&file) {
            Ok(bytes) => {
                let contents: Contents = serde_json::from_slice(&bytes).map_err(|error| {
                    io::Error::new(io::ErrorKind::InvalidData, format!("{}: {error}", file.display()))
                })?;
                Some(reason_of(&contents))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        Ok(DifferenceMark {
            file,
            recording: Mutex::default(),
            marked: AtomicBool::new(reason.is_some()),
            reason: Mutex::new(reason),
        })
    }

    /// Returns whether the content of this node is known to differ.
    pub(crate) fn is_marked(&self) -> bool {
        self.marked.load(Ordering::Acquire)
    }

    /// Why this node serves no reads of its own; `None` if its content is not known to differ.
    pub(crate) fn reason(&self) -> Option<Arc<str>> {
        self.reason.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Records the verdict of a verification. Returns whether this has changed the record, and the error of the file
    /// operation that makes the record durable. If a difference cannot be made durable, the node is marked for as long
    /// as the process runs; if the end of a difference cannot be made durable, the node stays marked. Blocks.
    pub(crate) fn record(&self, verdict: &Verdict) -> (bool, io::Result<()>) {
        let _recording = self.recording.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(contents) = Contents::of(verdict) else {
            let removed = remove_durably(&self.file);
            return (removed.is_ok() && self.set(None), removed);
        };
        let changed = !self.set(Some(reason_of(&contents)));
        let encoded = serde_json::to_vec_pretty(&contents).map_err(io::Error::other);
        (changed, encoded.and_then(|encoded| write_durably(&self.file, &encoded)))
    }

    /// Sets the reason. Returns whether there was one before.
    fn set(&self, reason: Option<Arc<str>>) -> bool {
        let mut current = self.reason.lock().unwrap_or_else(PoisonError::into_inner);
        self.marked.store(reason.is_some(), Ordering::Release);
        std::mem::replace(&mut *current, reason).is_some()
    }
}

fn reason_of(contents: &Contents) -> Arc<str> {
    let Contents { index, digest, expected } = contents;
    let found = match digest {
        Some(digest) => format!("at index {index} of the Raft log its digest was {digest}, not {expected}"),
        None => format!("at index {index} of the Raft log it was damaged"),
    };
    format!("the content of this node differs from that of the majority: {found}. POST /verify?repair replaces it")
        .into()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn record(mark: &DifferenceMark, index: u64, digest: Option<u128>, expected: u128) -> bool {
        let (changed, recorded) = mark.record(&Verdict { index, digest, expected });
        recorded.unwrap();
        changed
    }

    #[test]
    fn a_mark_survives_a_restart_until_the_content_is_equal() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("raft")).unwrap();
        let mark = DifferenceMark::open(directory.path()).unwrap();
        assert_eq!(mark.reason(), None);
        assert!(!record(&mark, 3, Some(1), 1));
        assert!(record(&mark, 5, Some(1), 2));
        assert!(!record(&mark, 6, Some(1), 2));
        let again = DifferenceMark::open(directory.path()).unwrap();
        assert_eq!(again.reason(), mark.reason());
        assert!(again.reason().unwrap().contains("at index 6"));
        assert!(record(&again, 7, Some(2), 2));
        assert_eq!(DifferenceMark::open(directory.path()).unwrap().reason(), None);
        assert!(record(&again, 8, None, 2));
        assert!(DifferenceMark::open(directory.path()).unwrap().reason().unwrap().contains("was damaged"));
        std::fs::write(directory.path().join("raft/differs.json"), "{").unwrap();
        assert!(DifferenceMark::open(directory.path()).is_err());
    }
}
