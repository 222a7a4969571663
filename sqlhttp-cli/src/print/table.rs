//! A table with borders, as rqlite's shell prints it: a line after each row.

use std::io::{self, Write};

use sqlhttp_rqlite::client::JsonText;
use unicode_width::UnicodeWidthStr as _;

use super::{Printer, text, visible};

/// The text of NULL in rqlite's tables.
const NULL: &str = "<nil>";
/// The number of rows that determine the widths of the columns. A later row with a longer value is wider than the
/// table.
const MEASURED_ROWS_MAX: usize = 10_000;
/// The number of bytes of values after which no further rows are held.
const MEASURED_BYTES_MAX: usize = 16 << 20;

/// Holds the rows until the widths of the columns are known.
#[derive(Default)]
pub(super) struct Table {
    /// The header and the rows that are not written yet.
    held: Vec<Vec<String>>,
    held_bytes: usize,
    /// The widths of the columns, in columns of the terminal.
    widths: Vec<usize>,
    border: String,
}

impl Printer for Table {
    fn begin(&mut self, _: &mut dyn Write, columns: &[String]) -> io::Result<()> {
        self.held.push(columns.iter().map(|name| visible(name).into_owned()).collect());
        Ok(())
    }

    fn row(&mut self, out: &mut dyn Write, row: Vec<JsonText>) -> io::Result<()> {
        let cells: Vec<String> = row.iter().map(|value| visible(&text(value, NULL)).into_owned()).collect();
        if self.widths.is_empty() {
            self.held_bytes += cells.iter().map(String::len).sum::<usize>();
            self.held.push(cells);
            let full = self.held.len() > MEASURED_ROWS_MAX || self.held_bytes > MEASURED_BYTES_MAX;
            if full { self.write_held(out) } else { Ok(()) }
        } else {
            self.write_row(out, &cells)
        }
    }

    fn end(&mut self, out: &mut dyn Write) -> io::Result<()> {
        self.write_held(out)
    }
}

impl Table {
    fn write_held(&mut self, out: &mut dyn Write) -> io::Result<()> {
        let held = std::mem::take(&mut self.held);
        if let Some(header) = held.first() {
            let width = |index: usize| held.iter().map(|row| row[index].width()).max().unwrap_or(0);
            self.widths = (0..header.len()).map(width).collect();
            let border: String = self.widths.iter().map(|width| format!("+{}", "-".repeat(width + 2))).collect();
            self.border = border + "+";
            writeln!(out, "{}", self.border)?;
        }
        held.iter().try_for_each(|row| self.write_row(out, row))
    }

    fn write_row(&self, out: &mut dyn Write, cells: &[String]) -> io::Result<()> {
        for (width, cell) in self.widths.iter().zip(cells) {
            // The width of a format argument is limited.
            let blanks = " ".repeat(width.saturating_sub(cell.width()));
            write!(out, "| {cell}{blanks} ")?;
        }
        writeln!(out, "|\n{}", self.border)
    }
}
