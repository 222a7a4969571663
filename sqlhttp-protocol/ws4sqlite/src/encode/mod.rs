//! Encodes the outcomes of batches as replies, complete or part by part. Both ways use the same encoder.

mod date;
mod error;
mod rows;

pub use error::encode_error;
use rows::RowWriter;
use sqlhttp_core::{Block, Changed, Columns, Ending, Failure, Outcome, Part, Rows, StepOutcome};

use crate::reply::{Refusal, Reply, capitalized};
use crate::reply_shape::{ItemKind, ItemShape, ReplyShape};
use crate::{json, messages};

/// Encodes a complete outcome as a reply.
pub fn encode(outcome: &Outcome, shape: &ReplyShape) -> Reply {
    match &outcome.ending {
        Ending::Done => encode_done(&outcome.steps, shape).unwrap_or_else(|abort| abort.reply),
        Ending::Aborted(index) => aborted(*index, outcome.steps.last(), shape).into(),
        Ending::NotCommitted(failure) => not_committed(failure).into(),
    }
}

fn encode_done(steps: &[StepOutcome], shape: &ReplyShape) -> Result<Reply, EncodeError> {
    let mut body = Vec::with_capacity(64 + steps.iter().map(room_for).sum::<usize>());
    let mut encoder = Encoder::default();
    for step in steps {
        encoder.step(step, shape, &mut body)?;
    }
    encoder.end(&mut body);
    Ok(Reply { status: 200, body })
}

/// Returns the approximate length of the encoded result of a step, in bytes.
fn room_for(step: &StepOutcome) -> usize {
    match step {
        StepOutcome::Rows(rows) => rows::room_for(rows),
        StepOutcome::ChangedEach(changes) => 48 + 8 * changes.len(),
        StepOutcome::Changed(_) | StepOutcome::Failed(_) => 48,
    }
}

/// The error of a reply with status 200 that was begun but cannot be completed. Either a step failed and the
/// transaction was rolled back, or the transaction was not committed.
///
/// If the caller has already sent a part of the reply, it must close the connection, so that the client notices that
/// the reply is incomplete. Otherwise the caller must send `reply` instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the answer cannot be finished: {}", String::from_utf8_lossy(&reply.body))]
pub struct EncodeError {
    /// The reply to send instead if nothing has been sent yet.
    pub reply: Reply,
}

impl From<Refusal> for EncodeError {
    fn from(refusal: Refusal) -> Self {
        EncodeError { reply: refusal.into() }
    }
}

/// Encodes an outcome part by part. The memory that the encoder uses does not grow with the number of rows.
#[derive(Debug)]
pub struct PartEncoder {
    shape: ReplyShape,
    encoder: Encoder,
}

impl PartEncoder {
    /// Creates the encoder for one reply.
    pub fn new(shape: ReplyShape) -> Self {
        PartEncoder { shape, encoder: Encoder::default() }
    }

    /// Encodes the next part of the outcome and appends it to `out`. After each call, the caller may send the content
    /// of `out` and empty it.
    ///
    /// A query with `noFail` may fail after its first rows, so its JSON member `success` follows the rows. If such a
    /// query fails, its rows are removed from `out`, unless the caller has taken something out of `out` since the
    /// result began.
    ///
    /// # Errors
    /// [`EncodeError`] if the status of the reply cannot be 200. No call may follow.
    pub fn part(&mut self, part: Part, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        let PartEncoder { shape, encoder } = self;
        match part {
            Part::Columns(columns) => encoder.columns(&columns, shape, shape.item(encoder.ended).no_fail, out),
            Part::Rows(block) => encoder.rows(&block, out),
            Part::Step(step, _) => encoder.step(&step, shape, out)?,
            Part::End(Ending::Done) => encoder.end(out),
            Part::End(Ending::NotCommitted(failure)) => return Err(not_committed(&failure).into()),
            Part::End(Ending::Aborted(index)) => return Err(aborted(index, None, shape).into()),
        }
        if shape.fails {
            // The reply will be an error object, which is returned when the failing item or an earlier one ends. Until
            // then, nothing may be sent.
            out.clear();
        }
        Ok(())
    }
}

/// Writes the results in a reply, one after the other.
#[derive(Debug, Default)]
struct Encoder {
    /// The number of steps whose results are complete.
    ended: usize,
    /// Whether the beginning of the reply has been written.
    begun: bool,
    /// The result whose rows are being written. `None` between two results.
    open: Option<Open>,
}

/// A result whose rows are being written.
#[derive(Debug)]
struct Open {
    rows: RowWriter,
    /// The byte offset of this result in the output. `None` if the caller has emptied the output since the result
    /// began.
    start: Option<usize>,
    /// The length of the output after the last part that was written, in bytes.
    len: usize,
}

