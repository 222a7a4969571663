//! Outcomes into replies, whole or part by part. There is one encoder for both.

mod date;
pub(crate) mod json;
pub(crate) mod pretty;
mod rows;
mod value;

use std::sync::Arc;
use std::time::Duration;

use sqlhttp_core::{Block, Changed, Columns, Ending, Failure, Outcome, Part, Rows, StepFacts, StepOutcome};

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
    let mut out = Vec::with_capacity(64 + 64 * outcome.steps.len());
    let mut encoder = Encoder::default();
    for (index, step) in outcome.steps.iter().enumerate() {
        let facts = outcome.facts.get(index).copied().unwrap_or_default();
        if let Err(abort) = encoder.step(step, Detail { facts, shape }, &mut out) {
            return abort.reply;
        }
    }
    encoder.end(shape, trailer, &mut out);
    in_shape(out, shape)
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

/// A 200 answer that has begun cannot be finished: a statement failed after some of its rows were sent, or the
/// transaction was not committed. Whoever has sent some of the answer already must cut the connection, so that the
/// client does not take it for complete; whoever has not, sends `reply` instead.
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
    /// A statement that fails after its first rows is reported properly as long as nothing has been taken out of
    /// `out` since they came; after that, it ends the answer.
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
            self.indenter.write(out, &self.compact);
            self.compact.clear();
        }
        Ok(())
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
    /// Whether anything has been written.
    begun: bool,
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
    /// Why the step has failed although the database does not think so: a value that cannot be written.
    failed: Option<&'static str>,
    /// Where the step began in the output, unless some of the output has been taken out since.
    start: Option<usize>,
    /// The length of the output after the last part.
    len: usize,
}

impl Encoder {
    fn part(&mut self, part: Part, trailer: &Trailer, shape: &Shape, out: &mut Vec<u8>) -> Result<(), Abort> {
        match part {
            Part::Columns(columns) => {
                // Only what reads is told in parts.
                let reads = StepFacts { reads: true, ..StepFacts::default() };
                let detail = Detail { facts: reads, shape };
                if detail.shows_rows(&columns) {
                    self.open(columns, detail, out);
                }
                Ok(())
            }
            Part::Rows(block) => self.rows(&block, shape, out),
            Part::Step(step, facts) => self.step(&step, Detail { facts, shape }, out),
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
        self.open = Some(Open { columns, style, writer: None, failed: None, start: Some(out.len()), len: out.len() });
    }

    fn rows(&mut self, block: &Block, shape: &Shape, out: &mut Vec<u8>) -> Result<(), Abort> {
        let Some(open) = self.open.as_mut().filter(|open| open.failed.is_none()) else {
            return Ok(());
        };
        open.notice_drain(out);
        if let Err(text) = open.write(block, out) {
            open.take_back(text, shape, out)?;
            open.failed = Some(text);
        }
        open.len = out.len();
        Ok(())
    }

    fn step(&mut self, step: &StepOutcome, detail: Detail<'_>, out: &mut Vec<u8>) -> Result<(), Abort> {
        match step {
            StepOutcome::Failed(failure) => {
                self.failed(&words::failure(failure, detail.facts, detail.shape), detail, out)
            }
            StepOutcome::Rows(rows) if self.open.is_some() || detail.shows_rows(&rows.columns) => {
                self.all_rows(rows, detail, out)
            }
            StepOutcome::Rows(Rows { changed, .. }) | StepOutcome::Changed(changed) => {
                self.changed(*changed, detail, out);
                Ok(())
            }
            StepOutcome::ChangedEach(changes) => {
                self.changed(total(changes), detail, out);
                Ok(())
            }
        }
    }

    fn all_rows(&mut self, rows: &Rows, detail: Detail<'_>, out: &mut Vec<u8>) -> Result<(), Abort> {
        if self.open.is_none() {
            self.open(rows.columns.clone(), detail, out);
        }
        for block in &rows.blocks {
            self.rows(block, detail.shape, out)?;
        }
        let Some(open) = self.open.take() else { return Ok(()) };
        match open.failed {
            Some(text) => write_failure(out, text, detail),
            None => {
                open.end(out);
                write_time(out, detail.facts.elapsed, detail.shape);
                out.push(b'}');
            }
        }
        Ok(())
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

    fn failed(&mut self, text: &str, detail: Detail<'_>, out: &mut Vec<u8>) -> Result<(), Abort> {
        match self.open.take() {
            None => self.begin_item(out),
            Some(mut open) => {
                open.notice_drain(out);
                open.take_back(text, detail.shape, out)?;
            }
        }
        write_failure(out, text, detail);
        Ok(())
    }

    fn begin_item(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(if self.begun { b"," } else { b"{\"results\":[" });
        self.begun = true;
    }

    fn end(&mut self, shape: &Shape, trailer: &Trailer, out: &mut Vec<u8>) {
        out.extend_from_slice(if self.begun { b"]" } else { b"{\"results\":[]" });
        write_trailer(out, shape, trailer);
    }
}

impl Open {
    fn notice_drain(&mut self, out: &[u8]) {
        if out.len() != self.len {
            self.start = None;
        }
    }

    fn write(&mut self, block: &Block, out: &mut Vec<u8>) -> Result<(), &'static str> {
        let Some(first) = block.rows().next() else {
            return Ok(());
        };
        let writer = match &mut self.writer {
            Some(writer) => writer,
            none => none.insert(RowWriter::begin(out, &self.columns, Some(first), self.style)),
        };
        writer.block(out, block)
    }

    /// Takes what has been written of the step back.
    fn take_back(&mut self, text: &str, shape: &Shape, out: &mut Vec<u8>) -> Result<(), Abort> {
        let Some(start) = self.start else {
            let reply = encode_top_level_error(text, shape, &Trailer::default());
            return Err(Abort { reply });
        };
        out.truncate(start);
        Ok(())
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
