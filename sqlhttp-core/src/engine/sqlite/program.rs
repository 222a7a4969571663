//! The amount of work that a prepared statement does between two checks of SQLite's interrupt flag.
//!
//! SQLite checks the flag, and calls the progress handler, where a loop of the bytecode starts over
//! (<https://sqlite.org/c3ref/progress_handler.html>). The instructions between two such places cannot be interrupted,
//! and many of them take time in proportion to the length of a value: an addition reads a TEXT value from its first to
//! its last digit. Therefore the engine counts such instructions in the statement's bytecode
//! (<https://sqlite.org/opcode.html>), with a weight for each kind. The more there are, the shorter the values must be.
//!
//! The total weight depends only on the schema and the version of SQLite, so it is the same on all nodes of a cluster.

use std::ffi::c_int;

use rusqlite::Connection;

use super::statement::{Instruction, Statement};

/// The weight of one pass over all bytes of a value: about 100 milliseconds for 64 MiB.
pub(crate) const PASS: u32 = 16;
/// The weight of a match (LIKE, GLOB) with a pattern of the maximum length that is permitted for values of any length.
pub(crate) const PATTERN: u32 = 24 * PASS;
/// The weight of an instruction that tests a value as a condition; the value may have to be parsed as a number.
const TEST: u32 = PASS / 2;
/// The weight of comparing or concatenating two values.
const COMPARE: u32 = PASS / 4;
/// The weight of copying a value.
const COPY: u32 = 1;
/// The weight of passing a value to a virtual table, which may split it into tokens.
const TOKENIZE: u32 = 8 * PASS;
/// The number of arguments of the instruction `VUpdate` that are not declared columns: both rowids, and two hidden
/// columns that every table may have.
const VUPDATE_EXTRA: u32 = 4;

/// The instructions that read a value as a number; their weight is [`PASS`].
const PASSES: &[&str] = &[
    "Add",
    "AddImm",
    "BitAnd",
    "BitNot",
    "BitOr",
    "Divide",
    "Insert",
    "Multiply",
    "MustBeInt",
    "RealAffinity",
    "Remainder",
    "ShiftLeft",
    "ShiftRight",
    "Subtract",
];

/// The instructions that test a value; their weight is [`TEST`].
const TESTS: &[&str] = &["And", "Cast", "If", "IfNot", "IsTrue", "Not", "Or"];

/// The instructions that compare or concatenate values; their weight is [`COMPARE`].
const COMPARES: &[&str] = &[
    "AggFinal",
    "AggValue",
    "Compare",
    "Concat",
    "Eq",
    "Found",
    "Ge",
    "Gt",
    "Le",
    "Lt",
    "Ne",
    "NoConflict",
    "NotExists",
    "NotFound",
    "SeekGE",
    "SeekGT",
    "SeekLE",
    "SeekLT",
    "SeekRowid",
];

/// The instructions that copy a value; their weight is [`COPY`].
const COPIES: &[&str] = &["Column", "Copy", "VColumn"];

/// The weights of the SQL functions that take far longer or far less time than one pass over a value.
const WEIGHTS_OF_FUNCTIONS: &[(&str, u32)] = &[
    ("glob", PATTERN),
    ("like", PATTERN),
    ("highlight", 370 * PASS),
    ("json_patch", 1000 * PASS),
    ("jsonb_patch", 1000 * PASS),
    ("snippet", 1000 * PASS),
    ("count", 0),
    ("max", COMPARE),
    ("min", COMPARE),
    ("typeof", COMPARE),
];

/// The weight of one call of an SQL function.
pub(crate) fn weight_of_function(name: &str) -> u32 {
    let own = WEIGHTS_OF_FUNCTIONS.iter().find(|(own, _)| own.eq_ignore_ascii_case(name));
    own.map_or(PASS, |(_, weight)| *weight)
}

