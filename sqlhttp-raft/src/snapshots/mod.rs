//! Snapshots as files: copies of the database that a leader sends to a follower whose next entries are no longer in the
//! Raft log (chapter 5 of the Raft dissertation).
//!
//! 1. The leader copies its database to a file ([`Exports`]). Followers that need a snapshot at the same time share the
//!    copy. The copy contains its own index, so writes go on meanwhile.
//! 2. It sends the file in chunks ([`send`]). The follower appends them to a file of its own ([`Receiver`]) and syncs
//!    it regularly. A transfer that was interrupted, also by a crash of the follower, continues where it ended.
//! 3. The follower checks the file, records durably that it is going to install it ([`InstallRecord`]), and replaces
//!    its database file. A start after a crash in between completes the installation.

mod export;
mod receive;
mod record;
mod send;

pub(crate) use export::Exports;
pub(crate) use receive::Receiver;
pub(crate) use record::InstallRecord;
pub(crate) use send::{BeginCall, ChunkCall, InstallCall, send};

/// The beginning of the names of files into which snapshots are received.
pub(crate) const DOWNLOAD_PREFIX: &str = "db.sqlite-download-";
/// The beginning of the names of loaded files that become the database.
pub(crate) const LOADED_PREFIX: &str = "db.sqlite-load-";
/// The beginning of the names of the copies that are sent to followers.
pub(crate) const EXPORT_PREFIX: &str = "snapshot-";
/// The maximum length of a chunk, in bytes.
pub(crate) const CHUNK_BYTES: usize = 1 << 20;
/// The number of bytes after which the receiver syncs the file. Only a multiple of it is known to be durable after a
/// crash.
pub(crate) const SYNC_BYTES: u64 = 4 << 20;
