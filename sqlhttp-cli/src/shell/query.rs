//! Runs SQL and writes its results.

use std::io::Write as _;

use sqlhttp_core::{Atomicity, Batch, Binding, Bindings, ReadLevel, Step, Value};
use sqlhttp_rqlite::client::{Changes, JsonText, Part, ResultRows, ResultStream, StatementResult, Transport};
use sqlhttp_rqlite::{Endpoint, Params};

use super::{NO_RESULT, Shell, ShellError, from_client};
use crate::print::{Mode, Printer};
use crate::{sql, tree};

/// Statements that change tables or columns, by their first words.
const SCHEMA_CHANGES: [&str; 3] = ["CREATE", "ALTER", "DROP"];

impl<T: Transport + Clone> Shell<T> {
    /// Executes a statement of the user, and writes its results.
    pub(super) async fn run_sql(&mut self, sql: &str) -> Result<(), ShellError> {
        let endpoint = if self.settings.force_writes { Endpoint::Execute } else { Endpoint::Request };
        let first = sql::tokens(sql).find(|token| token.kind == sql::Kind::Word).map_or("", |token| token.text);
        self.schema_changed |= SCHEMA_CHANGES.iter().any(|word| word.eq_ignore_ascii_case(first));
        self.run_at(endpoint, sql).await
    }

    /// Executes a query of a command, and writes its rows.
    pub(super) async fn query(&mut self, sql: &str) -> Result<(), ShellError> {
        self.run_at(Endpoint::Query, sql).await
    }

    /// Executes a statement, and writes its results while they arrive.
    async fn run_at(&mut self, endpoint: Endpoint, sql: &str) -> Result<(), ShellError> {
        let mut results = self.stream(endpoint, sql).await?;
        if self.settings.pager {
            self.out.begin_paged();
        }
        let mut printer = self.settings.mode.printer();
        let mut ended = false;
        while let Some(part) = results.next().await.map_err(from_client)? {
            ended |= matches!(part, Part::End(_));
            self.write_part(&mut printer, part)?;
        }
        if ended { Ok(()) } else { Err(ShellError::Invalid(NO_RESULT.to_owned())) }
    }

    /// Sends a statement with the parameters and settings of the user.
    pub(super) async fn stream(
        &self,
        endpoint: Endpoint,
        sql: &str,
    ) -> Result<ResultStream<T::Body, JsonText>, ShellError> {
        let level = self.settings.level;
        // A literal of a BLOB needs its bytes.
        let blob_array = self.settings.blob_array || self.settings.mode == Mode::Insert;
        let steps = vec![Step::query(sql, self.bindings(sql))];
        let batch = Batch { steps, atomicity: Atomicity::Each, timed: self.settings.timer, ..Batch::default() };
        let set = |params: &mut Params| (params.level, params.blob_array) = (level, blob_array);
        self.client.stream(endpoint, &batch, set).await.map_err(from_client)
    }

    /// Returns the values of the parameters that occur in a statement. rqlite refuses further ones.
    fn bindings(&self, sql: &str) -> Bindings {
        let mut entries: Vec<Binding> = Vec::new();
        for name in sql::parameter_names(sql) {
            let known = entries.iter().any(|entry| entry.name.as_deref() == Some(name));
            if let Some(value) = self.settings.params.get(name).filter(|_| !known) {
                entries.push(Binding { name: Some(name.into()), value: value.clone() });
            }
        }
        Bindings { entries, ..Bindings::default() }
    }

    fn write_part(&mut self, printer: &mut Box<dyn Printer>, part: Part<JsonText>) -> Result<(), ShellError> {
        match part {
            Part::Columns { names, .. } => {
                *printer = self.settings.mode.printer();
                printer.begin(&mut self.out, &names)?;
            }
            Part::Rows(rows) => rows.into_iter().try_for_each(|row| printer.row(&mut self.out, row))?,
            Part::End(StatementResult::Failed(message)) => return Err(ShellError::Statement(message)),
            Part::End(StatementResult::Rows(rows)) => {
                printer.end(&mut self.out)?;
                self.write_time_of_rows(&rows)?;
            }
            Part::End(StatementResult::Changed(changed)) => self.write_changes(changed)?,
        }
        Ok(())
    }

