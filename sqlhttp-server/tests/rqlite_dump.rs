//! `/db/backup?fmt=sql`: the SQL text rebuilds an equal database.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::fmt::Write as _;

use common::{Node, Request, Server, temp_dir};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};

/// The default number of generated databases; `SQLHTTP_DUMP_CASES` sets another.
const CASES: u32 = 50;

fn ask(server: &Server, sql: &str) -> Value {
    let results = server.send(&Request::json("/db/query", json!([sql]))).results();
    assert_eq!(results[0].get("error"), None, "{sql}: {results:?}");
    results[0].get("values").cloned().unwrap_or(json!([]))
}

fn execute(server: &Server, statements: &[impl AsRef<str>]) {
    let statements: Vec<&str> = statements.iter().map(AsRef::as_ref).collect();
    let results = server.send(&Request::json("/db/execute", json!(statements))).results();
    for (result, sql) in results.iter().zip(&statements) {
        assert_eq!(result.get("error"), None, "{sql}");
    }
}

fn dump(server: &Server, parameters: &str) -> String {
    let response = server.send(&Request::new("GET", &format!("/db/backup?fmt=sql{parameters}")));
    assert_eq!(response.status, 200, "{}", response.text());
    String::from_utf8(response.body).expect("a dump is UTF-8")
}

fn load(server: &Server, script: &str) {
    let results = server.send(&Request::new("POST", "/db/load").body(script)).results();
    assert_eq!(results[0].get("error"), None, "{results:?} for\n{script}");
}

/// A quoted name in SQL.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// The whole content of a database: its objects, and the rows of its tables with storage classes and bytes.
fn content(server: &Server) -> Vec<(String, Value)> {
    // The dump ends a comment at the end of a statement with a line feed, which SQLite keeps in the text of an index.
    let objects = "SELECT type, name, tbl_name, rtrim(sql, char(10)) FROM sqlite_schema \
                   WHERE name NOT LIKE 'sqlite_auto%' ORDER BY type, name";
    let header = "SELECT user_version, application_id FROM pragma_user_version, pragma_application_id";
    let mut content: Vec<_> = [objects, header].map(|sql| (sql.to_owned(), ask(server, sql))).into();
    let tables = "SELECT name, wr FROM pragma_table_list WHERE schema = 'main' AND type IN ('table', 'virtual') \
                  AND name <> 'sqlite_schema' ORDER BY name";
    for table in ask(server, tables).as_array().unwrap() {
        let sql = rows_of(server, table[0].as_str().unwrap(), table[1] == 1);
        content.push((sql.clone(), ask(server, &sql)));
    }
    content
}

fn rows_of(server: &Server, table: &str, without_rowid: bool) -> String {
    let columns = ask(server, &format!("SELECT name, hidden FROM pragma_table_xinfo('{}')", table.replace('\'', "''")));
    let names: Vec<(&str, bool)> =
        columns.as_array().unwrap().iter().map(|column| (column[0].as_str().unwrap(), column[1] != 1)).collect();
    let is_column = |name: &str| names.iter().any(|(column, _)| column.eq_ignore_ascii_case(name));
    let rowid = ["rowid", "_rowid_", "oid"].into_iter().find(|name| !is_column(name));
    let mut selected = rowid.filter(|_| !without_rowid).map_or_else(|| "NULL".to_owned(), str::to_owned);
    for (name, _) in names.iter().filter(|(_, shown)| *shown) {
        let name = quoted(name);
        write!(
            selected,
            ",typeof({name}),CASE typeof({name}) WHEN 'real' THEN quote({name}) ELSE hex(CAST({name} AS BLOB)) END"
        )
        .unwrap();
    }
    format!("SELECT {selected} FROM {} ORDER BY 1", quoted(table))
}

/// A server that dumps are loaded into. It is emptied by loading an empty database file.
struct Target {
    server: Server,
    empty: Vec<u8>,
}

impl Target {
    fn new() -> Self {
        let server = Server::memory();
        execute(&server, &["CREATE TABLE t(a)", "DROP TABLE t"]);
        let empty = server.send(&Request::new("GET", "/db/backup")).body;
        Target { server, empty }
    }

