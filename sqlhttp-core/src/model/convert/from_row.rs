//! A row of a result, and its conversion to Rust values.

use std::fmt;

use smallvec::SmallVec;

use super::{ConversionError, FromValue};
use crate::model::{Block, Columns, RowRef, Rows, Value, ValueRef};

/// The number of columns up to which a [`Row`] needs no memory of its own.
const COLUMNS_ON_STACK: usize = 8;

/// A row of a result, with the names of its columns. Borrows from the result.
///
/// Creating a row reads all its values once. Reading a value by index takes constant time, by name a comparison with
/// the names of the columns before it.
#[derive(Debug, Clone)]
pub struct Row<'r> {
    columns: &'r Columns,
    values: SmallVec<[ValueRef<'r>; COLUMNS_ON_STACK]>,
}

impl<'r> Row<'r> {
    pub(crate) fn new(columns: &'r Columns, row: RowRef<'r>) -> Row<'r> {
        Row { columns, values: row.values().collect() }
    }

    /// Reads a value by the index of its column, counted from 0, or by the name of its column. Names are compared
    /// without regard to the case of ASCII letters, as SQLite compares them. If several columns have the name, the
    /// first one is read.
    ///
    /// ```
    /// # use sqlhttp_core::{Database, Error, Options};
    /// # let db = Database::open(":memory:", Options::default())?;
    /// let rows = db.blocking().query("SELECT 7 AS id, 'Ada' AS name", ())?;
    /// for row in rows.rows() {
    ///     assert_eq!(row.get::<i64>("id")?, 7);
    ///     assert_eq!(row.get::<&str>(1)?, "Ada");
    /// }
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    /// There is no such column, or the value cannot be converted to `T`.
    pub fn get<T: FromValue<'r>>(&self, column: impl ColumnIndex) -> Result<T, RowError> {
        let index = column.index(self.columns).filter(|index| *index < self.values.len());
        let Some(index) = index else { return Err(RowError::NoColumn { column: column.to_string() }) };
        T::from_value(self.values[index]).map_err(|source| RowError::Conversion { column: self.name(index), source })
    }

    /// The value of the column with this index, counted from 0; `None` if there is no such column.
    pub fn value(&self, index: usize) -> Option<ValueRef<'r>> {
        self.values.get(index).copied()
    }

    /// The values, in the order of the columns.
    pub fn values(&self) -> &[ValueRef<'r>] {
        &self.values
    }

    /// The columns.
    pub fn columns(&self) -> &'r Columns {
        self.columns
    }

    /// The name of a column in an error message.
    fn name(&self, index: usize) -> String {
        self.columns.get(index).map_or_else(|| index.to_string(), |column| column.name.clone())
    }
}

/// The index of a column, counted from 0, or its name. Programs cannot implement this trait.
pub trait ColumnIndex: fmt::Display + sealed::Sealed {
    /// Returns the index of the column; `None` if there is no such column.
    fn index(&self, columns: &Columns) -> Option<usize>;
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for usize {}
    impl Sealed for &str {}
    impl Sealed for &String {}
}

impl ColumnIndex for usize {
    fn index(&self, _columns: &Columns) -> Option<usize> {
        Some(*self)
    }
}

impl ColumnIndex for &str {
    fn index(&self, columns: &Columns) -> Option<usize> {
        columns.iter().position(|column| column.name.eq_ignore_ascii_case(self))
    }
}

impl ColumnIndex for &String {
    fn index(&self, columns: &Columns) -> Option<usize> {
        self.as_str().index(columns)
    }
}

