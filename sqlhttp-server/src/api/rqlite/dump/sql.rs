//! SQL text for dumps: functions that write names and literals, and functions that parse the text of a stored CREATE
//! statement for the few properties that SQLite shows nowhere else.

use sqlhttp_core::ValueRef;

/// Returns a name as a quoted SQL identifier.
pub(crate) fn quoted_name(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Returns a string as an SQL string literal.
pub(crate) fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// Returns the SQL expression that selects a column in the form that [`write_value`] expects. SQLite formats the REAL
/// values, because the text that it writes is read back as the same number. The first byte of a TEXT result marks what
/// it was made from: a REAL value (`r`) or a TEXT value (`t`).
pub(crate) fn select_expression(column: &str) -> String {
    let column = quoted_name(column);
    format!(
        "CASE typeof({column}) WHEN 'real' THEN 'r'||quote({column}) WHEN 'text' THEN 't'||{column} ELSE {column} END"
    )
}

/// Appends the SQL literal of a value that was selected with [`select_expression`]. The literal is the same as the
/// result of `quote()`, with one exception: a TEXT value with a NUL or with invalid UTF-8 is written as a BLOB that is
/// cast to TEXT.
pub(crate) fn write_value(out: &mut Vec<u8>, value: ValueRef<'_>) {
    match value {
        ValueRef::Null => out.extend_from_slice(b"NULL"),
        ValueRef::Integer(integer) => out.extend_from_slice(integer.to_string().as_bytes()),
        // Not reached, because `select_expression` converts REAL values to TEXT.
        ValueRef::Real(real) => out.extend_from_slice(format!("{real:?}").as_bytes()),
        ValueRef::Blob(bytes) => write_blob(out, bytes),
        ValueRef::Text([b'r', real @ ..]) => out.extend_from_slice(real),
        ValueRef::Text(tagged) => write_text(out, tagged.get(1..).unwrap_or_default()),
    }
}

fn write_text(out: &mut Vec<u8>, text: &[u8]) {
    if text.contains(&0) || std::str::from_utf8(text).is_err() {
        out.extend_from_slice(b"CAST(");
        write_blob(out, text);
        out.extend_from_slice(b" AS TEXT)");
        return;
    }
    out.push(b'\'');
    for (index, part) in text.split(|byte| *byte == b'\'').enumerate() {
        if index > 0 {
            out.extend_from_slice(b"''");
        }
        out.extend_from_slice(part);
    }
    out.push(b'\'');
}

fn write_blob(out: &mut Vec<u8>, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    out.reserve(2 * bytes.len() + 3);
    out.extend_from_slice(b"X'");
    out.extend(bytes.iter().flat_map(|byte| [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]));
    out.push(b'\'');
}

/// Returns the characters that end a stored CREATE statement in a dump. If the statement ends with an open comment,
/// they close the comment first, so that the semicolon is not part of it.
pub(crate) fn terminator(sql: &str) -> &'static str {
    match Tokens(sql).last() {
        Some(Token::LineComment) => "\n;",
        Some(Token::OpenComment) => "*/;",
        _ => ";",
    }
}

/// Returns whether a stored CREATE TABLE statement contains the keyword AUTOINCREMENT. An unquoted AUTOINCREMENT is
/// always the keyword, because it cannot be a name.
pub(crate) fn is_autoincrement(sql: &str) -> bool {
    Tokens(sql).any(|token| matches!(token, Token::Word(word) if word.eq_ignore_ascii_case("AUTOINCREMENT")))
}

/// Returns the module name in a stored CREATE VIRTUAL TABLE statement, in lower case; empty if there is none.
pub(crate) fn module_name(sql: &str) -> String {
    let mut tokens = Tokens(sql).filter(|token| matches!(token, Token::Word(_) | Token::Quoted(_)));
    // An unquoted USING is always the keyword, because it cannot be a name.
    let using = |token: &Token<'_>| matches!(token, Token::Word(word) if word.eq_ignore_ascii_case("USING"));
    match tokens.by_ref().skip_while(|token| !using(token)).nth(1) {
        Some(Token::Word(module)) => module.to_ascii_lowercase(),
        Some(Token::Quoted(module)) => module[1..].trim_end_matches(['"', '\'', '`', ']']).to_ascii_lowercase(),
        _ => String::new(),
    }
}

/// A token of SQL text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token<'s> {
    /// A keyword, an unquoted identifier or a number.
    Word(&'s str),
    /// A string literal or a quoted identifier, including the quotes.
    Quoted(&'s str),
    /// A comment that ends before the end of the SQL text.
    Comment,
    /// A comment that begins with `--` and extends to the end of the SQL text. A line feed would end it.
    LineComment,
    /// A comment that begins with `/*` and extends to the end of the SQL text. `*/` would end it.
    OpenComment,
    /// One character of an operator or of white space.
    Other,
}

/// An iterator over the tokens of SQL text that SQLite has accepted (<https://sqlite.org/lang_comment.html>,
/// <https://sqlite.org/lang_keywords.html>).
struct Tokens<'s>(&'s str);