    fn write_time_of_rows(&mut self, rows: &ResultRows<JsonText>) -> Result<(), ShellError> {
        match rows.time.filter(|_| self.settings.timer && self.shows_messages()) {
            Some(time) => Ok(writeln!(self.out, "Run Time: {time:.6} seconds")?),
            None => Ok(()),
        }
    }

    fn write_changes(&mut self, changed: Changes) -> Result<(), ShellError> {
        if !self.shows_messages() {
            return Ok(());
        }
        let plural = if changed.rows_affected > 1 { "s" } else { "" };
        write!(self.out, "{} row{plural} affected", changed.rows_affected)?;
        if let Some(time) = changed.time.filter(|_| self.settings.timer) {
            write!(self.out, " ({time:.6} sec)")?;
        }
        writeln!(self.out)?;
        if self.settings.changes {
            writeln!(self.out, "last insert ID: {}", changed.last_insert_id.unwrap_or(0))?;
        }
        Ok(())
    }

    /// Runs a query of the shell itself, and returns its rows.
    pub(super) async fn rows(&self, sql: &str, values: Vec<Value>) -> Result<Vec<Vec<Value>>, ShellError> {
        self.rows_at(self.settings.level, sql, values).await
    }

    async fn rows_at(&self, level: ReadLevel, sql: &str, values: Vec<Value>) -> Result<Vec<Vec<Value>>, ShellError> {
        let batch = Batch { atomicity: Atomicity::Each, ..Batch::one(Step::query(sql, Bindings::positional(values))) };
        let run = self.client.run(Endpoint::Query, &batch, |params| params.level = level);
        match run.await.map_err(from_client)?.results.into_iter().next() {
            Some(StatementResult::Rows(rows)) => Ok(rows.rows),
            Some(StatementResult::Failed(message)) => Err(ShellError::Statement(message)),
            Some(StatementResult::Changed(_)) | None => Ok(Vec::new()),
        }
    }

    /// Shows the plan of a statement as a tree (<https://sqlite.org/eqp.html>).
    pub(super) async fn explain(&mut self, sql: &str) -> Result<(), ShellError> {
        let mut results = self.stream(Endpoint::Query, &format!("EXPLAIN QUERY PLAN {sql}")).await?;
        let mut steps = Vec::new();
        while let Some(part) = results.next().await.map_err(from_client)? {
            match part {
                Part::Rows(rows) => steps.extend(rows.iter().filter_map(|row| plan_step(row))),
                Part::End(StatementResult::Failed(message)) => return Err(ShellError::Statement(message)),
                Part::Columns { .. } | Part::End(_) => {}
            }
        }
        Ok(tree::write_plan(&mut self.out, &steps)?)
    }

    /// Returns the names of the tables, views and columns, if they may have changed since the last call.
    pub(crate) async fn schema_names(&mut self) -> Result<Option<Vec<String>>, ShellError> {
        const NAMES: &str = "SELECT name FROM sqlite_master WHERE type IN ('table', 'view') UNION \
                             SELECT p.name FROM sqlite_master m, pragma_table_info(m.name) p LIMIT 10000";
        if !self.schema_changed {
            return Ok(None);
        }
        // Without an answer, the names stay as they are until the schema changes again.
        self.schema_changed = false;
        let rows = self.rows_at(ReadLevel::None, NAMES, Vec::new()).await?;
        let name = |row: Vec<Value>| match row.into_iter().next() {
            Some(Value::Text(name)) => Some(name.to_string()),
            _ => None,
        };
        Ok(Some(rows.into_iter().filter_map(name).collect()))
    }
}

/// Returns a step of a plan: its id, the id of the step that contains it, and its description.
fn plan_step(row: &[JsonText]) -> Option<tree::PlanStep> {
    let [id, parent, _, detail] = row else { return None };
    Some(tree::PlanStep {
        id: id.0.parse().ok()?,
        parent: parent.0.parse().ok()?,
        detail: serde_json::from_str(&detail.0).ok()?,
    })
}