/// The reason why a row cannot be converted to the Rust type that the caller has asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RowError {
    /// The result has no column with this name or index.
    #[error("the result has no column {column}")]
    NoColumn {
        /// The name or the index of the column.
        column: String,
    },
    /// A value cannot be converted.
    #[error("column {column}: {source}")]
    Conversion {
        /// The name of the column.
        column: String,
        /// The reason.
        source: ConversionError,
    },
    /// The result has no rows, and the caller has asked for one.
    #[error("the result has no rows")]
    NoRows,
    /// The result has several rows, and the caller has asked for at most one.
    #[error("the result has several rows, and one was asked for")]
    SeveralRows,
    /// The result is a number of changed rows, and the caller has asked for rows.
    #[error("the statement returns no rows")]
    NotRows,
    /// The row does not have the form that the type needs. The string is the reason.
    #[error("{0}")]
    Form(String),
}

/// A Rust type that can be read from a row of a result.
///
/// Tuples of up to 16 [`FromValue`] types read the columns by index. A [`FromValue`] type (`i64`, `String`,
/// `Option<f64>` and others) reads the first column. `Vec<Value>` reads all columns. Programs implement the trait for
/// their own types, or derive it (feature `derive`); the feature `serde` reads every type that implements
/// `serde::Deserialize`, by `Deserialized`.
pub trait FromRow: Sized {
    /// Reads a row.
    ///
    /// # Errors
    /// See [`RowError`].
    fn from_row(row: &Row<'_>) -> Result<Self, RowError>;
}

impl<T: for<'v> FromValue<'v>> FromRow for T {
    fn from_row(row: &Row<'_>) -> Result<Self, RowError> {
        row.get(0)
    }
}

impl FromRow for Vec<Value> {
    fn from_row(row: &Row<'_>) -> Result<Self, RowError> {
        Ok(row.values().iter().map(ValueRef::to_value).collect())
    }
}

macro_rules! tuples {
    ($(($($letter:ident $index:tt),+);)*) => {
        $(impl<$($letter: for<'v> FromValue<'v>),+> FromRow for ($($letter,)+) {
            fn from_row(row: &Row<'_>) -> Result<Self, RowError> {
                Ok(($(row.get::<$letter>($index)?,)+))
            }
        })*
    };
}

tuples! {
    (A 0);
    (A 0, B 1);
    (A 0, B 1, C 2);
    (A 0, B 1, C 2, D 3);
    (A 0, B 1, C 2, D 3, E 4);
    (A 0, B 1, C 2, D 3, E 4, F 5);
    (A 0, B 1, C 2, D 3, E 4, F 5, G 6);
    (A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7);
    (A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8);
    (A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9);
    (A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9, K 10);
    (A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9, K 10, L 11);
    (A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9, K 10, L 11, M 12);
    (A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9, K 10, L 11, M 12, N 13);
    (A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9, K 10, L 11, M 12, N 13, O 14);
    (A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9, K 10, L 11, M 12, N 13, O 14, P 15);
}

impl Rows {
    /// Iterates over the rows, with the names of their columns.
    pub fn rows(&self) -> impl Iterator<Item = Row<'_>> {
        self.iter().map(|row| Row::new(&self.columns, row))
    }

    /// Reads all rows.
    ///
    /// # Errors
    /// A row cannot be converted to `T`.
    pub fn read<T: FromRow>(&self) -> Result<Vec<T>, RowError> {
        self.rows().map(|row| T::from_row(&row)).collect()
    }

    /// Reads the only row; `None` if there is none.
    ///
    /// # Errors
    /// There are several rows, or the row cannot be converted to `T`.
    pub fn read_opt<T: FromRow>(&self) -> Result<Option<T>, RowError> {
        match self.len() {
            0 | 1 => self.rows().next().map(|row| T::from_row(&row)).transpose(),
            _ => Err(RowError::SeveralRows),
        }
    }

    /// Reads the only row.
    ///
    /// # Errors
    /// There is no row or several, or the row cannot be converted to `T`.
    pub fn read_one<T: FromRow>(&self) -> Result<T, RowError> {
        self.read_opt()?.ok_or(RowError::NoRows)
    }
}

