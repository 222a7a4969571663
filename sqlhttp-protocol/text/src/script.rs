//! The beginning of SQL text, as far as it can be recognised without SQLite: blanks, comments, words.

/// The letters, digits and underscores with which a text begins, and the rest.
pub fn word(text: &str) -> (&str, &str) {
    let letters = text.bytes().take_while(|b| b.is_ascii_alphanumeric() || *b == b'_');
    text.split_at(letters.count())
}

/// The text after white space and comments.
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
