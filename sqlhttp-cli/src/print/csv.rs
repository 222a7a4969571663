//! Comma-separated values (RFC 4180), with `\n` at the end of a line.

use std::io::{self, Write};

use sqlhttp_rqlite::client::{JsonText, ResultRows};

use super::text;

pub(super) fn write(out: &mut dyn Write, rows: &ResultRows<JsonText>) -> io::Result<()> {
    write_row(out, rows.columns.iter().cloned())?;
    rows.rows.iter().try_for_each(|row| write_row(out, row.iter().map(|value| text(value, "NULL"))))
}

fn write_row(out: &mut dyn Write, cells: impl Iterator<Item = String>) -> io::Result<()> {
    let cells: Vec<String> = cells.map(quoted).collect();
    writeln!(out, "{}", cells.join(","))
}

fn quoted(cell: String) -> String {
    let special = |c: char| matches!(c, ',' | '"' | '\n' | '\r');
    if cell.contains(special) || cell.starts_with([' ', '\t']) {
        format!("\"{}\"", cell.replace('"', "\"\""))
    } else {
        cell
    }
}
