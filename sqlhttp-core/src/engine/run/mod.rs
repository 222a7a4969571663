//! Runs a batch on a session. The writer and the readers share this code.
//!
//! * [`batch`]: the steps of a batch.
//! * [`step`]: the text of one step, with its values.
//! * [`text`]: the statements of a text.
//! * [`statement`], [`insert_probe`]: one statement; the rowid that it inserts.
//! * [`sink`]: the destination of results.
//! * [`mode`]: how a batch runs.

mod batch;
mod insert_probe;
mod mode;
mod sink;
mod statement;
mod step;
mod text;

pub(crate) use batch::run_batch;
pub(crate) use mode::Mode;
pub(crate) use sink::{RunError, Sink};
