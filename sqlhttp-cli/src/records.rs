//! Reads the records of a file that is imported.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use serde_json::value::RawValue;
use sqlhttp_core::Value;
use sqlhttp_rqlite::client::Cell as _;

/// The format of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// Comma-separated values (RFC 4180).
    Csv,
    /// Values separated by tabs, otherwise like CSV.
    Tsv,
    /// A JSON object per line.
    JsonLines,
}

/// The values of a record.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Record {
    /// The number of the line on which the record begins, counted from 1.
    pub(crate) line: u64,
    /// The names of the columns of a JSON object. `None` for a CSV record, whose values have a fixed order.
    pub(crate) names: Option<Vec<String>>,
    pub(crate) values: Vec<Value>,
}

/// The error of a record.
#[derive(Debug, thiserror::Error)]
#[error("line {line}: {why}")]
pub(crate) struct RecordError {
    pub(crate) line: u64,
    pub(crate) why: String,
    /// Whether the records after it cannot be read.
    pub(crate) fatal: bool,
}

/// The records of a file.
pub(crate) enum Records<R> {
    Separated { reader: csv::Reader<LineCounter<R>>, record: csv::StringRecord, null: Option<String> },
    JsonLines { reader: BufReader<R>, line: u64, text: String },
}

impl Format {
    /// Returns the format that the extension of a file names. The default is CSV.
    ///
    /// # Errors
    /// The message for a file that contains one JSON document.
    pub(crate) fn of_file(file: &Path) -> Result<Format, String> {
        let extension = file.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
        match extension.to_ascii_lowercase().as_str() {
            "tsv" | "tab" => Ok(Format::Tsv),
            "jsonl" | "ndjson" => Ok(Format::JsonLines),
            "json" => {
                Err(format!("{}: a JSON array cannot be imported, only an object per line (--jsonl)", file.display()))
            }
            _ => Ok(Format::Csv),
        }
    }
}

impl<R: Read> Records<R> {
    /// Creates the reader of a file. `null` is the text that means NULL in CSV and TSV.
    pub(crate) fn new(format: Format, file: R, null: Option<String>) -> Records<R> {
        let delimiter = match format {
            Format::JsonLines => {
                return Records::JsonLines { reader: BufReader::new(file), line: 0, text: String::new() };
            }
            Format::Csv => b',',
            Format::Tsv => b'\t',
        };
        let mut builder = csv::ReaderBuilder::new();
        builder.delimiter(delimiter).has_headers(false).flexible(true);
        let reader = builder.from_reader(LineCounter::new(file));
        Records::Separated { reader, record: csv::StringRecord::new(), null }
    }

    /// Reads the next record, and returns the names that it contains: the fields of a CSV record, the keys of a JSON
    /// object. `None` at the end of the file.
    ///
    /// # Errors
    /// See [`Records::next`].
    pub(crate) fn names(&mut self) -> Result<Option<Vec<String>>, RecordError> {
        match self {
            Records::Separated { reader, record, .. } => {
                let found = reader.read_record(record).map_err(|error| csv_error(&error))?;
                Ok(found.then(|| record.iter().map(str::to_owned).collect()))
            }
            Records::JsonLines { .. } => Ok(self.next(0)?.and_then(|record| record.names)),
        }
    }

    /// Reads the next record; `None` at the end of the file. `columns` is the number of values of a CSV record.
    ///
    /// # Errors
    /// The file cannot be read, or the record is malformed or has too many values.
    pub(crate) fn next(&mut self, columns: usize) -> Result<Option<Record>, RecordError> {
        match self {
            Records::Separated { reader, record, null } => {
                if !reader.read_record(record).map_err(|error| csv_error(&error))? {
                    return Ok(None);
                }
                let begin = record.position().map_or(0, csv::Position::byte);
                let line = reader.get_mut().line_at(begin);
                if record.len() > columns {
                    return Err(at(line, format!("{} values for {columns} columns", record.len())));
                }
                let value = |text: &str| match null {
                    Some(null) if null == text => Value::Null,
                    _ => Value::Text(text.into()),
                };
                let mut values: Vec<Value> = record.iter().map(value).collect();
                // As SQLite's shell does.
                values.resize(columns, Value::Null);
                Ok(Some(Record { line, names: None, values }))
            }
            Records::JsonLines { reader, line, text } => {
                if !next_line(reader, line, text)? {
                    return Ok(None);
                }
                object(*line, text).map(Some)
            }
        }
    }
}

/// Counts the lines that a reader reads. The CSV reader does not count line feeds in quotes.
pub(crate) struct LineCounter<R> {
    reader: R,
    /// The number of bytes that have been read.
    position: u64,
    /// The positions of the line feeds that are read but not yet counted.
    line_feeds: VecDeque<u64>,
    counted: u64,
}

impl<R> LineCounter<R> {
    fn new(reader: R) -> LineCounter<R> {
        LineCounter { reader, position: 0, line_feeds: VecDeque::new(), counted: 0 }
    }

    /// Returns the number of the line of a record. The record begins at this position, or after line feeds that begin
    /// there. The positions of successive calls must not decrease.
    fn line_at(&mut self, mut position: u64) -> u64 {
        while let Some(line_feed) = self.line_feeds.front().filter(|line_feed| **line_feed <= position) {
            position += u64::from(*line_feed == position);
            self.line_feeds.pop_front();
            self.counted += 1;
        }
        self.counted + 1
    }
}

