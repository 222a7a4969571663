//! Runs SQLite's integrity check (<https://sqlite.org/pragma.html#pragma_integrity_check>) and interprets its result.

use rusqlite::Connection;

use crate::engine::error::sql_error;
use crate::engine::sqlite::compiled::missing_features;
use crate::engine::sqlite::probe;
use crate::model::SqlError;

/// The maximum number of lines that SQLite reports for a whole database. Lines about harmless findings count too.
const LINES_MAX: usize = 10_000;
/// The maximum number of damages in the result of a check. One damaged page can cause thousands of lines.
pub(super) const DAMAGES_MAX: usize = 20;

/// The offset in a database file of the bytes that SQLite locks
/// (<https://sqlite.org/fileformat2.html#the_lock_byte_page>).
const LOCK_BYTE: i64 = 0x4000_0000;

/// How thorough a check is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Depth {
    /// The check reads every page, and looks up each row in each index.
    Full,
    /// The check reads every page, but only counts the entries of indexes. Takes a tenth of the time of a full check.
    Quick,
}

/// The part of a database to check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope<'a> {
    /// The whole database in one read transaction. Finds also pages that are neither used nor free, and pages that are
    /// used twice.
    Whole(Depth),
    /// The table of this name and its indexes. `sqlite_schema` means the schema table and the list of free pages.
    Table(&'a str),
}

/// Checks a whole database, and fails if it is damaged.
///
/// # Errors
/// SQLITE_CORRUPT if the database is damaged; the message contains the first damages. Any other error if the check
/// could not run.
pub(crate) fn require_sound(connection: &Connection, depth: Depth) -> Result<(), SqlError> {
    let damages = damages(connection, Scope::Whole(depth))?;
    if damages.is_empty() {
        return Ok(());
    }
    let code = rusqlite::ffi::SQLITE_CORRUPT;
    let generic = probe::error_of_code(code, None).generic;
    Err(probe::error_of_code(code, Some(&format!("{generic}: {}", damages.join("; ")))))
}

/// Returns the damages that a virtual table's own check finds in its shadow tables; empty if it finds none.
pub(crate) fn damages_of_virtual_table(connection: &Connection, name: &str) -> Result<Vec<String>, SqlError> {
    let sql = format!("PRAGMA main.integrity_check('{}')", name.replace('\'', "''"));
    // If an FTS3 or FTS4 table has external content, the application maintains the index, so the index may differ from
    // the content. If it has content of its own, a difference is damage.
    let content =
        "SELECT count(*) FROM main.sqlite_schema WHERE type = 'table' AND lower(name) = lower(? || '_content')";
    let owns_content = connection.query_row(content, [name], |row| row.get::<_, i64>(0)).map_err(sql_error)? > 0;
    let mut statement = connection.prepare(&sql).map_err(sql_error)?;
    let lines = statement.query_map([], |row| row.get::<_, String>(0)).map_err(sql_error)?;
    let mut lines = lines.collect::<rusqlite::Result<Vec<_>>>().map_err(sql_error)?;
    lines.retain(|line| line != "ok" && (owns_content || !is_about_fts3_or_4(line)));
    Ok(lines)
}

fn is_about_fts3_or_4(line: &str) -> bool {
    let index = line.strip_prefix("malformed").or_else(|| line.strip_prefix("unable to validate the"));
    index.is_some_and(|index| {
        index.starts_with(" inverted index for FTS3 table ") || index.starts_with(" inverted index for FTS4 table ")
    })
}

/// Returns the damages that SQLite finds, in the words of SQLite's messages; at most [`DAMAGES_MAX`].
pub(super) fn damages(connection: &Connection, scope: Scope<'_>) -> Result<Vec<String>, SqlError> {
    match reported(connection, scope) {
        Err(error) if is_damage(&error) => Ok(vec![error.message]),
        damages => damages,
    }
}

fn reported(connection: &Connection, scope: Scope<'_>) -> Result<Vec<String>, SqlError> {
    // A row that violates a CHECK constraint is not damage (PRAGMA ignore_check_constraints allows it), and checking
    // takes time.
    connection.execute_batch("PRAGMA ignore_check_constraints=ON").map_err(sql_error)?;
    match scope {
        Scope::Whole(depth) => whole(connection, depth),
        Scope::Table(name) => {
            lines(connection, &format!("PRAGMA main.integrity_check('{}')", name.replace('\'', "''")))
        }
    }
}

