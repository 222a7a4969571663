//! The server's side decodes the requests of the client's side, and the client's side decodes the replies of the
//! server's.

#![allow(clippy::unwrap_used, clippy::panic)] // Helper functions of tests may panic, as tests do.

use std::sync::Arc;

use proptest::prelude::*;
use sqlhttp_core::{
    Action, Atomicity, Batch, BindRule, Binding, Bindings, Block, Changed, Column, Expect, Failure, OnError, Outcome,
    Rows, Step, StepOutcome, Value, ValueRef,
};
use sqlhttp_rqlite::client::{Changes, ReplyError, StatementResult, decode_reply, encode_call};
use sqlhttp_rqlite::{Endpoint, Params, ReplyShape, Trailer, decode, encode};

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<i64>().prop_map(Value::Integer),
        any::<f64>().prop_filter("finite", |v| v.is_finite()).prop_map(Value::Real),
        any::<String>().prop_map(Value::Text),
        "[\\x00-\\x22\\\\<>&\u{2028}]{0,8}".prop_map(Value::Text),
        prop::collection::vec(any::<u8>(), 0..12).prop_map(Value::Blob),
    ]
}

fn bindings() -> impl Strategy<Value = Bindings> {
    let entry = (prop::option::of("[:@$]?\\PC{1,6}"), value())
        .prop_map(|(name, value)| Binding { name: name.map(Into::into), value });
    prop::collection::vec(entry, 0..5).prop_map(|entries| Bindings { entries, rule: BindRule::Counted })
}

fn endpoint() -> impl Strategy<Value = Endpoint> {
    prop::sample::select(vec![Endpoint::Execute, Endpoint::Query, Endpoint::Request])
}

fn batch() -> impl Strategy<Value = (Batch, Endpoint)> {
    let texts = prop::collection::vec(("\\PC{1,20}", bindings()), 1..5);
    (texts, endpoint(), any::<bool>()).prop_map(|(texts, endpoint, transaction)| {
        let query = endpoint == Endpoint::Query;
        let step = |(sql, bindings): (String, Bindings)| Step {
            action: Action::Run { sql: sql.into(), bindings },
            expect: match endpoint {
                Endpoint::Query => Expect::Rows,
                Endpoint::Execute => Expect::Returning,
                _ => Expect::Either,
            },
            on_error: if query && transaction { OnError::Continue } else { OnError::Abort },
        };
        let batch = Batch {
            steps: texts.into_iter().map(step).collect(),
            atomicity: if transaction { Atomicity::All } else { Atomicity::Each },
            ..Batch::default()
        };
        (batch, endpoint)
    })
}

/// Whether a received value is the one that was sent. An integral REAL arrives as an INTEGER, because the protocol has
/// one type of number.
fn same(received: &Value, sent: &Value) -> bool {
    match (received, sent) {
        (Value::Integer(received), Value::Real(sent)) => *received as f64 == *sent,
        (received, sent) => received == sent,
    }
}

fn by_reference(value: &Value) -> ValueRef<'_> {
    match value {
        Value::Null => ValueRef::Null,
        Value::Integer(i) => ValueRef::Integer(*i),
        Value::Real(r) => ValueRef::Real(*r),
        Value::Text(text) => ValueRef::Text(text.as_bytes()),
        Value::Blob(bytes) => ValueRef::Blob(bytes),
    }
}

fn done(step: StepOutcome) -> Outcome {
    Outcome { steps: vec![step], ..Outcome::default() }
}

