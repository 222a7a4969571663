//! rqlite's protocol: a request is a JSON list of statements with their parameters, sent to `/db/execute` or
//! `/db/query`.

use clap::ValueEnum;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::Protocol;
use crate::workload::{Operation, OperationResult, Statement};

/// rqlite's protocol. A node has only one database, so requests do not contain a database name.
#[derive(Debug, Default)]
pub struct Rqlite {
    /// The consistency level of reads.
    pub level: ReadLevel,
}

/// The consistency level of reads (rqlite only).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum ReadLevel {
    /// The local state of the node
    None,
    /// The state of the node that considers itself the leader
    #[default]
    Weak,
    /// The state of the leader after a quorum has confirmed its leadership
    Linearizable,
    /// The state of the leader after a Raft log entry for the read has been applied
    Strong,
}

#[derive(Deserialize)]
struct ResponseBody<'a> {
    #[serde(borrow)]
    results: Vec<StatementResult<'a>>,
    #[serde(default)]
    error: String,
}

#[derive(Deserialize)]
struct StatementResult<'a> {
    #[serde(default)]
    rows_affected: u64,
    #[serde(default)]
    columns: Vec<String>,
    #[serde(borrow, default)]
    values: Vec<&'a RawValue>,
    #[serde(default)]
    error: String,
}

impl Rqlite {
    /// The name of the protocol in reports and on the command line.
    pub const NAME: &'static str = "rqlite";
}

impl Protocol for Rqlite {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn path(&self, operation: &Operation) -> &str {
        match operation {
            Operation::Queued(_) => "/db/execute?queue",
            Operation::Flush => "/db/execute?queue&wait",
            Operation::Batch(_) | Operation::Fill { .. } => "/db/execute?transaction",
            Operation::Insert(_) | Operation::CreateTables => "/db/execute",
            Operation::Point(_) | Operation::RowsAfter(_) | Operation::CountItems | Operation::CountInserts => {
                match self.level {
                    ReadLevel::None => "/db/query?level=none",
                    ReadLevel::Weak => "/db/query?level=weak",
                    ReadLevel::Linearizable => "/db/query?level=linearizable",
                    ReadLevel::Strong => "/db/query?level=strong",
                }
            }
        }
    }

    fn write_body(&self, operation: &Operation, out: &mut Vec<u8>) {
        out.push(b'[');
        let mut first = true;
        operation.for_each_statement(&mut |statement| {
            if !std::mem::take(&mut first) {
                out.push(b',');
            }
            write_statement(&statement, out);
        });
        out.push(b']');
    }

    fn read_result(&self, body: &[u8]) -> Result<OperationResult, String> {
        let body: ResponseBody<'_> =
            serde_json::from_slice(body).map_err(|e| format!("not an answer of rqlite: {e}"))?;
        if !body.error.is_empty() {
            return Err(body.error);
        }
        let mut result = OperationResult::default();
        for statement in &body.results {
            if !statement.error.is_empty() {
                return Err(statement.error.clone());
            }
            result.changed += statement.rows_affected;
            result.rows += statement.values.len() as u64;
            result.columns = result.columns.max(statement.columns.len() as u64);
            result.first = result.first.or_else(|| first_value(statement));
        }
        Ok(result)
    }

    fn has_queued_writes(&self) -> bool {
        true
    }
}

fn write_statement(statement: &Statement<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"[\"");
    out.extend_from_slice(statement.sql.as_bytes());
    out.push(b'"');
    for param in statement.params {
        out.push(b',');
        param.write_json(out);
    }
    out.push(b']');
}

fn first_value(statement: &StatementResult<'_>) -> Option<u64> {
    let row: Vec<serde_json::Value> = serde_json::from_str(statement.values.first()?.get()).ok()?;
    row.first()?.as_u64()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(operation: Operation) -> String {
        let mut out = Vec::new();
        Rqlite::default().write_body(&operation, &mut out);
        String::from_utf8(out).unwrap()
    }

    fn result(body: &str) -> Result<OperationResult, String> {
        Rqlite::default().read_result(body.as_bytes())
    }

    #[test]
    fn an_insert_as_json() {
        let expected = r#"[["INSERT INTO load_inserts (name, amount) VALUES (?, ?)","name-00000007",0.07]]"#;
        assert_eq!(body(Operation::Insert(7)), expected);
        assert_eq!(body(Operation::Queued(7)), expected);
        assert_eq!(body(Operation::Flush), "[]");
    }

    #[test]
    fn every_operation_is_json_with_one_item_per_statement() {
        let fill = Operation::Fill { first: 1, last: 50 };
        for operation in [Operation::Batch(1), Operation::Point(1), Operation::CreateTables, fill] {
            let mut statements = 0;
            operation.for_each_statement(&mut |_| statements += 1);
            let parsed: serde_json::Value = serde_json::from_str(&body(operation)).unwrap();
            assert_eq!(parsed.as_array().map(Vec::len), Some(statements));
        }
    }

    #[test]
    fn only_writes_are_sent_to_execute() {
        for operation in [Operation::Batch(1), Operation::Point(1), Operation::CreateTables, Operation::Queued(1)] {
            let rqlite = Rqlite::default();
            let path = rqlite.path(&operation);
            assert_eq!(path.starts_with("/db/execute"), operation.writes(), "{path}");
        }
    }

    #[test]
    fn rows_are_counted() {
        let body = r#"{"results":[{"columns":["id","name"],"types":["integer","text"],"values":[[5,"x"],[6,"y"]]}]}"#;
        assert_eq!(result(body), Ok(OperationResult { rows: 2, columns: 2, changed: 0, first: Some(5) }));
    }

    #[test]
    fn changes_of_all_items_are_added_up() {
        let body = r#"{"results":[{"last_insert_id":1,"rows_affected":1},{},{"last_insert_id":2,"rows_affected":2}]}"#;
        assert_eq!(result(body), Ok(OperationResult { changed: 3, ..OperationResult::default() }));
    }

    #[test]
    fn the_answer_to_a_queued_write_contains_only_a_number() {
        assert_eq!(result(r#"{"results":[],"sequence_number":1653314298877648934}"#), Ok(OperationResult::default()));
    }

    #[test]
    fn errors_of_a_statement_or_a_request_and_unknown_bodies_are_errors() {
        assert_eq!(result(r#"{"results":[{"error":"no such table"}]}"#), Err("no such table".into()));
        assert_eq!(result(r#"{"results":[],"error":"leader not found"}"#), Err("leader not found".into()));
        assert!(result("hello").is_err());
        assert!(result("{}").is_err());
    }
}
