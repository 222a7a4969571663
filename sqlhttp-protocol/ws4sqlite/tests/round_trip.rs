//! The server's side decodes the requests of the client's side, and the client's side decodes the replies of the
//! server's.

#![allow(clippy::unwrap_used, clippy::panic)] // Helper functions of tests may panic, as tests do.

use std::sync::Arc;

use proptest::prelude::*;
use sqlhttp_core::{
    Action, Atomicity, Batch, BindRule, Binding, Bindings, Block, Changed, Column, Expect, OnError, Outcome, Rows,
    Stamp, Step, StepOutcome, Value, ValueRef,
};
use sqlhttp_ws4sqlite::client::{Format, ItemResult, Part, ReplyReader, decode_reply, encode_call};
use sqlhttp_ws4sqlite::{Credentials, Statements, decode, encode};

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<i64>().prop_map(Value::Integer),
        any::<f64>().prop_filter("finite", |v| v.is_finite()).prop_map(Value::Real),
        any::<String>().prop_map(Value::Text),
        "[\\x00-\\x22\\\\<>&\u{2028}]{0,8}".prop_map(Value::Text),
    ]
}

fn bindings() -> impl Strategy<Value = Bindings> {
    let positional = prop::collection::vec(value(), 0..5).prop_map(Bindings::positional);
    let named = prop::collection::btree_map("[:@$]?\\PC{0,6}", value(), 0..5).prop_map(|values| {
        let entry = |(name, value): (String, Value)| Binding { name: Some(name.into()), value };
        Bindings { entries: values.into_iter().map(entry).collect(), rule: BindRule::Strict }
    });
    prop_oneof![positional, named]
}

