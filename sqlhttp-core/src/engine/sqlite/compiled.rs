//! Checks the compile-time options of the linked SQLite (<https://sqlite.org/compile.html>) on which clients depend.
//!
//! Cargo does not let a package set the compiler flags of a C library that it depends on. This repository sets the
//! flags in `.cargo/config.toml`. Other workspaces and `cargo install` do not read that file, so their SQLite may lack
//! features.

use std::ffi::CStr;

use rusqlite::ffi;

/// A feature of SQLite that is available only if SQLite was compiled with a certain flag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Feature {
    /// The name of the feature ("geopoly").
    pub name: &'static str,
    /// The functions that clients cannot use without the feature, as a text.
    pub provides: &'static str,
    /// The flag for compiling SQLite, in the syntax of the environment variable `LIBSQLITE3_FLAGS`.
    pub flag: &'static str,
}

impl std::fmt::Display for Feature {
    /// Writes a warning for the operator about the missing feature.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Feature { name, provides, flag } = self;
        write!(f, "SQLite was compiled without {name}: {provides}; build with LIBSQLITE3_FLAGS={flag}")
    }
}

/// Each feature with the compile-time option that indicates it (<https://sqlite.org/c3ref/compileoption_get.html>).
const FEATURES: [(Feature, &CStr); 9] = [
    (feature("fts3", "full-text search with fts3 and fts4", "SQLITE_ENABLE_FTS3"), c"ENABLE_FTS3"),
    (feature("fts5", "full-text search with fts5", "SQLITE_ENABLE_FTS5"), c"ENABLE_FTS5"),
    (feature("rtree", "virtual tables of the module rtree", "SQLITE_ENABLE_RTREE"), c"ENABLE_RTREE"),
    (
        feature("geopoly", "virtual tables of the module geopoly, geopoly_*()", "SQLITE_ENABLE_GEOPOLY"),
        c"ENABLE_GEOPOLY",
    ),
    (feature("dbstat", "the virtual table dbstat", "SQLITE_ENABLE_DBSTAT_VTAB"), c"ENABLE_DBSTAT_VTAB"),
    (feature("stat4", "statistics of ANALYZE in sqlite_stat4", "SQLITE_ENABLE_STAT4"), c"ENABLE_STAT4"),
    (feature("soundex", "soundex()", "SQLITE_SOUNDEX"), c"SOUNDEX"),
    (
        feature("column_metadata", "the table of a result's column", "SQLITE_ENABLE_COLUMN_METADATA"),
        c"ENABLE_COLUMN_METADATA",
    ),
    (feature("attach_125", "more than 10 attached files at a time", "SQLITE_MAX_ATTACHED=125"), c"MAX_ATTACHED=125"),
];

const fn feature(name: &'static str, provides: &'static str, flag: &'static str) -> Feature {
    Feature { name, provides, flag }
}

/// Returns the features that the linked SQLite lacks because it was compiled without their flags. The result is empty
/// in a build of this repository; the crate's `README.md` explains how to set the flags in other builds. A server
/// should log the result when it starts.
///
/// Functions that this crate provides itself (`sqrt()` and the other math functions) need no flag.
pub fn missing_features() -> Vec<Feature> {
    FEATURES.into_iter().filter(|(_, option)| !is_used(option)).map(|(feature, _)| feature).collect()
}

fn is_used(option: &CStr) -> bool {
    // SAFETY: the name is NUL-terminated, and SQLite only reads it.
    unsafe { ffi::sqlite3_compileoption_used(option.as_ptr()) != 0 }
}
