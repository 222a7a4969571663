//! Inserts the records of a file into a table.

use std::collections::VecDeque;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use indicatif::ProgressBar;
use sqlhttp_core::{Atomicity, Batch, Bindings, Step, Value};
use sqlhttp_rqlite::Endpoint;
use sqlhttp_rqlite::client::{ClientError, ReplyError, StatementResult, Transport};
use tokio::sync::mpsc;

use super::{Shell, ShellError, from_client};
use crate::command::Import;
use crate::partial_file::at;
use crate::progress::{self, Counted};
use crate::records::{Format, Record, RecordError, Records};
use crate::sql::quoted_name;

/// The maximum number of rows in a request.
const ROWS_MAX: usize = 5000;
/// The maximum number of values in a request.
const VALUES_MAX: usize = 50_000;
/// The number of bytes of values after which a request is sent.
const VALUE_BYTES: usize = 1 << 20;
/// The maximum number of rows in a statement.
const STATEMENT_ROWS_MAX: usize = 500;
/// The maximum number of parameters in a statement (<https://sqlite.org/limits.html#max_variable_number>).
const STATEMENT_PARAMETERS_MAX: usize = 32_000;
/// The number of chunks that are read while one is sent.
const CHUNKS_AHEAD: usize = 2;
/// The maximum number of JSON objects whose keys become the columns of a table that does not exist.
const OBJECTS_EXAMINED_MAX: usize = 1000;
/// The maximum number of records whose errors are shown.
const ERRORS_SHOWN_MAX: u64 = 20;

/// A record, or the error of a malformed one.
type ReadRecord = Result<Record, RecordError>;

/// Records that are inserted by one request, and the errors of records between them.
#[derive(Default)]
struct Chunk {
    records: Vec<Record>,
    values: usize,
    bytes: usize,
    errors: Vec<RecordError>,
}

/// The table, and the columns that receive the values of a CSV record.
struct Target {
    table: String,
    columns: Vec<String>,
}

/// An import that runs.
struct Progress<'i> {
    file: &'i Path,
    bar: ProgressBar,
    inserted: u64,
    failed: u64,
}

impl<T: Transport + Clone> Shell<T> {
    /// Inserts the records of a file, in transactions of several thousand rows. If a transaction fails, its rows are
    /// inserted one by one, and the error of each row that cannot be inserted names its line.
    pub(super) async fn import(&mut self, import: &Import) -> Result<(), ShellError> {
        let file = &import.file;
        let opened = File::open(file).map_err(at(file))?;
        let metadata = opened.metadata().map_err(at(file))?;
        if metadata.is_dir() {
            return Err(at(file)(std::io::ErrorKind::IsADirectory.into()));
        }
        let name = file.display().to_string();
        let bar = if metadata.is_file() { progress::file_of_rows(name, metadata.len()) } else { progress::rows(name) };
        let reader = Counted { reader: opened, bar: bar.clone() };
        let mut records = Records::new(import.format, reader, import.null.clone());
        let mut progress = Progress { file, bar, inserted: 0, failed: 0 };
        let skipped = records.skip(import.skip);
        let mut ahead = skipped.and_then(|()| first_records(&mut records, import.format));
        let first = ahead.as_mut().map_err(|error| progress.in_file(error))?;
        let target = self.import_target(import, first).await?;
        let ahead = std::mem::take(first);
        let (sender, mut chunks) = mpsc::channel(CHUNKS_AHEAD);
        let columns = target.columns.len();
        // Reading blocks.
        tokio::task::spawn_blocking(move || read_chunks(ahead, &mut records, columns, &sender));
        while let Some(chunk) = chunks.recv().await {
            self.insert_chunk(&target, chunk, &mut progress).await?;
            progress.bar.set_message(rows(progress.inserted));
            self.unfinished = Some(format!("{} imported", rows(progress.inserted)));
        }
        self.unfinished = None;
        progress.bar.finish_and_clear();
        self.write_for_people(&format!("{} imported into {}", rows(progress.inserted), target.table))?;
        match progress.failed {
            0 => Ok(()),
            1 => Err(ShellError::Invalid(format!("{}: 1 record was not imported", file.display()))),
            failed => Err(ShellError::Invalid(format!("{}: {failed} records were not imported", file.display()))),
        }
    }

