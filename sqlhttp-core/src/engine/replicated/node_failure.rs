//! Handles failures that depend on this node alone, while it applies a log.
//!
//! | failure | response of the writer |
//! |---|---|
//! | full disk, lock of another process, no descriptors, no memory | rolls back, waits, retries until it succeeds |
//! | the same, because one statement needs more than there is | without other voters: the statement fails |
//! | a damaged page | without other voters: the statement fails; otherwise the database takes no more writes |
//! | anything else (an I/O error, a bug) | the database takes no more writes |
//!
//! A statement needs more than there is if it exceeds its own memory limit, if it has written at least a megabyte by
//! itself when the disk was full, or if there is enough space as soon as it is rolled back. A load that is larger than
//! the disk counts as a statement.
//!
//! A node without other voters decides for the cluster, because no other node has to compute the same result. The
//! decision is made durable before the caller receives it, and the log is truncated behind it, so that no replay
//! repeats it.

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

/// The wait before the second attempt. Each further wait is twice as long, up to [`PAUSE_MAX`].
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// The longest wait between two attempts.
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// How often a waiting writer checks whether the process ends.
const POLL: Duration = Duration::from_millis(20);
/// How often a waiting writer logs a warning.
const WARN_EVERY: Duration = Duration::from_secs(5);
/// The number of attempts after which a statement is itself the cause of the failure, although there was enough space
/// or memory each time.
const ATTEMPTS_OF_ONE: u32 = 3;
/// The same number for a statement that had written [`LARGE_BYTES`] when the disk was full. (Its first attempt may have
/// shared a transaction.)
const ATTEMPTS_OF_LARGE: u32 = 2;
/// A statement that has written less does not fill a disk, in bytes.
const LARGE_BYTES: u64 = 1 << 20;

/// The work item and the step that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FailedStep {
    /// Its index among the items that are being applied.
    pub(super) item: usize,
    pub(super) step: usize,
}

/// Why items could not be applied.
#[derive(Debug)]
pub(super) enum ApplyError {
    /// A failure that only this node has.
    Local { action: &'static str, error: SqlError, failed_step: Option<FailedStep> },
    /// A failure after which the database takes no more writes.
    Final(Error),
}

impl ApplyError {
    /// Wraps an error of the engine's own SQL.
    pub(super) fn during(action: &'static str) -> impl FnOnce(SqlError) -> ApplyError {
        move |error| ApplyError::Local { action, error, failed_step: None }
    }

    /// Wraps the error of a batch without an outcome.
    pub(super) fn from_error(error: Error) -> ApplyError {
        match error {
            Error::Sqlite { action, source } => ApplyError::Local { action, error: source, failed_step: None },
            Error::Busy(source) => ApplyError::Local { action: "apply", error: source, failed_step: None },
            other => ApplyError::Final(other),
        }
    }

    /// Sets the index of the failed item.
    pub(super) fn with_item(self, item: usize) -> ApplyError {
        self.locate(|failed_step| FailedStep { item, ..failed_step })
    }

    /// Sets the number of the failed step.
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

/// The attempts to apply the item at the front.
#[derive(Debug, Default)]
pub(super) struct Attempts {
    count: u32,
    /// The bytes that the last attempt has written.
    written: u64,
    warned: Option<Instant>,
}

impl Writer<'_> {
    /// Rolls back, and responds to a failure: waits, lets the step fail, or returns the error that ends the writer.
    pub(super) fn handle_failure(
        &mut self,
        attempts: &mut Attempts,
        failure: ApplyError,
        index: u64,
        items: &mut VecDeque<WorkItem<'_>>,
    ) -> Result<(), Error> {
        let (action, error, failed_step) = match failure {
            ApplyError::Local { action, error, failed_step } => (action, error, failed_step),
            ApplyError::Final(Error::Closed) if self.shared.interrupted.is_set() => return Err(self.stop()),
            ApplyError::Final(error) => return Err(self.give_up(&format!("entry {index} of the log: {error}"))),
        };
        if self.shared.interrupted.is_set() {
            return Err(self.stop());
        }
        attempts.written = full::bytes_written();
        if self.session.rollback().is_err() {
            // The transaction ends with its connection.
            self.session.mark_dirty();
        }
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
            Response::FailStatement | Response::Stop => {
                let why = format!("entry {index} of the log: {action}: {} ({})", error.message, error.code);
                self.give_up(&why);
                Err(engine_error(action, error))
            }
        }
    }

    /// Stops because the process ends. The open transaction is rolled back, and is applied when the database is opened
    /// again.
    fn stop(&mut self) -> Error {
        let _ = self.session.rollback();
        self.shared.poison("interrupted");
        Error::Closed
    }

    /// Returns whether the statement itself needs more than there is.
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

    /// Makes the step fail with this error from now on, without running it.
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

    /// Waits before the next attempt. Returns an error if the process ends meanwhile.
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

/// Returns the last step of the first item that is not known to fail. A COMMIT that fails does not report which step is
/// too large.
fn suspected_step(items: &VecDeque<WorkItem<'_>>) -> Option<FailedStep> {
    let item = items.front()?;
    let known = |step: &usize| item.known_failures.iter().any(|(known, _)| known == step);
    let step = (item.first_step..=item.last_step()).rev().find(|step| !known(step))?;
    Some(FailedStep { item: 0, step })
}

/// Gives the items up to the failed one transactions of their own, so that the next failure is that of a single item;
/// all items if the failed one is unknown.
fn isolate(items: &mut VecDeque<WorkItem<'_>>, failed_step: Option<FailedStep>) {
    let count = failed_step.map_or(items.len(), |failed_step| failed_step.item + 1);
    items.iter_mut().take(count).for_each(|item| item.exclusive = true);
}

/// A response to a failure of this node.
enum Response {
    /// Wait and retry.
    Wait,
    /// Let the statement fail, on a node without other voters; otherwise stop.
    FailStatement,
    /// Take no more writes.
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
        // A limit of `LogLimits` that only this node applies has interrupted it.
        (ffi::SQLITE_CORRUPT | ffi::SQLITE_INTERRUPT, _) => Response::FailStatement,
        _ => Response::Stop,
    }
}
