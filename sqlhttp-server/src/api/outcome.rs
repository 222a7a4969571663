//! The steps between the outcome of a batch and its encoding that both protocols share.

use sqlhttp_core::{Block, Error, Outcome, StepOutcome};

/// The maximum size, in bytes, of rows that are encoded on the thread of the connection. Larger rows are encoded on the
/// blocking pool.
pub(crate) const ENCODED_INLINE_MAX: usize = 1 << 20;

/// Logs the error because of which a batch has no outcome.
pub(crate) fn log_error(error: &Error) {
    match error {
        // Under load, many clients receive these errors. A log line for each would add to the load.
        Error::Overloaded(_)
        | Error::Timeout
        | Error::Closed
        | Error::NoLeader
        | Error::Removed
        | Error::Unauthorized => {
            tracing::debug!("no outcome: {error}")
        }
        Error::Busy(_)
        | Error::Unavailable(_)
        | Error::Unknown
        | Error::LeadershipLost
        | Error::ConnectionLost(_)
        | Error::ReadOnly
        | Error::Unsupported(_)
        | Error::Failed { .. }
        | Error::Row(_) => {
            tracing::warn!("no outcome: {error}");
        }
        Error::Poisoned(_) | Error::Sqlite { .. } | Error::Io { .. } => tracing::error!("no outcome: {error}"),
    }
}

/// Returns whether an outcome is small enough to be encoded on the thread of the connection. Encoding a larger one
/// there would delay the other connections of the thread.
pub(crate) fn is_small(outcome: &Outcome) -> bool {
    let bytes = |step: &StepOutcome| match step {
        StepOutcome::Rows(rows) => rows.blocks.iter().map(Block::byte_len).sum(),
        _ => 0,
    };
    outcome.steps.iter().map(bytes).sum::<usize>() <= ENCODED_INLINE_MAX
}
