//! Result rows, stored in one contiguous buffer (the *tape*) of tags and values.
//!
//! The thread that runs the statement only copies the column values to the tape; other threads decode the tape. The
//! format of the tape is the same for all protocols. A value is a tag byte followed by its content: nothing for NULL,
//! eight little-endian bytes for INTEGER and REAL, a four-byte little-endian length and that many bytes for TEXT and
//! BLOB.

#[cfg(feature = "serde")]
mod encoding;

use std::sync::Arc;

use super::{Changed, ValueRef};

const NULL: u8 = 0;
const INTEGER: u8 = 1;
const REAL: u8 = 2;
const TEXT: u8 = 3;
const BLOB: u8 = 4;

/// A column of a result.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Column {
    /// The name of the column, exactly as SQLite reports it (`sqlite3_column_name`).
    pub name: String,
    /// The declared type of the column (<https://sqlite.org/c3ref/column_decltype.html>); `None` if the result column
    /// is an expression and not directly a column of a table.
    pub decl_type: Option<String>,
    /// The name of the table that contains the column (<https://sqlite.org/c3ref/column_database_name.html>); `None` if
    /// the result column is not directly a column of a table.
    pub table: Option<String>,
}

/// The columns of a result.
pub type Columns = [Column];

/// The rows that a step returned.
///
/// Deserialization fails unless every block has as many columns as `columns`.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(try_from = "encoding::UncheckedRows")
)]
pub struct Rows {
    /// The columns; empty for a statement without result columns (DDL, or INSERT, UPDATE and DELETE without RETURNING).
    pub columns: Arc<Columns>,
    /// The rows, in order.
    pub blocks: Vec<Block>,
    /// The changes that the statement made. Only a statement with RETURNING has both rows and changes.
    pub changed: Changed,
}

impl Rows {
    /// The number of rows.
    pub fn len(&self) -> usize {
        self.blocks.iter().map(Block::len).sum()
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Iterates over the rows, in order.
    pub fn iter(&self) -> impl Iterator<Item = RowRef<'_>> {
        self.blocks.iter().flat_map(Block::rows)
    }
}

/// A sequence of consecutive rows of a result. Large results consist of several blocks.
///
/// A block is serialized as its tape, rows and columns. Deserialization checks that the tape consists of exactly
/// `rows * columns` well-formed values. It fails otherwise, because the bytes may come from another machine.
#[derive(Debug, Clone, PartialEq, Default)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(try_from = "encoding::UncheckedBlock")
)]
pub struct Block {
    #[cfg_attr(feature = "serde", serde(serialize_with = "encoding::serialize_tape"))]
    tape: Vec<u8>,
    rows: usize,
    columns: usize,
}

/// The number of bytes that a block reserves for its first row; enough for most results of one row.
const FIRST_ROW_BYTES: usize = 256;
/// A block that reaches this number of rows is expected to become full, so it reserves [`MANY_ROWS_BYTES`].
const MANY_ROWS: usize = 32;
/// The number of bytes that a block reserves when it has [`MANY_ROWS`] rows.
const MANY_ROWS_BYTES: usize = 60 << 10;

impl Block {
    /// Creates an empty block for rows of `columns` columns.
    pub fn new(columns: usize) -> Self {
        Block { tape: Vec::new(), rows: 0, columns }
    }

    /// The number of rows.
    pub fn len(&self) -> usize {
        self.rows
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// The size of the encoded rows, in bytes.
    pub fn byte_len(&self) -> usize {
        self.tape.len()
    }

    /// The encoded rows.
    #[cfg(feature = "engine")]
    pub(crate) fn encoded(&self) -> &[u8] {
        &self.tape
    }

    /// Appends a row. Values beyond the block's number of columns are dropped; missing values become NULL. Does nothing
    /// if the block has no columns.
    pub fn push_row<'v>(&mut self, values: impl IntoIterator<Item = ValueRef<'v>>) {
        if self.columns == 0 {
            return;
        }
        if self.rows == 0 {
            self.tape.reserve(FIRST_ROW_BYTES);
        }
        let mut written = 0;
        for value in values.into_iter().take(self.columns) {
            self.push(value);
            written += 1;
        }
        for _ in written..self.columns {
            self.push(ValueRef::Null);
        }
        self.rows += 1;
        if self.rows == MANY_ROWS {
            self.tape.reserve(MANY_ROWS_BYTES);
        }
    }

