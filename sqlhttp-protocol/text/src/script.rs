//! The beginning of SQL text: white space, comments and words, which can be recognised without SQLite.

/// Splits a text after the ASCII letters, digits and underscores at its beginning.
pub fn word(text: &str) -> (&str, &str) {
    let letters = text.bytes().take_while(|b| b.is_ascii_alphanumeric() || *b == b'_');
    text.split_at(letters.count())
}

/// Returns the text without the white space and comments at its beginning.
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
    fn blanks_and_words() {
        assert_eq!(skip_blanks(" -- a\n/* b */\tPRAGMA x"), "PRAGMA x");
        assert_eq!(skip_blanks("-- only a comment"), "");
        assert_eq!(word("foreign_keys=OFF"), ("foreign_keys", "=OFF"));
        assert_eq!(word("=OFF"), ("", "=OFF"));
    }
}
