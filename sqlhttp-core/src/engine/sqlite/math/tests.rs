//! Compares the math functions of this crate with those of SQLite.

use proptest::prelude::*;
use rusqlite::types::Value;

use super::*;

/// Opens a connection with SQLite's own math functions; `None` if SQLite was compiled without them.
fn built_in() -> Option<Connection> {
    let connection = Connection::open_in_memory().unwrap();
    let complete = connection.prepare("SELECT sqrt(1)").is_ok();
    complete.then_some(connection)
}

fn ours() -> Connection {
    let connection = Connection::open_in_memory().unwrap();
    register_all(&connection).unwrap();
    connection
}

fn value(connection: &Connection, sql: &str) -> Value {
    connection.query_row(sql, [], |row| row.get(0)).unwrap_or_else(|error| panic!("{sql}: {error}"))
}

/// Whether two results are equal except for the last digit, which the C library of the system may round differently.
/// For the hyperbolic functions, neither library is exact to less than two units in the last place; `log(B,X)` is the
/// quotient of two inexact results.
fn agree(name: &str, one: &Value, other: &Value) -> bool {
    let ulps = match name {
        "log" | "sinh" | "cosh" | "tanh" | "asinh" | "acosh" | "atanh" => 4,
        _ => 1,
    };
    match (one, other) {
        (Value::Real(a), Value::Real(b)) => {
            a == b || (a.signum() == b.signum() && a.abs().to_bits().abs_diff(b.abs().to_bits()) <= ulps)
        }
        _ => one == other,
    }
}

const NAMES_OF_ONE: [&str; 24] = [
    "ceil", "ceiling", "floor", "trunc", "exp", "acos", "asin", "atan", "cos", "sin", "tan", "cosh", "sinh", "tanh",
    "acosh", "asinh", "atanh", "sqrt", "radians", "degrees", "ln", "log", "log10", "log2",
];

const NAMES_OF_TWO: [&str; 5] = ["pow", "power", "mod", "atan2", "log"];

/// SQL literals of every storage class, including the limits of the domains of the math functions.
const LITERALS: [&str; 61] = [
    "NULL",
    "0",
    "1",
    "-1",
    "2",
    "-2",
    "3",
    "7",
    "10",
    "-10",
    "100",
    "1000",
    "1000000",
    "9223372036854775807",
    "-9223372036854775808",
    "0.0",
    "-0.0",
    "0.1",
    "-0.1",
    "0.5",
    "-0.5",
    "0.999999999999",
    "1.0",
    "1.0000000001",
    "-1.0",
    "1.5",
    "-1.5",
    "2.5",
    "-2.5",
    "3.141592653589793",
    "1e-300",
    "1e-320",
    "1e10",
    "1e15",
    "4503599627370497.5",
    "1e16",
    "1e18",
    "1e22",
    "1e100",
    "1e300",
    "-1e300",
    "-408026.0",
    "709.7",
    "710.0",
    "-745.2",
    "9e999",
    "-9e999",
    "'2'",
    "'2.5'",
    "' 2 '",
    "'1e3'",
    "'-4'",
    "'abc'",
    "'2abc'",
    "''",
    "'0x10'",
    "x''",
    "x'32'",
    "x'3234'",
    "'9e999'",
    "'99999999999999999999'",
];

#[test]
fn every_function_of_one_argument_agrees_with_the_built_in_one() {
    let Some(built_in) = built_in() else { return };
    let ours = ours();
    for name in NAMES_OF_ONE {
        for x in LITERALS {
            let sql = format!("SELECT {name}({x})");
            let (expected, found) = (value(&built_in, &sql), value(&ours, &sql));
            assert!(agree(name, &expected, &found), "{sql}: {expected:?}, ours {found:?}");
        }
    }
}

#[test]
fn every_function_of_two_arguments_agrees_with_the_built_in_one() {
    let Some(built_in) = built_in() else { return };
    let ours = ours();
    for name in NAMES_OF_TWO {
        for (x, y) in LITERALS.iter().flat_map(|x| LITERALS.map(|y| (x, y))) {
            let sql = format!("SELECT {name}({x}, {y})");
            let (expected, found) = (value(&built_in, &sql), value(&ours, &sql));
            assert!(agree(name, &expected, &found), "{sql}: {expected:?}, ours {found:?}");
        }
    }
}

