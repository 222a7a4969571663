//! The type for the changes that a statement made.

/// The changes that a statement made itself, without those of its triggers and foreign-key actions
/// (<https://sqlite.org/c3ref/changes.html>).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Changed {
    /// The number of changed rows; 0 for anything but INSERT, REPLACE, UPDATE and DELETE.
    pub rows: u64,
    /// The rowid of the last row that an INSERT or REPLACE added; `None` if the statement added no row with a rowid.
    pub last_insert_id: Option<i64>,
}
