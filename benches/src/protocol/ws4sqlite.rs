//! The protocol of ws4sqlite: `POST /<database>` with a transaction as JSON.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Auth, Protocol};
use crate::workload::{Answer, Operation, Step};

/// Speaks ws4sqlite's protocol to one database.
#[derive(Debug)]
pub struct Ws4sqlite {
    path: String,
    opening: Vec<u8>,
}

#[derive(Deserialize)]
struct Body<'a> {
    #[serde(borrow)]
    results: Vec<Item<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Item<'a> {
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
    /// The name on the command line.
    pub const NAME: &'static str = "ws4sqlite";

    /// For the database with this id.
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
        operation.steps(&mut |step| {
            if !std::mem::take(&mut first) {
                out.push(b',');
            }
            write_item(&step, out);
        });
        out.extend_from_slice(b"]}");
    }

    fn read_answer(&self, body: &[u8]) -> Result<Answer, String> {
        let body: Body<'_> = serde_json::from_slice(body).map_err(|e| format!("not an answer of ws4sqlite: {e}"))?;
        let mut answer = Answer::default();
        for item in &body.results {
            if !item.success {
                return Err(item.error.clone());
            }
            answer.changed += item.rows_updated;
            answer.rows += item.result_set.len() as u64;
            answer.columns = answer.columns.max(item.result_headers.len() as u64);
            answer.first = answer.first.or_else(|| first_value(item));
        }
        Ok(answer)
    }
}

fn write_item(step: &Step<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(if step.reads { b"{\"query\":\"" } else { b"{\"statement\":\"" });
    out.extend_from_slice(step.sql.as_bytes());
    out.push(b'"');
    for (index, param) in step.params.iter().enumerate() {
        out.extend_from_slice(if index == 0 { b",\"values\":[" } else { b"," });
        param.write_json(out);
    }
    if !step.params.is_empty() {
        out.push(b']');
    }
    out.push(b'}');
}

fn first_value(item: &Item<'_>) -> Option<u64> {
    let row: serde_json::Map<String, serde_json::Value> = serde_json::from_str(item.result_set.first()?.get()).ok()?;
    row.get(item.result_headers.first()?)?.as_u64()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(auth: &Auth, operation: Operation) -> String {
        let mut out = Vec::new();
        Ws4sqlite::new("db", auth).write_body(&operation, &mut out);
        String::from_utf8(out).unwrap()
    }

    fn answer(body: &str) -> Result<Answer, String> {
        Ws4sqlite::new("db", &Auth::None).read_answer(body.as_bytes())
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
            let mut steps = 0;
            operation.steps(&mut |_| steps += 1);
            let parsed: serde_json::Value = serde_json::from_str(&body(&Auth::None, operation)).unwrap();
            assert_eq!(parsed["transaction"].as_array().map(Vec::len), Some(steps));
        }
    }

    #[test]
    fn inline_credentials_stand_in_the_body_and_basic_ones_do_not() {
        let (user, password) = ("me".to_owned(), "a\"b".to_owned());
        let inline = body(&Auth::Inline { user: user.clone(), password: password.clone() }, Operation::Point(1));
        let parsed: serde_json::Value = serde_json::from_str(&inline).unwrap();
        assert_eq!(parsed["credentials"], serde_json::json!({"user": "me", "password": "a\"b"}));
        assert!(!body(&Auth::Basic { user, password }, Operation::Point(1)).contains("credentials"));
    }

    #[test]
    fn rows_are_counted() {
        let body = r#"{"results":[{"success":true,"resultHeaders":["id","name"],"resultSet":[{"id":5,"name":"x"},{"id":6,"name":"y"}]}]}"#;
        assert_eq!(answer(body), Ok(Answer { rows: 2, columns: 2, changed: 0, first: Some(5) }));
    }

    #[test]
    fn changes_of_all_items_are_added_up() {
        let body = r#"{"results":[{"success":true,"rowsUpdated":1},{"success":true,"rowsUpdated":2}]}"#;
        assert_eq!(answer(body), Ok(Answer { changed: 3, ..Answer::default() }));
    }

    #[test]
    fn a_failed_item_and_a_strange_body_are_errors() {
        assert_eq!(answer(r#"{"results":[{"success":false,"error":"No such table"}]}"#), Err("No such table".into()));
        assert!(answer("hello").is_err());
        assert!(answer(r#"{"reqIdx":0,"error":"x"}"#).is_err());
    }
}
