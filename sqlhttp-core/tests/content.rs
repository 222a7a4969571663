//! Digests of the logical content of a database.

#![cfg(feature = "replication")]
#![allow(clippy::unwrap_used, clippy::panic)]

use std::sync::Arc;

use sqlhttp_core::{
    Batch, Bucket, ContentDigest, Database, LogEntry, LogWork, Options, PinnedContent, RowKey, Step, Writes,
};

async fn digest_of(script: &str) -> ContentDigest {
    let db = Database::open(":memory:", Options::default()).unwrap();
    db.run_script(script).await.unwrap().unwrap();
    let digest = db.content_digest().await.unwrap();
    db.close().await.unwrap();
    digest
}

/// The tables in which two digests differ.
fn differing(a: &ContentDigest, b: &ContentDigest) -> Vec<String> {
    assert_eq!(a.digest == b.digest, a.tables == b.tables);
    let names = |digest: &ContentDigest| -> Vec<_> { digest.tables.iter().map(|table| table.name.clone()).collect() };
    assert_eq!(names(a), names(b));
    a.tables.iter().zip(&b.tables).filter(|(a, b)| a != b).map(|(a, _)| a.name.clone()).collect()
}

#[tokio::test]
async fn digests_differ_in_what_a_table_stores() {
    let table = "CREATE TABLE t(a); CREATE TABLE u(a);";
    let stored = [
        "1",
        "1.0",
        "'1'",
        "x'31'",
        "NULL",
        "0.0",
        "-0.0",
        "''",
        "x''",
        "'a'",
        "CAST(x'610062' AS TEXT)",
        "CAST(x'610063' AS TEXT)",
        "CAST(x'ff' AS TEXT)",
        "9007199254740993",
        "9007199254740992.0",
    ];
    let mut digests = Vec::new();
    for value in stored {
        digests.push((value, digest_of(&format!("{table} INSERT INTO t VALUES ({value})")).await));
    }
    for (number, (a, digest)) in digests.iter().enumerate() {
        for (b, other) in &digests[..number] {
            assert_eq!(differing(digest, other), ["t"], "{a} and {b}");
        }
    }
}

#[tokio::test]
async fn digests_differ_in_rowids_rows_schema_and_settings() {
    let base = "CREATE TABLE t(a); INSERT INTO t(rowid, a) VALUES (1, 'x'), (2, 'y')";
    let digest = digest_of(base).await;
    for (other, tables) in [
        ("CREATE TABLE t(a); INSERT INTO t(rowid, a) VALUES (1, 'x'), (3, 'y')", vec!["t"]),
        ("CREATE TABLE t(a); INSERT INTO t(rowid, a) VALUES (1, 'y'), (2, 'x')", vec!["t"]),
        ("CREATE TABLE t(a); INSERT INTO t(rowid, a) VALUES (1, 'x')", vec!["t"]),
        ("CREATE TABLE t(a ); INSERT INTO t(rowid, a) VALUES (1, 'x'), (2, 'y')", vec!["sqlite_schema"]),
        (
            "CREATE TABLE t(a); INSERT INTO t(rowid, a) VALUES (1, 'x'), (2, 'y'); CREATE INDEX i ON t(a)",
            vec!["sqlite_schema"],
        ),
        (
            "CREATE TABLE t(a); INSERT INTO t(rowid, a) VALUES (1, 'x'), (2, 'y'); PRAGMA user_version=7",
            vec!["sqlite_settings"],
        ),
    ] {
        assert_eq!(differing(&digest, &digest_of(other).await), tables, "{other}");
    }
}

