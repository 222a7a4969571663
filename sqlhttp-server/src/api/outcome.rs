//! What both protocols do with the outcome of a batch before they encode it.

use sqlhttp_core::{Block, Error, Outcome, StepOutcome};

/// The size of rows, in bytes, above which they are encoded on a thread of the blocking pool.
pub(crate) const ENCODED_INLINE_MAX: usize = 1 << 20;

/// Logs why there is no outcome.
pub(crate) fn log_error(error: &Error) {
    match error {
        // Every client receives these under load; a line for each would add to the load.
        Error::Overloaded(_) | Error::Timeout | Error::Closed | Error::NoLeader => {
            tracing::debug!("no outcome: {error}")
        }
        Error::Busy(_)
        | Error::Unavailable(_)
        | Error::Unknown
        | Error::LeadershipLost
        | Error::ReadOnly
        | Error::Unsupported(_) => {
            tracing::warn!("no outcome: {error}");
        }
        Error::Poisoned(_) | Error::Sqlite { .. } | Error::Io { .. } => tracing::error!("no outcome: {error}"),
    }
}

/// Returns whether an outcome is encoded on the connection's thread. A large one would delay the thread's other connections.
pub(crate) fn is_small(outcome: &Outcome) -> bool {
    let bytes = |step: &StepOutcome| match step {
        StepOutcome::Rows(rows) => rows.blocks.iter().map(Block::byte_len).sum(),
        _ => 0,
    };
    outcome.steps.iter().map(bytes).sum::<usize>() <= ENCODED_INLINE_MAX
}
