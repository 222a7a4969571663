//! A request has the same answer from the standalone server and from a cluster of one node, and a statement has the
//! same result in both protocols.
//!
//! `SQLHTTP_MIRROR_STATEMENTS` is the number of random requests (600), `SQLHTTP_MIRROR_SEED` the seed of the random
//! numbers (7).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::{Launch, Node, Random, Request, Response, Server, temp_dir};
use serde_json::{Value, json};

const SCHEMA: [&str; 5] = [
    "CREATE TABLE t(id INTEGER PRIMARY KEY, n INTEGER, r REAL, s TEXT, b BLOB, x, d DATE, f BOOLEAN)",
    "CREATE TABLE u(k TEXT PRIMARY KEY, v NUMERIC UNIQUE) WITHOUT ROWID",
    "CREATE TABLE p(id INTEGER PRIMARY KEY AUTOINCREMENT, t REFERENCES t(id), note VARCHAR(9) NOT NULL)",
    "CREATE VIEW w AS SELECT n, count(*) AS c, sum(r) AS total FROM t GROUP BY n",
    "CREATE TRIGGER forbids BEFORE INSERT ON p WHEN new.note = 'no' BEGIN SELECT RAISE(ROLLBACK, 'forbidden'); END",
];

/// Values as SQL literals.
const VALUES: [&str; 16] = [
    "NULL",
    "0",
    "1",
    "-7",
    "9223372036854775807",
    "1.5",
    "1e300",
    "-0.0",
    "'text'",
    "'ümläut 🎉'",
    "''",
    "'2024-05-06'",
    "x'00ff80'",
    "x''",
    "'a\"b\\c'",
    "'no'",
];

const WRITES: [&str; 14] = [
    "INSERT INTO t(n, r, s, b, x) VALUES (#, #, #, #, #)",
    "INSERT INTO t(n, d, f) VALUES (#, #, #), (#, #, #)",
    "INSERT INTO t(n, s) VALUES (#, #) RETURNING id, s",
    "UPDATE t SET x = #, r = # WHERE id % 5 = @",
    "DELETE FROM t WHERE id % 9 = @",
    "INSERT INTO u VALUES (#, #)",
    "INSERT INTO u VALUES (#, #) ON CONFLICT DO NOTHING",
    "INSERT OR REPLACE INTO u VALUES (#, #)",
    "INSERT OR ROLLBACK INTO u VALUES (#, #)",
    "INSERT INTO p(t, note) VALUES (@, #)",
    "INSERT INTO t(n) VALUES (#); UPDATE t SET s = # WHERE id = last_insert_rowid()",
    "BEGIN; INSERT INTO t(n) VALUES (@); INSERT INTO t(n) VALUES (@); COMMIT",
    "INSERT INTO nowhere VALUES (#)",
    "UPDAT t SET n = 1",
];

const READS: [&str; 14] = [
    "SELECT * FROM t WHERE id % 7 = @ ORDER BY id",
    "SELECT s || x, typeof(x), length(b) FROM t ORDER BY id LIMIT 9",
    "SELECT * FROM u ORDER BY k",
    "SELECT * FROM w ORDER BY n",
    "SELECT t.id, p.note FROM t JOIN p ON p.t = t.id ORDER BY p.id LIMIT 5",
    "SELECT count(*), sum(n), avg(r), max(s), group_concat(f) FROM t",
    "SELECT #, # AS same, # AS same",
    "WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < @) SELECT i, i * 1.5 FROM c",
    "SELECT name, sql FROM sqlite_schema WHERE name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY name",
    "PRAGMA table_info(t)",
    "SELECT * FROM t WHERE s = # OR x IS # ORDER BY id",
    "SELECT nothing FROM t",
    "SELECT 1; SELECT 2 AS last",
    "VALUES (#, #), (#, #)",
];

/// Replaces each `#` with a literal and each `@` with a digit.
fn fill(random: &mut Random, form: &str) -> String {
    let mut sql = String::new();
    for part in form.chars() {
        match part {
            '#' => sql.push_str(random.choose::<&str>(&VALUES)),
            '@' => sql.push_str(&random.below(9).to_string()),
            other => sql.push(other),
        }
    }
    sql
}

fn statement(random: &mut Random) -> String {
    let forms: &[&str] = if random.below(2) == 0 { &WRITES } else { &READS };
    let form = *random.choose(forms);
    fill(random, form)
}

/// A server of each kind.
struct Pair {
    standalone: Server,
    node: Server,
}

impl Pair {
    fn start() -> (Pair, tempfile::TempDir, tempfile::TempDir) {
        let (one, two) = (temp_dir(), temp_dir());
        let standalone = Launch::new().dir(one.path()).args(["--db", "x.db"]).start();
        let node = Node::new(&two.path().join("data")).flags(["-db-name", "x"]).start();
        (Pair { standalone, node }, one, two)
    }

    fn both(&self, request: &Request) -> (Response, Response) {
        (self.standalone.send(request), self.node.send(request))
    }

    /// Sends a request to both servers, and asserts that the answers are equal. Returns one of them.
    fn same(&self, request: &Request, what: &str) -> Response {
        let (one, two) = self.both(request);
        let compared = |response: &Response| {
            let content_type = response.header("Content-Type").map(str::to_owned);
            (response.status, content_type, response.text())
        };
        assert_eq!(compared(&one), compared(&two), "{what}");
        one
    }
}