    fn clear(&self) {
        let response = self.server.send(&Request::new("POST", "/db/load").body(self.empty.clone()));
        assert_eq!((response.status, response.text()), (200, "{\"results\":[]}".to_owned()));
    }
}

fn assert_rebuilds(source: &Server, target: &Target) -> String {
    let script = dump(source, "");
    target.clear();
    load(&target.server, &script);
    for (got, want) in content(&target.server).iter().zip(content(source)) {
        assert_eq!(*got, want, "after\n{script}");
    }
    script
}

#[test]
fn rowids_and_bytes_survive() {
    let (source, target) = (Server::memory(), Target::new());
    execute(
        &source,
        &[
            "CREATE TABLE gaps(v)",
            "INSERT INTO gaps(rowid, v) VALUES(-3, 'a'), (-2, 'b'), (5, 'c'), (6, 'd'), (9223372036854775807, 'e')",
            "CREATE TABLE plain(v)",
            "INSERT INTO plain VALUES('x'), ('y')",
            "CREATE TABLE taken(rowid, oid TEXT)",
            "INSERT INTO taken(_rowid_, rowid, oid) VALUES(7, 1, 'x')",
            "CREATE TABLE all_taken(rowid, oid, _rowid_)",
            "INSERT INTO all_taken VALUES(3, 2, 1)",
            "CREATE TABLE no_alias(id INTEGER PRIMARY KEY DESC, v)",
            "INSERT INTO no_alias(rowid, id, v) VALUES(40, 4, 'x')",
            "CREATE TABLE bytes(v)",
            "INSERT INTO bytes VALUES(CAST(x'610062' AS TEXT)), (CAST(x'ff61' AS TEXT)), (9e999), (-9e999), (0.1), (1e300), \
             (4.9e-324), (-9223372036854775808), (''), (x''), ('it''s'), (123456789.123456789), ('a' || char(13, 10))",
            "CREATE TABLE made(a, b AS (a + 1), c AS (a * 2) STORED)",
            "INSERT INTO made(rowid, a) VALUES(3, 1)",
            "CREATE TABLE strict(a TEXT, b ANY) STRICT, WITHOUT ROWID".replace("a TEXT", "a TEXT PRIMARY KEY").as_str(),
            "INSERT INTO strict VALUES(CAST(x'00' AS TEXT), '1')",
            "PRAGMA user_version=-5",
            "PRAGMA application_id=77",
        ],
    );
    let script = assert_rebuilds(&source, &target);
    assert!(script.contains("INSERT INTO \"plain\" VALUES('x');\nINSERT INTO \"plain\" VALUES('y');\n"), "{script}");
    assert!(script.contains("INSERT INTO \"gaps\"(rowid,\"v\") VALUES(-3,'a');\nINSERT INTO \"gaps\" VALUES('b');\n"));
    assert!(script.ends_with("PRAGMA user_version=-5;\nPRAGMA application_id=77;\nCOMMIT;\n"), "{script}");
}

#[test]
fn the_largest_rowids_of_autoincrement_survive() {
    let target = Target::new();
    let counting = |name: &str| format!("CREATE TABLE {name}(id INTEGER PRIMARY KEY AUTOINCREMENT, v)");
    for (statements, by_name) in [
        // The sequence comes where rqlite writes it, in the order of the names.
        (vec![counting("a"), "INSERT INTO a VALUES(7, 1)".into(), "DELETE FROM a".into(), counting("z")], true),
        // The only table with a sequence comes later.
        (vec![counting("z"), "INSERT INTO z VALUES(7, 1), (9, 1)".into(), "DELETE FROM z WHERE id = 9".into()], false),
        // A later table has no sequence, or one below its largest rowid.
        (
            vec![
                counting("a"),
                counting("z"),
                "INSERT INTO z VALUES(7, 1)".into(),
                "DELETE FROM sqlite_sequence".into(),
            ],
            false,
        ),
        (
            vec![
                counting("a"),
                counting("z"),
                "INSERT INTO z VALUES(7, 1)".into(),
                "UPDATE sqlite_sequence SET seq = 2".into(),
            ],
            false,
        ),
        // No table with a sequence is left.
        (
            vec![
                counting("sequence"),
                "DROP TABLE sequence".into(),
                "INSERT INTO sqlite_sequence VALUES('x', 3)".into(),
            ],
            false,
        ),
    ] {
        let source = Server::memory();
        execute(&source, &statements);
        let script = assert_rebuilds(&source, &target);
        let at = |part: &str| script.find(part);
        assert_eq!(at("\"sqlite_sequence\"") < at("CREATE TABLE z"), by_name, "{script}");
    }
    let source = Server::memory();
    execute(
        &source,
        &[counting("a"), "INSERT INTO a VALUES(3, 1), (8, 1)".into(), "DELETE FROM a WHERE id = 8".into()],
    );
    target.clear();
    load(&target.server, &dump(&source, "&tables=a"));
    assert_eq!(ask(&target.server, "SELECT * FROM sqlite_sequence"), json!([["a", 8]]));
}

