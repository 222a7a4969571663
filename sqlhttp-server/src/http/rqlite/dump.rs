//! The SQL text that rebuilds a database, as `sqlite3 .dump` would write it. It is read from a copy, so that all of it is
//! of one moment, and written while it is sent.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use sqlhttp_core::{
    Answer, Backend, Batch, Block, Database, Deadline, Error, JournalMode, Options, Part, ReadLevel, Step, StepOutcome,
};
use tokio::sync::mpsc;

use super::super::reply::ByteStream;
use super::backup::Copy;

/// How much text is sent at a time, in bytes.
const PIECE_BYTES: usize = 64 << 10;

/// How many pieces wait for the client.
const PIECES_WAITING: usize = 2;

/// How long a client may pause. Nobody else waits for the copy.
const PAUSE_MAX: Duration = Duration::from_secs(600);

/// The tables, but for those that a virtual table brings with it.
const TABLES: &str = "SELECT m.name, m.sql FROM sqlite_schema m \
    JOIN pragma_table_list l ON l.schema = 'main' AND l.name = m.name AND l.type <> 'shadow' \
    WHERE m.type = 'table' AND m.sql NOT NULL ORDER BY m.name";

const OTHERS: &str = "SELECT sql FROM sqlite_schema WHERE sql NOT NULL AND type IN ('index', 'trigger', 'view')";

/// The text of a copy. `tables`: only these, unless there are none.
///
/// # Errors
/// The copy cannot be opened. What goes wrong later cuts the text short.
pub(super) async fn stream(copy: Copy, tables: Vec<String>) -> Result<ByteStream, Error> {
    let path: PathBuf = copy.path.clone();
    let options = Options {
        read_only: true,
        create: false,
        journal_mode: JournalMode::Keep,
        read_threads: 1,
        stall_timeout: PAUSE_MAX,
        ..Options::default()
    };
    let opening = tokio::task::spawn_blocking(move || Database::open(path, options));
    let database = opening.await.map_err(|_| Error::Closed)??;
    let (pieces, receiver) = mpsc::channel(PIECES_WAITING);
    tokio::spawn(async move {
        let mut dump = Dump { database, tables, out: Vec::with_capacity(PIECE_BYTES), pieces };
        if let Err(Stop::Failed(why)) = dump.write().await {
            tracing::warn!("a backup was cut short: {why}");
            // Who has gone away needs no error.
            let _ = dump.pieces.send(Err(io::Error::other(why))).await;
        }
        // Closed before its file is removed.
        let _ = dump.database.close().await;
        drop(copy);
    });
    Ok(Box::pin(stream::unfold(receiver, |mut receiver| async { Some((receiver.recv().await?, receiver)) })))
}

struct Dump {
    database: Database,
    tables: Vec<String>,
    out: Vec<u8>,
    pieces: mpsc::Sender<io::Result<Bytes>>,
}

/// Why the text ends early.
enum Stop {
    /// Nobody reads it any more.
    Unread,
    Failed(String),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Stop::Failed(error.to_string())
    }
}

impl Dump {
    async fn write(&mut self) -> Result<(), Stop> {
        self.out.extend_from_slice(b"PRAGMA foreign_keys=OFF;\nBEGIN TRANSACTION;\n");
        for row in self.rows(TABLES).await? {
            if let [name, sql] = row.as_slice()
                && (self.tables.is_empty() || self.tables.contains(name))
            {
                self.table(name, sql).await?;
            }
        }
        for row in self.rows(OTHERS).await? {
            for sql in row {
                self.line(&sql);
            }
        }
        self.out.extend_from_slice(b"COMMIT;\n");
        self.send().await
    }

    async fn table(&mut self, name: &str, sql: &str) -> Result<(), Stop> {
        match name {
            "sqlite_sequence" => self.line("DELETE FROM \"sqlite_sequence\";"),
            "sqlite_stat1" => self.line("ANALYZE \"sqlite_master\";"),
            name if name.starts_with("sqlite_") => return Ok(()),
            _ => self.line(sql),
        }
        let quoted = quoted(name);
        let columns = self.rows(&format!("SELECT name FROM pragma_table_info({})", literal(name))).await?;
        let values: Vec<String> =
            columns.iter().flatten().map(|column| format!("quote({})", self::quoted(column))).collect();
        if values.is_empty() {
            return Ok(());
        }
        let insert = literal(&format!("INSERT INTO {quoted} VALUES("));
        let values = values.join("||','||");
        // Without an index, so that the rows come in their own order.
        self.lines_of(&format!("SELECT {insert}||{values}||')' FROM {quoted} NOT INDEXED")).await
    }

    /// Writes each row's text as a statement.
    async fn lines_of(&mut self, sql: &str) -> Result<(), Stop> {
        let mut parts = match self.ask(sql).await? {
            Answer::Whole(outcome) => {
                for step in outcome.steps {
                    self.step(step).await?;
                }
                return Ok(());
            }
            Answer::Parts(parts) => parts,
        };
        while let Some(part) = parts.next().await {
            match part? {
                Part::Rows(block) => self.block(&block).await?,
                Part::Step(step, _) => self.step(step).await?,
                Part::Columns(_) | Part::End(_) => {}
            }
        }
        Ok(())
    }

    async fn step(&mut self, step: StepOutcome) -> Result<(), Stop> {
        match step {
            StepOutcome::Rows(rows) => {
                for block in &rows.blocks {
                    self.block(block).await?;
                }
                Ok(())
            }
            StepOutcome::Failed(failure) => Err(Stop::Failed(failure.to_string())),
            StepOutcome::Changed(_) | StepOutcome::ChangedEach(_) => Ok(()),
        }
    }

    async fn block(&mut self, block: &Block) -> Result<(), Stop> {
        for row in block.rows() {
            if let Some(text) = row.get(0).and_then(|value| value.as_text().map(|text| text.into_owned())) {
                self.line(&text);
            }
            if self.out.len() >= PIECE_BYTES {
                self.send().await?;
            }
        }
        Ok(())
    }

    fn line(&mut self, statement: &str) {
        self.out.extend_from_slice(statement.as_bytes());
        self.out.extend_from_slice(b";\n");
    }

    async fn send(&mut self) -> Result<(), Stop> {
        let piece = std::mem::replace(&mut self.out, Vec::with_capacity(PIECE_BYTES));
        self.pieces.send(Ok(piece.into())).await.map_err(|_| Stop::Unread)
    }

    /// All rows of a query, as text.
    async fn rows(&self, sql: &str) -> Result<Vec<Vec<String>>, Stop> {
        let outcome = self.ask(sql).await?.whole().await?;
        let Some(StepOutcome::Rows(rows)) = outcome.steps.first() else {
            return Err(Stop::Failed("the schema cannot be read".to_owned()));
        };
        let text = |value: sqlhttp_core::ValueRef<'_>| value.as_text().unwrap_or_default().into_owned();
        Ok(rows.iter().map(|row| row.values().map(text).collect()).collect())
    }

    async fn ask(&self, sql: &str) -> Result<Answer, Error> {
        self.database.query(Batch::one(Step::query(sql, ())), ReadLevel::None, Deadline::NEVER).await
    }
}

/// A name in SQL.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A text in SQL.
fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}
