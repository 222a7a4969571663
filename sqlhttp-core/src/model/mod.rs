//! The types that every crate of sqlhttp shares: a request ([`Batch`]), its result ([`Outcome`]), and the reason why
//! there is no result ([`Error`]).
//!
//! Nothing in this module uses SQLite, a clock, a file or a thread, so that the protocol crates can depend on this
//! module alone.

mod backend;
mod batch;
mod changed;
mod convert;
mod error;
mod executor;
mod failure;
mod outcome;
mod row_stream;
mod rows;
mod stamp;
mod value;

pub use backend::{Answer, Backend, BoxFuture, PartStream, ReadLevel};
pub use batch::{Action, Atomicity, Batch, BindRule, Binding, Bindings, Expect, OnError, Settings, Step};
pub use changed::Changed;
#[cfg(feature = "serde")]
pub use convert::Deserialized;
pub use convert::{
    ColumnIndex, ConversionError, FromRow, FromValue, IntoValue, OutOfRange, ParamList, Params, Row, RowError,
    params_from_iter,
};
pub use error::Error;
pub use executor::{CallOptions, Executor, WithOptions};
pub use failure::{Failure, SqlError, TransactionKeyword};
pub use outcome::{Ending, Outcome, Part, StepInfo, StepOutcome};
pub use row_stream::RowStream;
pub use rows::{Block, BlockRows, Column, Columns, RowRef, Rows, Values};
pub use stamp::{Deadline, Stamp};
pub use value::{Value, ValueRef};
