//! Batches of request bodies. The expected results come from recorded conversations with ws4sqlite.

#![allow(clippy::unwrap_used, clippy::panic)] // Helper functions of tests may panic, as tests do.

use std::sync::Arc;

use sqlhttp_core::{Action, Atomicity, Batch, Bindings, Expect, Failure, OnError, Value};
use sqlhttp_ws4sqlite::{Call, Refusal, Statements, decode};

fn batch_of(body: &str) -> Batch {
    batch_with(body, &Statements::default())
}

fn batch_with(body: &str, statements: &Statements) -> Batch {
    decode(body.as_bytes()).unwrap().into_batch(statements).unwrap().0
}

fn stored(only_stored: bool) -> Statements {
    let stored = [("Q", "SELECT 1"), ("two words", "SELECT 2"), ("nested", "#Q")];
    Statements { stored: stored.map(|(id, sql)| (id.to_owned(), Arc::from(sql))).into(), only_stored }
}

/// Returns the failure that an item is converted to.
fn failure_of(item: &str) -> (u16, String) {
    failure_with(item, &Statements::default())
}

fn failure_with(item: &str, statements: &Statements) -> (u16, String) {
    let batch = batch_with(&format!("{{\"transaction\":[{item}]}}"), statements);
    match &batch.steps[0].action {
        Action::Fail(Failure::Protocol { status, message }) => (*status, message.clone()),
        other => panic!("{item} gave {other:?}"),
    }
}

fn bindings_of(values: &str) -> Bindings {
    let batch = batch_of(&format!("{{\"transaction\":[{{\"query\":\"q\",\"values\":{values}}}]}}"));
    match &batch.steps[0].action {
        Action::Run { bindings, .. } => bindings.clone(),
        other => panic!("{values} gave {other:?}"),
    }
}

fn refusal_of(body: &[u8]) -> Refusal {
    decode(body).and_then(|call| call.into_batch(&Statements::default()).map(|_| ())).unwrap_err()
}

#[test]
fn a_transaction() {
    let batch = batch_of(
        r#"{"transaction":[{"query":"SELECT ?","values":[1]},{"statement":"S","noFail":true,"valuesBatch":[{"a":1},null,[2]]}]}"#,
    );
    assert_eq!(batch.atomicity, Atomicity::All);
    let [query, statement] = &batch.steps[..] else { panic!("{batch:?}") };
    assert_eq!((query.expect, query.on_error), (Expect::Rows, OnError::Abort));
    assert_eq!(query.action, Action::Run { sql: "SELECT ?".into(), bindings: [1_i64].into() });
    assert_eq!((statement.expect, statement.on_error), (Expect::Count, OnError::Continue));
    let sets = vec![Ok([("a", 1_i64)].into()), Ok(Bindings::none()), Ok([2_i64].into())];
    assert_eq!(statement.action, Action::RunEach { sql: "S".into(), bindings: sets });
}

#[test]
fn values_bind_by_their_json_type() {
    let values = r#"[null,true,false,1,-1,9223372036854775807,-9223372036854775808,9223372036854775808,
        -9223372036854775809,1.0,1e2,-0.0,123456789012345678901234567890,"x\u0000\ud83d\ude00",0.30000000000000004]"#;
    let want = Bindings::positional(vec![
        Value::Null,
        Value::Integer(1),
        Value::Integer(0),
        Value::Integer(1),
        Value::Integer(-1),
        Value::Integer(i64::MAX),
        Value::Integer(i64::MIN),
        Value::Real(9223372036854775808.0),
        Value::Real(-9223372036854775808.0),
        Value::Real(1.0),
        Value::Real(100.0),
        Value::Real(-0.0),
        Value::Real(123456789012345678901234567890.0),
        Value::Text("x\0😀".into()),
        Value::Real(0.1 + 0.2),
    ]);
    assert_eq!(bindings_of(values), want);
    assert!(matches!(bindings_of("[-0.0]").entries[0].value, Value::Real(zero) if zero.is_sign_negative()));
}

