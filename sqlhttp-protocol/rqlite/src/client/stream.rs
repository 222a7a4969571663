//! Decodes a reply while it arrives, in memory that does not depend on the number of rows.

use std::collections::VecDeque;

use serde::de::DeserializeOwned;
use sqlhttp_core::Value;
use sqlhttp_text::http::{Host, ResponseBody, SendError};
use sqlhttp_text::results::{Piece, ResultSplitter};

use super::failover::ClientError;
use super::reply::{Cell, ReplyError, Response, Scalar, StatementResult, WireResult, decode_reply_as, in_list};

/// A part of a reply.
#[derive(Debug, Clone, PartialEq)]
pub enum Part<V = Value> {
    /// A statement begins to return rows.
    Columns {
        /// The names of the columns.
        names: Vec<String>,
        /// The types of the columns. The type is empty if the server does not report it.
        types: Vec<String>,
    },
    /// The next rows of the statement.
    Rows(Vec<Vec<V>>),
    /// The statement has ended. The result contains no rows, because they are in the parts before it. The result is
    /// [`StatementResult::Failed`] if the statement failed, also after it has returned rows.
    End(StatementResult<V>),
}

/// A decoder of a reply with status 200 that receives the body in chunks.
///
/// It finds the ends of the rows and of the results in the JSON text, and decodes each one alone. It holds one row, and
/// the fields of one result. If rows are JSON objects (`associative`), it holds the rows of one result. It does not
/// check the commas between rows and between results.
///
/// ```
/// use sqlhttp_core::Value;
/// use sqlhttp_rqlite::client::{Part, ReplyReader};
///
/// let mut reader = ReplyReader::<Value>::default();
/// reader.push(br#"{"results":[{"columns":["a"],"types":["integer"],"values":[[7],[8"#)?;
/// assert!(matches!(reader.next(), Some(Part::Columns { .. })));
/// assert_eq!(reader.next(), Some(Part::Rows(vec![vec![Value::Integer(7)]])));
/// assert_eq!(reader.next(), None);
/// reader.push(b"]]}]}")?;
/// assert_eq!(reader.next(), Some(Part::Rows(vec![vec![Value::Integer(8)]])));
/// assert!(matches!(reader.next(), Some(Part::End(_))));
/// reader.finish()?;
/// # Ok::<(), sqlhttp_rqlite::client::ReplyError>(())
/// ```
#[derive(Debug)]
pub struct ReplyReader<V = Value> {
    splitter: ResultSplitter,
    progress: Progress<V>,
}

/// The parts of a reply that are decoded, and the result that is being decoded.
#[derive(Debug)]
struct Progress<V> {
    /// The number of columns of the current result. `None` if its columns have not arrived.
    columns: Option<usize>,
    /// The rows that are complete but not yet a part.
    rows: Vec<Vec<V>>,
    parts: VecDeque<Part<V>>,
}

impl<V> Default for ReplyReader<V> {
    fn default() -> ReplyReader<V> {
        let progress = Progress { columns: None, rows: Vec::new(), parts: VecDeque::new() };
        ReplyReader { splitter: ResultSplitter::new("values"), progress }
    }
}

impl<V: Cell> ReplyReader<V> {
    /// Adds a chunk of the body.
    ///
    /// # Errors
    /// [`ReplyError::Malformed`]: a row or a result is malformed.
    pub fn push(&mut self, chunk: &[u8]) -> Result<(), ReplyError> {
        let ReplyReader { splitter, progress } = self;
        splitter.push(chunk, &mut |piece| match piece {
            Piece::Begin(result) => progress.begin_rows(result),
            Piece::Row(row) => progress.end_row(row),
            Piece::End(result) => progress.end_result(result),
        })?;
        progress.end_rows();
        Ok(())
    }

    /// Returns the next part that is complete. `None` if more of the body is needed.
    #[allow(clippy::should_implement_trait)] // The parts end and go on, unlike those of an iterator.
    pub fn next(&mut self) -> Option<Part<V>> {
        self.progress.parts.pop_front()
    }

    /// Returns the number of bytes that the reader holds of a row, a result and the reply.
    pub fn held_bytes(&self) -> usize {
        self.splitter.held_bytes()
    }

