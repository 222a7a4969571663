//! The conversion of Rust values to parameters of statements.

use std::borrow::Cow;
use std::rc::Rc;
use std::sync::Arc;

use crate::model::{Value, ValueRef};

/// The reason why a Rust value cannot be a parameter of a statement: SQLite has no value for it. The text says which
/// value and why ("18446744073709551615 is greater than the largest INTEGER").
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct OutOfRange(pub String);

/// A Rust value that can be a parameter of a statement. Programs implement it for their own types.
///
/// | Rust | SQLite |
/// |---|---|
/// | `bool`, `i8` to `i64`, `u8` to `u32`, `isize` | INTEGER |
/// | `u64`, `usize`, `i128`, `u128` | INTEGER; a value outside of its range fails |
/// | `f32`, `f64` | REAL; NaN becomes NULL |
/// | `str`, `String`, `Cow<str>`, `Box<str>`, `Arc<str>`, `Rc<str>`, `char` | TEXT |
/// | `[u8]`, `Vec<u8>`, `Cow<[u8]>`, `Box<[u8]>`, `Arc<[u8]>`, `Rc<[u8]>`, `[u8; N]` | BLOB |
/// | `Option<T>` | NULL or the value |
/// | `chrono` types (feature `chrono`), `serde_json::Value` (feature `serde_json`) | TEXT |
/// | `uuid::Uuid` (feature `uuid`) | BLOB of 16 bytes |
///
/// ```
/// use sqlhttp_core::{OutOfRange, IntoValue, Value};
///
/// enum Color { Red, Blue }
///
/// impl IntoValue for Color {
///     fn into_value(self) -> Result<Value, OutOfRange> {
///         match self {
///             Color::Red => "red".into_value(),
///             Color::Blue => "blue".into_value(),
///         }
///     }
/// }
/// ```
pub trait IntoValue {
    /// Converts the value.
    ///
    /// # Errors
    /// SQLite has no value for it.
    fn into_value(self) -> Result<Value, OutOfRange>;
}

macro_rules! into_value {
    ($($from:ty => $x:ident $conversion:expr;)*) => {
        $(impl IntoValue for $from {
            fn into_value(self) -> Result<Value, OutOfRange> {
                let $x = self;
                Ok($conversion)
            }
        })*
    };
}

into_value! {
    bool => x Value::Integer(i64::from(x));
    i8 => x Value::Integer(i64::from(x));
    i16 => x Value::Integer(i64::from(x));
    i32 => x Value::Integer(i64::from(x));
    i64 => x Value::Integer(x);
    u8 => x Value::Integer(i64::from(x));
    u16 => x Value::Integer(i64::from(x));
    u32 => x Value::Integer(i64::from(x));
    f32 => x Value::Real(f64::from(x));
    f64 => x Value::Real(x);
    char => x Value::Text(x.to_string());
    &str => x Value::Text(x.to_owned());
    String => x Value::Text(x);
    Cow<'_, str> => x Value::Text(x.into_owned());
    Box<str> => x Value::Text(x.into_string());
    Arc<str> => x Value::Text(x.as_ref().to_owned());
    Rc<str> => x Value::Text(x.as_ref().to_owned());
    &[u8] => x Value::Blob(x.to_owned());
    Vec<u8> => x Value::Blob(x);
    Cow<'_, [u8]> => x Value::Blob(x.into_owned());
    Box<[u8]> => x Value::Blob(x.into_vec());
    Arc<[u8]> => x Value::Blob(x.as_ref().to_owned());
    Rc<[u8]> => x Value::Blob(x.as_ref().to_owned());
    Value => x x;
    ValueRef<'_> => x x.to_value();
}

macro_rules! checked_integers {
    ($($from:ty)*) => {
        $(impl IntoValue for $from {
            fn into_value(self) -> Result<Value, OutOfRange> {
                i64::try_from(self).map(Value::Integer).map_err(|_| {
                    let (side, end) = if self > 0 { ("greater", "largest") } else { ("less", "smallest") };
                    OutOfRange(format!("{self} is {side} than the {end} INTEGER"))
                })
            }
        })*
    };
}

checked_integers! { isize u64 usize i128 u128 }

impl<const N: usize> IntoValue for [u8; N] {
    fn into_value(self) -> Result<Value, OutOfRange> {
        Ok(Value::Blob(self.to_vec()))
    }
}

impl<T: IntoValue> IntoValue for Option<T> {
    fn into_value(self) -> Result<Value, OutOfRange> {
        self.map_or(Ok(Value::Null), T::into_value)
    }
}

impl<T: IntoValue + Clone> IntoValue for &T {
    fn into_value(self) -> Result<Value, OutOfRange> {
        self.clone().into_value()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_outside_of_the_range_fail() {
        assert_eq!(9_223_372_036_854_775_807_u64.into_value(), Ok(Value::Integer(i64::MAX)));
        assert_eq!((-9_223_372_036_854_775_808_i128).into_value(), Ok(Value::Integer(i64::MIN)));
        let error = u64::MAX.into_value().unwrap_err();
        assert_eq!(error.to_string(), "18446744073709551615 is greater than the largest INTEGER");
        let error = (-9_223_372_036_854_775_809_i128).into_value().unwrap_err();
        assert_eq!(error.to_string(), "-9223372036854775809 is less than the smallest INTEGER");
        assert!(usize::MAX.into_value().is_err() || usize::BITS < 64);
    }

    #[test]
    fn texts_and_blobs_of_every_kind() {
        let text = || Ok(Value::Text("a".to_owned()));
        let owned = "a".to_owned();
        assert_eq!("a".into_value(), text());
        assert_eq!((&owned).into_value(), text());
        assert_eq!(Cow::Borrowed("a").into_value(), text());
        assert_eq!(Arc::<str>::from("a").into_value(), text());
        assert_eq!((&Arc::<str>::from("a")).into_value(), text());
        assert_eq!('a'.into_value(), text());
        assert_eq!(Some("a").into_value(), text());
        assert_eq!((&Some(owned)).into_value(), text());
        assert_eq!(None::<&str>.into_value(), Ok(Value::Null));
        let blob = || Ok(Value::Blob(vec![1, 2]));
        assert_eq!([1_u8, 2].into_value(), blob());
        assert_eq!((&[1_u8, 2]).into_value(), blob());
        assert_eq!(vec![1_u8, 2].into_value(), blob());
        assert_eq!([1_u8, 2].as_slice().into_value(), blob());
    }
}
