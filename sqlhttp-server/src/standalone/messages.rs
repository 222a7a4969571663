//! Log lines and error messages in ws4sqlite's format, because its users search for them.

use chrono::{DateTime, Local};
use sqlhttp_core::{Error, Failure, SqlError};

const SQLITE_CANTOPEN: i32 = 14;

/// Formats a log line like `LEVEL | 2026/11/21 03:10:00 | message`, in local time.
pub(crate) fn log_line(level: &str, now: DateTime<Local>, message: &str) -> String {
    format!("{level} | {} | {message}", now.format("%Y/%m/%d %H:%M:%S"))
}

/// Formats an SQLite error as ws4sqlite does: `<generic>: <message> (<code>)`, where `<generic>` is SQLite's text for
/// the error code. If the message equals the generic text, only one of them is included.
pub(crate) fn sql_error(error: &SqlError) -> String {
    let busy = if error.code == 5 { " (SQLITE_BUSY)" } else { "" };
    // The message of SQLITE_CANTOPEN is omitted. It depends on the version of SQLite and on its wrapper, and adds no
    // information.
    if error.message == error.generic || error.message.is_empty() || error.primary_code() == SQLITE_CANTOPEN {
        format!("{} ({}){busy}", error.generic, error.code)
    } else {
        format!("{}: {} ({}){busy}", error.generic, error.message, error.code)
    }
}

/// Formats a database error. As in ws4sqlite, the action that failed (`Error::Sqlite::action`) is omitted.
pub(crate) fn database_error(error: &Error) -> String {
    match error {
        Error::Busy(source) | Error::Sqlite { source, .. } => sql_error(source),
        Error::ReadOnly => "attempt to write a readonly database (8)".to_owned(),
        other => other.to_string(),
    }
}

/// Formats the failure of a step of a batch.
pub(crate) fn failure(failure: &Failure) -> String {
    match failure {
        Failure::Sql(error) => sql_error(error),
        other => other.to_string(),
    }
}

/// Formats a number with a noun, in the singular or the plural: `1 credential`, `2 credentials`.
pub(crate) fn counted(count: usize, noun: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {noun}{plural}")
}

/// Formats `host:port`, with brackets around an IPv6 address.
pub(crate) fn address(host: &str, port: u16) -> String {
    if host.contains(':') && !host.starts_with('[') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

#[cfg(test)]
mod tests {
    use chrono::TimeZone;

    use super::*;

    fn error(code: i32, generic: &str, message: &str) -> SqlError {
        SqlError { code, generic: generic.into(), message: message.into(), offset: None }
    }

    #[test]
    fn log_lines_have_the_form_of_ws4sqlite() {
        let now = Local.with_ymd_and_hms(2026, 1, 2, 3, 4, 5).unwrap();
        assert_eq!(log_line("FATAL", now, "no"), "FATAL | 2026/01/02 03:04:05 | no");
    }

    #[test]
    fn sqlite_errors_have_the_wording_of_ws4sqlite() {
        let table = error(1, "SQL logic error", "no such table: nope");
        assert_eq!(sql_error(&table), "SQL logic error: no such table: nope (1)");
        assert_eq!(
            sql_error(&error(26, "file is not a database", "file is not a database")),
            "file is not a database (26)"
        );
        let busy = error(5, "database is locked", "database is locked");
        assert_eq!(database_error(&Error::Busy(busy)), "database is locked (5) (SQLITE_BUSY)");
        let open = error(14, "unable to open database file", "unable to open database file: /x");
        assert_eq!(sql_error(&open), "unable to open database file (14)");
    }

    #[test]
    fn one_is_singular() {
        assert_eq!(counted(1, "credential"), "1 credential");
        assert_eq!(counted(2, "credential"), "2 credentials");
    }
}