fn rqlite(random: &mut Random) -> (Request, String) {
    let count = 1 + random.below(4);
    let texts: Vec<String> = (0..count).map(|_| statement(random)).collect();
    let path = *random.choose(&["/db/execute", "/db/query", "/db/request"]);
    let mut flags = Vec::new();
    for flag in ["transaction", "associative", "pretty", "blob_array", "qualify_columns"] {
        if random.below(3) == 0 {
            flags.push(flag);
        }
    }
    let target = format!("{path}?{}", flags.join("&"));
    let what = format!("POST {target} {}", json!(texts));
    (Request::new("POST", &target).body(json!(texts).to_string()), what)
}

fn ws4sqlite(random: &mut Random) -> (Request, String) {
    let count = 1 + random.below(4);
    let items: Vec<Value> = (0..count)
        .map(|_| {
            let key = if random.below(2) == 0 { "query" } else { "statement" };
            let mut item = json!({ key: statement(random) });
            if random.below(3) == 0 {
                item["noFail"] = json!(true);
            }
            item
        })
        .collect();
    let format = *random.choose(&["map", "list"]);
    let body = json!({ "resultFormat": format, "transaction": items });
    let what = format!("POST /x {body}");
    (Request::new("POST", "/x").header("Content-Type", "application/json").body(body.to_string()), what)
}

#[test]
fn random_requests_get_equal_answers_from_both_servers() {
    let number = |name: &str, default: u64| std::env::var(name).ok().and_then(|n| n.parse().ok()).unwrap_or(default);
    let (count, seed) = (number("SQLHTTP_MIRROR_STATEMENTS", 600), number("SQLHTTP_MIRROR_SEED", 7));
    let (pair, _one, _two) = Pair::start();
    let mut random = Random::new(seed);
    pair.same(&Request::new("POST", "/db/execute?transaction").body(json!(SCHEMA).to_string()), "schema");
    for round in 0..count {
        let (request, what) = if random.below(3) == 0 { ws4sqlite(&mut random) } else { rqlite(&mut random) };
        pair.same(&request, &format!("seed {seed}, round {round}: {what}"));
    }
    for table in ["t", "u", "p", "sqlite_sequence"] {
        let all = json!([format!("SELECT * FROM {table} ORDER BY 1")]).to_string();
        let answer = pair.same(&Request::new("POST", "/db/query").body(all), table);
        assert!(answer.text().contains("values"), "{table} is empty: {}", answer.text());
    }
}

/// Rows, counts and errors that both protocols can express are equal.
#[test]
fn one_statement_has_equal_results_in_both_protocols() {
    let (pair, _one, _two) = Pair::start();
    let mut random = Random::new(11);
    pair.same(&Request::new("POST", "/db/execute?transaction").body(json!(SCHEMA).to_string()), "schema");
    let insert = json!([fill(&mut random, "INSERT INTO t(n, r, s, x) VALUES (1, 2.5, 'a', NULL), (3, 4.5, 'ä', 'b')")]);
    pair.same(&Request::new("POST", "/db/execute").body(insert.to_string()), "rows");
    for server in [&pair.standalone, &pair.node] {
        for sql in ["SELECT id, n, r, s, x FROM t ORDER BY id", "SELECT count(*) AS c FROM t", "SELECT 1 WHERE 0"] {
            let (rows, columns) = rows_by_rqlite(server, sql);
            let (others, headers) = rows_by_ws4sqlite(server, sql);
            assert_eq!((rows, columns), (others, headers), "{sql}");
        }
        // Each of these changes the same number of rows when it runs again.
        let last = "DELETE FROM t WHERE id IN (SELECT max(id) FROM t)";
        for sql in ["UPDATE t SET x = 'c'", "INSERT INTO t(n) VALUES (1), (2)", last] {
            let by_rqlite = result(server, "/db/execute", &json!([sql]))["rows_affected"].clone();
            let by_ws4sqlite = item(server, "statement", sql)["rowsUpdated"].clone();
            assert_eq!(by_rqlite, by_ws4sqlite, "{sql}");
        }
        for sql in ["INSERT INTO u VALUES (NULL, 1)", "SELECT nothing", "NONSENSE", "INSERT INTO t(id) VALUES (1)"] {
            let by_rqlite = result(server, "/db/execute", &json!([sql]))["error"].as_str().unwrap().to_owned();
            let by_ws4sqlite = item(server, "statement", sql)["error"].as_str().unwrap().to_owned();
            assert!(by_ws4sqlite.contains(&by_rqlite), "{sql}: {by_rqlite} / {by_ws4sqlite}");
        }
    }
}

fn result(server: &Server, path: &str, body: &Value) -> Value {
    let response = server.send(&Request::new("POST", path).body(body.to_string()));
    let all: Value = serde_json::from_str(&response.text()).unwrap();
    all["results"][0].clone()
}

/// The result of an item, or the error of the request.
fn item(server: &Server, key: &str, sql: &str) -> Value {
    let body = json!({ "resultFormat": "list", "transaction": [{ key: sql }] });
    let request = Request::new("POST", "/x").header("Content-Type", "application/json").body(body.to_string());
    let all: Value = serde_json::from_str(&server.send(&request).text()).unwrap();
    if all["results"].is_array() { all["results"][0].clone() } else { all }
}

fn rows_by_rqlite(server: &Server, sql: &str) -> (Vec<Value>, Value) {
    let result = result(server, "/db/query", &json!([sql]));
    let rows = result["values"].as_array().cloned().unwrap_or_default();
    (rows, result["columns"].clone())
}

fn rows_by_ws4sqlite(server: &Server, sql: &str) -> (Vec<Value>, Value) {
    let item = item(server, "query", sql);
    let rows = item["resultSetList"].as_array().cloned().unwrap_or_default();
    (rows, item["resultHeaders"].clone())
}