#[test]
fn names_are_kept_as_they_are() {
    assert_eq!(bindings_of(r#"{":a":1,"_b":2,"1":3,"é":4}"#), [(":a", 1_i64), ("_b", 2), ("1", 3), ("é", 4)].into());
}

#[test]
fn the_last_of_several_values_with_one_name_is_used() {
    assert_eq!(bindings_of(r#"{"a":1,"b":2,"a":3}"#), [("a", 3_i64), ("b", 2)].into());
    let many: Vec<_> = (0..40).map(|i| format!("\"k{}\":{i}", i % 20)).collect();
    let bindings = bindings_of(&format!("{{{}}}", many.join(",")));
    assert_eq!(bindings.entries.len(), 20);
    assert_eq!(bindings.entries[7].name.as_deref(), Some("k7"));
    assert_eq!(bindings.entries[7].value, Value::Integer(27));
}

#[test]
fn values_that_are_absent() {
    for values in ["null", "[]", "{}"] {
        assert_eq!(bindings_of(values), Bindings::none());
    }
    for item in [r#"{"statement":"S","valuesBatch":[]}"#, r#"{"statement":"S","valuesBatch":null,"values":null}"#] {
        let batch = batch_of(&format!("{{\"transaction\":[{item}]}}"));
        assert_eq!(batch.steps[0].action, Action::Run { sql: "S".into(), bindings: Bindings::none() });
    }
    // An empty `valuesBatch` may accompany `values`.
    let batch = batch_of(r#"{"transaction":[{"query":"q","values":[1],"valuesBatch":[]}]}"#);
    assert_eq!(batch.steps[0].action, Action::Run { sql: "q".into(), bindings: [1_i64].into() });
}

#[test]
fn values_that_cannot_be_bound() {
    let slice = "unsupported type []interface {}, a slice of interface";
    let map = "unsupported type map[string]interface {}, a map";
    let number = "json: cannot unmarshal number 1e400 into Go value of type float64";
    for (values, message) in [
        ("5", "values should be an array or an object".to_owned()),
        ("1e400", "values should be an array or an object".to_owned()),
        ("\"x\"", "values should be an array or an object".to_owned()),
        ("true", "values should be an array or an object".to_owned()),
        ("1.5", "values should be an array or an object".to_owned()),
        ("-5", "values should be an array or an object".to_owned()),
        (r#"{"a":[1]}"#, format!("sql: converting argument with name \"a\" type: {slice}")),
        (r#"[{"b":1}]"#, format!("sql: converting argument $1 type: {map}")),
        (r#"[1,[],{}]"#, format!("sql: converting argument $2 type: {slice}")),
        (r#"{"v":1e400}"#, number.to_owned()),
        (r#"[[],1e400]"#, number.to_owned()),
        (r#"["\ud800",1e400]"#, number.to_owned()),
    ] {
        assert_eq!(failure_of(&format!("{{\"query\":\"q\",\"values\":{values}}}")), (500, message), "{values}");
    }
}

#[test]
fn a_number_beyond_a_double_fails_only_its_own_set_of_values() {
    let batch = batch_of(
        r#"{"transaction":[{"query":"q","values":{"a":-1e400}},{"query":"r","values":[7,"x\n",null,true,1.5]},
            {"statement":"s","valuesBatch":[[1],[-1e999],5,null]}]}"#,
    );
    let failed = |message: &str| Failure::Protocol { status: 500, message: message.into() };
    let beyond = |n| failed(&format!("json: cannot unmarshal number {n} into Go value of type float64"));
    assert_eq!(batch.steps[0].action, Action::Fail(beyond("-1e400")));
    let values = vec![7_i64.into(), "x\n".into(), Value::Null, true.into(), 1.5.into()];
    assert_eq!(batch.steps[1].action, Action::Run { sql: "r".into(), bindings: Bindings::positional::<Value>(values) });
    let no_container = failed("values should be an array or an object");
    let sets = vec![Ok([1_i64].into()), Err(beyond("-1e999")), Err(no_container), Ok(Bindings::none())];
    assert_eq!(batch.steps[2].action, Action::RunEach { sql: "s".into(), bindings: sets });
}

#[test]
fn an_invalid_element_of_a_batch_fails_when_it_is_run() {
    let batch = batch_of(r#"{"transaction":[{"statement":"s","valuesBatch":[{"a":1},5]}]}"#);
    let failure = Failure::Protocol { status: 500, message: "values should be an array or an object".into() };
    let sets = vec![Ok([("a", 1_i64)].into()), Err(failure)];
    assert_eq!(batch.steps[0].action, Action::RunEach { sql: "s".into(), bindings: sets });
}

#[test]
fn malformed_items() {
    let one = "one and only one of query or statement must be provided";
    let both = "cannot specify both values and valuesBatch";
    let batch = "cannot specify valuesBatch for queries (only for statements)";
    let clear = "encoder and decoder are not supported, the data would be stored in clear";
    let twice = "cannot specify values both beside the query or statement and inside it";
    let lost = "a stored statement is required, but did not find it";
    for (item, message) in [
        ("{}", one),
        ("null", one),
        (r#"{"query":""}"#, one),
        (r#"{"query":{}}"#, one),
        (r#"{"query":"a","statement":"b"}"#, one),
        (r#"{"query":"a","statement":"b","values":[],"valuesBatch":[[]]}"#, one),
        (r#"{"query":"a","values":{},"valuesBatch":[[]]}"#, both),
        (r#"{"statement":"a","values":5,"valuesBatch":[5]}"#, both),
        (r##"{"query":"#nope","valuesBatch":[[1]]}"##, batch),
        (r##"{"query":"#nope","values":5}"##, lost),
        (r##"{"query":"#q"}"##, lost),
        (r#"{"query":"a","decoder":{"pwd":"x"}}"#, clear),
        (r#"{"statement":{"sql":"a","ENCODER":1}}"#, clear),
        (r#"{"query":{"sql":"a","values":[1]},"values":[1]}"#, twice),
        (r#"{"statement":{"sql":"a","valuesBatch":[[1]]},"valuesBatch":[[1]]}"#, twice),
        (r#"{"statement":{"sql":"a","valuesBatch":[[1]]},"values":[1]}"#, both),
    ] {
        assert_eq!(failure_with(item, &stored(false)), (400, message.to_owned()), "{item}");
    }
}

#[test]
fn a_malformed_item_honours_no_fail_and_does_not_affect_others() {
    let batch = batch_of(r#"{"transaction":[{"noFail":true},{"query":"q"},{}]}"#);
    let continues: Vec<_> = batch.steps.iter().map(|step| step.on_error == OnError::Continue).collect();
    assert_eq!(continues, [true, false, false]);
    assert_eq!(batch.steps[1].sql(), Some("q"));
}

#[test]
fn stored_statements() {
    let sql = |text: &str, statements| {
        let body = format!("{{\"transaction\":[{{\"query\":\"{text}\"}}]}}");
        batch_with(&body, &statements).steps[0].sql().map(str::to_owned)
    };
    assert_eq!(sql("#Q", stored(true)).as_deref(), Some("SELECT 1"));
    assert_eq!(sql("#two words", stored(false)).as_deref(), Some("SELECT 2"));
    assert_eq!(sql("#nested", stored(true)).as_deref(), Some("#Q"));
    assert_eq!(sql(" #Q", stored(false)).as_deref(), Some(" #Q"));
    let refused = (400, "configured to serve only stored statements, but SQL is passed".to_owned());
    assert_eq!(failure_with(r#"{"statement":"SELECT 1"}"#, &stored(true)), refused);
    assert_eq!(failure_with(r##"{"statement":" #Q"}"##, &stored(true)), refused);
}

#[test]
fn items_and_sql_may_be_objects() {
    let plain = batch_of(r#"{"transaction":[{"query":"q","values":{"a":1},"noFail":true}]}"#);
    for body in [
        r#"{"transaction":{"query":"q","values":{"a":1},"noFail":true}}"#,
        r#"{"transaction":{"query":{"statement":"q","values":{"a":1},"noFail":true}}}"#,
        r#"{"transaction":[{"query":{"Query":"q","values":{"a":1}},"noFail":true}]}"#,
        r#"{"transaction":[{"query":{"sql":"q","noFail":true},"values":{"a":1}}]}"#,
    ] {
        assert_eq!(batch_of(body), plain, "{body}");
    }
    let plain = batch_of(r#"{"transaction":[{"statement":"s","valuesBatch":[[1]]}]}"#);
    assert_eq!(batch_of(r#"{"transaction":{"statement":{"statement":"s","valuesBatch":[[1]]}}}"#), plain);
}

#[test]
fn keys_match_in_any_case_and_the_last_is_used() {
    let plain = batch_of(r#"{"transaction":[{"query":"q","noFail":true,"values":[1]}]}"#);
    for body in [
        r#"{"TRANSACTION":[{"Query":"q","nofail":true,"VALUES":[1]}]}"#,
        r#"{"transaction":[{"query":"x"}],"other":{"deep":[[1e999]]},"transaction":[{"query":"y","query":"q","noFail":true,"values":[1]}]}"#,
        r#"{"transaction":[{"query":"q","query":null,"statement":null,"noFail":true,"noFail":null,"values":[1],"z":"\ud800"}]}"#,
    ] {
        assert_eq!(batch_of(body), plain, "{body}");
    }
}

#[test]
fn credentials() {
    let of = |body: &str| decode(body.as_bytes()).unwrap().credentials.map(|c| (c.user, c.password));
    assert_eq!(of(r#"{"credentials":{"user":"u","password":"p"}}"#), Some(("u".into(), "p".into())));
    assert_eq!(of(r#"{"Credentials":{"USER":"u","password":null,"x":1}}"#), Some(("u".into(), String::new())));
    assert_eq!(of(r#"{"credentials":{}}"#), Some(Default::default()));
    assert_eq!(of(r#"{"credentials":null}"#), None);
    assert_eq!(of("null"), None);
}

#[test]
fn no_secret_is_repeated_or_shown() {
    for body in [r#"{"credentials":"hunter2"}"#, r#"{"credentials":{"user":"u","password":["hunter2"]}}"#] {
        assert!(!refusal_of(body.as_bytes()).error.contains("hunter2"));
    }
    let call = decode(br#"{"credentials":{"user":"u","password":"hunter2"}}"#).unwrap();
    assert!(!format!("{call:?}").contains("hunter2"));
}

#[test]
fn calls_without_items() {
    let missing = Refusal { status: 400, req_idx: -1, error: "missing statements list ('transaction' node)".into() };
    for body in ["null", "{}", " {\"transaction\":null}\n", r#"{"transaction":[]}"#] {
        assert_eq!(refusal_of(body.as_bytes()), missing, "{body}");
    }
}

#[test]
fn bodies_that_are_not_calls() {
    for body in [
        "",
        "\"x\"",
        "{",
        "[]",
        "1",
        "{}x",
        "\u{feff}{}",
        "{\"transaction\":[1]}",
        "{\"transaction\":\"x\"}",
        r#"{"transaction":[{"query":1}]}"#,
        r#"{"transaction":[{"query":["x"]}]}"#,
        r#"{"transaction":[{"query":{"sql":{}}}]}"#,
        r#"{"resultFormat":1}"#,
        r#"{"credentials":"x"}"#,
        r#"{"credentials":{"user":1}}"#,
        r#"{"transaction":[{"query":"q","noFail":"true"}]}"#,
        r#"{"transaction":[{"query":"q","noFail":1e400}]}"#,
        r#"{"transaction":[{"statement":"s","valuesBatch":{}}]}"#,
        r#"{"transaction":[{"query":"q","values":[1}]}"#,
        r#"{"transaction":[{"query":"q","values":[01]}]}"#,
        "{\"transaction\":[{\"query\":\"a\nb\"}]}",
    ] {
        let refusal = refusal_of(body.as_bytes());
        assert_eq!((refusal.status, refusal.req_idx), (400, -1), "{body}");
        assert!(refusal.error.starts_with("in parsing body: "), "{body}: {}", refusal.error);
    }
    assert_eq!(refusal_of(b"{").error, "in parsing body: unexpected end of JSON input");
    assert_eq!(refusal_of(b"").error, "in parsing body: unexpected end of JSON input");
}

#[test]
fn invalid_text_becomes_replacement_characters() {
    let text = |body: &[u8]| {
        let batch = decode(body).unwrap().into_batch(&Statements::default()).unwrap().0;
        batch.steps[0].sql().map(str::to_owned).unwrap()
    };
    assert_eq!(text(br#"{"transaction":[{"query":"a\ud800\ud83d\ude00\udc00b"}]}"#), "a\u{fffd}😀\u{fffd}b");
    assert_eq!(text(b"{\"transaction\":[{\"query\":\"a\xffb\"}]}"), "a\u{fffd}b");
    let batch = batch_of(r#"{"transaction":[{"query":"q","values":["\udfff",9007199254740993]}]}"#);
    let values = Bindings::positional::<Value>(["\u{fffd}".into(), 9007199254740993_i64.into()]);
    assert_eq!(batch.steps[0].action, Action::Run { sql: "q".into(), bindings: values });
}

#[test]
fn depth_does_not_exhaust_the_stack() {
    let deep = "[".repeat(200_000);
    refusal_of(deep.as_bytes());
    refusal_of(format!("{{\"x\":{deep}").as_bytes());
    let closed = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let call: Result<Call, _> = decode(format!("{{\"unknown\":{closed}}}").as_bytes());
    assert_eq!(call.unwrap().item_count(), 0);
    let (status, _) = failure_of(&format!("{{\"query\":\"q\",\"values\":[{closed}]}}"));
    assert_eq!(status, 500);
}
