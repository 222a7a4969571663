//! The step limit of a log entry stops the same statements, regardless of how the log is divided into calls and of what
//! a connection has cached. The nodes of a cluster rely on that to get the same results.
#![allow(clippy::expect_used, clippy::panic, reason = "clippy does not see that this is a test")]
#![cfg(feature = "replication")]
mod common;

use std::path::Path;
use std::sync::Arc;

use common::{block_on, rows};
use sqlhttp_core::{
    Atomicity, Batch, Conditions, Database, Failure, LogEntry, LogWork, Options, Outcome, Stamp, Step, StepOutcome,
    Value, Writes,
};

const STEPS_MAX: u64 = 30_000;
/// Separates the steps of a transaction. A step that consists of one statement is cached.
const NEXT_STEP: &str = " -- next step\n";

/// Statements that take fewer steps than the limit, or more, or that make a virtual table run its own statements.
fn texts() -> Vec<String> {
    let counted = |rows: u64| {
        format!(
            "INSERT INTO t SELECT count(*) FROM \
             (WITH RECURSIVE c(x) AS (VALUES(1) UNION ALL SELECT x + 1 FROM c LIMIT {rows}) SELECT x FROM c)"
        )
    };
    let mut texts = vec![
        "CREATE TABLE t(a); CREATE TABLE words(w); CREATE VIRTUAL TABLE f USING fts5(w)".to_owned(),
        "INSERT INTO words VALUES ('one'), ('two'), ('three'), ('four'), ('five'), ('six'), ('seven'), ('eight')"
            .into(),
    ];
    for round in 1..6 {
        texts.push("INSERT INTO f SELECT a.w || ' ' || b.w || ' ' || c.w FROM words a, words b, words c".into());
        texts.push(counted(round * 900));
        texts.push("INSERT INTO t SELECT count(*) FROM f WHERE f MATCH 'one OR two'".into());
        texts
            .push("INSERT INTO t SELECT count(*) FROM f, words WHERE f MATCH 'six' AND f.w LIKE '%' || words.w".into());
        texts.push("UPDATE t SET a = a + 1 WHERE a % 2 = 0".into());
        texts.push("INSERT OR ROLLBACK INTO t SELECT a.a FROM t a, t b, t c, t d".into());
    }
    texts.extend(firing(14));
    texts.extend(heavy());
    texts.push("CREATE INDEX by_w ON words(w)".into());
    texts.push(
        "WITH RECURSIVE c(x) AS (VALUES(1) UNION ALL SELECT x + 1 FROM c) INSERT INTO t SELECT count(*) FROM c".into(),
    );
    texts
}

/// A chain of triggers, each of which fires the next one twice, and statements that start at different positions of the
/// chain.
fn firing(length: usize) -> Vec<String> {
    let mut texts: Vec<_> = (0..=length).map(|i| format!("CREATE TABLE chain{i}(a)")).collect();
    texts.extend((0..length).map(|i| {
        let next = format!("INSERT INTO chain{} VALUES (new.a + 1);", i + 1);
        format!("CREATE TRIGGER fires{i} AFTER INSERT ON chain{i} BEGIN {next} {next} END")
    }));
    texts.extend((0..length).map(|i| format!("INSERT INTO chain{i} VALUES (0)")));
    texts.push(format!("INSERT INTO t SELECT count(*) FROM chain{length}"));
    texts
}

/// Statements that process a long value many times, through a view that is changed; one of the changes is rolled back.
fn heavy() -> Vec<String> {
    // SQLite limits the depth of an expression to 1,000 (<https://sqlite.org/limits.html>).
    let sum = |terms: usize| vec![vec!["a + 1"; terms].join(" + "); 4].join(") + (");
    let view =
        |terms: usize| format!("DROP VIEW IF EXISTS sums; CREATE VIEW sums AS SELECT ({}) AS a FROM long", sum(terms));
    let insert = "INSERT INTO t SELECT a FROM sums".to_owned();
    vec![
        "CREATE TABLE long(a); INSERT INTO long SELECT hex(zeroblob(400000))".into(),
        view(10),
        insert.clone(),
        insert.clone(),
        view(450),
        insert.clone(),
        // The statement is cached with its weight for the short view, and that view is rolled back.
        [view(10), insert.clone(), "INSERT INTO nowhere VALUES (1)".into()].join(NEXT_STEP),
        insert.clone(),
        view(20),
        insert,
        "INSERT INTO t VALUES (1 + 2)".into(),
        "INSERT INTO t SELECT changes() FROM long WHERE length(a) > 0".into(),
    ]
}

fn is_too_long(outcome: &Outcome) -> bool {
    matches!(outcome.steps.last(), Some(StepOutcome::Failed(Failure::Sql(error))) if error.message.contains("too big"))
}

fn entries() -> Vec<LogEntry> {
    let work = |text: &String| {
        let stamp = Some(Stamp { unix_ms: 0, seed: 1 });
        let steps = text.split(NEXT_STEP).map(|sql| Step::execute(sql, ())).collect::<Vec<_>>();
        let atomicity = if steps.len() == 1 { Atomicity::Each } else { Atomicity::All };
        let batch = Batch { stamp, atomicity, ..Batch::transaction(steps) };
        LogWork::Batch { batch: Arc::new(batch), exclusive: false, steps_max: STEPS_MAX }
    };
    let conditions = Some(Conditions { unix_ms: 5, foreign_keys: true, value_bytes_max: 1 << 20, time_zone: None });
    let entry = |(index, text): (u64, &String)| LogEntry { term: 1, index, conditions, work: vec![work(text)] };
    (1..).zip(&texts()).map(entry).collect()
}

