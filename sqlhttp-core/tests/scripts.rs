//! Goldenscripts of the writer (`scripts/writer/`) and of a database that applies a log (`scripts/replicated/`).
//!
//! A script consists of commands, `---`, and their output; its name is the rule that it pins.
//! `UPDATE_GOLDENFILES=1 cargo test` writes the output again; read the difference before you commit it.
//! The commands are described in `script_support/writer.rs` and `script_support/replicated.rs`.
#![cfg(feature = "fault-injection")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod script_support;

use script_support::{replicated, run_all, writer};

#[test]
fn the_writer() {
    run_all("writer", writer::WriterRunner::new);
}

#[test]
fn a_database_that_applies_a_log() {
    run_all("replicated", replicated::LogRunner::new);
}
