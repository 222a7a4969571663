//! Writes the rows of a result in the formats of `.mode`.

mod csv;
mod json;
mod line;
mod markup;
mod table;

use std::borrow::Cow;
use std::io::{self, Write};

use sqlhttp_rqlite::client::JsonText;

/// Writes the rows of one result. Only [`table::Table`] holds rows in memory, and only the first ones.
pub(crate) trait Printer {
    /// Begins the result.
    ///
    /// # Errors
    /// Writing fails.
    fn begin(&mut self, out: &mut dyn Write, columns: &[String]) -> io::Result<()>;

    /// Writes a row.
    ///
    /// # Errors
    /// Writing fails.
    fn row(&mut self, out: &mut dyn Write, row: Vec<JsonText>) -> io::Result<()>;

    /// Ends the result.
    ///
    /// # Errors
    /// Writing fails.
    fn end(&mut self, _out: &mut dyn Write) -> io::Result<()> {
        Ok(())
    }
}

/// The format of results.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub(crate) enum Mode {
    /// A table with borders
    #[default]
    #[value(alias = "table")]
    Column,
    /// Comma-separated values with a header (RFC 4180)
    Csv,
    /// Values separated by tabs, with a header
    #[value(alias = "tabs")]
    Tsv,
    /// A JSON array of objects
    Json,
    /// A JSON object per line
    Jsonl,
    /// A line `name = value` per value
    Line,
    /// A Markdown table
    Markdown,
    /// The rows of an HTML table
    Html,
    /// An INSERT statement per row
    Insert,
}

impl Mode {
    /// All modes, in the order in which messages list them.
    #[rustfmt::skip]
    pub(crate) const ALL: [Mode; 9] = [
        Mode::Column, Mode::Csv, Mode::Json, Mode::Line, Mode::Jsonl, Mode::Tsv, Mode::Markdown, Mode::Html, Mode::Insert,
    ];

    /// The name of the mode.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Mode::Column => "column",
            Mode::Csv => "csv",
            Mode::Tsv => "tsv",
            Mode::Json => "json",
            Mode::Jsonl => "jsonl",
            Mode::Line => "line",
            Mode::Markdown => "markdown",
            Mode::Html => "html",
            Mode::Insert => "insert",
        }
    }

    /// Returns the mode with this name.
    pub(crate) fn parse(name: &str) -> Option<Mode> {
        <Mode as clap::ValueEnum>::from_str(name, false).ok()
    }

    /// Whether messages such as `1 row affected` may stand between the results. In the other modes, another program
    /// reads the results.
    pub(crate) fn is_for_people(self) -> bool {
        matches!(self, Mode::Column | Mode::Line)
    }

    /// Creates the writer of a result.
    pub(crate) fn printer(self) -> Box<dyn Printer> {
        match self {
            Mode::Column => Box::new(table::Table::default()),
            Mode::Csv => Box::new(csv::Separated(',')),
            Mode::Tsv => Box::new(csv::Separated('\t')),
            Mode::Json => Box::new(json::Array::default()),
            Mode::Jsonl => Box::new(json::Lines::default()),
            Mode::Line => Box::new(line::Line::default()),
            Mode::Markdown => Box::new(markup::Markdown),
            Mode::Html => Box::new(markup::Html),
            Mode::Insert => Box::new(markup::Insert),
        }
    }
}

/// Returns the text of a value. A string is shown without quotes, a number exactly as the server has written it, and
/// NULL as `null`.
fn text(value: &JsonText, null: &str) -> String {
    match value.0.as_bytes().first() {
        Some(b'"') => serde_json::from_str(&value.0).unwrap_or_else(|_| value.0.clone()),
        Some(b'n') => null.to_owned(),
        _ => value.0.clone(),
    }
}

/// Returns a text with control characters as `^[`, so that a value cannot control the terminal. Line feeds and tabs
/// stay as they are.
pub(crate) fn visible(text: &str) -> Cow<'_, str> {
    let is_control = |c: char| c.is_control() && !matches!(c, '\n' | '\t');
    if !text.contains(is_control) {
        return Cow::Borrowed(text);
    }
    let shown = |c: char| match u8::try_from(c) {
        Ok(byte) if is_control(c) && byte < 0x80 => format!("^{}", char::from(byte ^ 0x40)),
        _ if is_control(c) => format!("\\u{{{:x}}}", u32::from(c)),
        _ => c.to_string(),
    };
    Cow::Owned(text.chars().map(shown).collect())
}