#[tokio::test]
async fn digests_do_not_depend_on_the_pages() {
    let direct = digest_of(
        "CREATE TABLE t(a, b UNIQUE); INSERT INTO t(rowid, a, b) VALUES (1, 'x', 1), (2, 'y', 2); CREATE INDEX i ON t(a)",
    );
    let detour = digest_of(
        "CREATE TABLE t(a, b UNIQUE); INSERT INTO t(rowid, a, b) VALUES (2, 'y', 9), (7, zeroblob(100000), 3); \
         CREATE INDEX i ON t(a); DELETE FROM t WHERE rowid = 7; UPDATE t SET b = 2; \
         INSERT INTO t(rowid, a, b) VALUES (1, 'x', 1)",
    );
    assert_eq!(direct.await, detour.await);
}

#[tokio::test]
async fn every_kind_of_table_is_covered() {
    let tables = "CREATE TABLE plain(a, v AS (a + 1), s AS (a + 2) STORED); INSERT INTO plain(a) VALUES (1);
        CREATE TABLE \"we \"\"ird\"(rowid, _rowid_, oid, \"c \"\"d\"); INSERT INTO \"we \"\"ird\" VALUES (1, 2, 3, 4);
        CREATE TABLE wr(a TEXT, b INTEGER, c, PRIMARY KEY (b, a)) WITHOUT ROWID; INSERT INTO wr VALUES ('k', 1, 'v');
        CREATE TABLE hides(a, rowid AS ('x' || a)); INSERT INTO hides(_rowid_, a) VALUES (4, 1);
        CREATE TABLE auto(id INTEGER PRIMARY KEY AUTOINCREMENT); INSERT INTO auto DEFAULT VALUES;
        CREATE VIRTUAL TABLE f USING fts5(body); INSERT INTO f VALUES ('some words');
        CREATE VIEW w AS SELECT a FROM plain; ANALYZE;";
    let digest = digest_of(tables).await;
    let rows = |name: &str| digest.tables.iter().find(|table| table.name == name).map(|table| table.rows);
    for (name, count) in [
        ("plain", 1),
        ("we \"ird", 1),
        ("wr", 1),
        ("auto", 1),
        ("sqlite_sequence", 1),
        ("f_content", 1),
        ("sqlite_settings", 3),
    ] {
        assert_eq!(rows(name), Some(count), "{name}: {digest:?}");
    }
    assert_eq!((rows("f"), rows("w")), (None, None));
    for (change, table) in [
        ("UPDATE plain SET a = 5", "plain"),
        ("UPDATE \"we \"\"ird\" SET oid = 5", "we \"ird"),
        ("UPDATE wr SET c = 'w'", "wr"),
        ("UPDATE hides SET _rowid_ = 5", "hides"),
        ("UPDATE sqlite_sequence SET seq = 9", "sqlite_sequence"),
    ] {
        assert_eq!(differing(&digest, &digest_of(&format!("{tables}{change}")).await), [table], "{change}");
    }
}

/// Opens a database that applies a log, in a new directory.
fn replica() -> (Database, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let options = Options::default().writes(Writes::Log);
    (Database::open(directory.path().join("db").to_str().unwrap(), options).unwrap(), directory)
}

fn entry(index: u64, sql: &[&str]) -> LogEntry {
    let work = sql.iter().map(|sql| {
        let has_rows = sql.contains("RETURNING") || sql.starts_with("sqlite_settings");
        let mut batch = Batch::one(if has_rows { Step::query(*sql, ()) } else { Step::execute(*sql, ()) });
        batch.stamp = Some(sqlhttp_core::new_stamp());
        LogWork::Batch { batch: Arc::new(batch), exclusive: false, steps_max: 0 }
    });
    LogEntry { term: 1, index, conditions: None, work: work.collect() }
}

/// Applies `count` entries from `first` on, each of which inserts two rows.
fn inserts(first: u64, count: u64) -> Vec<LogEntry> {
    let two = |index: u64| format!("INSERT INTO t VALUES ({index}, 'x')");
    (first..first + count).map(|index| entry(index, &[&two(index), &two(index)])).collect()
}

