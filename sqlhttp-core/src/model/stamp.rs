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

/// When a batch has to end. A batch that only reads may have to end earlier than one that writes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Deadline {
    all: Option<Instant>,
    reads: Option<Instant>,
}

impl Deadline {
    /// No limit.
    pub const NEVER: Deadline = Deadline { all: None, reads: None };

    /// At this moment.
    pub fn at(moment: Instant) -> Self {
        Deadline { all: Some(moment), reads: None }
    }

    /// This long after `now`; never, if the clock cannot express that moment.
    pub fn after(now: Instant, duration: Duration) -> Self {
        Deadline { all: now.checked_add(duration), reads: None }
    }

    /// The same moment, for batches that only read. One that writes through a log has no limit then: a place in the log is
    /// not given up.
    pub fn for_reads_only(self) -> Self {
        Deadline { all: None, reads: self.moment() }
    }

    /// The part of this limit that holds for a batch that writes through a log.
    pub fn of_writes(self) -> Self {
        Deadline { reads: None, ..self }
    }

    /// Both limits: the earlier moment of each kind.
    pub fn and(self, other: Deadline) -> Self {
        Deadline { all: earlier(self.all, other.all), reads: earlier(self.reads, other.reads) }
    }

    /// The moment, unless it is never.
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
