//! Runs short reads on the caller's own thread.
//!
//! Passing a short read to another thread costs more than the read itself. But the caller's thread serves other
//! connections too, so the work there must be short, whatever the data. Therefore the batch must be small, values are
//! limited to 64 KiB, and a budget of steps and milliseconds ends the batch. A read that exceeds these limits runs
//! again on a reader thread ([`super::readers`]), with the limits of the database.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, TryLockError};
use std::time::Instant;

use super::classify::{BatchKind, classify, classify_cached, refused};
use super::custom;
use super::read::read;
use super::run::RunError;
use super::session::Session;
use super::sessions::Sessions;
use super::shared::SharedState;
use super::sinks::BufferedSink;
use super::watch::{Limits, StopReason};
use crate::model::{Batch, Outcome, Stamp};

/// The maximum number of progress-handler calls of a read on its caller's thread: about 100,000 virtual-machine steps,
/// or one millisecond.
const INLINE_CALLS: u32 = 100;
/// The maximum size of the result of a read on its caller's thread, in bytes of rows. The whole result is held in
/// memory.
const INLINE_BYTES_MAX: u64 = 256 << 10;
/// The maximum length of the SQL texts of all steps of a batch that is prepared on its caller's thread, in bytes. To
/// prepare them takes about one millisecond.
const INLINE_SQL_BYTES_MAX: usize = 64 << 10;
/// The maximum length of an SQL text that is prepared on its caller's thread if it is not in the statement cache, in
/// bytes. The time to prepare an SQL text may grow with the square of its length.
const INLINE_UNCACHED_SQL_BYTES_MAX: usize = 4 << 10;
/// A batch that ran on its caller's thread for this many scans of the supervisor counts as slow: about eight
/// milliseconds.
const SLOW_RUN_SCANS: u32 = 3;
/// How long SQL texts that are not in the statement cache are prepared on reader threads after a slow batch, in
/// milliseconds.
const SLOW_PENALTY_MS: u64 = 10_000;
/// An SQL text with at least this many SELECTs is prepared on a reader thread if it is not in the statement cache.
const NESTED_SELECTS: usize = 5;
/// The maximum number of steps in a batch that is prepared or run on its caller's thread.
const INLINE_STEPS_MAX: usize = 1024;

/// Whether a batch may write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// The batch may write. SQLite reports whether it does; a batch that writes goes to the writer.
    Any,
    /// The batch must not write. A statement that writes fails.
    ReadOnly,
}

/// The result of an attempt to run a batch on the caller's thread.
pub(crate) enum InlineResult {
    /// The batch has run on the caller's thread, with this outcome.
    Done(Outcome),
    /// The batch writes, so it must run on the writer thread. It has not run. If `exclusive`, it must run in a
    /// transaction of its own.
    Write { exclusive: bool },
    /// The batch takes too long for the caller's thread, or no session was free. It has changed nothing, and must run
    /// on a reader thread.
    Deferred,
}

/// Runs batches on their callers' threads.
pub(crate) struct InlineRunner {
    shared: Arc<SharedState>,
    sessions: Arc<Sessions>,
    penalty: Penalty,
    /// Whether no batch runs on its caller's thread, because statements may call code of the program.
    never: bool,
}

/// After a slow batch, sends SQL texts that are not in the statement cache to reader threads for [`SLOW_PENALTY_MS`].
/// The time to prepare an SQL text does not depend on its length alone: a view that it names may be of any size.
struct Penalty {
    opened: Instant,
    /// The time at which the penalty ends, in milliseconds after `opened`.
    until_ms: AtomicU64,
}

impl Penalty {
    fn new(opened: Instant) -> Penalty {
        Penalty { opened, until_ms: AtomicU64::new(0) }
    }

    /// Starts the penalty. If it is active already, it starts over.
    fn start(&self, now: Instant) {
        self.until_ms.store(self.millis(now) + SLOW_PENALTY_MS, Ordering::Relaxed);
    }

    fn is_active(&self, now: Instant) -> bool {
        self.until_ms.load(Ordering::Relaxed) > self.millis(now)
    }

