//! Finds columns whose names SQLite has chosen at random.
//!
//! SQLite makes the names of the columns of a view, or of a table made from a query, unique: it appends `:1` to `:4` to
//! the second to fifth column of the same name, and a random number to every further one (`sqlite3ColumnsFromExprList`
//! in SQLite's `select.c`).

use rusqlite::{Connection, OptionalExtension, ffi, params};

use super::error::sql_error;
use crate::model::SqlError;

/// The number of numbered columns of the same name after which SQLite chooses a random number.
const NUMBERED: usize = 4;

/// Returns the name of the table that has been created last, in `main` or `temp`, if a column of it has a random name.
pub(crate) fn of_last_table(connection: &Connection) -> Result<Option<String>, SqlError> {
    for database in ["main", "temp"] {
        let last = format!("SELECT name FROM {database}.sqlite_schema ORDER BY rowid DESC LIMIT 1");
        let last: Option<String> = connection.query_row(&last, [], |row| row.get(0)).optional().map_err(sql_error)?;
        if let Some(name) = last
            && has_random(&columns(connection, database, &name)?)
        {
            return Ok(Some(name));
        }
    }
    Ok(None)
}

/// Returns the name of a view with a column that has a random name; `None` if there is no such view.
pub(crate) fn of_views(connection: &Connection) -> Result<Option<String>, SqlError> {
    for database in ["main", "temp"] {
        for name in views(connection, database).map_err(sql_error)? {
            match columns(connection, database, &name) {
                Ok(columns) if has_random(&columns) => return Ok(Some(name)),
                Ok(_) => {}
                // The view refers to a table that does not exist, for example.
                Err(error) if error.code == ffi::SQLITE_ERROR => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(None)
}

fn views(connection: &Connection, database: &str) -> rusqlite::Result<Vec<String>> {
    let mut views = connection.prepare(&format!("SELECT name FROM {database}.sqlite_schema WHERE type = 'view'"))?;
    views.query_map([], |row| row.get(0))?.collect()
}

fn columns(connection: &Connection, database: &str, table: &str) -> Result<Vec<String>, SqlError> {
    let list = |mut columns: rusqlite::CachedStatement<'_>| {
        columns.query_map(params![table, database], |row| row.get(0))?.collect()
    };
    let sql = "SELECT lower(name) FROM pragma_table_info(?1, ?2)";
    connection.prepare_cached(sql).and_then(list).map_err(sql_error)
}

/// Returns whether one of these names, in lower case, has a random number: a numbered name that is not among the first
/// [`NUMBERED`] ones, if all of these exist.
fn has_random(names: &[String]) -> bool {
    let numbered = names.iter().filter_map(|name| {
        let (head, number) = name.rsplit_once(':')?;
        let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
        is_number.then_some((head, number))
    });
    let first: Vec<String> = (1..=NUMBERED).map(|number| number.to_string()).collect();
    numbered.clone().any(|(head, number)| {
        let exists = |number: &String| numbered.clone().any(|other| other == (head, number.as_str()));
        !first.iter().any(|first| first == number) && first.iter().all(exists)
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_random_name_is_found() {
        let names = |list: &str| list.split(' ').map(String::from).collect::<Vec<_>>();
        assert!(has_random(&names("a a:1 a:2 a:3 a:4 a:377")));
        assert!(has_random(&names("b a a:0 a:4 a:3 a:2 a:1")));
        assert!(!has_random(&names("a a:1 a:2 a:3 a:4")));
        assert!(!has_random(&names("a a:1 a:2 a:3 a:5")));
        assert!(!has_random(&names("a a:1 a:2 a:3 a:4 b:5 a:x a:")));
    }

    #[test]
    fn sqlite_chooses_random_names_from_the_sixth_column_on() {
        let connection = Connection::open_in_memory().unwrap();
        for (count, is_random) in [(5, false), (6, true), (9, true)] {
            let create = format!("CREATE TABLE t{count} AS SELECT {}", vec!["1 AS a"; count].join(", "));
            connection.execute_batch(&create).unwrap();
            assert_eq!(of_last_table(&connection).unwrap().is_some(), is_random, "{count}");
            let view = create.replace("TABLE t", "VIEW v");
            connection.execute_batch(&view).unwrap();
            assert_eq!(of_views(&connection).unwrap().is_some(), is_random, "{count}");
        }
    }
}
