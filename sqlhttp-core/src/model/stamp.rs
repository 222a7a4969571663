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

/// The moment after which nobody waits for an answer any more.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Deadline(Option<Instant>);

impl Deadline {
    /// No limit.
    pub const NEVER: Deadline = Deadline(None);

    /// At this moment.
    pub fn at(moment: Instant) -> Self {
        Deadline(Some(moment))
    }

    /// So long from `now`; never, if that lies beyond what the clock can tell.
    pub fn after(now: Instant, duration: Duration) -> Self {
        Deadline(now.checked_add(duration))
    }

    /// The moment, unless it is never.
    pub fn moment(&self) -> Option<Instant> {
        self.0
    }

    /// Whether it has passed at `now`.
    pub fn passed(&self, now: Instant) -> bool {
        self.0.is_some_and(|moment| now >= moment)
    }
}
