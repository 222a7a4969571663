//! Time and chance as values.

use std::time::{Duration, Instant};

/// The only time and the only chance that a batch sees.
///
/// `datetime('now')`, `CURRENT_TIMESTAMP`, `random()` and their kin answer from the stamp, wherever they stand (in a
/// DEFAULT, a trigger, a view). Who gives the same batches with the same stamps to two databases gets two equal ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Stamp {
    /// Milliseconds since 1970-01-01 00:00 UTC.
    pub unix_ms: i64,
    /// The seed of `random()` and `randomblob()`.
    pub seed: u64,
}

/// When a batch has to end. A batch that only reads may have to end at another moment than one that writes.
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

    /// At this moment.
    pub fn at(moment: Instant) -> Self {
        Deadline { all: Some(moment), ..Deadline::NEVER }
    }

    /// This long after `now`; never, if the clock cannot express that moment.
    pub fn after(now: Instant, duration: Duration) -> Self {
        Deadline { all: now.checked_add(duration), ..Deadline::NEVER }
    }

    /// The same moment, for batches that only read. One that writes through a log has no limit then: a place in the log is
    /// not given up.
    pub fn for_reads_only(self) -> Self {
        Deadline { reads: self.moment(), ..Deadline::NEVER }
    }

    /// The same moment, for batches that write.
    pub fn for_writes_only(self) -> Self {
        Deadline { writes: self.moment(), ..Deadline::NEVER }
    }

    /// The same moment, for writes that have not begun by then. One that has begun goes on.
    pub fn for_turn_only(self) -> Self {
        Deadline { turn: self.moment(), ..Deadline::NEVER }
    }

    /// The same limit, in the place of the limit that writes have by default.
    pub fn without_default(self) -> Self {
        Deadline { without_default: true, ..self }
    }

    /// Whether the limit that writes have by default does not hold.
    pub fn is_without_default(&self) -> bool {
        self.without_default
    }

    /// The part of this limit that holds for a batch that writes.
    pub fn of_writes(self) -> Self {
        Deadline { all: earlier(self.all, self.writes), reads: None, writes: None, ..self }
    }

    /// The limit for a write whose caller has no answer yet: the turn is as good as the end.
    pub fn or_turn(self) -> Self {
        Deadline { all: earlier(self.all, self.turn), ..self }
    }

    /// Both limits: the earlier moment of each kind.
    pub fn and(self, other: Deadline) -> Self {
        Deadline {
            all: earlier(self.all, other.all),
            reads: earlier(self.reads, other.reads),
            writes: earlier(self.writes, other.writes),
            turn: earlier(self.turn, other.turn),
            without_default: self.without_default || other.without_default,
        }
    }

    /// The moment by which a write has to begin, unless it is never.
    pub fn turn(&self) -> Option<Instant> {
        self.turn
    }

    /// The moment for a batch that reads, unless it is never. For one that writes see [`Deadline::of_writes`].
    pub fn moment(&self) -> Option<Instant> {
        earlier(self.all, self.reads)
    }

    /// Whether it has passed at `now`.
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
