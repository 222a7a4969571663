//! The Raft log on disk: a sequence of segment files, which consist of frames. One thread writes them, with one fsync
//! for all queued operations.
//!
//! Entries and votes are durable before openraft is notified of that (section 3.8 of the Raft dissertation, persisted
//! state).
//!
//! # Why not a SQLite table
//!
//! A SQLite table would require less code. But SQLite silently ends a write-ahead log at the first frame with a wrong
//! checksum: a flipped bit in the middle would lose all later entries, including acknowledged ones. In the format of
//! this module, each frame records how many bytes of its segment were durable when the frame was written. Recovery uses
//! this to distinguish damage from a torn tail.
//!
//! # Format
//!
//! The log is a directory of segments `0000000001.log`, `0000000002.log`, …. Each segment is a header followed by
//! frames. All numbers are little-endian.
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
//! The file `vote` contains the last vote in two slots of 64 bytes, at the offsets 0 and 4096, which are written
//! alternately. Each vote is in a frame and in the file, because a lost vote could make this node vote twice in a term.
//!
//! ```text
//! slot, 64 bytes:     magic "sqlhttpV", version u32 (1), sequence number u64: odd in the slot at 4096, even in the
//!                     other; vote as in a frame, zeros, CRC-32 of everything before it, u32
//! ```
//!
//! Both CRCs of a frame also cover the number of its segment and its offset. A frame at another offset or from another
//! segment is therefore invalid. The bytes after the last frame are zeros.
//!
//! # Recovery
//!
//! A segment is created only when all segments before it are durable and end with an *end* frame. Therefore an invalid
//! frame in any segment but the last is damage. In the last segment, an invalid frame is damage if one of these is
//! true:
//!
//! * A valid frame after it records that this offset was durable.
//! * The database has applied the entry at this offset.
//! * No part of the frame in a sector of 512 bytes consists of zeros. A torn write leaves such a part, because sectors
//!   are written as a whole, and segments are filled with zeros.
//!
//! Otherwise it is the torn tail of a write that was never reported durable, and is removed. Recovery never repairs
//! damage, because a repair would lose acknowledged entries.
//!
//! The frame of a vote is durable before its slot is written. So if one slot is torn, the segments contain its vote. If
//! the segments contain an older vote than the file, the last frame was lost, and the vote is taken from the file.
//!
//! Recovery syncs what it has read before the log is used: if only the process was killed, the tail may be in the page
//! cache only. A segment is removed only when all its entries are durably purged, so recovery can also detect a missing
//! first segment. Purged segments that a crash has left behind are read like others, and removed afterwards.
//!
//! A follower that installs a snapshot of another node has a database that is ahead of its log until the log is purged.
//! After a power cut in between, the log is reset at the start: see `CheckedLog::open`.
//!
//! # Map
//!
//! | module | contents |
//! |---|---|
//! | `options` | options, errors and statistics |
//! | `frame`, `state`, `segment` | the format |
//! | `reader` | reads and checks the segments when the node is started |
//! | `recovery` | makes the log ready for writing after that |
//! | `votes` | the file `vote` |
//! | `memory` | the part of the log in memory: its state, the location of every entry, and recent entries |
//! | `durable` | the index of the last durable entry |
//! | `queue`, `writer` | the queued operations; the log thread, which writes them |
//! | `task` | the task that takes the place of the log thread in a simulation |
//! | `retry` | retries file operations while the disk is full |
//! | `store` | opens and closes the log |
//! | `raft_storage` | the interface to openraft |
//! | `disk` | the file operations |
//! | `simulated` | a disk in memory, for tests and simulations |

pub(crate) mod disk;
mod durable;
mod frame;
mod memory;
mod options;
mod queue;
mod raft_storage;
mod reader;
mod recovery;
mod retry;
mod segment;
#[cfg(any(test, feature = "sim"))]
#[cfg_attr(not(test), expect(dead_code, reason = "the simulation needs fewer faults than the tests of the log"))]
pub(crate) mod simulated;
mod state;
mod store;
#[cfg(feature = "sim")]
mod task;
mod votes;
mod writer;

#[cfg(test)]
mod tests;

#[cfg(test)]
pub(crate) use options::LogStatus;
pub(crate) use options::{LogError, LogOptions};
pub(crate) use retry::can_pass;
pub(crate) use store::{CheckedLog, LogStore};