    fn millis(&self, now: Instant) -> u64 {
        u64::try_from(now.saturating_duration_since(self.opened).as_millis()).unwrap_or(u64::MAX - SLOW_PENALTY_MS)
    }
}

/// Whether a batch contains SQL texts that are not in the statement cache, and how long they take to prepare.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Uncached {
    /// All SQL texts are in the statement cache.
    None,
    /// The SQL texts that are not in the statement cache can be prepared quickly.
    Fast,
    /// At least one of the SQL texts that are not in the statement cache may take long to prepare.
    Slow,
}

impl InlineRunner {
    pub(crate) fn new(shared: Arc<SharedState>, sessions: Arc<Sessions>) -> InlineRunner {
        let never = custom::may_block(&shared.config.options);
        InlineRunner { shared, sessions, penalty: Penalty::new(Instant::now()), never }
    }

    /// Runs a batch on the caller's thread if that takes little time. Otherwise returns [`InlineResult::Deferred`].
    pub(crate) fn run(&self, batch: &Batch, stamp: Stamp, access: Access) -> InlineResult {
        let rollback_lock = match (self.shared.config.snapshots(), self.shared.rollback_lock.try_read()) {
            (true, _) => None,
            (false, Ok(guard)) => Some(guard),
            (false, Err(TryLockError::Poisoned(poisoned))) => Some(poisoned.into_inner()),
            (false, Err(TryLockError::WouldBlock)) => return InlineResult::Deferred,
        };
        if self.never || !is_short(batch) {
            return InlineResult::Deferred;
        }
        let Some(mut session) = self.sessions.try_take() else {
            return InlineResult::Deferred;
        };
        let cached = if access == Access::Any { classify_cached(&session, batch) } else { None };
        let answer = match (access, cached) {
            (Access::Any, Some(BatchKind::Write { exclusive })) => InlineResult::Write { exclusive },
            (Access::Any, Some(kind)) => self.run_on(&mut session, batch, stamp, (Some(kind), Uncached::None)),
            (Access::Any, None) => self.run_unless_slow(&mut session, batch, stamp, None),
            (Access::ReadOnly, _) => self.run_unless_slow(&mut session, batch, stamp, Some(BatchKind::Read)),
        };
        drop(rollback_lock);
        self.sessions.put_back(session);
        if let InlineResult::Done(_) = answer {
            self.shared.read_lock_holder.acquire();
        }
        answer
    }

    /// Runs a batch, unless it contains SQL texts that are not in the statement cache and may take long to prepare.
    /// Then returns [`InlineResult::Deferred`].
    fn run_unless_slow(
        &self,
        session: &mut Session,
        batch: &Batch,
        stamp: Stamp,
        kind: Option<BatchKind>,
    ) -> InlineResult {
        match self.uncached(session, batch, Instant::now) {
            Uncached::Slow => InlineResult::Deferred,
            uncached => self.run_on(session, batch, stamp, (kind, uncached)),
        }
    }

    /// Runs a batch on the calling thread, under the limits of that thread. A batch that exceeds them is
    /// [`InlineResult::Deferred`]: it is run again on a reader thread. `kind` is `None` if the batch has not been
    /// classified; it is then classified here.
    fn run_on(
        &self,
        session: &mut Session,
        batch: &Batch,
        stamp: Stamp,
        (kind, uncached): (Option<BatchKind>, Uncached),
    ) -> InlineResult {
        session.begin_run(Limits { inline_calls: Some(INLINE_CALLS), ..Limits::default() });
        let answer = self.answer(session, batch, stamp, kind);
        self.note_time(uncached, session.end_run(), Instant::now);
        answer
    }

