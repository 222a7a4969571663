//! Replies to outcomes. The expected bytes come from recorded conversations with ws4sqlite.

#![allow(clippy::unwrap_used, clippy::panic)] // Helper functions of tests may panic, as tests do.

use std::sync::Arc;

use sqlhttp_core::{
    Block, Changed, Column, Ending, Error, Failure, Outcome, Part, Rows, SqlError, StepOutcome, TransactionKeyword,
    ValueRef,
};
use sqlhttp_ws4sqlite::{PartEncoder, ReplyShape, Statements, decode, encode, encode_error};

fn shape(body: &str) -> ReplyShape {
    decode(body.as_bytes()).unwrap().into_batch(&Statements::default()).unwrap().1
}

const QUERY: &str = r#"{"transaction":[{"query":"q"}]}"#;
const LIST: &str = r#"{"resultFormat":"LIST","transaction":[{"query":"q"}]}"#;
const STATEMENT: &str = r#"{"transaction":[{"statement":"s"}]}"#;
const NO_FAIL: &str = r#"{"transaction":[{"query":"q","noFail":true},{"statement":"s"}]}"#;

fn column(name: &str, decl_type: Option<&str>) -> Column {
    Column { name: name.into(), decl_type: decl_type.map(str::to_owned), table: None }
}

