//! The types that every crate of sqlhttp shares: a request ([`Batch`]), its result ([`Outcome`]), and the reason why
//! there is no result ([`Error`]).
//!
//! Nothing in this module uses SQLite, a clock, a file or a thread, so that the protocol crates can depend on this
//! module alone.

mod backend;
mod batch;
mod changed;
mod error;
mod failure;
mod outcome;
mod rows;
mod stamp;
mod value;

pub use backend::{Answer, Backend, BoxFuture, PartStream, ReadLevel};
pub use batch::{Action, Atomicity, Batch, BindRule, Binding, Bindings, Expect, OnError, Settings, Step};
pub use changed::Changed;
pub use error::Error;
pub use failure::{Failure, SqlError, TransactionKeyword};
pub use outcome::{Ending, Outcome, Part, StepInfo, StepOutcome};
pub use rows::{Block, BlockRows, Column, Columns, RowRef, Rows, Values};
pub use stamp::{Deadline, Stamp};
pub use value::{Value, ValueRef};
