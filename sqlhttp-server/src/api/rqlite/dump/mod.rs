//! Dumps: the SQL text that rebuilds a database. A dump is read from a copy of the database, so that it is a consistent
//! snapshot. It is sent to the client while it is being written.
//!
//! * `rows`: writes the rows of a table as INSERT statements.
//! * `schema`: the tables, indexes, triggers and views of a database.
//! * `script`: the order of the statements in a dump.
//! * `sql`: writes and parses names, literals and comments in SQL text.

mod rows;
mod schema;
mod script;
mod sql;

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use sqlhttp_core::{
    Answer, Backend, Batch, Block, Database, Deadline, Error, JournalMode, Options, Part, ReadLevel, Step, StepOutcome,
};
use tokio::sync::mpsc;

use self::rows::InsertWriter;
use crate::api::rqlite::copy::DatabaseCopy;
use crate::http::reply::ByteStream;

/// The minimum size of a chunk of a dump, in bytes. The last chunk may be smaller.
const PIECE_BYTES: usize = 64 << 10;

/// The maximum number of chunks of a dump that wait to be sent to the client.
const PIECES_WAITING: usize = 2;

/// The maximum time for which a client may stop reading a dump. It is long, because no other request uses the copy that
/// the dump is read from.
const PAUSE_MAX: Duration = Duration::from_secs(600);

/// Returns the dump of a copy of a database as a stream. `tables` are the names of the tables to dump; an empty list
/// means all tables.
///
/// # Errors
/// Fails if the copy cannot be opened. An error that occurs later is the last item of the stream, and the dump is
/// truncated.
pub(crate) async fn stream(copy: DatabaseCopy, tables: Vec<String>) -> Result<ByteStream, Error> {
    let path: PathBuf = copy.file.path().to_owned();
    let options = Options::default()
        .read_only(true)
        .create(false)
        .journal_mode(JournalMode::Keep)
        .read_threads(1)
        .stall_timeout(PAUSE_MAX)
        // The dump writes every value of the database, so the limit is SQLite's own maximum.
        .value_bytes_max(1_000_000_000);
    let opening = tokio::task::spawn_blocking(move || Database::open(path, options));
    let database = opening.await.map_err(|_| Error::Closed)??;
    let (pieces, receiver) = mpsc::channel(PIECES_WAITING);
    tokio::spawn(async move {
        let out = Vec::with_capacity(PIECE_BYTES);
        let mut dump = Dump { database, tables, out, pieces, writable_schema: false };
        if let Err(DumpError::Failed(why)) = dump.write().await {
            tracing::warn!("a backup was truncated: {why}");
            // This fails if the receiver has been dropped, that is, if the client has disconnected.
            let _ = dump.pieces.send(Err(io::Error::other(why))).await;
        }
        // The database must be closed before the file of the copy is removed.
        let _ = dump.database.close().await;
        drop(copy);
    });
    Ok(Box::pin(stream::unfold(receiver, |mut receiver| async { Some((receiver.recv().await?, receiver)) })))
}

/// A dump that is being written.
struct Dump {
    database: Database,
    tables: Vec<String>,
    out: Vec<u8>,
    pieces: mpsc::Sender<io::Result<Bytes>>,
    /// Whether `PRAGMA writable_schema=ON` has already been written.
    writable_schema: bool,
}

/// The reason why a dump ends early.
enum DumpError {
    /// The client has disconnected.
    ReceiverGone,
    /// The copy of the database cannot be read. The string is the error message.
    Failed(String),
}

impl From<Error> for DumpError {
    fn from(error: Error) -> Self {
        DumpError::Failed(error.to_string())
    }
}

impl Dump {
    /// Writes an INSERT statement for each row of a table.
    async fn write_table_rows(&mut self, mut inserts: InsertWriter) -> Result<(), DumpError> {
        let mut parts = match self.query(inserts.select()).await? {
            Answer::Whole(outcome) => {
                for step in outcome.steps {
                    self.write_step(step, &mut inserts).await?;
                }
                return Ok(());
            }
            Answer::Parts(parts) => parts,
        };
        while let Some(part) = parts.next().await {
            match part? {
                Part::Rows(block) => self.write_block(&block, &mut inserts).await?,
                Part::Step(step, _) => self.write_step(step, &mut inserts).await?,
                Part::Columns(_) | Part::End(_) => {}
            }
        }
        Ok(())
    }

    async fn write_step(&mut self, step: StepOutcome, inserts: &mut InsertWriter) -> Result<(), DumpError> {
        match step {
            StepOutcome::Rows(rows) => {
                for block in &rows.blocks {
                    self.write_block(block, inserts).await?;
                }
                Ok(())
            }
            StepOutcome::Failed(failure) => Err(DumpError::Failed(failure.to_string())),
            StepOutcome::Changed(_) | StepOutcome::ChangedEach(_) => Ok(()),
        }
    }

    async fn write_block(&mut self, block: &Block, inserts: &mut InsertWriter) -> Result<(), DumpError> {
        for row in block.rows() {
            inserts.write(&mut self.out, row);
            if self.out.len() >= PIECE_BYTES {
                self.send().await?;
            }
        }
        Ok(())
    }

    /// Writes a statement of the schema unchanged, with a terminator.
    fn write_statement(&mut self, sql: &str) {
        self.out.extend_from_slice(sql.as_bytes());
        self.out.extend_from_slice(sql::terminator(sql).as_bytes());
        self.out.push(b'\n');
    }

    /// Writes a statement that does not end with a comment, followed by a semicolon.
    fn write_line(&mut self, statement: &str) {
        self.out.extend_from_slice(statement.as_bytes());
        self.out.extend_from_slice(b";\n");
    }

    /// Sends the part of the dump that has been written since the last call.
    async fn send(&mut self) -> Result<(), DumpError> {
        let piece = std::mem::replace(&mut self.out, Vec::with_capacity(PIECE_BYTES));
        self.pieces.send(Ok(piece.into())).await.map_err(|_| DumpError::ReceiverGone)
    }

    /// Returns all rows that a query returns. All values are converted to text.
    async fn query_rows(&self, sql: &str) -> Result<Vec<Vec<String>>, DumpError> {
        let outcome = self.query(sql).await?.whole().await?;
        let Some(StepOutcome::Rows(rows)) = outcome.steps.first() else {
            return Err(DumpError::Failed("the schema cannot be read".to_owned()));
        };
        let text = |value: sqlhttp_core::ValueRef<'_>| value.as_text().unwrap_or_default().into_owned();
        Ok(rows.iter().map(|row| row.values().map(text).collect()).collect())
    }

    /// Returns whether a query returns at least one row; `None` if the query fails.
    async fn returns_rows(&self, sql: &str) -> Result<Option<bool>, DumpError> {
        let outcome = self.query(sql).await?.whole().await?;
        Ok(match outcome.steps.first() {
            Some(StepOutcome::Rows(rows)) => Some(!rows.is_empty()),
            _ => None,
        })
    }

    async fn query(&self, sql: &str) -> Result<Answer, Error> {
        self.database.read_batch(Batch::one(Step::query(sql, ())), ReadLevel::None, Deadline::NEVER).await
    }
}
