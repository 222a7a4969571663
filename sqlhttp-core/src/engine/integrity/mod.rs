//! Finds damage in a database with SQLite's integrity check (<https://sqlite.org/pragma.html#pragma_integrity_check>).
//!
//! * [`check`]: checks a file that no other process uses, such as a backup before it is published.
//! * [`live`]: checks the open database in the background, at a limited rate.
//! * [`report`]: the result of that check.

pub(super) mod check;
pub(super) mod live;
pub(super) mod report;