impl Encoder {
    fn columns(&mut self, columns: &Columns, shape: &ReplyShape, success_last: bool, out: &mut Vec<u8>) {
        if shape.item(self.ended).kind != ItemKind::Query {
            return;
        }
        self.begin_item(out);
        let start = Some(out.len());
        let rows = RowWriter::begin(out, columns, shape.list, success_last);
        self.open = Some(Open { rows, start, len: out.len() });
    }

    fn rows(&mut self, block: &Block, out: &mut Vec<u8>) {
        if let Some(open) = &mut self.open {
            open.notice_drain(out);
            open.rows.block(out, block);
            open.len = out.len();
        }
    }

    fn step(&mut self, step: &StepOutcome, shape: &ReplyShape, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        let item = shape.item(self.ended);
        match step {
            StepOutcome::Failed(failure) => self.failed(failure, item, out)?,
            StepOutcome::Rows(rows) if item.kind == ItemKind::Query => self.all_rows(rows, shape, out),
            StepOutcome::Rows(Rows { changed, .. }) | StepOutcome::Changed(changed) => {
                self.changed(*changed, item, shape, out);
            }
            StepOutcome::ChangedEach(changes) => self.changed_each(changes, out),
        }
        self.ended += 1;
        Ok(())
    }

    fn all_rows(&mut self, rows: &Rows, shape: &ReplyShape, out: &mut Vec<u8>) {
        if self.open.is_none() {
            self.columns(&rows.columns, shape, false, out);
        }
        for block in &rows.blocks {
            self.rows(block, out);
        }
        if let Some(open) = self.open.take() {
            open.rows.end(out);
        }
    }

    fn changed(&mut self, changed: Changed, item: ItemShape, shape: &ReplyShape, out: &mut Vec<u8>) {
        if item.kind == ItemKind::Query {
            self.columns(&[], shape, false, out);
            if let Some(open) = self.open.take() {
                open.rows.end(out);
            }
            return;
        }
        self.begin_item(out);
        out.extend_from_slice(b"{\"success\":true,\"rowsUpdated\":");
        write_count(out, changed);
        out.push(b'}');
    }

    fn changed_each(&mut self, changes: &[Changed], out: &mut Vec<u8>) {
        self.begin_item(out);
        out.extend_from_slice(b"{\"success\":true");
        for (index, changed) in changes.iter().enumerate() {
            out.extend_from_slice(if index == 0 { b",\"rowsUpdatedBatch\":[" } else { b"," });
            write_count(out, *changed);
        }
        out.extend_from_slice(if changes.is_empty() { b"}" } else { b"]}" });
    }

    fn failed(&mut self, failure: &Failure, item: ItemShape, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        if !item.no_fail {
            return Err(refusal(self.ended, failure, item).into());
        }
        let (_, text) = messages::failure(failure, item.says_begin);
        let text = capitalized(&text);
        match self.open.take() {
            None => self.begin_item(out),
            Some(mut open) => {
                open.notice_drain(out);
                let Some(start) = open.start else {
                    let written = open.rows.fail(out, &text);
                    return if written { Ok(()) } else { Err(refusal(self.ended, failure, item).into()) };
                };
                out.truncate(start);
            }
        }
        out.extend_from_slice(b"{\"success\":false,\"error\":");
        json::write_string(out, &text);
        out.push(b'}');
        Ok(())
    }

    fn begin_item(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(if self.begun { b"," } else { b"{\"results\":[" });
        self.begun = true;
    }

    fn end(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(if self.begun { b"]}" } else { b"{\"results\":[]}" });
    }
}

impl Open {
    /// Sets `start` to `None` if the caller has emptied the output since the last part.
    fn notice_drain(&mut self, out: &[u8]) {
        if out.len() != self.len {
            self.start = None;
        }
    }
}

fn write_count(out: &mut Vec<u8>, changed: Changed) {
    out.extend_from_slice(itoa::Buffer::new().format(changed.rows).as_bytes());
}

fn refusal(index: usize, failure: &Failure, item: ItemShape) -> Refusal {
    let (status, text) = messages::failure(failure, item.says_begin);
    Refusal { status, req_idx: i64::try_from(index).unwrap_or(-1), error: text.into_owned() }
}

fn aborted(index: usize, last: Option<&StepOutcome>, shape: &ReplyShape) -> Refusal {
    match last {
        Some(StepOutcome::Failed(failure)) => refusal(index, failure, shape.item(index)),
        _ => Refusal {
            status: 500,
            req_idx: i64::try_from(index).unwrap_or(-1),
            error: "the transaction was rolled back".to_owned(),
        },
    }
}

fn not_committed(failure: &Failure) -> Refusal {
    let (status, text) = messages::failure(failure, false);
    Refusal::whole(status, text)
}
