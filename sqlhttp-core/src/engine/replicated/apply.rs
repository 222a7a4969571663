//! The writer of a database that applies a log ([`crate::Writes::Log`]).
//!
//! The work of many entries shares one transaction, and so does the note of how far the database is in the log
//! ([`Progress`]): what is applied and what is known to be applied cannot differ, whatever happens.
//!
//! Every node must compute the same results, in every replay. So no deadline and no departed client interrupts anything
//! here, and every limit comes from the entry. A failure that depends on this node alone (its disk, its memory) is not a
//! result. If it can pass, the writer rolls back, waits, and tries again ([`super::local`]); otherwise the database takes no
//! more writes.
//!
//! Statements that end the whole transaction (OR ROLLBACK, RAISE(ROLLBACK)) do so wherever they run. Their failure is
//! remembered, and the batch runs again with them failing from the start: the rest of the batch comes out as if each
//! had been alone, and still all of it is one transaction.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::entry::{Conditions, LogEntry, LogWork, OnApplied};
use super::local::{Culprit, Local, Trouble};
use super::piece::{Piece, Results};
use super::progress::Progress;
use super::{replace, sync};
use crate::engine::classify::runs_outside_transaction;
use crate::engine::facts::Author;
use crate::engine::options::Writes;
use crate::engine::run::{Mode, Stop};
use crate::engine::script::Script;
use crate::engine::sinks::Held;
use crate::engine::sqlite::clock::Stamped;
use crate::engine::sqlite::full;
use crate::engine::watch::Limits;
use crate::engine::writer::driver::{Company, Member, ToldStep, one_step, single_step};
use crate::engine::writer::queue::LogTask;
use crate::engine::writer::thread::Writer;
use crate::model::{Atomicity, Batch, Block, Ending, Error, Failure, Outcome, SqlError, Stamp, StepOutcome};

/// How long a transaction may go on while more work waits.
const GROUP_TIME_MAX: Duration = Duration::from_millis(20);
/// The same on every node, whatever its options say.
const HELD_BYTES_MAX: u64 = 64 << 20;
/// SQLite's own limit, which held for entries of the older format.
const VALUE_BYTES_MAX_OF_OLD_ENTRIES: u64 = 1_000_000_000;
/// How many times the steps of its entry a statement may take together with the statements of virtual tables.
const FUSE_FACTOR: u64 = 10;
/// The longest time of any write on a node without other voters, and the steps for which it gets a millisecond more.
const FUSE_TIME_MIN: Duration = Duration::from_secs(1);
/// Only the `db_timeout` of a caller leads to a shorter time than this.
const SHORT_TIME: Duration = Duration::from_secs(600);
/// How much longer a statement that works on whole tables may take.
const FUSE_FACTOR_OF_TABLES: u32 = 10;
const SLOW_STEPS_PER_MILLISECOND: u64 = 20_000;
const BLOCK_BYTES: usize = 64 << 10;
/// How many bytes of rows one transaction may yield before it ends, and they can be told.
const GROUP_BYTES_MAX: usize = 8 << 20;

/// What came of a piece.
enum Came {
    /// Its outcome, if it has one.
    Of(Option<Outcome>),
    /// The transaction is gone; it has to run again, knowing more.
    Again,
}

