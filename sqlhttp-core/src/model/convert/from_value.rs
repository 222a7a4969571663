//! The conversion of result values to Rust values.

use std::borrow::Cow;
use std::rc::Rc;
use std::sync::Arc;

use crate::model::{Value, ValueRef};

/// The reason why a value of a result cannot be converted to the Rust type that the caller has asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConversionError {
    /// The value has another storage class.
    #[error("{wanted} was asked for, and the value is {found}")]
    Type {
        /// The Rust type that the caller has asked for.
        wanted: &'static str,
        /// The storage class of the value ("NULL", "INTEGER", "REAL", "TEXT", "BLOB").
        found: &'static str,
    },
    /// The value is an INTEGER outside of the range of the Rust type.
    #[error("{value} is outside of the range of {wanted}")]
    Range {
        /// The Rust type that the caller has asked for.
        wanted: &'static str,
        /// The value.
        value: i64,
    },
    /// The value is text that is not valid UTF-8 (<https://sqlite.org/invalidutf.html>).
    #[error("the text is not valid UTF-8")]
    Utf8,
    /// The value has the right storage class, but not the form that the Rust type needs. The string is the reason.
    #[error("{0}")]
    Form(String),
}

impl ConversionError {
    /// Creates the error for a value of another storage class than those that `T` can be read from.
    pub fn of_type<T>(found: ValueRef<'_>) -> ConversionError {
        ConversionError::Type { wanted: std::any::type_name::<T>(), found: found.storage_class() }
    }
}

/// A Rust type that can be read from a value of a result. Programs implement it for their own types. Types that borrow
/// from the result, such as `&str`, can be read from a [`Row`](super::Row) while it exists.
///
/// | Rust | SQLite |
/// |---|---|
/// | `i8` to `i128`, `u8` to `u128`, `isize`, `usize` | INTEGER; a value outside of the range of the type fails |
/// | `bool` | INTEGER: 0 is false, all others are true |
/// | `f64`, `f32` | REAL, INTEGER |
/// | `String`, `&str`, `Cow<str>`, `Box<str>`, `Arc<str>`, `Rc<str>`, `char` | TEXT; invalid UTF-8 fails |
/// | `Vec<u8>`, `&[u8]`, `Cow<[u8]>`, `Box<[u8]>`, `Arc<[u8]>`, `Rc<[u8]>`, `[u8; N]` | BLOB |
/// | `Option<T>` | NULL is `None` |
/// | [`Value`], [`ValueRef`] | any |
/// | `chrono` types (feature `chrono`), `serde_json::Value` (feature `serde_json`) | TEXT and others |
/// | `uuid::Uuid` (feature `uuid`) | BLOB of 16 bytes, TEXT |
pub trait FromValue<'v>: Sized {
    /// Converts a value.
    ///
    /// # Errors
    /// See [`ConversionError`].
    fn from_value(value: ValueRef<'v>) -> Result<Self, ConversionError>;
}

macro_rules! integers {
    ($($to:ty)*) => {
        $(impl<'v> FromValue<'v> for $to {
            fn from_value(value: ValueRef<'v>) -> Result<Self, ConversionError> {
                let ValueRef::Integer(value) = value else { return Err(ConversionError::of_type::<$to>(value)) };
                let range = |_| ConversionError::Range { wanted: stringify!($to), value };
                <$to>::try_from(value).map_err(range)
            }
        })*
    };
}

integers! { i8 i16 i32 i64 i128 isize u8 u16 u32 u64 u128 usize }

impl<'v> FromValue<'v> for bool {
    fn from_value(value: ValueRef<'v>) -> Result<Self, ConversionError> {
        match value {
            ValueRef::Integer(value) => Ok(value != 0),
            other => Err(ConversionError::of_type::<bool>(other)),
        }
    }
}

impl<'v> FromValue<'v> for f64 {
    fn from_value(value: ValueRef<'v>) -> Result<Self, ConversionError> {
        match value {
            ValueRef::Real(value) => Ok(value),
            // A column with the affinity NUMERIC stores 1.0 as 1 (<https://sqlite.org/datatype3.html>).
            #[allow(clippy::cast_precision_loss)]
            ValueRef::Integer(value) => Ok(value as f64),
            other => Err(ConversionError::of_type::<f64>(other)),
        }
    }
}

impl<'v> FromValue<'v> for f32 {
    // As in SQLite itself, the nearest value is returned.
    #[allow(clippy::cast_possible_truncation)]
    fn from_value(value: ValueRef<'v>) -> Result<Self, ConversionError> {
        f64::from_value(value).map(|value| value as f32).map_err(|_| ConversionError::of_type::<f32>(value))
    }
}

impl<'v> FromValue<'v> for &'v str {
    fn from_value(value: ValueRef<'v>) -> Result<Self, ConversionError> {
        match value {
            ValueRef::Text(bytes) => std::str::from_utf8(bytes).map_err(|_| ConversionError::Utf8),
            other => Err(ConversionError::of_type::<&str>(other)),
        }
    }
}

