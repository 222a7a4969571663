//! Inserts the records of a file into a table.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use indicatif::ProgressBar;
use sqlhttp_core::{Atomicity, Batch, Bindings, Step, Value};
use sqlhttp_rqlite::Endpoint;
use sqlhttp_rqlite::client::{StatementResult, Transport};
use tokio::sync::mpsc;

use super::{Shell, ShellError, from_client};
use crate::command::Import;
use crate::partial_file::at;
use crate::progress::{self, Counted};
use crate::records::{Format, Record, RecordError, Records};
use crate::sql::quoted_name;

/// The maximum number of rows in a request.
const ROWS_MAX: usize = 5000;
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

/// Records that are inserted by one request, and errors of records between them.
#[derive(Default)]
struct Chunk {
    records: Vec<Record>,
    bytes: usize,
    errors: Vec<RecordError>,
}

/// The table, and the columns that receive the values of a CSV record.
#[derive(Clone)]
struct Target {
    table: String,
    columns: Vec<String>,
}

/// What has been inserted.
#[derive(Default)]
struct Count {
    inserted: u64,
    failed: u64,
}

impl<T: Transport + Clone> Shell<T> {
    /// Inserts the records of a file, in transactions of several thousand rows. If a transaction fails, its rows are
    /// inserted one by one, and the error of each row that cannot be inserted names its line.
    pub(super) async fn import(&mut self, import: &Import) -> Result<(), ShellError> {
        let file = &import.file;
        let length = std::fs::metadata(file).map_err(at(file))?.len();
        let bar = progress::file_of_rows(file.display().to_string(), length);
        let (target, skip) = self.import_target(import).await?;
        let mut records = open(import, Counted { reader: File::open(file).map_err(at(file))?, bar: bar.clone() });
        let (sender, mut chunks) = mpsc::channel(CHUNKS_AHEAD);
        let columns = target.columns.len();
        // Reading blocks.
        tokio::task::spawn_blocking(move || read_chunks(&mut records, skip, columns, &sender));
        let mut count = Count::default();
        while let Some(chunk) = chunks.recv().await {
            for error in &chunk.errors {
                self.report_record(&bar, file, error, &mut count)?;
            }
            self.insert(&target, chunk, file, &bar, &mut count).await?;
            bar.set_message(format!("{} rows", count.inserted));
        }
        bar.finish_and_clear();
        self.write_for_people(&format!("{} rows imported into {}", count.inserted, target.table))?;
        match count.failed {
            0 => Ok(()),
            failed => Err(ShellError::Invalid(format!("{}: {failed} records were not imported", file.display()))),
        }
    }

