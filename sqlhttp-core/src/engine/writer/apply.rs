//! The writer of a database that applies a log ([`crate::Writes::Log`]).
//!
//! The work of many entries shares one transaction, and so does the note of how far the database is in the log
//! ([`Progress`]): what is applied and what is known to be applied cannot differ, whatever happens.
//!
//! Whatever is applied must come out alike on every node and in every replay. So no deadline and no departed client
//! interrupts anything here, and no limit differs from node to node. What depends on this node alone (its disk, its
//! memory) is no outcome: it poisons the database before anything is committed or told.
//!
//! Statements that end the whole transaction (OR ROLLBACK, RAISE(ROLLBACK)) do so wherever they run. Their failure is
//! remembered, and the batch runs again with them failing from the start: the rest of the batch comes out as if each
//! had been alone, and still all of it is one transaction.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::group::{Company, Member, ToldStep, single_step};
use super::queue::LogTask;
use super::thread::Writer;
use crate::engine::Writes;
use crate::engine::classify::runs_outside_transaction;
use crate::engine::image;
use crate::engine::log::{LogEntry, LogWork, OnApplied};
use crate::engine::progress::{self, Progress};
use crate::engine::run::{Mode, Stop};
use crate::engine::session::engine_error;
use crate::engine::sinks::Held;
use crate::engine::sqlite::clock::Stamped;
use crate::engine::sqlite::full;
use crate::engine::watch::Limits;
use crate::model::{Atomicity, Batch, Block, Error, Failure, Outcome, SqlError, StepOutcome};

/// How long a transaction may go on while more work waits.
const GROUP_TIME_MAX: Duration = Duration::from_millis(20);
/// How many times the busy timeout another process may hold the database's lock before this node gives up.
const BUSY_ATTEMPTS: u32 = 6;
/// The same on every node, whatever its options say.
const HELD_BYTES_MAX: u64 = 64 << 20;
const BLOCK_BYTES: usize = 64 << 10;
/// How many bytes of rows one transaction may yield before it ends, and they can be told.
const GROUP_BYTES_MAX: usize = 8 << 20;

/// A piece of work, and its place in the log.
struct Piece<'e> {
    /// Which of the entries it belongs to.
    entry: usize,
    term: u64,
    index: u64,
    /// Its number in the entry.
    number: u32,
    /// Nothing of the entry comes after it.
    last: bool,
    /// `None` for an entry without any.
    work: Option<&'e LogWork>,
    alone: bool,
    /// Steps that end the transaction.
    known: Vec<(usize, Failure)>,
    /// The first step that has not been applied yet.
    first_step: usize,
}

impl Piece<'_> {
    fn note(&self, progress: &mut Progress) {
        match self.work {
            Some(LogWork::Batch { .. } | LogWork::Replace(_)) => {
                (progress.command_index, progress.write_index) = (self.index, self.index);
            }
            Some(LogWork::Barrier) => progress.command_index = self.index,
            Some(LogWork::Membership(membership)) => progress.membership.clone_from(membership),
            None => {}
        }
        if self.last {
            progress.passed(self.term, self.index);
        } else {
            (progress.works, progress.steps) = (self.number + 1, 0);
        }
    }
}

/// What came of the entries, and who is told at once.
struct Results {
    outcomes: Vec<Vec<Outcome>>,
    tell: Vec<Option<OnApplied>>,
}

impl Results {
    /// A piece has been committed.
    fn add(&mut self, piece: &Piece<'_>, outcome: Option<Outcome>) {
        let Some(outcome) = outcome else { return };
        match self.tell.get_mut(piece.entry) {
            Some(Some(tell)) => tell(outcome),
            _ => self.outcomes[piece.entry].push(outcome),
        }
    }
}

/// What came of a piece.
enum Came {
    /// Its outcome, if it has one.
    Of(Option<Outcome>),
    /// The transaction is gone; it has to run again, knowing more.
    Again,
}

