//! A line `name = value` per value, and an empty line between rows.

use std::io::{self, Write};

use sqlhttp_rqlite::client::{JsonText, ResultRows};
use unicode_width::UnicodeWidthStr as _;

use super::text;

pub(super) fn write(out: &mut dyn Write, rows: &ResultRows<JsonText>) -> io::Result<()> {
    let width = rows.columns.iter().map(|name| name.width()).max().unwrap_or(0);
    for (number, row) in rows.rows.iter().enumerate() {
        if number > 0 {
            writeln!(out)?;
        }
        for (name, value) in rows.columns.iter().zip(row) {
            let blanks = width - name.width();
            writeln!(out, "{:blanks$}{name} = {}", "", text(value, "NULL"))?;
        }
    }
    Ok(())
}