#[test]
fn comments_views_and_triggers_survive() {
    let (source, target) = (Server::memory(), Target::new());
    execute(
        &source,
        &[
            "CREATE TABLE t(a, b DEFAULT '-- no comment')",
            "INSERT INTO t(a) VALUES(1)",
            "CREATE VIEW first AS SELECT * FROM second -- note",
            "CREATE VIEW second AS SELECT a FROM t /* note */",
            "CREATE INDEX i ON t(a) -- note",
            "CREATE TRIGGER late AFTER INSERT ON t BEGIN INSERT INTO t(a) SELECT 99 WHERE new.a < 5; END",
            "CREATE TRIGGER instead INSTEAD OF INSERT ON second BEGIN INSERT INTO t(a) VALUES(new.a); END",
        ],
    );
    let script = assert_rebuilds(&source, &target);
    assert!(script.contains("CREATE VIEW first AS SELECT * FROM second -- note\n;\n"), "{script}");
    assert_eq!(ask(&target.server, "SELECT * FROM first"), json!([[1]]));
}

#[test]
fn virtual_tables_survive() {
    let (source, target) = (Server::memory(), Target::new());
    execute(
        &source,
        &[
            "CREATE VIRTUAL TABLE f USING fts5(a, b UNINDEXED)",
            "INSERT INTO f(rowid, a, b) VALUES(42, 'quick fox', 1.5), (7, CAST(x'6100' AS TEXT), NULL)",
            "INSERT INTO f(f, rank) VALUES('pgsz', 1000)",
            "CREATE VIRTUAL TABLE g USING fts4(a)",
            "INSERT INTO g(docid, a) VALUES(9, 'lazy dog')",
            "CREATE VIRTUAL TABLE r USING rtree(id, x0, x1, +note)",
            "INSERT INTO r VALUES(3, 1.5, 2.5, 'here'), (1, -1, 1, NULL)",
            "CREATE VIRTUAL TABLE p USING geopoly(name)",
            "INSERT INTO p(rowid, _shape, name) VALUES(5, '[[0,0],[1,0],[0,1],[0,0]]', 'triangle')",
            "CREATE VIRTUAL TABLE v USING fts5vocab(f, row)",
            "CREATE TABLE f_notes(a)",
            "CREATE TABLE texts(id INTEGER PRIMARY KEY, t)",
            "INSERT INTO texts VALUES(11, 'elsewhere'), (12, 'somewhere')",
            "CREATE VIRTUAL TABLE x USING fts5(t, content='texts', content_rowid='id')",
            "INSERT INTO x(x) VALUES('rebuild')",
            "CREATE VIRTUAL TABLE blank USING fts5(t, content='')",
        ],
    );
    assert_rebuilds(&source, &target);
    assert_eq!(ask(&target.server, "SELECT rowid FROM x WHERE x MATCH 'somewhere'"), json!([[12]]));
    assert_eq!(ask(&target.server, "SELECT rowid, a FROM f WHERE f MATCH 'quick'"), json!([[42, "quick fox"]]));
    assert_eq!(ask(&target.server, "SELECT docid FROM g WHERE g MATCH 'dog'"), json!([[9]]));
    assert_eq!(ask(&target.server, "SELECT note FROM r WHERE x0 > 1"), json!([["here"]]));
    assert_eq!(ask(&target.server, "SELECT v FROM f_config WHERE k = 'pgsz'"), json!([[1000]]));
}

