//! Outcomes into replies, whole or part by part. There is one encoder for both.

mod date;
pub(crate) mod json;
pub(crate) mod pretty;
mod rows;
mod value;

use std::sync::Arc;
use std::time::Duration;

use sqlhttp_core::{Block, Changed, Columns, Ending, Error, Failure, Outcome, Part, Rows, StepFacts, StepOutcome};

use crate::endpoint::Endpoint;
use crate::reply::Reply;
use crate::shape::{Shape, Trailer};
use crate::words;
use pretty::Indenter;
use rows::{RowWriter, Style};
pub(crate) use sqlhttp_text::number;

/// How much compact JSON of one result is kept back to be indented later, bytes. (A result that fails can be taken
/// back as long as it is.)
const PRETTY_HELD: usize = 256 << 10;

/// Encodes an outcome that is there as a whole. A step without facts is taken for one that writes.
pub fn encode(outcome: &Outcome, shape: &Shape, trailer: &Trailer) -> Reply {
    if let Ending::NotCommitted(failure) = &outcome.ending {
        return not_committed(failure, shape, trailer).reply;
    }
    let mut out = Vec::with_capacity(64 + outcome.steps.iter().map(room_for).sum::<usize>());
    let mut encoder = Encoder::default();
    for (index, step) in outcome.steps.iter().enumerate() {
        let facts = outcome.facts.get(index).copied().unwrap_or_default();
        encoder.step(step, Detail { facts, shape }, &mut out);
    }
    encoder.end(shape, trailer, &mut out);
    in_shape(out, shape)
}

/// How many bytes a result takes in an answer, about.
fn room_for(step: &StepOutcome) -> usize {
    match step {
        StepOutcome::Rows(rows) => rows::room_for(rows),
        StepOutcome::ChangedEach(changes) => 64 * changes.len(),
        StepOutcome::Changed(_) | StepOutcome::Failed(_) => 64,
    }
}

/// Encodes an answer without results that says why.
pub fn encode_top_level_error(error: &str, shape: &Shape, trailer: &Trailer) -> Reply {
    let mut out = b"{\"results\":[],\"error\":".to_vec();
    json::write_string(&mut out, error);
    write_trailer(&mut out, shape, trailer);
    in_shape(out, shape)
}

/// Encodes the answer to a queued write: the number by which the client finds it again.
pub fn encode_queued(sequence_number: i64, shape: &Shape, trailer: &Trailer) -> Reply {
    let mut out = b"{\"results\":[]".to_vec();
    write_time(&mut out, trailer.elapsed, shape);
    json::write_key(&mut out, "sequence_number");
    number::write_integer(&mut out, sequence_number);
    out.push(b'}');
    in_shape(out, shape)
}

/// Encodes an answer in which each result is a failure.
pub(crate) fn encode_failures<'t>(
    texts: impl Iterator<Item = &'t str>,
    detail: Detail<'_>,
    trailer: &Trailer,
) -> Reply {
    let mut out = Vec::new();
    let mut encoder = Encoder::default();
    for text in texts {
        encoder.begin_item(&mut out);
        write_failure(&mut out, text, detail);
    }
    encoder.end(detail.shape, trailer, &mut out);
    in_shape(out, detail.shape)
}

/// A 200 answer that has begun cannot be finished: the transaction was not committed. If some of the answer has been
/// sent already, the connection must be cut, so that the client does not take it for complete; otherwise `reply` is the
/// answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the answer cannot be finished: {}", String::from_utf8_lossy(&reply.body))]
pub struct Abort {
    /// The answer if nothing has been sent yet.
    pub reply: Reply,
}

/// Encodes an outcome that is told in parts. Memory stays constant, however many rows there are.
#[derive(Debug)]
pub struct PartEncoder {
    shape: Shape,
    encoder: Encoder,
    indenter: Indenter,
    /// Compact JSON that is to be indented.
    compact: Vec<u8>,
}

impl PartEncoder {
    /// An encoder for one answer.
    pub fn new(shape: Shape) -> Self {
        PartEncoder { shape, encoder: Encoder::default(), indenter: Indenter::default(), compact: Vec::new() }
    }

    /// Appends a part to `out`, whose content may be sent (and `out` be emptied) after any call. `trailer` counts with
    /// [`Part::End`].
    ///
    /// The result of a statement that fails after its first rows is only its error, as long as nothing has been taken out
    /// of `out` since they came; after that, the error follows the rows.
    ///
    /// # Errors
    /// [`Abort`] if the answer cannot be finished. No part may follow.
    pub fn part(&mut self, part: Part, trailer: &Trailer, out: &mut Vec<u8>) -> Result<(), Abort> {
        let PartEncoder { shape, encoder, .. } = self;
        if !shape.pretty {
            return encoder.part(part, trailer, shape, out);
        }
        encoder.part(part, trailer, shape, &mut self.compact)?;
        if encoder.open.is_none() || self.compact.len() >= PRETTY_HELD {
            self.indent(out);
        }
        Ok(())
    }