impl Writer<'_> {
    pub(super) fn run_log(&mut self, task: LogTask) {
        let result = self.apply(&task.entries, task.tell);
        // The entries are applied, whether or not anybody still waits.
        let _ = task.reply.send(result);
    }

    fn apply(&mut self, entries: &[LogEntry], tell: Vec<Option<OnApplied>>) -> Result<Vec<Vec<Outcome>>, Error> {
        let mut results = Results { outcomes: vec![Vec::new(); entries.len()], tell };
        if let Some(gap) = self.gap(entries) {
            return Err(self.give_up_because(&gap));
        }
        let mut pieces = self.pieces(entries);
        while !pieces.is_empty() {
            if let Some(why) = self.shared.poisoned() {
                return Err(Error::Poisoned(why));
            }
            self.apply_some(&mut pieces, &mut results)?;
            self.renew();
        }
        Ok(results.outcomes)
    }

    /// What is missing between the last entry that has been applied and the first of these that has not, or among these.
    fn gap(&self, entries: &[LogEntry]) -> Option<String> {
        let applied = self.shared.progress().index;
        let new = entries.iter().map(|entry| entry.index).filter(|index| *index > applied);
        let (index, wanted) = new.zip(applied + 1..).find(|(index, wanted)| index != wanted)?;
        Some(format!("entry {index} of the log came where {wanted} had to"))
    }

    /// What of these entries has not been applied yet.
    fn pieces<'e>(&self, entries: &'e [LogEntry]) -> VecDeque<Piece<'e>> {
        let progress = self.shared.progress();
        let mut pieces = VecDeque::with_capacity(entries.len());
        for (position, entry) in entries.iter().enumerate().filter(|(_, entry)| entry.index > progress.index) {
            let resumed = entry.index == progress.index + 1;
            let (works, steps) = if resumed { (progress.works, progress.steps) } else { (0, 0) };
            let count = entry.work.len().max(1);
            for number in works as usize..count {
                let work = entry.work.get(number);
                pieces.push_back(Piece {
                    entry: position,
                    term: entry.term,
                    index: entry.index,
                    number: u32::try_from(number).unwrap_or(u32::MAX),
                    last: number + 1 == count,
                    work,
                    alone: matches!(work, Some(LogWork::Batch { alone: true, .. } | LogWork::Replace(_))),
                    known: Vec::new(),
                    first_step: if number == works as usize { steps as usize } else { 0 },
                });
            }
        }
        pieces
    }

    /// Applies pieces from the front, in one transaction if that can be, and takes away those that are applied.
    fn apply_some(&mut self, pieces: &mut VecDeque<Piece<'_>>, results: &mut Results) -> Result<(), Error> {
        let Some(first) = pieces.front() else { return Ok(()) };
        match first.work {
            Some(LogWork::Replace(file)) => {
                let mut next = self.shared.progress();
                first.note(&mut next);
                let replaced = self.replace_content(file, &next);
                replaced.map_err(|error| self.give_up("replace content", error))?;
                results.add(first, Some(Outcome::default()));
                pieces.pop_front();
                Ok(())
            }
            Some(LogWork::Batch { .. }) if first.alone => {
                // What comes of ANALYZE must not depend on what this connection has done before.
                self.session.forget_schema().map_err(|error| self.give_up("forget schema", error))?;
                self.apply_alone(pieces, results)
            }
            _ => self.apply_group(pieces, results),
        }
    }

    fn apply_alone(&mut self, pieces: &mut VecDeque<Piece<'_>>, results: &mut Results) -> Result<(), Error> {
        let Some(first) = pieces.front() else { return Ok(()) };
        match first.work {
            Some(LogWork::Batch { batch, alone: true }) if self.must_be_split(batch) => {
                let outcome = self.apply_in_steps(first, batch)?;
                results.add(first, Some(outcome));
                pieces.pop_front();
                Ok(())
            }
            _ => self.apply_group(pieces, results),
        }
    }

    fn apply_group(&mut self, pieces: &mut VecDeque<Piece<'_>>, results: &mut Results) -> Result<(), Error> {
        self.begin_for_log()?;
        let started = Instant::now();
        let mut next = self.shared.progress();
        let mut done = Vec::with_capacity(pieces.len());
        let mut held_bytes = 0;
        for piece in pieces.iter_mut() {
            if piece.alone && !done.is_empty() {
                break;
            }
            match self.apply_piece(piece)? {
                Came::Of(outcome) => {
                    held_bytes += outcome.as_ref().map_or(0, bytes_of);
                    done.push(outcome);
                }
                Came::Again => return self.roll_back(),
            }
            piece.note(&mut next);
            if piece.alone || started.elapsed() >= GROUP_TIME_MAX || held_bytes >= GROUP_BYTES_MAX {
                break;
            }
        }
        self.commit_for_log(next, done.len())?;
        for (piece, outcome) in pieces.drain(..done.len()).zip(done) {
            results.add(&piece, outcome);
        }
        Ok(())
    }

    fn apply_piece(&mut self, piece: &mut Piece<'_>) -> Result<Came, Error> {
        let batch = match piece.work {
            Some(LogWork::Batch { batch, .. }) => batch,
            Some(LogWork::Barrier) => return Ok(Came::Of(Some(Outcome::default()))),
            Some(LogWork::Membership(_) | LogWork::Replace(_)) | None => return Ok(Came::Of(None)),
        };
        let Some(stamp) = batch.stamp else {
            return Err(self.give_up_because("an entry of the log has no stamp"));
        };
        let _stamped = Stamped::new(stamp);
        full::forget();
        self.session.begin_batch();
        let company = if piece.alone { Company::Alone } else { Company::Shared };
        match self.run_for_log(batch, company, &piece.known, 0)? {
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
            Member::GivenUp(error) | Member::Lost { own: Some(error), .. } => {
                Err(self.give_up_because(&error.to_string()))
            }
        }
    }

    /// Only the end of this process ends what is in the log; then it begins anew at the next start.
    fn limits_for_log(&self) -> Limits {
        Limits { cancel: Some(self.shared.interrupted.clone()), ..Limits::default() }
    }

    /// Runs a batch, or a part of one, in a savepoint. An outcome that only this node would have is none.
    fn run_for_log(
        &mut self,
        batch: &Batch,
        company: Company,
        known: &[(usize, Failure)],
        first_step: usize,
    ) -> Result<Member, Error> {
        let mode = Mode { savepoints: true, shared: true, block_bytes: BLOCK_BYTES, rows_max: None, known, first_step };
        let sink = Held::new(HELD_BYTES_MAX, Stop::TooManyBytes { limit: HELD_BYTES_MAX });
        let member = self.run_in_savepoint(&self.limits_for_log(), batch, company, mode, sink);
        if let Member::Outcome(outcome) = &member {
            self.refuse_local(outcome.steps.iter().filter_map(failure_of))?;
        }
        if let Member::Lost { failed: Some((_, failure)), .. } = &member {
            self.refuse_local(std::iter::once(failure))?;
        }
        Ok(member)
    }

    /// Whether a batch has to be more than one transaction, because a statement of it runs only outside of any.
    fn must_be_split(&mut self, batch: &Batch) -> bool {
        batch.atomicity == Atomicity::Each
            && (0..batch.steps.len()).any(|step| runs_outside_transaction(&mut self.session, &one_step(batch, step)))
    }

    /// Applies a batch step by step, each a transaction of its own or none.
    fn apply_in_steps(&mut self, piece: &Piece<'_>, batch: &Batch) -> Result<Outcome, Error> {
        let Some(stamp) = batch.stamp else {
            return Err(self.give_up_because("an entry of the log has no stamp"));
        };
        let _stamped = Stamped::new(stamp);
        full::forget();
        self.session.begin_batch();
        let mut outcome = Outcome::default();
        for step in piece.first_step..batch.steps.len() {
            let mut next = self.shared.progress();
            if step + 1 == batch.steps.len() {
                piece.note(&mut next);
            } else {
                (next.works, next.steps) = (piece.number, u32::try_from(step + 1).unwrap_or(u32::MAX));
            }
            let (told, facts) = self.apply_step(&one_step(batch, step), step, next)?;
            outcome.steps.push(told);
            outcome.facts.push(facts);
        }
        Ok(outcome)
    }

    fn apply_step(&mut self, step: &Batch, number: usize, next: Progress) -> Result<ToldStep, Error> {
        // After a crash the step before this one may have been applied by another connection.
        self.session.forget_schema().map_err(|error| self.give_up("forget schema", error))?;
        if runs_outside_transaction(&mut self.session, step) {
            let told = self.run_bare(&self.limits_for_log(), step);
            self.refuse_local(failure_of(&told.0).into_iter())?;
            self.begin_for_log()?;
            self.commit_for_log(next, 1)?;
            return Ok(told);
        }
        let mut known = Vec::new();
        loop {
            self.begin_for_log()?;
            match self.run_for_log(step, Company::Alone, &known, number)? {
                Member::Outcome(outcome) => {
                    self.commit_for_log(next, 1)?;
                    return Ok(single_step(outcome));
                }
                Member::Lost { failed: Some(failed), .. } => {
                    known.push(failed);
                    self.roll_back()?;
                }
                Member::GivenUp(error) | Member::Lost { own: Some(error), .. } => {
                    return Err(self.give_up_because(&error.to_string()));
                }
                Member::Lost { own: None, failed: None } => {
                    return Err(self.give_up_because("the transaction was lost"));
                }
            }
        }
    }

    /// Puts the content of a checked file in the place of what there is.
    pub(super) fn replace_content(&mut self, file: &std::path::Path, progress: &Progress) -> Result<(), SqlError> {
        self.session.forget_statements();
        let noted = (self.shared.blueprint.options.writes == Writes::Log).then_some(progress);
        self.session.as_owner_sql(|connection| image::replace(connection, file, noted))?;
        self.shared.set_progress(progress.clone());
        // Connections may have to learn another text encoding, which they cannot.
        self.shared.blueprint.retire_sessions();
        Ok(())
    }

    /// Opens the transaction. Another process may hold the lock, which it should not; so it gets some time.
    fn begin_for_log(&mut self) -> Result<(), Error> {
        let mut attempts = 0;
        loop {
            match self.session.begin_immediate() {
                Ok(()) => return Ok(()),
                Err(error) if error.primary_code() == rusqlite::ffi::SQLITE_BUSY && attempts < BUSY_ATTEMPTS => {
                    attempts += 1;
                    tracing::warn!("another process holds the database's lock, which nobody else may");
                }
                Err(error) => return Err(self.give_up("begin transaction", error)),
            }
        }
    }

    /// Commits, with the note of how far the database is now.
    fn commit_for_log(&mut self, next: Progress, works: usize) -> Result<(), Error> {
        let written = self.session.as_owner(|connection| progress::write(connection, &next));
        written.map_err(|error| self.give_up("note progress", error))?;
        self.session.commit().map_err(|error| self.give_up("commit", error))?;
        self.shared.set_progress(next);
        self.count(1, works);
        Ok(())
    }

    fn roll_back(&mut self) -> Result<(), Error> {
        self.session.rollback().map_err(|error| self.give_up("roll back", error))
    }

    /// A failure that other nodes would not have must not be told, and nothing after it may be applied.
    fn refuse_local<'f>(&mut self, failures: impl Iterator<Item = &'f Failure>) -> Result<(), Error> {
        for failure in failures {
            if let Failure::Sql(error) = failure
                && self.is_local(error)
            {
                return Err(self.give_up("apply", error.clone()));
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

    fn give_up(&mut self, action: &'static str, error: SqlError) -> Error {
        self.shared.poison(&format!("{action}: {} ({})", error.message, error.code));
        // What is open dies with the connection; nothing of it has been told.
        let _ = self.session.rollback();
        engine_error(action, error)
    }

    fn give_up_because(&mut self, why: &str) -> Error {
        self.shared.poison(why);
        let _ = self.session.rollback();
        Error::Poisoned(why.into())
    }
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

/// One step of a batch as a batch of its own.
fn one_step(batch: &Batch, step: usize) -> Batch {
    let steps = batch.steps.get(step).cloned().into_iter().collect();
    Batch { steps, atomicity: Atomicity::All, stamp: batch.stamp, timed: batch.timed }
}