#[test]
fn every_built_in_math_function_is_replaced() {
    let Some(built_in) = built_in() else { return };
    let ours = ours();
    let functions = |connection: &Connection, built_in: bool| -> Vec<(String, i32)> {
        let sql = "SELECT DISTINCT name, narg FROM pragma_function_list WHERE builtin = ? AND name IN ('acos','acosh',\
            'asin','asinh','atan','atan2','atanh','ceil','ceiling','cos','cosh','degrees','exp','floor','ln','log','log10',\
            'log2','mod','pi','pow','power','radians','sin','sinh','sqrt','tan','tanh','trunc') ORDER BY 1, 2";
        let mut statement = connection.prepare(sql).unwrap();
        let rows = statement.query_map([built_in], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
        rows.map(Result::unwrap).collect()
    };
    assert_eq!(functions(&built_in, true), functions(&ours, false));
    assert_eq!(functions(&ours, false).len(), NAMES_OF_ONE.len() + NAMES_OF_TWO.len() + 1);
    assert_eq!(value(&ours, "SELECT pi()"), Value::Real(PI));
}

#[test]
fn exact_results_are_exact() {
    let ours = ours();
    for (sql, expected) in [
        ("SELECT log10(1000)", 3.0),
        ("SELECT log(1e15)", 15.0),
        ("SELECT log2(1024)", 10.0),
        ("SELECT pow(10, 15)", 1e15),
        ("SELECT pow(3, 4)", 81.0),
        ("SELECT sqrt(144)", 12.0),
        ("SELECT degrees(pi())", 180.0),
        ("SELECT exp(0)", 1.0),
    ] {
        assert_eq!(value(&ours, sql), Value::Real(expected), "{sql}");
    }
    assert_eq!(value(&ours, "SELECT ceil(9007199254740993)"), Value::Integer(9_007_199_254_740_993));
}

/// The expected results were recorded once on one machine. The test fails if another processor or a new version of
/// `libm` computes results with other bits.
#[test]
fn results_have_the_recorded_bits() {
    let ours = ours();
    let found = RECORDED.map(|(sql, _)| {
        let Value::Real(found) = value(&ours, sql) else { panic!("{sql} is not a REAL") };
        (sql, found.to_bits())
    });
    assert!(found == RECORDED, "{found:#x?}");
}

const RECORDED: [(&str, u64); 24] = [
    ("SELECT exp(1)", 0x4005_bf0a_8b14_576a),
    ("SELECT exp(-0.3)", 0x3fe7_b4c8_69c3_7c05),
    ("SELECT pow(1.7, 0.3)", 0x3ff2_c2cd_2586_22da),
    ("SELECT pow(10, -5)", 0x3ee4_f8b5_88e3_68f0),
    ("SELECT ln(10)", 0x4002_6bb1_bbb5_5516),
    ("SELECT log10(7)", 0x3feb_0b0b_0b78_cc3f),
    ("SELECT log2(7)", 0x4006_7576_7f54_042d),
    ("SELECT log(3, 1000)", 0x4019_269d_675f_d3a3),
    ("SELECT sin(1e22)", 0xbfeb_453a_b76b_f397),
    ("SELECT sin(1)", 0x3fea_ed54_8f09_0cee),
    ("SELECT cos(1e10)", 0x3feb_f098_901c_931a),
    ("SELECT tan(1)", 0x3ff8_eb24_5cbe_e3a6),
    ("SELECT asin(0.3)", 0x3fd3_8015_9e14_f6ff),
    ("SELECT acos(0.3)", 0x3ff4_41f5_ecbe_ef59),
    ("SELECT atan(0.3)", 0x3fd2_a73a_661e_af06),
    ("SELECT atan2(0.3, -2)", 0x4007_f10e_1dc6_b048),
    ("SELECT sinh(1)", 0x3ff2_cd9f_c44e_b982),
    ("SELECT cosh(1)", 0x3ff8_b075_51d9_f551),
    ("SELECT tanh(0.3)", 0x3fd2_a4dd_a7d9_14f9),
    ("SELECT asinh(0.3)", 0x3fd2_ec4e_a565_fcc1),
    ("SELECT acosh(1.3)", 0x3fe8_34b2_cab7_f58e),
    ("SELECT atanh(0.3)", 0x3fd3_cf2b_5061_7c96),
    ("SELECT radians(30)", 0x3fe0_c152_382d_7365),
    ("SELECT degrees(0.5)", 0x403c_a5dc_1a63_c1f8),
];

#[test]
fn wrong_numbers_of_arguments_are_refused_as_in_sqlite() {
    let ours = ours();
    let error = ours.prepare("SELECT sqrt()").unwrap_err().to_string();
    assert!(error.starts_with("wrong number of arguments to function sqrt()"), "{error}");
    let error = ours.prepare("SELECT pi(1)").unwrap_err().to_string();
    assert!(error.starts_with("wrong number of arguments to function pi()"), "{error}");
}

#[test]
fn indexes_generated_columns_checks_and_views_may_use_these_functions() {
    let ours = ours();
    ours.execute_batch(
        "PRAGMA trusted_schema=OFF;
         CREATE TABLE t(x, r AS (sqrt(x)) STORED, CHECK (floor(x) = x));
         CREATE INDEX i ON t(ln(x));
         CREATE VIEW v AS SELECT exp(x) AS e FROM t;
         INSERT INTO t(x) VALUES (4), (9);",
    )
    .unwrap();
    assert_eq!(value(&ours, "SELECT sum(r) FROM t"), Value::Real(5.0));
    assert_eq!(value(&ours, "SELECT count(*) FROM v"), Value::Integer(2));
    let plan: String =
        ours.query_row("EXPLAIN QUERY PLAN SELECT x FROM t WHERE ln(x) = 0", [], |row| row.get("detail")).unwrap();
    assert!(plan.contains("USING INDEX i"), "{plan}");
}

proptest! {
    #[test]
    fn results_for_any_number_agree_with_the_built_in_functions(x in any::<f64>(), y in -400.0..400.0_f64, z in -1e6..1e6_f64) {
        let Some(built_in) = built_in() else { return Ok(()) };
        let ours = ours();
        for name in NAMES_OF_ONE {
            for argument in [x, y, z, x.fract()] {
                let sql = format!("SELECT {name}(?)");
                let [expected, found] = [&built_in, &ours].map(|connection| {
                    connection.query_row(&sql, [argument], |row| row.get::<_, Value>(0)).unwrap()
                });
                prop_assert!(agree(name, &expected, &found), "{}({}): {:?}, ours {:?}", name, argument, expected, found);
            }
        }
        for name in NAMES_OF_TWO {
            let sql = format!("SELECT {name}(?, ?)");
            let [expected, found] = [&built_in, &ours].map(|connection| {
                connection.query_row(&sql, [x, y], |row| row.get::<_, Value>(0)).unwrap()
            });
            prop_assert!(agree(name, &expected, &found), "{}({}, {}): {:?}, ours {:?}", name, x, y, expected, found);
        }
    }
}
