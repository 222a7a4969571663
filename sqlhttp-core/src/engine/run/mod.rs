//! Runs a batch on a session (a configured connection). The writer and the readers share this code.
//!
//! * [`batch`]: runs the steps of a batch.
//! * [`step`]: runs one step: an SQL text with its values.
//! * [`text`]: runs the statements of an SQL text.
//! * [`statement`], [`insert_probe`]: runs one statement; detects the rowid that it inserts.
//! * [`sink`]: receives the results.
//! * [`mode`]: the parameters of the run of a batch.

mod batch;
mod insert_probe;
mod mode;
mod sink;
mod statement;
mod step;
mod text;

pub(crate) use batch::run_batch;
pub(crate) use mode::{Mode, SettingsEffect};
pub(crate) use sink::{RunError, Sink};