    /// Finds the table and its columns, and creates the table if it does not exist. Removes a header from the first
    /// records.
    async fn import_target(&mut self, import: &Import, first: &mut VecDeque<ReadRecord>) -> Result<Target, ShellError> {
        let columns = "SELECT name FROM pragma_table_xinfo(?) WHERE hidden = 0";
        let found = self.rows(columns, vec![Value::Text(import.table.as_str().into())]).await?;
        let found: Vec<String> = found.into_iter().flatten().filter_map(text_of).collect();
        let header = match first.front() {
            Some(Ok(record)) if import.format != Format::JsonLines => Some(record.texts()),
            _ => None,
        };
        let target = |columns| Target { table: import.table.clone(), columns };
        if !found.is_empty() {
            return Ok(target(match header.filter(|names| are_columns(names, &found)) {
                Some(names) => {
                    first.pop_front();
                    names
                }
                None => found,
            }));
        }
        let names = match import.format {
            Format::JsonLines => keys(first),
            Format::Csv | Format::Tsv => {
                first.pop_front();
                header.unwrap_or_default()
            }
        };
        if names.is_empty() {
            let why = format!("{}: the file names no columns for the new table", import.file.display());
            return Err(ShellError::Invalid(why));
        }
        self.create_table(&import.table, &names, import.format).await?;
        Ok(target(names))
    }

    /// Creates a table like SQLite's shell: the columns of a CSV file have the type TEXT. Those of JSON lines have no
    /// type, so that the values keep theirs.
    async fn create_table(&mut self, table: &str, names: &[String], format: Format) -> Result<(), ShellError> {
        let type_name = if format == Format::JsonLines { "" } else { " TEXT" };
        let columns: Vec<String> = names.iter().map(|name| quoted_name(name) + type_name).collect();
        let sql = format!("CREATE TABLE {}({})", quoted_name(table), columns.join(", "));
        self.schema_changed = true;
        let steps = vec![Step::execute(sql, ())];
        match self.execute_steps(steps, Atomicity::All).await?.into_iter().next() {
            Some(StatementResult::Failed(message)) => Err(ShellError::Statement(message)),
            _ => Ok(()),
        }
    }

    async fn execute_steps(&self, steps: Vec<Step>, atomicity: Atomicity) -> Result<Vec<StatementResult>, ShellError> {
        let batch = Batch { steps, atomicity, ..Batch::default() };
        let run = self.client.run(Endpoint::Execute, &batch, |_| {}).await;
        Ok(run.map_err(from_client)?.results)
    }

    /// Inserts the records of a chunk, and then reports the malformed ones.
    async fn insert_chunk(
        &mut self,
        target: &Target,
        chunk: Chunk,
        progress: &mut Progress<'_>,
    ) -> Result<(), ShellError> {
        if !chunk.records.is_empty() {
            let inserted = self.insert(target, &chunk.records, progress).await;
            inserted.map_err(|error| progress.interrupted(&chunk.records, error))?;
        }
        for error in &chunk.errors {
            self.report_record(error, progress)?;
        }
        Ok(())
    }

