//! Values of SQLite's five storage classes (<https://sqlite.org/datatype3.html>), owned and borrowed.

use std::borrow::Cow;

/// A value for a parameter of a statement.
#[derive(Debug, Clone, PartialEq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Value {
    /// NULL.
    #[default]
    Null,
    /// A signed 64-bit integer.
    Integer(i64),
    /// A double-precision floating-point number (IEEE 754). SQLite stores NaN as NULL.
    Real(f64),
    /// Text, bound as UTF-8. It may contain NUL characters (<https://sqlite.org/nulinstr.html>).
    Text(String),
    /// A BLOB.
    Blob(Vec<u8>),
}

/// A value of a result, borrowed from the [`Block`](super::Block) that contains it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ValueRef<'a> {
    /// NULL.
    Null,
    /// A signed 64-bit integer.
    Integer(i64),
    /// A double-precision floating-point number (IEEE 754); it may be infinite but is never NaN.
    Real(f64),
    /// Text. It is usually valid UTF-8, but SQLite does not validate it (<https://sqlite.org/invalidutf.html>).
    Text(&'a [u8]),
    /// A BLOB.
    Blob(&'a [u8]),
}

impl<'a> From<&'a Value> for ValueRef<'a> {
    fn from(value: &'a Value) -> Self {
        match value {
            Value::Null => ValueRef::Null,
            Value::Integer(i) => ValueRef::Integer(*i),
            // SQLite has no NaN.
            Value::Real(r) if r.is_nan() => ValueRef::Null,
            Value::Real(r) => ValueRef::Real(*r),
            Value::Text(text) => ValueRef::Text(text.as_bytes()),
            Value::Blob(bytes) => ValueRef::Blob(bytes),
        }
    }
}

impl<'a> ValueRef<'a> {
    /// The name of the storage class: "NULL", "INTEGER", "REAL", "TEXT" or "BLOB", as SQLite's `typeof()` in capitals.
    pub fn storage_class(&self) -> &'static str {
        match self {
            ValueRef::Null => "NULL",
            ValueRef::Integer(_) => "INTEGER",
            ValueRef::Real(_) => "REAL",
            ValueRef::Text(_) => "TEXT",
            ValueRef::Blob(_) => "BLOB",
        }
    }

    /// The content of a TEXT value, with invalid UTF-8 replaced with U+FFFD; `None` for any other storage class.
    pub fn as_text(&self) -> Option<Cow<'a, str>> {
        match self {
            ValueRef::Text(bytes) => Some(String::from_utf8_lossy(bytes)),
            _ => None,
        }
    }

    /// The content of an INTEGER value; `None` for any other storage class.
    pub fn as_integer(&self) -> Option<i64> {
        match self {
            ValueRef::Integer(i) => Some(*i),
            _ => None,
        }
    }

    /// Returns an owned copy. Invalid UTF-8 in a TEXT value is replaced with U+FFFD.
    pub fn to_value(&self) -> Value {
        match self {
            ValueRef::Null => Value::Null,
            ValueRef::Integer(i) => Value::Integer(*i),
            ValueRef::Real(r) => Value::Real(*r),
            ValueRef::Text(bytes) => Value::Text(String::from_utf8_lossy(bytes).into_owned()),
            ValueRef::Blob(bytes) => Value::Blob(bytes.to_vec()),
        }
    }
}

macro_rules! value_from {
    ($($from:ty => $variant:ident($x:ident) $conversion:expr;)*) => {
        $(impl From<$from> for Value {
            fn from($x: $from) -> Self {
                Value::$variant($conversion)
            }
        })*
    };
}

value_from! {
    i64 => Integer(x) x;
    i32 => Integer(x) i64::from(x);
    i16 => Integer(x) i64::from(x);
    i8 => Integer(x) i64::from(x);
    u32 => Integer(x) i64::from(x);
    u16 => Integer(x) i64::from(x);
    u8 => Integer(x) i64::from(x);
    bool => Integer(x) i64::from(x);
    f64 => Real(x) x;
    f32 => Real(x) f64::from(x);
    &str => Text(x) x.to_owned();
    String => Text(x) x;
    Vec<u8> => Blob(x) x;
    &[u8] => Blob(x) x.to_vec();
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Value::Null, Into::into)
    }
}