impl<'v> FromValue<'v> for &'v [u8] {
    fn from_value(value: ValueRef<'v>) -> Result<Self, ConversionError> {
        match value {
            ValueRef::Blob(bytes) => Ok(bytes),
            other => Err(ConversionError::of_type::<&[u8]>(other)),
        }
    }
}

impl<'v, const N: usize> FromValue<'v> for [u8; N] {
    fn from_value(value: ValueRef<'v>) -> Result<Self, ConversionError> {
        let bytes = <&[u8]>::from_value(value)?;
        let form = |_| ConversionError::Form(format!("the BLOB has {} bytes instead of {N}", bytes.len()));
        bytes.try_into().map_err(form)
    }
}

macro_rules! from_borrowed {
    ($($to:ty: $borrowed:ty;)*) => {
        $(impl<'v> FromValue<'v> for $to {
            fn from_value(value: ValueRef<'v>) -> Result<Self, ConversionError> {
                <$borrowed>::from_value(value).map(<$to>::from)
            }
        })*
    };
}

from_borrowed! {
    String: &str;
    Cow<'v, str>: &str;
    Box<str>: &str;
    Arc<str>: &str;
    Rc<str>: &str;
    Vec<u8>: &[u8];
    Cow<'v, [u8]>: &[u8];
    Box<[u8]>: &[u8];
    Arc<[u8]>: &[u8];
    Rc<[u8]>: &[u8];
}

impl<'v> FromValue<'v> for char {
    fn from_value(value: ValueRef<'v>) -> Result<Self, ConversionError> {
        let text = <&str>::from_value(value).map_err(|_| ConversionError::of_type::<char>(value))?;
        let mut chars = text.chars();
        match (chars.next(), chars.next()) {
            (Some(only), None) => Ok(only),
            _ => Err(ConversionError::Form("the text is not one character".to_owned())),
        }
    }
}

impl<'v, T: FromValue<'v>> FromValue<'v> for Option<T> {
    fn from_value(value: ValueRef<'v>) -> Result<Self, ConversionError> {
        match value {
            ValueRef::Null => Ok(None),
            value => T::from_value(value).map(Some),
        }
    }
}

impl<'v> FromValue<'v> for ValueRef<'v> {
    fn from_value(value: ValueRef<'v>) -> Result<Self, ConversionError> {
        Ok(value)
    }
}

impl<'v> FromValue<'v> for Value {
    fn from_value(value: ValueRef<'v>) -> Result<Self, ConversionError> {
        Ok(value.to_value())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_checked() {
        let value = ValueRef::Integer(300);
        assert_eq!(i64::from_value(value), Ok(300));
        assert_eq!(u16::from_value(value), Ok(300));
        assert_eq!(u8::from_value(value).unwrap_err().to_string(), "300 is outside of the range of u8");
        assert!(u64::from_value(ValueRef::Integer(-1)).is_err());
        let error = i64::from_value(ValueRef::Text(b"7")).unwrap_err();
        assert_eq!(error.to_string(), "i64 was asked for, and the value is TEXT");
        assert!(i64::from_value(ValueRef::Null).is_err());
        assert_eq!(Option::<i64>::from_value(ValueRef::Null), Ok(None));
        assert_eq!(Option::<u8>::from_value(ValueRef::Integer(7)), Ok(Some(7)));
    }

    #[test]
    fn texts_and_blobs_are_not_mixed() {
        assert_eq!(<&str>::from_value(ValueRef::Text(b"a")), Ok("a"));
        assert_eq!(String::from_value(ValueRef::Text(b"\xff")), Err(ConversionError::Utf8));
        assert!(String::from_value(ValueRef::Blob(b"a")).is_err());
        assert!(Vec::<u8>::from_value(ValueRef::Text(b"a")).is_err());
        assert_eq!(<[u8; 2]>::from_value(ValueRef::Blob(&[1, 2])), Ok([1, 2]));
        let error = <[u8; 2]>::from_value(ValueRef::Blob(&[1])).unwrap_err();
        assert_eq!(error.to_string(), "the BLOB has 1 bytes instead of 2");
    }

    #[test]
    fn numbers_and_booleans() {
        assert_eq!(f64::from_value(ValueRef::Integer(2)), Ok(2.0));
        assert_eq!(f32::from_value(ValueRef::Real(0.5)), Ok(0.5));
        assert!(i64::from_value(ValueRef::Real(2.0)).is_err());
        assert_eq!(bool::from_value(ValueRef::Integer(7)), Ok(true));
        let error = f32::from_value(ValueRef::Blob(b"")).unwrap_err();
        assert_eq!(error.to_string(), "f32 was asked for, and the value is BLOB");
    }
}
