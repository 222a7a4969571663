//! Runs a batch in one read transaction.

use super::options::Options;
use super::run::{Mode, RunError, SettingsEffect, Sink, run_batch};
use super::session::Session;
use super::sqlite::clock::Stamped;
use crate::model::{Batch, Ending, SqlError, Stamp};

/// Runs a batch in one read transaction. The caller must have called [`Session::begin_run`].
///
/// # Errors
/// The inner error says why the batch was stopped. The outer error means that BEGIN or ROLLBACK failed.
pub(crate) fn read(
    options: &Options,
    session: &mut Session,
    batch: &Batch,
    stamp: Stamp,
    sink: &mut impl Sink,
) -> Result<Result<Ending, RunError>, SqlError> {
    let mode = Mode {
        savepoints: false,
        grouped: false,
        block_bytes: options.block_bytes,
        rows_max: options.rows_max,
        known_failures: &[],
        first_step: 0,
        settings: SettingsEffect::None,
    };
    let transaction = needs_transaction(batch);
    if transaction {
        session.begin()?;
    }
    let _stamped = Stamped::new(stamp, options.zone());
    session.begin_batch();
    let result = run_batch(session, batch, mode, sink);
    if transaction {
        session.rollback()?;
    }
    Ok(result)
}

/// Returns whether the batch may contain several statements. They must see the same snapshot, so they need a
/// transaction. A semicolon inside a string literal also returns `true`; the only consequence is a superfluous BEGIN.
fn needs_transaction(batch: &Batch) -> bool {
    batch.steps.len() > 1
        || batch.steps.iter().filter_map(|step| step.sql()).any(|sql| {
            let text = sql.trim_end().trim_end_matches(';');
            memchr::memchr(b';', text.as_bytes()).is_some()
        })
}
