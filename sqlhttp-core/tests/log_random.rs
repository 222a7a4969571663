//! Random logs have the same effect on all replicas, whatever the batches contain: virtual tables, triggers,
//! statistics, settings, statements that end transactions. `SQLHTTP_RANDOM_LOGS` sets the number of logs.
#![allow(clippy::expect_used, clippy::panic, reason = "clippy does not see that this is a test")]
#![cfg(feature = "replication")]
mod common;
mod replicas;

use common::rows;
use replicas::{each, failures, replicate};
use sqlhttp_core::{Atomicity, Batch, Bindings, Step};

const SCHEMA: &[&str] = &[
    "CREATE TABLE item(id INTEGER PRIMARY KEY, k TEXT UNIQUE, n, at TEXT DEFAULT (datetime('now', 'localtime')),
        chance DEFAULT (random()), twice AS (n * 2) STORED, half AS (n / 2.0), CHECK (n IS NULL OR n < 900))",
    "CREATE TABLE auto(id INTEGER PRIMARY KEY AUTOINCREMENT, n REFERENCES item(id) ON DELETE SET NULL)",
    "CREATE TABLE plain(a, b)",
    "CREATE TABLE keyed(k TEXT PRIMARY KEY, v) WITHOUT ROWID",
    "CREATE TABLE log(what, a, b)",
    "CREATE TABLE late(p INTEGER REFERENCES item(id) DEFERRABLE INITIALLY DEFERRED)",
    "CREATE INDEX item_n ON item(n); CREATE INDEX item_mod ON item(n % 7, k DESC) WHERE n > 10",
    "CREATE VIRTUAL TABLE words USING fts5(b, content='plain')",
    "CREATE VIRTUAL TABLE texts USING fts5(t, prefix='2')",
    "CREATE VIRTUAL TABLE old USING fts4(t, tokenize=porter); INSERT INTO old(old) VALUES ('automerge=3')",
    "CREATE VIRTUAL TABLE boxes USING rtree(id, x1, x2, y1, y2)",
    "CREATE VIRTUAL TABLE shapes USING geopoly(name)",
    "CREATE TRIGGER item_new AFTER INSERT ON item BEGIN
        INSERT INTO log VALUES ('new', new.id, hex(randomblob(3))); END",
    "CREATE TRIGGER item_gone AFTER DELETE ON item BEGIN INSERT INTO log VALUES ('gone', old.id, old.chance); END",
    "CREATE TRIGGER item_bad BEFORE INSERT ON item WHEN new.n = 13 BEGIN SELECT RAISE(ROLLBACK, 'bad luck'); END",
    "CREATE TRIGGER item_skip BEFORE INSERT ON item WHEN new.n = 14 BEGIN SELECT RAISE(IGNORE); END",
    "CREATE TRIGGER item_fail BEFORE INSERT ON item WHEN new.n = 15 BEGIN SELECT RAISE(FAIL, 'here'); END",
    "CREATE VIEW sums AS SELECT n % 5 AS m, count(*) AS c, sum(n) AS s, random() AS r FROM item GROUP BY 1",
];

