//! Finds damage in a database with SQLite's integrity check (<https://sqlite.org/pragma.html#pragma_integrity_check>).
//!
//! * [`check`]: runs the check on a connection; also used for files that no other process uses, such as a backup before
//!   it is published.
//! * [`live`]: checks the open database in the background, at a limited rate.
//! * [`report`]: the options and the result of the check of an open database.

pub(super) mod check;
pub(super) mod live;
pub(super) mod report;
