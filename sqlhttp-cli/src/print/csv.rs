//! Values with a separator between them (RFC 4180), with `\n` at the end of a line.

use std::io::{self, Write};

use sqlhttp_rqlite::client::JsonText;

use super::{Printer, text};

/// Contains the separator.
pub(super) struct Separated(pub(super) char);

impl Printer for Separated {
    fn begin(&mut self, out: &mut dyn Write, columns: &[String]) -> io::Result<()> {
        self.write_line(out, columns.iter().cloned())
    }

    fn row(&mut self, out: &mut dyn Write, row: Vec<JsonText>) -> io::Result<()> {
        self.write_line(out, row.iter().map(|value| text(value, "NULL")))
    }
}

impl Separated {
    fn write_line(&self, out: &mut dyn Write, cells: impl Iterator<Item = String>) -> io::Result<()> {
        let mut line = String::new();
        for (index, cell) in cells.enumerate() {
            if index > 0 {
                line.push(self.0);
            }
            line += &self.quoted(cell);
        }
        // Readers skip empty lines.
        out.write_all(if line.is_empty() { b"\"\"" } else { line.as_bytes() })?;
        out.write_all(b"\n")
    }

    fn quoted(&self, cell: String) -> String {
        let special = |c: char| c == self.0 || matches!(c, '"' | '\n' | '\r');
        if cell.contains(special) || cell.starts_with([' ', '\t']) {
            format!("\"{}\"", cell.replace('"', "\"\""))
        } else {
            cell
        }
    }
}
