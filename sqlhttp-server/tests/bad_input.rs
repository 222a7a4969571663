//! Input that no client should send: it is answered with a clear error, and the server goes on. (Wrong files and ports
//! are in `bad_surroundings.rs`.)
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::{ENDLESS, Launch, Request, Server, temp_dir};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};

/// Posts a body as JSON and asserts that it is refused with this status and an error that begins with this text.
fn assert_refused(server: &Server, body: impl Into<Vec<u8>>, status: u16, beginning: &str) {
    let body = body.into();
    let shown = String::from_utf8_lossy(&body[..body.len().min(200)]).into_owned();
    let response = server.send(&Request::json("/t", "").body(body));
    assert_eq!(response.status, status, "{shown}: {}", response.text());
    assert!(response.error().starts_with(beginning), "{shown}: {}", response.error());
    assert_eq!(response.header("Content-Type"), Some("application/json"), "{shown}");
}

#[test]
fn bodies_that_are_no_json_are_refused() {
    let server = Server::memory();
    let bodies: [&[u8]; 14] = [
        b"",
        b" ",
        b"{",
        b"nonsense",
        b"[]",
        b"5",
        b"\"text\"",
        b"{\"transaction\": [}",
        b"{\"transaction\": []} trailing",
        b"\xef\xbb\xbf{\"transaction\": []}",
        b"\x00\x01\x02\xff\xfe",
        b"{'transaction': []}",
        b"{\"transaction\": [{\"query\": \"SELECT 1\"},]}",
        b"\x1f\x8b\x08\x00not really gzip",
    ];
    for body in bodies {
        assert_refused(&server, body, 400, "in parsing body: ");
    }
    for body in ["null", "{}", "{\"transaction\": null}", "{\"transaction\": []}", "{\"other\": 1}"] {
        assert_refused(&server, body, 400, "missing statements list ('transaction' node)");
    }
    server.assert_alive("t");
}

#[test]
fn fields_of_the_wrong_type_are_refused() {
    let server = Server::memory();
    for body in [
        json!({"transaction": "SELECT 1"}),
        json!({"transaction": 1}),
        json!({"transaction": [1]}),
        json!({"transaction": ["SELECT 1"]}),
        json!({"transaction": [[{"query": "SELECT 1"}]]}),
        json!({"transaction": [{"query": 1}]}),
        json!({"transaction": [{"query": ["SELECT 1"]}]}),
        json!({"transaction": [{"statement": true}]}),
        json!({"transaction": [{"query": "SELECT 1", "noFail": "yes"}]}),
        json!({"transaction": [{"query": "SELECT 1", "noFail": 1}]}),
        json!({"transaction": [{"statement": "SELECT 1", "valuesBatch": {"a": 1}}]}),
        json!({"transaction": [{"query": "SELECT 1"}], "credentials": "me"}),
        json!({"transaction": [{"query": "SELECT 1"}], "resultFormat": 1}),
    ] {
        assert_refused(&server, body.to_string(), 400, "in parsing body: ");
    }
    for (item, status, error) in [
        (json!(null), 400, "one and only one of query or statement must be provided"),
        (json!({}), 400, "one and only one of query or statement must be provided"),
        (json!({"query": "SELECT 1", "statement": "SELECT 1"}), 400, "one and only one"),
        (
            json!({"statement": "X", "values": [], "valuesBatch": [[]]}),
            400,
            "cannot specify both values and valuesBatch",
        ),
        (json!({"query": "SELECT 1", "valuesBatch": [[]]}), 400, "cannot specify valuesBatch for queries"),
        (json!({"query": "#none"}), 400, "a stored statement is required, but did not find it"),
        (json!({"query": "SELECT ?", "values": 5}), 500, "values should be an array or an object"),
        (json!({"query": "SELECT ?", "values": "5"}), 500, "values should be an array or an object"),
        (json!({"query": "SELECT ?, ?", "values": [1]}), 500, "missing argument with index 2"),
        (json!({"query": "SELECT :a, :b", "values": {"a": 1}}), 500, "missing named argument \"b\""),
        (json!({"query": "SELECT ?", "values": [[1]]}), 500, ""),
        (json!({"query": "SELECT ?", "values": [{"a": 1}]}), 500, ""),
    ] {
        assert_refused(&server, json!({"transaction": [item]}).to_string(), status, error);
    }
    server.assert_alive("t");
}