    #[inline]
    fn push(&mut self, value: ValueRef<'_>) {
        match value {
            ValueRef::Null => self.tape.push(NULL),
            ValueRef::Integer(i) => self.push_number(INTEGER, i.to_le_bytes()),
            ValueRef::Real(r) => self.push_number(REAL, r.to_le_bytes()),
            ValueRef::Text(bytes) => self.push_bytes(TEXT, bytes),
            ValueRef::Blob(bytes) => self.push_bytes(BLOB, bytes),
        }
    }

    #[inline]
    fn push_number(&mut self, tag: u8, [a, b, c, d, e, f, g, h]: [u8; 8]) {
        self.tape.extend_from_slice(&[tag, a, b, c, d, e, f, g, h]);
    }

    #[inline]
    fn push_bytes(&mut self, tag: u8, bytes: &[u8]) {
        // SQLite limits a value to 2^31-1 bytes (<https://sqlite.org/limits.html>), so the length always fits.
        let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        let [a, b, c, d] = len.to_le_bytes();
        self.tape.extend_from_slice(&[tag, a, b, c, d]);
        self.tape.extend_from_slice(&bytes[..len as usize]);
    }

    /// Iterates over all values of all rows, row by row. This is the fastest way to read a block.
    pub fn values(&self) -> Values<'_> {
        Values { tape: &self.tape, left: self.rows * self.columns }
    }

    /// The row at a position in the tape, and the position of the next one.
    pub(crate) fn row_at(&self, position: usize) -> (RowRef<'_>, usize) {
        let row = RowRef { tape: self.tape.get(position..).unwrap_or_default(), columns: self.columns };
        let mut values = row.values();
        values.by_ref().for_each(drop);
        (row, self.tape.len() - values.tape.len())
    }

    /// Iterates over the rows, in order.
    pub fn rows(&self) -> BlockRows<'_> {
        BlockRows { tape: &self.tape, left: self.rows, columns: self.columns }
    }
}

/// An iterator over the rows of a [`Block`].
#[derive(Debug, Clone)]
pub struct BlockRows<'a> {
    tape: &'a [u8],
    left: usize,
    columns: usize,
}

impl<'a> Iterator for BlockRows<'a> {
    type Item = RowRef<'a>;

    fn next(&mut self) -> Option<RowRef<'a>> {
        if self.left == 0 {
            return None;
        }
        self.left -= 1;
        let row = RowRef { tape: self.tape, columns: self.columns };
        let mut values = row.values();
        values.by_ref().for_each(drop);
        self.tape = values.tape;
        Some(row)
    }
}

/// One row of a [`Block`].
#[derive(Debug, Clone, Copy)]
pub struct RowRef<'a> {
    tape: &'a [u8],
    columns: usize,
}

impl<'a> RowRef<'a> {
    /// Iterates over the values of the row, in column order.
    pub fn values(&self) -> Values<'a> {
        Values { tape: self.tape, left: self.columns }
    }

    /// The value of a column, counted from 0; `None` if there is no such column. This takes time proportional to
    /// `column`.
    pub fn get(&self, column: usize) -> Option<ValueRef<'a>> {
        self.values().nth(column)
    }
}

/// An iterator over the values of a row or of a [`Block`].
#[derive(Debug, Clone)]
pub struct Values<'a> {
    tape: &'a [u8],
    left: usize,
}

impl<'a> Values<'a> {
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (head, tail) = self.tape.split_at_checked(len)?;
        self.tape = tail;
        Some(head)
    }

    fn take_array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, tail) = self.tape.split_first_chunk::<N>()?;
        self.tape = tail;
        Some(*head)
    }

    fn take_bytes(&mut self) -> Option<&'a [u8]> {
        let len = u32::from_le_bytes(self.take_array()?);
        self.take(len as usize)
    }
}

impl<'a> Iterator for Values<'a> {
    type Item = ValueRef<'a>;

    fn next(&mut self) -> Option<ValueRef<'a>> {
        self.left = self.left.checked_sub(1)?;
        let [tag] = self.take_array()?;
        Some(match tag {
            INTEGER => ValueRef::Integer(i64::from_le_bytes(self.take_array()?)),
            REAL => ValueRef::Real(f64::from_le_bytes(self.take_array()?)),
            TEXT => ValueRef::Text(self.take_bytes()?),
            BLOB => ValueRef::Blob(self.take_bytes()?),
            _ => ValueRef::Null,
        })
    }
}
