//! The order of the statements in a dump: tables with their rows, then indexes, triggers and views.
//!
//! A dump equals rqlite's dump of the same database byte for byte, wherever rqlite's dump would restore the database.
//! It differs in:
//!
//! * rowids;
//! * TEXT values that no string literal can contain;
//! * `sqlite_sequence`, if rqlite would write its rows before that table exists;
//! * virtual tables;
//! * comments at the end of a statement;
//! * indexes and triggers of tables that the client has not requested;
//! * the header fields of the database file that belong to the application.

use super::rows::{Columns, InsertWriter, Rowids};
use super::schema::{self, Content, DEPENDENTS, Dependent, TABLES, Table, TableKind};
use super::sql::{self, literal, quoted_name};
use super::{Dump, DumpError};

/// The table in which SQLite records the largest rowid of each AUTOINCREMENT table (<https://sqlite.org/autoinc.html>).
const SEQUENCE: &str = "sqlite_sequence";

/// The table in which ANALYZE stores its statistics.
const STATISTICS: &str = "sqlite_stat1";

/// The table in which ANALYZE stores its samples. ANALYZE creates both this table and [`STATISTICS`].
const SAMPLES: &str = "sqlite_stat4";

/// The PRAGMAs that set the header fields of the database file that belong to the application.
const HEADER_NUMBERS: [&str; 2] = ["user_version", "application_id"];

/// The position of the rows of `sqlite_sequence` in the dump.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SequencePlace {
    /// Among the tables, at the position that the alphabetical order of names gives.
    ByName,
    /// After all tables.
    Last,
}

impl Dump {
    /// Writes the whole dump and sends it to the client.
    pub(crate) async fn write(&mut self) -> Result<(), DumpError> {
        self.out.extend_from_slice(b"PRAGMA foreign_keys=OFF;\nBEGIN TRANSACTION;\n");
        let all = self.all_tables().await?;
        let tables = selected(&all, &self.tables);
        let place = self.sequence_place(&tables).await?;
        for (table, content) in &tables {
            if table.name != SEQUENCE || place == SequencePlace::ByName {
                self.write_table(table, *content).await?;
            }
        }
        let tables: Vec<&Table> = tables.into_iter().map(|(table, _)| table).collect();
        self.write_late_sequence(&tables, place).await?;
        let dependents = self.query_rows(DEPENDENTS).await?.iter().filter_map(|row| Dependent::of(row)).collect();
        for dependent in schema::dependents(dependents, &tables) {
            self.write_statement(&dependent.sql);
        }
        self.write_header_numbers().await?;
        if self.writable_schema {
            self.write_line("PRAGMA writable_schema=OFF");
        }
        self.write_line("COMMIT");
        self.send().await
    }

    async fn all_tables(&self) -> Result<Vec<(Table, Content)>, DumpError> {
        let all: Vec<Table> = self.query_rows(TABLES).await?.iter().filter_map(|row| Table::of(row)).collect();
        let mut contents = Vec::with_capacity(all.len());
        for table in &all {
            contents.push(match table.kind {
                TableKind::Virtual => self.content_of(table, &all).await?,
                TableKind::Plain | TableKind::Shadow => Content::Rows,
            });
        }
        Ok(all.into_iter().zip(contents).collect())
    }

    /// Returns the way in which the dump restores the content of a virtual table. INSERT statements for a virtual table
    /// rebuild its shadow tables. They restore the table completely only if its rows show all of its content.
    async fn content_of(&self, table: &Table, all: &[Table]) -> Result<Content, DumpError> {
        let shadow = |name: String| all.iter().find(|it| it.kind == TableKind::Shadow && it.name == name);
        let module = sql::module_name(&table.sql);
        match module.as_str() {
            _ if !all.iter().any(|it| table.owns_shadow(it)) => return Ok(Content::None),
            "rtree" | "rtree_i32" | "geopoly" => return Ok(Content::Rows),
            "fts3" | "fts4" | "fts5" => {}
            _ => return Ok(Content::Shadows),
        }
        let shown = self.columns(&table.name).await?;
        let is_shown = match shadow(format!("{}_content", table.name)) {
            // If the full-text index stores languages or locales, the content table has further columns, which the rows
            // of the virtual table do not show.
            Some(content) => self.columns(&content.name).await?.insertable.len() == shown.insertable.len() + 1,
            None => self.shows_external_content(&table.name, &shown).await?,
        };
        Ok(if is_shown { Content::Rows } else { Content::Shadows })
    }

