//! Where a batch has to run. SQLite decides, by preparing its statements.

use super::facts::Author;
use super::script::Script;
use super::session::Session;
use crate::model::{Atomicity, Batch};

/// Where a batch has to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// On a reader.
    Read,
    /// On the writer.
    Write {
        /// In a transaction of its own.
        alone: bool,
    },
}

/// Tells where a batch has to run. What SQLite cannot prepare now (a syntax error, a table that an earlier statement
/// will create) does not count: it fails or not wherever the rest of the batch runs.
pub(crate) fn classify(session: &mut Session, batch: &Batch) -> Kind {
    let (mut writes, mut alone) = (false, false);
    for sql in batch.steps.iter().filter_map(|step| step.sql()) {
        let Ok(mut script) = Script::new(session, sql, Author::Client) else { continue };
        while let Ok(Some(prepared)) = script.next(session) {
            let facts = prepared.facts;
            session.put_back(prepared);
            writes |= !facts.readonly || facts.is_for_itself();
            alone |= facts.is_for_itself() || facts.outside_transaction && batch.atomicity == Atomicity::Each;
        }
    }
    if writes { Kind::Write { alone } } else { Kind::Read }
}

/// Whether the first statement of a batch runs only outside a transaction.
pub(crate) fn runs_outside_transaction(session: &mut Session, batch: &Batch) -> bool {
    let Some(sql) = batch.steps.first().and_then(|step| step.sql()) else {
        return false;
    };
    let first = Script::new(session, sql, Author::Client).and_then(|mut script| script.next(session));
    let Ok(Some(prepared)) = first else { return false };
    let outside = prepared.facts.outside_transaction;
    session.put_back(prepared);
    outside
}