proptest! {
    #[test]
    fn any_batch_that_can_be_expressed((batch, endpoint) in batch()) {
        let request = encode_call(&batch, endpoint).unwrap();
        let params = Params::parse(&request.params.to_query()).unwrap();
        let call = decode(endpoint, None, &request.body, &params).unwrap();
        prop_assert_eq!(call.into_batch(endpoint, &params).unwrap().0, batch);
    }

    #[test]
    fn any_rows(names in prop::collection::btree_set("\\PC{0,6}", 1..5), cells in prop::collection::vec(value(), 0..40),
        associative in any::<bool>(), pretty in any::<bool>()
    ) {
        let width = names.len();
        let mut block = Block::new(width);
        cells.chunks_exact(width).for_each(|row| block.push_row(row.iter().map(by_reference)));
        let names: Vec<String> = names.into_iter().collect();
        let column = |name: &String| Column { name: name.clone(), decl_type: Some("BLOB".into()), table: None };
        let columns: Arc<[Column]> = names.iter().map(column).collect();
        let rows = Rows { columns, blocks: vec![block], changed: Changed::default() };
        let mut params = Params::default();
        (params.associative, params.pretty, params.blob_array) = (associative, pretty, true);
        let shape = ReplyShape::new(Endpoint::Query, &params, 1);
        let reply = encode(&done(StepOutcome::Rows(rows)), &shape, &Trailer::default());
        let mut response = decode_reply(reply.status, &reply.body).unwrap();
        let Some(StatementResult::Rows(got)) = response.results.pop() else { panic!("no rows") };
        prop_assert_eq!(&got.columns, &names);
        prop_assert_eq!(got.types, vec!["blob"; width]);
        prop_assert_eq!(got.rows.len(), cells.len() / width);
        for (got, want) in got.rows.iter().flatten().zip(&cells) {
            prop_assert!(same(got, want), "{:?} is not {:?}", got, want);
        }
    }

    #[test]
    fn any_count(rows in any::<u64>(), id in any::<i64>(), associative in any::<bool>()) {
        let changed = Changed { rows, last_insert_id: Some(id) };
        let params = Params::default().associative(associative);
        let shape = ReplyShape::new(Endpoint::Execute, &params, 1);
        let reply = encode(&done(StepOutcome::Changed(changed)), &shape, &Trailer::default());
        let response = decode_reply(reply.status, &reply.body).unwrap();
        let changes = Changes { last_insert_id: Some(id).filter(|&id| id != 0), rows_affected: rows, time: None };
        prop_assert_eq!(response.results, [StatementResult::Changed(changes)]);
    }

    #[test]
    fn no_body_makes_decode_panic(body in prop_oneof![
        prop::collection::vec(any::<u8>(), 0..60),
        "[\\[\\]{}\",:0-9exX' tn\\\\ud8]{0,40}".prop_map(String::into_bytes),
    ]) {
        let _ = decode(Endpoint::Request, None, &body, &Params::default());
        let _ = decode_reply(200, &body);
    }
}

#[test]
fn batches_that_cannot_be_expressed() {
    let counted = |value: Value| Bindings { entries: vec![Binding { name: None, value }], rule: BindRule::Counted };
    let good = Step::query("q", Bindings { rule: BindRule::Counted, ..Bindings::none() });
    let each = |step: Step| Batch { atomicity: Atomicity::Each, ..Batch::one(step) };
    assert!(encode_call(&each(good.clone()), Endpoint::Query).is_ok());
    for batch in [
        Batch::default(),
        each(Step::query("", Bindings::none())),
        each(Step::query("q", [1_i64])),
        each(Step::query("q", counted(f64::INFINITY.into()))),
        each(Step::query("q", counted(" x'00' ".into()))),
        each(Step::execute("q", Bindings::none())),
        each(Step::fail(Failure::Timeout)),
        each(good.clone().or_continue()),
        Batch::one(good),
    ] {
        assert!(encode_call(&batch, Endpoint::Query).is_err(), "{batch:?}");
    }
}

#[test]
fn replies_of_rqlite() {
    let body = br#"{"results":[{},{"error":"no"},{"types":{"a":"integer","b":""},"rows":[{"a":true,"b":-9e999}],"time":0.5}],"time":1.5,"raft_index":9}"#;
    let response = decode_reply(200, body).unwrap();
    assert_eq!((response.time, response.raft_index, response.sequence_number), (Some(1.5), Some(9), None));
    assert_eq!(response.results[0], StatementResult::Changed(Changes::default()));
    assert_eq!(response.results[1], StatementResult::Failed("no".into()));
    let StatementResult::Rows(rows) = &response.results[2] else { panic!() };
    assert_eq!(rows.rows, [[Value::Integer(1), Value::Real(f64::NEG_INFINITY)]]);
    assert_eq!(
        decode_reply(200, br#"{"results":[],"error":"stale read"}"#),
        Err(ReplyError::Failed("stale read".into()))
    );
    let refused = ReplyError::Refused { status: 503, text: "leader not found".into() };
    assert_eq!(decode_reply(503, b"leader not found\n"), Err(refused));
    for body in [
        "[]",
        r#"{"results":[{"columns":["a"],"types":[]}]}"#,
        r#"{"results":[{"columns":["a"],"types":["b"],"values":[[]]}]}"#,
        r#"{"results":[{"types":{"a":"b"},"rows":[{}]}]}"#,
        r#"{"results":[{"columns":["a"],"types":["b"],"values":[[{}]]}]}"#,
    ] {
        assert!(matches!(decode_reply(200, body.as_bytes()), Err(ReplyError::Malformed(_))), "{body}");
    }
}
