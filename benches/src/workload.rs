//! The workloads and their operations, independent of any protocol.
//!
//! There are two tables. `load_items` is filled once with rows numbered from 1 and then only read. The workloads insert
//! rows into `load_inserts`.

use std::fmt;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::random::Random;

/// The number of rows that an operation of kind [`OperationKind::Rows`] reads.
pub const ROWS_PER_QUERY: u64 = 1_000;
/// The number of rows that an operation of kind [`OperationKind::Batch`] inserts.
pub const INSERTS_PER_BATCH: u64 = 100;
/// The number of columns of `load_items`, the table that is read.
pub const COLUMNS: u64 = 4;

const CREATE_ITEMS: &str = "CREATE TABLE IF NOT EXISTS load_items \
     (id INTEGER PRIMARY KEY, name TEXT NOT NULL, amount REAL NOT NULL, note TEXT NOT NULL)";
const CREATE_INSERTS: &str =
    "CREATE TABLE IF NOT EXISTS load_inserts (id INTEGER PRIMARY KEY, name TEXT NOT NULL, amount REAL NOT NULL)";
const FILL: &str = "INSERT OR REPLACE INTO load_items (id, name, amount, note) VALUES (?, ?, ?, ?)";
const COUNT_ITEMS: &str = "SELECT count(*) AS n FROM load_items";
const COUNT_INSERTS: &str = "SELECT count(*) AS n FROM load_inserts";
const INSERT: &str = "INSERT INTO load_inserts (name, amount) VALUES (?, ?)";
const POINT: &str = "SELECT id, name, amount, note FROM load_items WHERE id = ?";
const ROWS: &str = "SELECT id, name, amount, note FROM load_items WHERE id > ? ORDER BY id LIMIT 1000";
const NOTE: &str = "a short note of forty characters, stored";

/// A workload: the operations that the connections send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
#[value(rename_all = "lower")]
pub enum Workload {
    /// Each request inserts one row, with parameters.
    Insert,
    /// Each request reads one row by its primary key, chosen at random.
    Point,
    /// Each request reads 1,000 consecutive rows of 4 columns, starting at a random row.
    Rows1000,
    /// Each request executes 100 INSERT statements in one transaction.
    Batch100,
    /// A request is a point read or, with a fixed probability, the insert of one row.
    Mixed,
    /// Each request queues the insert of one row and is acknowledged before the insert is executed.
    Queued,
}

/// A kind of operation. Responses and latencies are counted separately for each kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OperationKind {
    /// One row is inserted. See [`Workload::Insert`].
    Insert,
    /// One row is read. See [`Workload::Point`].
    Point,
    /// 1,000 rows are read. See [`Workload::Rows1000`].
    Rows,
    /// 100 rows are inserted. See [`Workload::Batch100`].
    Batch,
    /// The insert of one row is queued. See [`Workload::Queued`].
    Queued,
}

/// The content of one request, independent of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Inserts a row into `load_inserts`, with values derived from this number.
    Insert(u64),
    /// Reads the row of `load_items` with this id.
    Point(u64),
    /// Reads the 1,000 rows of `load_items` after this id.
    RowsAfter(u64),
    /// Inserts 100 rows into `load_inserts`, with values derived from this number and its successors.
    Batch(u64),
    /// Queues the insert of a row into `load_inserts`, with values derived from this number.
    Queued(u64),
    /// Waits until all queued inserts have been executed.
    Flush,
    /// Creates the tables unless they exist.
    CreateTables,
    /// Writes the rows of `load_items` whose ids are in the range from `first` to `last`.
    Fill {
        /// The id of the first row.
        first: u64,
        /// The id of the last row.
        last: u64,
    },
    /// Counts the rows of `load_items`.
    CountItems,
    /// Counts the rows of `load_inserts`.
    CountInserts,
}

