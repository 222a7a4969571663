//! Results as a tape: one byte buffer with tags and values, filled while SQLite steps and read elsewhere.
//!
//! A tape costs the SQLite thread little more than looking at the columns, and it is the same for every protocol.
//! A value is a tag byte and what follows from it: nothing (NULL), eight bytes (INTEGER, REAL; little-endian), or a
//! four-byte length and that many bytes (TEXT, BLOB).

use std::sync::Arc;

use super::{Changed, StepOutcome, ValueRef};

const NULL: u8 = 0;
const INTEGER: u8 = 1;
const REAL: u8 = 2;
const TEXT: u8 = 3;
const BLOB: u8 = 4;

/// A column of a result.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Column {
    /// Its name, exactly as SQLite reports it.
    pub name: String,
    /// The declared type, if the column comes straight from a table's column.
    pub decl_type: Option<String>,
    /// The table it comes from, if it comes straight from one.
    pub table: Option<String>,
}

/// The columns of a result.
pub type Columns = [Column];

/// The rows a step yielded.
#[derive(Debug, Clone, PartialEq)]
pub struct Rows {
    /// The columns; none for a statement that yields none (DDL, or DML without RETURNING).
    pub columns: Arc<Columns>,
    /// The rows, in order.
    pub blocks: Vec<Block>,
    /// What the statement changed besides (RETURNING).
    pub changed: Changed,
}

impl Rows {
    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.blocks.iter().map(Block::len).sum()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The rows, in order.
    pub fn iter(&self) -> impl Iterator<Item = RowRef<'_>> {
        self.blocks.iter().flat_map(Block::rows)
    }
}

impl StepOutcome {
    /// Puts blocks that were told earlier in front of the rows of this outcome; no effect on any other outcome.
    pub fn prepend_blocks(&mut self, mut earlier: Vec<Block>) {
        if let StepOutcome::Rows(rows) = self
            && !earlier.is_empty()
        {
            earlier.append(&mut rows.blocks);
            rows.blocks = earlier;
        }
    }
}

/// Some rows of a result.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Block {
    tape: Vec<u8>,
    rows: usize,
    columns: usize,
}

/// Room for the row of a result that has one row.
const FIRST_ROW_BYTES: usize = 256;
/// With this many rows it is likely that there are many more,
const MANY_ROWS: usize = 32;
/// and room for so many bytes is made at once.
const MANY_ROWS_BYTES: usize = 60 << 10;

impl Block {
    /// An empty block for rows of this many columns.
    pub fn new(columns: usize) -> Self {
        Block { tape: Vec::new(), rows: 0, columns }
    }

    /// How many rows it holds.
    pub fn len(&self) -> usize {
        self.rows
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// How many bytes the tape has.
    pub fn byte_len(&self) -> usize {
        self.tape.len()
    }

    /// Appends a row. It must have as many values as the block has columns; further ones are dropped, missing ones
    /// are NULL.
    pub fn push_row<'v>(&mut self, values: impl IntoIterator<Item = ValueRef<'v>>) {
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
        // SQLite's own limit on a value is 2^31-1 bytes, so the length always fits.
        let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        let [a, b, c, d] = len.to_le_bytes();
        self.tape.extend_from_slice(&[tag, a, b, c, d]);
        self.tape.extend_from_slice(&bytes[..len as usize]);
    }

    /// All values of all rows, one after the other: the quickest way to read a block.
    pub fn values(&self) -> Values<'_> {
        Values { tape: &self.tape, left: self.rows * self.columns }
    }

    /// The rows, in order.
    pub fn rows(&self) -> BlockRows<'_> {
        BlockRows { tape: &self.tape, left: self.rows, columns: self.columns }
    }
}

/// Iterates over the rows of a [`Block`].
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

/// One row.
#[derive(Debug, Clone, Copy)]
pub struct RowRef<'a> {
    tape: &'a [u8],
    columns: usize,
}

impl<'a> RowRef<'a> {
    /// The values, in column order.
    pub fn values(&self) -> Values<'a> {
        Values { tape: self.tape, left: self.columns }
    }

    /// The value of a column, counted from 0.
    pub fn get(&self, column: usize) -> Option<ValueRef<'a>> {
        self.values().nth(column)
    }
}

/// Iterates over the values of a row.
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
