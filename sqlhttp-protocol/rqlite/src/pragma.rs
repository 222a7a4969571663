//! PRAGMAs that refuse a request.
//!
//! rqlite refuses a request before any of its statements runs if the text of one begins with such a PRAGMA. The same
//! check is made here, so that no statement of such a request takes effect, even if each is a transaction of its own.
//! The check is not a protection: the database refuses PRAGMAs at other places, statement by statement.

use sqlhttp_text::script::{skip_blanks, word};

/// The PRAGMAs that are refused if they set a value.
const SETTINGS: &[&str] = &["journal_mode", "synchronous", "query_only", "wal_autocheckpoint"];
/// The prefix of the PRAGMAs that are always refused.
const ACTION: &str = "wal_checkpoint";

/// Whether a text begins with a refused PRAGMA.
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
