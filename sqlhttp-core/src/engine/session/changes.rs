//! The changes that the statements of the writer's session make, for their receivers.
//!
//! SQLite reports the rows that a statement changes, with exceptions: tables without rowids, rows that a DELETE without
//! WHERE or a REPLACE deletes, and the old rowid if an UPDATE changes it. For a statement that may be such an
//! exception, the tables that it writes are added to the changes.

use std::sync::Arc;

use rusqlite::Connection;

use super::connection::Session;
use super::control::Savepoint;
use super::prepared::Prepared;
use crate::engine::changes::Change;
use crate::engine::changes::collector::Collector;
use crate::engine::changes::listeners::Listeners;
use crate::engine::statement_info::{Author, AuthorizerRecorder, StatementInfo, TableWrite};

/// The changes of the open transaction, and their receivers.
#[derive(Debug)]
pub(super) struct CollectedChanges {
    collector: Collector,
    listeners: Arc<Listeners>,
    /// The number of changes at each savepoint of the engine.
    marks: [usize; 2],
    /// Whether a table or trigger of the schema may delete rows by REPLACE, with the version of the schema for which
    /// that was found out; `None` if the open transaction has changed the schema since.
    schema_replaces: Option<(i64, bool)>,
}

/// The tables that a statement changes.
#[derive(Debug)]
pub(super) struct ChangedTables {
    tables: Vec<Arc<str>>,
    /// Whether SQLite may not report all rows, although their number is right.
    may_miss_rows: bool,
    /// SQLite's reprepare counter when the tables were found out.
    version: i32,
}

/// The numbers of changed, reported and collected rows before a statement.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BeforeStatement {
    total: u64,
    reported: u64,
    len: usize,
}

impl CollectedChanges {
    pub(super) fn new(listeners: Arc<Listeners>, recorder: &AuthorizerRecorder) -> CollectedChanges {
        recorder.record_writes();
        CollectedChanges { collector: Collector::default(), listeners, marks: [0; 2], schema_replaces: None }
    }

    pub(super) fn collector(&self) -> Collector {
        self.collector.clone()
    }
}

impl Session {
    /// Prepares for the changes of a new transaction.
    pub(super) fn begin_changes(&mut self) {
        self.forget_changes();
        if self.changes.is_some() {
            self.recorder.begin(Author::Owner);
            self.find_replacing_schema();
        }
    }

    /// Finds out whether the schema may delete rows by REPLACE, unless that is known for its version.
    fn find_replacing_schema(&mut self) {
        let Some(collected) = &mut self.changes else { return };
        let Ok(version) = self.connection.query_row("PRAGMA main.schema_version", [], |row| row.get::<_, i64>(0))
        else {
            collected.schema_replaces = None;
            return;
        };
        if collected.schema_replaces.is_none_or(|(known, _)| known != version) {
            collected.schema_replaces = schema_replaces(&self.connection).ok().map(|replaces| (version, replaces));
        }
    }

    /// Passes the collected changes, which are committed, to their receivers. If there are none any more, the session
    /// is replaced before its next use, so that changes are no longer collected.
    pub(crate) fn publish_changes(&mut self) {
        if let Some(collected) = &self.changes {
            let changes = collected.collector.take();
            self.dirty |= !changes.is_empty() && !collected.listeners.publish(&changes);
        }
    }

    /// Reports that anything may have changed. The changes are committed already.
    pub(crate) fn publish_everything(&mut self) {
        self.note_changed_schema();
        self.publish_changes();
    }

    /// Removes the collected changes, which are rolled back.
    pub(super) fn forget_changes(&mut self) {
        if let Some(collected) = &mut self.changes {
            collected.collector.take();
        }
        self.forget_changed_schema();
    }

    /// Notes that a savepoint of the engine has been set.
    pub(super) fn mark_changes(&mut self, level: Savepoint) {
        if let Some(collected) = &mut self.changes {
            collected.marks[level as usize] = collected.collector.len();
        }
    }

    /// Removes the changes after a savepoint of the engine.
    pub(super) fn undo_changes(&mut self, level: Savepoint) {
        if let Some(collected) = &self.changes {
            collected.collector.truncate(collected.marks[level as usize]);
        }
        self.forget_changed_schema();
    }