#[test]
fn deep_nesting_does_not_overflow_anything() {
    let server = Server::memory();
    let deep = 100_000;
    let (open, close) = ("[".repeat(deep), "]".repeat(deep));
    assert_refused(&server, open.clone(), 400, "in parsing body: ");
    assert_refused(&server, format!("{open}{close}"), 400, "in parsing body: ");
    let objects = format!("{}1{}", "{\"a\":".repeat(deep), "}".repeat(deep));
    for nested in [format!("{open}{close}"), objects, open] {
        for body in [
            format!(r#"{{"other": {nested}, "transaction": [{{"query": "SELECT 1"}}]}}"#),
            format!(r#"{{"transaction": {nested}}}"#),
            format!(r#"{{"transaction": [{{"query": "SELECT ?", "values": {nested}}}]}}"#),
            format!(r#"{{"transaction": [{{"query": "SELECT ?", "values": [{nested}]}}]}}"#),
            format!(r#"{{"transaction": [{{"statement": "SELECT ?", "valuesBatch": [{nested}]}}]}}"#),
            format!(r#"{{"transaction": [{{"query": {nested}}}]}}"#),
            format!(r#"{{"credentials": {nested}, "transaction": [{{"query": "SELECT 1"}}]}}"#),
        ] {
            let response = server.send(&Request::json("/t", body));
            assert!([200, 400, 500].contains(&response.status), "{}", response.status);
        }
    }
    for sql in [
        format!("SELECT {}1{}", "(".repeat(deep), ")".repeat(deep)),
        format!("SELECT 1{}", "+1".repeat(deep)),
        format!("SELECT {}", "-".repeat(deep).replace('-', "- ")),
        format!("SELECT {}1", "NOT ".repeat(deep)),
        format!("SELECT * FROM {}(SELECT 1){}", "(SELECT * FROM ".repeat(500), ")".repeat(500)),
    ] {
        assert_refused(&server, json!({"transaction": [{"query": sql}]}).to_string(), 500, "");
    }
    server.assert_alive("t");
}

#[test]
fn text_that_is_no_unicode_is_replaced() {
    let server = Server::memory();
    let mut body = br#"{"transaction": [{"query": "SELECT ? AS a", "values": ["a?z"]}]}"#.to_vec();
    let at = body.iter().rposition(|byte| *byte == b'?').expect("the question mark");
    body[at] = 0xff;
    let response = server.send(&Request::json("/t", "").body(body));
    assert_eq!(response.results()[0]["resultSet"], json!([{"a": "a\u{fffd}z"}]));
    let lone = r#"{"transaction": [{"query": "SELECT ? AS a", "values": ["a\ud800z"]}]}"#;
    let response = server.send(&Request::json("/t", lone));
    assert_eq!(response.results()[0]["resultSet"], json!([{"a": "a\u{fffd}z"}]));
    let pair = r#"{"transaction": [{"query": "SELECT ? AS a", "values": ["\ud83d\ude00"]}]}"#;
    assert_eq!(server.send(&Request::json("/t", pair)).results()[0]["resultSet"], json!([{"a": "😀"}]));
}

#[test]
fn numbers_out_of_range_are_reported() {
    let server = Server::memory();
    for number in ["1e400", "-1e400", &"9".repeat(400)] {
        let body = format!(r#"{{"transaction": [{{"query": "SELECT ?", "values": [{number}]}}]}}"#);
        assert_refused(&server, body, 500, "json: cannot unmarshal number ");
        // The failure is that of its item.
        let body = format!(
            r#"{{"transaction": [{{"query": "SELECT ?", "values": [{number}], "noFail": true}}, {{"query": "SELECT 1"}}]}}"#
        );
        let results = server.post("t", body).results();
        assert_eq!((&results[0]["success"], &results[1]["success"]), (&json!(false), &json!(true)), "{number}");
    }
    let body = r#"{"transaction": [{"query": "SELECT typeof(?) AS a, typeof(?) AS b", "values": [18446744073709551616, 1e-400]}]}"#;
    assert_eq!(server.post("t", body).results()[0]["resultSet"], json!([{"a": "real", "b": "real"}]));
    server.assert_alive("t");
}

#[test]
fn nul_characters_are_kept_in_values_and_harmless_in_sql() {
    let server = Server::memory();
    let items = json!([{"query": "SELECT ? AS a, hex(?1) AS h", "values": ["a\0b"]}]);
    let rows = server.transaction("t", items).results()[0]["resultSet"].clone();
    assert_eq!(rows, json!([{"a": "a\0b", "h": "610062"}]));
    server.execute("t", "CREATE TABLE T(a)");
    for sql in ["SELECT 1\0; DROP TABLE T", "\0", "INSERT INTO T VALUES('a\0b')"] {
        let response = server.transaction("t", json!([{ "statement": sql }]));
        assert!([200, 400, 500].contains(&response.status), "{sql:?}: {}", response.text());
    }
    assert!(server.query("t", "SELECT count(*) FROM T")[0][0].is_u64(), "SQL after a NUL was executed");
    let response = server.send(&Request::json("/t%00", json!({"transaction": [{"query": "SELECT 1"}]})));
    assert_eq!(response.status, 404);
}

#[test]
fn thousands_of_parameters_columns_and_statements_work_or_are_refused() {
    let server = Server::memory();
    let with = |number: usize| {
        let marks = vec!["?"; number].join(",");
        let values: Vec<usize> = (0..number).collect();
        let item = json!({"query": format!("SELECT 7 IN ({marks}) AS found"), "values": values});
        server.transaction("t", json!([item]))
    };
    assert_eq!(with(30_000).results()[0]["resultSet"], json!([{"found": 1}]));
    let refused = with(300_000);
    assert_eq!((refused.status, refused.error().contains("too many SQL variables")), (500, true));
    let unused: serde_json::Map<String, Value> = (0..50_000).map(|n| (format!("p{n}"), json!(n))).collect();
    let item = json!({"query": "SELECT :p49999 AS last", "values": unused});
    assert_eq!(server.transaction("t", json!([item])).results()[0]["resultSet"], json!([{"last": 49_999}]));
    assert_refused(
        &server,
        json!({"transaction": [{"query": format!("SELECT {}", vec!["1"; 5000].join(","))}]}).to_string(),
        500,
        "SQL logic error: too many columns in result set (1)",
    );
    let script = "SELECT 1;".repeat(20_000);
    let response = server.transaction("t", json!([{ "query": script }]));
    assert!([200, 400, 500].contains(&response.status), "{}", response.status);
    let many: Vec<Value> = (0..10_000).map(|n| json!({"query": format!("SELECT {n} AS n")})).collect();
    assert_eq!(server.transaction("t", json!(many)).results()[9_999]["resultSet"], json!([{"n": 9_999}]));
    server.assert_alive("t");
}

#[test]
fn more_items_than_allowed_are_refused() {
    let server = Server::start(["--max-items", "3", "--mem-db", "t"]);
    let items = |number: usize| json!(vec![json!({"query": "SELECT 1"}); number]);
    assert_eq!(server.transaction("t", items(3)).status, 200);
    let response = server.transaction("t", items(4));
    assert_eq!(response.status, 400, "{}", response.text());
    assert!(response.error().contains('3'), "the limit is not named: {}", response.error());
}

#[test]
fn unknown_databases_and_odd_paths_are_not_found() {
    let server = Server::memory();
    let body = json!({"transaction": [{"query": "SELECT 1"}]});
    for path in ["/nope", "/", "//t", "/t/x", "/t//", "/..", "/%2e%2e/t", "/%ff", "/t;x", "/%"] {
        let response = server.send(&Request::json(path, &body));
        assert!([404, 400].contains(&response.status), "{path}: {}", response.status);
        assert_eq!(response.json()["reqIdx"], -1, "{path}");
    }
    assert_eq!(server.send(&Request::json("/no?x=1", &body)).error(), "Cannot POST /no");
    for path in ["/t", "/T", "/t/", "/t?x=/y", "/%74"] {
        assert_eq!(server.send(&Request::json(path, &body)).status, 200, "{path}");
    }
}

#[test]
fn bytes_that_are_no_http_end_the_connection_only() {
    let server = Server::memory();
    let messages: [&[u8]; 11] = [
        b"nonsense\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"POST /t HTTP/9.9\r\nHost: x\r\n\r\n",
        b"POST /t HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"POST /t HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\n",
        b"POST /t HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"POST /t HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"POST /t HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n",
        b"POST /t HTTP/1.1\r\nbad header line\r\n\r\n",
        b"POST /t HTTP/1.1\r\nName\x00: x\r\n\r\n",
        b"GET \xff\xfe HTTP/1.1\r\nHost: x\r\n\r\n",
    ];
    for message in messages {
        let mut client = server.client();
        client.write(message).expect("sent");
        let response = client.receive(false).expect("an answer");
        assert_eq!(response.status, 400, "{:?}: {}", String::from_utf8_lossy(message), response.text());
        client.until_closed();
        server.assert_alive("t");
    }
    // Empty lines before a request are ignored.
    let mut client = server.client();
    client.write(b"\r\n\r\n\r\n").expect("sent");
    let response = client.send(&Request::json("/t", json!({"transaction": [{"query": "SELECT 1"}]})));
    assert_eq!(response.expect("an answer").status, 200);
}

#[test]
fn an_oversized_body_is_refused_as_soon_as_its_length_is_known() {
    let server = Server::start(["--max-body", "1K", "--mem-db", "t"]);
    let mut client = server.client();
    client.write(b"POST /t HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000000\r\n\r\n").expect("sent");
    let response = client.receive(false).expect("an answer without the body");
    let text = "Request Entity Too Large: more than 1024 bytes, see -max-body";
    assert_eq!((response.status, response.error().as_str()), (413, text));
    let spaces = format!("{}{}", " ".repeat(3000), json!({"transaction": [{"query": "SELECT 1"}]}));
    let chunked = Request::json("/t", spaces).header("Transfer-Encoding", "chunked");
    assert_eq!(server.send(&chunked).status, 413);
    let small = Request::json("/t", json!({"transaction": [{"query": "SELECT 1"}]}));
    assert_eq!(server.send(&small.header("Transfer-Encoding", "chunked")).status, 200);
}

#[test]
fn a_write_of_a_client_that_goes_away_is_interrupted_and_rolled_back() {
    let dir = temp_dir();
    let server = Launch::new().dir(dir.path()).with_metrics().args(["--db", "t.db"]).start();
    server.execute("t", "CREATE TABLE T(a)");
    for statement in [format!("INSERT INTO T {ENDLESS}"), "INSERT INTO T VALUES(1)".to_owned()] {
        let items = json!([{"statement": "INSERT INTO T VALUES(0)"}, {"statement": statement}, {"query": ENDLESS}]);
        let client = server.begin(&Request::json("/t", json!({ "transaction": items })));
        server.await_requests_in_flight(1);
        drop(client);
        // This write is answered only if the endless statement is interrupted.
        server.execute("t", "DELETE FROM T WHERE a = 99");
    }
    assert_eq!(server.query("t", "SELECT count(*) FROM T"), json!([[0]]));
}

#[test]
fn a_query_that_fails_midway_is_never_answered_as_a_success() {
    let server = Server::memory();
    for rows in [10, 400_000] {
        let sql = format!(
            "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM c WHERE x < {rows})
             SELECT CASE WHEN x = {rows} THEN abs(-9223372036854775808) ELSE x END AS a FROM c"
        );
        for tolerated in [false, true] {
            let items = json!([{"query": sql, "noFail": tolerated}, {"query": "SELECT 1"}]);
            // A part of a large answer may have been sent before the failure. The connection is then cut, so that the
            // client sees an incomplete answer, unless the item itself can report the failure.
            match server.client().send(&Request::json("/t", json!({ "transaction": items }))) {
                Ok(response) if response.status == 200 => {
                    assert!(tolerated && response.results()[0]["success"] == json!(false), "{rows}");
                }
                Ok(response) => assert!(response.error().contains("integer overflow"), "{}", response.error()),
                Err(e) => {
                    assert!(rows > 10 && !tolerated && e.kind() == std::io::ErrorKind::UnexpectedEof, "{rows}: {e:?}")
                }
            }
        }
        server.assert_alive("t");
    }
}

/// Any JSON value. Its keys are often field names of the protocol.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        Just(json!("SELECT :a, ?")),
        Just(json!("INSERT INTO T VALUES(?)")),
    ];
    let keys =
        ["transaction", "query", "statement", "noFail", "values", "valuesBatch", "credentials", "resultFormat", "a"];
    leaf.prop_recursive(5, 40, 5, move |inner| {
        let key =
            prop_oneof![4 => proptest::sample::select(keys.to_vec()).prop_map(str::to_owned), 1 => any::<String>()];
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            btree_map(key, inner, 0..5).prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

#[test]
fn every_body_gets_a_complete_answer() {
    let server = Server::memory();
    server.execute("t", "CREATE TABLE T(a)");
    let bytes = vec(any::<u8>(), 0..200);
    let json = any_json().prop_map(|value| value.to_string().into_bytes());
    let request = any_json().prop_map(|value| json!({"transaction": [value]}).to_string().into_bytes());
    let bodies = prop_oneof![1 => bytes, 2 => json, 4 => request];
    let mut runner = TestRunner::new(Config { cases: 400, failure_persistence: None, ..Config::default() });
    let outcome = runner.run(&bodies, |body| {
        let response = server.send(&Request::json("/t", "").body(body));
        prop_assert!([200, 400, 500].contains(&response.status), "{}: {}", response.status, response.text());
        let answer = response.json();
        let complete = if response.status == 200 { answer["results"].is_array() } else { answer["error"].is_string() };
        prop_assert!(complete, "{}", response.text());
        Ok(())
    });
    assert!(outcome.is_ok(), "{outcome:?}");
    server.assert_alive("t");
}