    /// Finds the table and its columns, and creates the table if it does not exist. Also returns the number of records
    /// that are not inserted.
    async fn import_target(&mut self, import: &Import) -> Result<(Target, u64), ShellError> {
        let file = &import.file;
        let columns = "SELECT name FROM pragma_table_xinfo(?) WHERE hidden = 0";
        let table = Value::Text(import.table.as_str().into());
        let found = self.rows(columns, vec![table]).await?;
        let found: Vec<String> = found.into_iter().flatten().map(|value| text_of(&value)).collect();
        let first = first_names(import).map_err(|error| in_file(file, &error))?;
        let table = import.table.clone();
        let target = |columns| Target { table, columns };
        if !found.is_empty() {
            let names = first.filter(|names| import.format != Format::JsonLines && are_columns(names, &found));
            return Ok(match names {
                Some(names) => (target(names), import.skip + 1),
                None => (target(found), import.skip),
            });
        }
        let Some(names) = first.filter(|names| !names.is_empty()) else {
            return Err(ShellError::Invalid(format!("{}: the file names no columns", file.display())));
        };
        self.create_table(&import.table, &names, import.format).await?;
        let header = u64::from(import.format != Format::JsonLines);
        Ok((target(names), import.skip + header))
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

    /// Inserts the records of a chunk.
    async fn insert(
        &mut self,
        target: &Target,
        chunk: Chunk,
        file: &Path,
        bar: &ProgressBar,
        count: &mut Count,
    ) -> Result<(), ShellError> {
        let lines =
            || chunk.records.first().map(|record| record.line).zip(chunk.records.last().map(|record| record.line));
        let Some((first, last)) = lines() else { return Ok(()) };
        let inserted = count.inserted;
        let place = |source| ShellError::Import {
            place: format!("{}: {inserted} rows are imported; lines {first} to {last} failed", file.display()),
            source: Box::new(source),
        };
        let runs = chunk.records.chunk_by(|a, b| a.names == b.names);
        let steps = runs.flat_map(|run| run.chunks(rows_per_statement(run))).map(|rows| insert_step(target, rows));
        let results = self.execute_steps(steps.collect(), Atomicity::All).await.map_err(place)?;
        if !results.iter().any(|result| matches!(result, StatementResult::Failed(_))) {
            count.inserted += chunk.records.len() as u64;
            return Ok(());
        }
        let steps = chunk.records.iter().map(|record| insert_step(target, std::slice::from_ref(record)));
        let results = self.execute_steps(steps.collect(), Atomicity::Each).await.map_err(place)?;
        for (record, result) in chunk.records.iter().zip(results) {
            match result {
                StatementResult::Failed(why) => {
                    let error = RecordError { line: record.line, why, fatal: false };
                    self.report_record(bar, file, &error, count)?;
                }
                _ => count.inserted += 1,
            }
        }
        Ok(())
    }

    fn report_record(
        &mut self,
        bar: &ProgressBar,
        file: &Path,
        error: &RecordError,
        count: &mut Count,
    ) -> Result<(), ShellError> {
        count.failed += 1;
        if error.fatal {
            return Err(in_file(file, error));
        }
        if count.failed <= ERRORS_SHOWN_MAX {
            bar.suspend(|| self.report(&in_file(file, error)))?;
        }
        Ok(())
    }
}

fn in_file(file: &Path, error: &RecordError) -> ShellError {
    ShellError::Invalid(format!("{}: {error}", file.display()))
}

fn open<R: Read>(import: &Import, file: R) -> Records<R> {
    Records::new(import.format, file, import.null.clone())
}

/// Returns the names in the first record that is not skipped. Different JSON objects may have different keys: returns
/// those of the first objects.
fn first_names(import: &Import) -> Result<Option<Vec<String>>, RecordError> {
    let opened = File::open(&import.file);
    let file = opened.map_err(|error| RecordError { line: 0, why: error.to_string(), fatal: true })?;
    let mut records = open(import, file);
    for _ in 0..import.skip {
        records.names()?;
    }
    let mut names = records.names()?;
    let objects = if import.format == Format::JsonLines { OBJECTS_EXAMINED_MAX } else { 0 };
    for _ in 0..objects {
        // An object that is malformed is reported when it is imported.
        let Ok(Some(more)) = records.names() else { break };
        let names = names.get_or_insert_default();
        for name in more {
            if !names.iter().any(|known| known.eq_ignore_ascii_case(&name)) {
                names.push(name);
            }
        }
    }
    Ok(names)
}

/// Whether the fields of the first record are the names of different columns.
fn are_columns(names: &[String], columns: &[String]) -> bool {
    let same = |a: &String, b: &String| a.eq_ignore_ascii_case(b);
    let differ = |index: usize| !names[..index].iter().any(|name| same(name, &names[index]));
    !names.is_empty()
        && names.iter().all(|name| columns.iter().any(|column| same(name, column)))
        && (0..names.len()).all(differ)
}

fn text_of(value: &Value) -> String {
    if let Value::Text(text) = value { text.to_string() } else { String::new() }
}

/// Reads the file, and sends its records in chunks.
fn read_chunks<R: Read>(records: &mut Records<R>, skip: u64, columns: usize, sender: &mpsc::Sender<Chunk>) {
    let mut chunk = Chunk::default();
    for _ in 0..skip {
        // The error occurs again when the next record is read.
        let _ = records.names();
    }
    loop {
        match records.next(columns) {
            Ok(Some(record)) => {
                chunk.bytes += record.values.iter().map(value_bytes).sum::<usize>();
                chunk.records.push(record);
            }
            Ok(None) => break,
            Err(error) => {
                let fatal = error.fatal;
                chunk.errors.push(error);
                if fatal {
                    break;
                }
            }
        }
        let full = chunk.records.len() >= ROWS_MAX || chunk.bytes >= VALUE_BYTES || chunk.errors.len() >= ROWS_MAX;
        if full && sender.blocking_send(std::mem::take(&mut chunk)).is_err() {
            return;
        }
    }
    // The receiver has ended if the import has failed.
    let _ = sender.blocking_send(chunk);
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
    let row = format!("({})", vec!["?"; names.len()].join(","));
    let rows = vec![row; records.len()].join(",");
    let values = Bindings::positional(records.iter().flat_map(|record| record.values.iter().cloned()));
    Step::execute(format!("INSERT INTO {table}({}) VALUES{rows}", columns.join(",")), values)
}
