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
    JsonLines { reader: BufReader<R>, line: u64, text: Vec<u8> },
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
                return Records::JsonLines { reader: BufReader::new(file), line: 0, text: Vec::new() };
            }
            Format::Csv => b',',
            Format::Tsv => b'\t',
        };
        let mut builder = csv::ReaderBuilder::new();
        builder.delimiter(delimiter).has_headers(false).flexible(true);
        let reader = builder.from_reader(LineCounter::new(file));
        Records::Separated { reader, record: csv::StringRecord::new(), null }
    }

    /// Reads the next record; `None` at the end of the file.
    ///
    /// # Errors
    /// The file cannot be read, or the record is malformed.
    pub(crate) fn next(&mut self) -> Result<Option<Record>, RecordError> {
        match self {
            Records::Separated { reader, record, null } => {
                let found = reader.read_record(record);
                let begin = record.position().map_or(0, csv::Position::byte);
                let line = reader.get_mut().line_at(begin);
                if !found.map_err(|error| csv_error(line, &error))? {
                    return Ok(None);
                }
                let value = |text: &str| match null {
                    Some(null) if null == text => Value::Null,
                    _ => Value::Text(text.into()),
                };
                Ok(Some(Record { line, names: None, values: record.iter().map(value).collect() }))
            }
            Records::JsonLines { reader, line, text } => {
                if !next_line(reader, line, text)? {
                    return Ok(None);
                }
                let text = std::str::from_utf8(text).map_err(|error| at(*line, error.to_string()))?;
                let text = if *line == 1 { text.trim_start_matches('\u{feff}') } else { text };
                object(*line, text).map(Some)
            }
        }
    }

    /// Reads records and forgets them, also malformed ones.
    ///
    /// # Errors
    /// The file cannot be read.
    pub(crate) fn skip(&mut self, records: u64) -> Result<(), RecordError> {
        for _ in 0..records {
            match self.next() {
                Ok(None) => break,
                Err(error) if error.fatal => return Err(error),
                Ok(Some(_)) | Err(_) => {}
            }
        }
        Ok(())
    }
}

impl Record {
    /// Returns the record with as many values as there are columns. As in SQLite's shell, values that are missing are
    /// NULL.
    ///
    /// # Errors
    /// The record has too many values.
    pub(crate) fn with_columns(mut self, columns: usize) -> Result<Record, RecordError> {
        if self.values.len() > columns {
            return Err(at(self.line, format!("the record has {} values, not {columns}", self.values.len())));
        }
        self.values.resize(columns, Value::Null);
        Ok(self)
    }

    /// Returns the values of a header.
    pub(crate) fn texts(&self) -> Vec<String> {
        let text = |value: &Value| if let Value::Text(text) = value { text.to_string() } else { String::new() };
        self.values.iter().map(text).collect()
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

/// Returns the error of the CSV reader without the line that it names, because it does not count line feeds in quotes.
fn csv_error(line: u64, error: &csv::Error) -> RecordError {
    let why = match error.kind() {
        csv::ErrorKind::Utf8 { err, .. } => format!("value {} is not valid UTF-8", err.field() + 1),
        _ => error.to_string(),
    };
    RecordError { line, why, fatal: error.is_io_error() }
}

/// Reads the next line that is not blank. Returns whether there is one.
fn next_line(reader: &mut impl BufRead, line: &mut u64, text: &mut Vec<u8>) -> Result<bool, RecordError> {
    loop {
        text.clear();
        *line += 1;
        match reader.read_until(b'\n', text) {
            Ok(0) => return Ok(false),
            Ok(_) if text.trim_ascii().is_empty() => {}
            Ok(_) => return Ok(true),
            Err(error) => return Err(RecordError { fatal: true, ..at(*line, error.to_string()) }),
        }
    }
}

/// Returns the fields of a JSON object, in their order.
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

    fn read(format: Format, null: Option<&str>, text: &[u8]) -> Vec<Result<Record, String>> {
        let mut records = Records::new(format, text, null.map(str::to_owned));
        let next = || records.next().transpose().map(|read| read.map_err(|error| error.to_string()));
        std::iter::from_fn(next).collect()
    }

    fn text(text: &str) -> Value {
        Value::Text(text.into())
    }

    fn record(line: u64, values: Vec<Value>) -> Result<Record, String> {
        Ok(Record { line, names: None, values })
    }

    #[test]
    fn records_of_csv_and_tsv() {
        let csv = b"a,\"b\n,\"\"c\",NULL\n\"\",7\n";
        let expected =
            vec![record(1, vec![text("a"), text("b\n,\"c"), Value::Null]), record(3, vec![text(""), text("7")])];
        assert_eq!(read(Format::Csv, Some("NULL"), csv), expected);
        assert_eq!(read(Format::Tsv, None, b"a,b\tc\n"), [record(1, vec![text("a,b"), text("c")])]);
        let lines = read(Format::Csv, None, b"a\r\nb\n\nc\n");
        assert_eq!(lines.iter().map(|record| record.as_ref().unwrap().line).collect::<Vec<_>>(), [1, 2, 4]);
        let header = read(Format::Csv, None, "\u{feff}id,name\n".as_bytes());
        assert_eq!(header[0].as_ref().unwrap().texts(), ["id", "name"]);
    }

    #[test]
    fn objects() {
        let lines = b"\n{\"b\": [1, {}], \"a\": 1.5}\n{\"A\":9223372036854775807,\"c\":true,\"d\":null}\n";
        let names = |names: &[&str]| Some(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
        let expected = [
            Ok(Record { line: 2, names: names(&["b", "a"]), values: vec![text("[1, {}]"), Value::Real(1.5)] }),
            Ok(Record {
                line: 3,
                names: names(&["A", "c", "d"]),
                values: vec![Value::Integer(i64::MAX), Value::Integer(1), Value::Null],
            }),
        ];
        assert_eq!(read(Format::JsonLines, None, lines), expected);
    }

    #[test]
    fn malformed_records_name_their_line_and_do_not_end_the_file() {
        for (format, text, message) in [
            (Format::Csv, &b"\"\n\",b\nb,\xff\nc,d\n"[..], "line 3: value 2 is not valid UTF-8"),
            (Format::JsonLines, b"{}\n\n[1]\n{}", "line 3: not a JSON object: "),
            (Format::JsonLines, b"{}\n\n{\"a\":\"\xff\"}\n{}", "line 3: invalid utf-8"),
        ] {
            let read = read(format, None, text);
            assert_eq!(read.len(), 3, "{read:?}");
            assert!(read[1].as_ref().is_err_and(|why| why.starts_with(message)) && read[2].is_ok(), "{read:?}");
        }
    }

    #[test]
    fn columns_without_a_value_are_null() {
        let record = Record { line: 1, names: None, values: vec![Value::Integer(1)] };
        assert_eq!(record.clone().with_columns(2).unwrap().values, [Value::Integer(1), Value::Null]);
        assert_eq!(record.with_columns(0).unwrap_err().to_string(), "line 1: the record has 1 values, not 0");
    }

    #[test]
    fn malformed_records_are_skipped() {
        let mut records = Records::new(Format::JsonLines, &b"not JSON\n{\"a\":1}\n"[..], None);
        records.skip(1).unwrap();
        assert_eq!(records.next().unwrap().unwrap().values, [Value::Integer(1)]);
        records.skip(u64::MAX).unwrap();
    }
}
