//! The Raft log on disk: segments of frames, written by one thread, with one fsync for all queued operations.
//!
//! The log and the vote are durable before openraft receives their completion (section 3.8 of the Raft dissertation,
//! persisted state).
//!
//! # Why not a SQLite table
//!
//! A SQLite table would be less code. But SQLite silently ends a write-ahead log at the first frame with a wrong
//! checksum: a flipped bit in the middle would lose all entries after it, acknowledged or not. Here each frame contains
//! the length of the segment that was durable when the frame was written, so that recovery can distinguish damage from
//! a torn tail.
//!
//! # Format
//!
//! A directory of segments `0000000001.log`, …, each a header and then frames. All numbers are little-endian.
//!
//! ```text
//! header, 128 bytes:  magic "sqlhttpL", version u32 (2; 1 can be read), number u64 (as in the file's name),
//!                     the state before the segment (see `state`), zeros, CRC-32 of everything before it, u32
//! frame:              length of the body u32, kind u8, number of bytes of this segment that were durable when the
//!                     frame was written u32, CRC-32 of these three as u32, CRC-32 of the body as u32, body
//! kinds:              1 entry: index u64, term u64, tag u8 (0 blank, 1 command, 2 membership), bytes
//!                     2 truncate: index u64, term u64 of the last entry that remains; empty if none remains
//!                     3 purge: index u64, term u64 of the last purged entry
//!                     4 vote: term u64, node u64, committed u8
//!                     5 committed: index u64, term u64
//!                     6 end: another segment follows
//! ```
//!
//! Both CRCs of a frame also cover its segment's number and its offset, so that a frame at another place or from an
//! older file is not valid here. The bytes after the last frame are zeros.
//!
//! # Recovery
//!
//! A segment is created only when all segments before it are durable and end with an *end* frame. An invalid frame in
//! any but the last segment is therefore damage. In the last segment, an invalid frame is damage if a valid frame after
//! it says that this offset was durable, or if the database has applied the entry at this offset. Otherwise it is the
//! torn tail of a write that was never reported durable, and is cut off. Damage is never repaired here, because that
//! would lose acknowledged entries.
//!
//! Recovery syncs what it has read before it uses it: after a crash of the process alone, the tail may be in the page
//! cache only. A segment is removed only when all its entries are purged, so that a missing first segment is detected,
//! too.
//!
//! # Map
//!
//! | module | contents |
//! |---|---|
//! | `options` | options, errors and statistics |
//! | `frame`, `state`, `segment` | the format |
//! | `recovery` | reads and checks the log at the start |
//! | `memory` | the state, the location of every entry, and recent entries |
//! | `queue`, `writer` | the queued operations; the log thread, which writes them |
//! | `retry` | retries writes while the disk is full |
//! | `store` | the interface to openraft |
//! | `disk` | the file operations |

mod disk;
mod frame;
mod memory;
mod options;
mod queue;
mod recovery;
mod retry;
mod segment;
mod state;
mod store;
mod writer;

#[cfg(test)]
mod tests;

#[cfg(test)]
pub(crate) use options::LogStatus;
pub(crate) use options::{LogError, LogOptions};
pub(crate) use store::{CheckedLog, LogStore};
