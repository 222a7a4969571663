//! Encodes the results of statements. Used both for complete outcomes and for outcomes that arrive in parts.

use std::sync::Arc;

use sqlhttp_core::{Block, Changed, Columns, Ending, Part, Rows, StepInfo, StepOutcome};
use sqlhttp_text::number;

use super::detail::Detail;
use super::error::{EncodeError, not_committed, write_error, write_failure};
use super::rows::{RowWriter, Style};
use super::trailer::{write_time, write_trailer};
use crate::reply_shape::{ReplyShape, Trailer};
use crate::{json, messages};

/// Writes the results in a reply, one after the other.
#[derive(Debug, Default)]
pub(super) struct Encoder {
    /// The number of results whose beginning has been written.
    begun: usize,
    /// The result whose rows are being written. `None` between two results.
    open: Option<Open>,
}

/// A result whose rows are being written.
#[derive(Debug)]
struct Open {
    columns: Arc<Columns>,
    style: Style,
    /// The writer of the rows. `None` before the first row.
    writer: Option<RowWriter>,
    /// The byte offset of this result in the output. `None` if the caller has emptied the output since the result
    /// began.
    start: Option<usize>,
    /// The length of the output after the last part that was written, in bytes.
    len: usize,
}

impl Encoder {
    /// Returns whether the rows of a result are being written.
    pub(super) fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// Writes the next part of an outcome.
    pub(super) fn part(
        &mut self,
        part: Part,
        trailer: &Trailer,
        shape: &ReplyShape,
        out: &mut Vec<u8>,
    ) -> Result<(), EncodeError> {
        match part {
            Part::Columns(columns) => {
                // The engine sends only the results of reads in parts.
                let reads = StepInfo { reads: true, ..StepInfo::default() };
                let detail = Detail { info: reads, shape };
                if detail.shows_rows(&columns) {
                    self.open(columns, detail, out);
                }
                Ok(())
            }
            Part::Rows(block) => {
                self.rows(&block, out);
                Ok(())
            }
            Part::Step(step, info) => {
                self.step(&step, Detail { info, shape }, out);
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

    /// Writes the result of a step. If the rows of the result have already been written, writes only the end of the
    /// result.
    pub(super) fn step(&mut self, step: &StepOutcome, detail: Detail<'_>, out: &mut Vec<u8>) {
        match step {
            StepOutcome::Failed(failure) => {
                self.failed(&messages::failure(failure, detail.info, detail.shape), detail, out)
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
            write_time(out, detail.info.elapsed, detail.shape);
            out.push(b'}');
        }
    }

    fn changed(&mut self, changed: Changed, detail: Detail<'_>, out: &mut Vec<u8>) {
        let Detail { info, shape } = detail;
        self.begin_item(out);
        out.push(b'{');
        if detail.is_query() {
            if shape.associative {
                out.extend_from_slice(b"\"rows\":[]");
            }
            write_time(out, info.elapsed, shape);
        } else {
            if let Some(id) = changed.last_insert_id.filter(|&id| id != 0) {
                json::write_key(out, "last_insert_id");
                number::write_integer(out, id);
            }
            if changed.rows != 0 {
                json::write_key(out, "rows_affected");
                number::write_integer(out, changed.rows);
            }
            write_time(out, info.elapsed, shape);
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
            // No byte of the result has been taken out of the output. So the error replaces the whole result.
            Open { start: Some(start), .. } => out.truncate(start),
            Open { writer: None, .. } => {}
            Open { writer: Some(writer), .. } => {
                writer.end(out);
                return write_error(out, text);
            }
        }
        write_failure(out, text, detail);
    }

    /// Writes `text` as the error of each statement that has no result yet, and then the end of the reply.
    pub(super) fn end_early(&mut self, text: &str, trailer: &Trailer, shape: &ReplyShape, out: &mut Vec<u8>) {
        let detail = Detail { info: StepInfo { reads: true, ..StepInfo::default() }, shape };
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

    /// Writes the end of the reply, after the last result.
    pub(super) fn end(&mut self, shape: &ReplyShape, trailer: &Trailer, out: &mut Vec<u8>) {
        out.extend_from_slice(if self.begun > 0 { b"]" } else { b"{\"results\":[]" });
        write_trailer(out, shape, trailer);
    }
}

impl Open {
    /// Sets `start` to `None` if the caller has emptied the output since the last part.
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

/// Returns the total of the changes that the runs of one statement made, with the rowid of the last run.
fn total(changes: &[Changed]) -> Changed {
    Changed {
        rows: changes.iter().fold(0, |sum, changed| sum.saturating_add(changed.rows)),
        last_insert_id: changes.last().and_then(|changed| changed.last_insert_id),
    }
}