/// Computes the total weight of all instructions of a statement of this connection, including those of its triggers.
///
/// # Errors
/// SQLite's result code, if SQLite has no memory or was interrupted.
pub(crate) fn weight(connection: &Connection, statement: &Statement) -> Result<u32, c_int> {
    let mut total = Total::default();
    statement.each_instruction(connection, |instruction| total.add(&instruction))?;
    Ok(total.weight())
}

/// The weight of converting values to the affinities of their columns. `letters` has one letter for each value; `C` to
/// `F` are the numeric affinities.
fn weight_of_affinities(letters: &str) -> u32 {
    let numbers = letters.bytes().filter(|letter| (b'C'..=b'F').contains(letter)).count();
    u32::try_from(numbers).unwrap_or(u32::MAX).saturating_mul(TEST)
}

#[derive(Default)]
struct Total {
    instructions: u32,
    weight: u32,
    /// Whether the statement calls a function that accepts any number of arguments.
    variadic: bool,
    /// Whether the statement calls a JSON function with any number of arguments. Such a function reads its first
    /// argument once for each of the other arguments.
    json: bool,
}

impl Total {
    fn add(&mut self, instruction: &Instruction<'_>) {
        self.instructions = self.instructions.saturating_add(1);
        self.weight = self.weight.saturating_add(self.weight_of(instruction));
    }

    fn weight_of(&mut self, instruction: &Instruction<'_>) -> u32 {
        let Instruction { opcode, p2, p4 } = *instruction;
        match opcode {
            "Function" | "PureFunc" | "AggStep" | "AggStep1" | "AggInverse" => self.weight_of_call(p4),
            "VUpdate" => u32::try_from(p2).unwrap_or(0).saturating_sub(VUPDATE_EXTRA).saturating_mul(TOKENIZE),
            "Affinity" | "MakeRecord" => weight_of_affinities(p4),
            "TypeCheck" => u32::try_from(p2).unwrap_or(0).saturating_mul(TEST),
            _ if PASSES.contains(&opcode) => PASS,
            _ if TESTS.contains(&opcode) => TEST,
            _ if COMPARES.contains(&opcode) => COMPARE,
            _ if COPIES.contains(&opcode) => COPY,
            _ => 0,
        }
    }

    /// The weight of a call of an SQL function. `function` is the name with the number of arguments, as the bytecode
    /// shows it, for example `max(-1)` for a function that accepts any number.
    fn weight_of_call(&mut self, function: &str) -> u32 {
        let (name, arguments) = function.split_once('(').unwrap_or((function, ""));
        self.variadic |= arguments.starts_with('-');
        self.json |= arguments.starts_with('-') && name.starts_with("json");
        weight_of_function(name)
    }

    fn weight(&self) -> u32 {
        // Each argument needs at least one instruction, so the number of instructions is an upper bound for the number
        // of arguments.
        let arguments = match (self.json, self.variadic) {
            (true, _) => self.instructions.saturating_mul(TEST),
            (false, true) => self.instructions.saturating_mul(COMPARE),
            (false, false) => 0,
        };
        self.weight.saturating_add(arguments)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn weight_in(schema: &str, sql: &str) -> u32 {
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch(schema).unwrap();
        let sql = std::ffi::CString::new(sql).unwrap();
        let statement = Statement::prepare(&connection, &sql, true).unwrap().statement.unwrap();
        let first = weight(&connection, &statement).unwrap();
        assert_eq!(first, weight(&connection, &statement).unwrap(), "{sql:?}");
        first
    }

    #[test]
    fn a_statement_is_listed_although_the_schema_was_loaded_again() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("db.sqlite");
        let (connection, other) = (Connection::open(&file).unwrap(), Connection::open(&file).unwrap());
        let trigger = "CREATE TRIGGER g AFTER INSERT ON t BEGIN INSERT INTO l VALUES (new.a + 1); END";
        connection.execute_batch(&format!("CREATE TABLE t(a); CREATE TABLE l(a); {trigger}")).unwrap();
        let statement = Statement::prepare(&connection, c"INSERT INTO t VALUES (?1)", true).unwrap().statement.unwrap();
        let expected = weight(&connection, &statement).unwrap();
        for number in 0..50 {
            other.execute_batch(&format!("CREATE TABLE other{number}(a)")).unwrap();
            // The error makes SQLite compare the schema with that in the file, and free it.
            assert!(connection.prepare("SELECT missing FROM t").is_err());
            connection.execute_batch(&format!("SELECT 'some text', a FROM other{number}")).unwrap();
            assert_eq!(weight(&connection, &statement), Ok(expected));
        }
    }

