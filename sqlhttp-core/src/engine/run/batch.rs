//! Runs the steps of a batch, and undoes the effects of steps that fail.

use std::time::{Duration, Instant};

use super::mode::{Mode, SettingsEffect};
use super::sink::{RunError, Sink};
use super::step::{Run, StepError, StepSummary};
use crate::engine::session::{Savepoint, Session};
use crate::engine::sqlite::{clock, probe};
use crate::engine::watch::StopReason;
use crate::model::{Action, Atomicity, Batch, Ending, Failure, OnError, Step, StepInfo, StepOutcome};

/// Runs the steps of a batch in order. Before the call, the caller must have called [`Session::begin_batch`] and begun
/// the transaction. After the call, it must commit the transaction or roll it back, depending on the result.
pub(crate) fn run_batch(
    session: &mut Session,
    batch: &Batch,
    mode: Mode<'_>,
    sink: &mut impl Sink,
) -> Result<Ending, RunError> {
    // Inside a transaction of several steps `PRAGMA foreign_keys` has no effect. Read-only connections enforce no
    // foreign keys.
    let alone = mode.savepoints && (batch.atomicity == Atomicity::Each || batch.steps.len() == 1);
    let settings =
        if mode.settings == SettingsEffect::Allowed && !alone { SettingsEffect::None } else { mode.settings };
    let mode = Mode { settings, ..mode };
    for (index, step) in batch.steps.iter().enumerate() {
        let out_of_steps = match session.watch.stopped() {
            Some(StopReason::Steps) => Some(Failure::Timeout),
            // SQLite has not noticed the interrupt during the previous step. The writer never makes this failure the
            // outcome of a log entry.
            Some(StopReason::NodeLimit) => {
                Some(Failure::Sql(probe::error_of_code(rusqlite::ffi::SQLITE_INTERRUPT, None)))
            }
            Some(reason) => return Err(RunError::Interrupted(reason)),
            None => None,
        };
        clock::begin_step(mode.first_step + index);
        let guard = match (batch.atomicity, step.on_error) {
            (Atomicity::Each, _) => StepGuard::Transaction,
            (Atomicity::All, OnError::Continue) => StepGuard::Savepoint,
            (Atomicity::All, OnError::Abort) => StepGuard::None,
        };
        let known = mode.known_failures.iter().find(|(known, _)| *known == index);
        let (result, info) = match known {
            Some((_, failure)) => {
                if *failure == Failure::Timeout {
                    // The virtual-machine steps that the statement used up are not available to the following
                    // statements.
                    session.watch.exhaust_steps();
                }
                (Err(failure.clone()), StepInfo::default())
            }
            None => match out_of_steps {
                Some(failure) => (Err(failure), StepInfo::default()),
                None => run_step(session, step, guard, mode, batch.timed, sink)?,
            },
        };
        let failure = match result {
            Ok(outcome) => {
                sink.step(outcome, info)?;
                continue;
            }
            Err(failure) => failure,
        };
        let lost = mode.savepoints && session.is_autocommit();
        sink.step(StepOutcome::Failed(failure), info)?;
        if lost && mode.grouped {
            return Err(RunError::TransactionLost);
        }
        let takes_all = lost || known.is_some() && batch.atomicity == Atomicity::All;
        if takes_all || guard == StepGuard::None {
            return Ok(Ending::Aborted(index));
        }
    }
    Ok(Ending::Done)
}

/// The changes that are undone when a step fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum StepGuard {
    /// The effects of the whole batch: the failure ends it.
    None,
    /// The effects of the step alone, by rolling back to a savepoint. Deferred constraints are checked at the COMMIT of
    /// the batch.
    Savepoint,
    /// The effects of the step alone. The step acts as a transaction of its own, so no deferred constraint may be
    /// violated when it ends.
    Transaction,
}

/// Runs one step. If the step fails and `guard` is not [`StepGuard::None`], the effects of the step are undone.
fn run_step(
    session: &mut Session,
    step: &Step,
    guard: StepGuard,
    mode: Mode<'_>,
    timed: bool,
    sink: &mut impl Sink,
) -> Result<(Result<StepOutcome, Failure>, StepInfo), RunError> {
    let guarded = mode.savepoints && guard != StepGuard::None;
    if guarded && let Err(error) = session.savepoint(Savepoint::Step) {
        return Ok((Err(Failure::Sql(error)), StepInfo::default()));
    }
    let started = timed.then(Instant::now);
    let changes_before = session.total_changes();
    let mut run =
        Run { session, mode, sink, summary: StepSummary::default(), blocks_sent: 0, restored_tables: Vec::new() };
    let result = run.step(step);
    let info = run.summary.info(started.map_or(Duration::ZERO, |started| started.elapsed()));
    let single = run.summary.only_one_failed && matches!(step.action, Action::Run { .. });
    let mut result = match result {
        Ok(outcome) => Ok(outcome),
        Err(StepError::Failed(failure)) => Err(failure),
        Err(StepError::Aborted(stop)) => return Err(stop),
    };
    if guarded && guard == StepGuard::Transaction && result.is_ok() {
        result = session.deferred_violation().map_or(result, Err);
    }
    // If the failure has ended the transaction, the savepoint no longer exists. The caller checks for that.
    if guarded && !session.is_autocommit() {
        // A statement that fails with OR FAIL or RAISE(FAIL) keeps the rows it has changed
        // (<https://sqlite.org/lang_conflict.html>). SQLite counts the changed rows of a failed statement only in this
        // case.
        let violates =
            matches!(&result, Err(Failure::Sql(error)) if error.primary_code() == rusqlite::ffi::SQLITE_CONSTRAINT);
        let keeps = violates && single && session.total_changes() > changes_before;
        let keeps = keeps && session.deferred_violation().is_none();
        let ended =
            if result.is_ok() || keeps { session.release(Savepoint::Step) } else { session.undo(Savepoint::Step) };
        if let Err(error) = ended {
            return Ok((Err(Failure::Sql(error)), info));
        }
    }
    Ok((result, info))
}
