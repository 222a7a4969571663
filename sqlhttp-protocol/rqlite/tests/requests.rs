//! Batches of requests. The expected results come from recorded conversations with rqlite.

#![allow(clippy::unwrap_used, clippy::panic)] // Helper functions of tests may panic, as tests do.

use sqlhttp_core::{Action, Atomicity, Batch, BindRule, Expect, OnError, Value};
use sqlhttp_rqlite::{
    Call, Endpoint, Params, Refusal, Trailer, decode, decode_leader_target, decode_query_string, decode_remove,
    encode_sql, is_database_file,
};

const JSON: Option<&str> = Some("application/json");

fn params(query: &str) -> Params {
    Params::parse(query).unwrap()
}

fn decoded(body: &[u8]) -> Result<Call, Refusal> {
    decode(Endpoint::Query, JSON, body, &Params::default())
}

fn batch(endpoint: Endpoint, query: &str, body: &str) -> Batch {
    let call = decode(endpoint, JSON, body.as_bytes(), &params(query)).unwrap();
    call.into_batch(endpoint, &params(query)).unwrap().0
}

/// Returns the values that the parameters of `["sql", …]` bind, with their names.
fn bound(parameters: &str) -> Vec<(Option<String>, Value)> {
    let call = decoded(format!("[[\"sql\",{parameters}]]").as_bytes()).unwrap();
    let bindings = call.statements[0].bindings.clone();
    assert_eq!(bindings.rule, BindRule::Counted);
    let entries = bindings.entries.into_iter();
    entries.map(|entry| (entry.name.map(String::from), entry.value)).collect()
}

fn one(parameter: &str) -> Value {
    match &bound(parameter)[..] {
        [(None, value)] => value.clone(),
        other => panic!("{other:?}"),
    }
}

fn text(text: &str) -> Value {
    Value::Text(text.into())
}

fn blob(bytes: &[u8]) -> Value {
    Value::Blob(bytes.into())
}

#[test]
fn malformed_bodies() {
    for (body, want) in [
        ("", "invalid JSON body"),
        ("  ", "invalid JSON body"),
        ("[", "invalid JSON body"),
        ("[\"SELECT 1\"", "invalid JSON body"),
        ("[\"SELECT 1\",]", "invalid JSON body"),
        ("[[\"SELECT 1\",]]", "invalid JSON body"),
        ("[[\"SELECT ?\", 01]]", "invalid JSON body"),
        ("[[\"SELECT ?\", .5]]", "invalid JSON body"),
        ("[[\"SELECT ?\", NaN]]", "invalid JSON body"),
        ("[[\"SELECT ?\", [1,]]]", "invalid JSON body"),
        ("[[\"SELECT ?\", {\"a\"}]]", "invalid JSON body"),
        ("[[\"SELECT ?\", \"a\\q\"]]", "invalid JSON body"),
        ("[\"a\\qb\"]", "invalid JSON body"),
        ("[\"a\nb\"]", "invalid JSON body"),
        ("\u{feff}[\"SELECT 1\"]", "invalid JSON body"),
        ("[]", "no statements"),
        ("[[]]", "invalid request"),
        ("[[] ", "invalid request"),
        ("{}", "invalid request"),
        ("null", "invalid request"),
        ("\"SELECT 1\"", "invalid request"),
        ("1", "invalid request"),
        ("[1]", "invalid request"),
        ("[null]", "invalid request"),
        ("[{}]", "invalid request"),
        ("[[1]]", "invalid request"),
        ("[[null]]", "invalid request"),
        ("[[[\"x\"]]]", "invalid request"),
        ("[\"SELECT 1\",5]", "invalid request"),
        ("[[\"SELECT ?\",1E400]]", "invalid number 1E400"),
        ("[[\"SELECT ?\",{\"a\":-1e999}]]", "invalid number -1e999"),
        ("[[\"SELECT ?\",[256]]]", "unsupported type 256"),
        ("[[\"SELECT ?\",[-1]]]", "unsupported type -1"),
        ("[[\"SELECT ?\",[1.5]]]", "unsupported type 1.5"),
        ("[[\"SELECT ?\",[1e2]]]", "unsupported type 1e2"),
        ("[[\"SELECT ?\",[1,\"a\",256]]]", "unsupported type string"),
        ("[[\"SELECT ?\",[true]]]", "unsupported type bool"),
        ("[[\"SELECT ?\",[null]]]", "unsupported type <nil>"),
        ("[[\"SELECT ?\",[[1]]]]", "unsupported type []interface {}"),
        ("[[\"SELECT ?\",[{}]]]", "unsupported type map[string]interface {}"),
        ("[[\"SELECT ?\",{\"a\":{}}]]", "unsupported type map[string]interface {}"),
        ("[[\"SELECT ?\",{\"a\":[256],\"b\":{}}]]", "unsupported type 256"),
        // The first error in the document.
        ("[[\"SELECT ?\",[256]],", "unsupported type 256"),
        ("[5,\"a\\q\"]", "invalid request"),
    ] {
        assert_eq!(decoded(body.as_bytes()), Err(Refusal::text(400, want)), "{body}");
    }
}

