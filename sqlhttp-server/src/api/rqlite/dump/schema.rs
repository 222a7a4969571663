//! The tables, indexes, triggers and views of a database, and an order in which they can be created.

use super::sql;

/// The query that returns all tables, sorted by name.
pub(crate) const TABLES: &str = "SELECT m.name, m.sql, l.type, CAST(l.wr AS TEXT) FROM sqlite_schema m \
    JOIN pragma_table_list l ON l.schema = 'main' AND l.name = m.name \
    WHERE m.type = 'table' AND m.sql NOT NULL ORDER BY m.name";

/// The query that returns all indexes, triggers and views, in the order in which they were created.
pub(crate) const DEPENDENTS: &str = "SELECT type, name, tbl_name, sql FROM sqlite_schema \
    WHERE sql NOT NULL AND type IN ('index', 'trigger', 'view')";

/// A table of the database that is dumped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Table {
    pub(crate) name: String,
    pub(crate) sql: String,
    pub(crate) kind: TableKind,
    pub(crate) without_rowid: bool,
}

/// The kind of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TableKind {
    /// An ordinary table.
    Plain,
    /// A virtual table.
    Virtual,
    /// A shadow table: an ordinary table in which a virtual table stores its data.
    Shadow,
}

impl Table {
    /// Creates a table from a row that the query [`TABLES`] has returned; `None` if the row has another number of
    /// columns.
    pub(crate) fn of(row: &[String]) -> Option<Table> {
        let [name, sql, kind, without_rowid] = row else { return None };
        let kind = match kind.as_str() {
            "virtual" => TableKind::Virtual,
            "shadow" => TableKind::Shadow,
            _ => TableKind::Plain,
        };
        Some(Table { name: name.clone(), sql: sql.clone(), kind, without_rowid: without_rowid == "1" })
    }

    /// Returns whether `shadow` is a shadow table of `self`, which must be a virtual table.
    pub(crate) fn owns_shadow(&self, shadow: &Table) -> bool {
        let rest = shadow.name.strip_prefix(&self.name);
        self.kind == TableKind::Virtual
            && shadow.kind == TableKind::Shadow
            && rest.is_some_and(|rest| rest.starts_with('_'))
    }

    /// Returns whether `self` is an ordinary table with an AUTOINCREMENT column.
    pub(crate) fn is_autoincrement(&self) -> bool {
        self.kind == TableKind::Plain && sql::is_autoincrement(&self.sql)
    }
}

/// The way in which a dump restores the content of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Content {
    /// The table has no content of its own to restore.
    None,
    /// The dump contains INSERT statements for the table.
    Rows,
    /// The dump contains the shadow tables of the virtual table, as the `sqlite3` shell writes them.
    Shadows,
}

/// An index, a trigger or a view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Dependent {
    kind: String,
    name: String,
    /// The name of the table or view that an index or trigger belongs to. For a view, its own name.
    parent: String,
    pub(crate) sql: String,
}

impl Dependent {
    /// Creates an object from a row that the query [`DEPENDENTS`] has returned; `None` if the row has another number of
    /// columns.
    pub(crate) fn of(row: &[String]) -> Option<Dependent> {
        let [kind, name, parent, sql] = row else { return None };
        Some(Dependent { kind: kind.clone(), name: name.clone(), parent: parent.clone(), sql: sql.clone() })
    }
}

/// Returns the objects of `all` that can be created if only the tables `tables` exist, in an order in which they can be
/// created. A view can always be created. An index or a trigger can be created only if its table or view exists.
pub(crate) fn dependents(all: Vec<Dependent>, tables: &[&Table]) -> Vec<Dependent> {
    let views: Vec<String> = all.iter().filter(|it| it.kind == "view").map(|it| it.name.clone()).collect();
    let can_be_created = |it: &Dependent| {
        it.kind == "view" || views.contains(&it.parent) || tables.iter().any(|table| table.name == it.parent)
    };
    let mut created = Vec::new();
    let mut late = Vec::new();
    for it in all.into_iter().filter(can_be_created) {
        let waits = it.kind == "trigger"
            && views.contains(&it.parent)
            && !created.iter().any(|view: &Dependent| view.kind == "view" && view.name == it.parent);
        if waits { late.push(it) } else { created.push(it) }
    }
    created.append(&mut late);
    created
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dependent(kind: &str, name: &str, parent: &str) -> Dependent {
        Dependent { kind: kind.into(), name: name.into(), parent: parent.into(), sql: String::new() }
    }

    fn table(name: &str, kind: TableKind) -> Table {
        Table { name: name.into(), sql: String::new(), kind, without_rowid: false }
    }

    #[test]
    fn only_objects_whose_table_exists() {
        let all = vec![
            dependent("index", "i", "t"),
            dependent("index", "j", "u"),
            dependent("trigger", "x", "v"),
            dependent("trigger", "y", "t"),
            dependent("view", "v", "v"),
        ];
        let created = dependents(all, &[&table("t", TableKind::Plain)]);
        assert_eq!(created.iter().map(|it| it.name.as_str()).collect::<Vec<_>>(), ["i", "y", "v", "x"]);
    }

    #[test]
    fn shadows() {
        let f = table("f", TableKind::Virtual);
        assert!(f.owns_shadow(&table("f_data", TableKind::Shadow)));
        assert!(!f.owns_shadow(&table("fx_data", TableKind::Shadow)));
        assert!(!f.owns_shadow(&table("f_data", TableKind::Plain)));
    }
}
