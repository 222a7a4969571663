//! The options, errors and statistics of the log.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::disk::{self, Disk};
use crate::observer::{NoObserver, Observer};

/// The options of the log.
#[derive(Clone)]
pub(crate) struct LogOptions {
    /// The directory that contains the segments of the log.
    pub(crate) directory: PathBuf,
    /// The length of a segment, in bytes, from which the next frame goes to a new segment.
    pub(crate) segment_bytes: u32,
    /// The maximum total size of the recent entries that are cached in memory, in bytes. Followers that keep up are
    /// sent entries from the cache. A leader that writes 30 MiB/s of decoded entries fills the default of 16 MiB in
    /// half a second, which is more than a follower lags in ordinary operation. In a cluster of one node, an eighth of
    /// this size is used, because only the state machine reads the entries, immediately after they were written.
    pub(crate) cache_bytes: usize,
    /// Receives the events of the log and the duration of each sync.
    pub(crate) observer: Arc<dyn Observer>,
    /// The implementation of the file operations.
    pub(super) disk: Arc<dyn Disk>,
}

/// The share of [`LogOptions::cache_bytes`] that a cluster of one node uses is one over this number.
pub(super) const SOLE_CACHE_DIVISOR: usize = 8;

impl LogOptions {
    pub(crate) fn new(directory: &Path) -> Self {
        LogOptions {
            directory: directory.to_owned(),
            segment_bytes: disk::segment_bytes(),
            cache_bytes: 16 << 20,
            observer: Arc::new(NoObserver),
            disk: disk::current(),
        }
    }
}

/// Why a log cannot be opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LogError {
    /// Another process has opened the log.
    #[error("the log is in use by another process")]
    InUse,
    /// A file operation failed. `action` is the operation.
    #[error("{action} {}: {source}", path.display())]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    /// Durable data of the log is missing or damaged. It is not repaired, because a repair would lose acknowledged
    /// entries.
    #[error(
        "{} is damaged at offset {offset}: {what}. If the directory was copied while its node ran, stop the node and copy it \
         again; otherwise restore this node from a backup",
        file.display()
    )]
    Corrupt { file: PathBuf, offset: u64, what: String },
    /// The log no longer contains the entries that the database must apply next: the database file is missing or old.
    #[error(
        "the database has {applied} entries of the log applied, but the log begins behind {purged}: the database file is \
         missing or an old one. Restore this node from a backup"
    )]
    Behind { applied: u64, purged: u64 },
    /// The log has a format version that this program does not support. A newer program has written the log.
    #[error("{} has format version {found}; this program knows {known}", file.display())]
    Version { file: PathBuf, found: u32, known: u32 },
}

impl LogError {
    pub(super) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> LogError {
        let path = path.to_owned();
        move |source| LogError::Io { action, path, source }
    }
}

/// The statistics of the log. Indexes are counted from 1.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct LogStatus {
    /// The index of the first entry that the log contains; 0 if it contains no entry.
    pub(crate) first_index: u64,
    /// The index of the last entry of the log, even if that entry has been purged; 0 if no entry was ever written.
    pub(crate) last_index: u64,
    /// The term of the last entry of the log; 0 if no entry was ever written.
    pub(crate) last_term: u64,
    /// The index of the last entry that has been purged; 0 if none has.
    pub(crate) purged_index: u64,
    /// The size of all segments on disk, in bytes.
    pub(crate) bytes_on_disk: u64,
    /// The number of times that the log has been synced since it was opened.
    pub(crate) fsyncs: u64,
    /// The total duration of the syncs of the log since it was opened, in nanoseconds.
    pub(crate) fsync_nanos_total: u64,
    /// The number of entries appended since the log was opened.
    pub(crate) appended_entries: u64,
}
