//! Markdown, HTML and SQL.

use std::io::{self, Write};

use sqlhttp_rqlite::client::{JsonText, ResultRows};

use super::text;

pub(super) fn write_markdown(out: &mut dyn Write, rows: &ResultRows<JsonText>) -> io::Result<()> {
    let escaped = |cell: &str| cell.replace('|', "\\|").replace('\n', "<br>");
    let line = |cells: Vec<String>| format!("| {} |", cells.join(" | "));
    writeln!(out, "{}", line(rows.columns.iter().map(|name| escaped(name)).collect()))?;
    writeln!(out, "{}|", "|---".repeat(rows.columns.len()))?;
    for row in &rows.rows {
        writeln!(out, "{}", line(row.iter().map(|value| escaped(&text(value, "NULL"))).collect()))?;
    }
    Ok(())
}

/// Writes the rows of an HTML table, like the mode `html` of SQLite's shell: without the TABLE element.
pub(super) fn write_html(out: &mut dyn Write, rows: &ResultRows<JsonText>) -> io::Result<()> {
    let escaped = |cell: &str| {
        let cell = cell.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
        cell.replace('"', "&quot;").replace('\'', "&#39;")
    };
    let names: String = rows.columns.iter().map(|name| format!("<TH>{}</TH>\n", escaped(name))).collect();
    writeln!(out, "<TR>{names}</TR>")?;
    for row in &rows.rows {
        let cells: String = row.iter().map(|value| format!("<TD>{}</TD>\n", escaped(&text(value, "")))).collect();
        writeln!(out, "<TR>{cells}</TR>")?;
    }
    Ok(())
}

/// Writes an INSERT statement per row, like the mode `insert` of SQLite's shell.
pub(super) fn write_insert(out: &mut dyn Write, rows: &ResultRows<JsonText>) -> io::Result<()> {
    for row in &rows.rows {
        let values: Vec<String> = row.iter().map(literal).collect();
        writeln!(out, "INSERT INTO \"table\" VALUES({});", values.join(","))?;
    }
    Ok(())
}

/// Returns a value as an SQL literal. An array of bytes is a BLOB.
fn literal(value: &JsonText) -> String {
    match value.0.as_bytes().first() {
        Some(b'n') => "NULL".to_owned(),
        Some(b't') => "1".to_owned(),
        Some(b'f') => "0".to_owned(),
        Some(b'"') => format!("'{}'", text(value, "").replace('\'', "''")),
        Some(b'[') => match serde_json::from_str::<Vec<u8>>(&value.0) {
            Ok(bytes) => format!("x'{}'", bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>()),
            Err(_) => value.0.clone(),
        },
        _ => value.0.clone(),
    }
}