impl<'s> Tokens<'s> {
    fn take(&mut self, len: usize) -> &'s str {
        let (head, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        head
    }
}

impl<'s> Iterator for Tokens<'s> {
    type Item = Token<'s>;

    fn next(&mut self) -> Option<Token<'s>> {
        let first = self.0.chars().next()?;
        if let Some(comment) = self.0.strip_prefix("--") {
            let end = comment.find('\n');
            self.take(end.map_or(usize::MAX, |end| end + 3));
            return Some(if end.is_some() { Token::Comment } else { Token::LineComment });
        }
        if let Some(comment) = self.0.strip_prefix("/*") {
            let end = comment.find("*/");
            self.take(end.map_or(usize::MAX, |end| end + 4));
            return Some(if end.is_some() { Token::Comment } else { Token::OpenComment });
        }
        Some(match first {
            '\'' | '"' | '`' => Token::Quoted(self.take(quoted_len(self.0, first))),
            '[' => Token::Quoted(self.take(self.0.find(']').map_or(usize::MAX, |end| end + 1))),
            _ if is_word(first) => Token::Word(self.take(self.0.find(|letter| !is_word(letter)).unwrap_or(usize::MAX))),
            _ => {
                self.take(first.len_utf8());
                Token::Other
            }
        })
    }
}

fn is_word(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || matches!(letter, '_' | '$') || !letter.is_ascii()
}

/// Returns the length in bytes, including the quotes, of the string literal or quoted identifier at the beginning of
/// `text`. Inside it, two quotes in a row stand for one quote.
fn quoted_len(text: &str, quote: char) -> usize {
    let mut at = 1;
    while let Some(found) = text[at..].find(quote) {
        at += found + 1;
        if !text[at..].starts_with(quote) {
            return at;
        }
        at += 1;
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_at_the_end() {
        for (sql, end) in [
            ("CREATE VIEW v AS SELECT 1", ";"),
            ("CREATE VIEW v AS SELECT 1 -- note", "\n;"),
            ("CREATE VIEW v AS SELECT 1 -- note\n", ";"),
            ("CREATE VIEW v AS SELECT 1 -- /*", "\n;"),
            ("CREATE VIEW v AS SELECT 1 /* -- note", "*/;"),
            ("CREATE VIEW v AS SELECT 1 /* note */", ";"),
            ("CREATE VIEW v AS SELECT '-- no note'", ";"),
            ("CREATE VIEW v AS SELECT 'it''s -- no note'", ";"),
            ("CREATE VIEW v AS SELECT \"-- no\", `-- no`, [-- no]", ";"),
            ("CREATE VIEW v AS SELECT 2 - -1 AS \u{e9}", ";"),
            ("", ";"),
        ] {
            assert_eq!(terminator(sql), end, "{sql}");
        }
    }

    #[test]
    fn keywords() {
        assert!(is_autoincrement("CREATE TABLE t(a INTEGER PRIMARY KEY autoincrement)"));
        for sql in ["CREATE TABLE t(\"AUTOINCREMENT\")", "CREATE TABLE t(a /* AUTOINCREMENT */)", "CREATE TABLE t(a)"] {
            assert!(!is_autoincrement(sql), "{sql}");
        }
    }

    #[test]
    fn modules() {
        for (sql, want) in [
            ("CREATE VIRTUAL TABLE f USING fts5(a)", "fts5"),
            ("CREATE VIRTUAL TABLE IF NOT EXISTS \"using\" using -- c\n /**/ RTree(a,b,c)", "rtree"),
            ("CREATE VIRTUAL TABLE x USING \"fts4\"", "fts4"),
            ("CREATE TABLE t(a)", ""),
        ] {
            assert_eq!(module_name(sql), want, "{sql}");
        }
    }

    #[test]
    fn values() {
        let written = |value| {
            let mut out = Vec::new();
            write_value(&mut out, value);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(written(ValueRef::Text(b"tit's")), "'it''s'");
        assert_eq!(written(ValueRef::Text(b"t''")), "''''''");
        assert_eq!(written(ValueRef::Text(b"t")), "''");
        assert_eq!(written(ValueRef::Text(b"ta\0b")), "CAST(X'610062' AS TEXT)");
        assert_eq!(written(ValueRef::Text(b"t\xff")), "CAST(X'FF' AS TEXT)");
        assert_eq!(written(ValueRef::Text(b"r1.5")), "1.5");
        assert_eq!(written(ValueRef::Blob(b"\x00\xff")), "X'00FF'");
        assert_eq!(written(ValueRef::Integer(i64::MIN)), "-9223372036854775808");
        assert_eq!(written(ValueRef::Null), "NULL");
    }
}
