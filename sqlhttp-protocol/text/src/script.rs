//! Splits the beginning of SQL text into white space, comments and words. For this, SQLite's parser is not needed.

/// Splits `text` into the word at its beginning and the rest. A word consists of ASCII letters, digits and underscores;
/// it may be empty.
pub fn word(text: &str) -> (&str, &str) {
    let letters = text.bytes().take_while(|b| b.is_ascii_alphanumeric() || *b == b'_');
    text.split_at(letters.count())
}

/// Returns `text` without the white space and SQL comments at its beginning.
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