/// Checks a whole database. If the first table that SQLite finds in the schema is a view or a virtual table, its PRAGMA
/// does not check the list of free pages, and does not find pages that are lost or used twice. Therefore this function
/// checks these again.
fn whole(connection: &Connection, depth: Depth) -> Result<Vec<String>, SqlError> {
    let pragma = match depth {
        Depth::Full => "integrity_check",
        Depth::Quick => "quick_check",
    };
    // One read transaction, so that all checks see the same snapshot.
    let snapshot = connection.unchecked_transaction().map_err(sql_error)?;
    let mut damages = lines(&snapshot, &format!("PRAGMA main.{pragma}({LINES_MAX})"))?;
    if damages.is_empty() {
        damages = lines(&snapshot, "PRAGMA main.integrity_check('sqlite_schema')")?;
    }
    if damages.is_empty() {
        damages.extend(miscounted(&snapshot).map_err(sql_error)?);
    }
    Ok(damages)
}

/// Returns a message about damage if the numbers of used and free pages do not add up to the size of the file; `None`
/// if they do, or if that cannot be checked.
fn miscounted(connection: &Connection) -> rusqlite::Result<Option<String>> {
    let number = |sql: &str| connection.query_row(sql, [], |row| row.get::<_, i64>(0));
    // The pointer-map pages of an auto-vacuum database are neither used nor free.
    if number("PRAGMA main.auto_vacuum")? != 0 || missing_features().iter().any(|feature| feature.name == "dbstat") {
        return Ok(None);
    }
    let (all, free) = (number("PRAGMA main.page_count")?, number("PRAGMA main.freelist_count")?);
    let used = number("SELECT count(*) FROM dbstat")?;
    // SQLite never uses the page that contains the locked bytes.
    let locked = i64::from(all > LOCK_BYTE / number("PRAGMA main.page_size")?);
    let message = format!("of {all} pages {used} are in use and {free} are free");
    Ok((used + free + locked != all).then_some(message))
}

/// Returns the lines that an integrity check reports, without those that are harmless; at most [`DAMAGES_MAX`].
fn lines(connection: &Connection, sql: &str) -> Result<Vec<String>, SqlError> {
    let mut statement = connection.prepare(sql).map_err(sql_error)?;
    let mut rows = statement.query([]).map_err(sql_error)?;
    let mut damages = Vec::new();
    while let Some(row) = rows.next().map_err(sql_error)? {
        let text = row.get_ref(0).ok().and_then(|value| value.as_bytes().ok()).unwrap_or_default();
        let text = String::from_utf8_lossy(text);
        damages.extend(text.lines().filter(|line| !is_harmless(line)).map(str::to_owned));
        if damages.len() >= DAMAGES_MAX {
            damages.truncate(DAMAGES_MAX);
            break;
        }
    }
    Ok(damages)
}

/// Returns whether an error of SQLite means that the database file is damaged, as opposed to a check that could not
/// run.
pub(super) fn is_damage(error: &SqlError) -> bool {
    matches!(error.primary_code(), rusqlite::ffi::SQLITE_CORRUPT | rusqlite::ffi::SQLITE_NOTADB)
}

/// The beginnings of reported lines that are harmless. SQLite reads and writes such data normally, so it must not
/// prevent a backup:
///
/// * values that a declaration does not allow, after a schema was edited in place;
/// * an index of FTS3 or FTS4 that differs from its table, which the application maintains with `content=`.
const HARMLESS: [&str; 8] = [
    "*** in database ",
    "NULL value in ",
    "NUMERIC value in ",
    "TEXT value in ",
    "CHECK constraint failed in ",
    "malformed inverted index for FTS3 table ",
    "malformed inverted index for FTS4 table ",
    "unable to validate the inverted index ",
];