#[cfg(test)]
mod tests {
    use sqlhttp_rqlite::client::{StatementResult, decode_reply_as};

    use super::*;

    /// Returns what a mode writes for a result with two rows, and for one without rows.
    fn written(mode: Mode) -> String {
        let reply = br#"{"results":[
            {"columns":["id","name"],"types":["integer","text"],"values":[[1,"fi\"o,na"],[2.50,null],[1e21,"a|<b>"]]},
            {"columns":["id"],"types":["integer"]}]}"#;
        let mut out = Vec::new();
        for result in decode_reply_as(200, reply).unwrap().results {
            let StatementResult::Rows(rows) = result else { panic!("{result:?}") };
            let mut printer = mode.printer();
            printer.begin(&mut out, &rows.columns).unwrap();
            rows.rows.into_iter().for_each(|row| printer.row(&mut out, row).unwrap());
            printer.end(&mut out).unwrap();
        }
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn each_mode_has_its_format() {
        assert_eq!(
            written(Mode::Column),
            "+------+---------+\n| id   | name    |\n+------+---------+\n| 1    | fi\"o,na |\n+------+---------+\n\
             | 2.50 | <nil>   |\n+------+---------+\n| 1e21 | a|<b>   |\n+------+---------+\n\
             +----+\n| id |\n+----+\n"
        );
        assert_eq!(written(Mode::Csv), "id,name\n1,\"fi\"\"o,na\"\n2.50,NULL\n1e21,a|<b>\nid\n");
        assert_eq!(written(Mode::Tsv), "id\tname\n1\t\"fi\"\"o,na\"\n2.50\tNULL\n1e21\ta|<b>\nid\n");
        assert_eq!(
            written(Mode::Json),
            "[\n  {\n    \"id\": 1,\n    \"name\": \"fi\\\"o,na\"\n  },\n  {\n    \"id\": 2.50,\n    \"name\": null\n  },\n  \
             {\n    \"id\": 1e21,\n    \"name\": \"a|<b>\"\n  }\n]\n[]\n"
        );
        assert_eq!(
            written(Mode::Jsonl),
            "{\"id\":1,\"name\":\"fi\\\"o,na\"}\n{\"id\":2.50,\"name\":null}\n{\"id\":1e21,\"name\":\"a|<b>\"}\n"
        );
        assert_eq!(
            written(Mode::Line),
            "  id = 1\nname = fi\"o,na\n\n  id = 2.50\nname = NULL\n\n  id = 1e21\nname = a|<b>\n"
        );
        assert_eq!(
            written(Mode::Markdown),
            "| id | name |\n|---|---|\n| 1 | fi\"o,na |\n| 2.50 | NULL |\n| 1e21 | a\\|<b> |\n| id |\n|---|\n"
        );
        assert!(written(Mode::Html).contains("<TR><TD>1e21</TD>\n<TD>a|&lt;b&gt;</TD>\n</TR>\n"));
        assert_eq!(
            written(Mode::Insert),
            "INSERT INTO \"table\" VALUES(1,'fi\"o,na');\nINSERT INTO \"table\" VALUES(2.50,NULL);\n\
             INSERT INTO \"table\" VALUES(1e21,'a|<b>');\n"
        );
    }

    #[test]
    fn control_characters_are_visible() {
        assert_eq!(visible("a\x1b[31m\x07\x7f\u{9b}\r\n\tb"), "a^[[31m^G^?\\u{9b}^M\n\tb");
        assert!(matches!(visible("é\n"), Cow::Borrowed(_)));
    }

    #[test]
    fn cells_may_be_much_wider_than_others() {
        let mut printer = Mode::Column.printer();
        let mut out = Vec::new();
        printer.begin(&mut out, &["a".to_owned()]).unwrap();
        for length in [1, 100_000] {
            printer.row(&mut out, vec![JsonText(format!("\"{}\"", "x".repeat(length)))]).unwrap();
        }
        printer.end(&mut out).unwrap();
        assert_eq!(out.len(), 7 * (100_000 + "|  |\n".len()));
    }

    #[test]
    fn each_mode_is_found_by_its_name() {
        assert!(Mode::ALL.into_iter().all(|mode| Mode::parse(mode.name()) == Some(mode)));
        assert_eq!((Mode::parse("table"), Mode::parse("CSV")), (Some(Mode::Column), None));
    }
}