/// The rows of a block, read one by one. Owns the block, so that it can be kept between two calls.
#[derive(Debug, Default)]
pub(in crate::model) struct BlockCursor {
    block: Block,
    /// The position of the next row in the block, in bytes.
    position: usize,
    left: usize,
}

impl BlockCursor {
    pub(crate) fn new(block: Block) -> BlockCursor {
        BlockCursor { position: 0, left: block.len(), block }
    }

    /// Reads the next row; `None` after the last one.
    pub(crate) fn next<T: FromRow>(&mut self, columns: &Columns) -> Option<Result<T, RowError>> {
        self.left = self.left.checked_sub(1)?;
        let (row, next) = self.block.row_at(self.position);
        self.position = next;
        Some(T::from_row(&Row::new(columns, row)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Changed, Column};

    fn rows(names: &[&str], rows: &[&[ValueRef<'_>]]) -> Rows {
        let columns = names.iter().map(|name| Column { name: (*name).to_owned(), ..Column::default() }).collect();
        let mut block = Block::new(names.len());
        rows.iter().for_each(|row| block.push_row(row.iter().copied()));
        Rows { columns, blocks: vec![block], changed: Changed::default() }
    }

    #[test]
    fn values_are_read_by_index_and_by_name() {
        let rows = rows(&["id", "Name", "id"], &[&[ValueRef::Integer(7), ValueRef::Text(b"Ada"), ValueRef::Null]]);
        let row = rows.rows().next().unwrap();
        assert_eq!(row.get(0), Ok(7_u8));
        assert_eq!(row.get("ID"), Ok(7_i64));
        assert_eq!(row.get("name"), Ok("Ada"));
        assert_eq!(row.get(2), Ok(None::<i64>));
        let error = row.get::<i64>("nam").unwrap_err();
        assert_eq!(error.to_string(), "the result has no column nam");
        assert_eq!(row.get::<i64>(3).unwrap_err().to_string(), "the result has no column 3");
        let error = row.get::<i64>("name").unwrap_err();
        assert_eq!(error.to_string(), "column Name: i64 was asked for, and the value is TEXT");
    }

    #[test]
    fn rows_are_read_into_tuples_and_values() {
        let rows = rows(
            &["a", "b"],
            &[&[ValueRef::Integer(1), ValueRef::Text(b"x")], &[ValueRef::Integer(2), ValueRef::Text(b"y")]],
        );
        assert_eq!(rows.read::<(i64, String)>().unwrap(), [(1, "x".to_owned()), (2, "y".to_owned())]);
        assert_eq!(rows.read::<u8>().unwrap(), [1, 2]);
        assert_eq!(rows.read::<Vec<Value>>().unwrap()[1], [Value::Integer(2), Value::Text("y".to_owned())]);
        assert_eq!(rows.read_one::<u8>(), Err(RowError::SeveralRows));
    }

    #[test]
    fn a_cursor_reads_the_rows_of_a_block_one_by_one() {
        let all =
            [ValueRef::Null, ValueRef::Integer(1), ValueRef::Real(0.5), ValueRef::Text(b"xyz"), ValueRef::Blob(b"")];
        let rows = rows(&["a", "b", "c", "d", "e"], &[&all, &all[1..], &all]);
        let mut cursor = BlockCursor::new(rows.blocks[0].clone());
        let read: Vec<Vec<Value>> = std::iter::from_fn(|| cursor.next(&rows.columns)).map(Result::unwrap).collect();
        assert_eq!(read, rows.read::<Vec<Value>>().unwrap());
        assert_eq!(read.len(), 3);
    }

    #[test]
    fn one_row_or_none() {
        let none = rows(&["a"], &[]);
        assert_eq!(none.read_opt::<i64>(), Ok(None));
        assert_eq!(none.read_one::<i64>(), Err(RowError::NoRows));
        let one = rows(&["a"], &[&[ValueRef::Null]]);
        assert_eq!(one.read_opt::<Option<i64>>(), Ok(Some(None)));
    }
}