#[tokio::test]
async fn the_content_after_an_entry_can_be_read_while_later_ones_are_applied() {
    let (db, _directory) = replica();
    db.apply(vec![entry(1, &["CREATE TABLE t(a, b)"])]).await.unwrap();
    let pinned = db.pin_at(40).await.unwrap();
    db.apply(inserts(2, 100)).await.unwrap();
    let pinned: PinnedContent = pinned.content().await.unwrap().unwrap();
    db.apply(inserts(102, 10)).await.unwrap();

    let (reference, _other) = replica();
    reference.apply(vec![entry(1, &["CREATE TABLE t(a, b)"])]).await.unwrap();
    reference.apply(inserts(2, 39)).await.unwrap();
    assert_eq!(pinned.digest().await.unwrap(), reference.content_digest().await.unwrap());
    assert_eq!(pinned.digest().await.unwrap(), pinned.digest().await.unwrap());
    assert_ne!(pinned.digest().await.unwrap(), db.content_digest().await.unwrap());

    assert!(db.pin_at(50).await.unwrap().content().await.unwrap().is_none(), "later entries have been applied");
}

#[tokio::test]
async fn differing_rows_are_found_by_their_buckets() {
    let (a, _a_directory) = replica();
    let (b, _b_directory) = replica();
    let mut pinned = Vec::new();
    for (db, name) in [(&a, "one"), (&b, "two")] {
        let create = "CREATE TABLE t(a); CREATE TABLE w(k TEXT PRIMARY KEY, v) WITHOUT ROWID";
        let (create_t, create_w) = create.split_once("; ").unwrap();
        db.apply(vec![entry(1, &[create_t, create_w])]).await.unwrap();
        let rows = "INSERT INTO t WITH n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000) SELECT i FROM n";
        let waiting = db.pin_at(2).await.unwrap();
        let update = format!("UPDATE t SET a = '{name}' WHERE rowid IN (17, 900)");
        let insert = format!("INSERT INTO w VALUES ('it''s', '{name}'), ('same', 1)");
        db.apply(vec![entry(2, &[rows, &update, &insert])]).await.unwrap();
        pinned.push(waiting.content().await.unwrap().unwrap());
    }
    for (table, keys) in
        [("t", vec![RowKey::Rowid(17), RowKey::Rowid(900)]), ("w", vec![RowKey::Primary("'it''s'".to_owned())])]
    {
        let count = 64;
        let sums = [
            pinned[0].buckets(table.to_owned(), count).await.unwrap(),
            pinned[1].buckets(table.to_owned(), count).await.unwrap(),
        ];
        let mut found = Vec::new();
        for number in (0..count).filter(|number| sums[0][*number as usize] != sums[1][*number as usize]) {
            let bucket = Bucket { count, number };
            let rows = pinned[0].rows(table.to_owned(), bucket, 1000).await.unwrap();
            let others = pinned[1].rows(table.to_owned(), bucket, 1000).await.unwrap();
            found.extend(rows.into_iter().filter(|row| !others.contains(row)).map(|row| row.key));
        }
        found.sort();
        assert_eq!(found, keys);
    }
    assert!(pinned[0].buckets("missing".to_owned(), 4).await.unwrap().is_empty());
}

#[tokio::test]
async fn pinned_content_does_not_delay_a_replacement_of_the_file() {
    let (source, source_directory) = replica();
    source.apply(vec![entry(1, &["CREATE TABLE t(a, b)"])]).await.unwrap();
    source.apply(inserts(2, 5)).await.unwrap();
    let (target, directory) = replica();
    let waiting = target.pin_at(1).await.unwrap();
    target.apply(vec![entry(1, &["CREATE TABLE old(a)"])]).await.unwrap();
    let pinned = waiting.content().await.unwrap().unwrap();
    let later = target.pin_at(3).await.unwrap();
    let file = directory.path().join("snapshot");
    source.export(source_directory.path().join("export")).await.unwrap();
    std::fs::copy(source_directory.path().join("export"), &file).unwrap();
    target.install(file).await.unwrap();
    assert!(pinned.digest().await.is_err());
    assert!(later.content().await.unwrap().is_none());
    assert_eq!(target.content_digest().await.unwrap(), source.content_digest().await.unwrap());
}

