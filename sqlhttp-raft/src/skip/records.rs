//! The durable record of the entries that a node is willing to skip or has skipped: `raft/skipped.json`.

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use super::SkipEntry;
use crate::files::write_durably;

/// An entry that this node never applies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct SkipRecord {
    #[serde(flatten)]
    pub(super) entry: SkipEntry,
    /// Whether all nodes skip the entry. Otherwise this node is only willing to.
    pub(super) decided: bool,
}

/// The records of a node.
#[derive(Debug)]
pub(super) struct SkipRecords {
    file: PathBuf,
    records: Mutex<Vec<SkipRecord>>,
    /// Whether there are no records. Readable while a record is being written.
    empty: AtomicBool,
}

impl SkipRecords {
    /// Reads `raft/skipped.json`. Without the file there are no records.
    ///
    /// # Errors
    /// The file cannot be read, or does not contain records.
    pub(super) fn open(file: PathBuf) -> io::Result<SkipRecords> {
        let records: Vec<SkipRecord> = match std::fs::read(&file) {
            Ok(text) => serde_json::from_slice(&text)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(error),
        };
        let empty = AtomicBool::new(records.is_empty());
        Ok(SkipRecords { file, records: Mutex::new(records), empty })
    }

    /// Returns whether there are no records.
    pub(super) fn are_empty(&self) -> bool {
        self.empty.load(Ordering::Acquire)
    }

    /// Returns the record of the entry at `index`.
    pub(super) fn get(&self, index: u64) -> Option<SkipRecord> {
        self.lock().iter().find(|record| record.entry.index == index).cloned()
    }

    /// Returns the entries that all nodes skip.
    pub(super) fn decided(&self) -> Vec<SkipEntry> {
        self.lock().iter().filter(|record| record.decided).map(|record| record.entry.clone()).collect()
    }

    /// Records durably that this node is willing to skip an entry, or that all nodes skip it. A decision remains one.
    /// Blocks.
    ///
    /// # Errors
    /// The file cannot be written. The record is unchanged.
    pub(super) fn record(&self, entry: SkipEntry, decided: bool) -> io::Result<()> {
        let mut records = self.lock();
        let mut changed = records.clone();
        match changed.iter_mut().find(|record| record.entry.index == entry.index) {
            Some(record) if record.decided || (record.entry == entry && !decided) => return Ok(()),
            Some(record) => *record = SkipRecord { entry, decided },
            None => changed.push(SkipRecord { entry, decided }),
        }
        let text = serde_json::to_vec_pretty(&changed).map_err(io::Error::other)?;
        write_durably(&self.file, &text)
            .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", self.file.display())))?;
        *records = changed;
        self.empty.store(false, Ordering::Release);
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Vec<SkipRecord>> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_decision_survives_a_restart_and_is_final() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("skipped.json");
        let entry = |index, digest: &str| SkipEntry { index, digest: digest.to_owned() };
        let records = SkipRecords::open(file.clone()).unwrap();
        assert!(records.are_empty());
        records.record(entry(3, "aa"), false).unwrap();
        records.record(entry(5, "bb"), false).unwrap();
        records.record(entry(5, "bb"), true).unwrap();
        records.record(entry(5, "cc"), false).unwrap();

        let records = SkipRecords::open(file.clone()).unwrap();
        assert_eq!(records.get(3), Some(SkipRecord { entry: entry(3, "aa"), decided: false }));
        assert_eq!(records.get(5), Some(SkipRecord { entry: entry(5, "bb"), decided: true }));
        assert_eq!(records.get(4), None);
        assert!(!records.are_empty());
        assert_eq!(records.decided(), [entry(5, "bb")]);
        std::fs::write(&file, "{").unwrap();
        assert!(SkipRecords::open(file).is_err());
    }
}