fn step() -> impl Strategy<Value = Step> {
    let sql = "[^#]\\PC{0,20}".prop_map(Arc::<str>::from);
    let run = (sql.clone(), bindings(), any::<bool>()).prop_map(|(sql, bindings, query)| {
        let action = Action::Run { sql, bindings };
        (action, if query { Expect::Rows } else { Expect::Count })
    });
    let run_each = (sql, prop::collection::vec(bindings().prop_map(Ok), 1..4))
        .prop_map(|(sql, bindings)| (Action::RunEach { sql, bindings }, Expect::Count));
    (prop_oneof![run, run_each], any::<bool>()).prop_map(|((action, expect), no_fail)| {
        let on_error = if no_fail { OnError::Continue } else { OnError::Abort };
        Step { action, expect, on_error }
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

fn column(name: String) -> Column {
    Column { name, decl_type: None, table: None }
}

/// Decodes a reply that arrives in chunks, and puts the rows back into the results.
fn decode_chunks<'c>(chunks: impl Iterator<Item = &'c [u8]>) -> Vec<ItemResult> {
    let mut reader = ReplyReader::default();
    let (mut results, mut arrived) = (Vec::new(), Vec::new());
    for chunk in chunks {
        reader.push(chunk).unwrap();
        while let Some(part) = reader.next() {
            match part {
                Part::Columns(_) => {}
                Part::Rows(more) => arrived.extend(more),
                Part::End(ItemResult::Rows { headers, .. }) => {
                    results.push(ItemResult::Rows { headers, rows: std::mem::take(&mut arrived) });
                }
                Part::End(result) => results.push(result),
            }
        }
    }
    reader.finish().unwrap();
    results
}

proptest! {
    #[test]
    fn any_call_that_can_be_expressed(steps in prop::collection::vec(step(), 1..5), list in any::<bool>(),
        credentials in prop::option::of(any::<(String, String)>())
    ) {
        let batch = Batch { settings: sqlhttp_core::Settings::Ignore, ..Batch::transaction(steps) };
        let credentials = credentials.map(|(user, password)| Credentials { user, password });
        let format = if list { Format::List } else { Format::Map };
        let call = decode(&encode_call(&batch, credentials.as_ref(), format).unwrap()).unwrap();
        prop_assert_eq!(&call.credentials, &credentials);
        prop_assert_eq!(call.into_batch(&Statements::default()).unwrap().0, batch);
    }

    #[test]
    fn any_rows(names in prop::collection::btree_set("\\PC{0,6}", 1..5), cells in prop::collection::vec(value(), 0..40),
        list in any::<bool>(), chunk in 1..100_usize
    ) {
        let width = names.len();
        let mut block = Block::new(width);
        for row in cells.chunks_exact(width) {
            block.push_row(row.iter().map(|value| match value {
                Value::Null | Value::Blob(_) => ValueRef::Null,
                Value::Integer(i) => ValueRef::Integer(*i),
                Value::Real(r) => ValueRef::Real(*r),
                Value::Text(text) => ValueRef::Text(text.as_bytes()),
            }));
        }
        let want: Vec<Vec<Value>> = block.rows().map(|row| row.values().map(|value| value.to_value()).collect()).collect();
        let headers: Vec<String> = names.into_iter().collect();
        let columns = headers.iter().cloned().map(column).collect();
        let rows = Rows { columns, blocks: vec![block], changed: Changed::default() };
        let outcome = Outcome { steps: vec![StepOutcome::Rows(rows)], ..Outcome::default() };
        let format = if list { "list" } else { "map" };
        let body = format!("{{\"resultFormat\":\"{format}\",\"transaction\":[{{\"query\":\"q\"}}]}}");
        let shape = decode(body.as_bytes()).unwrap().into_batch(&Statements::default()).unwrap().1;
        let reply = encode(&outcome, &shape);
        let mut results = decode_reply(reply.status, &reply.body).unwrap();
        prop_assert_eq!(&decode_chunks(reply.body.chunks(chunk)), &results);
        let Some(ItemResult::Rows { headers: got_headers, rows: got }) = results.pop() else { panic!("no rows") };
        prop_assert_eq!(got_headers, headers);
        prop_assert_eq!(got.len(), want.len());
        for (got, want) in got.iter().flatten().zip(want.iter().flatten()) {
            prop_assert!(same(got, want), "{:?} is not {:?}", got, want);
        }
    }

    #[test]
    fn no_body_makes_decode_panic(body in prop::collection::vec(any::<u8>(), 0..60)) {
        let _ = decode(&body);
    }

    #[test]
    fn no_nearly_json_body_makes_decode_panic(
        parts in prop::collection::vec(prop::sample::select(&[
            "{", "}", "[", "]", ",", ":", "\"transaction\"", "\"query\"", "\"values\"", "\"valuesBatch\"", "\"noFail\"",
            "\"statement\"", "null", "true", "1e400", "-0", "\"\\ud800\"", "\"x\"", "\\", "\"",
        ][..]), 0..30)
    ) {
        if let Ok(call) = decode(parts.concat().as_bytes()) {
            let _ = call.into_batch(&Statements::default());
        }
    }
}

#[test]
fn batches_that_cannot_be_expressed() {
    let refused = |step: Step| encode_call(&Batch::one(step), None, Format::List).unwrap_err();
    let mixed = Bindings {
        entries: vec![
            Binding { name: None, value: Value::Null },
            Binding { name: Some("a".into()), value: Value::Null },
        ],
        rule: BindRule::Strict,
    };
    let counted = Bindings { entries: vec![], rule: BindRule::Counted };
    let each = |bindings, expect| Step {
        action: Action::RunEach { sql: "s".into(), bindings },
        expect,
        on_error: OnError::Abort,
    };
    for step in [
        Step::query("", ()),
        Step::query("#id", ()),
        Step::query("q", [vec![1_u8]]),
        Step::query("q", [f64::INFINITY]),
        Step::query("q", mixed),
        Step { expect: Expect::Either, ..Step::query("q", ()) },
        Step::fail(sqlhttp_core::Failure::Timeout),
        each(vec![], Expect::Count),
        each(vec![Ok(Bindings::none())], Expect::Rows),
        each(vec![Err(sqlhttp_core::Failure::Timeout)], Expect::Count),
        each(vec![Ok(counted)], Expect::Count),
    ] {
        assert_eq!(refused(step).step, Some(0));
    }
    let alone = Batch { atomicity: Atomicity::Each, ..Batch::one(Step::query("q", ())) };
    assert_eq!(encode_call(&alone, None, Format::Map).unwrap_err().step, None);
    let stamped = Batch { stamp: Some(Stamp { unix_ms: 0, seed: 0 }), ..Batch::one(Step::query("q", ())) };
    assert_eq!(encode_call(&stamped, None, Format::Map).unwrap_err().step, None);
}

#[test]
fn an_integral_real_stays_a_real() {
    let step = Step::query("q", Bindings::positional([1.0, -0.0, 1e21, 1e-7, f64::MAX, 5e-324]));
    let batch = Batch { settings: sqlhttp_core::Settings::Ignore, ..Batch::one(step) };
    let body = encode_call(&batch, None, Format::List).unwrap();
    let decoded = decode(&body).unwrap().into_batch(&Statements::default()).unwrap().0;
    assert_eq!(format!("{decoded:?}"), format!("{batch:?}"));
}
