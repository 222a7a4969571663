//! Handles failures that depend on this node alone while the writer applies the Raft log.
//!
//! | failure | response of the writer |
//! |---|---|
//! | full disk, lock of another process, no descriptors, no memory | rolls back, waits, retries until it succeeds |
//! | the same, but one statement is the cause (see below) | if there is no other node: the statement fails |
//! | a damaged page | if there is no other node: the statement fails; otherwise all further writes are rejected |
//! | anything else (an I/O error, a bug) | the database rejects all further writes |
//!
//! One statement is the cause in these cases:
//!
//! * The statement exceeds its own memory limit.
//! * The statement has written at least a megabyte by itself when the disk was full.
//! * There is enough disk space as soon as the statement is rolled back.
//!
//! The replacement of the whole content (a load) counts as a statement.
//!
//! A node without others may decide that a statement fails, because no other node has to compute the same result.
//! This decision is made durable before the caller receives it. The Raft log is then purged up to that entry, so that
//! no replay runs the statement again.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rusqlite::ffi;

use super::work_item::WorkItem;
use crate::engine::error::engine_error;
use crate::engine::sqlite::full;
use crate::engine::writer::space::has_space;
use crate::engine::writer::thread::Writer;
use crate::model::{Error, Failure, SqlError};

/// The wait before the second attempt to apply an operation. Each further wait is twice as long, up to [`PAUSE_MAX`].
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// The maximum wait between two attempts to apply an operation.
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// The interval at which a waiting writer checks whether the process is ending.
const POLL: Duration = Duration::from_millis(20);
/// The minimum interval between two warnings that a waiting writer logs.
const WARN_EVERY: Duration = Duration::from_secs(5);
/// The number of failed attempts after which the statement itself counts as the cause of the failure, because disk
/// space or memory is free each time after the rollback.
const ATTEMPTS_OF_ONE: u32 = 3;
/// Like [`ATTEMPTS_OF_ONE`], for a statement that had written [`LARGE_BYTES`] when the disk was full. (Not 1, because
/// the first attempt may have shared its transaction with other statements.)
const ATTEMPTS_OF_LARGE: u32 = 2;
/// The number of bytes from which a statement counts as large. A statement that has written less is not considered the
/// cause of a full disk.
const LARGE_BYTES: u64 = 1 << 20;

/// Identifies the step that failed, by its operation and its index in the batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FailedStep {
    /// The index of the operation in the list of work items that are being applied.
    pub(super) item: usize,
    pub(super) step: usize,
}

/// The reason why operations of the Raft log could not be applied.
#[derive(Debug)]
pub(super) enum ApplyError {
    /// A failure that depends on this node alone. The writer may retry.
    Local { action: &'static str, error: SqlError, failed_step: Option<FailedStep> },
    /// A failure after which the database rejects all further writes.
    Final(Error),
    /// This node has decided alone that a step fails, and another node has joined before the decision was committed.
    NotSole,
}

impl ApplyError {
    /// Returns a function that converts an error of the engine's own SQL. `action` is the operation that failed.
    pub(super) fn during(action: &'static str) -> impl FnOnce(SqlError) -> ApplyError {
        move |error| ApplyError::Local { action, error, failed_step: None }
    }

    /// Converts the error of a batch that has no outcome.
    pub(super) fn from_error(error: Error) -> ApplyError {
        match error {
            Error::Sqlite { action, source } => ApplyError::Local { action, error: source, failed_step: None },
            Error::Busy(source) => ApplyError::Local { action: "apply", error: source, failed_step: None },
            other => ApplyError::Final(other),
        }
    }

    /// Sets the index of the failed work item.
    pub(super) fn with_item(self, item: usize) -> ApplyError {
        self.locate(|failed_step| FailedStep { item, ..failed_step })
    }

    /// Sets the index of the failed step in its batch.
    pub(super) fn with_step(self, step: usize) -> ApplyError {
        self.locate(|failed_step| FailedStep { step, ..failed_step })
    }

