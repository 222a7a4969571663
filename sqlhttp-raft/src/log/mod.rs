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
mod options;
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
