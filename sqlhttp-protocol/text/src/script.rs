//! The beginning of SQL text, as far as it can be told without SQLite: blanks, comments, words.

/// What comes after the `PRAGMA foreign_keys=OFF;` with which dumps begin: their BEGIN, so that the text is a script that
/// brackets itself. Any other text stays as it is.
///
/// ```
/// # use sqlhttp_text::script::skip_head_of_dump;
/// assert_eq!(skip_head_of_dump("PRAGMA foreign_keys=OFF; BEGIN; COMMIT;"), " BEGIN; COMMIT;");
/// assert_eq!(skip_head_of_dump("PRAGMA foreign_keys=OFF; SELECT 1"), "PRAGMA foreign_keys=OFF; SELECT 1");
/// ```
pub fn skip_head_of_dump(sql: &str) -> &str {
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

/// The letters, digits and underscores with which a text begins, and the rest.
pub fn word(text: &str) -> (&str, &str) {
    let letters = text.bytes().take_while(|b| b.is_ascii_alphanumeric() || *b == b'_');
    text.split_at(letters.count())
}

/// What comes after white space and comments.
pub fn skip_blanks(text: &str) -> &str {
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
}
