//! Decides where a batch runs. SQLite prepares its statements and reports what they do; the SQL text is not parsed.

use super::script::Script;
use super::session::Session;
use super::statement_info::{Author, StatementInfo};
use crate::model::{Atomicity, Batch, Ending, Failure, OnError, Outcome, Settings, StepInfo, StepOutcome};

/// Where a batch has to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BatchKind {
    /// On a reader.
    Read,
    /// On the writer.
    Write {
        /// In a transaction of its own.
        exclusive: bool,
    },
    /// Nowhere: it sets `foreign_keys` where that has no effect. [`refused`] is its outcome.
    Refused,
    /// A text or a value exceeds the low limits of this session, so SQLite cannot prepare the batch here.
    Undecided,
}

/// Decides where a batch has to run. A statement that SQLite cannot prepare now (a syntax error, a table that an
/// earlier statement creates) is ignored: whether it fails does not depend on where the batch runs.
pub(crate) fn classify(session: &mut Session, batch: &Batch) -> BatchKind {
    let mut summary = BatchSummary::new(session.initial_foreign_keys());
    for sql in batch.steps.iter().filter_map(|step| step.sql()) {
        let Ok(mut script) = Script::new(session, sql, Author::Client) else { continue };
        loop {
            let prepared = match script.next(session) {
                Ok(Some(prepared)) => prepared,
                Ok(None) => break,
                Err(failure) => {
                    summary.not_prepared(&failure);
                    break;
                }
            };
            let info = prepared.info;
            session.put_back(prepared);
            summary.note(&info, batch.atomicity);
        }
    }
    summary.kind(batch)
}

/// Decides where a batch has to run without preparing anything. Returns `None` if a text of the batch is not in the
/// statement cache.
pub(crate) fn classify_cached(session: &Session, batch: &Batch) -> Option<BatchKind> {
    let mut summary = BatchSummary::new(session.initial_foreign_keys());
    for sql in batch.steps.iter().filter_map(|step| step.sql()) {
        summary.note(session.cached_info(sql)?, batch.atomicity);
    }
    Some(summary.kind(batch))
}

/// The combined properties of all statements of a batch.
struct BatchSummary {
    writes: bool,
    exclusive: bool,
    undecided: bool,
    foreign_keys: ForeignKeys,
}

/// How a batch sets `foreign_keys`.
struct ForeignKeys {
    /// The value at the beginning of the batch.
    initial: bool,
    /// The value after the statements so far.
    now: bool,
    /// A statement has changed the value.
    changed: bool,
    /// The batch contains no other statement.
    only_statement: bool,
}

impl BatchSummary {
    fn new(foreign_keys: bool) -> Self {
        let foreign_keys =
            ForeignKeys { initial: foreign_keys, now: foreign_keys, changed: false, only_statement: true };
        BatchSummary { writes: false, exclusive: false, undecided: false, foreign_keys }
    }

    fn not_prepared(&mut self, failure: &Failure) {
        self.undecided |=
            matches!(failure, Failure::Sql(error) if error.primary_code() == rusqlite::ffi::SQLITE_TOOBIG);
        self.foreign_keys.only_statement = false;
    }

    fn note(&mut self, info: &StatementInfo, atomicity: Atomicity) {
        self.foreign_keys.note(info.foreign_keys);
        self.writes |= !info.readonly || info.needs_exclusive_run();
        self.exclusive |= info.needs_exclusive_run() || info.outside_transaction && atomicity == Atomicity::Each;
    }

    fn kind(self, batch: &Batch) -> BatchKind {
        if batch.settings == Settings::Refuse && self.foreign_keys.has_no_effect(batch) {
            return BatchKind::Refused;
        }
        match (self.writes || self.foreign_keys.changed, self.undecided) {
            (true, _) => BatchKind::Write { exclusive: self.exclusive },
            (false, true) => BatchKind::Undecided,
            (false, false) => BatchKind::Read,
        }
    }
}

impl ForeignKeys {
    fn note(&mut self, set: Option<bool>) {
        let Some(on) = set else {
            self.only_statement = false;
            return;
        };
        if on != self.now {
            (self.now, self.changed) = (on, true);
        }
    }

    /// Returns whether the batch changes the value without effect: inside a transaction of several steps, or without
    /// any other statement.
    fn has_no_effect(&self, batch: &Batch) -> bool {
        let transaction = batch.atomicity == Atomicity::All && batch.steps.len() > 1;
        self.changed && (transaction || self.only_statement && self.now != self.initial)
    }
}

/// Returns whether a step of a transaction cannot be prepared, so that the transaction will fail. Only for batches that
/// write nothing: none of their statements can change the meaning of a later one.
pub(crate) fn is_going_to_fail(session: &mut Session, batch: &Batch) -> bool {
    if batch.atomicity != Atomicity::All || batch.steps.len() < 2 {
        return false;
    }
    let texts = batch.steps.iter().filter(|step| step.on_error == OnError::Abort).filter_map(|step| step.sql());
    for sql in texts {
        let Ok(mut script) = Script::new(session, sql, Author::Client) else { return true };
        loop {
            match script.next(session) {
                Ok(Some(prepared)) => session.put_back(prepared),
                Ok(None) => break,
                Err(_) => return true,
            }
        }
    }
    false
}

/// The outcome of a batch that is [`BatchKind::Refused`]. None of its statements has run.
pub(crate) fn refused() -> Outcome {
    const WHY: &str =
        "foreign_keys can be changed only for the statements that follow in the same request; start with -fk";
    let failure = Failure::Protocol { status: 400, message: WHY.to_owned() };
    Outcome {
        steps: vec![StepOutcome::Failed(failure)],
        info: vec![StepInfo::default()],
        ending: Ending::Aborted(0),
        log_index: 0,
    }
}

/// Returns whether the first statement of a batch can only run outside a transaction.
pub(crate) fn runs_outside_transaction(session: &mut Session, batch: &Batch) -> bool {
    let Some(sql) = batch.steps.first().and_then(|step| step.sql()) else {
        return false;
    };
    let first = Script::new(session, sql, Author::Client).and_then(|mut script| script.next(session));
    let Ok(Some(prepared)) = first else { return false };
    let outside = prepared.info.outside_transaction;
    session.put_back(prepared);
    outside
}
