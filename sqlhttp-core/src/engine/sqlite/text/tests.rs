//! Compares `instr()`, `replace()`, `trim()` and `unhex()` with the built-in functions.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use proptest::prelude::*;
use rusqlite::limits::Limit;
use rusqlite::types::Value;

use super::*;

fn plain() -> Connection {
    Connection::open_in_memory().unwrap()
}

fn ours() -> Connection {
    let connection = plain();
    register_all(&connection, || false).unwrap();
    crate::engine::sqlite::trim::register_all(&connection, || false).unwrap();
    crate::engine::sqlite::unhex::register_all(&connection, || false).unwrap();
    connection
}

/// The result of an SQL expression: its value, its storage class, its bytes and its length; or the error.
type Found = Result<(Value, String, String, i64), String>;

fn run(connection: &Connection, expression: &str) -> Found {
    let sql = format!("SELECT r, typeof(r), hex(r), length(r) FROM (SELECT {expression} AS r)");
    let row = connection.query_row(&sql, [], |row| {
        // A text with invalid UTF-8 cannot be read as a string; its bytes are compared instead.
        let value = row.get(0).unwrap_or(Value::Null);
        Ok((value, row.get(1)?, row.get(2)?, row.get::<_, Option<i64>>(3)?.unwrap_or(-1)))
    });
    row.map_err(|error| error.to_string())
}

