//! The only module with `unsafe` code: safe wrappers around the functions of SQLite's C API that rusqlite does not
//! provide.
//!
//! * [`statement`]: prepared statements that do not borrow their connection, and that report where the statement ends
//!   in its SQL text.
//! * [`clock`]: a VFS that takes the current time from the stamp of the batch that runs on the calling thread.
//! * [`local_time`]: the time zone of `localtime` and `utc`.
//! * [`full`]: records whether a disk was full, and keeps a reserve of free space on the disk.
//! * [`log_tail`]: truncates a write-ahead log after its last commit.
//! * `faulty`, `observer` (with the feature `fault-injection`): for tests: a simulated disk; a callback for each
//!   statement that runs.
//! * [`memory`]: a VFS for databases in the memory of this process.
//! * [`mod@file`], [`locks`]: the C functions of an open file; file locks and shared memory. `faulty` and [`memory`]
//!   use both.
//! * [`functions`]: registers the SQL functions of the engine on a connection.
//! * [`math`], [`text`], [`trim`], [`unhex`]: SQL functions that replace built-in ones; [`scalar`]: registers them with
//!   SQLite.
//! * [`heap`]: a memory allocator for SQLite, with a limit for each run of a batch.
//! * [`compiled`]: checks the compile-time options of the linked SQLite.
//! * [`probe`]: small queries of a connection's state; [`pages`]: the number of pages that a connection has read.
//! * [`row_hook`]: reports the rows that a connection writes.
//! * [`program`]: the amount of work that a prepared statement does between two checks of the interrupt flag.
//! * [`steps`]: counts virtual-machine steps identically on every node; [`triggers`]: stops statements whose triggers
//!   fire each other too often.
#![allow(unsafe_code)]

pub(crate) mod clock;
pub(crate) mod compiled;
pub(crate) mod extension;
#[cfg(feature = "fault-injection")]
pub(crate) mod faulty;
mod file;
pub(crate) mod full;
pub(crate) mod functions;
pub(crate) mod heap;
pub(crate) mod local_time;
mod locks;
pub(crate) mod log_tail;
mod math;
pub(crate) mod memory;
#[cfg(feature = "fault-injection")]
pub(crate) mod observer;
pub(crate) mod pages;
pub(crate) mod probe;
pub(crate) mod program;
pub(crate) mod row_hook;
mod scalar;
pub(crate) mod statement;
mod step_frame;
pub(crate) mod steps;
mod text;
pub(crate) mod triggers;
mod trim;
mod unhex;
