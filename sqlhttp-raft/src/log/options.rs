//! How a log is opened, why that can fail, and its figures.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::disk::{self, Disk};
use crate::observer::{NoObserver, Observer};

/// How the log is kept.
#[derive(Clone)]
pub(crate) struct LogOptions {
    /// Where.
    pub(crate) directory: PathBuf,
    /// When a segment has this many bytes, the next is begun.
    pub(crate) segment_bytes: u32,
    /// How many bytes of recent entries are kept in memory.
    pub(crate) cache_bytes: usize,
    /// Receives the log's events, and how long each sync took.
    pub(crate) observer: Arc<dyn Observer>,
    /// The files.
    pub(super) disk: Arc<dyn Disk>,
}

impl LogOptions {
    pub(crate) fn new(directory: &Path) -> Self {
        LogOptions {
            directory: directory.to_owned(),
            segment_bytes: 16 << 20,
            cache_bytes: 2 << 20,
            observer: Arc::new(NoObserver),
            disk: Arc::new(disk::SystemDisk),
        }
    }
}

/// Why a log cannot be opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LogError {
    /// Another process has it open.
    #[error("the log is in use by another process")]
    InUse,
    /// A file operation failed.
    #[error("{action} {}: {source}", path.display())]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    /// What was durable is not there any more. Nothing is repaired, for that would lose acknowledged entries.
    #[error(
        "{} is damaged at offset {offset}: {what}. If the directory was copied while its node ran, stop the node and copy it \
         again; otherwise restore this node from a backup",
        file.display()
    )]
    Corrupt { file: PathBuf, offset: u64, what: String },
    /// The database is older than the log's beginning, or is not there any more.
    #[error(
        "the database has {applied} entries of the log applied, but the log begins behind {purged}: the database file is \
         missing or an old one. Restore this node from a backup"
    )]
    Behind { applied: u64, purged: u64 },
    /// A newer program has written it.
    #[error("{} has format version {found}; this program knows {known}", file.display())]
    Version { file: PathBuf, found: u32, known: u32 },
}

impl LogError {
    pub(super) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> LogError {
        let path = path.to_owned();
        move |source| LogError::Io { action, path, source }
    }
}

/// The log in figures. Indexes are counted from 1.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct LogStatus {
    /// The first index that is there; 0 if none is.
    pub(crate) first_index: u64,
    /// The last index, purged or not; 0 if there never was one.
    pub(crate) last_index: u64,
    /// Its term.
    pub(crate) last_term: u64,
    /// The last index that has been purged.
    pub(crate) purged_index: u64,
    /// What the segments take on disk, bytes.
    pub(crate) bytes_on_disk: u64,
    /// Syncs since the start.
    pub(crate) fsyncs: u64,
    /// How long they took together, nanoseconds.
    pub(crate) fsync_nanos_total: u64,
    /// Entries appended since the start.
    pub(crate) appended_entries: u64,
}
