//! Decodes a reply while it arrives, in memory that does not depend on the number of rows.

use std::collections::VecDeque;

use serde::de::DeserializeOwned;
use sqlhttp_core::Value;
use sqlhttp_text::results::{Piece, ResultSplitter};

use super::reply::{ItemResult, ReplyError, Scalar, WireHeaders, WireItem, decode_reply, in_list};

/// A part of a reply.
#[derive(Debug, Clone, PartialEq)]
pub enum Part {
    /// A query begins to return rows. The list contains the names of the columns.
    Columns(Vec<String>),
    /// The next rows of the query.
    Rows(Vec<Vec<Value>>),
    /// A query or statement has ended. The result contains no rows, because they are in the parts before it. The result
    /// is [`ItemResult::Failed`] if a query with `noFail` failed, also after it has returned rows.
    End(ItemResult),
}

/// A decoder of a reply with status 200 that receives the body in chunks.
///
/// It finds the ends of the rows and of the results in the JSON text, and decodes each one alone. It holds one row, and
/// the members of one result. If rows are JSON objects ([`Format::Map`](super::Format::Map)), it holds the rows of one
/// result. It does not check the commas between rows and between results.
///
/// ```
/// use sqlhttp_core::Value;
/// use sqlhttp_ws4sqlite::client::{Part, ReplyReader};
///
/// let mut reader = ReplyReader::default();
/// reader.push(br#"{"results":[{"success":true,"resultHeaders":["a"],"resultSetList":[[7],[8"#)?;
/// assert_eq!(reader.next(), Some(Part::Columns(vec!["a".into()])));
/// assert_eq!(reader.next(), Some(Part::Rows(vec![vec![Value::Integer(7)]])));
/// assert_eq!(reader.next(), None);
/// reader.push(b"]]}]}")?;
/// assert_eq!(reader.next(), Some(Part::Rows(vec![vec![Value::Integer(8)]])));
/// assert!(matches!(reader.next(), Some(Part::End(_))));
/// reader.finish()?;
/// # Ok::<(), sqlhttp_ws4sqlite::client::ReplyError>(())
/// ```
#[derive(Debug)]
pub struct ReplyReader {
    splitter: ResultSplitter,
    progress: Progress,
}

/// The parts of a reply that are decoded, and the result that is being decoded.
#[derive(Debug, Default)]
struct Progress {
    /// The number of columns of the current result. `None` if its columns have not arrived.
    columns: Option<usize>,
    /// The rows that are complete but not yet a part.
    rows: Vec<Vec<Value>>,
    parts: VecDeque<Part>,
}

impl Default for ReplyReader {
    fn default() -> ReplyReader {
        ReplyReader { splitter: ResultSplitter::new("resultSetList"), progress: Progress::default() }
    }
}

impl ReplyReader {
    /// Adds a chunk of the body.
    ///
    /// # Errors
    /// [`ReplyError::Malformed`]: a row or a result is malformed.
    pub fn push(&mut self, chunk: &[u8]) -> Result<(), ReplyError> {
        let ReplyReader { splitter, progress } = self;
        splitter.push(chunk, &mut |piece| match piece {
            Piece::Begin(item) => progress.begin_rows(item),
            Piece::Row(row) => progress.end_row(row),
            Piece::End(item) => progress.end_item(item),
        })?;
        progress.end_rows();
        Ok(())
    }

    /// Returns the next part that is complete. `None` if more of the body is needed.
    #[allow(clippy::should_implement_trait)] // The parts end and go on, unlike those of an iterator.
    pub fn next(&mut self) -> Option<Part> {
        self.progress.parts.pop_front()
    }

    /// Returns the number of bytes that the reader holds of a row, a result and the reply.
    pub fn held_bytes(&self) -> usize {
        self.splitter.held_bytes()
    }

    /// Ends the reply.
    ///
    /// # Errors
    /// [`ReplyError::Malformed`]: the body is not complete.
    pub fn finish(self) -> Result<(), ReplyError> {
        decode_reply(200, &self.splitter.finish()).map(drop)
    }
}

impl Progress {
    /// Decodes the members of a result before its rows.
    fn begin_rows(&mut self, item: &[u8]) -> Result<(), ReplyError> {
        self.begin_columns(decode::<WireHeaders>(item)?.result_headers);
        Ok(())
    }

    fn begin_columns(&mut self, names: Vec<String>) {
        self.columns = Some(names.len());
        self.parts.push_back(Part::Columns(names));
    }

    fn end_row(&mut self, row: &[u8]) -> Result<(), ReplyError> {
        let columns = self.columns.ok_or_else(|| malformed("a row stands before the columns"))?;
        let list: Vec<Scalar> = decode(row)?;
        self.rows.push(in_list(columns, list).map_err(malformed)?);
        Ok(())
    }

    /// Makes a part of the rows that are complete.
    fn end_rows(&mut self) {
        if !self.rows.is_empty() {
            self.parts.push_back(Part::Rows(std::mem::take(&mut self.rows)));
        }
    }

    fn end_item(&mut self, item: &[u8]) -> Result<(), ReplyError> {
        self.end_rows();
        let mut result = decode::<WireItem>(item)?.understand().map_err(malformed)?;
        if let ItemResult::Rows { headers, rows } = &mut result {
            if self.columns.is_none() {
                self.begin_columns(headers.clone());
            }
            // Rows that are objects arrive with the result.
            self.rows = std::mem::take(rows);
            self.end_rows();
        }
        self.parts.push_back(Part::End(result));
        self.columns = None;
        Ok(())
    }
}

fn decode<D: DeserializeOwned>(json: &[u8]) -> Result<D, ReplyError> {
    serde_json::from_slice(json).map_err(|error| malformed(&error.to_string()))
}

fn malformed(what: &str) -> ReplyError {
    ReplyError::Malformed(what.to_owned())
}
