//! JSON objects. The values are the JSON text that the server has sent.

use std::io::{self, Write};

use sqlhttp_rqlite::client::{JsonText, ResultRows};

/// Writes an array of objects, with the keys in alphabetical order.
pub(super) fn write_array(out: &mut dyn Write, rows: &ResultRows<JsonText>) -> io::Result<()> {
    let mut order: Vec<usize> = (0..rows.columns.len()).collect();
    order.sort_by_key(|index| &rows.columns[*index]);
    let objects: Vec<String> = rows.rows.iter().map(|row| object(rows, row, &order, ",\n    ", ": ")).collect();
    if objects.is_empty() {
        return writeln!(out, "[]");
    }
    let objects: Vec<String> = objects.into_iter().map(|object| format!("  {{\n    {object}\n  }}")).collect();
    writeln!(out, "[\n{}\n]", objects.join(",\n"))
}

/// Writes an object per line, with the keys in the order of the columns.
pub(super) fn write_lines(out: &mut dyn Write, rows: &ResultRows<JsonText>) -> io::Result<()> {
    let order: Vec<usize> = (0..rows.columns.len()).collect();
    rows.rows.iter().try_for_each(|row| writeln!(out, "{{{}}}", object(rows, row, &order, ",", ":")))
}

/// Returns the fields of an object, without the braces.
fn object(rows: &ResultRows<JsonText>, row: &[JsonText], order: &[usize], between: &str, colon: &str) -> String {
    let field = |index: &usize| {
        let name = serde_json::Value::from(rows.columns[*index].as_str());
        format!("{name}{colon}{}", row[*index].0)
    };
    let fields: Vec<String> = order.iter().map(field).collect();
    fields.join(between)
}
