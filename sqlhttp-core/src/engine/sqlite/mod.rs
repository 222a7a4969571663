//! The only room with `unsafe`: what rusqlite does not offer, wrapped so that nothing outside can misuse it.
//!
//! * [`statement`]: prepared statements that are owned, not borrowed from their connection, with the tail of the text.
//! * [`clock`]: a VFS whose clock answers from the stamp of the batch that runs on this thread.
//! * [`full`]: notes whether a disk was full, and leaves a reserve of it; [`log_tail`]: cuts a write-ahead log behind its last commit.
//! * `faulty`, `observer` (with the feature `fault-injection`): a simulated disk, and the statements that run, for tests.
//! * [`memory`]: a VFS whose files live in this process's memory, for databases in memory.
//! * [`mod@file`], [`locks`]: what such VFSs share: the C face of an open file; its locks and its shared memory.
//! * [`functions`]: the SQL functions of the engine's connections; [`math`], [`text`], [`trim`], [`unhex`]: those that replace SQLite's own;
//!   [`scalar`]: how they are registered.
//! * [`heap`]: SQLite's allocator, with a limit for each run.
//! * [`compiled`]: what SQLite was compiled with.
//! * [`probe`]: small questions to a connection; [`pages`]: how much it reads.
//! * [`program`]: how much a prepared statement may do without a look at the interrupt flag.
//! * [`steps`]: counts the steps of the virtual machine alike on every node; [`triggers`]: ends statements whose triggers fire each other
//!   without end.
#![allow(unsafe_code)]

pub(crate) mod clock;
pub(crate) mod compiled;
#[cfg(feature = "fault-injection")]
pub(crate) mod faulty;
mod file;
pub(crate) mod full;
pub(crate) mod functions;
pub(crate) mod heap;
mod locks;
pub(crate) mod log_tail;
mod math;
pub(crate) mod memory;
#[cfg(feature = "fault-injection")]
pub(crate) mod observer;
pub(crate) mod pages;
pub(crate) mod probe;
pub(crate) mod program;
mod scalar;
pub(crate) mod statement;
pub(crate) mod steps;
mod text;
pub(crate) mod triggers;
mod trim;
mod unhex;
