//! Collects the changes of the open transaction of the writer.

use std::collections::VecDeque;
use std::ffi::CStr;
use std::sync::{Arc, Mutex, PoisonError};

use super::{CHANGES_MAX, Change, Operation};
use crate::engine::replicated::progress;
use crate::engine::sqlite::row_hook::{RowOperation, WrittenRow};

/// The maximum number of names that rows share.
const SHARED_NAMES_MAX: usize = 8;

/// Collects the changes of the open transaction of a connection. Clones share the changes.
#[derive(Debug, Clone, Default)]
pub(crate) struct Collector {
    pending: Arc<Mutex<Pending>>,
}

impl Collector {
    fn with<T>(&self, f: impl FnOnce(&mut Pending) -> T) -> T {
        f(&mut self.pending.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Adds a row that SQLite has reported.
    pub(crate) fn note_row(&self, row: &WrittenRow<'_>) {
        self.with(|pending| pending.note_row(row));
    }

    /// Adds a change.
    pub(crate) fn push(&self, change: Change) {
        self.with(|pending| pending.push(change));
    }

    /// Returns the number of rows that SQLite has reported, including those that were rolled back.
    pub(crate) fn reported(&self) -> u64 {
        self.with(|pending| pending.reported)
    }

    /// Returns the number of changes, for [`Collector::truncate`].
    pub(crate) fn len(&self) -> usize {
        self.with(|pending| pending.changes.len())
    }

    /// Removes the changes after the first `len`, because they are rolled back.
    pub(crate) fn truncate(&self, len: usize) {
        self.with(|pending| {
            // If rows were replaced with their tables, it is not known which tables were changed after that.
            if !pending.tables_only {
                pending.changes.truncate(len);
            }
        });
    }

    /// Returns the changes, and removes them.
    pub(crate) fn take(&self) -> Vec<Change> {
        self.with(|pending| {
            pending.tables_only = false;
            std::mem::take(&mut pending.changes)
        })
    }
}

/// The changes of the open transaction.
#[derive(Debug, Default)]
struct Pending {
    changes: Vec<Change>,
    /// Whether `changes` contains tables instead of rows, because there were too many rows.
    tables_only: bool,
    /// The number of rows that SQLite has reported.
    reported: u64,
    /// The names of the tables that were changed last, so that their rows share them.
    tables: VecDeque<Arc<str>>,
}

impl Pending {
    fn note_row(&mut self, row: &WrittenRow<'_>) {
        self.reported += 1;
        if row.database != c"main" || row.table.to_bytes() == progress::TABLE.as_bytes() {
            return;
        }
        let operation = match row.operation {
            RowOperation::Insert => Operation::Insert,
            RowOperation::Update => Operation::Update,
            RowOperation::Delete => Operation::Delete,
        };
        let table = self.shared_name(row.table);
        self.push(Change::Row { operation, table, rowid: row.rowid });
    }

    fn shared_name(&mut self, table: &CStr) -> Arc<str> {
        if let Some(known) = self.tables.iter().find(|known| known.as_bytes() == table.to_bytes()) {
            return known.clone();
        }
        let name = Arc::<str>::from(table.to_string_lossy());
        self.tables.truncate(SHARED_NAMES_MAX - 1);
        self.tables.push_front(name.clone());
        name
    }

    fn push(&mut self, change: Change) {
        if self.tables_only {
            return self.push_table(change);
        }
        // One statement after the other may change the same table without rowids.
        if !matches!(change, Change::Row { .. }) && self.changes.last() == Some(&change) {
            return;
        }
        if self.changes.len() < CHANGES_MAX {
            return self.changes.push(change);
        }
        self.tables_only = true;
        let changes = std::mem::take(&mut self.changes);
        changes.into_iter().chain([change]).for_each(|change| self.push_table(change));
    }

    /// Adds the table of a change, unless it is contained already.
    fn push_table(&mut self, change: Change) {
        let change = match change {
            Change::Row { table, .. } => Change::Table { table },
            other => other,
        };
        if self.changes.last() != Some(&change) && !self.changes.contains(&change) {
            self.changes.push(change);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(table: &CStr, rowid: i64) -> WrittenRow<'_> {
        WrittenRow { operation: RowOperation::Insert, database: c"main", table, rowid }
    }

    #[test]
    fn many_rows_become_their_tables() {
        let collector = Collector::default();
        collector.note_row(&row(c"a", 1));
        (1..=CHANGES_MAX).for_each(|rowid| collector.note_row(&row(c"b", i64::try_from(rowid).unwrap())));
        collector.note_row(&row(c"a", 2));
        let table = |name: &str| Change::Table { table: name.into() };
        assert_eq!(collector.take(), [table("a"), table("b")]);
        collector.note_row(&row(c"a", 3));
        let next = Change::Row { operation: Operation::Insert, table: "a".into(), rowid: 3 };
        assert_eq!(collector.take(), [next]);
    }
}