fn block(columns: usize, rows: &[&[ValueRef<'_>]]) -> Block {
    let mut block = Block::new(columns);
    rows.iter().for_each(|row| block.push_row(row.iter().copied()));
    block
}

fn rows(names: &[&str], rows: &[&[ValueRef<'_>]]) -> StepOutcome {
    let columns = names.iter().map(|name| column(name, None)).collect();
    StepOutcome::Rows(Rows { columns, blocks: vec![block(names.len(), rows)], changed: Changed::default() })
}

fn changed(rows: u64) -> Changed {
    Changed { rows, last_insert_id: None }
}

fn sql(code: i32, generic: &str, message: &str) -> Failure {
    Failure::Sql(SqlError { code, generic: generic.into(), message: message.into(), offset: None })
}

fn unique() -> Failure {
    sql(1555, "constraint failed", "UNIQUE constraint failed: K.a")
}

fn done(steps: Vec<StepOutcome>) -> Outcome {
    Outcome { steps, info: vec![], ending: Ending::Done, ..Outcome::default() }
}

/// Encodes an outcome at once. If the status is 200, checks that encoding it part by part produces the same reply.
fn reply(outcome: &Outcome, body: &str) -> (u16, String) {
    let shape = shape(body);
    let reply = encode(outcome, &shape);
    let in_parts = encode_in_parts(outcome, shape);
    assert_eq!(reply.status == 200, in_parts.is_ok());
    if let Ok(in_parts) = in_parts {
        assert_eq!(String::from_utf8(in_parts).unwrap(), String::from_utf8(reply.body.clone()).unwrap());
    }
    (reply.status, String::from_utf8(reply.body).unwrap())
}

/// Encodes an outcome part by part. The rows of a step arrive in several parts, the last block with the step.
fn encode_in_parts(outcome: &Outcome, shape: ReplyShape) -> Result<Vec<u8>, sqlhttp_ws4sqlite::EncodeError> {
    let mut encoder = PartEncoder::new(shape);
    let mut sent = Vec::new();
    let mut out = Vec::new();
    let mut part = |part| {
        encoder.part(part, &mut out)?;
        sent.append(&mut out);
        Ok::<_, sqlhttp_ws4sqlite::EncodeError>(())
    };
    for step in &outcome.steps {
        let mut step = step.clone();
        if let StepOutcome::Rows(rows) = &mut step {
            part(Part::Columns(rows.columns.clone()))?;
            while rows.blocks.len() > 1 {
                part(Part::Rows(rows.blocks.remove(0)))?;
            }
        }
        part(Part::Step(step, sqlhttp_core::StepInfo::default()))?;
    }
    part(Part::End(outcome.ending.clone()))?;
    Ok(sent)
}

#[test]
fn rows_as_objects_and_as_arrays() {
    use ValueRef::{Blob, Integer, Null, Real, Text};
    let columns = ["i", "r", "t", "b", "e", "n"];
    let row: &[ValueRef<'_>] =
        &[Integer(i64::MIN), Real(1.0), Text(b"a<b>&\xff\n"), Blob(&[1, 2, 255]), Blob(&[]), Null];
    let outcome = done(vec![rows(&columns, &[row, &[Null; 6]])]);
    let head = r#"{"results":[{"success":true,"resultHeaders":["i","r","t","b","e","n"],"#;
    let map = concat!(
        "\"resultSet\":[{\"i\":-9223372036854775808,\"r\":1,\"t\":\"a<b>&\u{fffd}\\n\",\"b\":\"AQL/\",\"e\":null,\"n\":null},",
        "{\"i\":null,\"r\":null,\"t\":null,\"b\":null,\"e\":null,\"n\":null}]}]}"
    );
    assert_eq!(reply(&outcome, QUERY), (200, format!("{head}{map}")));
    let list = concat!(
        "\"resultSetList\":[[-9223372036854775808,1,\"a<b>&\u{fffd}\\n\",\"AQL/\",null,null],",
        "[null,null,null,null,null,null]]}]}"
    );
    assert_eq!(reply(&outcome, LIST), (200, format!("{head}{list}")));
}

#[test]
fn columns_with_the_same_name_keep_the_first_position_and_the_last_value() {
    use ValueRef::Integer;
    let two: &[&[ValueRef<'_>]] = &[&[Integer(1), Integer(2), Integer(3)], &[Integer(4), Integer(5), Integer(6)]];
    let outcome = done(vec![rows(&["a", "a", "b"], two)]);
    let map =
        r#"{"results":[{"success":true,"resultHeaders":["a","a","b"],"resultSet":[{"a":2,"b":3},{"a":5,"b":6}]}]}"#;
    assert_eq!(reply(&outcome, QUERY), (200, map.into()));
    let list = r#"{"results":[{"success":true,"resultHeaders":["a","a","b"],"resultSetList":[[1,2,3],[4,5,6]]}]}"#;
    assert_eq!(reply(&outcome, LIST), (200, list.into()));
    let outcome = done(vec![rows(&["b", "a", "c", "a", "b"], &[&[1, 2, 3, 4, 5].map(Integer)])]);
    let map =
        r#"{"results":[{"success":true,"resultHeaders":["b","a","c","a","b"],"resultSet":[{"b":5,"a":4,"c":3}]}]}"#;
    assert_eq!(reply(&outcome, QUERY), (200, map.into()));
}

#[test]
fn many_columns_with_few_names() {
    let names: Vec<String> = (0..40).map(|i| format!("c{}", i % 30)).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let values: Vec<_> = (0..40).map(ValueRef::Integer).collect();
    let (_, body) = reply(&done(vec![rows(&names, &[&values])]), QUERY);
    let fields: Vec<String> = (0..30).map(|i| format!("\"c{i}\":{}", if i < 10 { i + 30 } else { i })).collect();
    assert!(body.ends_with(&format!("\"resultSet\":[{{{}}}]}}]}}", fields.join(","))), "{body}");
}

#[test]
fn names_are_escaped_and_may_be_empty() {
    use ValueRef::Integer;
    let outcome = done(vec![rows(&["x.y", "", "a\"<"], &[&[Integer(1), Integer(2), Integer(3)]])]);
    let map =
        r#"{"results":[{"success":true,"resultHeaders":["x.y","","a\"<"],"resultSet":[{"x.y":1,"":2,"a\"<":3}]}]}"#;
    assert_eq!(reply(&outcome, QUERY), (200, map.into()));
}

#[test]
fn results_without_rows_and_without_columns() {
    let outcome = done(vec![rows(&["1"], &[])]);
    assert_eq!(reply(&outcome, QUERY).1, r#"{"results":[{"success":true,"resultHeaders":["1"],"resultSet":[]}]}"#);
    assert_eq!(reply(&outcome, LIST).1, r#"{"results":[{"success":true,"resultHeaders":["1"],"resultSetList":[]}]}"#);
    for outcome in [done(vec![rows(&[], &[])]), done(vec![StepOutcome::Changed(changed(1))])] {
        assert_eq!(reply(&outcome, QUERY).1, r#"{"results":[{"success":true,"resultSet":[]}]}"#);
        assert_eq!(reply(&outcome, LIST).1, r#"{"results":[{"success":true,"resultSetList":[]}]}"#);
    }
}

#[test]
fn counts() {
    let body = r#"{"transaction":[{"statement":"s"},{"statement":"s","valuesBatch":[[],[]]},{"statement":"s"}]}"#;
    let with_rows = StepOutcome::Rows(Rows { columns: Arc::from([]), blocks: vec![], changed: changed(2) });
    let each = StepOutcome::ChangedEach(vec![changed(1), changed(0)]);
    let outcome = done(vec![StepOutcome::Changed(changed(u64::MAX)), each, with_rows]);
    let want = concat!(
        r#"{"results":[{"success":true,"rowsUpdated":18446744073709551615},"#,
        r#"{"success":true,"rowsUpdatedBatch":[1,0]},{"success":true,"rowsUpdated":2}]}"#
    );
    assert_eq!(reply(&outcome, body), (200, want.into()));
    let outcome = done(vec![StepOutcome::ChangedEach(vec![])]);
    assert_eq!(reply(&outcome, STATEMENT).1, r#"{"results":[{"success":true}]}"#);
}

#[test]
fn times_in_date_columns() {
    use ValueRef::{Integer, Text};
    let columns: Arc<[Column]> = [("d", "date"), ("ts", "TIMESTAMP"), ("tm", "TIME"), ("x", "DATETIME")]
        .map(|(name, declared)| column(name, Some(declared)))
        .into();
    let row: &[ValueRef<'_>] =
        &[Text(b"2024-01-02"), Text(b"no \"date\""), Text(b"2024-01-02"), Integer(1_704_164_645)];
    let rows = Rows { columns, blocks: vec![block(4, &[row])], changed: Changed::default() };
    let want = concat!(
        r#"{"results":[{"success":true,"resultHeaders":["d","ts","tm","x"],"#,
        r#""resultSetList":[["2024-01-02T00:00:00Z","no \"date\"","2024-01-02",1704164645]]}]}"#
    );
    assert_eq!(reply(&done(vec![StepOutcome::Rows(rows)]), LIST), (200, want.into()));
}

#[test]
fn infinities_are_valid_json() {
    let outcome = done(vec![rows(&["a", "b"], &[&[ValueRef::Real(f64::INFINITY), ValueRef::Real(f64::NEG_INFINITY)]])]);
    let want = r#"{"results":[{"success":true,"resultHeaders":["a","b"],"resultSet":[{"a":9e999,"b":-9e999}]}]}"#;
    assert_eq!(reply(&outcome, QUERY), (200, want.into()));
}

#[test]
fn a_failed_item_under_no_fail() {
    let outcome = done(vec![StepOutcome::Failed(unique()), StepOutcome::Changed(changed(1))]);
    let want = concat!(
        r#"{"results":[{"success":false,"error":"Constraint failed: UNIQUE constraint failed: K.a (1555)"},"#,
        r#"{"success":true,"rowsUpdated":1}]}"#
    );
    assert_eq!(reply(&outcome, NO_FAIL), (200, want.into()));
}

#[test]
fn an_aborted_transaction() {
    let aborted = |failure| Outcome {
        steps: vec![StepOutcome::Changed(changed(1)), StepOutcome::Failed(failure)],
        ending: Ending::Aborted(1),
        ..Outcome::default()
    };
    let error = |text: &str| format!("{{\"reqIdx\":1,\"error\":\"{text}\"}}");
    let begin = Failure::TransactionControl(TransactionKeyword::Begin);
    let commit = Failure::TransactionControl(TransactionKeyword::Commit);
    let with = |sql: &str| format!("{{\"transaction\":[{{\"statement\":\"s\"}},{{\"statement\":\"{sql}\"}}]}}");
    for (failure, sql, status, text) in [
        (unique(), "s", 500, "constraint failed: UNIQUE constraint failed: K.a (1555)"),
        (sql(5, "database is locked", "database is locked"), "s", 500, "database is locked (5) (SQLITE_BUSY)"),
        (Failure::MissingNamed("a".into()), "s", 500, "missing named argument \\\"a\\\""),
        (Failure::MissingPositional(2), "s", 500, "missing argument with index 2"),
        (Failure::Timeout, "s", 504, "the time limit was exceeded"),
        (begin.clone(), "Begin immediate", 400, "BEGIN is not allowed"),
        (begin, " BEGIN", 500, "SQL logic error: cannot start a transaction within a transaction (1)"),
        (commit, " COMMIT", 400, "COMMIT is not allowed"),
        (Failure::NotAllowed("ATTACH".into()), "s", 400, "ATTACH is not allowed"),
        (Failure::Protocol { status: 400, message: "no".into() }, "s", 400, "no"),
    ] {
        assert_eq!(reply(&aborted(failure), &with(sql)), (status, error(text)));
    }
}

#[test]
fn a_transaction_that_is_not_committed() {
    let failure = sql(787, "constraint failed", "FOREIGN KEY constraint failed");
    let outcome = Outcome {
        steps: vec![StepOutcome::Changed(changed(1))],
        info: vec![],
        ending: Ending::NotCommitted(failure),
        ..Outcome::default()
    };
    let want = r#"{"reqIdx":-1,"error":"constraint failed: FOREIGN KEY constraint failed (787)"}"#;
    assert_eq!(reply(&outcome, STATEMENT), (500, want.into()));
}

#[test]
fn errors() {
    let reply = encode_error(&Error::Timeout);
    assert_eq!(reply.status, 504);
    assert_eq!(reply.body, br#"{"reqIdx":-1,"error":"the time limit was exceeded"}"#);
}

#[test]
fn rows_in_several_parts_are_one_result() {
    use ValueRef::Integer;
    let columns: Arc<[Column]> = Arc::from([column("a", None)]);
    let blocks = vec![
        block(1, &[&[Integer(1)], &[Integer(2)]]),
        block(1, &[]),
        block(1, &[&[Integer(3)]]),
        block(1, &[&[Integer(4)]]),
    ];
    let rows = StepOutcome::Rows(Rows { columns, blocks, changed: Changed::default() });
    let want = r#"{"results":[{"success":true,"resultHeaders":["a"],"resultSetList":[[1],[2],[3],[4]]}]}"#;
    assert_eq!(reply(&done(vec![rows]), LIST), (200, want.into()));
}

/// Encodes a query that fails after its first row, and a step after it. `drain`: whether the output is emptied after
/// the row.
fn fail_midway(body: &str, drain: bool) -> Result<String, sqlhttp_ws4sqlite::EncodeError> {
    let mut encoder = PartEncoder::new(shape(body));
    let mut out = Vec::new();
    let mut sent = Vec::new();
    encoder.part(Part::Columns(Arc::from([column("a", None)])), &mut out)?;
    encoder.part(Part::Rows(block(1, &[&[ValueRef::Integer(1)]])), &mut out)?;
    if drain {
        sent.append(&mut out);
    }
    encoder.part(Part::Step(StepOutcome::Failed(unique()), sqlhttp_core::StepInfo::default()), &mut out)?;
    encoder.part(Part::Step(StepOutcome::Changed(changed(1)), sqlhttp_core::StepInfo::default()), &mut out)?;
    encoder.part(Part::End(Ending::Done), &mut out)?;
    sent.append(&mut out);
    Ok(String::from_utf8(sent).unwrap())
}

#[test]
fn a_query_that_fails_midway() {
    let error = "onstraint failed: UNIQUE constraint failed: K.a (1555)";
    let want = format!(r#"{{"results":[{{"success":false,"error":"C{error}"}},{{"success":true,"rowsUpdated":1}}]}}"#);
    assert_eq!(fail_midway(NO_FAIL, false), Ok(want));
    let item = format!(r#"{{"resultHeaders":["a"],"resultSet":[{{"a":1}}],"success":false,"error":"C{error}"}}"#);
    let want = format!(r#"{{"results":[{item},{{"success":true,"rowsUpdated":1}}]}}"#);
    assert_eq!(fail_midway(NO_FAIL, true), Ok(want));
    for (body, drain) in [(QUERY, false), (QUERY, true)] {
        let reply = fail_midway(body, drain).unwrap_err().reply;
        assert_eq!(reply.status, 500);
        assert_eq!(String::from_utf8(reply.body).unwrap(), format!(r#"{{"reqIdx":0,"error":"c{error}"}}"#));
    }
}

#[test]
fn nothing_is_sent_before_the_error_of_an_item_that_is_malformed() {
    let body = r##"{"transaction":[{"query":"q"},{"query":"#nope"}]}"##;
    let mut encoder = PartEncoder::new(shape(body));
    let mut out = Vec::new();
    encoder.part(Part::Columns(Arc::from([column("a", None)])), &mut out).unwrap();
    encoder.part(Part::Rows(block(1, &[&[ValueRef::Integer(1)]])), &mut out).unwrap();
    encoder.part(Part::Step(rows(&["a"], &[]), sqlhttp_core::StepInfo::default()), &mut out).unwrap();
    assert!(out.is_empty());
    let failure = Failure::Protocol { status: 400, message: "no".into() };
    let step = Part::Step(StepOutcome::Failed(failure), sqlhttp_core::StepInfo::default());
    let abort = encoder.part(step, &mut out).unwrap_err();
    assert_eq!((abort.reply.status, abort.reply.body), (400, br#"{"reqIdx":1,"error":"no"}"#.to_vec()));
}

#[test]
fn a_transaction_that_is_not_committed_at_its_end_aborts_the_reply() {
    let mut encoder = PartEncoder::new(shape(STATEMENT));
    let mut out = Vec::new();
    encoder.part(Part::Step(StepOutcome::Changed(changed(1)), sqlhttp_core::StepInfo::default()), &mut out).unwrap();
    let abort = encoder.part(Part::End(Ending::NotCommitted(unique())), &mut out).unwrap_err();
    assert_eq!(abort.reply.status, 500);
    assert!(abort.reply.body.starts_with(br#"{"reqIdx":-1,"#));
}