    /// Ends the answer before its last part, because the database cannot go on: the error is the result of each statement
    /// that has none yet, and follows the rows of one that has some. No part may follow.
    pub fn end_early(&mut self, error: &Error, trailer: &Trailer, out: &mut Vec<u8>) {
        let PartEncoder { shape, encoder, .. } = self;
        // Only the results of reads are sent in parts.
        let text = words::error_text(error, true);
        if !shape.pretty {
            return encoder.end_early(&text, trailer, shape, out);
        }
        encoder.end_early(&text, trailer, shape, &mut self.compact);
        self.indent(out);
    }

    fn indent(&mut self, out: &mut Vec<u8>) {
        self.indenter.write(out, &self.compact);
        self.compact.clear();
    }
}

/// What is known of a step, and how it wants to be told.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Detail<'s> {
    pub(crate) facts: StepFacts,
    pub(crate) shape: &'s Shape,
}

impl Detail<'_> {
    /// Whether the step is one of those that yield rows, even if there are none.
    fn is_query(self) -> bool {
        match self.shape.endpoint {
            Endpoint::Query => true,
            Endpoint::Request => self.facts.reads,
            Endpoint::Execute | Endpoint::Load | Endpoint::Queue | Endpoint::Sql => false,
        }
    }

    fn shows_rows(self, columns: &Columns) -> bool {
        let returns = matches!(self.shape.endpoint, Endpoint::Execute | Endpoint::Load | Endpoint::Request);
        self.is_query() || returns && self.facts.returning && !columns.is_empty()
    }
}

/// Where in the answer we are.
#[derive(Debug, Default)]
struct Encoder {
    /// How many results have been begun.
    begun: usize,
    /// The step that is yielding rows.
    open: Option<Open>,
}

/// A step that is yielding rows.
#[derive(Debug)]
struct Open {
    columns: Arc<Columns>,
    style: Style,
    /// Comes with the first row.
    writer: Option<RowWriter>,
    /// Where the step began in the output, unless some of the output has been taken out since.
    start: Option<usize>,
    /// The length of the output after the last part.
    len: usize,
}

impl Encoder {
    fn part(&mut self, part: Part, trailer: &Trailer, shape: &Shape, out: &mut Vec<u8>) -> Result<(), Abort> {
        match part {
            Part::Columns(columns) => {
                // Only the results of reads are sent in parts.
                let reads = StepFacts { reads: true, ..StepFacts::default() };
                let detail = Detail { facts: reads, shape };
                if detail.shows_rows(&columns) {
                    self.open(columns, detail, out);
                }
                Ok(())
            }
            Part::Rows(block) => {
                self.rows(&block, out);
                Ok(())
            }
            Part::Step(step, facts) => {
                self.step(&step, Detail { facts, shape }, out);
                Ok(())
            }
            Part::End(Ending::NotCommitted(failure)) => Err(not_committed(&failure, shape, trailer)),
            Part::End(Ending::Done | Ending::Aborted(_)) => {
                self.end(shape, trailer, out);
                Ok(())
            }
        }
    }

    fn open(&mut self, columns: Arc<Columns>, detail: Detail<'_>, out: &mut Vec<u8>) {
        self.begin_item(out);
        let style = Style {
            associative: detail.shape.associative,
            blob_array: detail.shape.blob_array,
            qualified: detail.shape.qualify_columns && detail.is_query(),
        };
        self.open = Some(Open { columns, style, writer: None, start: Some(out.len()), len: out.len() });
    }

    fn rows(&mut self, block: &Block, out: &mut Vec<u8>) {
        if let Some(open) = &mut self.open {
            open.notice_drain(out);
            open.write(block, out);
            open.len = out.len();
        }
    }

    fn step(&mut self, step: &StepOutcome, detail: Detail<'_>, out: &mut Vec<u8>) {
        match step {
            StepOutcome::Failed(failure) => {
                self.failed(&words::failure(failure, detail.facts, detail.shape), detail, out)
            }
            StepOutcome::Rows(rows) if self.open.is_some() || detail.shows_rows(&rows.columns) => {
                self.all_rows(rows, detail, out)
            }
            StepOutcome::Rows(Rows { changed, .. }) | StepOutcome::Changed(changed) => {
                self.changed(*changed, detail, out);
            }
            StepOutcome::ChangedEach(changes) => self.changed(total(changes), detail, out),
        }
    }

    fn all_rows(&mut self, rows: &Rows, detail: Detail<'_>, out: &mut Vec<u8>) {
        if self.open.is_none() {
            self.open(rows.columns.clone(), detail, out);
        }
        for block in &rows.blocks {
            self.rows(block, out);
        }
        if let Some(open) = self.open.take() {
            open.end(out);
            write_time(out, detail.facts.elapsed, detail.shape);
            out.push(b'}');
        }
    }