    #[test]
    fn each_use_of_a_value_counts() {
        let sum = |terms: usize| weight_in("", &format!("SELECT {}", vec!["?1 + 1"; terms].join(", ")));
        assert_eq!(sum(101) - sum(1), 100 * PASS);
        let paths = |paths: u32| weight_in("", &format!("SELECT json_extract(?1{})", ", ?2".repeat(paths as usize)));
        assert!(paths(100) - paths(1) >= 99 * TEST, "{} and {}", paths(100), paths(1));
        let greatest = |values: u32| weight_in("", &format!("SELECT max(?1{})", ", ?2".repeat(values as usize)));
        assert!(greatest(100) - greatest(1) >= 99 * COMPARE, "{} and {}", greatest(100), greatest(1));
        assert_eq!(weight_in("", "SELECT ?1 LIKE ?2"), PATTERN + COPY);
    }

    #[test]
    fn constraints_triggers_views_and_columns_add_to_the_weight() {
        let table = "CREATE TABLE t(a, CHECK (a + 1 + 2 + 3 > 0)); ";
        let bare = weight_in("CREATE TABLE t(a)", "INSERT INTO t VALUES (?1)");
        assert!(weight_in(table, "INSERT INTO t VALUES (?1)") >= bare + 3 * PASS);
        let numbers = "CREATE TABLE t(a INT, b REAL, c NUMERIC)";
        assert!(weight_in(numbers, "INSERT INTO t VALUES (?1, ?1, ?1)") >= bare + 3 * TEST);
        let trigger = "CREATE TABLE t(a); CREATE TRIGGER g AFTER INSERT ON t BEGIN SELECT new.a + 1 + 2 + 3; END";
        assert!(weight_in(trigger, "INSERT INTO t VALUES (?1)") >= bare + 3 * PASS);
        let view = "CREATE TABLE t(a); CREATE VIEW v AS SELECT a + 1 + 2 + 3 AS b FROM t";
        assert!(weight_in(view, "SELECT b FROM v") >= 3 * PASS);
        let columns = |count: usize| {
            let names: Vec<_> = (0..count).map(|i| format!("c{i}")).collect();
            let values = vec!["?1"; count].join(", ");
            let schema = format!("CREATE VIRTUAL TABLE f USING fts5({})", names.join(", "));
            weight_in(&schema, &format!("INSERT INTO f({}) VALUES ({values})", names.join(", ")))
        };
        assert_eq!(columns(50) - columns(10), 40 * TOKENIZE);
    }

    #[test]
    fn ordinary_statements_are_light() {
        let schema = "CREATE TABLE t(id INTEGER PRIMARY KEY, name TEXT NOT NULL, amount REAL, note TEXT)";
        for sql in [
            "INSERT INTO t(name, amount) VALUES (?, ?)",
            "SELECT id, name, amount, note FROM t WHERE id = ?",
            "UPDATE t SET name = ?, note = ? WHERE id = ?",
            "SELECT name, count(*), sum(amount) FROM t WHERE name > ? GROUP BY name ORDER BY 2 LIMIT 10",
        ] {
            let weight = weight_in(schema, sql);
            assert!(weight <= 24 * PASS, "{sql}: {weight}");
        }
    }
}
