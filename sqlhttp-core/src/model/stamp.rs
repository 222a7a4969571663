//! Time and randomness as explicit inputs of a batch, and the deadline of a batch.

use std::time::{Duration, Instant};

/// The timestamp and the random seed of a batch.
///
/// `datetime('now')`, `CURRENT_TIMESTAMP`, `random()`, `randomblob()` and the other functions that depend on time or
/// randomness take their values from the stamp, in every place where SQL can contain them (statements, DEFAULT clauses,
/// triggers, views). Running the same batches with the same stamps on two databases makes the databases identical.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Stamp {
    /// The current time, in milliseconds since 1970-01-01 00:00 UTC.
    pub unix_ms: i64,
    /// The seed of `random()` and `randomblob()`.
    pub seed: u64,
}

/// The time by which a batch has to end. It may contain different limits for batches that only read and for batches
/// that write, and a limit for the time by which a write has to start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Deadline {
    all: Option<Instant>,
    reads: Option<Instant>,
    writes: Option<Instant>,
    turn: Option<Instant>,
    without_default: bool,
}

impl Deadline {
    /// No limit.
    pub const NEVER: Deadline = Deadline { all: None, reads: None, writes: None, turn: None, without_default: false };

    /// A limit for all batches.
    pub fn at(moment: Instant) -> Self {
        Deadline { all: Some(moment), ..Deadline::NEVER }
    }

    /// A limit for all batches, `duration` after `now`. No limit if [`Instant`] cannot represent that time.
    pub fn after(now: Instant, duration: Duration) -> Self {
        Deadline { all: now.checked_add(duration), ..Deadline::NEVER }
    }

    /// Restricts the limit to batches that only read. A write through a log then has no limit, because an entry cannot
    /// be withdrawn from the log.
    pub fn for_reads_only(self) -> Self {
        Deadline { reads: self.moment(), ..Deadline::NEVER }
    }

    /// Restricts the limit to batches that write.
    pub fn for_writes_only(self) -> Self {
        Deadline { writes: self.moment(), ..Deadline::NEVER }
    }

    /// Turns the limit into one for the start of a write. A write that starts before it is not interrupted by it.
    pub fn for_turn_only(self) -> Self {
        Deadline { turn: self.moment(), ..Deadline::NEVER }
    }

    /// Keeps this limit and disables the default limit of writes (see [`Deadline::is_without_default`]).
    pub fn without_default(self) -> Self {
        Deadline { without_default: true, ..self }
    }

    /// Whether the default limit of writes does not apply.
    pub fn is_without_default(&self) -> bool {
        self.without_default
    }

    /// Returns the limits that apply to a batch that writes.
    pub fn of_writes(self) -> Self {
        Deadline { all: earlier(self.all, self.writes), reads: None, writes: None, ..self }
    }

    /// Applies the limit for the start of a write to its end too. A replicated database uses this, because it waits for
    /// the start and for the end of a write at once.
    pub fn or_turn(self) -> Self {
        Deadline { all: earlier(self.all, self.turn), ..self }
    }

    /// Combines two deadlines: the earlier limit of each kind applies.
    pub fn and(self, other: Deadline) -> Self {
        Deadline {
            all: earlier(self.all, other.all),
            reads: earlier(self.reads, other.reads),
            writes: earlier(self.writes, other.writes),
            turn: earlier(self.turn, other.turn),
            without_default: self.without_default || other.without_default,
        }
    }

    /// The time by which a write has to start; `None` if there is no such limit.
    pub fn turn(&self) -> Option<Instant> {
        self.turn
    }

    /// The time by which a batch that only reads has to end; `None` if there is no limit. For a batch that writes, call
    /// [`Deadline::of_writes`] first.
    pub fn moment(&self) -> Option<Instant> {
        earlier(self.all, self.reads)
    }

    /// Whether [`Deadline::moment`] is at or before `now`.
    pub fn passed(&self, now: Instant) -> bool {
        self.moment().is_some_and(|moment| now >= moment)
    }
}

fn earlier(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}
