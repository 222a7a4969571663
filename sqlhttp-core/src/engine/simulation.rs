//! Switches for simulations of a cluster, for the whole process.

use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::time::{Duration, Instant};

static WITHOUT_CLOCK: AtomicBool = AtomicBool::new(false);
static MUTATION: AtomicU8 = AtomicU8::new(0);

/// Makes the sizes of transactions independent of the speed of the machine: a transaction of log entries does not end
/// after a time.
pub fn ignore_group_time() {
    WITHOUT_CLOCK.store(true, Ordering::Relaxed);
}

/// Returns whether a group that began at `started` must end, because it has run for `time_max`.
pub(crate) fn is_group_over(started: Instant, time_max: Duration) -> bool {
    !WITHOUT_CLOCK.load(Ordering::Relaxed) && started.elapsed() >= time_max
}

/// A fault that is put into the engine on purpose, to show that the invariants of a simulation detect it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mutation {
    /// A batch of a log entry that fails is not rolled back.
    KeepFailedBatch = 1,
    /// The rename of a snapshot that becomes the database is not synced.
    UnsyncedInstall = 2,
}

/// Sets the fault that the engine has; `None` for no fault.
pub fn set_mutation(mutation: Option<Mutation>) {
    MUTATION.store(mutation.map_or(0, |mutation| mutation as u8), Ordering::Relaxed);
}

/// Returns whether the engine has this fault.
pub(crate) fn is_mutated(mutation: Mutation) -> bool {
    MUTATION.load(Ordering::Relaxed) == mutation as u8
}