fn is_harmless(line: &str) -> bool {
    // In a STRICT table: "non-INT value in t.a".
    let strict = || line.starts_with("non-") && line.contains(" value in ");
    // An index on a math function whose entries were computed with another C library. SQLite finds the row
    // nevertheless.
    let imprecise =
        || line.starts_with("index ") && line.contains(" stores an imprecise floating-point value for row ");
    line == "ok" || HARMLESS.iter().any(|start| line.starts_with(start)) || strict() || imprecise()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Makes a database in which a table's page is also on the list of free pages.
    fn with_a_page_used_twice(path: &std::path::Path, view: &str) {
        let connection = Connection::open(path).unwrap();
        connection
            .execute_batch(&format!(
                "CREATE TABLE kept(a); INSERT INTO kept VALUES (1); CREATE TABLE gone(a); DROP TABLE gone; {view}"
            ))
            .unwrap();
        let root: u32 = connection
            .query_row("SELECT rootpage FROM sqlite_schema WHERE name = 'kept'", [], |row| row.get(0))
            .unwrap();
        drop(connection);
        let mut bytes = std::fs::read(path).unwrap();
        let trunk = u32::from_be_bytes(bytes[32..36].try_into().unwrap()) as usize;
        // Two free pages: the trunk and, as its only leaf, the table's.
        bytes[36..40].copy_from_slice(&2_u32.to_be_bytes());
        let at = (trunk - 1) * 4096 + 4;
        bytes[at..at + 4].copy_from_slice(&1_u32.to_be_bytes());
        bytes[at + 4..at + 8].copy_from_slice(&root.to_be_bytes());
        std::fs::write(path, bytes).unwrap();
    }

    #[test]
    fn a_page_that_is_used_and_free_is_damage_with_any_schema() {
        for view in ["", "CREATE VIEW v AS SELECT 1;"] {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("db");
            with_a_page_used_twice(&path, view);
            let error = require_sound(&Connection::open(&path).unwrap(), Depth::Quick).unwrap_err();
            assert_eq!(error.code, rusqlite::ffi::SQLITE_CORRUPT, "{view}");
        }
    }

    #[test]
    fn values_that_break_a_declaration_are_no_damage() {
        let connection = Connection::open_in_memory().unwrap();
        connection
            .execute_batch(
                "CREATE TABLE t(a INT CHECK (a > 0), b TEXT, c INT);
                 PRAGMA ignore_check_constraints=ON;
                 INSERT INTO t VALUES (-1, 'b', 'text');
                 PRAGMA ignore_check_constraints=OFF;
                 PRAGMA writable_schema=ON;
                 UPDATE sqlite_schema SET sql = 'CREATE TABLE t(a INT CHECK (a > 0), b INT, c INT NOT NULL)';
                 PRAGMA writable_schema=RESET;
                 INSERT INTO t VALUES (1, 2, 3);",
            )
            .unwrap();
        let line: String = connection.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
        assert_ne!(line, "ok", "the schema allows what is there");
        require_sound(&connection, Depth::Full).unwrap();
    }

    #[test]
    fn an_fts4_index_that_the_application_did_not_keep_in_step_is_no_damage() {
        let connection = Connection::open_in_memory().unwrap();
        let sql = "CREATE TABLE t(x); CREATE VIRTUAL TABLE f USING fts4(x, content=\"t\"); \
                   INSERT INTO f(docid, x) VALUES (1, 'a b')";
        connection.execute_batch(sql).unwrap();
        let line: String = connection.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
        assert_ne!(line, "ok");
        require_sound(&connection, Depth::Full).unwrap();
    }

    #[test]
    fn an_index_that_lacks_a_row_is_damage() {
        let connection = Connection::open_in_memory().unwrap();
        connection
            .execute_batch(
                "CREATE TABLE t(a); CREATE INDEX i ON t(a) WHERE a > 5; INSERT INTO t VALUES (1), (9);
                 PRAGMA writable_schema=ON;
                 UPDATE sqlite_schema SET sql = 'CREATE INDEX i ON t(a) WHERE a > 0' WHERE name = 'i';
                 PRAGMA writable_schema=RESET;",
            )
            .unwrap();
        let error = require_sound(&connection, Depth::Full).unwrap_err();
        assert_eq!(error.code, rusqlite::ffi::SQLITE_CORRUPT);
        assert_eq!(error.message, "database disk image is malformed: row 1 missing from index i");
    }
}
