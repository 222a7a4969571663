//! Replays conversations recorded from ws4sqlite (`fixtures/ws4sqlite`) against the standalone server; see
//! `common::replay`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::path::Path;

use common::replay::{self, Conversation, Replay, replay_tests};
use common::{Launch, Server};

const REPLAY: Replay = Replay { folder: "ws4sqlite", server: "ws4sqlite", start, differs: &[] };

fn start(conversation: &Conversation, dir: &Path) -> Server {
    conversation.write_files(dir);
    Launch::new().dir(dir).args(conversation.flags_in(dir)).start()
}

replay_tests! {
    REPLAY;
    auth: "auth.case",
    cors: "cors.case",
    deliberate_differences: "differences.case",
    errors: "errors.case",
    http: "http.case",
    other: "other.case",
    parameters: "parameters.case",
    parsing: "parsing.case",
    results: "results.case",
    statements: "statements.case",
    stored_statements: "stored.case",
    transactions: "transactions.case",
    types: "types.case",
    values_batch: "values-batch.case",
}

#[test]
fn every_fixture_is_replayed() {
    REPLAY.assert_complete(FILES);
}

#[test]
fn the_comparison_ignores_only_the_spelling_of_json() {
    let same = |a, b| replay::same(a, b, &["in parsing body: ".to_owned()]);
    assert!(same(r#"{"a": 1, "b": "\u003c"}"#, r#"{"a":1,"b":"<"}"#));
    assert!(!same(r#"{"a":1,"b":2}"#, r#"{"b":2,"a":1}"#), "the order of keys matters");
    assert!(!same("[1]", "[1.0]"), "the kind of a number matters");
    assert!(!same("[9007199254740993]", "[9007199254740992]"), "large integers are compared exactly");
    assert!(same("[1e-7]", "[0.0000001]"));
    assert!(same(r#"{"error":"in parsing body: x"}"#, r#"{"error":"in parsing body: y"}"#));
    assert!(!same(r#"{"error":"x"}"#, r#"{"error":"y"}"#));
    assert!(!same("{}", "{} trailing"));
}
