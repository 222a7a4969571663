//! Hides the engine's own table from clients' statements that read the schema.
//!
//! A node of a cluster records its position in the Raft log in a table of the database, and SQLite lists every table in
//! `sqlite_schema`. If a client's statement names `sqlite_schema` or a similar table, the engine puts a common table
//! expression of the same name in front of the statement, which omits the rows of the engine's table. SQLite resolves
//! the names of such expressions before those of tables (<https://sqlite.org/lang_with.html>), in subqueries too. So
//! LIMIT, aggregates and joins see the user's tables only.
//!
//! In some statements the expression is impossible or has no effect: those that read the schema's `rowid`, views, and
//! CREATE TABLE … AS. Such a statement is prepared unchanged, and rows that list the engine's table are removed from
//! its result (`Session::is_hidden`).

use std::ffi::CString;

use super::policy::is_schema;
use super::replicated::progress::TABLE;

/// The tables whose rows list the tables of a database, each with the column that contains the listed table's name.
const SCHEMA_TABLES: [(&str, &str); 4] =
    [("sqlite_schema", "tbl_name"), ("sqlite_master", "tbl_name"), ("pragma_table_list", "name"), ("dbstat", "name")];

/// A statement with the common table expressions that hide the engine's table.
pub(crate) struct Rewritten {
    pub(crate) sql: CString,
    /// The length of the inserted SQL text, in bytes.
    pub(crate) added: usize,
}

/// The column of the schema tables with the number of a table's root page, which may differ between nodes.
pub(crate) const ROOT_PAGE: &str = "rootpage";

/// The content of the column [`ROOT_PAGE`] in a rewritten statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RootPages {
    /// The numbers of the root pages.
    Real,
    /// NULL, for a statement that writes.
    Null,
}

/// Rewrites the first statement of an SQL text so that the engine's table is hidden. Returns `None` if the statement
/// names none of the [`SCHEMA_TABLES`]. The returned SQL text ends with that statement: if it contained the rest of the
/// script, rewriting each statement would take time that grows with the square of the script's length.
pub(crate) fn rewrite(sql: &[u8], root_pages: RootPages) -> Option<Rewritten> {
    let mut words = Words { sql, at: 0 };
    let mut insert_at = words.skip_blanks();
    let first = words.next()?;
    let begins = |words: &[&[u8]]| words.iter().any(|word| first.text.eq_ignore_ascii_case(word));
    let has_with = begins(&[b"with"]);
    if !has_with && !begins(&[b"select", b"values", b"insert", b"replace", b"update", b"delete"]) {
        return None;
    }
    if has_with {
        insert_at = words.at;
    }
    let mut named = [false; SCHEMA_TABLES.len()];
    let mut qualifiers = Vec::new();
    let mut before: Option<Word<'_>> = None;
    while let Some(word) = words.next() {
        if has_with && insert_at == first.end && word.text.eq_ignore_ascii_case(b"recursive") {
            insert_at = word.end;
        }
        if let Some(list) = SCHEMA_TABLES.iter().position(|(name, _)| word.text.eq_ignore_ascii_case(name.as_bytes())) {
            named[list] = true;
            // A name qualified with `main` refers to the table itself, not to the common table expression, so the
            // qualifier is removed.
            if let Some(schema) = before.filter(|before| word.follows_dot && before.text.eq_ignore_ascii_case(b"main"))
            {
                qualifiers.push(schema.start..word.start);
            }
        }
        before = Some(word);
    }
    let expressions: Vec<_> = SCHEMA_TABLES
        .iter()
        .zip(named)
        .filter(|(_, named)| *named)
        .map(|(list, _)| expression(list, root_pages))
        .collect();
    if expressions.is_empty() {
        return None;
    }
    let mut text = sql.get(..=words.at).unwrap_or(sql).to_vec();
    qualifiers.into_iter().for_each(|qualifier| text[qualifier].fill(b' '));
    let (start, end) = if has_with { (" ", ", ") } else { ("WITH ", " ") };
    let added = format!("{start}{}{end}", expressions.join(", "));
    text.splice(insert_at..insert_at, added.bytes());
    Some(Rewritten { sql: CString::new(text).ok()?, added: added.len() })
}

fn expression((name, column): &(&str, &str), root_pages: RootPages) -> String {
    let columns = match root_pages {
        RootPages::Null if is_schema(name) => "type, name, tbl_name, NULL AS rootpage, sql",
        _ => "*",
    };
    format!("{name} AS (SELECT {columns} FROM main.{name} WHERE {column} <> '{TABLE}')")
}