/// Statements to choose from. `?` and `#` are numbers: `?` is bound, `#` is in the text.
const STATEMENTS: &[&str] = &[
    "INSERT INTO item(k, n) VALUES ('k' || (? % 40), # % 100)",
    "INSERT INTO item(n) VALUES (?), (? + 1), (13 + # % 4)",
    "INSERT OR REPLACE INTO item(k, n) VALUES ('k' || (? % 9), ?) RETURNING id, at, chance, twice",
    "INSERT OR IGNORE INTO item(k, n) SELECT k || 'x', n + ? FROM item ORDER BY chance LIMIT 3",
    "INSERT OR ROLLBACK INTO item(k) VALUES ('k1')",
    "INSERT OR FAIL INTO item(k, n) VALUES ('u' || ?, 1), ('k1', 2), ('k2', 3)",
    "INSERT INTO item(k, n) VALUES ('k' || (? % 9), ?)
        ON CONFLICT(k) DO UPDATE SET n = excluded.n % 800, at = time('now')",
    "INSERT INTO item(id, n) VALUES (9223372036854775807 - # % 3, 1)",
    "UPDATE item SET n = n + 1 WHERE n % 11 = ? % 11 RETURNING *",
    "UPDATE item SET n = (SELECT s FROM sums ORDER BY r LIMIT 1) % 700 WHERE id % 13 = ? % 13",
    "UPDATE item SET id = id + 1000 WHERE id < 5",
    "DELETE FROM item WHERE id IN (SELECT id FROM item ORDER BY random() LIMIT 2)",
    "DELETE FROM item WHERE n BETWEEN ? AND ? + 3",
    "DELETE FROM log",
    "INSERT INTO auto(n) SELECT id FROM item LIMIT 2",
    "INSERT INTO auto(id, n) VALUES (? + 5000, NULL)",
    "DELETE FROM auto WHERE id % 3 = ? % 3",
    "UPDATE sqlite_sequence SET seq = seq + ? % 10",
    "DELETE FROM sqlite_sequence WHERE name = 'auto'",
    "INSERT INTO plain SELECT n, k FROM item WHERE n > ? % 50",
    "INSERT INTO plain SELECT * FROM (SELECT k, v FROM keyed UNION SELECT a, b FROM plain) LIMIT 4",
    "DELETE FROM plain WHERE rowid % 4 = ? % 4",
    "INSERT OR REPLACE INTO keyed VALUES ('q' || (? % 20), printf('%.17g %e %!.20f', ? / 7.0, ? * 1e300, ? / 3.0))",
    "UPDATE OR REPLACE keyed SET k = 'q' || (length(v) % 20) WHERE k < 'q5'",
    "INSERT INTO log SELECT 'json', json_group_array(json_object('n', n, 'f', n / 7.0)), json_tree.fullkey
        FROM item, json_tree('{\"a\": [1.10, 2e-7]}') WHERE n % 5 = ? % 5",
    "INSERT INTO log VALUES ('counts', changes() || ' ' || total_changes(), last_insert_rowid())",
    "INSERT INTO log SELECT 'like', k, ? FROM item WHERE k LIKE '%' || # % 10",
    "INSERT INTO log SELECT 'time', strftime('%J %s %W', 'now', 'utc'), date('now', '-' || ? || ' days', 'localtime')",
    "INSERT INTO log SELECT 'math', sum(sqrt(n) * exp(n / 100.0)), avg(pow(n, 1.3)) FROM item WHERE n > 0",
    "INSERT INTO log SELECT 'window', k, sum(n) OVER (ORDER BY n ROWS 3 PRECEDING) FROM item WHERE k < 'k2'",
    "INSERT INTO log SELECT 'schema', count(*), group_concat(name) FROM sqlite_schema WHERE name LIKE 'item%'",
    "INSERT INTO log SELECT 'columns', name, type FROM pragma_table_info('item')",
    "INSERT INTO log SELECT 'version', sqlite_version(), ?",
    "INSERT INTO late VALUES (? % 30)",
    "INSERT INTO late VALUES (77777); DELETE FROM late WHERE p = 77777",
    "DELETE FROM late",
    "INSERT INTO words(rowid, b) SELECT rowid, b FROM plain WHERE rowid > ? % 5 LIMIT 5",
    "INSERT INTO words(words) VALUES ('rebuild')",
    "INSERT INTO texts WITH RECURSIVE c(x) AS (VALUES(1) UNION ALL SELECT x + 1 FROM c LIMIT 60)
        SELECT group_concat('w' || (x * # % 997) || ' ' || abs(random()) % 5000, ' ') FROM c",
    "INSERT INTO texts VALUES ('w1 w2 w' || (? % 50))",
    "DELETE FROM texts WHERE rowid % 5 = ? % 5",
    "UPDATE texts SET t = t || ' again' WHERE rowid % 7 = 1",
    "INSERT INTO texts(texts) VALUES ('optimize')",
    "INSERT INTO texts(texts, rank) VALUES ('merge', 8)",
    "INSERT INTO log SELECT 'rank', rank, rowid FROM texts WHERE texts MATCH 'w1 OR w' || # ORDER BY rank LIMIT 5",
    "INSERT INTO log SELECT 'match', snippet(texts, 0, '<', '>', '..', 4), rowid FROM texts('w1*') LIMIT 3",
    "INSERT INTO old WITH RECURSIVE c(x) AS (VALUES(1) UNION ALL SELECT x + 1 FROM c LIMIT 300)
        SELECT group_concat('w' || (x * # % 7919) || 'y' || random(), ' ') FROM c",
    "DELETE FROM old WHERE rowid % 6 = ? % 6",
    "INSERT INTO log SELECT 'old', hex(matchinfo(old)), docid FROM old WHERE old MATCH 'w1*' LIMIT 2",
    "INSERT INTO boxes SELECT NULL, n % 50, n % 50 + 3.3, n / 7.0, n / 7.0 + 1 FROM item WHERE n IS NOT NULL LIMIT 30",
    "INSERT INTO log SELECT 'boxes', id, x2 FROM boxes WHERE x1 > ? % 40 AND y2 < 20 LIMIT 4",
    "DELETE FROM boxes WHERE id % 4 = ? % 4",
    "INSERT INTO shapes(_shape, name) VALUES (geopoly_regular(? % 10, # % 10, 1.7, 5), 'p' || ?)",
    "INSERT INTO log SELECT 'shapes', geopoly_json(_shape), geopoly_area(_shape) FROM shapes
        WHERE geopoly_overlap(_shape, geopoly_bbox(geopoly_regular(# % 10, 5, 2, 4))) LIMIT 2",
    "CREATE TABLE extra# AS SELECT k, n, random() AS r FROM item LIMIT 3",
    "CREATE TABLE made(a PRIMARY KEY, b UNIQUE); INSERT INTO made VALUES (1, random())",
    "ALTER TABLE made ADD COLUMN c DEFAULT 7; ALTER TABLE made RENAME COLUMN b TO d",
    "INSERT INTO made SELECT ?, abs(random()) % 100, 3",
    "DROP TABLE made",
    "CREATE INDEX log_a ON log(a); INSERT INTO log SELECT what, b, a FROM log WHERE a > 5 LIMIT 3",
    "DROP INDEX log_a",
    "CREATE TEMP TABLE scratch AS SELECT n FROM item LIMIT 3; INSERT INTO log SELECT 'temp', n, rowid FROM scratch",
    "CREATE TEMP TRIGGER spy AFTER INSERT ON main.item BEGIN INSERT INTO log VALUES ('spy', new.id, 1); END",
    "PRAGMA recursive_triggers = ON",
    "PRAGMA ignore_check_constraints = ON",
    "PRAGMA reverse_unordered_selects = ON",
    "PRAGMA foreign_keys = OFF",
    "PRAGMA defer_foreign_keys = ON",
    "PRAGMA cache_size = 10",
    "PRAGMA automatic_index = OFF",
    "PRAGMA user_version = #",
    "PRAGMA auto_vacuum = INCREMENTAL",
    "PRAGMA incremental_vacuum(3)",
    "PRAGMA optimize",
    "VACUUM",
    "ANALYZE",
    "REINDEX",
    "DELETE FROM sqlite_stat1 WHERE rowid % 2 = ? % 2",
    "UPDATE sqlite_stat1 SET stat = '100 ' || (1 + ? % 90) WHERE tbl = 'item'",
    "INSERT INTO log WITH RECURSIVE c(x) AS (VALUES(1) UNION ALL SELECT x + 1 FROM c)
        SELECT 'endless', max(x), 1 FROM c",
    "SELECT * FROM item ORDER BY random() LIMIT 3",
    "SELECT sqlite_version() IS NOT NULL, count(*) FROM sums",
    "INSERT INTO nowhere VALUES (?)",
];

/// SplitMix64.
struct Rng(u64);

impl Rng {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        usize::try_from((z ^ (z >> 31)) % limit as u64).expect("below a usize")
    }

    fn step(&mut self) -> Step {
        let text = STATEMENTS[self.below(STATEMENTS.len())].replace('#', &self.below(1000).to_string());
        let values: Vec<i64> = text.matches('?').map(|_| i64::try_from(self.below(1000)).expect("small")).collect();
        let step = Step::query(text, Bindings::positional(values));
        if self.below(4) == 0 { step.or_continue() } else { step }
    }

    fn batch(&mut self) -> Batch {
        let steps = (0..=self.below(4)).map(|_| self.step()).collect();
        let atomicity = if self.below(3) == 0 { Atomicity::All } else { Atomicity::Each };
        // Only batches that write are appended to a log.
        let mut batch = Batch { atomicity, ..Batch::transaction(steps) };
        batch.steps.push(Step::execute("INSERT INTO log VALUES ('mark', random(), changes())", ()).or_continue());
        batch
    }
}

#[test]
fn a_random_log_has_the_same_effect_on_all_replicas() {
    let wanted = std::env::var("SQLHTTP_RANDOM_LOGS").ok().and_then(|number| number.parse().ok()).unwrap_or(3);
    let (mut steps, mut failed) = (0, 0);
    for seed in 0..wanted {
        let mut rng = Rng(seed);
        let batches: Vec<Batch> = std::iter::once(each(SCHEMA)).chain((0..50).map(|_| rng.batch())).collect();
        println!("seed {seed}");
        let (outcomes, database, _dir) = replicate(&batches);
        assert!(failures(&outcomes[0]).iter().all(Option::is_none), "{:?}", outcomes[0]);
        assert_eq!(rows(&database, "PRAGMA integrity_check"), [[common::text("ok")]]);
        let all: Vec<_> = outcomes.iter().flat_map(failures).collect();
        steps += all.len();
        failed += all.iter().flatten().count();
    }
    assert!(failed * 2 < steps, "{failed} of {steps} steps have failed");
}
