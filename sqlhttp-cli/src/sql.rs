//! The tokens of SQL text (<https://sqlite.org/lang_naming.html>, <https://sqlite.org/lang_comment.html>).

/// The kind of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Spaces, tabs, line feeds.
    Blank,
    Comment,
    /// A keyword, a name or a number.
    Word,
    /// A string in single quotes.
    Text,
    /// A name in double quotes, backquotes or brackets.
    QuotedName,
    /// `?1`, `:name`, `@name` or `$name`.
    Parameter,
    Semicolon,
    /// Any other character.
    Symbol,
}

/// A token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Token<'s> {
    pub(crate) kind: Kind,
    pub(crate) text: &'s str,
    /// Whether the end of the token has been found: the closing quote, the end of the comment.
    pub(crate) complete: bool,
}

/// Returns the tokens of a text. Together they are the text.
pub(crate) fn tokens(text: &str) -> impl Iterator<Item = Token<'_>> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let (kind, length, complete) = first_token(rest)?;
        let (text, after) = rest.split_at(length);
        rest = after;
        Some(Token { kind, text, complete })
    })
}

/// Returns the kind and the length of the first token, and whether the token is complete.
fn first_token(text: &str) -> Option<(Kind, usize, bool)> {
    let first = text.chars().next()?;
    let until = |kind, skipped: usize, end: &str| match text[skipped..].find(end) {
        Some(length) => (kind, skipped + length + end.len(), true),
        None => (kind, text.len(), false),
    };
    let while_ = |kind, skipped: usize, belongs: fn(char) -> bool| {
        let length = text[skipped..].find(|c| !belongs(c)).map_or(text.len(), |length| skipped + length);
        (kind, length, true)
    };
    Some(match first {
        ' ' | '\t' | '\r' | '\n' | '\x0c' => while_(Kind::Blank, 0, |c| " \t\r\n\x0c".contains(c)),
        '-' if text.starts_with("--") => until(Kind::Comment, 2, "\n"),
        '/' if text.starts_with("/*") => until(Kind::Comment, 2, "*/"),
        '\'' => until(Kind::Text, 1, "'"),
        '"' => until(Kind::QuotedName, 1, "\""),
        '`' => until(Kind::QuotedName, 1, "`"),
        '[' => until(Kind::QuotedName, 1, "]"),
        ';' => (Kind::Semicolon, 1, true),
        '?' | ':' | '@' | '$' => while_(Kind::Parameter, 1, is_word),
        c if is_word(c) => while_(Kind::Word, 0, is_word),
        c => (Kind::Symbol, c.len_utf8(), true),
    })
}

/// Whether a character belongs to a word. All characters that are not ASCII do.
fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == '$' || !c.is_ascii()
}

/// Returns the names of the parameters of a statement, without `:`, `@` and `$`.
pub(crate) fn parameter_names(text: &str) -> impl Iterator<Item = &str> {
    let parameters = tokens(text).filter(|token| token.kind == Kind::Parameter);
    parameters.filter_map(|token| token.text.strip_prefix([':', '@', '$'])).filter(|name| !name.is_empty())
}

/// Returns a name in double quotes.
pub(crate) fn quoted_name(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Whether a word is a keyword of SQLite (<https://sqlite.org/lang_keywords.html>).
pub(crate) fn is_keyword(word: &str) -> bool {
    KEYWORDS.binary_search(&word.to_ascii_uppercase().as_str()).is_ok()
}

/// The keywords of SQLite, in alphabetical order.
#[rustfmt::skip]
pub(crate) const KEYWORDS: [&str; 147] = [
    "ABORT", "ACTION", "ADD", "AFTER", "ALL", "ALTER", "ALWAYS", "ANALYZE", "AND", "AS", "ASC", "ATTACH",
    "AUTOINCREMENT", "BEFORE", "BEGIN", "BETWEEN", "BY", "CASCADE", "CASE", "CAST", "CHECK", "COLLATE", "COLUMN",
    "COMMIT", "CONFLICT", "CONSTRAINT", "CREATE", "CROSS", "CURRENT", "CURRENT_DATE", "CURRENT_TIME",
    "CURRENT_TIMESTAMP", "DATABASE", "DEFAULT", "DEFERRABLE", "DEFERRED", "DELETE", "DESC", "DETACH", "DISTINCT", "DO",
    "DROP", "EACH", "ELSE", "END", "ESCAPE", "EXCEPT", "EXCLUDE", "EXCLUSIVE", "EXISTS", "EXPLAIN", "FAIL", "FILTER",
    "FIRST", "FOLLOWING", "FOR", "FOREIGN", "FROM", "FULL", "GENERATED", "GLOB", "GROUP", "GROUPS", "HAVING", "IF",
    "IGNORE", "IMMEDIATE", "IN", "INDEX", "INDEXED", "INITIALLY", "INNER", "INSERT", "INSTEAD", "INTERSECT", "INTO",
    "IS", "ISNULL", "JOIN", "KEY", "LAST", "LEFT", "LIKE", "LIMIT", "MATCH", "MATERIALIZED", "NATURAL", "NO", "NOT",
    "NOTHING", "NOTNULL", "NULL", "NULLS", "OF", "OFFSET", "ON", "OR", "ORDER", "OTHERS", "OUTER", "OVER", "PARTITION",
    "PLAN", "PRAGMA", "PRECEDING", "PRIMARY", "QUERY", "RAISE", "RANGE", "RECURSIVE", "REFERENCES", "REGEXP",
    "REINDEX", "RELEASE", "RENAME", "REPLACE", "RESTRICT", "RETURNING", "RIGHT", "ROLLBACK", "ROW", "ROWS",
    "SAVEPOINT", "SELECT", "SET", "TABLE", "TEMP", "TEMPORARY", "THEN", "TIES", "TO", "TRANSACTION", "TRIGGER",
    "UNBOUNDED", "UNION", "UNIQUE", "UPDATE", "USING", "VACUUM", "VALUES", "VIEW", "VIRTUAL", "WHEN", "WHERE",
    "WINDOW", "WITH", "WITHOUT",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tokens_are_the_text() {
        let text = "SELECT a, 'it''s;' -- no\n, \"b;\" /* ; */ [c;] `d` ?1 :x @y $z FROM é;";
        assert_eq!(tokens(text).map(|token| token.text).collect::<String>(), text);
        let kinds: Vec<_> = tokens("a 'b' ;").map(|token| token.kind).collect();
        assert_eq!(kinds, [Kind::Word, Kind::Blank, Kind::Text, Kind::Blank, Kind::Semicolon]);
        for open in ["'a", "\"a", "`a", "[a", "/* a", "-- a"] {
            assert!(tokens(open).all(|token| !token.complete), "{open}");
        }
    }

    #[test]
    fn parameters_outside_strings_and_comments() {
        let names: Vec<_> = parameter_names("SELECT :a, '@no', ?, ?2, @b -- :no\n, $c_1, x::y").collect();
        assert_eq!(names, ["a", "b", "c_1", "y"]);
    }

    #[test]
    fn keywords_are_sorted_and_found_in_any_case() {
        assert!(KEYWORDS.is_sorted());
        assert!(is_keyword("select") && is_keyword("WITHOUT") && !is_keyword("name"));
    }
}
