//! Decides on which thread a batch runs. SQLite prepares the statements of the batch and reports what they do; the SQL
//! text is not parsed.

use super::script::Script;
use super::session::Session;
use super::statement_info::{Author, StatementInfo};
use crate::model::{Atomicity, Batch, Ending, Failure, OnError, Outcome, Settings, StepInfo, StepOutcome};

/// The thread on which a batch has to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BatchKind {
    /// The batch only reads: it runs on the caller's thread or on a reader thread.
    Read,
    /// The batch writes: it runs on the writer thread.
    Write {
        /// The batch must run in a transaction of its own, not in a group with other batches.
        exclusive: bool,
    },
    /// The batch does not run, because it sets `foreign_keys` where that has no effect. [`refused`] returns its
    /// outcome.
    Refused,
    /// An SQL text or a value exceeds the low limits of a session for callers' threads, so SQLite cannot prepare the
    /// batch on this session. A reader thread must classify it.
    Undecided,
}

/// Decides on which thread a batch has to run. A statement that SQLite cannot prepare now is ignored (because of a
/// syntax error, or because an earlier statement creates its table): whether the statement fails does not depend on the
/// thread.
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

/// Like [`classify`], but prepares nothing. Returns `None` if an SQL text of the batch is not in the statement cache.
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

/// The effect of a batch on the setting `foreign_keys`.
struct ForeignKeys {
    /// The value of `foreign_keys` at the beginning of the batch.
    initial: bool,
    /// The value of `foreign_keys` after the statements examined so far.
    now: bool,
    /// Whether a statement has changed the value of `foreign_keys`.
    changed: bool,
    /// Whether the batch contains no statements other than those that set `foreign_keys`.
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

    /// Returns whether the batch changes `foreign_keys` without effect. That is the case inside a transaction of
    /// several steps, and if the batch contains no other statement.
    fn has_no_effect(&self, batch: &Batch) -> bool {
        let transaction = batch.atomicity == Atomicity::All && batch.steps.len() > 1;
        self.changed && (transaction || self.only_statement && self.now != self.initial)
    }
}

/// Returns whether the batch is a transaction with a step that cannot be prepared, so that the transaction will fail.
/// Must be called only for batches that write nothing, because a statement that writes can change how a later one is
/// prepared.
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

/// Returns the outcome of a batch that is [`BatchKind::Refused`]: a failure with HTTP status 400. None of its
/// statements has run.
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

/// Returns whether the first statement of a batch can run only outside a transaction.
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