    fn locate(self, update: impl FnOnce(FailedStep) -> FailedStep) -> ApplyError {
        match self {
            ApplyError::Local { action, error, failed_step } => {
                ApplyError::Local { action, error, failed_step: failed_step.map(update) }
            }
            other => other,
        }
    }
}

/// The failed attempts to apply the operation at the front of the list.
#[derive(Debug, Default)]
pub(super) struct Attempts {
    count: u32,
    /// The number of bytes that the last attempt wrote.
    written: u64,
    warned: Option<Instant>,
}

impl Writer<'_> {
    /// Rolls back the transaction and responds to a failure in one of three ways:
    ///
    /// * If the reason may pass (a full disk, a lock of another process), waits and returns `Ok`: the caller applies
    ///   the items again.
    /// * If this node is the only node and the failed step is itself the cause, or reads a damaged page, records the
    ///   failure as the result of that step and returns `Ok`: the caller applies the items again with this result.
    /// * Otherwise returns the error. The database then rejects all writes.
    pub(super) fn handle_failure(
        &mut self,
        attempts: &mut Attempts,
        failure: ApplyError,
        index: u64,
        items: &mut VecDeque<WorkItem<'_>>,
    ) -> Result<(), Error> {
        let (action, error, failed_step) = match failure {
            ApplyError::Local { action, error, failed_step } => (action, error, failed_step),
            ApplyError::NotSole => {
                self.roll_back_or_renew();
                return Ok(());
            }
            ApplyError::Final(Error::Closed) if self.shared.interrupted.is_set() => return Err(self.stop()),
            ApplyError::Final(error) => return Err(self.give_up(&format!("entry {index} of the log: {error}"))),
        };
        if self.shared.interrupted.is_set() {
            return Err(self.stop());
        }
        attempts.written = full::bytes_written();
        self.roll_back_or_renew();
        attempts.count += 1;
        match response_to(&error) {
            Response::Wait => {
                if error.primary_code() == ffi::SQLITE_FULL {
                    self.free_space();
                }
                if self.is_caused_by_statement(attempts, &error)
                    && let Some(failed_step) = failed_step.or_else(|| suspected_step(items))
                {
                    self.fail_step(failed_step, error, items);
                    return Ok(());
                }
                if self.shared.is_sole() {
                    isolate(items, failed_step);
                }
                self.wait(attempts, action, &error, index)
            }
            Response::FailStatement
                if self.shared.is_sole()
                    && let Some(failed_step) = failed_step =>
            {
                self.fail_step(failed_step, error, items);
                Ok(())
            }
            // The limit was set before another node has joined. The next attempt has no such limit.
            Response::FailStatement if error.primary_code() == ffi::SQLITE_INTERRUPT => {
                self.wait(attempts, action, &error, index)
            }
            Response::FailStatement | Response::Stop => {
                let why = format!("entry {index} of the log: {action}: {} ({})", error.message, error.code);
                self.give_up(&why);
                Err(engine_error(action, error))
            }
        }
    }

    /// Rolls back the open transaction. If that fails, the transaction ends with its connection, which is replaced.
    fn roll_back_or_renew(&mut self) {
        if self.session.rollback().is_err() {
            self.session.mark_dirty();
        }
    }

    /// Stops applying because the process is ending. Rolls back the open transaction; its entries are applied when the
    /// database is opened again.
    fn stop(&mut self) -> Error {
        let _ = self.session.rollback();
        self.shared.poison("interrupted");
        Error::Closed
    }

    /// Returns whether the failure is caused by the statement itself, which needs more disk space or memory than this
    /// node has. Always false if other nodes vote.
    fn is_caused_by_statement(&self, attempts: &Attempts, error: &SqlError) -> bool {
        if !self.shared.is_sole() {
            return false;
        }
        if self.session.is_own_memory_limit(error) {
            return true;
        }
        if attempts.count < ATTEMPTS_OF_LARGE {
            return false;
        }
        let many = attempts.count >= ATTEMPTS_OF_ONE;
        match error.primary_code() {
            ffi::SQLITE_NOMEM => many,
            ffi::SQLITE_FULL if attempts.written >= LARGE_BYTES => true,
            ffi::SQLITE_FULL => many && self.shared.config.file().is_some_and(|file| has_space(file)),
            _ => false,
        }
    }