    /// Adds to the changes of the open transaction that the schema, and thus anything, may have changed.
    pub(crate) fn note_changed_schema(&mut self) {
        if let Some(collected) = &mut self.changes {
            collected.collector.push(Change::Everything);
            collected.schema_replaces = None;
            // The tables that a cached statement writes may be others now.
            self.cache.clear();
        }
    }

    /// Forgets what was found out about a schema that is rolled back.
    fn forget_changed_schema(&mut self) {
        if self.changes.as_ref().is_some_and(|collected| collected.schema_replaces.is_none()) {
            self.cache.clear();
        }
    }

    /// Returns the tables that a statement changes which was just prepared; `None` if changes are not collected or the
    /// statement only reads.
    pub(super) fn changed_tables(&self, info: &StatementInfo, sql: &[u8], version: i32) -> Option<Box<ChangedTables>> {
        if self.changes.is_none() || info.readonly {
            return None;
        }
        let writes = self.recorder.take_writes();
        let changes_rowids = writes.iter().any(|write| may_change_rowid(&self.connection, write));
        let mut tables: Vec<Arc<str>> = writes.into_iter().map(|write| write.table.into()).collect();
        tables.sort_unstable();
        tables.dedup();
        Some(Box::new(ChangedTables { tables, may_miss_rows: changes_rowids || contains_replace(sql), version }))
    }

    /// Returns what has been counted and collected up to now, for [`Session::end_changes`].
    pub(crate) fn before_statement(&self) -> Option<BeforeStatement> {
        self.changes.as_ref().map(|CollectedChanges { collector, .. }| BeforeStatement {
            total: self.total_changes(),
            reported: collector.reported(),
            len: collector.len(),
        })
    }

    /// Completes the changes of a statement that has run: adds the tables that it has written if SQLite may not have
    /// reported all rows.
    pub(crate) fn end_changes(&self, prepared: &Prepared, failed: bool, before: Option<BeforeStatement>) {
        let Some(((collected, changed), before)) =
            self.changes.as_ref().zip(prepared.changed_tables.as_ref()).zip(before)
        else {
            return;
        };
        let collector = &collected.collector;
        let (total, reported) = (self.total_changes() - before.total, collector.reported() - before.reported);
        if total == 0 && reported == 0 {
            return;
        }
        if failed {
            // SQLite has undone the rows, except those that OR FAIL and RAISE(FAIL) keep.
            collector.truncate(before.len);
        }
        let is_reprepared = prepared.statement.reprepare_count() != changed.version;
        let exact = total == reported
            && !failed
            && !is_reprepared
            && !changed.may_miss_rows
            && collected.schema_replaces.is_some_and(|(_, replaces)| !replaces);
        if exact {
            return;
        }
        // The statement may write to other tables than before if SQLite has prepared it again.
        if changed.tables.is_empty() || is_reprepared {
            collector.push(Change::Everything);
        }
        for table in &changed.tables {
            collector.push(Change::Table { table: table.clone() });
        }
    }
}

/// Returns whether the definition of a table or trigger, also of a temporary one, contains the word REPLACE.
fn schema_replaces(connection: &Connection) -> rusqlite::Result<bool> {
    let mut definitions = connection.prepare(
        "SELECT sql FROM main.sqlite_schema WHERE sql NOT NULL
         UNION ALL SELECT sql FROM temp.sqlite_schema WHERE sql NOT NULL",
    )?;
    let mut rows = definitions.query([])?;
    while let Some(row) = rows.next()? {
        if contains_replace(row.get_ref(0)?.as_bytes()?) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Returns whether a statement may change rowids: it updates a column of a primary key, or the rowid itself, which is
/// no column.
fn may_change_rowid(connection: &Connection, write: &TableWrite) -> bool {
    write.column.as_ref().is_some_and(|column| {
        // SQLite reports the rowid by this name, also if an ordinary column has it.
        if column.eq_ignore_ascii_case("rowid") {
            return true;
        }
        let metadata = connection.column_metadata(Some("main"), &*write.table, column);
        metadata.map_or(true, |(_, _, _, primary_key, _)| primary_key)
    })
}

fn contains_replace(sql: &[u8]) -> bool {
    sql.windows(7).any(|word| word.eq_ignore_ascii_case(b"replace"))
}