impl<R: Read> Read for LineCounter<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let length = self.reader.read(buffer)?;
        let line_feeds = memchr::memchr_iter(b'\n', &buffer[..length]);
        self.line_feeds.extend(line_feeds.map(|at| self.position + at as u64));
        self.position += length as u64;
        Ok(length)
    }
}

fn at(line: u64, why: impl Into<String>) -> RecordError {
    RecordError { line, why: why.into(), fatal: false }
}

fn csv_error(error: &csv::Error) -> RecordError {
    let line = error.position().map_or(0, csv::Position::line);
    RecordError { fatal: error.is_io_error(), ..at(line, error.to_string()) }
}

/// Reads the next line that is not blank. Returns whether there is one.
fn next_line(reader: &mut impl BufRead, line: &mut u64, text: &mut String) -> Result<bool, RecordError> {
    loop {
        text.clear();
        *line += 1;
        match reader.read_line(text) {
            Ok(0) => return Ok(false),
            Ok(_) if text.trim().is_empty() => {}
            Ok(_) => return Ok(true),
            Err(error) => return Err(RecordError { fatal: true, ..at(*line, error.to_string()) }),
        }
    }
}

/// The fields of a JSON object, in their order.
fn fields(line: u64, text: &str) -> Result<Vec<(String, &RawValue)>, RecordError> {
    struct Fields<'j>(Vec<(String, &'j RawValue)>);

    impl<'de> serde::Deserialize<'de> for Fields<'de> {
        fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            deserializer.deserialize_map(Fields(Vec::new()))
        }
    }

    impl<'de> serde::de::Visitor<'de> for Fields<'de> {
        type Value = Fields<'de>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("a JSON object")
        }

        fn visit_map<A: serde::de::MapAccess<'de>>(mut self, mut map: A) -> Result<Self, A::Error> {
            while let Some(field) = map.next_entry()? {
                self.0.push(field);
            }
            Ok(self)
        }
    }

    let parsed: Result<Fields<'_>, _> = serde_json::from_str(text);
    parsed.map(|fields| fields.0).map_err(|error| at(line, format!("not a JSON object: {error}")))
}

/// Returns the record of a JSON object. An array or an object in it becomes its JSON text.
fn object(line: u64, text: &str) -> Result<Record, RecordError> {
    let value = |name: &str, json: &str| match json.as_bytes().first() {
        Some(b'[' | b'{') => Ok(Value::Text(json.into())),
        _ => Value::from_json(json).map_err(|error| at(line, format!("'{name}': {error}"))),
    };
    let (mut names, mut values) = (Vec::new(), Vec::new());
    for (name, json) in fields(line, text)? {
        values.push(value(&name, json.get())?);
        names.push(name);
    }
    Ok(Record { line, names: Some(names), values })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(format: Format, null: Option<&str>, columns: usize, text: &str) -> Result<Vec<Record>, String> {
        let mut records = Records::new(format, text.as_bytes(), null.map(str::to_owned));
        let mut read = Vec::new();
        while let Some(record) = records.next(columns).map_err(|error| error.to_string())? {
            read.push(record);
        }
        Ok(read)
    }

    fn text(text: &str) -> Value {
        Value::Text(text.into())
    }

    fn record(line: u64, values: Vec<Value>) -> Record {
        Record { line, names: None, values }
    }

    #[test]
    fn records_of_csv_and_tsv() {
        let csv = "a,\"b\n,\"\"c\",NULL\r\n\"\",7\n";
        let expected = vec![
            record(1, vec![text("a"), text("b\n,\"c"), Value::Null]),
            record(3, vec![text(""), text("7"), Value::Null]),
        ];
        assert_eq!(read(Format::Csv, Some("NULL"), 3, csv), Ok(expected));
        assert_eq!(read(Format::Tsv, None, 2, "a,b\tc\n"), Ok(vec![record(1, vec![text("a,b"), text("c")])]));
        let lines = read(Format::Csv, None, 1, "a\r\nb\n\nc\n").unwrap();
        assert_eq!(lines.iter().map(|record| record.line).collect::<Vec<_>>(), [1, 2, 4]);
        let mut records = Records::new(Format::Csv, "\u{feff}id,name\n1,x\n".as_bytes(), None);
        assert_eq!(records.names().unwrap(), Some(vec!["id".to_owned(), "name".to_owned()]));
    }

    #[test]
    fn objects() {
        let lines = "\n{\"b\": [1, {}], \"a\": 1.5}\n{\"A\":9223372036854775807,\"c\":true,\"d\":null}\n";
        let names = |names: &[&str]| Some(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
        let expected = vec![
            Record { line: 2, names: names(&["b", "a"]), values: vec![text("[1, {}]"), Value::Real(1.5)] },
            Record {
                line: 3,
                names: names(&["A", "c", "d"]),
                values: vec![Value::Integer(i64::MAX), Value::Integer(1), Value::Null],
            },
        ];
        assert_eq!(read(Format::JsonLines, None, 0, lines), Ok(expected));
    }

    #[test]
    fn malformed_records_name_their_line() {
        for (format, columns, text, message) in [
            (Format::Csv, 1, "a\nb,c\n", "line 2: 2 values for 1 columns"),
            (Format::JsonLines, 0, "{}\n\n[1]", "line 3: not a JSON object: "),
            (Format::JsonLines, 0, "{\"a\":1,", "line 1: not a JSON object: "),
        ] {
            let refused = read(format, None, columns, text).unwrap_err();
            assert!(refused.starts_with(message), "{refused}");
        }
    }
}
