//! The conversions between Rust values and SQLite values: parameters of statements ([`IntoValue`], [`Params`]) and
//! results ([`FromValue`], [`FromRow`]).

#[cfg(feature = "chrono")]
mod chrono;
mod from_row;
mod from_value;
mod into_value;
#[cfg(feature = "serde_json")]
mod json;
mod params;
#[cfg(feature = "serde")]
mod row_deserializer;
#[cfg(feature = "uuid")]
mod uuid;

pub(in crate::model) use from_row::BlockCursor;
pub use from_row::{ColumnIndex, FromRow, Row, RowError};
pub use from_value::{ConversionError, FromValue};
pub use into_value::{IntoValue, OutOfRange};
pub use params::{ParamList, Params, params_from_iter};
#[cfg(feature = "serde")]
pub use row_deserializer::Deserialized;
