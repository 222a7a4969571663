//! Markdown, HTML and SQL.

use std::io::{self, Write};

use sqlhttp_rqlite::client::JsonText;

use super::{Printer, text};
use crate::sql;

/// Writes a Markdown table.
pub(super) struct Markdown;

/// Writes the rows of an HTML table, like the mode `html` of SQLite's shell: without the TABLE element.
pub(super) struct Html;

/// Writes an INSERT statement per row, like the mode `insert` of SQLite's shell.
pub(super) struct Insert;

impl Printer for Markdown {
    fn begin(&mut self, out: &mut dyn Write, columns: &[String]) -> io::Result<()> {
        write_markdown_row(out, columns.iter().cloned())?;
        writeln!(out, "{}|", "|---".repeat(columns.len()))
    }

    fn row(&mut self, out: &mut dyn Write, row: Vec<JsonText>) -> io::Result<()> {
        write_markdown_row(out, row.iter().map(|value| text(value, "NULL")))
    }
}

fn write_markdown_row(out: &mut dyn Write, cells: impl Iterator<Item = String>) -> io::Result<()> {
    let cells: Vec<String> = cells.map(|cell| cell.replace('|', "\\|").replace('\n', "<br>")).collect();
    writeln!(out, "| {} |", cells.join(" | "))
}

impl Printer for Html {
    fn begin(&mut self, out: &mut dyn Write, columns: &[String]) -> io::Result<()> {
        write_html_row(out, "TH", columns.iter().cloned())
    }

    fn row(&mut self, out: &mut dyn Write, row: Vec<JsonText>) -> io::Result<()> {
        write_html_row(out, "TD", row.iter().map(|value| text(value, "")))
    }
}

fn write_html_row(out: &mut dyn Write, element: &str, cells: impl Iterator<Item = String>) -> io::Result<()> {
    let escaped = |cell: String| {
        let cell = cell.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
        cell.replace('"', "&quot;").replace('\'', "&#39;")
    };
    let cells: String = cells.map(|cell| format!("<{element}>{}</{element}>\n", escaped(cell))).collect();
    writeln!(out, "<TR>{cells}</TR>")
}

impl Printer for Insert {
    fn begin(&mut self, _: &mut dyn Write, _: &[String]) -> io::Result<()> {
        Ok(())
    }

    fn row(&mut self, out: &mut dyn Write, row: Vec<JsonText>) -> io::Result<()> {
        let values: Vec<String> = row.iter().map(literal).collect();
        writeln!(out, "INSERT INTO \"table\" VALUES({});", values.join(","))
    }
}

/// Returns a value as an SQL literal. An array of bytes is a BLOB.
fn literal(value: &JsonText) -> String {
    match value.0.as_bytes().first() {
        Some(b'n') => "NULL".to_owned(),
        Some(b't') => "1".to_owned(),
        Some(b'f') => "0".to_owned(),
        Some(b'"') => format!("'{}'", text(value, "").replace('\'', "''")),
        Some(b'[') => match serde_json::from_str::<Vec<u8>>(&value.0) {
            Ok(bytes) => sql::blob_literal(&bytes),
            Err(_) => value.0.clone(),
        },
        _ => value.0.clone(),
    }
}
