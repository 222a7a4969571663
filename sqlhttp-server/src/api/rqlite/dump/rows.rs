//! Writes the rows of a table as INSERT statements that restore the rows with the same rowids.

use sqlhttp_core::RowRef;

use super::sql::{quoted_name, select_expression, write_value};

/// The maximum number of columns in the result of a query (<https://sqlite.org/limits.html#max_column>).
const COLUMNS_MAX: usize = 2000;

/// The columns of a table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Columns {
    /// The columns for which an INSERT statement can give a value, in the order of the table.
    pub(crate) insertable: Vec<String>,
    /// The generated columns and the hidden columns, for which an INSERT statement cannot give a value.
    pub(crate) not_insertable: Vec<String>,
}

impl Columns {
    /// Returns a name by which SQL can refer to the rowid: `rowid`, `_rowid_` or `oid`. `None` if the table has columns
    /// with all of these names, which hide the rowid (<https://sqlite.org/lang_createtable.html#rowid>).
    pub(crate) fn rowid_name(&self) -> Option<&'static str> {
        let is_column =
            |name: &str| self.insertable.iter().chain(&self.not_insertable).any(|it| it.eq_ignore_ascii_case(name));
        ["rowid", "_rowid_", "oid"].into_iter().find(|name| !is_column(name))
    }
}

/// The rows of a table whose INSERT statements contain the rowid explicitly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rowids {
    /// No rows: the table has no rowids, or one of its columns contains them.
    None,
    /// The rows whose rowid SQLite would not choose by itself.
    Needed,
    /// All rows.
    All,
}

/// Writes the rows of one table as INSERT statements.
pub(crate) struct InsertWriter {
    select: String,
    /// The SQL text before the values of an INSERT statement without a rowid.
    prefix: String,
    /// The SQL text before the values of an INSERT statement with a rowid; `None` if no rowids are written. If it is
    /// `Some`, the first column of the query's result is the rowid.
    rowid_prefix: Option<String>,
    /// The rowid that SQLite would choose for the next inserted row; `None` if no comparison with it is made.
    next_rowid: Option<i64>,
}

impl InsertWriter {
    pub(crate) fn new(table: &str, columns: &Columns, rowids: Rowids) -> Self {
        let table = quoted_name(table);
        let key = match rowids {
            Rowids::None => None,
            Rowids::Needed | Rowids::All if columns.insertable.len() >= COLUMNS_MAX => None,
            Rowids::Needed | Rowids::All => columns.rowid_name(),
        };
        let expressions = columns.insertable.iter().map(|column| select_expression(column));
        let selected: Vec<String> = key.map(str::to_owned).into_iter().chain(expressions).collect();
        let names = || columns.insertable.iter().map(|column| quoted_name(column)).collect::<Vec<_>>().join(",");
        InsertWriter {
            // NOT INDEXED makes the query return the rows in the order in which the table stores them.
            select: format!("SELECT {} FROM {table} NOT INDEXED", selected.join(",")),
            prefix: format!("INSERT INTO {table} VALUES("),
            rowid_prefix: key.map(|key| format!("INSERT INTO {table}({key},{}) VALUES(", names())),
            next_rowid: (rowids == Rowids::Needed).then_some(1),
        }
    }

    /// Returns the query whose rows must be passed to [`InsertWriter::write`].
    pub(crate) fn select(&self) -> &str {
        &self.select
    }

    /// Appends the INSERT statement for one row to `out`.
    pub(crate) fn write(&mut self, out: &mut Vec<u8>, row: RowRef<'_>) {
        let mut values = row.values();
        let mut separator: &[u8] = b"";
        match &self.rowid_prefix {
            None => out.extend_from_slice(self.prefix.as_bytes()),
            Some(rowid_prefix) => {
                let rowid = values.next().and_then(|value| value.as_integer()).unwrap_or_default();
                if self.next_rowid == Some(rowid) {
                    out.extend_from_slice(self.prefix.as_bytes());
                } else {
                    out.extend_from_slice(rowid_prefix.as_bytes());
                    out.extend_from_slice(rowid.to_string().as_bytes());
                    separator = b",";
                }
                // For the next row, SQLite chooses the largest rowid plus one (<https://sqlite.org/autoinc.html>).
                self.next_rowid = self.next_rowid.and_then(|_| rowid.checked_add(1));
            }
        }
        for value in values {
            out.extend_from_slice(separator);
            write_value(out, value);
            separator = b",";
        }
        out.extend_from_slice(b");\n");
    }
}

#[cfg(test)]
mod tests {
    use sqlhttp_core::{Block, ValueRef};

    use super::*;

    fn columns(insertable: &[&str]) -> Columns {
        Columns { insertable: insertable.iter().map(|name| (*name).to_owned()).collect(), not_insertable: Vec::new() }
    }

    fn written(mut inserts: InsertWriter, rowids: &[i64]) -> String {
        let mut block = Block::new(2);
        for rowid in rowids {
            block.push_row([ValueRef::Integer(*rowid), ValueRef::Text(b"tx")]);
        }
        let mut out = Vec::new();
        block.rows().for_each(|row| inserts.write(&mut out, row));
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn only_rowids_that_sqlite_would_not_choose_are_written() {
        let inserts = InsertWriter::new("t", &columns(&["a"]), Rowids::Needed);
        assert!(inserts.select().starts_with("SELECT rowid,CASE typeof(\"a\")"));
        let want = "INSERT INTO \"t\" VALUES('x');\nINSERT INTO \"t\"(rowid,\"a\") VALUES(3,'x');\n\
                    INSERT INTO \"t\" VALUES('x');\n";
        assert_eq!(written(inserts, &[1, 3, 4]), want);
        let inserts = InsertWriter::new("t", &columns(&["a"]), Rowids::Needed);
        let want = "INSERT INTO \"t\"(rowid,\"a\") VALUES(-2,'x');\nINSERT INTO \"t\" VALUES('x');\n\
                    INSERT INTO \"t\"(rowid,\"a\") VALUES(9223372036854775807,'x');\n";
        assert_eq!(written(inserts, &[-2, -1, i64::MAX]), want);
    }

    #[test]
    fn names_of_the_rowid() {
        assert_eq!(columns(&["RowID"]).rowid_name(), Some("_rowid_"));
        assert_eq!(columns(&["rowid", "oid", "_ROWID_"]).rowid_name(), None);
        let hidden = Columns { not_insertable: vec!["rowid".to_owned()], ..columns(&["a"]) };
        assert_eq!(hidden.rowid_name(), Some("_rowid_"));
    }
}