/// The dump of a virtual table that its rows cannot restore is that of the `sqlite3` shell.
#[test]
fn contentless_virtual_tables_are_dumped_as_by_the_shell() {
    let source = Server::memory();
    execute(
        &source,
        &[
            "CREATE VIRTUAL TABLE c USING fts5(a, content='')",
            "INSERT INTO c(rowid, a) VALUES(2, 'it')",
            "CREATE TABLE t(a)",
        ],
    );
    let begin = "PRAGMA foreign_keys=OFF;\nBEGIN TRANSACTION;\nPRAGMA writable_schema=ON;\n\
                 INSERT INTO sqlite_schema(type,name,tbl_name,rootpage,sql)\
                 VALUES('table','c','c',0,'CREATE VIRTUAL TABLE c USING fts5(a, content='''')');\n\
                 CREATE TABLE IF NOT EXISTS 'c_config'";
    let script = dump(&source, "");
    assert!(script.starts_with(begin), "{script}");
    assert!(script.ends_with("CREATE TABLE t(a);\nPRAGMA writable_schema=OFF;\nCOMMIT;\n"), "{script}");
    let target = Target::new();
    load(&target.server, &script);
    assert_eq!(ask(&target.server, "SELECT rowid FROM c WHERE c MATCH 'it'"), json!([[2]]));
    assert!(dump(&source, "&tables=c").contains("INSERT INTO \"c_docsize\" VALUES(2,"));
    assert!(!dump(&source, "&tables=t").contains("c_docsize"));
}

/// Dumps of the `sqlite3` shell. The second one is of a vacuumed file, in which shadow tables come first.
const OF_THE_SHELL: [&str; 2] =
    [include_str!("data/dumps/virtual_tables.sql"), include_str!("data/dumps/vacuumed.sql")];

fn assert_searches_work(server: &Server) {
    for (sql, rows) in [
        ("SELECT rowid FROM f WHERE f MATCH 'hello'", json!([[1]])),
        ("SELECT rowid FROM fx WHERE fx MATCH 'quoted'", json!([[2]])),
        ("SELECT rowid FROM fc WHERE fc MATCH 'none'", json!([[7]])),
        ("SELECT rowid FROM \"f four\" WHERE \"f four\" MATCH 'times'", json!([[1]])),
        ("SELECT rowid FROM f3 WHERE f3 MATCH 'run'", json!([[1]])),
        ("SELECT id FROM r WHERE a > 1", json!([[2]])),
    ] {
        assert_eq!(ask(server, sql), rows, "{sql}");
    }
}

#[test]
fn dumps_of_the_shell_survive_a_crash_of_the_node() {
    for script in OF_THE_SHELL {
        let dir = temp_dir();
        let node = Node::new(&dir.path().join("data"));
        let server = node.start();
        load(&server, script);
        assert_searches_work(&server);
        execute(&server, &["INSERT INTO doc(b) VALUES('fresh pear')", "INSERT INTO f VALUES('later words')"]);
        server.crash();
        let server = node.start();
        assert_searches_work(&server);
        assert_eq!(ask(&server, "SELECT rowid FROM fx WHERE fx MATCH 'pear'"), json!([[4]]));
        assert_eq!(ask(&server, "SELECT rowid FROM f WHERE f MATCH 'later'"), json!([[3]]));
        execute(&server, &["INSERT INTO f(f) VALUES('integrity-check')"]);
    }
}

#[test]
fn dumps_of_the_shell_run_as_one_string() {
    for script in OF_THE_SHELL {
        let server = Server::memory();
        execute(&server, &[script]);
        assert_searches_work(&server);
        let server = Server::memory();
        let item = json!([{ "statement": script }]);
        assert_eq!(server.transaction("t", item).status, 200);
        assert_searches_work(&server);
        let dir = temp_dir();
        let server = Node::new(&dir.path().join("data")).start();
        execute(&server, &[script]);
        assert_searches_work(&server);
        let broken = script.replace("VALUES(2,'other')", "VALUES(2,'wrong')");
        let server = Node::new(&dir.path().join("other")).start();
        let results = server.send(&Request::new("POST", "/db/load").body(broken)).results();
        assert!(results[0]["error"].as_str().is_some_and(|error| error.contains("virtual table f")), "{results:?}");
        assert_eq!(ask(&server, "SELECT count(*) FROM sqlite_schema WHERE name LIKE 'f%'"), json!([[0]]));
    }
}

