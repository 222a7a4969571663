//! Runs a batch on a session. The writer, the readers and (under replication) the state machine share this code.
//!
//! * [`batch`]: the steps of a batch; [`step`]: one step; [`text`]: the statements of its text; [`statement`]: one of them.
//! * [`sink`]: where results go; [`mode`]: how a batch runs.

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