/// One SQL statement of a request.
#[derive(Debug, Clone, Copy)]
pub struct Statement<'a> {
    /// The SQL text. It contains no characters that must be escaped in JSON.
    pub sql: &'static str,
    /// Whether the statement is a query, so that its rows are returned.
    pub reads: bool,
    /// The values of the statement's parameters, in order.
    pub params: &'a [Param],
}

/// The value of one parameter of a statement.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Param {
    /// An integer.
    Integer(u64),
    /// The string `name-`, followed by the number with at least eight digits.
    Name(u64),
    /// A hundredth of the number, written as a decimal fraction.
    Hundredths(u64),
    /// A fixed string.
    Text(&'static str),
}

/// The result of an operation: the facts that the responses of all protocols contain.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OperationResult {
    /// The number of returned rows, over all statements.
    pub rows: u64,
    /// The maximum number of columns in the result of a statement.
    pub columns: u64,
    /// The number of changed rows, over all statements.
    pub changed: u64,
    /// The first value of the first returned row. `None` if no row was returned, or if the value is not a non-negative
    /// integer.
    pub first: Option<u64>,
}

impl Workload {
    /// Returns the name of the workload on the command line and in reports.
    pub fn name(self) -> &'static str {
        match self {
            Workload::Insert => "insert",
            Workload::Point => "point",
            Workload::Rows1000 => "rows1000",
            Workload::Batch100 => "batch100",
            Workload::Mixed => "mixed",
            Workload::Queued => "queued",
        }
    }

    /// Returns the kinds of operations in the workload.
    pub fn kinds(self) -> &'static [OperationKind] {
        match self {
            Workload::Insert => &[OperationKind::Insert],
            Workload::Point => &[OperationKind::Point],
            Workload::Rows1000 => &[OperationKind::Rows],
            Workload::Batch100 => &[OperationKind::Batch],
            Workload::Mixed => &[OperationKind::Point, OperationKind::Insert],
            Workload::Queued => &[OperationKind::Queued],
        }
    }

    /// Returns the kind of the next operation. `write_percent` is the percentage of inserts in the mixed workload.
    pub fn next_kind(self, write_percent: u8, random: &mut Random) -> OperationKind {
        match self {
            Workload::Insert => OperationKind::Insert,
            Workload::Point => OperationKind::Point,
            Workload::Rows1000 => OperationKind::Rows,
            Workload::Batch100 => OperationKind::Batch,
            Workload::Mixed if random.below(100) < u64::from(write_percent) => OperationKind::Insert,
            Workload::Mixed => OperationKind::Point,
            Workload::Queued => OperationKind::Queued,
        }
    }
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl OperationKind {
    /// All kinds of operations. The position of a kind in this array is its [`OperationKind::index`].
    pub const ALL: [OperationKind; 5] =
        [OperationKind::Insert, OperationKind::Point, OperationKind::Rows, OperationKind::Batch, OperationKind::Queued];

    /// Returns the position of the kind in [`OperationKind::ALL`].
    pub fn index(self) -> usize {
        self as usize
    }

    /// Returns the name of the kind in reports.
    pub fn name(self) -> &'static str {
        match self {
            OperationKind::Insert => "insert",
            OperationKind::Point => "point",
            OperationKind::Rows => "rows1000",
            OperationKind::Batch => "batch100",
            OperationKind::Queued => "queued",
        }
    }

    /// Returns the number of rows that an operation of this kind adds to `load_inserts`.
    pub fn rows_written(self) -> u64 {
        match self {
            OperationKind::Insert | OperationKind::Queued => 1,
            OperationKind::Batch => INSERTS_PER_BATCH,
            OperationKind::Point | OperationKind::Rows => 0,
        }
    }

    /// Returns a random operation of this kind on a table of `items` rows.
    pub fn operation(self, items: u64, random: &mut Random) -> Operation {
        match self {
            OperationKind::Insert => Operation::Insert(random.below(100_000_000)),
            OperationKind::Point => Operation::Point(1 + random.below(items)),
            OperationKind::Rows => Operation::RowsAfter(random.below(items.saturating_sub(ROWS_PER_QUERY) + 1)),
            OperationKind::Batch => Operation::Batch(random.below(90_000_000)),
            OperationKind::Queued => Operation::Queued(random.below(100_000_000)),
        }
    }
}

