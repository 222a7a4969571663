//! The log on disk: segments of frames, written by one thread, synced once for all that waits.
//!
//! # Why not a SQLite table
//!
//! It would be shorter. But SQLite ends a write-ahead log at the first frame whose checksum is wrong, silently: a flipped
//! bit in the middle would take everything behind it, acknowledged as it was. Here a frame knows how much was durable when
//! it was written, so damage can be told from a torn tail.
//!
//! # Format
//!
//! A directory of segments `0000000001.log`, …, each a header and then frames. All numbers are little-endian.
//!
//! ```text
//! header, 128 bytes:  magic "sqlhttpL", version u32 (2; 1 is read), number u64 (that of the file's name),
//!                     the state at this point (see `state`), zeros, CRC-32 of all before it, u32
//! frame:              length of the body u32, kind u8, how many bytes of this segment were durable when this was written u32,
//!                     CRC-32 of these u32, CRC-32 of the body u32, body
//! kinds:              1 entry: index u64, term u64, tag u8 (0 blank, 1 command, 2 membership), bytes
//!                     2 truncate: index u64, term u64 of the last entry that stays; nothing if none does
//!                     3 purge: index u64, term u64 of the last entry that is no more
//!                     4 vote: term u64, node u64, committed u8
//!                     5 committed: index u64, term u64
//!                     6 end: a segment follows
//! ```
//!
//! Both CRCs of a frame begin with its segment's number and its offset, so that nothing that stands elsewhere, or stood here
//! in another file, can be taken for it. Where no frame is, there are zeros.
//!
//! # Recovery
//!
//! A new segment is begun only when all before it are durable, and they end with an *end* frame. So an invalid frame in any
//! but the last segment is damage. In the last one it is damage if a valid frame behind it says that this place was durable
//! already, or if the database has applied what stood there; otherwise it is the tail of a write that was never reported durable, and is cut off. Damage is never repaired
//! here: acknowledged entries would be lost.
//!
//! What is found is synced before it is relied on: if only the process had ended, some of it may never have been. A segment is
//! removed only when all entries in it are purged, so that a missing first one is noticed too.
//!
//! # Map
//!
//! `frame`, `state`, `segment`: the format · `recovery`: reading it all at the start · `memory`: what is known of the log without
//! reading it · `writer`: the thread · `patience`: waiting for a full disk · `store`: openraft's view · `disk`: the files.

mod disk;
mod frame;
mod memory;
mod patience;
mod recovery;
mod segment;
mod state;
mod store;
mod writer;

#[cfg(test)]
mod tests;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub(crate) use store::{CheckedLog, LogStore};

use crate::Observe;
use disk::Disk;

/// How the log is kept.
#[derive(Clone)]
pub(crate) struct LogOptions {
    /// Where.
    pub(crate) directory: PathBuf,
    /// When a segment has this many bytes, the next is begun.
    pub(crate) segment_bytes: u32,
    /// How many bytes of recent entries are kept in memory.
    pub(crate) cache_bytes: usize,
    /// Told how long each sync took.
    pub(crate) on_sync: Option<Observe>,
    /// The files.
    disk: Arc<dyn Disk>,
}

impl LogOptions {
    pub(crate) fn new(directory: &Path) -> Self {
        LogOptions {
            directory: directory.to_owned(),
            segment_bytes: 16 << 20,
            cache_bytes: 2 << 20,
            on_sync: None,
            disk: Arc::new(disk::Files),
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
    fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> LogError {
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