    /// Inserts records in one transaction or, if that fails, one by one.
    async fn insert(
        &mut self,
        target: &Target,
        records: &[Record],
        progress: &mut Progress<'_>,
    ) -> Result<(), ShellError> {
        let runs = records.chunk_by(|a, b| a.names == b.names);
        let statements = runs.flat_map(|run| run.chunks(rows_per_statement(run)));
        let steps = statements.map(|rows| insert_step(target, rows)).collect();
        let failed = match self.execute_steps(steps, Atomicity::All).await {
            Ok(results) => results.iter().any(|result| matches!(result, StatementResult::Failed(_))),
            // The commit has failed, for example because of a deferred foreign key.
            Err(ShellError::Client(ClientError::Reply(ReplyError::Failed(_)))) => true,
            Err(error) => return Err(error),
        };
        if !failed {
            progress.inserted += records.len() as u64;
            return Ok(());
        }
        let steps = records.iter().map(|record| insert_step(target, std::slice::from_ref(record)));
        let results = self.execute_steps(steps.collect(), Atomicity::Each).await?;
        if results.len() != records.len() {
            return Err(ShellError::Invalid(format!("the reply has {} results, not {}", results.len(), records.len())));
        }
        for (record, result) in records.iter().zip(results) {
            match result {
                StatementResult::Failed(why) => {
                    self.report_record(&RecordError { line: record.line, why, fatal: false }, progress)?;
                }
                _ => progress.inserted += 1,
            }
        }
        Ok(())
    }

    fn report_record(&mut self, error: &RecordError, progress: &mut Progress<'_>) -> Result<(), ShellError> {
        progress.failed += 1;
        let shown = progress.in_file(error);
        if error.fatal {
            let place = format!("{} imported", rows(progress.inserted));
            return Err(ShellError::Import { place, source: Box::new(shown) });
        }
        if progress.failed <= ERRORS_SHOWN_MAX {
            progress.bar.suspend(|| self.report(&shown))?;
        }
        Ok(())
    }
}

impl Progress<'_> {
    fn in_file(&self, error: &RecordError) -> ShellError {
        ShellError::Invalid(format!("{}: {error}", self.file.display()))
    }

    /// Returns the error of an import that ends early. If the connection has failed, the last records may have been
    /// inserted.
    fn interrupted(&self, records: &[Record], error: ShellError) -> ShellError {
        let line = |record: Option<&Record>| record.map_or(0, |record| record.line);
        let (first, last) = (line(records.first()), line(records.last()));
        let (file, inserted) = (self.file.display(), rows(self.inserted));
        let place = match error {
            ShellError::Client(ClientError::Lost { .. }) => {
                format!("{file}: {inserted} imported, and perhaps those of the lines {first} to {last}")
            }
            _ => format!("{file}: {inserted} imported, up to line {first}"),
        };
        ShellError::Import { place, source: Box::new(error) }
    }
}

/// Returns `1 row` or `N rows`.
pub(super) fn rows(count: u64) -> String {
    format!("{count} row{}", if count == 1 { "" } else { "s" })
}

/// Reads the records that determine the columns: one record of a CSV file, or several objects, because they may have
/// different keys.
///
/// # Errors
/// The file cannot be read.
fn first_records<R: Read>(records: &mut Records<R>, format: Format) -> Result<VecDeque<ReadRecord>, RecordError> {
    let count = if format == Format::JsonLines { OBJECTS_EXAMINED_MAX } else { 1 };
    let mut first = VecDeque::new();
    while first.len() < count {
        match records.next() {
            Ok(None) => break,
            Ok(Some(record)) => first.push_back(Ok(record)),
            Err(error) if error.fatal => return Err(error),
            Err(error) => first.push_back(Err(error)),
        }
    }
    Ok(first)
}

/// Returns the keys of objects, each once.
fn keys(objects: &VecDeque<ReadRecord>) -> Vec<String> {
    let mut keys: Vec<String> = Vec::new();
    let names = objects.iter().filter_map(|object| object.as_ref().ok()?.names.as_ref());
    for name in names.flatten() {
        if !keys.iter().any(|known| known.eq_ignore_ascii_case(name)) {
            keys.push(name.clone());
        }
    }
    keys
}

/// Whether the fields of the first record are the names of different columns.
fn are_columns(names: &[String], columns: &[String]) -> bool {
    let same = |a: &String, b: &String| a.eq_ignore_ascii_case(b);
    let differ = |index: usize| !names[..index].iter().any(|name| same(name, &names[index]));
    !names.is_empty()
        && names.iter().all(|name| columns.iter().any(|column| same(name, column)))
        && (0..names.len()).all(differ)
}

