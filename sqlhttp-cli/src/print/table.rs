//! A table with borders, as rqlite's shell prints it: a line after each row.

use std::io::{self, Write};

use sqlhttp_rqlite::client::{JsonText, ResultRows};
use unicode_width::UnicodeWidthStr as _;

use super::text;

/// The text of NULL in rqlite's tables.
const NULL: &str = "<nil>";

pub(super) fn write(out: &mut dyn Write, rows: &ResultRows<JsonText>) -> io::Result<()> {
    let cells: Vec<Vec<String>> =
        rows.rows.iter().map(|row| row.iter().map(|value| text(value, NULL)).collect()).collect();
    let mut widths: Vec<usize> = rows.columns.iter().map(|name| name.width()).collect();
    for row in &cells {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.width());
        }
    }
    let border: String = widths.iter().map(|width| format!("+{}", "-".repeat(width + 2))).collect();
    writeln!(out, "{border}+")?;
    for row in std::iter::once(&rows.columns).chain(&cells) {
        for (width, cell) in widths.iter().zip(row) {
            let blanks = width.saturating_sub(cell.width());
            write!(out, "| {cell}{:blanks$} ", "")?;
        }
        writeln!(out, "|\n{border}+")?;
    }
    Ok(())
}