    /// Returns whether a full-text table without a content table shows its content in its rows. It does if it reads
    /// them from another table (external content) or is empty. If the table is contentless, all its columns are NULL.
    async fn shows_external_content(&self, table: &str, columns: &Columns) -> Result<bool, DumpError> {
        let values: Vec<String> =
            columns.insertable.iter().map(|column| format!("{} IS NOT NULL", quoted_name(column))).collect();
        let table = quoted_name(table);
        let shown = self.returns_rows(&format!("SELECT 1 FROM {table} WHERE {} LIMIT 1", values.join(" OR "))).await?;
        let empty = self.returns_rows(&format!("SELECT 1 FROM {table} LIMIT 1")).await?.map(|any| !any);
        Ok(shown == Some(true) || empty == Some(true))
    }

    /// Returns the columns of a table, including generated and hidden ones.
    async fn columns(&self, table: &str) -> Result<Columns, DumpError> {
        let sql = format!("SELECT name, CAST(hidden AS TEXT) FROM pragma_table_xinfo({})", literal(table));
        let mut columns = Columns::default();
        for row in self.query_rows(&sql).await? {
            if let [name, hidden] = row.as_slice() {
                let list = if hidden == "0" { &mut columns.insertable } else { &mut columns.not_insertable };
                list.push(name.clone());
            }
        }
        Ok(columns)
    }

    /// Writes the CREATE statement of a table and its rows.
    async fn write_table(&mut self, table: &Table, content: Content) -> Result<(), DumpError> {
        match table.name.as_str() {
            SEQUENCE => self.write_line("DELETE FROM \"sqlite_sequence\";"),
            STATISTICS => self.write_line("ANALYZE \"sqlite_master\";"),
            SAMPLES => {}
            name if name.starts_with("sqlite_") => return Ok(()),
            _ if table.kind == TableKind::Virtual => return self.write_virtual_table(table, content).await,
            _ if content == Content::Shadows => self.write_shadow_table(table),
            _ => self.write_statement(&table.sql),
        }
        let is_column = table.without_rowid || self.rowid_column(&table.name).await?.is_some();
        let rowids = if is_column { Rowids::None } else { Rowids::Needed };
        self.write_all_rows(&table.name, rowids).await
    }

    async fn write_all_rows(&mut self, table: &str, rowids: Rowids) -> Result<(), DumpError> {
        let columns = self.columns(table).await?;
        self.write_table_rows(InsertWriter::new(table, &columns, rowids)).await
    }

    /// Returns the column that is an alias of the rowid; `None` if the table has none. It is an INTEGER PRIMARY KEY,
    /// for which SQLite creates no index.
    async fn rowid_column(&self, table: &str) -> Result<Option<String>, DumpError> {
        let table = literal(table);
        let sql = format!(
            "SELECT max(name) FROM pragma_table_info({table}) WHERE pk > 0 HAVING count(*) = 1 \
             AND NOT EXISTS (SELECT 1 FROM pragma_index_list({table}) WHERE origin = 'pk')"
        );
        Ok(self.query_rows(&sql).await?.into_iter().flatten().next())
    }

    async fn write_virtual_table(&mut self, table: &Table, content: Content) -> Result<(), DumpError> {
        if content == Content::Shadows {
            self.write_schema_row(table);
            return Ok(());
        }
        self.write_statement(&table.sql);
        let module = sql::module_name(&table.sql);
        if content == Content::None {
            return Ok(());
        }
        if module == "fts5" {
            self.write_fts5_settings(&table.name).await?;
        }
        // The first column of an R*Tree is its rowid, so the rowid is written with the columns.
        let rowids = if module.starts_with("rtree") { Rowids::None } else { Rowids::All };
        self.write_all_rows(&table.name, rowids).await
    }