/// A keyword or an identifier, without quotes.
#[derive(Debug, Clone, Copy)]
struct Word<'t> {
    text: &'t [u8],
    start: usize,
    end: usize,
    /// Whether a dot precedes the word.
    follows_dot: bool,
}

/// An iterator over the words of the first statement of an SQL text. String literals and comments are skipped.
struct Words<'t> {
    sql: &'t [u8],
    at: usize,
}

impl<'t> Words<'t> {
    /// Skips white space and comments. Returns the index at which they end.
    fn skip_blanks(&mut self) -> usize {
        loop {
            let rest = &self.sql[self.at..];
            let len = match rest {
                [b'\t'..=b'\r' | b' ', ..] => 1,
                [b'-', b'-', ..] => memchr::memchr(b'\n', rest).unwrap_or(rest.len()),
                [b'/', b'*', ..] => memchr::memmem::find(&rest[2..], b"*/").map_or(rest.len(), |end| end + 4),
                _ => return self.at,
            };
            self.at += len;
        }
    }

    /// Returns the next word; `None` at the end of the statement.
    fn next(&mut self) -> Option<Word<'t>> {
        let mut follows_dot = false;
        loop {
            let start = self.skip_blanks();
            let rest = &self.sql[start..];
            let (len, text) = match rest.first()? {
                b';' => return None,
                b'\'' => (quoted_len(rest, b'\''), None),
                quote @ (b'"' | b'`') => word_in(rest, quoted_len(rest, *quote)),
                b'[' => word_in(rest, memchr::memchr(b']', rest).map_or(rest.len(), |end| end + 1)),
                byte if is_letter(*byte) => {
                    let len = rest.iter().take_while(|byte| is_letter(**byte)).count();
                    (len, Some(&rest[..len]))
                }
                _ => (1, None),
            };
            self.at = start + len;
            if let Some(text) = text {
                return Some(Word { text, start, end: self.at, follows_dot });
            }
            follows_dot = rest[0] == b'.';
        }
    }
}

fn word_in(rest: &[u8], len: usize) -> (usize, Option<&[u8]>) {
    (len, Some(rest.get(1..len.saturating_sub(1)).unwrap_or_default()))
}

/// Returns the length of a string literal or a quoted identifier, including the quotes. Quotes inside it are doubled.
fn quoted_len(rest: &[u8], quote: u8) -> usize {
    let mut len = 1;
    while let Some(end) = memchr::memchr(quote, &rest[len..]) {
        len += end + 1;
        if rest.get(len) != Some(&quote) {
            return len;
        }
        len += 1;
    }
    rest.len()
}

fn is_letter(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$' | 0x80..)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rewritten(sql: &str) -> Option<String> {
        rewrite(sql.as_bytes(), RootPages::Real).map(|rewritten| {
            assert!(rewritten.sql.as_bytes().len() <= sql.len() + rewritten.added, "{sql}");
            rewritten.sql.into_string().unwrap()
        })
    }

    #[test]
    fn statements_that_name_the_schema_are_rewritten() {
        let with = "sqlite_master AS (SELECT * FROM main.sqlite_master WHERE tbl_name <> 'sqlite_sqlhttp')";
        for (sql, expected) in [
            ("SELECT 1 FROM sqlite_master; x", format!("WITH {with} SELECT 1 FROM sqlite_master;")),
            (
                "/* a */ select main . \"SQLite_Master\".a",
                format!("/* a */ WITH {with} select        \"SQLite_Master\".a"),
            ),
            (
                "WITH a AS (SELECT 1) SELECT * FROM [sqlite_master]",
                format!("WITH {with},  a AS (SELECT 1) SELECT * FROM [sqlite_master]"),
            ),
            (
                "with recursive a(x) AS (SELECT 1) SELECT * FROM a, sqlite_master",
                format!("with recursive {with},  a(x) AS (SELECT 1) SELECT * FROM a, sqlite_master"),
            ),
            (
                "INSERT INTO t SELECT name FROM sqlite_master",
                format!("WITH {with} INSERT INTO t SELECT name FROM sqlite_master"),
            ),
        ] {
            assert_eq!(rewritten(sql).as_deref(), Some(expected.as_str()), "{sql}");
        }
    }

    #[test]
    fn other_statements_are_not_rewritten() {
        for sql in [
            "",
            ";",
            "SELECT 'sqlite_master' -- sqlite_master",
            "SELECT 1; SELECT * FROM sqlite_master",
            "CREATE VIEW v AS SELECT * FROM sqlite_master",
            "SELECT 'it''s sqlite_master",
            "SELECT /* sqlite_master",
            "INSERT INTO t VALUES('main.sqlite_master')",
        ] {
            assert_eq!(rewritten(sql), None, "{sql}");
        }
    }
}
