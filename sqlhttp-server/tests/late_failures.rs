//! Failures after the first part of a large answer was sent.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::{Request, Server};
use serde_json::{Value, json};

/// Far more rows than the server buffers of an answer.
const ROWS: u64 = 200_000;

/// A query that fails at its last row.
fn failing() -> String {
    format!(
        "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM c WHERE x < {ROWS}) \
         SELECT CASE WHEN x = {ROWS} THEN json('{{') ELSE x END AS v FROM c"
    )
}

const ENDLESS_ROWS: &str = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM c) SELECT x AS v FROM c";

fn query(server: &Server, parameters: &str, statements: Value) -> Vec<Value> {
    let response = server.send(&Request::json(&format!("/db/query?{parameters}"), statements));
    assert_eq!(response.status, 200);
    assert!(response.body.len() > 1 << 20, "the answer fits into the buffer of the server");
    response.results()
}

#[test]
fn an_error_follows_the_rows_of_its_statement() {
    let server = Server::memory();
    for (parameters, rows) in [("", "values"), ("associative", "rows"), ("pretty", "values"), ("transaction", "values")]
    {
        let results = query(&server, parameters, json!(["SELECT 1", failing(), "SELECT 2"]));
        assert_eq!(results.len(), 3, "{parameters}");
        assert!(results[1][rows].as_array().unwrap().len() > 50_000, "{parameters}");
        assert_eq!(results[1]["error"], "malformed JSON", "{parameters}");
        assert_eq!((results[0].get("error"), results[2].get("error")), (None, None), "{parameters}");
    }
}

#[test]
fn a_timeout_follows_the_rows_of_its_statement() {
    let server = Server::memory();
    for (parameters, rows) in [("db_timeout=500ms", "values"), ("db_timeout=500ms&associative", "rows")] {
        let results = query(&server, parameters, json!([ENDLESS_ROWS, "SELECT 2"]));
        assert!(!results[0][rows].as_array().unwrap().is_empty());
        assert_eq!(results[0]["error"], "query timeout", "{parameters}");
        assert_eq!(results[1]["error"], "query timeout", "{parameters}");
        assert_eq!(results.len(), 2);
    }
}

#[test]
fn the_success_of_a_no_fail_item_follows_its_rows() {
    let server = Server::memory();
    let items = |sql: &str| json!([{ "query": sql, "noFail": true }, { "query": "SELECT 1 AS v" }]);
    let response = server.transaction("t", items(&failing()));
    assert_eq!(response.status, 200);
    let results = response.results();
    assert!(results[0]["resultSet"].as_array().unwrap().len() > 50_000);
    assert_eq!(
        (&results[0]["success"], &results[0]["error"]),
        (&json!(false), &json!("SQL logic error: malformed JSON (1)"))
    );
    assert_eq!(results[1], json!({ "success": true, "resultHeaders": ["v"], "resultSet": [{ "v": 1 }] }));
    let sound = failing().replace("json('{')", "x");
    let results = server.transaction("t", items(&sound)).results();
    assert_eq!((&results[0]["success"], results[0].get("error")), (&json!(true), None));
}

#[test]
fn a_late_failure_without_no_fail_cuts_the_connection() {
    let server = Server::memory();
    let items = json!({ "transaction": [{ "query": failing() }] });
    let error = server.client().send(&Request::json("/t", items)).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::UnexpectedEof);
}

/// All statements are prepared before the first rows are sent.
#[test]
fn a_misspelt_query_behind_a_large_one_is_refused_before_anything_is_sent() {
    let server = Server::memory();
    let large = format!("{} LIMIT {ROWS}", ENDLESS_ROWS);
    let response = server.transaction("t", json!([{ "query": large }, { "query": "SELECT * FROM nope" }]));
    assert_eq!(response.status, 500, "{}", response.text());
    let answer = response.json();
    assert_eq!(answer["reqIdx"], 1, "{answer}");
    assert!(answer["error"].as_str().unwrap().contains("no such table: nope"), "{answer}");
}

#[test]
fn an_item_that_is_malformed_is_refused_before_anything_is_sent() {
    let server = Server::memory();
    let large = failing().replace("json('{')", "x");
    for second in [json!({ "query": "#nope" }), json!({ "query": "SELECT 1", "statement": "SELECT 1" })] {
        let response = server.transaction("t", json!([{ "query": large }, second]));
        assert_eq!((response.status, &response.json()["reqIdx"]), (400, &json!(1)), "{}", response.text());
    }
}