fn open(directory: &Path, statement_cache_len: usize) -> Database {
    let options = Options::default().writes(Writes::Log).statement_cache_len(statement_cache_len);
    Database::open(directory.join("db"), options).expect("open")
}

fn apply(database: &Database, entries: &[LogEntry]) -> Vec<Outcome> {
    block_on(database.apply(entries.to_vec())).expect("applied").into_iter().flatten().collect()
}

fn content(database: &Database) -> Vec<Vec<Value>> {
    rows(database, "SELECT 't', a FROM t UNION ALL SELECT 'f', rowid || w FROM f")
}

fn is_over_the_limit(outcome: &Outcome) -> bool {
    matches!(outcome.steps.last(), Some(StepOutcome::Failed(Failure::Timeout)))
}

#[test]
fn the_same_statements_exceed_the_limit_however_the_log_is_divided() {
    let entries = entries();
    let directories: Vec<_> = (0..3).map(|_| tempfile::tempdir().expect("a directory")).collect();

    let together = open(directories[0].path(), 256);
    let expected = apply(&together, &entries);
    let over = expected.iter().filter(|outcome| is_over_the_limit(outcome)).count();
    assert!(over >= 3 && over + 10 < expected.len(), "{over} of {}", expected.len());
    assert!(expected.last().is_some_and(is_over_the_limit), "the endless statement did not exceed the limit");
    assert_eq!(expected.iter().filter(|outcome| is_too_long(outcome)).count(), 2, "statements through the long view");
    let fired = rows(&together, "SELECT (SELECT count(*) FROM chain0), (SELECT count(*) > 10 FROM chain13)");
    assert_eq!(fired, [[Value::Integer(0), Value::Integer(1)]], "only long chains of triggers fail");

    let one_by_one = open(directories[1].path(), 1);
    let outcomes: Vec<_> = entries.iter().flat_map(|entry| apply(&one_by_one, std::slice::from_ref(entry))).collect();
    assert_eq!(outcomes, expected);
    assert_eq!(content(&one_by_one), content(&together));

    let mut restarted = open(directories[2].path(), 8);
    let mut outcomes = Vec::new();
    for chunk in entries.chunks(5) {
        outcomes.extend(apply(&restarted, chunk));
        block_on(restarted.close()).expect("closed");
        restarted = open(directories[2].path(), 8);
    }
    assert_eq!(outcomes, expected);
    assert_eq!(content(&restarted), content(&together));
}

#[test]
fn statements_that_process_whole_tables_are_not_limited() {
    let directory = tempfile::tempdir().expect("a directory");
    let database = open(directory.path(), 16);
    let fill = "CREATE TABLE big(a, b); WITH RECURSIVE c(x) AS (VALUES(1) UNION ALL SELECT x + 1 FROM c LIMIT 20000) \
                INSERT INTO big SELECT x, x FROM c";
    let texts = [fill, "CREATE INDEX by_a ON big(a)", "ANALYZE", "REINDEX", "VACUUM", "UPDATE big SET b = 1"];
    let work = |text: &str, steps_max| {
        let batch = Batch { atomicity: Atomicity::Each, ..Batch::one(Step::execute(text, ())) };
        let batch = Batch { stamp: Some(Stamp { unix_ms: 0, seed: 1 }), ..batch };
        let alone = database.classify_blocking(batch.clone()).expect("an answer").exclusive;
        LogWork::Batch { batch: Arc::new(batch), exclusive: alone, steps_max }
    };
    let limit = |number: usize| if number == 0 { 0 } else { 20_000 };
    let mut outcomes = Vec::new();
    for (number, text) in texts.iter().enumerate() {
        let work = vec![work(text, limit(number))];
        let entry = LogEntry { term: 1, index: number as u64 + 1, conditions: None, work };
        outcomes.extend(apply(&database, &[entry]));
    }
    let over: Vec<_> = outcomes.iter().map(is_over_the_limit).collect();
    assert_eq!(over, [false, false, false, false, false, true], "{outcomes:?}");
    let failed = outcomes[..5].iter().flat_map(|outcome| &outcome.steps);
    assert!(failed.into_iter().all(|step| !matches!(step, StepOutcome::Failed(_))), "{outcomes:?}");
}

/// A statement with few steps, each of which writes a megabyte.
const SLOW_STEPS: &str = "INSERT INTO t WITH RECURSIVE c(x) AS (VALUES(1) UNION ALL SELECT x + 1 FROM c LIMIT 30000) \
                          SELECT sum(length(printf('%.*c', 1000000 + x, 'x'))) FROM c";

#[test]
fn the_only_voter_limits_a_write_by_time() {
    let directory = tempfile::tempdir().expect("a directory");
    let database = open(directory.path(), 16);
    database.set_sole(true);
    let entry = |index, text: &str| {
        let stamp = Some(Stamp { unix_ms: 0, seed: 1 });
        let batch = Batch { stamp, ..Batch::one(Step::execute(text, ())) };
        let work = vec![LogWork::Batch { batch: Arc::new(batch), exclusive: false, steps_max: 1_000_000 }];
        let conditions =
            Some(Conditions { unix_ms: 5, foreign_keys: true, value_bytes_max: 64 << 20, time_zone: None });
        LogEntry { term: 1, index, conditions, work }
    };
    let outcomes =
        apply(&database, &[entry(1, "CREATE TABLE t(a)"), entry(2, SLOW_STEPS), entry(3, "INSERT INTO t VALUES (7)")]);
    assert_eq!(outcomes.iter().map(is_over_the_limit).collect::<Vec<_>>(), [false, true, false]);
    assert_eq!(rows(&database, "SELECT a FROM t"), [[Value::Integer(7)]]);
}