    /// Classifies a batch if `kind` is `None`, and runs it if it only reads.
    fn answer(&self, session: &mut Session, batch: &Batch, stamp: Stamp, kind: Option<BatchKind>) -> InlineResult {
        match kind.unwrap_or_else(|| classify(session, batch)) {
            _ if session.watch.stopped().is_some() => return InlineResult::Deferred,
            BatchKind::Write { exclusive } => return InlineResult::Write { exclusive },
            BatchKind::Undecided => return InlineResult::Deferred,
            BatchKind::Refused => return InlineResult::Done(refused()),
            BatchKind::Read => {}
        }
        let over_budget = RunError::Interrupted(StopReason::Budget);
        let mut sink = BufferedSink::new(batch.steps.len(), INLINE_BYTES_MAX, over_budget);
        match read(&self.shared.config.options, session, batch, stamp, &mut sink) {
            // The low limits of this thread may have caused the failure, so a reader thread repeats the batch.
            Ok(Ok(_)) if sink.last_failure().is_some() => InlineResult::Deferred,
            Ok(Ok(ending)) => {
                self.shared.counters.batches_read.fetch_add(1, Ordering::Relaxed);
                InlineResult::Done(sink.into_outcome(ending))
            }
            // A reader thread repeats the batch, meets the same error and reports it.
            Ok(Err(_)) | Err(_) => InlineResult::Deferred,
        }
    }

    /// Returns whether a batch contains SQL texts that are not in the statement cache, and whether they may take long
    /// to prepare. The clock is read only if there are such texts.
    fn uncached(&self, session: &Session, batch: &Batch, now: impl FnOnce() -> Instant) -> Uncached {
        let mut uncached = Uncached::None;
        for sql in batch.steps.iter().filter_map(|step| step.sql()).filter(|sql| session.cached_info(sql).is_none()) {
            if sql.len() > INLINE_UNCACHED_SQL_BYTES_MAX || is_nested(sql) || joins_by_name(sql) {
                return Uncached::Slow;
            }
            uncached = Uncached::Fast;
        }
        if uncached == Uncached::Fast && self.penalty.is_active(now()) { Uncached::Slow } else { uncached }
    }

    /// Starts the penalty if a batch with uncached SQL texts was slow, measured in scans of the supervisor.
    fn note_time(&self, uncached: Uncached, scans: u32, now: impl FnOnce() -> Instant) {
        if uncached == Uncached::Fast && scans >= SLOW_RUN_SCANS {
            self.penalty.start(now());
        }
    }

    /// Classifies a batch, if its statements can be prepared quickly on the caller's thread. Otherwise returns `None`.
    pub(crate) fn classify(&self, batch: &Batch) -> Option<BatchKind> {
        if self.never || !is_short(batch) {
            return None;
        }
        let mut session = self.sessions.try_take()?;
        let kind = classify_cached(&session, batch).or_else(|| self.classify_unless_slow(&mut session, batch));
        self.sessions.put_back(session);
        kind
    }

    fn classify_unless_slow(&self, session: &mut Session, batch: &Batch) -> Option<BatchKind> {
        let uncached = self.uncached(session, batch, Instant::now);
        if uncached == Uncached::Slow {
            return None;
        }
        session.begin_run(Limits { inline_calls: Some(INLINE_CALLS), ..Limits::default() });
        let kind = classify(session, batch);
        let stopped = session.watch.stopped().is_some();
        self.note_time(uncached, session.end_run(), Instant::now);
        // If the low limits of this thread prevented that a statement was prepared, a batch that writes may have been
        // classified as a read. `None` then.
        (!stopped && kind != BatchKind::Undecided).then_some(kind)
    }
}

/// Returns whether the number of steps of a batch and the length of its SQL texts allow that it is prepared on its
/// caller's thread.
fn is_short(batch: &Batch) -> bool {
    let sql_bytes: usize = batch.steps.iter().filter_map(|step| step.sql()).map(str::len).sum();
    batch.steps.len() <= INLINE_STEPS_MAX && sql_bytes <= INLINE_SQL_BYTES_MAX
}

/// Returns whether SQLite may have to expand queries inside queries to prepare an SQL text. The time for that can
/// double with each level. If an SQL text only looks nested (because of a string literal), the only consequence is that
/// a reader thread prepares it.
fn is_nested(sql: &str) -> bool {
    let sql = sql.as_bytes();
    // `c` is the rarest letter of `select`.
    let selects = memchr::memchr2_iter(b'c', b'C', sql).filter(|c| is_select_around(sql, *c));
    selects.take(NESTED_SELECTS).count() == NESTED_SELECTS
}

