//! Replies to outcomes. The expected bytes come from recorded conversations with rqlite.

#![allow(clippy::unwrap_used, clippy::panic)] // Helper functions of tests may panic, as tests do.

use std::sync::Arc;
use std::time::Duration;

use ValueRef::{Blob, Integer, Null, Real, Text};
use sqlhttp_core::{
    Block, Changed, Column, Ending, Error, Failure, Outcome, Part, Rows, SqlError, StepOutcome, TransactionKeyword,
    ValueRef,
};
use sqlhttp_rqlite::{
    EncodeError, Endpoint, Params, PartEncoder, Reply, ReplyShape, StepInfo, Trailer, encode, encode_error,
    encode_queued, encode_top_level_error,
};

fn shape(endpoint: Endpoint, query: &str) -> ReplyShape {
    ReplyShape::new(endpoint, &Params::parse(query).unwrap(), 3)
}

const READS: StepInfo = StepInfo { reads: true, returning: false, elapsed: Duration::ZERO };
const WRITES: StepInfo = StepInfo { reads: false, ..READS };
const RETURNS: StepInfo = StepInfo { returning: true, ..WRITES };

fn block(columns: usize, rows: &[&[ValueRef<'_>]]) -> Block {
    let mut block = Block::new(columns);
    rows.iter().for_each(|row| block.push_row(row.iter().copied()));
    block
}

/// Rows of columns that are given as `name`, `name|type` or `table.name|type`.
fn rows(columns: &[&str], rows: &[&[ValueRef<'_>]]) -> StepOutcome {
    let column = |text: &&str| {
        let (name, decl_type) = text.split_once('|').map_or((*text, None), |(name, decl)| (name, Some(decl)));
        let (table, name) = name.split_once('.').map_or((None, name), |(table, name)| (Some(table), name));
        Column { name: name.into(), decl_type: decl_type.map(str::to_owned), table: table.map(str::to_owned) }
    };
    StepOutcome::Rows(Rows {
        columns: columns.iter().map(column).collect(),
        blocks: rows.iter().map(|row| block(columns.len(), &[row])).collect(),
        changed: Changed::default(),
    })
}

fn changed(rows: u64, last_insert_id: Option<i64>) -> StepOutcome {
    StepOutcome::Changed(Changed { rows, last_insert_id })
}

fn sql(code: i32, message: &str) -> Failure {
    Failure::Sql(SqlError { code, generic: "generic".into(), message: message.into(), offset: None })
}

fn failed(message: &str) -> StepOutcome {
    StepOutcome::Failed(sql(1, message))
}

fn body(reply: Reply) -> String {
    String::from_utf8(reply.body).unwrap()
}

/// Encodes the outcomes of steps at once, and checks that encoding them part by part produces the same reply.
fn reply(endpoint: Endpoint, query: &str, steps: &[(StepOutcome, StepInfo)]) -> String {
    let shape = shape(endpoint, query);
    let (outcomes, info) = steps.iter().cloned().unzip();
    let outcome = Outcome { steps: outcomes, info, ending: Ending::Done, ..Outcome::default() };
    let whole = encode(&outcome, &shape, &Trailer::default());
    assert_eq!(whole.status, 200);
    let whole = body(whole);
    let in_parts = encode_in_parts(steps, shape, false).unwrap();
    assert_eq!(String::from_utf8(in_parts).unwrap(), whole);
    whole
}

/// Encodes the outcomes of steps part by part. The rows of a step that reads arrive in several parts, the last block
/// with the step. `drain`: whether the output is emptied after each part.
fn encode_in_parts(steps: &[(StepOutcome, StepInfo)], shape: ReplyShape, drain: bool) -> Result<Vec<u8>, EncodeError> {
    let mut encoder = PartEncoder::new(shape);
    let (mut sent, mut out) = (Vec::new(), Vec::new());
    let mut part = |part| {
        encoder.part(part, &Trailer::default(), &mut out)?;
        if drain {
            sent.append(&mut out);
        }
        Ok::<_, EncodeError>(())
    };
    for (step, info) in steps {
        let mut step = step.clone();
        if let StepOutcome::Rows(rows) = &mut step
            && info.reads
            && rows.blocks.len() > 1
        {
            part(Part::Columns(rows.columns.clone()))?;
            let last = rows.blocks.split_off(rows.blocks.len() - 1);
            for block in std::mem::replace(&mut rows.blocks, last) {
                part(Part::Rows(block))?;
            }
        }
        part(Part::Step(step, *info))?;
    }
    part(Part::End(Ending::Done))?;
    sent.append(&mut out);
    Ok(sent)
}

fn query(parameters: &str, step: StepOutcome) -> String {
    reply(Endpoint::Query, parameters, &[(step, READS)])
}

fn execute(parameters: &str, step: StepOutcome, info: StepInfo) -> String {
    reply(Endpoint::Execute, parameters, &[(step, info)])
}

#[test]
fn results_of_execute() {
    assert_eq!(execute("", changed(0, None), WRITES), r#"{"results":[{}]}"#);
    assert_eq!(execute("", changed(2, Some(11)), WRITES), r#"{"results":[{"last_insert_id":11,"rows_affected":2}]}"#);
    assert_eq!(execute("", changed(2, None), WRITES), r#"{"results":[{"rows_affected":2}]}"#);
    assert_eq!(execute("", failed("no such table: bar"), WRITES), r#"{"results":[{"error":"no such table: bar"}]}"#);
    // The rows of a statement that only reads are not shown.
    let selected = rows(&["id|integer"], &[&[Integer(1)], &[Integer(2)]]);
    assert_eq!(execute("", selected, READS), r#"{"results":[{}]}"#);
    assert_eq!(reply(Endpoint::Execute, "", &[]), r#"{"results":[]}"#);
    let steps = [
        (changed(1, Some(20)), WRITES),
        (failed("UNIQUE constraint failed: foo.id"), WRITES),
        (changed(1, Some(21)), WRITES),
    ];
    assert_eq!(
        reply(Endpoint::Execute, "", &steps),
        r#"{"results":[{"last_insert_id":20,"rows_affected":1},{"error":"UNIQUE constraint failed: foo.id"},{"last_insert_id":21,"rows_affected":1}]}"#
    );
}

#[test]
fn replies_of_load_are_plain_text() {
    let outcome =
        Outcome { steps: vec![changed(1, Some(1))], info: vec![], ending: Ending::Done, ..Outcome::default() };
    let reply = encode(&outcome, &shape(Endpoint::Load, "associative"), &Trailer::default());
    assert_eq!((reply.content_type.header(), reply.content_type.nosniff()), ("text/plain; charset=utf-8", false));
    assert_eq!(body(reply), r#"{"results":[{"last_insert_id":1,"rows_affected":1}]}"#);
    assert!(Reply::error(500, "x").content_type.nosniff());
}

#[test]
fn returning() {
    let columns = &["foo.id|INTEGER", "foo.name|TEXT"][..];
    let one = rows(columns, &[&[Integer(5), Text(b"e")]]);
    let none = rows(columns, &[]);
    for endpoint in [Endpoint::Execute, Endpoint::Request] {
        assert_eq!(
            reply(endpoint, "qualify_columns", &[(one.clone(), RETURNS), (changed(1, Some(6)), WRITES)]),
            r#"{"results":[{"columns":["id","name"],"types":["integer","text"],"values":[[5,"e"]]},{"last_insert_id":6,"rows_affected":1}]}"#
        );
        assert_eq!(
            reply(endpoint, "associative", &[(one.clone(), RETURNS)]),
            r#"{"results":[{"types":{"id":"integer","name":"text"},"rows":[{"id":5,"name":"e"}]}]}"#
        );
        assert_eq!(
            reply(endpoint, "associative", &[(none.clone(), RETURNS)]),
            r#"{"results":[{"types":{"id":"integer","name":"text"},"rows":[]}]}"#
        );
        assert_eq!(
            reply(endpoint, "", &[(none.clone(), RETURNS)]),
            r#"{"results":[{"columns":["id","name"],"types":["integer","text"]}]}"#
        );
    }
    assert_eq!(
        execute("blob_array", rows(&["data|blob"], &[&[Blob(&[1, 2])]]), RETURNS),
        r#"{"results":[{"columns":["data"],"types":["blob"],"values":[[[1,2]]]}]}"#
    );
}

#[test]
fn results_of_request() {
    let selected = rows(
        &["id|INTEGER", "name|TEXT", "age|INTEGER"],
        &[&[Integer(1), Text(b"fiona"), Integer(20)], &[Integer(2), Text(b"declan"), Integer(30)]],
    );
    let steps = [
        (changed(1, Some(1)), WRITES),
        (changed(1, Some(2)), WRITES),
        (selected, READS),
        (failed("no such table: bar"), WRITES),
    ];
    assert_eq!(
        reply(Endpoint::Request, "associative", &steps),
        r#"{"results":[{"last_insert_id":1,"rows_affected":1,"rows":null},{"last_insert_id":2,"rows_affected":1,"rows":null},{"types":{"age":"integer","id":"integer","name":"text"},"rows":[{"age":20,"id":1,"name":"fiona"},{"age":30,"id":2,"name":"declan"}]},{"error":"no such table: bar"}]}"#
    );
    // The result of a failed query has empty rows. A statement that SQLite cannot prepare is not known to be a query.
    assert_eq!(
        reply(Endpoint::Request, "associative", &[(failed("integer overflow"), READS)]),
        r#"{"results":[{"rows":[],"error":"integer overflow"}]}"#
    );
    // A text whose first statement writes and whose last statement is a query.
    let last = rows(&["1"], &[&[Integer(1)]]);
    assert_eq!(reply(Endpoint::Request, "", &[(last, WRITES)]), r#"{"results":[{}]}"#);
    // A text that contains only comments.
    assert_eq!(reply(Endpoint::Request, "", &[(changed(0, None), READS)]), r#"{"results":[{}]}"#);
    assert_eq!(reply(Endpoint::Request, "associative", &[(changed(0, None), READS)]), r#"{"results":[{"rows":[]}]}"#);
    assert_eq!(execute("associative", changed(0, None), READS), r#"{"results":[{"rows":null}]}"#);
}

#[test]
fn results_of_query() {
    assert_eq!(
        query("", rows(&["id|integer", "name|text"], &[])),
        r#"{"results":[{"columns":["id","name"],"types":["integer","text"]}]}"#
    );
    assert_eq!(query("", rows(&[], &[])), r#"{"results":[{}]}"#);
    assert_eq!(query("associative", rows(&[], &[])), r#"{"results":[{"rows":[]}]}"#);
    assert_eq!(query("", failed("integer overflow")), r#"{"results":[{"error":"integer overflow"}]}"#);
    assert_eq!(
        query("associative", failed("no such table: nope")),
        r#"{"results":[{"rows":[],"error":"no such table: nope"}]}"#
    );
    assert_eq!(
        query(
            "qualify_columns",
            rows(&["contacts.id|INTEGER", "contacts.n|TEXT", "1+1"], &[&[Integer(1), Null, Integer(2)]])
        ),
        r#"{"results":[{"columns":["contacts.id","contacts.n","1+1"],"types":["integer","text","integer"],"values":[[1,null,2]]}]}"#
    );
    assert_eq!(
        query("associative", rows(&["b", "a", "b"], &[&[Integer(1), Integer(2), Text(b"x")]])),
        r#"{"results":[{"types":{"a":"integer","b":"text"},"rows":[{"a":2,"b":"x"}]}]}"#
    );
}

#[test]
fn types() {
    for (columns, stored, want) in [
        (&["1"][..], &[][..], r#""types":[""]"#),
        (&["k|INTEGER", "b|Boolean", "v|VARCHAR(10)", "x"], &[], r#""types":["integer","boolean","varchar(10)",""]"#),
        (&["x"], &[&[Null][..], &[Integer(1)]], r#""types":[""],"values":[[null],[1]]"#),
        (&["x"], &[&[Integer(1)], &[Text(b"a")]], r#""types":["integer"],"values":[[1],["a"]]"#),
        (&["x"], &[&[Real(5.0)]], r#""types":["real"],"values":[[5]]"#),
        (&["x"], &[&[Blob(b"AB")]], r#""types":["text"],"values":[["AB"]]"#),
        // The type of the first value also determines how the values of later rows are written.
        (&["x"], &[&[Integer(1)], &[Blob(b"AB")]], r#""types":["integer"],"values":[[1],["QUI="]]"#),
        (&["x"], &[&[Null], &[Blob(b"AB")]], r#""types":[""],"values":[[null],["AB"]]"#),
        (&["x|ÄB"], &[], r#""types":["äb"]"#),
    ] {
        let reply = query("", rows(columns, stored));
        assert!(reply.contains(want), "{reply} lacks {want}");
    }
}

#[test]
fn values() {
    for (decl_type, stored, want) in [
        ("BOOLEAN", Integer(1), "true"),
        ("BOOLEAN", Integer(0), "false"),
        ("BOOLEAN", Integer(-1), "false"),
        ("BOOLEAN", Text(b"true"), r#""true""#),
        ("BOOLEAN", Real(1.5), "1.5"),
        ("BOOLEAN", Null, "null"),
        ("BOOL", Integer(1), "1"),
        ("DATETIME", Text(b"2004-02-14"), r#""2004-02-14T00:00:00Z""#),
        ("DATE", Text(b"2004-02-14 07:15:00+02:00"), r#""2004-02-14T07:15:00+02:00""#),
        ("TIMESTAMP", Text(b"2004-02-14T07:15:00Z"), r#""2004-02-14T07:15:00Z""#),
        ("DATETIME", Text(b"garbage"), r#""garbage""#),
        ("DATETIME", Integer(1076742900), r#""2004-02-14T07:15:00Z""#),
        ("DATETIME", Integer(1076742900000), r#""2004-02-14T07:15:00Z""#),
        ("DATETIME", Real(1.5), "1.5"),
        ("DATETIME", Blob(&[1, 255]), r#""Af8=""#),
        ("DATETIME(6)", Text(b"2004-02-14 07:15:00"), r#""2004-02-14 07:15:00""#),
        ("BLOB", Text(b"str"), r#""str""#),
        ("BLOB", Blob(&[0xde, 0xad, 0xbe, 0xef]), r#""3q2+7w==""#),
        ("BLOB", Blob(b""), r#""""#),
        ("BLOB", Integer(5), "5"),
        ("TEXT", Blob(b"AB"), r#""AB""#),
        ("TEXT", Blob(b"A\xffB"), r#""Qf9C""#),
        ("VARCHAR(10)", Blob(b"AB"), r#""AB""#),
        ("NVARCHAR", Blob(b"AB"), r#""AB""#),
        ("JSON", Blob(b"AB"), r#""AB""#),
        ("CHAR(3)", Blob(b"AB"), r#""QUI=""#),
        ("JSONB", Blob(b"AB"), r#""QUI=""#),
        ("TEXT", Text(b"<a>&\xff"), "\"<a>&\u{fffd}\""),
        ("REAL", Real(1e21), "1e+21"),
        ("REAL", Real(f64::INFINITY), r#""Infinity""#),
        ("DATETIME", Real(f64::NEG_INFINITY), r#""-Infinity""#),
        ("TIMESTAMP", Integer(1_706_842_979_630_000), "1706842979630000"),
        ("DATETIME", Text(b"2004-02-14 07:15:00+24:00"), r#""2004-02-14 07:15:00+24:00""#),
        ("INTEGER", Integer(i64::MAX), "9223372036854775807"),
    ] {
        let column = format!("v|{decl_type}");
        let reply = query("", rows(&[&column], &[&[stored]]));
        assert!(reply.ends_with(&format!("\"values\":[[{want}]]}}]}}")), "{decl_type} {stored:?}: {reply}");
    }
}

#[test]
fn blobs_as_arrays() {
    let stored = rows(&["data|blob"], &[&[Text(b"fiona")], &[Blob(&[222, 173, 190, 239])], &[Blob(b"")]]);
    assert_eq!(
        query("blob_array", stored.clone()),
        r#"{"results":[{"columns":["data"],"types":["blob"],"values":[["fiona"],[[222,173,190,239]],[[]]]}]}"#
    );
    assert_eq!(
        query("blob_array&associative", stored),
        r#"{"results":[{"types":{"data":"blob"},"rows":[{"data":"fiona"},{"data":[222,173,190,239]},{"data":[]}]}]}"#
    );
    // Only BLOBs that would be written in base64 otherwise.
    assert!(query("blob_array", rows(&["x"], &[&[Blob(b"AB")]])).contains(r#"[["AB"]]"#));
    assert!(query("blob_array", rows(&["x"], &[&[Blob(b"\xff")]])).contains("[[[255]]]"));
}

#[test]
fn a_time_that_cannot_be_written_is_unchanged() {
    let stored = rows(&["d|DATETIME"], &[&[Integer(0)], &[Integer(253402300800)], &[Integer(1)]]);
    let values = r#"[["1970-01-01T00:00:00Z"],[253402300800],["1970-01-01T00:00:01Z"]]"#;
    assert!(query("", stored).ends_with(&format!("\"values\":{values}}}]}}")));
}

/// Encodes two statements. The first fails after a row. `drain`: whether the output is emptied after each part.
fn fail_midway(query: &str, drain: bool) -> String {
    let mut encoder = PartEncoder::new(ReplyShape::new(Endpoint::Query, &Params::parse(query).unwrap(), 2));
    let (mut sent, mut out) = (Vec::new(), Vec::new());
    let mut part = |part| {
        encoder.part(part, &Trailer::default(), &mut out).unwrap();
        if drain {
            sent.append(&mut out);
        }
    };
    part(Part::Columns(Arc::from([Column { name: "a".into(), ..Column::default() }])));
    part(Part::Rows(block(1, &[&[Integer(1)]])));
    part(Part::Step(failed("integer overflow"), READS));
    part(Part::Step(rows(&["a"], &[&[Integer(2)]]), READS));
    part(Part::End(Ending::Done));
    sent.append(&mut out);
    String::from_utf8(sent).unwrap()
}

fn json(text: &str) -> serde_json::Value {
    serde_json::from_str(text).unwrap()
}

#[test]
fn a_query_that_fails_midway_leaves_no_rows_unless_they_were_sent() {
    let next = r#"{"columns":["a"],"types":["integer"],"values":[[2]]}"#;
    let want = format!("{{\"results\":[{{\"error\":\"integer overflow\"}},{next}]}}");
    assert_eq!(fail_midway("", false), want);
    assert_eq!(json(&fail_midway("pretty", false)), json(&want));
    // The beginning of an indented result is held back, so it has not left the encoder.
    assert_eq!(json(&fail_midway("pretty", true)), json(&want));
    let want = r#"{"columns":["a"],"types":["integer"],"values":[[1]],"error":"integer overflow"}"#;
    assert_eq!(fail_midway("", true), format!("{{\"results\":[{want},{next}]}}"));
    let want = r#"{"types":{"a":"integer"},"rows":[{"a":1}],"error":"integer overflow"}"#;
    assert!(fail_midway("associative", true).starts_with(&format!("{{\"results\":[{want},")));
}

#[test]
fn a_reply_that_has_begun_ends_when_the_database_stops() {
    let stopped = |query: &str, parts: Vec<Part>| {
        let mut encoder = PartEncoder::new(ReplyShape::new(Endpoint::Query, &Params::parse(query).unwrap(), 2));
        let (mut sent, mut out) = (Vec::new(), Vec::new());
        for part in parts {
            encoder.part(part, &Trailer::default(), &mut out).unwrap();
            sent.append(&mut out);
        }
        let trailer = Trailer { elapsed: Duration::from_millis(2), raft_index: 0 };
        encoder.end_early(&Error::Timeout, &trailer, &mut out);
        sent.append(&mut out);
        String::from_utf8(sent).unwrap()
    };
    let columns = || Part::Columns(Arc::from([Column { name: "a".into(), ..Column::default() }]));
    let row = || Part::Rows(block(1, &[&[Integer(1)]]));
    let error = r#"{"error":"query timeout"}"#;
    let begun = r#"{"columns":["a"],"types":["integer"],"values":[[1]],"error":"query timeout"}"#;
    let want = format!("{{\"results\":[{begun},{error}],\"time\":0.002}}");
    assert_eq!(stopped("timings", vec![columns(), row()]), want);
    assert_eq!(json(&stopped("pretty&timings", vec![columns(), row()]))["results"][0]["error"], "query timeout");
    assert_eq!(stopped("", vec![columns()]), format!("{{\"results\":[{error},{error}]}}"));
    assert_eq!(stopped("", vec![]), format!("{{\"results\":[{error},{error}]}}"));
    let whole = Part::Step(rows(&["a"], &[&[Integer(2)]]), READS);
    let first = r#"{"columns":["a"],"types":["integer"],"values":[[2]]}"#;
    assert_eq!(stopped("", vec![whole]), format!("{{\"results\":[{first},{error}]}}"));
}

#[test]
fn large_results_are_indented_in_pieces() {
    let mut encoder = PartEncoder::new(shape(Endpoint::Query, "pretty"));
    let (mut sent, mut out) = (Vec::new(), Vec::new());
    let line = vec![b'x'; 10_000];
    let columns: Arc<[Column]> = Arc::from([Column::default()]);
    let mut part = |part| {
        encoder.part(part, &Trailer::default(), &mut out).unwrap();
        assert!(out.len() < 1 << 20);
        sent.append(&mut out);
    };
    part(Part::Columns(columns.clone()));
    for _ in 0..200 {
        part(Part::Rows(block(1, &[&[Text(&line)]])));
    }
    part(Part::Step(StepOutcome::Rows(Rows { columns, blocks: vec![], changed: Changed::default() }), READS));
    part(Part::End(Ending::Done));
    let text = String::from_utf8(sent).unwrap();
    assert_eq!(text.matches("\n                [\n                    \"xxx").count(), 200);
    assert!(text.ends_with("            ]\n        }\n    ]\n}"));
}

#[test]
fn pretty() {
    let want = r#"{
    "results": [
        {
            "columns": [
                "id",
                "name"
            ],
            "types": [
                "integer",
                "text"
            ],
            "values": [
                [
                    1,
                    "fiona"
                ]
            ]
        }
    ]
}"#;
    assert_eq!(query("pretty", rows(&["id|INTEGER", "name|TEXT"], &[&[Integer(1), Text(b"fiona")]])), want);
    assert_eq!(reply(Endpoint::Query, "pretty", &[]), "{\n    \"results\": []\n}");
}

#[test]
fn timings_and_the_index() {
    let elapsed = Duration::from_micros(1500);
    let trailer = Trailer { elapsed: Duration::from_millis(2), raft_index: 7 };
    let encoded = |endpoint, query: &str, step: StepOutcome, info: StepInfo| {
        let info = vec![StepInfo { elapsed, ..info }];
        let outcome = Outcome { steps: vec![step], info, ending: Ending::Done, ..Outcome::default() };
        body(encode(&outcome, &shape(endpoint, query), &trailer))
    };
    let one = || rows(&["a"], &[&[Integer(1)]]);
    for (endpoint, query, step, info, want) in [
        (
            Endpoint::Query,
            "timings",
            one(),
            READS,
            r#"{"results":[{"columns":["a"],"types":["integer"],"values":[[1]],"time":0.0015}],"time":0.002}"#,
        ),
        (
            Endpoint::Query,
            "timings&associative",
            one(),
            READS,
            r#"{"results":[{"types":{"a":"integer"},"rows":[{"a":1}],"time":0.0015}],"time":0.002}"#,
        ),
        (Endpoint::Query, "timings", rows(&[], &[]), READS, r#"{"results":[{"time":0.0015}],"time":0.002}"#),
        (
            Endpoint::Execute,
            "timings&raft_index",
            changed(1, Some(2)),
            WRITES,
            r#"{"results":[{"last_insert_id":2,"rows_affected":1,"time":0.0015}],"time":0.002,"raft_index":7}"#,
        ),
        (
            Endpoint::Execute,
            "timings&associative",
            changed(1, None),
            WRITES,
            r#"{"results":[{"rows_affected":1,"time":0.0015,"rows":null}],"time":0.002}"#,
        ),
        (
            Endpoint::Execute,
            "timings&associative",
            changed(0, None),
            WRITES,
            r#"{"results":[{"time":0.0015,"rows":null}],"time":0.002}"#,
        ),
        (Endpoint::Execute, "timings", failed("x"), WRITES, r#"{"results":[{"error":"x"}],"time":0.002}"#),
        (
            Endpoint::Load,
            "timings&raft_index",
            changed(1, None),
            WRITES,
            r#"{"results":[{"rows_affected":1,"time":0.0015}],"time":0.002}"#,
        ),
        (Endpoint::Query, "", one(), READS, r#"{"results":[{"columns":["a"],"types":["integer"],"values":[[1]]}]}"#),
    ] {
        assert_eq!(encoded(endpoint, query, step, info), want);
    }
    let queued = |query: &str, trailer: &Trailer| {
        body(encode_queued(1795221293282000001, &shape(Endpoint::Queue, query), trailer))
    };
    assert_eq!(queued("", &trailer), r#"{"results":[],"sequence_number":1795221293282000001}"#);
    assert_eq!(queued("timings", &trailer), r#"{"results":[],"time":0.002,"sequence_number":1795221293282000001}"#);
    assert_eq!(queued("pretty", &trailer), "{\n    \"results\": [],\n    \"sequence_number\": 1795221293282000001\n}");
    // Without a duration and an index, the members are left out.
    let none = Outcome { steps: vec![], info: vec![], ending: Ending::Done, ..Outcome::default() };
    let shape = shape(Endpoint::Query, "timings&raft_index");
    assert_eq!(body(encode(&none, &shape, &Trailer::default())), r#"{"results":[]}"#);
}

#[test]
fn texts_of_failures() {
    let control = |keyword| StepOutcome::Failed(Failure::TransactionControl(keyword));
    let error = |endpoint, query: &str, step: StepOutcome, info| {
        let reply = reply(endpoint, query, &[(step, info)]);
        reply.strip_prefix(r#"{"results":[{"error":""#).unwrap().strip_suffix(r#""}]}"#).unwrap().to_owned()
    };
    let readonly = || StepOutcome::Failed(sql(8 | 3 << 8, "attempt to write a readonly database"));
    for (endpoint, query, step, info, want) in [
        (Endpoint::Query, "", readonly(), WRITES, "attempt to change database via query operation"),
        (Endpoint::Execute, "", readonly(), WRITES, "attempt to write a readonly database"),
        (
            Endpoint::Execute,
            "",
            control(TransactionKeyword::Commit),
            WRITES,
            "cannot commit - no transaction is active",
        ),
        (
            Endpoint::Execute,
            "",
            control(TransactionKeyword::Rollback),
            WRITES,
            "cannot rollback - no transaction is active",
        ),
        (
            Endpoint::Execute,
            "transaction",
            control(TransactionKeyword::Begin),
            WRITES,
            "cannot start a transaction within a transaction",
        ),
        (
            Endpoint::Execute,
            "",
            StepOutcome::Failed(Failure::NotEnough { want: 2, got: 1 }),
            WRITES,
            "not enough args to execute query: want 2 got 1",
        ),
        (Endpoint::Query, "", StepOutcome::Failed(Failure::Timeout), WRITES, "query timeout"),
        (Endpoint::Request, "", StepOutcome::Failed(Failure::Timeout), READS, "query timeout"),
        (Endpoint::Request, "", StepOutcome::Failed(Failure::Timeout), WRITES, "execute timeout"),
        (Endpoint::Execute, "", StepOutcome::Failed(Failure::Timeout), WRITES, "execute timeout"),
        (
            Endpoint::Execute,
            "",
            StepOutcome::Failed(Failure::NotAllowed("PRAGMA synchronous".into())),
            WRITES,
            "disallowed pragma",
        ),
        (
            Endpoint::Execute,
            "",
            StepOutcome::Failed(Failure::NotAllowed("ATTACH".into())),
            WRITES,
            "ATTACH is not allowed",
        ),
        (Endpoint::Execute, "", StepOutcome::Failed(sql(5, "")), WRITES, "generic"),
        (Endpoint::Execute, "", failed("no such table: <x>"), WRITES, "no such table: <x>"),
    ] {
        assert_eq!(error(endpoint, query, step, info), want);
    }
}

#[test]
fn transactions_that_fail() {
    let steps = vec![changed(1, Some(3)), failed("UNIQUE constraint failed: foo.id")];
    let outcome = Outcome { steps: steps.clone(), info: vec![], ending: Ending::Aborted(1), ..Outcome::default() };
    let shape = shape(Endpoint::Execute, "transaction");
    assert_eq!(
        body(encode(&outcome, &shape, &Trailer::default())),
        r#"{"results":[{"last_insert_id":3,"rows_affected":1},{"error":"UNIQUE constraint failed: foo.id"}]}"#
    );
    let failure = sql(787, "FOREIGN KEY constraint failed");
    let outcome = Outcome { steps, info: vec![], ending: Ending::NotCommitted(failure.clone()), ..Outcome::default() };
    let want = encode(&outcome, &shape, &Trailer::default());
    assert_eq!(want.status, 200);
    let mut encoder = PartEncoder::new(shape);
    let end = Part::End(Ending::NotCommitted(failure));
    let abort = encoder.part(end, &Trailer::default(), &mut Vec::new()).unwrap_err();
    assert_eq!(abort.reply, want);
    assert_eq!(body(want), r#"{"results":[],"error":"FOREIGN KEY constraint failed"}"#);
}

#[test]
fn replies_without_an_outcome() {
    let error = |error, endpoint, query: &str| {
        let reply = encode_error(&error, &shape(endpoint, query), &Trailer::default());
        (reply.status, body(reply))
    };
    let locked = || {
        Error::Busy(SqlError {
            code: 5,
            generic: "database is locked".into(),
            message: "database is locked".into(),
            offset: None,
        })
    };
    let io =
        Error::Io { action: "read file", path: "/secret".into(), source: Arc::new(std::io::Error::other("broken")) };
    let queries = r#"{"results":[{"error":"query timeout"},{"error":"query timeout"},{"error":"query timeout"}]}"#;
    for (got, status, want) in [
        (error(Error::Timeout, Endpoint::Query, ""), 200, queries),
        (error(Error::Timeout, Endpoint::Query, "transaction"), 200, queries),
        (error(Error::Timeout, Endpoint::Request, "transaction"), 200, r#"{"results":[{"error":"query timeout"}]}"#),
        (error(Error::Timeout, Endpoint::Execute, "transaction"), 200, r#"{"results":[{"error":"execute timeout"}]}"#),
        (error(locked(), Endpoint::Execute, ""), 200, r#"{"results":[],"error":"database is locked"}"#),
        (error(Error::Closed, Endpoint::Execute, ""), 200, r#"{"results":[],"error":"store not open"}"#),
        (error(Error::Overloaded("x"), Endpoint::Execute, ""), 503, "the database is overloaded: x\n"),
        (error(io, Endpoint::Execute, ""), 500, "read file: broken\n"),
    ] {
        assert_eq!(got, (status, want.to_owned()));
    }
    let stale = encode_top_level_error("stale read", &shape(Endpoint::Query, "pretty"), &Trailer::default());
    assert_eq!(body(stale), "{\n    \"results\": [],\n    \"error\": \"stale read\"\n}");
}
