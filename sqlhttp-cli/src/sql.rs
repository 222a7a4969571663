//! The tokens of SQL text (<https://sqlite.org/lang_naming.html>, <https://sqlite.org/lang_comment.html>).

use std::ops::Range;

/// The kind of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Spaces, tabs, line feeds.
    Blank,
    Comment,
    /// A keyword, or a name without quotes.
    Word,
    Number,
    /// A string in single quotes.
    Text,
    /// A BLOB in hexadecimal digits: `x'00ff'`.
    Blob,
    /// A name in double quotes, backquotes or brackets. SQLite reads double quotes as a string if no such name exists.
    QuotedName,
    /// `?1`, `:name`, `@name` or `$name`.
    Parameter,
    Semicolon,
    /// Any other character.
    Symbol,
}

/// A token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Token<'s> {
    pub(crate) kind: Kind,
    /// The token as it is written.
    pub(crate) text: &'s str,
    /// The position of the token in the SQL text, in bytes.
    pub(crate) span: Range<usize>,
    /// Whether the end of the token has been found: the closing quote, the end of the comment.
    pub(crate) complete: bool,
}

impl Token<'_> {
    /// Returns whether the token is this keyword or symbol.
    pub(crate) fn is(&self, word: &str) -> bool {
        matches!(self.kind, Kind::Word | Kind::Symbol | Kind::Semicolon) && self.text.eq_ignore_ascii_case(word)
    }

    /// Returns the name or the text without its quotes.
    pub(crate) fn unquoted(&self) -> String {
        match self.kind {
            Kind::QuotedName | Kind::Text => {
                let inner = self.text.get(1..self.text.len().saturating_sub(1)).unwrap_or_default();
                match self.text.chars().next() {
                    Some(quote) if quote != '[' => inner.replace(&format!("{quote}{quote}"), &quote.to_string()),
                    _ => inner.to_owned(),
                }
            }
            _ => self.text.to_owned(),
        }
    }
}

/// Returns the tokens of a text. Together they are the text.
pub(crate) fn tokens(text: &str) -> impl Iterator<Item = Token<'_>> {
    let mut begin = 0;
    std::iter::from_fn(move || {
        let (kind, length, complete) = first_token(&text[begin..])?;
        let span = begin..begin + length;
        begin = span.end;
        Some(Token { kind, text: &text[span.clone()], span, complete })
    })
}

/// Returns the tokens of a text without blanks and comments.
pub(crate) fn words(text: &str) -> Vec<Token<'_>> {
    tokens(text).filter(|token| !matches!(token.kind, Kind::Blank | Kind::Comment)).collect()
}

/// Returns the kind and the length of the first token, and whether the token is complete.
fn first_token(text: &str) -> Option<(Kind, usize, bool)> {
    let first = text.chars().next()?;
    let until = |kind, skipped: usize, end: &str| match text[skipped..].find(end) {
        Some(length) => (kind, skipped + length + end.len(), true),
        None => (kind, text.len(), false),
    };
    let quoted = |kind, begin, quote| match quoted_length(&text[begin..], quote) {
        Some(length) => (kind, begin + length, true),
        None => (kind, text.len(), false),
    };
    let while_ = |kind, skipped: usize, belongs: fn(char) -> bool| {
        let length = text[skipped..].find(|c| !belongs(c)).map_or(text.len(), |length| skipped + length);
        (kind, length, true)
    };
    let second = text[first.len_utf8()..].chars().next();
    Some(match first {
        ' ' | '\t' | '\r' | '\n' | '\x0c' => while_(Kind::Blank, 0, |c| " \t\r\n\x0c".contains(c)),
        '-' if second == Some('-') => until(Kind::Comment, 2, "\n"),
        '/' if second == Some('*') => until(Kind::Comment, 2, "*/"),
        '\'' => quoted(Kind::Text, 0, first),
        '"' | '`' => quoted(Kind::QuotedName, 0, first),
        '[' => until(Kind::QuotedName, 1, "]"),
        'x' | 'X' if second == Some('\'') => quoted(Kind::Blob, 1, '\''),
        ';' => (Kind::Semicolon, 1, true),
        '?' | ':' | '@' | '$' => while_(Kind::Parameter, 1, is_word),
        c if c.is_ascii_digit() => (Kind::Number, number_length(text), true),
        '.' if second.is_some_and(|c| c.is_ascii_digit()) => (Kind::Number, number_length(text), true),
        c if is_word(c) => while_(Kind::Word, 0, is_word),
        c => (Kind::Symbol, c.len_utf8(), true),
    })
}

/// Returns the length of a quoted token; `None` if it has no end. A doubled quote does not end it.
fn quoted_length(text: &str, quote: char) -> Option<usize> {
    let mut at = 1;
    loop {
        at += text[at..].find(quote)? + 1;
        if !text[at..].starts_with(quote) {
            return Some(at);
        }
        at += 1;
    }
}

/// Returns the length of a number. The sign of an exponent belongs to it.
fn number_length(text: &str) -> usize {
    let hexadecimal = text.starts_with("0x") || text.starts_with("0X");
    let mut previous = ' ';
    let ends = |c: char| {
        let sign_of_exponent = (c == '+' || c == '-') && matches!(previous, 'e' | 'E') && !hexadecimal;
        previous = c;
        !(c.is_ascii_alphanumeric() || c == '.' || c == '_' || sign_of_exponent)
    };
    text.find(ends).unwrap_or(text.len())
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

/// Returns a BLOB as an SQL literal.
pub(crate) fn blob_literal(bytes: &[u8]) -> String {
    format!("x'{}'", bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
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

    fn texts(sql: &str) -> Vec<&str> {
        words(sql).into_iter().map(|token| token.text).collect()
    }

    #[test]
    fn tokens_of_all_kinds() {
        let sql = "SELECT \"a\"\"b\", [c d], `e`, 'it''s', X'0aFF', 1.5e-3-2, 0x1e-1, .5, tableé.x -- end, (\n/* , */;";
        let expected = [
            "SELECT",
            "\"a\"\"b\"",
            ",",
            "[c d]",
            ",",
            "`e`",
            ",",
            "'it''s'",
            ",",
            "X'0aFF'",
            ",",
            "1.5e-3",
            "-",
            "2",
            ",",
            "0x1e",
            "-",
            "1",
            ",",
            ".5",
            ",",
            "tableé",
            ".",
            "x",
            ";",
        ];
        assert_eq!(texts(sql), expected);
        let kinds: Vec<Kind> = words("a \"b\" 'c' x'00' 1 +").into_iter().map(|token| token.kind).collect();
        use Kind::{Blob, Number, QuotedName, Symbol, Text, Word};
        assert_eq!(kinds, [Word, QuotedName, Text, Blob, Number, Symbol]);
    }

    #[test]
    fn names_lose_their_quotes() {
        let names: Vec<String> = words("a \"b\"\"c\" [d] `e``f` 'g''h'").iter().map(Token::unquoted).collect();
        assert_eq!(names, ["a", "b\"c", "d", "e`f", "g'h"]);
    }

    #[test]
    fn text_that_ends_in_a_token_is_read_to_its_end() {
        for sql in ["'a", "\"a", "[a", "/* a", "-- a", "x'a", "1e", "/*/", "'", "\"", "é'é"] {
            let end = words(sql).last().map(|token| token.span.end);
            assert!(end.is_none_or(|end| end == sql.len()), "{sql}");
        }
        assert_eq!(words("'").first().map(Token::unquoted), Some(String::new()));
        assert_eq!(texts("a--b\nc"), ["a", "c"]);
    }

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