/// Returns whether the letter at index `c` is the `c` of the word SELECT, ignoring case.
fn is_select_around(sql: &[u8], c: usize) -> bool {
    let word = c.checked_sub(4).and_then(|start| sql.get(start..c + 2));
    word.is_some_and(|word| word.eq_ignore_ascii_case(b"select"))
}

/// Returns whether an SQL text joins tables by the names of their columns (NATURAL, USING). To prepare such a join,
/// SQLite compares each column with all others.
fn joins_by_name(sql: &str) -> bool {
    let sql = sql.as_bytes();
    let is_word = |start: Option<usize>, word: &[u8]| {
        start.and_then(|start| sql.get(start..start + word.len())).is_some_and(|found| found.eq_ignore_ascii_case(word))
    };
    // Both `natural` and `using` contain a `u`.
    let mut letters = memchr::memchr2_iter(b'u', b'U', sql);
    letters.any(|u| is_word(u.checked_sub(3), b"natural") || is_word(Some(u), b"using"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::connection_config::{ConnectionConfig, Role};
    use crate::engine::{Location, Options};
    use crate::model::Step;
    use std::time::Duration;

    fn inline_runs() -> InlineRunner {
        let config = Arc::new(ConnectionConfig::new(Location::Memory, Options::default()));
        let writer = Session::open(&config, Role::Writer).unwrap();
        let sessions = Sessions::open(config.clone()).unwrap();
        let runs = InlineRunner::new(Arc::new(SharedState::new(config)), sessions);
        drop(writer);
        runs
    }

    #[test]
    fn after_a_slow_text_uncached_texts_are_deferred_for_ten_seconds() {
        let runs = inline_runs();
        let session = runs.sessions.try_take().unwrap();
        let start = Instant::now();
        let after = |ms| start + Duration::from_millis(ms);
        let batch = Batch::one(Step::query("SELECT 1", ()));
        let uncached = |now| runs.uncached(&session, &batch, || now);

        runs.note_time(Uncached::Fast, SLOW_RUN_SCANS - 1, || start);
        runs.note_time(Uncached::None, SLOW_RUN_SCANS, || start);
        assert_eq!(uncached(start), Uncached::Fast);

        runs.note_time(Uncached::Fast, SLOW_RUN_SCANS, || start);
        assert_eq!([uncached(start), uncached(after(9_900))], [Uncached::Slow; 2]);
        assert_eq!(uncached(after(10_100)), Uncached::Fast);

        // A later slow batch restarts the penalty.
        runs.note_time(Uncached::Fast, SLOW_RUN_SCANS, || after(9_000));
        assert_eq!([uncached(after(10_100)), uncached(after(18_900))], [Uncached::Slow; 2]);
        assert_eq!(uncached(after(19_100)), Uncached::Fast);

        // A cached text needs no preparation.
        let none = Batch { steps: Vec::new(), ..batch.clone() };
        assert_eq!(runs.uncached(&session, &none, || after(9_500)), Uncached::None);
    }

    #[test]
    fn many_selects_are_nested_however_they_are_written() {
        let slowly = |sql: &str| {
            let words = sql.as_bytes().windows(6).filter(|word| word.eq_ignore_ascii_case(b"select"));
            words.count() >= NESTED_SELECTS
        };
        let words = ["select", "SELECT", "sELEct", "selec", "elect", "c", "CC", "ect", " ", "(", "sele ct", "é"];
        for first in words {
            for second in words {
                for count in 0..=NESTED_SELECTS + 1 {
                    let sql = format!("{}{second}", format!("{first}{second}").repeat(count));
                    assert_eq!(is_nested(&sql), slowly(&sql), "{sql}");
                }
            }
        }
    }

    #[test]
    fn joins_by_the_names_of_columns_are_found() {
        for sql in ["SELECT 1 FROM a NATURAL JOIN b", "select 1 from a join b uSiNg(x)", "natural", "using"] {
            assert!(joins_by_name(sql), "{sql}");
        }
        for sql in ["", "u", "natu", "usin", "SELECT u FROM users WHERE name = 'unusual'"] {
            assert!(!joins_by_name(sql), "{sql}");
        }
    }
}
