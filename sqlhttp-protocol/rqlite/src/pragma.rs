//! PRAGMAs at the beginning of a text: those for which a request is refused before anything of it runs, and the one with
//! which dumps begin.
//!
//! This looks at the beginning of the text only, as the original does, so that nothing of such a request takes effect
//! in whatever mode it runs. It is no protection: what it does not see, the database refuses, statement by statement.

/// Refused when they set something.
const SETTINGS: &[&str] = &["journal_mode", "synchronous", "query_only", "wal_autocheckpoint"];
/// Refused always, and so is what begins so.
const ACTION: &str = "wal_checkpoint";

/// Whether a text begins with a PRAGMA that is refused.
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

/// What comes after the `PRAGMA foreign_keys=OFF;` with which dumps begin: their BEGIN. The PRAGMA has no effect where
/// transactions are the database's affair, and without it the text is a script that brackets itself.
pub(crate) fn skip_head_of_dump(sql: &str) -> &str {
    let rest = || {
        let rest = keyword(skip_blanks(sql), "PRAGMA")?;
        let rest = keyword(skip_blanks(rest), "foreign_keys")?;
        let rest = skip_blanks(rest).strip_prefix('=')?;
        let rest = keyword(skip_blanks(rest), "OFF")?;
        let rest = skip_blanks(rest).strip_prefix(';')?;
        keyword(skip_blanks(rest), "BEGIN").map(|_| rest)
    };
    rest().unwrap_or(sql)
}

fn keyword<'s>(text: &'s str, expected: &str) -> Option<&'s str> {
    let (found, rest) = word(text);
    found.eq_ignore_ascii_case(expected).then_some(rest)
}

fn word(text: &str) -> (&str, &str) {
    let letters = text.bytes().take_while(|b| b.is_ascii_alphanumeric() || *b == b'_');
    text.split_at(letters.count())
}

/// What comes after white space and comments.
fn skip_blanks(text: &str) -> &str {
    let mut rest = text.trim_ascii_start();
    loop {
        let after = if let Some(comment) = rest.strip_prefix("--") {
            comment.split_once('\n')
        } else if let Some(comment) = rest.strip_prefix("/*") {
            comment.split_once("*/")
        } else {
            return rest;
        };
        rest = after.map_or("", |(_, rest)| rest.trim_ascii_start());
    }
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
    fn heads_of_dumps() {
        let begin = "\nBEGIN TRANSACTION;\nCOMMIT;";
        for head in ["PRAGMA foreign_keys=OFF;", "-- dump\npragma Foreign_Keys = off ;"] {
            assert_eq!(skip_head_of_dump(&format!("{head}{begin}")), begin);
        }
        for sql in [
            "",
            "BEGIN; COMMIT;",
            "PRAGMA foreign_keys=OFF;",
            "PRAGMA foreign_keys=OFF; SELECT 1",
            "PRAGMA foreign_keys=ON; BEGIN; COMMIT",
            "PRAGMA foreign_keys; BEGIN; COMMIT",
            "SELECT 1; PRAGMA foreign_keys=OFF; BEGIN; COMMIT",
        ] {
            assert_eq!(skip_head_of_dump(sql), sql);
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