/// Generates SQL literals from few different bytes (parts of characters, NUL, digits), so that matches are frequent.
fn literal() -> impl Strategy<Value = String> {
    let byte = prop_oneof![
        4 => Just(b'a'), 2 => Just(b'b'), 1 => Just(0), 1 => Just(0xC3), 2 => Just(0xA4), 1 => Just(0xFF), 1 => Just(b'1')
    ];
    let bytes = prop::collection::vec(byte, 0..12)
        .prop_map(|bytes| bytes.iter().map(|byte| format!("{byte:02X}")).collect::<String>());
    prop_oneof![
        1 => Just("NULL".to_owned()),
        1 => (-20..120_i64).prop_map(|integer| integer.to_string()),
        1 => (-3.0..30.0_f64).prop_map(|real| format!("{real:?}")),
        1 => Just("zeroblob(3)".to_owned()),
        3 => bytes.clone().prop_map(|hex| format!("x'{hex}'")),
        6 => bytes.prop_map(|hex| format!("CAST(x'{hex}' AS TEXT)")),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn results_are_those_of_the_built_in_functions(
        a in literal(), b in literal(), c in literal(), utf16 in any::<bool>()
    ) {
        let (theirs, ours) = (plain(), ours());
        if utf16 {
            for connection in [&theirs, &ours] {
                connection.execute_batch("PRAGMA encoding='UTF-16le'").unwrap();
            }
        }
        // A set of more than a few characters uses a hash map.
        let long = format!("({b} || 'cdefghijklmnopqrstuvwxyz')");
        for expression in [
            format!("instr({a}, {b})"), format!("replace({a}, {b}, {c})"), format!("trim({a}, {b})"),
            format!("ltrim({a}, {b})"), format!("rtrim({a}, {b})"), format!("trim({a}, {long})"),
            format!("trim({long}, {a})"), format!("rtrim({a}, {long})"),
            format!("unhex({a}, {b})"), format!("unhex({a} || hex({b}) || {c}, {a} || {c})"),
        ] {
            prop_assert_eq!(run(&theirs, &expression), run(&ours, &expression), "{} utf16={}", expression, utf16);
        }
        // One value in several arguments, and used again afterwards.
        let again = format!("(SELECT instr(v, {b}) || '/' || instr({b}, v) || '/' || typeof(v) || replace(v, {b}, v) \
                             || hex(v) FROM (SELECT {a} AS v))");
        prop_assert_eq!(run(&theirs, &again), run(&ours, &again), "{} utf16={}", again, utf16);
    }

    #[test]
    fn the_length_limit_applies_as_in_the_built_in_function(
        text in "[ab]{0,40}", pattern in "[ab]{0,2}", replacement in "[xy]{0,4}", limit in 30..60_i32
    ) {
        let (theirs, ours) = (plain(), ours());
        for connection in [&theirs, &ours] {
            connection.set_limit(Limit::SQLITE_LIMIT_LENGTH, limit).unwrap();
        }
        let [theirs, ours] = [theirs, ours].map(|connection| {
            let result = connection.query_row("SELECT replace(?,?,?)", [&text, &pattern, &replacement], |row| {
                row.get::<_, String>(0)
            });
            result.map_err(|error| error.to_string())
        });
        prop_assert_eq!(theirs, ours);
    }
}

#[test]
fn characters_are_counted_in_texts_and_bytes_in_blobs() {
    let ours = ours();
    for (expression, expected) in [
        ("instr('äöü', 'ü')", Value::Integer(3)),
        ("instr(CAST('äöü' AS BLOB), CAST('ü' AS BLOB))", Value::Integer(5)),
        ("instr('abc', '')", Value::Integer(1)),
        ("instr('', 'a')", Value::Integer(0)),
        ("instr(x'', 'a')", Value::Integer(0)),
        ("instr(12345, 34)", Value::Integer(3)),
        ("instr(NULL, '')", Value::Null),
        ("replace('abcabc', 'b', '')", Value::Text("acac".into())),
        ("replace(101, 1, 2)", Value::Text("202".into())),
        ("replace('a', '', NULL)", Value::Text("a".into())),
        ("replace('a', 'b', NULL)", Value::Null),
    ] {
        assert_eq!(run(&ours, expression).unwrap().0, expected, "{expression}");
    }
}

/// The text is searched in pieces; the needle lies across the border of two pieces.
#[test]
fn long_texts_are_searched_across_the_borders_of_pieces() {
    let ours = ours();
    for offset in [0, 1, 5, BYTES_PER_CHECK - 3, BYTES_PER_CHECK, 2 * BYTES_PER_CHECK - 1] {
        let (text, needle) = ("-".repeat(offset) + "needle" + &"+".repeat(BYTES_PER_CHECK), "needle");
        let (found, replaced): (usize, usize) = ours
            .query_row("SELECT instr(?1, ?2), length(replace(?1, ?2, 'x'))", [&text, needle], |row| {
                Ok((row.get::<_, i64>(0)? as usize, row.get::<_, i64>(1)? as usize))
            })
            .unwrap();
        assert_eq!((found, replaced), (offset + 1, text.len() - 5), "{offset}");
    }
    let needle = "ab".repeat(BYTES_PER_CHECK);
    let text = "ab".repeat(3 * BYTES_PER_CHECK) + "c" + &needle + "d";
    let found: i64 = ours.query_row("SELECT instr(?1, ?2)", [&text, &(needle + "d")], |row| row.get(0)).unwrap();
    assert_eq!(found as usize, 6 * BYTES_PER_CHECK + 2);
}

/// SQLite's own functions take minutes for this input, because the pattern matches almost to its end at every position.
#[test]
fn a_pattern_that_almost_matches_everywhere_takes_linear_time() {
    let ours = ours();
    let sql = "SELECT instr(hex(zeroblob(?1)), hex(zeroblob(?2)) || '1'), \
                      length(replace(hex(zeroblob(?1)), hex(zeroblob(?2)) || '1', 'x'))";
    let found = ours.query_row(sql, [8_000_000, 800_000], |row| Ok((row.get(0)?, row.get(1)?)));
    assert_eq!(found.unwrap(), (0_i64, 16_000_000_i64));
}

/// SQLite's own function takes minutes for this input, because it compares each character with the whole set.
#[test]
fn a_long_set_of_characters_to_trim_takes_linear_time() {
    let sql = "SELECT length(trim(hex(zeroblob(?1)) || 'b', replace(hex(zeroblob(?1)), '0', '1') || '0'))";
    let len: i64 = ours().query_row(sql, [2_000_000], |row| row.get(0)).unwrap();
    assert_eq!(len, 1);
}

#[test]
fn a_long_set_of_characters_to_ignore_takes_linear_time() {
    let sql =
        "SELECT hex(unhex(replace(hex(zeroblob(?1)), '0', '-') || 'ab', replace(hex(zeroblob(?1)), '0', ',') || '-'))";
    let found: String = ours().query_row(sql, [2_000_000], |row| row.get(0)).unwrap();
    assert_eq!(found, "AB");
}

#[test]
fn an_interrupt_ends_the_function() {
    let checks = Arc::new(AtomicUsize::new(0));
    let connection = plain();
    let counted = checks.clone();
    register_all(&connection, move || counted.fetch_add(1, Ordering::Relaxed) == 2).unwrap();
    for expression in ["instr(hex(zeroblob(8000000)), '1')", "replace(hex(zeroblob(8000000)), '0', 'ab')"] {
        checks.store(0, Ordering::Relaxed);
        let error = connection.query_row(&format!("SELECT {expression}"), [], |_| Ok(())).unwrap_err();
        assert_eq!(error.sqlite_error_code(), Some(rusqlite::ErrorCode::OperationInterrupted), "{expression}");
        assert_eq!(checks.load(Ordering::Relaxed), 3, "{expression}");
    }
}

#[test]
fn a_panic_becomes_an_error_of_the_statement() {
    let connection = plain();
    register_all(&connection, || panic!("a bug")).unwrap();
    let error = connection.query_row("SELECT instr(hex(zeroblob(8000000)), '1')", [], |_| Ok(())).unwrap_err();
    assert_eq!(error.sqlite_error_code(), Some(rusqlite::ErrorCode::InternalMalfunction));
}

#[test]
fn indexes_may_use_these_functions() {
    let ours = ours();
    ours.execute_batch(
        "PRAGMA trusted_schema=OFF;
         CREATE TABLE t(x); CREATE INDEX i ON t(instr(x, '@')); CREATE INDEX j ON t(replace(x, ' ', ''));
         INSERT INTO t VALUES ('a@b'), ('a b');",
    )
    .unwrap();
    for (condition, index) in [("instr(x, '@') = 2", "i"), ("replace(x, ' ', '') = 'ab'", "j")] {
        let sql = format!("EXPLAIN QUERY PLAN SELECT x FROM t WHERE {condition}");
        let plan: String = ours.query_row(&sql, [], |row| row.get("detail")).unwrap();
        assert!(plan.contains(&format!("USING INDEX {index}")), "{plan}");
    }
}