impl Writer<'_> {
    pub(in crate::engine) fn run_log(&mut self, task: LogTask) {
        let result = self.apply(&task.entries, task.tell);
        // The entries are applied, whether or not anybody still waits.
        let _ = task.reply.send(result);
    }

    fn apply(&mut self, entries: &[LogEntry], tell: Vec<Option<OnApplied>>) -> Result<Vec<Vec<Outcome>>, Error> {
        let mut results = Results { outcomes: vec![Vec::new(); entries.len()], tell };
        if let Some(gap) = self.gap(entries) {
            return Err(self.give_up(&gap));
        }
        let mut pieces = self.pieces(entries);
        let mut local = Local::default();
        while let Some(first) = pieces.front() {
            if let Some(why) = self.shared.poisoned() {
                return Err(Error::Poisoned(why));
            }
            let index = first.index;
            let left = pieces.len();
            let applied = self.renew().map_err(Trouble::passing("open connection"));
            match applied.and_then(|()| self.apply_some(&mut pieces, &mut results)) {
                Ok(()) if pieces.len() < left => local = Local::default(),
                Ok(()) => {}
                Err(trouble) => self.meet(&mut local, trouble, index, &mut pieces)?,
            }
        }
        self.shared.set_waits_for(None);
        self.renew_or_later();
        Ok(results.outcomes)
    }

    /// Applies pieces from the front, in one transaction if possible, and removes those that are applied.
    fn apply_some(&mut self, pieces: &mut VecDeque<Piece<'_>>, results: &mut Results) -> Result<(), Trouble> {
        let Some(first) = pieces.front_mut() else { return Ok(()) };
        match first.work {
            Some(LogWork::Replace(file)) => {
                let outcome = self.apply_replacement(first, file)?;
                results.add(first, Some(outcome));
                pieces.pop_front();
                Ok(())
            }
            Some(LogWork::Batch { batch, .. }) if first.alone => {
                // The result of ANALYZE must not depend on what this connection has done before. Statements that were
                // prepared with the schema before take a few steps more.
                self.session.forget_statements();
                self.session.forget_schema().map_err(Trouble::passing("forget schema"))?;
                if !self.must_be_split(batch) {
                    return self.apply_group(pieces, results);
                }
                let outcome = self.apply_in_steps(first, batch)?;
                results.add(first, Some(outcome));
                pieces.pop_front();
                Ok(())
            }
            _ => self.apply_group(pieces, results),
        }
    }

    /// Replaces all content, or only notes the place in the log if it is known that this fails.
    fn apply_replacement(&mut self, piece: &Piece<'_>, file: &std::path::Path) -> Result<Outcome, Trouble> {
        let mut next = self.shared.progress();
        piece.note(&mut next);
        let Some((_, failure)) = piece.known.first() else {
            full::forget();
            self.replace_content(file, &next).map_err(Trouble::passing("replace content"))?;
            return Ok(Outcome::default());
        };
        self.begin_for_log()?;
        self.commit_for_log(next, 1)?;
        self.keep_decision()?;
        Ok(Outcome { ending: Ending::NotCommitted(failure.clone()), ..Outcome::default() })
    }

    fn apply_group(&mut self, pieces: &mut VecDeque<Piece<'_>>, results: &mut Results) -> Result<(), Trouble> {
        self.begin_for_log()?;
        let started = Instant::now();
        let mut next = self.shared.progress();
        let mut done = Vec::with_capacity(pieces.len());
        let mut held_bytes = 0;
        let mut decided_here = false;
        for (position, piece) in pieces.iter_mut().enumerate() {
            if piece.alone && !done.is_empty() {
                break;
            }
            match self.apply_piece(piece).map_err(|trouble| trouble.of_piece(position))? {
                Came::Of(outcome) => {
                    held_bytes += outcome.as_ref().map_or(0, bytes_of);
                    done.push(outcome);
                }
                Came::Again => return self.roll_back(),
            }
            piece.note(&mut next);
            decided_here |= piece.decided_here;
            if piece.alone || started.elapsed() >= GROUP_TIME_MAX || held_bytes >= GROUP_BYTES_MAX {
                break;
            }
        }
        self.commit_for_log(next, done.len())?;
        if decided_here {
            self.keep_decision()?;
        }
        for (piece, outcome) in pieces.drain(..done.len()).zip(done) {
            results.add(&piece, outcome);
        }
        Ok(())
    }

    /// Makes durable that a step has failed on this node only, before its caller learns of it: after a power cut a replay
    /// could let it succeed.
    fn keep_decision(&mut self) -> Result<(), Trouble> {
        let synced = sync::run(self.shared).map_err(Trouble::Final)?;
        self.shared.note_decision(synced.index);
        Ok(())
    }

    fn apply_piece(&mut self, piece: &mut Piece<'_>) -> Result<Came, Trouble> {
        let (batch, steps_max) = match piece.work {
            Some(LogWork::Batch { batch, steps_max, .. }) => (batch, *steps_max),
            Some(LogWork::Barrier) => return Ok(Came::Of(Some(Outcome::default()))),
            Some(LogWork::Membership(_) | LogWork::Replace(_)) | None => return Ok(Came::Of(None)),
        };
        let _stamped = self.begin_piece(piece, batch)?;
        let company = if piece.alone { Company::Alone } else { Company::Shared };
        match self.run_for_log(batch, company, steps_max, &piece.known, 0)? {
            Member::Outcome(outcome) => Ok(Came::Of(Some(outcome))),
            Member::Lost { failed: Some(failed), .. } => {
                piece.known.push(failed);
                piece.alone = true;
                Ok(Came::Again)
            }
            Member::Lost { own: None, failed: None } => {
                // It marks the connection, although nobody could tell before.
                piece.alone = true;
                Ok(Came::Again)
            }
            Member::GivenUp(error) | Member::Lost { own: Some(error), .. } => Err(Trouble::from_error(error)),
        }
    }

    /// Prepares the session for the batch of a piece: its conditions, its time, its seed.
    fn begin_piece(&mut self, piece: &Piece<'_>, batch: &Batch) -> Result<Stamped, Trouble> {
        let Some(stamp) = batch.stamp else {
            return Err(Trouble::Final(Error::Poisoned("an entry of the log has no stamp".into())));
        };
        let options = &self.shared.blueprint.options;
        let (foreign_keys, value_bytes_max, stamp) = match piece.conditions {
            Some(Conditions { unix_ms, foreign_keys, value_bytes_max }) => {
                (foreign_keys, value_bytes_max, Stamp { unix_ms, ..stamp })
            }
            // It was applied without a limit when it was written.
            None => (options.foreign_keys, VALUE_BYTES_MAX_OF_OLD_ENTRIES, stamp),
        };
        self.session.set_conditions(foreign_keys, value_bytes_max).map_err(Trouble::passing("set limits"))?;
        full::forget();
        self.session.begin_batch();
        Ok(Stamped::new(stamp))
    }

    /// Only the end of this process interrupts the run; then it begins from its start when the database is opened again.
    fn limits_for_log(&self, steps_max: u64) -> Limits {
        let steps = (steps_max > 0).then_some(steps_max);
        let fuse = steps.map(|steps| steps.saturating_mul(FUSE_FACTOR));
        // Where other nodes vote, a moment of this node's clock decides nothing.
        let longest = steps.filter(|_| self.shared.is_sole()).map(longest);
        let after = |time: Option<Duration>| time.and_then(|time| Instant::now().checked_add(time));
        let (fuse_at, fuse_of_tables_at) = (after(longest), after(longest.map(longest_of_tables)));
        let cancel = Some(self.shared.interrupted.clone());
        Limits { cancel, steps, fuse, fuse_at, fuse_of_tables_at, ..Limits::default() }
    }

    /// Runs a batch, or a part of one, in a savepoint. A failure that only this node has is not an outcome.
    fn run_for_log(
        &mut self,
        batch: &Batch,
        company: Company,
        steps_max: u64,
        known: &[(usize, Failure)],
        first_step: usize,
    ) -> Result<Member, Trouble> {
        let mode = Mode {
            savepoints: true,
            shared: true,
            block_bytes: BLOCK_BYTES,
            rows_max: None,
            known,
            first_step,
            settings_hold: false,
        };
        let sink = Held::new(batch.steps.len(), HELD_BYTES_MAX, Stop::TooManyBytes { limit: HELD_BYTES_MAX });
        let member = self.run_in_savepoint(self.limits_for_log(steps_max), batch, company, mode, sink);
        let unknown = |step: &usize| known.iter().all(|(known, _)| known != step);
        match &member {
            Member::Outcome(outcome) => {
                let failures = outcome.steps.iter().enumerate();
                let failures = failures.filter_map(|(step, outcome)| Some((step, failure_of(outcome)?)));
                self.refuse_local(failures.filter(|(step, _)| unknown(step)))?;
            }
            Member::Lost { failed: Some((step, failure)), .. } => {
                self.refuse_local(std::iter::once((*step, failure)).filter(|(step, _)| unknown(step)))?;
            }
            _ => {}
        }
        Ok(member)
    }

    /// Whether a batch has to be more than one transaction, because a statement of it runs only outside of any.
    fn must_be_split(&mut self, batch: &Batch) -> bool {
        batch.atomicity == Atomicity::Each
            && (0..batch.steps.len()).any(|step| runs_outside_transaction(&mut self.session, &one_step(batch, step)))
    }

    /// Applies a batch step by step, each a transaction of its own or none.
    fn apply_in_steps(&mut self, piece: &mut Piece<'_>, batch: &Batch) -> Result<Outcome, Trouble> {
        let _stamped = self.begin_piece(piece, batch)?;
        self.restore_settings(batch, piece.first_step);
        for step in piece.first_step..batch.steps.len() {
            let mut next = self.shared.progress();
            if step + 1 == batch.steps.len() {
                piece.note(&mut next);
            } else {
                (next.works, next.steps) = (piece.number, u32::try_from(step + 1).unwrap_or(u32::MAX));
            }
            let (told, facts) = self.apply_step(piece, &one_step(batch, step), step, next)?;
            piece.partial.steps.push(told);
            piece.partial.facts.push(facts);
            piece.first_step = step + 1;
        }
        Ok(std::mem::take(&mut piece.partial))
    }

    /// Enforces foreign keys as the steps before this one have set them, if they were applied by another process.
    fn restore_settings(&mut self, batch: &Batch, first_step: usize) {
        for step in 0..first_step {
            let Some(sql) = batch.steps.get(step).and_then(|step| step.sql()) else { continue };
            let Ok(mut script) = Script::new(&mut self.session, sql, Author::Client) else { continue };
            while let Ok(Some(prepared)) = script.next(&mut self.session) {
                let set = prepared.facts.foreign_keys;
                self.session.put_back(prepared);
                if let Some(on) = set
                    && let Err(error) = self.session.enforce_foreign_keys(on)
                {
                    tracing::error!(%error, "foreign keys");
                }
            }
        }
    }

    fn apply_step(
        &mut self,
        piece: &Piece<'_>,
        step: &Batch,
        number: usize,
        next: Progress,
    ) -> Result<ToldStep, Trouble> {
        let steps_max = if let Some(LogWork::Batch { steps_max, .. }) = piece.work { *steps_max } else { 0 };
        // After a crash the step before this one may have been applied by another connection.
        self.session.forget_statements();
        self.session.forget_schema().map_err(Trouble::passing("forget schema"))?;
        // The step is the only one of its batch here.
        let mut known: Vec<_> = piece.known.iter().filter(|(step, _)| *step == number).cloned().collect();
        known.iter_mut().for_each(|(step, _)| *step = 0);
        let whole = |trouble: Trouble| trouble.of_step(number);
        if known.is_empty() && runs_outside_transaction(&mut self.session, step) {
            let told = self.run_bare(&self.limits_for_log(steps_max), step);
            self.refuse_local(failure_of(&told.0).map(|failure| (0, failure)).into_iter()).map_err(whole)?;
            self.begin_for_log()?;
            self.commit_for_log(next, 1)?;
            return Ok(told);
        }
        loop {
            self.begin_for_log()?;
            match self.run_for_log(step, Company::Alone, steps_max, &known, number).map_err(whole)? {
                Member::Outcome(outcome) => {
                    self.commit_for_log(next, 1)?;
                    if piece.decided_here {
                        self.keep_decision()?;
                    }
                    return Ok(single_step(outcome));
                }
                Member::Lost { failed: Some(failed), .. } => {
                    known.push(failed);
                    self.roll_back()?;
                }
                Member::GivenUp(error) | Member::Lost { own: Some(error), .. } => {
                    return Err(Trouble::from_error(error));
                }
                Member::Lost { own: None, failed: None } => {
                    return Err(Trouble::Final(Error::Poisoned("the transaction was lost".into())));
                }
            }
        }
    }

    /// Puts the content of a checked file in the place of what there is.
    pub(in crate::engine) fn replace_content(
        &mut self,
        file: &std::path::Path,
        progress: &Progress,
    ) -> Result<(), SqlError> {
        self.session.forget_statements();
        let noted = (self.shared.blueprint.options.writes == Writes::Log).then_some(progress);
        self.session.as_owner_sql(|connection| replace::replace(connection, file, noted))?;
        self.shared.set_progress(progress.clone());
        // Connections may have to learn another text encoding, which they cannot.
        self.shared.blueprint.retire_sessions();
        Ok(())
    }

    /// Opens the transaction.
    fn begin_for_log(&mut self) -> Result<(), Trouble> {
        self.session.begin_immediate().map_err(Trouble::passing("begin transaction"))
    }

    /// Commits, together with the record of progress.
    fn commit_for_log(&mut self, next: Progress, works: usize) -> Result<(), Trouble> {
        self.session.write_progress(&next).map_err(Trouble::passing("write progress"))?;
        self.session.commit().map_err(Trouble::passing("commit"))?;
        self.shared.set_progress(next);
        self.count(1, works);
        Ok(())
    }

    fn roll_back(&mut self) -> Result<(), Trouble> {
        self.session.rollback().map_err(Trouble::passing("roll back"))
    }

    /// Returns the first failure that other nodes would not have. It must not become a result.
    fn refuse_local<'f>(&self, failures: impl Iterator<Item = (usize, &'f Failure)>) -> Result<(), Trouble> {
        for (step, failure) in failures {
            if let Failure::Sql(error) = failure
                && self.is_local(error)
            {
                let culprit = Some(Culprit { piece: 0, step });
                return Err(Trouble::Local { action: "apply", error: error.clone(), culprit });
            }
        }
        Ok(())
    }

    /// Whether an error comes from this node's disk or memory, not from the data.
    fn is_local(&self, error: &SqlError) -> bool {
        use rusqlite::ffi;
        match error.primary_code() {
            // AUTOINCREMENT says the same when it has no number left, and that is the data's.
            ffi::SQLITE_FULL => full::was_met(),
            ffi::SQLITE_CORRUPT => {
                // Clients may write to the tables of virtual tables and of sequences.
                ![ffi::SQLITE_CORRUPT_VTAB, ffi::SQLITE_CORRUPT_SEQUENCE].contains(&error.code)
            }
            ffi::SQLITE_IOERR
            | ffi::SQLITE_NOMEM
            | ffi::SQLITE_CANTOPEN
            | ffi::SQLITE_NOTADB
            | ffi::SQLITE_BUSY
            | ffi::SQLITE_PROTOCOL
            | ffi::SQLITE_READONLY
            | ffi::SQLITE_INTERRUPT
            | ffi::SQLITE_INTERNAL => true,
            _ => false,
        }
    }

    /// Takes no more writes. Rolls back the open transaction, of which no caller has got a result.
    pub(in crate::engine) fn give_up(&mut self, why: &str) -> Error {
        self.shared.poison(why);
        let _ = self.session.rollback();
        Error::Poisoned(why.into())
    }
}

/// The longest time that a node without other voters gives a write of so many steps. A step may take a tenth of a second if
/// its values are long, so steps alone do not end such a write in time.
fn longest(steps: u64) -> Duration {
    FUSE_TIME_MIN + Duration::from_millis(steps / SLOW_STEPS_PER_MILLISECOND)
}

/// The same for a statement that works on whole tables (CREATE INDEX, ALTER TABLE). It has time, unless its caller asks for
/// a short one.
fn longest_of_tables(longest: Duration) -> Duration {
    if longest < SHORT_TIME { longest } else { longest * FUSE_FACTOR_OF_TABLES }
}

fn bytes_of(outcome: &Outcome) -> usize {
    let rows =
        outcome.steps.iter().filter_map(|step| if let StepOutcome::Rows(rows) = step { Some(rows) } else { None });
    rows.flat_map(|rows| &rows.blocks).map(Block::byte_len).sum()
}

fn failure_of(step: &StepOutcome) -> Option<&Failure> {
    match step {
        StepOutcome::Failed(failure) => Some(failure),
        _ => None,
    }
}
