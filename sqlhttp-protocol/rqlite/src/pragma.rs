//! The PRAGMAs because of which a whole request is refused.
//!
//! rqlite refuses a request before any of its statements runs if the SQL text of one of them begins with such a PRAGMA.
//! This module makes the same check. So no statement of such a request takes effect, even if each statement is a
//! transaction of its own.
//!
//! The check does not protect the database. A PRAGMA elsewhere in an SQL text gets past it; the database itself refuses
//! that one when the statement runs.

use sqlhttp_text::script::{skip_blanks, word};

/// The PRAGMAs that are refused only if they set a value.
const SETTINGS: &[&str] = &["journal_mode", "synchronous", "query_only", "wal_autocheckpoint"];
/// PRAGMAs whose names begin with this prefix are always refused.
const ACTION: &str = "wal_checkpoint";

/// Returns whether an SQL text begins with a refused PRAGMA.
pub(crate) fn is_refused(sql: &str) -> bool {
    let (keyword, rest) = word(skip_blanks(sql));
    if !keyword.eq_ignore_ascii_case("PRAGMA") || skip_blanks(rest) == rest {
        return false;
    }
    let (mut name, mut rest) = word(skip_blanks(rest));
    if let Some(qualified) = skip_blanks(rest).strip_prefix('.') {
        (name, rest) = word(skip_blanks(qualified));
    }
    let sets = skip_blanks(rest).starts_with(['=', '(']);
    let acts = name.to_ascii_lowercase().starts_with(ACTION);
    acts || sets && SETTINGS.iter().any(|setting| setting.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refused() {
        for sql in [
            "PRAGMA JOURNAL_MODE=DELETE",
            "PRAGMA wal_autocheckpoint = 1000",
            "  PRAGMA synchronous = NORMAL",
            "PRAGMA \t\n     synchronous = NORMAL",
            "PRAGMA query_only=",
            "PRAGMA wal_checkpoint",
            "PRAGMA wal_checkpoint(TRUNCATE)",
            "pragma wal_checkpointfoo",
            "pragma main.journal_mode = wal",
            "PRAGMA main . synchronous(1)",
            "-- c\n/* d */ PRAGMA/**/synchronous=1",
            &("/**/".repeat(1 << 20) + "PRAGMA synchronous=1"),
        ] {
            assert!(is_refused(sql), "{sql}");
        }
    }

    #[test]
    fn not_refused() {
        for sql in [
            "",
            "PRAGMA",
            "PRAGMA journal_mode",
            "PRAGMA synchronous",
            "PRAGMA foreign_keys=ON",
            "PRAGMA x",
            "PRAGMA wal_é",
            "PRAGMAsynchronous=1",
            "SELECT 1; PRAGMA synchronous=1",
            "SELECT 'PRAGMA synchronous=1'",
            "/* PRAGMA synchronous=1",
            "-- PRAGMA synchronous=1",
            "PRAGMA table_info(synchronous)",
        ] {
            assert!(!is_refused(sql), "{sql}");
        }
    }
}
