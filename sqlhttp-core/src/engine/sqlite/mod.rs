//! The only room with `unsafe`: what rusqlite does not offer, wrapped so that nothing outside can misuse it.
//!
//! * [`statement`]: prepared statements that are owned, not borrowed from their connection, with the tail of the text.
//! * [`clock`]: a VFS whose clock answers from the stamp of the batch that runs on this thread.
//! * `faulty` (with the feature `fault-injection`): a simulated disk, for tests.
//! * [`functions`]: SQL functions that answer from the stamp, or from what this batch alone has done.
//! * [`probe`]: small questions to a connection.
#![allow(unsafe_code)]

pub(crate) mod clock;
#[cfg(feature = "fault-injection")]
pub(crate) mod faulty;
pub(crate) mod functions;
pub(crate) mod probe;
pub(crate) mod statement;
