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
    /// The time that the batch uses as the current time, in milliseconds since 1970-01-01 00:00 UTC.
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
    /// A deadline without any limit.
    pub const NEVER: Deadline = Deadline { all: None, reads: None, writes: None, turn: None, without_default: false };

    /// Creates a deadline at `moment`, for batches that read and for batches that write.
    pub fn at(moment: Instant) -> Self {
        Deadline { all: Some(moment), ..Deadline::NEVER }
    }

    /// Creates a deadline `duration` after `now`, for batches that read and for batches that write. The deadline has no
    /// limit if [`Instant`] cannot represent that time.
    pub fn after(now: Instant, duration: Duration) -> Self {
        Deadline { all: now.checked_add(duration), ..Deadline::NEVER }
    }

    /// Restricts the limit to batches that only read. Batches that write then have no limit. This is used for writes
    /// through a Raft log, because an entry cannot be withdrawn from the log.
    pub fn for_reads_only(self) -> Self {
        Deadline { reads: self.moment(), ..Deadline::NEVER }
    }

    /// Restricts the limit to batches that write.
    pub fn for_writes_only(self) -> Self {
        Deadline { writes: self.moment(), ..Deadline::NEVER }
    }

    /// Turns the limit into one for the start of a write only. A write that has started before the limit is not
    /// interrupted.
    pub fn for_turn_only(self) -> Self {
        Deadline { turn: self.moment(), ..Deadline::NEVER }
    }

    /// Keeps the limits of this deadline and disables the default time limit of writes (see
    /// [`Deadline::is_without_default`]).
    pub fn without_default(self) -> Self {
        Deadline { without_default: true, ..self }
    }

    /// Returns true if the default time limit of writes must not be applied.
    pub fn is_without_default(&self) -> bool {
        self.without_default
    }

    /// Returns the limits that apply to a batch that writes.
    pub fn of_writes(self) -> Self {
        Deadline { all: earlier(self.all, self.writes), reads: None, writes: None, ..self }
    }

    /// Applies the limit for the start of a write also to the end of the write. A replicated database uses this,
    /// because it cannot wait for the start and the end of a write separately.
    pub fn or_turn(self) -> Self {
        Deadline { all: earlier(self.all, self.turn), ..self }
    }

    /// Combines two deadlines: of each kind of limit, the earlier one applies.
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
