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
    /// Whether a table or trigger of the schema may delete rows by REPLACE; `None` if that is not known.
    schema_replaces: Option<bool>,
}

/// The tables that a statement changes.
#[derive(Debug)]
pub(super) struct ChangedTables {
    tables: Vec<Arc<str>>,
    /// Whether SQLite may not report all rows, although their number is right.
    may_miss_rows: bool,
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
    /// Passes the collected changes, which are committed, to their receivers. If there are none any more, the session
    /// is replaced before its next use, so that changes are no longer collected.
    pub(crate) fn publish_changes(&mut self) {
        if let Some(collected) = &self.changes {
            let changes = collected.collector.take();
            self.dirty |= !changes.is_empty() && !collected.listeners.publish(&changes);
        }
    }

    /// Removes the collected changes, which are rolled back.
    pub(super) fn forget_changes(&self) {
        self.changes.iter().for_each(|collected| drop(collected.collector.take()));
    }

    /// Notes that a savepoint of the engine has been set.
    pub(super) fn mark_changes(&mut self, level: Savepoint) {
        if let Some(collected) = &mut self.changes {
            collected.marks[level as usize] = collected.collector.len();
        }
    }

    /// Removes the changes after a savepoint of the engine.
    pub(super) fn undo_changes(&self, level: Savepoint) {
        if let Some(collected) = &self.changes {
            collected.collector.truncate(collected.marks[level as usize]);
        }
    }

    /// Adds to the changes of the open transaction that the schema has changed.
    pub(crate) fn note_changed_schema(&mut self) {
        if let Some(collected) = &mut self.changes {
            collected.collector.push(Change::Everything);
            collected.schema_replaces = None;
            // The tables that a cached statement writes may be others now.
            self.cache.clear();
        }
    }

    /// Returns the tables that a statement changes which was just prepared; `None` if changes are not collected or the
    /// statement only reads. Clears the record of actions.
    pub(super) fn changed_tables(&mut self, info: &StatementInfo, sql: &[u8]) -> Option<Box<ChangedTables>> {
        if self.changes.is_none() || info.readonly {
            return None;
        }
        let writes = self.recorder.take_writes();
        self.recorder.begin(Author::Owner);
        let may_miss_rows = contains_replace(sql)
            || self.schema_replaces()
            || writes.iter().any(|write| may_change_rowid(&self.connection, write));
        let mut tables: Vec<Arc<str>> = writes.into_iter().map(|write| write.table.into()).collect();
        tables.sort_unstable();
        tables.dedup();
        Some(Box::new(ChangedTables { tables, may_miss_rows }))
    }

    /// Returns whether a table or trigger of the schema may delete rows by REPLACE.
    fn schema_replaces(&mut self) -> bool {
        let Some(collected) = &mut self.changes else { return false };
        let sql = "SELECT EXISTS (SELECT 1 FROM main.sqlite_schema WHERE sql LIKE '%replace%')";
        let search = || self.connection.query_row(sql, [], |row| row.get(0)).unwrap_or(true);
        *collected.schema_replaces.get_or_insert_with(search)
    }

    /// Returns the number of rows that SQLite has reported since the connection was opened.
    pub(crate) fn reported_changes(&self) -> u64 {
        self.changes.as_ref().map_or(0, |collected| collected.collector.reported())
    }

    /// Adds the tables that a statement has written if SQLite may not have reported all rows. The arguments are the
    /// numbers of changed and of reported rows before the statement.
    pub(crate) fn end_changes(&self, prepared: &Prepared, total_before: u64, reported_before: u64) {
        let Some((collected, changed)) = self.changes.as_ref().zip(prepared.changed_tables.as_ref()) else { return };
        let total = self.total_changes() - total_before;
        let reported = collected.collector.reported() - reported_before;
        if total != reported || changed.may_miss_rows && total > 0 {
            for table in &changed.tables {
                collected.collector.push(Change::Table { table: table.clone() });
            }
        }
    }
}

/// Returns whether a statement may change rowids: it updates a column of a primary key, or the rowid itself, which is
/// no column.
fn may_change_rowid(connection: &Connection, write: &TableWrite) -> bool {
    write.column.as_ref().is_some_and(|column| {
        let metadata = connection.column_metadata(Some("main"), &*write.table, column);
        metadata.map_or(true, |(_, _, _, primary_key, _)| primary_key)
    })
}

fn contains_replace(sql: &[u8]) -> bool {
    sql.windows(7).any(|word| word.eq_ignore_ascii_case(b"replace"))
}