    /// Records that the step fails with this error. The next attempt does not run the step.
    fn fail_step(&mut self, failed_step: FailedStep, error: SqlError, items: &mut VecDeque<WorkItem<'_>>) {
        let Some(item) = items.get_mut(failed_step.item) else { return };
        let step = failed_step.step;
        tracing::error!(
            index = item.index,
            step,
            "a statement of the log fails on this node, which decides alone: {} ({})",
            error.message,
            error.code
        );
        let failure =
            if error.primary_code() == ffi::SQLITE_INTERRUPT { Failure::Timeout } else { Failure::Sql(error) };
        item.known_failures.push((step, failure));
        (item.exclusive, item.decided_locally) = (true, true);
    }

    /// Waits before the next attempt. Returns an error if the process ends during the wait.
    fn wait(&mut self, attempts: &mut Attempts, action: &str, error: &SqlError, index: u64) -> Result<(), Error> {
        let why = format!("{action}: {} ({})", error.message, error.code);
        if attempts.warned.is_none_or(|warned| warned.elapsed() >= WARN_EVERY) {
            tracing::warn!("entry {index} of the log waits: {why}");
            attempts.warned = Some(Instant::now());
        }
        self.shared.set_waits_for(Some(Arc::from(why)));
        let doublings = (attempts.count - 1).min(8);
        let until = Instant::now() + (FIRST_PAUSE * 2_u32.pow(doublings)).min(PAUSE_MAX);
        while Instant::now() < until {
            if self.shared.interrupted.is_set() {
                return Err(self.stop());
            }
            std::thread::sleep(POLL);
        }
        Ok(())
    }
}

/// Returns the last step of the first item that is not known to fail. This step is taken as the cause of a failed
/// COMMIT, because SQLite does not report which step is too large.
fn suspected_step(items: &VecDeque<WorkItem<'_>>) -> Option<FailedStep> {
    let item = items.front()?;
    let known = |step: &usize| item.known_failures.iter().any(|(known, _)| known == step);
    let step = (item.first_step..=item.last_step()).rev().find(|step| !known(step))?;
    Some(FailedStep { item: 0, step })
}

/// Gives each operation up to the failed one a transaction of its own, so that the next failure belongs to a single
/// operation. If the failed operation is unknown, all operations get their own transactions.
fn isolate(items: &mut VecDeque<WorkItem<'_>>, failed_step: Option<FailedStep>) {
    let count = failed_step.map_or(items.len(), |failed_step| failed_step.item + 1);
    items.iter_mut().take(count).for_each(|item| item.exclusive = true);
}

/// How the writer responds to a failure that depends on this node alone.
enum Response {
    /// Wait, then try again.
    Wait,
    /// On a node without others, let the statement fail; on other nodes, reject all further writes.
    FailStatement,
    /// Poison the database, so that it rejects all further writes.
    Stop,
}

fn response_to(error: &SqlError) -> Response {
    match (error.primary_code(), error.code) {
        (
            ffi::SQLITE_FULL
            | ffi::SQLITE_NOMEM
            | ffi::SQLITE_BUSY
            | ffi::SQLITE_CANTOPEN
            | ffi::SQLITE_PROTOCOL
            | ffi::SQLITE_LOCKED,
            _,
        )
        | (_, ffi::SQLITE_IOERR_NOMEM | ffi::SQLITE_IOERR_LOCK | ffi::SQLITE_IOERR_GETTEMPPATH) => Response::Wait,
        // An interrupt comes from a limit of `LogLimits` that only a node without others has.
        (ffi::SQLITE_CORRUPT | ffi::SQLITE_INTERRUPT, _) => Response::FailStatement,
        _ => Response::Stop,
    }
}