#[test]
fn single_tables_come_with_their_indexes_and_with_all_views() {
    let (source, target) = (Server::memory(), Target::new());
    execute(
        &source,
        &[
            "CREATE TABLE a(v)",
            "CREATE TABLE b(v)",
            "INSERT INTO a(rowid, v) VALUES(5, 'x')",
            "CREATE INDEX a_v ON a(v)",
            "CREATE INDEX b_v ON b(v)",
            "CREATE TRIGGER b_t AFTER INSERT ON b BEGIN SELECT 1; END",
            "CREATE VIEW w AS SELECT * FROM b",
        ],
    );
    let script = dump(&source, "&tables=a,nope");
    let want = "PRAGMA foreign_keys=OFF;\nBEGIN TRANSACTION;\nCREATE TABLE a(v);\n\
                INSERT INTO \"a\"(rowid,\"v\") VALUES(5,'x');\nCREATE INDEX a_v ON a(v);\n\
                CREATE VIEW w AS SELECT * FROM b;\nCOMMIT;\n";
    assert_eq!(script, want);
    load(&target.server, &script);
}

/// A literal of any storage class.
fn literal() -> impl Strategy<Value = String> {
    let hex = |bytes: Vec<u8>| bytes.iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02X}"));
    prop_oneof![
        Just("NULL".to_owned()),
        any::<i64>().prop_map(|integer| integer.to_string()),
        (-3_i64..100).prop_map(|integer| integer.to_string()),
        any::<f64>().prop_filter("numbers", |real| real.is_finite()).prop_map(|real| format!("{real:e}")),
        prop::sample::select(vec!["9e999", "-9e999", "0.1", "-0.0", "1e15", "''", "x''"]).prop_map(str::to_owned),
        ".{0,6}".prop_map(move |text| format!("CAST(x'{}' AS TEXT)", hex(text.into_bytes()))),
        prop::collection::vec(any::<u8>(), 0..6).prop_map(move |bytes| format!("CAST(x'{}' AS TEXT)", hex(bytes))),
        prop::collection::vec(any::<u8>(), 0..6).prop_map(move |bytes| format!("x'{}'", hex(bytes))),
    ]
}

fn name() -> impl Strategy<Value = String> {
    let names = ["a", "b", "z", "Order", "it's", "a \"b\"", "-- c", "/* d", "é", "sqlit", "rowid", "x;y", "t_data"];
    prop::sample::select(names.to_vec()).prop_map(str::to_owned)
}

fn column() -> impl Strategy<Value = String> {
    let names = ["a", "b", "c \"d\"", "rowid", "oid", "_rowid_", "select", "e;f"];
    prop::sample::select(names.to_vec()).prop_map(str::to_owned)
}