fn text_of(value: Value) -> Option<String> {
    if let Value::Text(text) = value { Some(text.to_string()) } else { None }
}

/// Sends the first records and those of the file, in chunks.
fn read_chunks<R: Read>(
    mut first: VecDeque<ReadRecord>,
    records: &mut Records<R>,
    columns: usize,
    sender: &mpsc::Sender<Chunk>,
) {
    let mut chunk = Chunk::default();
    let mut ended = false;
    while !ended {
        match first.pop_front().or_else(|| records.next().transpose()) {
            None => ended = true,
            Some(read) => match read.and_then(|record| fitting(record, columns)) {
                Ok(record) => {
                    chunk.values += record.values.len();
                    chunk.bytes += record.values.iter().map(value_bytes).sum::<usize>();
                    chunk.records.push(record);
                }
                Err(error) => {
                    ended = error.fatal;
                    chunk.errors.push(error);
                }
            },
        }
        let full = chunk.records.len().max(chunk.errors.len()) >= ROWS_MAX
            || chunk.values >= VALUES_MAX
            || chunk.bytes >= VALUE_BYTES;
        // The receiver has ended if the import has failed.
        if (full || ended) && sender.blocking_send(std::mem::take(&mut chunk)).is_err() {
            return;
        }
    }
}

/// Returns a record with a value for each column. The columns of an object are its keys.
fn fitting(record: Record, columns: usize) -> ReadRecord {
    if record.names.is_some() { Ok(record) } else { record.with_columns(columns) }
}

fn value_bytes(value: &Value) -> usize {
    match value {
        Value::Text(text) => text.len(),
        Value::Blob(bytes) => bytes.len(),
        Value::Null | Value::Integer(_) | Value::Real(_) => 8,
    }
}

/// Returns the number of rows that one statement inserts.
fn rows_per_statement(records: &[Record]) -> usize {
    let values = records.first().map_or(1, |record| record.values.len().max(1));
    (STATEMENT_PARAMETERS_MAX / values).clamp(1, STATEMENT_ROWS_MAX)
}

/// Returns the step that inserts records with the same columns.
fn insert_step(target: &Target, records: &[Record]) -> Step {
    let names = records.first().and_then(|record| record.names.as_ref()).unwrap_or(&target.columns);
    let table = quoted_name(&target.table);
    if names.is_empty() {
        return Step::execute(format!("INSERT INTO {table} DEFAULT VALUES"), ());
    }
    let columns: Vec<String> = names.iter().map(|name| quoted_name(name)).collect();
    let mut sql = format!("INSERT INTO {table}({}) VALUES", columns.join(","));
    let mut bound = Vec::with_capacity(names.len() * records.len());
    for (number, record) in records.iter().enumerate() {
        sql.push_str(if number == 0 { "(" } else { ",(" });
        for (index, value) in record.values.iter().enumerate() {
            sql.push_str(if index == 0 { "" } else { "," });
            let (expression, value) = expression(value);
            sql.push_str(expression);
            bound.extend(value);
        }
        sql.push(')');
    }
    Step::execute(sql, Bindings::positional(bound))
}

/// Returns the expression for a value, and the value that is bound to it. The protocol cannot express an infinite value
/// and a TEXT value that looks like a BLOB.
fn expression(value: &Value) -> (&'static str, Option<Value>) {
    match value {
        Value::Real(value) if *value == f64::INFINITY => ("9e999", None),
        Value::Real(value) if *value == f64::NEG_INFINITY => ("-9e999", None),
        Value::Text(text) if text.starts_with(['x', 'X']) && text.ends_with('\'') => {
            ("CAST(? AS TEXT)", Some(Value::Blob(text.as_bytes().to_vec())))
        }
        value => ("?", Some(value.clone())),
    }
}
