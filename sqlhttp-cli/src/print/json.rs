//! JSON objects. The values are the JSON text that the server has sent.

use std::io::{self, Write};

use sqlhttp_rqlite::client::JsonText;

use super::Printer;

/// Writes an array of objects, with the keys in alphabetical order.
#[derive(Default)]
pub(super) struct Array {
    keys: Keys,
    rows: u64,
}

/// Writes an object per line, with the keys in the order of the columns.
#[derive(Default)]
pub(super) struct Lines {
    keys: Keys,
}

/// The keys of the objects, as JSON text, with the positions of their values in a row.
#[derive(Default)]
struct Keys(Vec<(String, usize)>);

impl Printer for Array {
    fn begin(&mut self, _: &mut dyn Write, columns: &[String]) -> io::Result<()> {
        self.keys = Keys::new(columns);
        self.keys.0.sort_by(|(_, a), (_, b)| columns[*a].cmp(&columns[*b]));
        Ok(())
    }

    fn row(&mut self, out: &mut dyn Write, row: Vec<JsonText>) -> io::Result<()> {
        out.write_all(if self.rows == 0 { b"[\n  {\n    " } else { b",\n  {\n    " })?;
        self.rows += 1;
        self.keys.write(out, &row, ",\n    ", ": ")?;
        out.write_all(b"\n  }")
    }

    fn end(&mut self, out: &mut dyn Write) -> io::Result<()> {
        out.write_all(if self.rows == 0 { b"[]\n" } else { b"\n]\n" })
    }
}

impl Printer for Lines {
    fn begin(&mut self, _: &mut dyn Write, columns: &[String]) -> io::Result<()> {
        self.keys = Keys::new(columns);
        Ok(())
    }

    fn row(&mut self, out: &mut dyn Write, row: Vec<JsonText>) -> io::Result<()> {
        out.write_all(b"{")?;
        self.keys.write(out, &row, ",", ":")?;
        out.write_all(b"}\n")
    }
}

impl Keys {
    /// Returns the keys for columns. Of columns with the same name, the last one counts, as in rqlite's shell.
    fn new(columns: &[String]) -> Keys {
        let keys = columns.iter().enumerate().filter(|(index, name)| !columns[index + 1..].contains(name));
        Keys(keys.map(|(index, name)| (serde_json::Value::from(name.as_str()).to_string(), index)).collect())
    }

    /// Writes the fields of an object, without the braces.
    fn write(&self, out: &mut dyn Write, row: &[JsonText], between: &str, colon: &str) -> io::Result<()> {
        for (number, (key, index)) in self.0.iter().enumerate() {
            let separator = if number == 0 { "" } else { between };
            let value = row.get(*index).map_or("null", |value| value.0.as_str());
            write!(out, "{separator}{key}{colon}{value}")?;
        }
        Ok(())
    }
}
