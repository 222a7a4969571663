//! ws4sqlite's protocol: a request is a transaction as JSON, sent to `POST /<database>`.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Auth, Protocol};
use crate::workload::{Operation, OperationResult, Statement};

/// ws4sqlite's protocol, for requests to one database.
#[derive(Debug)]
pub struct Ws4sqlite {
    path: String,
    opening: Vec<u8>,
}

#[derive(Deserialize)]
struct ResponseBody<'a> {
    #[serde(borrow)]
    results: Vec<StatementResult<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct StatementResult<'a> {
    success: bool,
    #[serde(default)]
    rows_updated: u64,
    #[serde(default)]
    result_headers: Vec<String>,
    #[serde(borrow, default)]
    result_set: Vec<&'a RawValue>,
    #[serde(default)]
    error: String,
}

impl Ws4sqlite {
    /// The name of the protocol in reports and on the command line.
    pub const NAME: &'static str = "ws4sqlite";

    /// Creates the protocol for requests to the database with the id `db`. [`Auth::Inline`] credentials become part of
    /// each request body.
    pub fn new(db: &str, auth: &Auth) -> Self {
        let opening = match auth {
            Auth::Inline { user, password } => {
                let credentials = serde_json::json!({"user": user, "password": password});
                format!("{{\"credentials\":{credentials},\"transaction\":[")
            }
            Auth::None | Auth::Basic { .. } => "{\"transaction\":[".to_owned(),
        };
        Ws4sqlite { path: format!("/{db}"), opening: opening.into_bytes() }
    }
}

impl Protocol for Ws4sqlite {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn path(&self, _: &Operation) -> &str {
        &self.path
    }

    fn write_body(&self, operation: &Operation, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.opening);
        let mut first = true;
        operation.for_each_statement(&mut |statement| {
            if !std::mem::take(&mut first) {
                out.push(b',');
            }
            write_statement(&statement, out);
        });
        out.extend_from_slice(b"]}");
    }

    fn read_result(&self, body: &[u8]) -> Result<OperationResult, String> {
        let body: ResponseBody<'_> =
            serde_json::from_slice(body).map_err(|e| format!("not an answer of ws4sqlite: {e}"))?;
        let mut result = OperationResult::default();
        for statement in &body.results {
            if !statement.success {
                return Err(statement.error.clone());
            }
            result.changed += statement.rows_updated;
            result.rows += statement.result_set.len() as u64;
            result.columns = result.columns.max(statement.result_headers.len() as u64);
            result.first = result.first.or_else(|| first_value(statement));
        }
        Ok(result)
    }
}

fn write_statement(statement: &Statement<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(if statement.reads { b"{\"query\":\"" } else { b"{\"statement\":\"" });
    out.extend_from_slice(statement.sql.as_bytes());
    out.push(b'"');
    for (index, param) in statement.params.iter().enumerate() {
        out.extend_from_slice(if index == 0 { b",\"values\":[" } else { b"," });
        param.write_json(out);
    }
    if !statement.params.is_empty() {
        out.push(b']');
    }
    out.push(b'}');
}

fn first_value(statement: &StatementResult<'_>) -> Option<u64> {
    let row: serde_json::Map<String, serde_json::Value> =
        serde_json::from_str(statement.result_set.first()?.get()).ok()?;
    row.get(statement.result_headers.first()?)?.as_u64()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(auth: &Auth, operation: Operation) -> String {
        let mut out = Vec::new();
        Ws4sqlite::new("db", auth).write_body(&operation, &mut out);
        String::from_utf8(out).unwrap()
    }

    fn result(body: &str) -> Result<OperationResult, String> {
        Ws4sqlite::new("db", &Auth::None).read_result(body.as_bytes())
    }

    #[test]
    fn an_insert_as_json() {
        let expected = r#"{"transaction":[{"statement":"INSERT INTO load_inserts (name, amount) VALUES (?, ?)","values":["name-00000007",0.07]}]}"#;
        assert_eq!(body(&Auth::None, Operation::Insert(7)), expected);
    }

    #[test]
    fn every_operation_is_json_with_one_item_per_statement() {
        let fill = Operation::Fill { first: 1, last: 50 };
        for operation in [Operation::Batch(1), Operation::Point(1), Operation::CreateTables, fill] {
            let mut statements = 0;
            operation.for_each_statement(&mut |_| statements += 1);
            let parsed: serde_json::Value = serde_json::from_str(&body(&Auth::None, operation)).unwrap();
            assert_eq!(parsed["transaction"].as_array().map(Vec::len), Some(statements));
        }
    }

    #[test]
    fn the_body_contains_inline_credentials_and_no_basic_ones() {
        let (user, password) = ("me".to_owned(), "a\"b".to_owned());
        let inline = body(&Auth::Inline { user: user.clone(), password: password.clone() }, Operation::Point(1));
        let parsed: serde_json::Value = serde_json::from_str(&inline).unwrap();
        assert_eq!(parsed["credentials"], serde_json::json!({"user": "me", "password": "a\"b"}));
        assert!(!body(&Auth::Basic { user, password }, Operation::Point(1)).contains("credentials"));
    }

    #[test]
    fn rows_are_counted() {
        let body = r#"{"results":[{"success":true,"resultHeaders":["id","name"],"resultSet":[{"id":5,"name":"x"},{"id":6,"name":"y"}]}]}"#;
        assert_eq!(result(body), Ok(OperationResult { rows: 2, columns: 2, changed: 0, first: Some(5) }));
    }

    #[test]
    fn changes_of_all_items_are_added_up() {
        let body = r#"{"results":[{"success":true,"rowsUpdated":1},{"success":true,"rowsUpdated":2}]}"#;
        assert_eq!(result(body), Ok(OperationResult { changed: 3, ..OperationResult::default() }));
    }

    #[test]
    fn a_failed_statement_and_an_unknown_body_are_errors() {
        assert_eq!(result(r#"{"results":[{"success":false,"error":"No such table"}]}"#), Err("No such table".into()));
        assert!(result("hello").is_err());
        assert!(result(r#"{"reqIdx":0,"error":"x"}"#).is_err());
    }
}