    /// Writes the settings of an FTS5 table. They are restored by special INSERT statements
    /// (<https://sqlite.org/fts5.html#special_insert_commands>).
    async fn write_fts5_settings(&mut self, table: &str) -> Result<(), DumpError> {
        let config = quoted_name(&format!("{table}_config"));
        let sql = format!("SELECT quote(k)||','||quote(v) FROM {config} WHERE k <> 'version'");
        let table = quoted_name(table);
        for setting in self.query_rows(&sql).await?.into_iter().flatten() {
            self.write_line(&format!("INSERT INTO {table}({table},rank) VALUES({setting})"));
        }
        Ok(())
    }

    /// Writes a virtual table as the `sqlite3` shell does: as an INSERT into `sqlite_schema`, which does not create the
    /// shadow tables.
    fn write_schema_row(&mut self, table: &Table) {
        if !std::mem::replace(&mut self.writable_schema, true) {
            self.write_line("PRAGMA writable_schema=ON");
        }
        let (name, sql) = (literal(&table.name), literal(&table.sql));
        self.write_line(&format!(
            "INSERT INTO sqlite_schema(type,name,tbl_name,rootpage,sql)VALUES('table',{name},{name},0,{sql})"
        ));
    }

    /// Writes the CREATE statement of a shadow table. It has IF NOT EXISTS: a program that loads the dump may execute
    /// the CREATE VIRTUAL TABLE statement instead of inserting it into `sqlite_schema`, and then the shadow tables
    /// already exist.
    fn write_shadow_table(&mut self, table: &Table) {
        let if_absent =
            table.sql.strip_prefix("CREATE TABLE ").map(|rest| format!("CREATE TABLE IF NOT EXISTS {rest}"));
        self.write_statement(if_absent.as_ref().unwrap_or(&table.sql));
    }

    /// Returns the position of the rows of `sqlite_sequence` in the dump. It is `Last` in two cases: if restoring an
    /// AUTOINCREMENT table that follows by name would change these rows, or if no AUTOINCREMENT table precedes by name,
    /// so that `sqlite_sequence` would not exist yet.
    async fn sequence_place(&self, tables: &[(&Table, Content)]) -> Result<SequencePlace, DumpError> {
        if !tables.iter().any(|(table, _)| table.name == SEQUENCE) {
            return Ok(SequencePlace::Last);
        }
        let mut place = SequencePlace::Last;
        for (table, _) in tables {
            if !table.is_autoincrement() {
                continue;
            }
            if table.name.as_str() < SEQUENCE {
                place = SequencePlace::ByName;
            } else if self.changes_sequence(&table.name).await? {
                return Ok(SequencePlace::Last);
            }
        }
        Ok(place)
    }

    /// Returns whether inserting the rows of a table in the dump changes the row of that table in `sqlite_sequence`.
    async fn changes_sequence(&self, table: &str) -> Result<bool, DumpError> {
        let (name, largest) = (literal(table), self.largest_rowid(table).await?);
        let kept = format!("FROM sqlite_sequence WHERE name = {name}");
        let sql = format!(
            "SELECT '' FROM (SELECT {largest} AS largest) WHERE largest IS NOT NULL AND ((SELECT count(*) {kept}) <> 1 \
             OR (SELECT typeof(seq) <> 'integer' OR seq < largest {kept}))"
        );
        Ok(!self.query_rows(&sql).await?.is_empty())
    }

    /// Returns an SQL expression for the largest rowid of a table.
    async fn largest_rowid(&self, table: &str) -> Result<String, DumpError> {
        let column = self.rowid_column(table).await?.map_or_else(|| "rowid".to_owned(), |column| quoted_name(&column));
        Ok(format!("(SELECT max({column}) FROM {})", quoted_name(table)))
    }

    /// Writes the rows of `sqlite_sequence` after all tables, if `place` says so. If `sqlite_sequence` is not among the
    /// dumped tables, writes only its rows for the dumped tables.
    async fn write_late_sequence(&mut self, tables: &[&Table], place: SequencePlace) -> Result<(), DumpError> {
        let counting: Vec<&Table> = tables.iter().copied().filter(|table| table.is_autoincrement()).collect();
        let Some(sequence) = tables.iter().copied().find(|table| table.name == SEQUENCE) else {
            for table in counting {
                self.write_sequence_row(&table.name).await?;
            }
            return Ok(());
        };
        if place == SequencePlace::ByName {
            return Ok(());
        }
        if counting.is_empty() {
            // SQLite creates `sqlite_sequence` when the first AUTOINCREMENT table is created.
            let name = quoted_name(&unused_name(tables));
            self.write_line(&format!("CREATE TABLE {name}(id INTEGER PRIMARY KEY AUTOINCREMENT)"));
            self.write_line(&format!("DROP TABLE {name}"));
        }
        self.write_table(sequence, Content::Rows).await
    }