impl Operation {
    /// Calls `visit` with each statement of the operation, in order.
    pub fn for_each_statement(&self, visit: &mut dyn FnMut(Statement<'_>)) {
        let mut write = |sql, params: &[Param]| visit(Statement { sql, reads: false, params });
        match *self {
            Operation::Insert(n) | Operation::Queued(n) => write(INSERT, &insert_params(n)),
            Operation::Flush => {}
            Operation::Batch(first) => {
                (first..first + INSERTS_PER_BATCH).for_each(|n| write(INSERT, &insert_params(n)))
            }
            Operation::Fill { first, last } => (first..=last).for_each(|id| write(FILL, &fill_params(id))),
            Operation::CreateTables => [CREATE_ITEMS, CREATE_INSERTS].into_iter().for_each(|sql| write(sql, &[])),
            Operation::Point(id) => visit(Statement { sql: POINT, reads: true, params: &[Param::Integer(id)] }),
            Operation::RowsAfter(id) => visit(Statement { sql: ROWS, reads: true, params: &[Param::Integer(id)] }),
            Operation::CountItems => visit(Statement { sql: COUNT_ITEMS, reads: true, params: &[] }),
            Operation::CountInserts => visit(Statement { sql: COUNT_INSERTS, reads: true, params: &[] }),
        }
    }

    /// Returns whether the operation contains a statement that writes.
    pub fn writes(&self) -> bool {
        let mut writes = false;
        self.for_each_statement(&mut |statement| writes |= !statement.reads);
        writes
    }

    /// Returns the result that a correct server returns for this operation.
    pub fn expected_result(&self) -> OperationResult {
        let read = |rows, columns| OperationResult { rows, columns, ..OperationResult::default() };
        let changed = |changed| OperationResult { changed, ..OperationResult::default() };
        match *self {
            Operation::Insert(_) => changed(1),
            Operation::Batch(_) => changed(INSERTS_PER_BATCH),
            Operation::Fill { first, last } => changed((last + 1).saturating_sub(first)),
            Operation::CreateTables | Operation::Queued(_) | Operation::Flush => changed(0),
            Operation::Point(id) => OperationResult { first: Some(id), ..read(1, COLUMNS) },
            Operation::RowsAfter(id) => OperationResult { first: Some(id + 1), ..read(ROWS_PER_QUERY, COLUMNS) },
            Operation::CountItems | Operation::CountInserts => read(1, 1),
        }
    }
}

fn insert_params(n: u64) -> [Param; 2] {
    [Param::Name(n), Param::Hundredths(n)]
}

fn fill_params(id: u64) -> [Param; 4] {
    [Param::Integer(id), Param::Name(id), Param::Hundredths(id), Param::Text(NOTE)]
}

impl Param {
    /// Appends the value to `out` as JSON.
    pub fn write_json(&self, out: &mut Vec<u8>) {
        match *self {
            Param::Integer(n) => out.extend_from_slice(itoa::Buffer::new().format(n).as_bytes()),
            Param::Name(n) => {
                out.extend_from_slice(b"\"name-");
                write_padded(n, 8, out);
                out.push(b'"');
            }
            Param::Hundredths(n) => {
                out.extend_from_slice(itoa::Buffer::new().format(n / 100).as_bytes());
                out.push(b'.');
                write_padded(n % 100, 2, out);
            }
            Param::Text(text) => {
                out.push(b'"');
                out.extend_from_slice(text.as_bytes());
                out.push(b'"');
            }
        }
    }
}

fn write_padded(n: u64, width: usize, out: &mut Vec<u8>) {
    let mut buffer = itoa::Buffer::new();
    let digits = buffer.format(n).as_bytes();
    out.extend(std::iter::repeat_n(b'0', width.saturating_sub(digits.len())));
    out.extend_from_slice(digits);
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLES: [Operation; 10] = [
        Operation::Queued(1),
        Operation::Flush,
        Operation::Insert(1),
        Operation::Point(1),
        Operation::RowsAfter(0),
        Operation::Batch(5),
        Operation::CreateTables,
        Operation::Fill { first: 1, last: 3 },
        Operation::CountItems,
        Operation::CountInserts,
    ];

    fn json(param: Param) -> String {
        let mut out = Vec::new();
        param.write_json(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn reports_and_the_command_line_use_the_same_names() {
        for workload in Workload::value_variants() {
            assert_eq!(Workload::from_str(workload.name(), false), Ok(*workload));
            assert_eq!(serde_json::to_value(workload).unwrap(), workload.name());
        }
    }

    #[test]
    fn the_index_of_a_kind_is_its_position() {
        for (index, kind) in OperationKind::ALL.into_iter().enumerate() {
            assert_eq!(kind.index(), index);
        }
    }

    #[test]
    fn texts_need_no_escaping() {
        for operation in SAMPLES {
            operation.for_each_statement(&mut |statement| {
                let quoted = serde_json::to_string(statement.sql).unwrap();
                assert_eq!(quoted, format!("\"{}\"", statement.sql));
                for param in statement.params {
                    assert!(serde_json::from_str::<serde_json::Value>(&json(*param)).is_ok(), "{param:?}");
                }
            });
        }
    }

    #[test]
    fn parameters_as_json() {
        assert_eq!(json(Param::Integer(42)), "42");
        assert_eq!(json(Param::Name(42)), "\"name-00000042\"");
        assert_eq!(json(Param::Hundredths(5)), "0.05");
        assert_eq!(json(Param::Hundredths(123_456)), "1234.56");
        assert_eq!(json(Param::Text("x")), "\"x\"");
    }

    #[test]
    fn every_placeholder_has_a_parameter() {
        for operation in SAMPLES {
            operation.for_each_statement(&mut |statement| {
                assert_eq!(statement.sql.matches('?').count(), statement.params.len(), "{}", statement.sql)
            });
        }
    }

    #[test]
    fn expected_results_match_the_operations() {
        let mut statements = 0;
        Operation::Batch(7).for_each_statement(&mut |_| statements += 1);
        assert_eq!(statements, INSERTS_PER_BATCH);
        assert_eq!(Operation::Batch(7).expected_result().changed, OperationKind::Batch.rows_written());
        assert!(ROWS.ends_with(&format!("LIMIT {ROWS_PER_QUERY}")));
        assert_eq!(Operation::Fill { first: 1, last: 3 }.expected_result().changed, 3);
        assert!(Operation::Batch(0).writes() && !Operation::Point(1).writes());
    }

    #[test]
    fn random_operations_stay_inside_the_table() {
        let mut random = Random::new(3);
        for _ in 0..10_000 {
            let Operation::Point(id) = OperationKind::Point.operation(2_000, &mut random) else { unreachable!() };
            assert!((1..=2_000).contains(&id));
            let Operation::RowsAfter(id) = OperationKind::Rows.operation(2_000, &mut random) else { unreachable!() };
            assert!(id <= 1_000);
        }
    }

    #[test]
    fn the_share_of_writes_in_the_mix_is_about_the_given_one() {
        let mut random = Random::new(9);
        let is_insert = |_: &u32| Workload::Mixed.next_kind(10, &mut random) == OperationKind::Insert;
        let inserts = (0..10_000).filter(is_insert).count();
        assert!((800..1_200).contains(&inserts), "{inserts}");
    }
}
