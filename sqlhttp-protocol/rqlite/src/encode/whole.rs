//! Encodes outcomes that are complete.

use sqlhttp_core::{Ending, Outcome, StepOutcome};
use sqlhttp_text::number;

use super::detail::Detail;
use super::encoder::Encoder;
use super::error::not_committed;
use super::rows;
use super::trailer::{finish, write_time};
use crate::json;
use crate::reply::Reply;
use crate::reply_shape::{ReplyShape, Trailer};

/// Encodes a complete outcome. If `outcome.info` contains nothing about a step, the step is encoded as one that writes.
pub fn encode(outcome: &Outcome, shape: &ReplyShape, trailer: &Trailer) -> Reply {
    if let Ending::NotCommitted(failure) = &outcome.ending {
        return not_committed(failure, shape, trailer).reply;
    }
    let mut out = Vec::with_capacity(64 + outcome.steps.iter().map(room_for).sum::<usize>());
    let mut encoder = Encoder::default();
    for (index, step) in outcome.steps.iter().enumerate() {
        let info = outcome.info.get(index).copied().unwrap_or_default();
        encoder.step(step, Detail { info, shape }, &mut out);
    }
    encoder.end(shape, trailer, &mut out);
    finish(out, shape)
}

/// Returns the approximate length of the encoded result of a step, in bytes.
fn room_for(step: &StepOutcome) -> usize {
    match step {
        StepOutcome::Rows(rows) => rows::room_for(rows),
        StepOutcome::ChangedEach(changes) => 64 * changes.len(),
        StepOutcome::Changed(_) | StepOutcome::Failed(_) => 64,
    }
}

/// Encodes the reply to a queued write. The reply contains the sequence number of the write and no results.
pub fn encode_queued(sequence_number: i64, shape: &ReplyShape, trailer: &Trailer) -> Reply {
    let mut out = b"{\"results\":[]".to_vec();
    write_time(&mut out, trailer.elapsed, shape);
    json::write_key(&mut out, "sequence_number");
    number::write_integer(&mut out, sequence_number);
    out.push(b'}');
    finish(out, shape)
}
