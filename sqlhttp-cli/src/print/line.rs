//! A line `name = value` per value, and an empty line between rows.

use std::io::{self, Write};

use sqlhttp_rqlite::client::JsonText;
use unicode_width::UnicodeWidthStr as _;

use super::{Printer, text, visible};

#[derive(Default)]
pub(super) struct Line {
    /// The names of the columns, right-aligned.
    names: Vec<String>,
    rows: u64,
}

impl Printer for Line {
    fn begin(&mut self, _: &mut dyn Write, columns: &[String]) -> io::Result<()> {
        let width = columns.iter().map(|name| name.width()).max().unwrap_or(0);
        let blanks = |name: &String| " ".repeat(width - name.width());
        self.names = columns.iter().map(|name| blanks(name) + name).collect();
        Ok(())
    }

    fn row(&mut self, out: &mut dyn Write, row: Vec<JsonText>) -> io::Result<()> {
        if self.rows > 0 {
            writeln!(out)?;
        }
        self.rows += 1;
        self.names
            .iter()
            .zip(&row)
            .try_for_each(|(name, value)| writeln!(out, "{name} = {}", visible(&text(value, "NULL"))))
    }
}