    /// Writes the row of a table in `sqlite_sequence`, unless inserting the rows of the table already restores it.
    async fn write_sequence_row(&mut self, table: &str) -> Result<(), DumpError> {
        let (name, largest) = (literal(table), self.largest_rowid(table).await?);
        let kept = format!("FROM sqlite_sequence WHERE name = {name}");
        // Inserting the rows of the table sets its row in `sqlite_sequence` to the largest rowid.
        let sql = format!("SELECT '' WHERE (SELECT group_concat(quote(seq)) {kept}) IS NOT CAST({largest} AS TEXT)");
        if self.query_rows(&sql).await?.is_empty() {
            return Ok(());
        }
        self.write_line(&format!("DELETE FROM \"sqlite_sequence\" WHERE name = {name}"));
        for row in self.query_rows(&format!("SELECT quote(name)||','||quote(seq) {kept}")).await?.into_iter().flatten()
        {
            self.write_line(&format!("INSERT INTO \"sqlite_sequence\" VALUES({row})"));
        }
        Ok(())
    }

    /// Writes the header fields of the database file that belong to the application, if they are not 0.
    async fn write_header_numbers(&mut self) -> Result<(), DumpError> {
        for name in HEADER_NUMBERS {
            let sql = format!("SELECT CAST({name} AS TEXT) FROM pragma_{name} WHERE {name} <> 0");
            for number in self.query_rows(&sql).await?.into_iter().flatten() {
                self.write_line(&format!("PRAGMA {name}={number}"));
            }
        }
        Ok(())
    }
}

/// Returns the tables that a dump contains: the requested tables, or all tables if none are requested. If a virtual
/// table is restored by its shadow tables, these are included.
fn selected<'t>(all: &'t [(Table, Content)], requested: &[String]) -> Vec<(&'t Table, Content)> {
    let parent = |shadow: &Table| {
        all.iter().filter(|(table, _)| table.owns_shadow(shadow)).max_by_key(|(table, _)| table.name.len())
    };
    let is_requested = |table: &Table| requested.is_empty() || requested.contains(&table.name);
    let choose = |(table, content): &'t (Table, Content)| {
        if table.kind != TableKind::Shadow {
            return is_requested(table).then_some((table, *content));
        }
        match parent(table) {
            Some((parent, Content::Shadows)) if is_requested(parent) => Some((table, Content::Shadows)),
            _ => requested.contains(&table.name).then_some((table, Content::Rows)),
        }
    };
    all.iter().filter_map(choose).collect()
}

/// Returns a table name that none of `tables` has.
fn unused_name(tables: &[&Table]) -> String {
    let mut name = "sequence".to_owned();
    while tables.iter().any(|table| table.name.eq_ignore_ascii_case(&name)) {
        name.push('_');
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(name: &str, kind: TableKind, content: Content) -> (Table, Content) {
        (Table { name: name.into(), sql: String::new(), kind, without_rowid: false }, content)
    }

    #[test]
    fn shadow_tables_are_dumped_with_their_virtual_table() {
        let all = [
            table("f", TableKind::Virtual, Content::Shadows),
            table("f_data", TableKind::Shadow, Content::Rows),
            table("f_x", TableKind::Virtual, Content::Rows),
            table("f_x_data", TableKind::Shadow, Content::Rows),
            table("t", TableKind::Plain, Content::Rows),
        ];
        let names = |requested: &[&str]| {
            let requested: Vec<String> = requested.iter().map(|name| (*name).to_owned()).collect();
            selected(&all, &requested).iter().map(|(table, _)| table.name.clone()).collect::<Vec<_>>()
        };
        assert_eq!(names(&[]), ["f", "f_data", "f_x", "t"]);
        assert_eq!(names(&["f", "nope"]), ["f", "f_data"]);
        assert_eq!(names(&["f_x_data"]), ["f_x_data"]);
    }
}