#[test]
fn only_the_first_json_value_is_decoded() {
    for body in ["[\"SELECT 1\"] garbage", "[\"SELECT 1\"][\"SELECT 2\"]", " [ \"SELECT 1\" ]\n"] {
        let call = decoded(body.as_bytes()).unwrap();
        assert_eq!(call.statements.len(), 1, "{body}");
        assert_eq!(&*call.statements[0].sql, "SELECT 1");
    }
}

#[test]
fn values_of_parameters() {
    for (json, want) in [
        ("1", Value::Integer(1)),
        ("-0", Value::Integer(0)),
        ("9223372036854775807", Value::Integer(i64::MAX)),
        ("-9223372036854775808", Value::Integer(i64::MIN)),
        ("9223372036854775808", Value::Real(9223372036854775808.0)),
        ("12345678901234567890", Value::Real(12345678901234567890.0)),
        ("1.0", Value::Real(1.0)),
        ("1e3", Value::Real(1000.0)),
        ("1e-400", Value::Real(0.0)),
        ("0.1", Value::Real(0.1)),
        ("true", Value::Integer(1)),
        ("false", Value::Integer(0)),
        ("null", Value::Null),
        ("\"str\"", text("str")),
        ("\"\"", text("")),
        (r#""a\u0000b\n\"\\é""#, text("a\0b\n\"\\é")),
        (r#""\ud83d\ude00""#, text("😀")),
        (r#""\ud800""#, text("\u{fffd}")),
        (r#""X'4142'""#, blob(b"AB")),
        (r#"" \tx'deadBEEF' \n""#, blob(&[0xde, 0xad, 0xbe, 0xef])),
        (r#""x''""#, blob(b"")),
        (r#""x'414'""#, text("x'414'")),
        (r#""x'zz'""#, text("x'zz'")),
        (r#""x'""#, text("x'")),
        (r#""x'41""#, text("x'41")),
        (r#""x'é'""#, text("x'é'")),
        ("[65,66]", blob(b"AB")),
        ("[ 0 , 255 , -0 ]", blob(&[0, 255, 0])),
        ("[]", blob(b"")),
    ] {
        assert_eq!(one(json), want, "{json}");
    }
    let Value::Real(zero) = one("-0.0") else { panic!() };
    assert!(zero == 0.0 && zero.is_sign_negative());
}

#[test]
fn names_of_parameters() {
    let named = |name: &str, value: Value| (Some(name.to_owned()), value);
    assert_eq!(bound(r#"5, {"a": "v"}, 6"#), [(None, 5_i64.into()), named("a", text("v")), (None, 6_i64.into())]);
    assert_eq!(
        bound(r#"{"a": [1], "b": "x'02'"}, {"b": 2}"#),
        [named("a", blob(&[1])), named("b", blob(&[2])), named("b", 2_i64.into())]
    );
    // The last value of a name in an object is used, at the position of the first. A value with an empty name has no
    // name.
    assert_eq!(
        bound(r#"{"a": 1, ":b": 2, "\u0061": 3, "": 4}"#),
        [named("a", 3_i64.into()), named(":b", 2_i64.into()), (None, 4_i64.into())]
    );
    assert_eq!(bound("{}"), []);
    let many: Vec<String> = (0..40).map(|i| format!("\"n{}\":{i}", i % 20)).collect();
    let bound = bound(&format!("{{{}}}", many.join(",")));
    assert_eq!(bound.len(), 20);
    assert_eq!(bound[7], named("n7", 27_i64.into()));
}

#[test]
fn invalid_utf8_and_lone_surrogates_are_replaced() {
    let call = decoded(b"[\"SELECT '\xff\xe2\x82'\"]").unwrap();
    assert_eq!(&*call.statements[0].sql, "SELECT '\u{fffd}\u{fffd}\u{fffd}'");
    let call = decoded(br#"["SELECT '\ud800'", ["x", "\udc00"]]"#).unwrap();
    assert_eq!(&*call.statements[0].sql, "SELECT '\u{fffd}'");
    assert_eq!(call.statements[1].bindings.entries[0].value, text("\u{fffd}"));
    assert_eq!(decoded(br#"["\ud800", 5]"#), Err(Refusal::text(400, "invalid request")));
}

#[test]
fn plain_text_is_one_statement() {
    let sql = |endpoint, content_type, body: &str| {
        let call = decode(endpoint, content_type, body.as_bytes(), &Params::default())?;
        Ok::<_, Refusal>(call.statements.iter().map(|s| s.sql.to_string()).collect::<Vec<_>>())
    };
    for endpoint in [Endpoint::Execute, Endpoint::Queue, Endpoint::Query] {
        for content_type in ["text/plain", "text/plain; charset=utf-8", "text/plainX"] {
            assert_eq!(sql(endpoint, Some(content_type), "SELECT 1"), Ok(vec!["SELECT 1".into()]));
        }
        for content_type in [None, Some("Text/Plain"), Some("application/json")] {
            let refusal = Refusal::text(400, "invalid JSON body");
            assert_eq!(sql(endpoint, content_type, "SELECT 1"), Err(refusal));
        }
    }
    let refusal = Refusal::text(400, "invalid JSON body");
    assert_eq!(sql(Endpoint::Request, Some("text/plain"), "SELECT 1"), Err(refusal));
    assert_eq!(sql(Endpoint::Load, JSON, "CREATE TABLE x(y)"), Ok(vec!["CREATE TABLE x(y)".into()]));
    let refusal = decode(Endpoint::Execute, Some("text/plain"), b"\xff", &Params::default());
    assert_eq!(refusal, Err(Refusal::TopLevel("string field contains invalid UTF-8".into())));
}

#[test]
fn database_files() {
    assert!(is_database_file(b"SQLite format 3\0"));
    assert!(!is_database_file(b"SQLite format"));
    assert!(!is_database_file(b"CREATE TABLE x(y)"));
}

#[test]
fn sql_in_the_query_string() {
    let call = decode_query_string(Endpoint::Query, &params("q=SELECT+1")).unwrap();
    assert_eq!(&*call.statements[0].sql, "SELECT 1");
    assert_eq!(decode_query_string(Endpoint::Query, &params("")), Ok(Call::default()));
    assert_eq!(decode_query_string(Endpoint::Sql, &params("")), Err(Refusal::text(400, "query not specified")));
    assert!(matches!(decode_query_string(Endpoint::Query, &params("q=%ff")), Err(Refusal::TopLevel(_))));
}

#[test]
fn queued_writes() {
    let queued = |query, body: &[u8]| decode(Endpoint::Queue, JSON, body, &params(query));
    for body in [&b"[]"[..], b" null ", b"", b"\n"] {
        assert_eq!(queued("queue&wait", body), Ok(Call::default()));
    }
    assert_eq!(queued("queue", b"[]"), Err(Refusal::text(400, "no statements")));
    assert_eq!(queued("queue", b"null"), Err(Refusal::text(400, "invalid request")));
    assert_eq!(queued("queue&wait", b"garbage"), Err(Refusal::text(400, "invalid JSON body")));
    for body in [&b""[..], b" \n"] {
        assert_eq!(queued("queue", body), Ok(Call::default()));
    }
    for endpoint in [Endpoint::Execute, Endpoint::Request] {
        let refusal = decode(endpoint, JSON, b"", &params("queue")).unwrap_err();
        assert_eq!(refusal, Refusal::text(400, "invalid JSON body"));
    }
}

#[test]
fn batches() {
    let execute = batch(Endpoint::Execute, "", r#"["A", "", ["B", 1]]"#);
    assert_eq!(execute.atomicity, Atomicity::Each);
    let sql: Vec<_> = execute.steps.iter().map(|step| step.sql().unwrap()).collect();
    assert_eq!(sql, ["A", "B"]);
    let Action::Run { bindings, .. } = &execute.steps[1].action else { panic!() };
    assert_eq!(bindings.entries[0].value, 1_i64.into());

    let transaction = batch(Endpoint::Execute, "transaction", r#"["A"]"#);
    assert_eq!(transaction.atomicity, Atomicity::All);
    assert_eq!(transaction.steps[0].on_error, OnError::Abort);

    let query = batch(Endpoint::Query, "transaction", r#"["A"]"#);
    assert_eq!(query.steps[0].expect, Expect::Rows);
    assert_eq!((query.atomicity, query.steps[0].on_error), (Atomicity::All, OnError::Continue));

    for endpoint in [Endpoint::Queue, Endpoint::Load] {
        let call = decode(endpoint, Some("text/plain"), b"A", &Params::default()).unwrap();
        let batch = call.into_batch(endpoint, &params("transaction")).unwrap().0;
        assert_eq!(batch.atomicity, Atomicity::Each);
    }
    assert!(batch(Endpoint::Request, "", r#"[""]"#).steps.is_empty());
}

#[test]
fn a_refused_pragma_refuses_the_request() {
    let call = decoded(br#"["CREATE TABLE t(a)", "PRAGMA synchronous=1"]"#).unwrap();
    let refusal = call.into_batch(Endpoint::Execute, &Params::default()).unwrap_err();
    let reply = refusal.into_reply(false);
    assert_eq!(reply.status, 200);
    assert_eq!(reply.content_type.header(), "application/json; charset=utf-8");
    assert_eq!(reply.body, br#"{"results":[],"error":"disallowed pragma"}"#);
}

#[test]
fn refusals_in_plain_text_end_with_a_line_feed() {
    let reply = Refusal::text(400, "no statements").into_reply(true);
    assert_eq!((reply.status, &reply.body[..]), (400, &b"no statements\n"[..]));
    assert_eq!(reply.content_type.header(), "text/plain; charset=utf-8");
}

#[test]
fn statements_are_never_rewritten() {
    let call = decode(Endpoint::Sql, None, br#"[["SELECT random()", 1], ""]"#, &Params::default()).unwrap();
    let shape = sqlhttp_rqlite::ReplyShape::new(Endpoint::Sql, &params(""), 2);
    let reply = encode_sql(&call, &shape, &Trailer::default());
    assert_eq!(
        String::from_utf8(reply.body).unwrap(),
        r#"{"results":[{"original":"SELECT random()","rewritten":"SELECT random()"},{"original":""}]}"#
    );
}

#[test]
fn bodies_of_the_endpoints_for_operators() {
    assert_eq!(decode_remove(br#"{"id":"n1"}"#).as_deref(), Some("n1"));
    assert_eq!(decode_remove(br#"{"id":""}"#).as_deref(), Some(""));
    for body in ["", "{}", r#"{"id":5}"#, r#"{"id":"a","b":"c"}"#, r#"{"x":"a"}"#, "[]"] {
        assert_eq!(decode_remove(body.as_bytes()), None, "{body}");
    }
    let target = |content_type, body: &str| decode_leader_target(content_type, body.as_bytes());
    assert_eq!(target(JSON, r#"{"id":"n1"}"#), Ok(Some("n1".into())));
    assert_eq!(target(JSON, ""), Ok(None));
    assert_eq!(target(JSON, "{}"), Ok(None));
    assert_eq!(target(Some("application/json; charset=utf-8"), "garbage"), Ok(None));
    assert!(target(JSON, "garbage").is_err());
}

#[test]
fn limits() {
    let body = format!("[{}\"\"]", "\"\",".repeat(sqlhttp_rqlite::STATEMENTS_MAX));
    assert_eq!(decoded(body.as_bytes()), Err(Refusal::text(413, "too many statements")));
    let body = format!("[[\"\"{}]]", ",1".repeat(sqlhttp_rqlite::VALUES_MAX + 1));
    assert_eq!(decoded(body.as_bytes()), Err(Refusal::text(413, "too many parameters")));
}
