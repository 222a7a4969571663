//! Writes the rows of a result in the formats of `.mode`.

mod csv;
mod json;
mod line;
mod markup;
mod table;

use std::io::{self, Write};

use sqlhttp_rqlite::client::{JsonText, ResultRows};

/// The format of results.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub(crate) enum Mode {
    /// A table with borders
    #[default]
    Column,
    /// Comma-separated values with a header (RFC 4180)
    Csv,
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
    pub(crate) const ALL: [Mode; 8] =
        [Mode::Column, Mode::Csv, Mode::Json, Mode::Line, Mode::Jsonl, Mode::Markdown, Mode::Html, Mode::Insert];

    /// The name of the mode.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Mode::Column => "column",
            Mode::Csv => "csv",
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
        if name == "table" {
            return Some(Mode::Column);
        }
        Mode::ALL.into_iter().find(|mode| mode.name() == name)
    }

    /// Whether messages such as `1 row affected` may stand between the results. In the other modes, another program
    /// reads the results.
    pub(crate) fn is_for_people(self) -> bool {
        matches!(self, Mode::Column | Mode::Line)
    }

    /// Writes the rows of a result.
    ///
    /// # Errors
    /// Writing fails.
    pub(crate) fn write(self, out: &mut dyn Write, rows: &ResultRows<JsonText>) -> io::Result<()> {
        match self {
            Mode::Column => table::write(out, rows),
            Mode::Csv => csv::write(out, rows),
            Mode::Json => json::write_array(out, rows),
            Mode::Jsonl => json::write_lines(out, rows),
            Mode::Line => line::write(out, rows),
            Mode::Markdown => markup::write_markdown(out, rows),
            Mode::Html => markup::write_html(out, rows),
            Mode::Insert => markup::write_insert(out, rows),
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
            let StatementResult::Rows(rows) = result else { panic!() };
            mode.write(&mut out, &rows).unwrap();
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
    fn each_mode_is_found_by_its_name() {
        assert!(Mode::ALL.into_iter().all(|mode| Mode::parse(mode.name()) == Some(mode)));
        assert_eq!((Mode::parse("table"), Mode::parse("x")), (Some(Mode::Column), None));
    }
}
