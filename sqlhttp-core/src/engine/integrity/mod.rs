//! Finds damage in a database with SQLite's integrity check (<https://sqlite.org/pragma.html#pragma_integrity_check>).
//!
//! * [`check`]: a file that no other process uses, such as a backup before it is published.
//! * [`live`]: the open database, in the background, at a limited pace; [`report`]: what it reports.

pub(super) mod check;
pub(super) mod live;
pub(super) mod report;