    fn changed(&mut self, changed: Changed, detail: Detail<'_>, out: &mut Vec<u8>) {
        let Detail { facts, shape } = detail;
        self.begin_item(out);
        out.push(b'{');
        if detail.is_query() {
            if shape.associative {
                out.extend_from_slice(b"\"rows\":[]");
            }
            write_time(out, facts.elapsed, shape);
        } else {
            if let Some(id) = changed.last_insert_id.filter(|&id| id != 0) {
                json::write_key(out, "last_insert_id");
                number::write_integer(out, id);
            }
            if changed.rows != 0 {
                json::write_key(out, "rows_affected");
                number::write_integer(out, changed.rows);
            }
            write_time(out, facts.elapsed, shape);
            if shape.associative {
                json::write_key(out, "rows");
                out.extend_from_slice(b"null");
            }
        }
        out.push(b'}');
    }

    fn failed(&mut self, text: &str, detail: Detail<'_>, out: &mut Vec<u8>) {
        let Some(mut open) = self.open.take() else {
            self.begin_item(out);
            return write_failure(out, text, detail);
        };
        open.notice_drain(out);
        match open {
            // The part of the step that is written already stays.
            Open { start: Some(start), .. } => out.truncate(start),
            Open { writer: None, .. } => {}
            Open { writer: Some(writer), .. } => {
                writer.end(out);
                return write_error(out, text);
            }
        }
        write_failure(out, text, detail);
    }

    fn end_early(&mut self, text: &str, trailer: &Trailer, shape: &Shape, out: &mut Vec<u8>) {
        let detail = Detail { facts: StepFacts { reads: true, ..StepFacts::default() }, shape };
        if self.open.is_some() {
            self.failed(text, detail, out);
        }
        while self.begun < shape.results_when_stopped() {
            self.failed(text, detail, out);
        }
        self.end(shape, trailer, out);
    }

    fn begin_item(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(if self.begun > 0 { b"," } else { b"{\"results\":[" });
        self.begun += 1;
    }

    fn end(&mut self, shape: &Shape, trailer: &Trailer, out: &mut Vec<u8>) {
        out.extend_from_slice(if self.begun > 0 { b"]" } else { b"{\"results\":[]" });
        write_trailer(out, shape, trailer);
    }
}

impl Open {
    fn notice_drain(&mut self, out: &[u8]) {
        if out.len() != self.len {
            self.start = None;
        }
    }

    fn write(&mut self, block: &Block, out: &mut Vec<u8>) {
        let Some(first) = block.rows().next() else { return };
        let writer = match &mut self.writer {
            Some(writer) => writer,
            none => none.insert(RowWriter::begin(out, &self.columns, Some(first), self.style)),
        };
        writer.block(out, block);
    }

    fn end(self, out: &mut Vec<u8>) {
        let writer = self.writer;
        writer.unwrap_or_else(|| RowWriter::begin(out, &self.columns, None, self.style)).end(out);
    }
}

fn in_shape(compact: Vec<u8>, shape: &Shape) -> Reply {
    Reply { content_type: shape.endpoint.content_type(), ..Reply::json(compact, shape.pretty) }
}

fn write_failure(out: &mut Vec<u8>, text: &str, detail: Detail<'_>) {
    out.push(b'{');
    if detail.shape.associative && detail.is_query() {
        out.extend_from_slice(b"\"rows\":[]");
    }
    write_error(out, text);
}

/// Writes an error as the last member of a result.
fn write_error(out: &mut Vec<u8>, text: &str) {
    json::write_key(out, "error");
    json::write_string(out, text);
    out.push(b'}');
}

/// Writes what comes after the results, and the end of the reply.
fn write_trailer(out: &mut Vec<u8>, shape: &Shape, trailer: &Trailer) {
    write_time(out, trailer.elapsed, shape);
    if shape.raft_index && trailer.raft_index != 0 {
        json::write_key(out, "raft_index");
        number::write_integer(out, trailer.raft_index);
    }
    out.push(b'}');
}

pub(crate) fn write_time(out: &mut Vec<u8>, elapsed: Duration, shape: &Shape) {
    if shape.timings && !elapsed.is_zero() {
        json::write_key(out, "time");
        number::write_real(out, elapsed.as_secs_f64());
    }
}

/// What several runs changed together.
fn total(changes: &[Changed]) -> Changed {
    Changed {
        rows: changes.iter().fold(0, |sum, changed| sum.saturating_add(changed.rows)),
        last_insert_id: changes.last().and_then(|changed| changed.last_insert_id),
    }
}

fn not_committed(failure: &Failure, shape: &Shape, trailer: &Trailer) -> Abort {
    let text = words::failure(failure, StepFacts::default(), shape);
    Abort { reply: encode_top_level_error(&text, shape, trailer) }
}
