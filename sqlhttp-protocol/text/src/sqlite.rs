//! The result codes of SQLite in error messages (<https://sqlite.org/rescode.html>). The protocols transmit an error as
//! a text, from which their clients restore the code.

/// The beginnings of usual messages, and their extended result codes.
const MESSAGES: [(&str, i32); 8] = [
    ("UNIQUE constraint failed", 2067),
    ("FOREIGN KEY constraint failed", 787),
    ("NOT NULL constraint failed", 1299),
    ("CHECK constraint failed", 275),
    ("database is locked", 5),
    ("database or disk is full", 13),
    ("attempt to write a readonly database", 8),
    ("datatype mismatch", 20),
];

/// The descriptions of the primary result codes, in the order of the codes. An empty text stands for a code that
/// SQLite does not use.
const DESCRIPTIONS: [&str; 29] = [
    "not an error",
    "SQL logic error",
    "",
    "access permission denied",
    "query aborted",
    "database is locked",
    "database table is locked",
    "out of memory",
    "attempt to write a readonly database",
    "interrupted",
    "disk I/O error",
    "database disk image is malformed",
    "unknown operation",
    "database or disk is full",
    "unable to open database file",
    "locking protocol",
    "",
    "database schema has changed",
    "string or blob too big",
    "constraint failed",
    "datatype mismatch",
    "bad parameter or other API misuse",
    "large file support is disabled",
    "authorization denied",
    "",
    "column index out of range",
    "file is not a database",
    "notification message",
    "warning message",
];

/// Returns the extended result code of a message (`sqlite3_errmsg`), if it is one of the usual messages.
///
/// ```
/// use sqlhttp_text::sqlite::code_of_message;
///
/// assert_eq!(code_of_message("UNIQUE constraint failed: t.a"), Some(2067));
/// assert_eq!(code_of_message("no such table: t"), None);
/// ```
pub fn code_of_message(message: &str) -> Option<i32> {
    MESSAGES.iter().find(|(begin, _)| message.starts_with(begin)).map(|(_, code)| *code)
}

/// Returns the description of a result code, primary or extended, as `sqlite3_errstr` does. `None` for a code that
/// SQLite does not use, and for SQLITE_ROW and SQLITE_DONE, which are no errors.
pub fn description(code: i32) -> Option<&'static str> {
    const SQLITE_ABORT_ROLLBACK: i32 = 516;
    if code == SQLITE_ABORT_ROLLBACK {
        return Some("abort due to ROLLBACK");
    }
    let primary = usize::try_from(code & 0xff).ok()?;
    DESCRIPTIONS.get(primary).copied().filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extended_codes_have_the_description_of_the_primary_code() {
        for (code, text) in [
            (1, Some("SQL logic error")),
            (19, Some("constraint failed")),
            (2067, Some("constraint failed")),
            (516, Some("abort due to ROLLBACK")),
            (4, Some("query aborted")),
            (26, Some("file is not a database")),
            (28, Some("warning message")),
            (2, None),
            (29, None),
            (101, None),
        ] {
            assert_eq!(description(code), text, "{code}");
        }
        assert_eq!(description(-1), None);
    }
}