#[tokio::test]
async fn the_chain_of_outcomes_names_the_first_entry_with_another_outcome() {
    let (a, _a_directory) = replica();
    let (b, _b_directory) = replica();
    for db in [&a, &b] {
        db.apply(vec![entry(1, &["CREATE TABLE t(a, b)"])]).await.unwrap();
        db.apply(inserts(2, 50)).await.unwrap();
    }
    let link = a.last_outcome_link().unwrap();
    assert_eq!(link.index, 51);
    assert_eq!(a.last_outcome_link(), b.last_outcome_link());
    // The grouping of the entries makes no difference, and neither does a statement that only reads.
    a.apply(inserts(52, 4)).await.unwrap();
    for entries in inserts(52, 4) {
        b.apply(vec![entries]).await.unwrap();
    }
    a.apply(vec![entry(56, &["PRAGMA page_count"])]).await.unwrap();
    b.apply(vec![entry(56, &["PRAGMA page_size"])]).await.unwrap();
    assert_eq!(a.last_outcome_link(), b.last_outcome_link());
    // The rows that a write returns, the number of changes, the rowid and the code of an error count.
    let pairs = [
        ("UPDATE t SET b = 1 WHERE rowid = 1 RETURNING a", "UPDATE t SET b = 1 WHERE rowid = 1 RETURNING a + 1"),
        ("DELETE FROM t WHERE rowid = 2", "DELETE FROM t WHERE rowid > 2 AND rowid < 5"),
        ("INSERT INTO t(rowid) VALUES (1000)", "INSERT INTO t(rowid) VALUES (1001)"),
        ("INSERT INTO none VALUES (1)", "INSERT INTO t(rowid) VALUES (1)"),
    ];
    for (number, (left, right)) in (57..).zip(pairs) {
        let before = (a.last_outcome_link(), b.last_outcome_link());
        a.apply(vec![entry(number, &[left])]).await.unwrap();
        b.apply(vec![entry(number, &[right])]).await.unwrap();
        assert_ne!(a.last_outcome_link(), b.last_outcome_link(), "{left} and {right}");
        assert_ne!((a.last_outcome_link(), b.last_outcome_link()), before);
    }
    let (a_links, b_links) = (a.outcome_links_up_to(60), b.outcome_links_up_to(60));
    assert_eq!((a_links.len(), b_links.len()), (60, 60));
    let first = a_links.iter().zip(&b_links).find(|(a, b)| a != b).unwrap();
    assert_eq!(first.0.index, 57);
    // The chain begins again with each 1024 entries.
    for (db, first) in [(&a, "UPDATE t SET a = 1"), (&b, "DELETE FROM t WHERE rowid = 5")] {
        db.apply(vec![entry(61, &[first])]).await.unwrap();
        db.apply((62..1030).map(|index| entry(index, &["INSERT INTO t(a) VALUES (1) RETURNING 1"])).collect())
            .await
            .unwrap();
    }
    assert_eq!(a.outcome_links_up_to(1025).len(), 1);
}

#[tokio::test]
async fn the_chain_of_outcomes_begins_again_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let options = || Options::default().writes(Writes::Log);
    let file = directory.path().join("db");
    let db = Database::open(file.to_str().unwrap(), options()).unwrap();
    db.apply(vec![entry(1, &["CREATE TABLE t(a, b)"])]).await.unwrap();
    db.apply(inserts(2, 9)).await.unwrap();
    db.close().await.unwrap();
    let db = Database::open(file.to_str().unwrap(), options()).unwrap();
    db.apply(inserts(11, 1014)).await.unwrap();
    assert_eq!(db.last_outcome_link(), None);
    db.apply(inserts(1025, 1)).await.unwrap();
    assert_eq!(db.last_outcome_link().unwrap().index, 1025);
}