    /// Ends the reply. The response that it returns contains no results, because the parts contain them.
    ///
    /// # Errors
    /// [`ReplyError::Malformed`]: the body is not complete. [`ReplyError::Failed`]: the request failed as a whole.
    pub fn finish(self) -> Result<Response<V>, ReplyError> {
        decode_reply_as(200, &self.splitter.finish())
    }
}

impl<V: Cell> Progress<V> {
    /// Decodes the fields of a result before its rows.
    fn begin_rows(&mut self, result: &[u8]) -> Result<(), ReplyError> {
        if let StatementResult::Rows(rows) = interpret::<V>(result)? {
            self.begin_columns(rows.columns, rows.types);
        }
        Ok(())
    }

    fn begin_columns(&mut self, names: Vec<String>, types: Vec<String>) {
        self.columns = Some(names.len());
        self.parts.push_back(Part::Columns { names, types });
    }

    fn end_row(&mut self, row: &[u8]) -> Result<(), ReplyError> {
        let columns = self.columns.ok_or_else(|| malformed("a row stands before the columns"))?;
        let list: Vec<Scalar<V>> = decode(row)?;
        self.rows.push(in_list(columns, list).map_err(malformed)?);
        Ok(())
    }

    /// Makes a part of the rows that are complete.
    fn end_rows(&mut self) {
        if !self.rows.is_empty() {
            self.parts.push_back(Part::Rows(std::mem::take(&mut self.rows)));
        }
    }

    fn end_result(&mut self, result: &[u8]) -> Result<(), ReplyError> {
        self.end_rows();
        let mut result = interpret::<V>(result)?;
        if let StatementResult::Rows(rows) = &mut result {
            if self.columns.is_none() {
                self.begin_columns(rows.columns.clone(), rows.types.clone());
            }
            // The rows of the field `rows` arrive with the result.
            self.rows = std::mem::take(&mut rows.rows);
            self.end_rows();
        }
        self.parts.push_back(Part::End(result));
        self.columns = None;
        Ok(())
    }
}

fn interpret<V: Cell>(result: &[u8]) -> Result<StatementResult<V>, ReplyError> {
    decode::<WireResult<V>>(result)?.interpret().map_err(malformed)
}

fn decode<D: DeserializeOwned>(json: &[u8]) -> Result<D, ReplyError> {
    serde_json::from_slice(json).map_err(|error| malformed(&error.to_string()))
}

fn malformed(what: &str) -> ReplyError {
    ReplyError::Malformed(what.to_owned())
}

/// The results of a batch, while they arrive. If it is dropped before the end, the connection is closed, and the server
/// interrupts a read.
#[derive(Debug)]
pub struct ResultStream<B, V = Value> {
    host: Host,
    body: B,
    /// `None` after the end.
    reader: Option<ReplyReader<V>>,
    held_bytes_max: usize,
}

impl<B: ResponseBody, V: Cell> ResultStream<B, V> {
    pub(super) fn new(host: Host, body: B, held_bytes_max: usize) -> ResultStream<B, V> {
        ResultStream { host, body, reader: Some(ReplyReader::default()), held_bytes_max }
    }

    /// Receives the next part of the reply; `None` at its end.
    ///
    /// # Errors
    /// [`ClientError::Lost`]: the connection failed. [`ClientError::Reply`]: the request failed as a whole, or the
    /// reply is malformed. [`ClientError::TooLong`]: a row is longer than the limit of the client.
    pub async fn next(&mut self) -> Result<Option<Part<V>>, ClientError> {
        while let Some(reader) = &mut self.reader {
            if let Some(part) = reader.next() {
                return Ok(Some(part));
            }
            match self.body.chunk().await.map_err(|error| SendError::lost(&self.host, &error))? {
                Some(chunk) => reader.push(&chunk)?,
                None => {
                    if let Some(reader) = self.reader.take() {
                        reader.finish()?;
                    }
                    return Ok(None);
                }
            }
            if reader.held_bytes() > self.held_bytes_max {
                return Err(ClientError::TooLong(self.held_bytes_max));
            }
        }
        Ok(None)
    }
}
