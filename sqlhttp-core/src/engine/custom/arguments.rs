//! The arguments of a call of an SQL function.

use rusqlite::functions::Context;
use rusqlite::types::{ToSqlOutput, Value as SqliteValue, ValueRef as SqliteRef};

use crate::model::{FromValue, IntoValue, Value, ValueRef};

/// The error of an SQL function. The statement that calls the function fails with the text of the error.
pub type FunctionError = Box<dyn std::error::Error + Send + Sync>;

/// The arguments of a call of an SQL function.
pub struct Arguments<'a> {
    context: &'a Context<'a>,
}

impl std::fmt::Debug for Arguments<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl<'a> Arguments<'a> {
    pub(super) fn new(context: &'a Context<'a>) -> Arguments<'a> {
        Arguments { context }
    }

    /// The number of arguments.
    pub fn len(&self) -> usize {
        self.context.len()
    }

    /// Whether there are no arguments.
    pub fn is_empty(&self) -> bool {
        self.context.is_empty()
    }

    /// Converts the argument with this index, counted from 0.
    ///
    /// # Errors
    /// There is no such argument, or it cannot be read as `T`: see [`FromValue`].
    pub fn get<T: FromValue<'a>>(&self, index: usize) -> Result<T, FunctionError> {
        let value = self.value(index).ok_or_else(|| format!("argument {} is missing", index + 1))?;
        T::from_value(value).map_err(|error| format!("argument {}: {error}", index + 1).into())
    }

    /// The argument with this index, counted from 0; `None` if there is no such argument.
    pub fn value(&self, index: usize) -> Option<ValueRef<'a>> {
        (index < self.len()).then(|| value_ref(self.context.get_raw(index)))
    }

    /// The arguments.
    pub fn iter(&self) -> impl Iterator<Item = ValueRef<'a>> + '_ {
        (0..self.len()).filter_map(|index| self.value(index))
    }
}

fn value_ref(value: SqliteRef<'_>) -> ValueRef<'_> {
    match value {
        SqliteRef::Null => ValueRef::Null,
        SqliteRef::Integer(integer) => ValueRef::Integer(integer),
        SqliteRef::Real(real) => ValueRef::Real(real),
        SqliteRef::Text(text) => ValueRef::Text(text),
        SqliteRef::Blob(blob) => ValueRef::Blob(blob),
    }
}

/// Converts the result of a function.
///
/// # Errors
/// SQLite has no value for it.
pub(super) fn result_value(result: impl IntoValue) -> rusqlite::Result<ToSqlOutput<'static>> {
    Ok(ToSqlOutput::Owned(match result.into_value().map_err(|error| failed(error.into()))? {
        Value::Null => SqliteValue::Null,
        Value::Integer(integer) => SqliteValue::Integer(integer),
        Value::Real(real) => SqliteValue::Real(real),
        Value::Text(text) => SqliteValue::Text(text),
        Value::Blob(blob) => SqliteValue::Blob(blob),
    }))
}

/// The error of a function, as an error of rusqlite.
pub(super) fn failed(error: FunctionError) -> rusqlite::Error {
    rusqlite::Error::UserFunctionError(error)
}