/// Statements that create and fill a table; some may fail.
fn table() -> impl Strategy<Value = Vec<String>> {
    let types = ["", "INTEGER", "TEXT", "REAL", "BLOB", "NUMERIC", "DATETIME"];
    let columns = prop::collection::btree_map(column(), prop::sample::select(types.to_vec()), 1..4);
    let rows = prop::collection::vec((prop::option::of(-5_i64..50), prop::collection::vec(literal(), 4)), 0..6);
    let after = prop::collection::vec(0..7_usize, 0..4);
    (name(), columns, 0..6_usize, rows, after).prop_map(|(name, columns, kind, rows, after)| {
        let table = quoted(&name);
        let mut defined: Vec<String> = columns.iter().map(|(name, kind)| format!("{} {kind}", quoted(name))).collect();
        let mut names: Vec<String> = columns.keys().map(|name| quoted(name)).collect();
        let first = names[0].clone();
        match kind {
            0 => defined.push(format!("made AS (typeof({first}))")),
            1 => (names, defined) = with_key(names, defined, "id INTEGER PRIMARY KEY"),
            2 => (names, defined) = with_key(names, defined, "id INTEGER PRIMARY KEY AUTOINCREMENT"),
            3 => (names, defined) = with_key(names, defined, "id PRIMARY KEY"),
            4 => (names, defined) = with_key(names, defined, "id INTEGER PRIMARY KEY DESC"),
            _ => {}
        }
        let suffix = if kind == 3 { " WITHOUT ROWID" } else { "" };
        let mut statements = vec![format!("CREATE TABLE {table}({}){suffix}", defined.join(", "))];
        for (rowid, values) in rows {
            let (mut into, mut values) = (names.clone(), values);
            values.truncate(into.len());
            into.truncate(values.len());
            if let Some(rowid) = rowid {
                // The statement fails if the table has neither such a column nor such a name of the rowid.
                into.push(if kind == 1 || kind == 2 { "id" } else { "rowid" }.to_owned());
                values.push(rowid.to_string());
            }
            let (into, values) = (into.join(","), values.join(","));
            statements.push(format!("INSERT OR IGNORE INTO {table}({into}) VALUES({values})"));
        }
        for what in after {
            statements.push(match what {
                0 => format!("CREATE INDEX {} ON {table}({first})", quoted(&format!("{name} i"))),
                1 => format!("CREATE VIEW {} AS SELECT * FROM {table} -- note", quoted(&format!("{name} v"))),
                2 => format!(
                    "CREATE TRIGGER {} AFTER INSERT ON {table} BEGIN DELETE FROM {table}; END",
                    quoted(&format!("{name} t"))
                ),
                3 => format!("DELETE FROM {table} WHERE {first} IS NOT NULL"),
                4 => "ANALYZE".to_owned(),
                5 => format!("DROP TABLE {table}"),
                _ => "DELETE FROM sqlite_sequence".to_owned(),
            });
        }
        statements
    })
}

fn with_key(mut names: Vec<String>, mut defined: Vec<String>, key: &str) -> (Vec<String>, Vec<String>) {
    names.insert(0, "id".to_owned());
    defined.insert(0, key.to_owned());
    (names, defined)
}

fn virtual_table() -> impl Strategy<Value = Vec<String>> {
    let rows = prop::collection::vec((1_i64..60, literal(), "[a-c ]{0,8}"), 0..5);
    (name(), 0..3_usize, rows).prop_map(|(name, kind, rows)| {
        let table = quoted(&name);
        let module = ["fts5(a, b UNINDEXED)", "fts4(a, b)", "rtree(a, b, c)"][kind];
        let row = |(rowid, value, text): (i64, String, String)| match kind {
            2 => format!("INSERT OR IGNORE INTO {table} VALUES({rowid}, {rowid} - 0.5, {rowid} + 1)"),
            _ => format!("INSERT OR IGNORE INTO {table}(rowid, a, b) VALUES({rowid}, '{text}', {value})"),
        };
        let mut statements = vec![format!("CREATE VIRTUAL TABLE {table} USING {module}")];
        statements.extend(rows.into_iter().map(row));
        statements
    })
}

fn database() -> impl Strategy<Value = Vec<String>> {
    let objects = prop::collection::vec(prop_oneof![4 => table(), 1 => virtual_table()], 1..5);
    (objects, prop::option::of(any::<i32>())).prop_map(|(objects, version)| {
        objects.into_iter().flatten().chain(version.map(|version| format!("PRAGMA user_version={version}"))).collect()
    })
}

#[test]
fn any_database_is_rebuilt_by_its_dump() {
    let cases = std::env::var("SQLHTTP_DUMP_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(CASES);
    let (source, target) = (Target::new(), Target::new());
    let config = Config { cases, max_shrink_iters: 500, failure_persistence: None, ..Config::default() };
    let result = TestRunner::new(config).run(&database(), |statements| {
        source.clear();
        // Some statements fail.
        source.server.send(&Request::json("/db/execute", json!(statements))).results();
        assert_rebuilds(&source.server, &target);
        Ok(())
    });
    result.unwrap();
}
