//! Finds what rqlite's rewriting of SQL has left in a schema.
//!
//! rqlite replaces `'now'`, `random()` and `randomblob(N)` with constants, also in CREATE statements: the DEFAULT of a
//! column, a trigger or a view then returns the time and the random value of the CREATE statement for ever. The schema
//! does not record what was replaced. A number with the form of a Julian day, or a large integer, may also be what the
//! author of the schema wrote, so each finding is a possibility.

use std::fmt;

use sqlhttp_text::time::Time;

use crate::sql::{Kind, Token, quoted_name, words};

/// The functions whose first argument is a time.
const TIME_FUNCTIONS: [&str; 6] = ["date", "time", "datetime", "julianday", "unixepoch", "timediff"];
/// The functions whose second argument is a time.
const SECOND_TIME_FUNCTIONS: [&str; 2] = ["strftime", "timediff"];
const KEYWORDS_OF_TIME: [&str; 3] = ["CURRENT_TIMESTAMP", "CURRENT_DATE", "CURRENT_TIME"];
/// The Julian days of the years 2000 to 2199. rqlite writes the time of a CREATE statement as such a number.
const JULIAN_DAYS: std::ops::Range<f64> = 2_451_544.5..2_524_593.5;
/// The Julian day at which Unix time begins.
const UNIX_EPOCH: f64 = 2_440_587.5;
/// The least integer that is taken for a random one. rqlite draws it from 0 to 2^63-1: one of ten thousand is smaller.
const RANDOM_MIN: i64 = 1_000_000_000_000_000;
/// The least length of a BLOB that is taken for a random one, in bytes.
const BLOB_MIN: usize = 4;

/// A row of `sqlite_master`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SchemaObject {
    /// `table`, `index`, `trigger` or `view`.
    pub(crate) kind: String,
    pub(crate) name: String,
    /// The table to which an index or a trigger belongs.
    pub(crate) table: String,
    pub(crate) sql: String,
}

/// An object of the schema with values that the rewriting may have left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FrozenObject {
    kind: String,
    name: String,
    findings: Vec<Finding>,
    /// Statements that create the object again with the likely originals.
    remedy: Vec<String>,
    /// Further remarks.
    notes: Vec<&'static str>,
}

/// A value that the rewriting may have left.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Finding {
    /// The column of a table whose definition contains the value.
    column: Option<String>,
    /// The expression with the value.
    shown: String,
    /// The likely original of the expression.
    original: String,
    /// The effect of the value on new rows.
    effect: String,
    /// The position of the text that is replaced, in bytes.
    span: std::ops::Range<usize>,
    replacement: String,
    /// Whether SQLite accepts the original at this place. It refuses `'now'` in CHECK, generated columns and indexes.
    accepted: bool,
}

/// Returns the objects of a schema with values that the rewriting may have left, with the statements that correct them.
pub(crate) fn find(schema: &[SchemaObject]) -> Vec<FrozenObject> {
    let found: Vec<(&SchemaObject, Vec<Finding>)> =
        schema.iter().map(|object| (object, findings(object))).filter(|(_, findings)| !findings.is_empty()).collect();
    found.iter().map(|(object, findings)| frozen_object(object, findings, schema)).collect()
}

fn frozen_object(object: &SchemaObject, findings: &[Finding], schema: &[SchemaObject]) -> FrozenObject {
    let correctable = findings.iter().any(|finding| finding.accepted);
    let remedy = if correctable { remedy(object, schema) } else { Vec::new() };
    let mut notes = Vec::new();
    if findings.iter().any(|finding| !finding.accepted) {
        notes.push(
            "SQLite refuses the current time in CHECK, in generated columns and in indexes: remove the condition",
        );
    }
    if object.kind == "table" && lost_options(&object.sql) {
        notes.push("rqlite's rewriting also removes STRICT and WITHOUT ROWID: add them if the table had them");
    }
    let (kind, name) = (object.kind.clone(), object.name.clone());
    FrozenObject { kind, name, findings: findings.to_vec(), remedy, notes }
}

/// Returns whether the rewriting has printed a CREATE TABLE statement: it then has a quoted name, followed by a blank,
/// and no table options.
fn lost_options(sql: &str) -> bool {
    sql.starts_with("CREATE TABLE \"") && sql.contains("\" (\"") && sql.trim_end().ends_with(')')
}

/// Returns the statements that create an object again, with the likely originals in place of the constants.
fn remedy(object: &SchemaObject, schema: &[SchemaObject]) -> Vec<String> {
    let name = quoted_name(&object.name);
    let created = corrected(object);
    let mut statements = match object.kind.as_str() {
        "trigger" => return vec![format!("DROP TRIGGER {name}"), created],
        "view" => vec![format!("DROP VIEW {name}"), created],
        _ => table_remedy(object, &name, created),
    };
    // DROP has removed them. A trigger that existed earlier would also run for the copied rows.
    let belongs = |other: &&SchemaObject| {
        other.table.eq_ignore_ascii_case(&object.name) && ["index", "trigger"].contains(&other.kind.as_str())
    };
    statements.extend(schema.iter().filter(belongs).map(corrected));
    statements
}

/// Returns the statements that create a table again and keep its rows.
fn table_remedy(object: &SchemaObject, name: &str, created: String) -> Vec<String> {
    let columns = stored_columns(&object.sql);
    let list = columns.as_ref().map_or(String::new(), |names| format!("({names})"));
    let selected = columns.unwrap_or_else(|| "*".to_owned());
    let copy = quoted_name(&format!("copy of {}", object.name));
    vec![
        // Otherwise, DROP TABLE would delete the rows that refer to this table.
        "PRAGMA foreign_keys=OFF".to_owned(),
        format!("CREATE TABLE {copy} AS SELECT {selected} FROM {name}"),
        format!("DROP TABLE {name}"),
        created,
        format!("INSERT INTO {name}{list} SELECT * FROM {copy}"),
        format!("DROP TABLE {copy}"),
    ]
}

/// Returns the names of the columns that are not generated, as a list; `None` if no column is generated.
fn stored_columns(sql: &str) -> Option<String> {
    let tokens = words(sql);
    let places = places(&tokens);
    let mut columns: Vec<(String, bool)> = Vec::new();
    for (token, place) in tokens.iter().zip(&places) {
        let Some(name) = &place.column else { continue };
        if columns.last().is_none_or(|(last, _)| last != name) {
            columns.push((name.clone(), false));
        }
        if let Some(last) = columns.last_mut() {
            last.1 |= place.depth == 1 && token.is("AS");
        }
    }
    let generated = columns.iter().any(|(_, generated)| *generated);
    let stored: Vec<String> =
        columns.iter().filter(|(_, generated)| !generated).map(|(name, _)| quoted_name(name)).collect();
    generated.then(|| stored.join(", "))
}

/// Returns the SQL of an object with the likely originals in place of the constants.
fn corrected(object: &SchemaObject) -> String {
    let mut sql = object.sql.clone();
    // From the end to the beginning, so that the positions remain valid.
    for finding in findings(object).iter().rev().filter(|finding| finding.accepted) {
        sql.replace_range(finding.span.clone(), &finding.replacement);
    }
    sql
}

/// The place of a token in a CREATE TABLE statement.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Place {
    /// The number of open parentheses.
    depth: usize,
    /// The column whose definition contains the token.
    column: Option<String>,
    /// Whether the token is in the parentheses of a DEFAULT.
    in_default: bool,
    /// Whether the token is the value of a DEFAULT without parentheses.
    is_default: bool,
}

/// Returns the places of the tokens of a CREATE TABLE statement.
fn places(tokens: &[Token<'_>]) -> Vec<Place> {
    let mut places = Vec::with_capacity(tokens.len());
    let mut depth = 0_usize;
    let mut column = None;
    let mut default_depth = None;
    for (index, token) in tokens.iter().enumerate() {
        let previous = index.checked_sub(1).and_then(|at| tokens.get(at));
        let begins = depth == 1 && previous.is_some_and(|it| it.is("(") || it.is(","));
        if begins {
            column = (!is_table_constraint(token)).then(|| token.unquoted());
        }
        if token.is(")") {
            depth = depth.saturating_sub(1);
            default_depth = default_depth.filter(|begin| depth > *begin);
        }
        let column_here = if depth == 0 { None } else { column.clone() };
        let is_default = default_depth.is_none() && previous.is_some_and(|it| it.is("DEFAULT"));
        places.push(Place { depth, column: column_here, in_default: default_depth.is_some(), is_default });
        if token.is("(") {
            if is_default {
                default_depth = Some(depth);
            }
            depth += 1;
        }
    }
    places
}

fn is_table_constraint(token: &Token<'_>) -> bool {
    ["CONSTRAINT", "PRIMARY", "UNIQUE", "CHECK", "FOREIGN"].iter().any(|keyword| token.is(keyword))
}

fn findings(object: &SchemaObject) -> Vec<Finding> {
    let tokens = words(&object.sql);
    let is_table = object.kind == "table";
    let places = if is_table { places(&tokens) } else { Vec::new() };
    let mut findings = Vec::new();
    for index in 0..tokens.len() {
        let place = places.get(index).cloned().unwrap_or_default();
        let constant = constant(&object.sql, &tokens, index);
        let in_default = place.in_default || place.is_default;
        let Some(constant) = constant.filter(|constant| constant.is_expected(object, &place)) else { continue };
        findings.push(Finding {
            column: place.column,
            shown: shortened(&object.sql[constant.shown.clone()]),
            original: constant.original(&object.sql),
            effect: constant.effect(object, in_default),
            span: constant.span.clone(),
            accepted: object.kind != "index" && (!is_table || in_default),
            replacement: constant.replacement,
        });
    }
    findings
}

/// A constant that the rewriting may have written.
struct Constant {
    what: What,
    span: std::ops::Range<usize>,
    replacement: String,
    /// The position of the expression with the constant.
    shown: std::ops::Range<usize>,
}

/// The kind of expression that a constant has replaced.
#[derive(Debug, Clone, Copy, PartialEq)]
enum What {
    /// `'now'`; contains the Julian day.
    Now(f64),
    /// `random()` or `randomblob(N)`.
    Random,
    /// A keyword such as CURRENT_TIMESTAMP. It became a name in double quotes, which SQLite reads as a string.
    Keyword,
    /// A keyword in single quotes.
    KeywordText,
}

impl Constant {
    /// Returns whether the constant is at a place where the rewriting may have written it.
    fn is_expected(&self, object: &SchemaObject, place: &Place) -> bool {
        let is_table = object.kind == "table";
        match self.what {
            What::Now(_) => true,
            // A function needs parentheses in a DEFAULT, and the rewriting keeps them.
            What::Random => (is_table && place.in_default) || ["trigger", "view"].contains(&object.kind.as_str()),
            What::Keyword => !is_table || place.in_default || place.is_default,
            What::KeywordText => is_table && (place.in_default || place.is_default),
        }
    }

    fn original(&self, sql: &str) -> String {
        let (before, after) = (&sql[self.shown.start..self.span.start], &sql[self.span.end..self.shown.end]);
        shortened(&format!("{before}{}{after}", self.replacement))
    }

    fn effect(&self, object: &SchemaObject, in_default: bool) -> String {
        let who = match object.kind.as_str() {
            _ if in_default => "each new row gets",
            "table" => "the condition always uses",
            "trigger" => "the trigger always uses",
            "view" => "the view always uses",
            _ => "the index always uses",
        };
        match self.what {
            What::Now(day) => format!("{who} the time {}", time_of(day)),
            What::Random => format!("{who} this value"),
            What::Keyword | What::KeywordText => format!("{who} this text instead of the time"),
        }
    }
}

/// Returns the time of a Julian day, in UTC.
fn time_of(day: f64) -> String {
    let seconds = ((day - UNIX_EPOCH) * 86_400.0).round();
    let mut text = Vec::new();
    // The day is in the range of `JULIAN_DAYS`, so the number of seconds fits.
    if let Some(time) = Time::from_unix(seconds as i64, 0) {
        time.write_json(&mut text);
    }
    String::from_utf8_lossy(&text).trim_matches('"').to_owned()
}

/// Returns the constant at a token, if the rewriting may have written it.
fn constant(sql: &str, tokens: &[Token<'_>], index: usize) -> Option<Constant> {
    let token = tokens.get(index)?;
    let own = |what, replacement: &str| {
        let span = token.span.clone();
        Some(Constant { what, span: span.clone(), replacement: replacement.to_owned(), shown: span })
    };
    match token.kind {
        Kind::Number if token.text.contains('.') => julian_day(sql, tokens, index),
        Kind::Number if is_random(token.text) => own(What::Random, "random()"),
        Kind::Blob => {
            let length = random_blob(token.text)?;
            own(What::Random, &format!("randomblob({length})"))
        }
        Kind::QuotedName if token.text.starts_with('"') && !is_qualified(tokens, index) => {
            own(What::Keyword, keyword_of_time(&token.unquoted())?)
        }
        Kind::Text => own(What::KeywordText, keyword_of_time(&token.unquoted())?),
        _ => None,
    }
}

/// Returns whether a name belongs to a table or names one: `new."x"`, `"x".y`.
fn is_qualified(tokens: &[Token<'_>], index: usize) -> bool {
    let is_dot = |at: Option<usize>| at.and_then(|at| tokens.get(at)).is_some_and(|token| token.is("."));
    is_dot(index.checked_sub(1)) || is_dot(index.checked_add(1))
}

fn keyword_of_time(name: &str) -> Option<&'static str> {
    KEYWORDS_OF_TIME.into_iter().find(|keyword| keyword.eq_ignore_ascii_case(name))
}

/// Returns the constant for a Julian day that is the time of a date function: `datetime(2461365.51)`.
fn julian_day(sql: &str, tokens: &[Token<'_>], index: usize) -> Option<Constant> {
    let token = tokens.get(index)?;
    let day: f64 = token.text.parse().ok().filter(|day| JULIAN_DAYS.contains(day))?;
    let function = time_function(tokens, index)?;
    let begin = tokens.get(function)?.span.start;
    let end = closing(tokens, function + 1).unwrap_or(sql.len());
    Some(Constant {
        what: What::Now(day),
        span: token.span.clone(),
        replacement: "'now'".to_owned(),
        shown: begin..end,
    })
}

/// Returns the index of the date function whose time is the token at `index`.
fn time_function(tokens: &[Token<'_>], index: usize) -> Option<usize> {
    let name_at = |back: usize, functions: &[&str]| {
        let at = index.checked_sub(back)?;
        let open = tokens.get(at + 1)?.is("(");
        (open && functions.iter().any(|function| tokens[at].is(function))).then_some(at)
    };
    // The first argument: name ( day. The second argument: name ( format , day.
    let second = index.checked_sub(1).is_some_and(|at| tokens[at].is(","));
    name_at(2, &TIME_FUNCTIONS).or_else(|| if second { name_at(4, &SECOND_TIME_FUNCTIONS) } else { None })
}

/// Returns the end of the parenthesis that closes the one at `open`, in bytes.
fn closing(tokens: &[Token<'_>], open: usize) -> Option<usize> {
    let mut depth = 0_usize;
    for token in tokens.get(open..)? {
        if token.is("(") {
            depth += 1;
        } else if token.is(")") {
            depth = depth.checked_sub(1)?;
            if depth == 0 {
                return Some(token.span.end);
            }
        }
    }
    None
}

/// Returns whether an integer looks like a random one. Powers of two and round numbers do not.
fn is_random(text: &str) -> bool {
    let Ok(value) = text.parse::<i64>() else { return false };
    let bits = value.unsigned_abs();
    let is_limit = bits.is_power_of_two() || (bits + 1).is_power_of_two();
    value >= RANDOM_MIN && !is_limit && value % 1_000_000_000 != 0
}

/// Returns the length of a BLOB literal in bytes if it looks like a random one.
fn random_blob(text: &str) -> Option<usize> {
    let digits = text.get(2..text.len().checked_sub(1)?)?.as_bytes();
    let first = digits.get(..2)?;
    let uniform = digits.chunks(2).all(|byte| byte == first);
    let length = digits.len() / 2;
    (length >= BLOB_MIN && !uniform).then_some(length)
}

/// Returns a text with at most 60 characters.
fn shortened(text: &str) -> String {
    const MAX: usize = 60;
    if text.chars().count() <= MAX { text.to_owned() } else { text.chars().take(MAX - 1).chain(['…']).collect() }
}

impl fmt::Display for FrozenObject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "  {} {}", self.kind, self.name)?;
        for Finding { column, shown, original, effect, .. } in &self.findings {
            let place = column.as_ref().map_or(String::new(), |name| format!("column {name}: "));
            writeln!(f, "    {place}{shown} may have been {original}; {effect}")?;
        }
        for note in &self.notes {
            writeln!(f, "    Note: {note}.")?;
        }
        if !self.remedy.is_empty() {
            let kind = &self.kind;
            writeln!(
                f,
                "    If so, create the {kind} again: write these statements to a file, and .restore it on the new \
                 server:"
            )?;
        }
        self.remedy.iter().try_for_each(|sql| {
            // Only a line feed ends a comment.
            let end = if sql.lines().last().is_some_and(|line| line.contains("--")) { "\n      ;" } else { ";" };
            writeln!(f, "      {sql}{end}")
        })
    }
}

#[cfg(test)]
mod tests {
    use rusqlite::Connection;

    use super::*;

    fn object(kind: &str, name: &str, table: &str, sql: &str) -> SchemaObject {
        let [kind, name, table, sql] = [kind, name, table, sql].map(str::to_owned);
        SchemaObject { kind, name, table, sql }
    }

    fn table(sql: &str) -> SchemaObject {
        object("table", "t", "t", sql)
    }

    /// Returns the text shown for each finding, and its likely original.
    fn pairs(object: &SchemaObject) -> Vec<(String, String)> {
        findings(object).into_iter().map(|finding| (finding.shown, finding.original)).collect()
    }

    fn assert_pairs(object: &SchemaObject, expected: &[(&str, &str)]) {
        let expected: Vec<_> = expected.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
        assert_eq!(pairs(object), expected, "{}", object.sql);
    }

    // The CREATE statements in these tests are those that rqlited v10.3.0-dev stores.

    #[test]
    fn defaults_of_a_table() {
        let found = table(
            "CREATE TABLE \"t\" (\"id\" INTEGER PRIMARY KEY, \"ts\" TEXT DEFAULT (datetime(2461374.653268)), \
             \"r\" INTEGER DEFAULT (4107157455064783058))",
        );
        let expected = [("datetime(2461374.653268)", "datetime('now')"), ("4107157455064783058", "random()")];
        assert_pairs(&found, &expected);
        let [time, random] = &findings(&found)[..] else { panic!() };
        assert_eq!((time.column.as_deref(), random.column.as_deref()), (Some("ts"), Some("r")));
        assert_eq!(time.effect, "each new row gets the time 2026-11-30T03:40:42Z");
    }

    #[test]
    fn all_functions_that_are_rewritten() {
        let found = table(
            "CREATE TABLE \"mix\" (\"a\" TEXT, \"c\" TEXT DEFAULT CURRENT_TIMESTAMP, \
             \"e\" INTEGER DEFAULT (unixepoch(2461374.653466)), \"f\" REAL DEFAULT (julianday(2461374.653466)), \
             \"g\" TEXT DEFAULT (datetime(2461374.653466, 'localtime')), \
             \"h\" INTEGER DEFAULT (CAST(strftime('%s', 2461374.653466) AS INTEGER)), \
             \"i\" INTEGER DEFAULT (-5709831737077673538), \"j\" BLOB DEFAULT (x'753AB102AE0B697F'), \
             \"uid\" TEXT NOT NULL DEFAULT (lower(hex(x'520CA9FC4F243041428EBD95FC90EE2B'))), \
             \"cap\" TEXT DEFAULT (DateTime(2461374.653466)))",
        );
        let expected = [
            ("unixepoch(2461374.653466)", "unixepoch('now')"),
            ("julianday(2461374.653466)", "julianday('now')"),
            ("datetime(2461374.653466, 'localtime')", "datetime('now', 'localtime')"),
            ("strftime('%s', 2461374.653466)", "strftime('%s', 'now')"),
            ("5709831737077673538", "random()"),
            ("x'753AB102AE0B697F'", "randomblob(8)"),
            ("x'520CA9FC4F243041428EBD95FC90EE2B'", "randomblob(16)"),
            ("DateTime(2461374.653466)", "DateTime('now')"),
        ];
        assert_pairs(&found, &expected);
    }

    #[test]
    fn the_short_examples_of_the_documents() {
        assert_pairs(
            &table(
                "CREATE TABLE t(a DEFAULT (datetime(2461365.51)), b DEFAULT ('CURRENT_TIMESTAMP'), c DEFAULT \"CURRENT_TIMESTAMP\")",
            ),
            &[
                ("datetime(2461365.51)", "datetime('now')"),
                ("'CURRENT_TIMESTAMP'", "CURRENT_TIMESTAMP"),
                ("\"CURRENT_TIMESTAMP\"", "CURRENT_TIMESTAMP"),
            ],
        );
    }

    #[test]
    fn triggers_and_views() {
        let trigger = "CREATE TRIGGER \"tr\" AFTER INSERT ON \"t\" BEGIN UPDATE \"t\" SET \"ts\" = \
                       datetime(2461374.653268) WHERE \"id\" = \"new\".\"id\"; INSERT INTO \"mix\" (\"a\", \"b\") VALUES \
                       (\"CURRENT_TIMESTAMP\", 8546673577512701402); END";
        assert_pairs(
            &object("trigger", "tr", "t", trigger),
            &[
                ("datetime(2461374.653268)", "datetime('now')"),
                ("\"CURRENT_TIMESTAMP\"", "CURRENT_TIMESTAMP"),
                ("8546673577512701402", "random()"),
            ],
        );
        let view = "CREATE VIEW \"v\" AS SELECT \"id\", datetime(2461374.653268) AS \"now\", \
                    timediff(2461374.653268, \"ts\") AS \"d\", timediff(\"ts\", 2461374.653268) AS \"e\" FROM \"t\"";
        assert_pairs(
            &object("view", "v", "v", view),
            &[
                ("datetime(2461374.653268)", "datetime('now')"),
                ("timediff(2461374.653268, \"ts\")", "timediff('now', \"ts\")"),
                ("timediff(\"ts\", 2461374.653268)", "timediff(\"ts\", 'now')"),
            ],
        );
    }

    #[test]
    fn what_an_author_writes_is_not_found() {
        for sql in [
            "CREATE TABLE c(id INTEGER PRIMARY KEY, ts TEXT DEFAULT CURRENT_TIMESTAMP, t2 TEXT DEFAULT (datetime('now')))",
            "CREATE TABLE big(n INTEGER DEFAULT 9223372036854775807, b BLOB DEFAULT x'00', u INTEGER DEFAULT (unixepoch()))",
            "CREATE TABLE a(n INTEGER DEFAULT (9007199254740991), m DEFAULT (9007199254740992), o DEFAULT (1700000000000))",
            "CREATE TABLE a(n INTEGER DEFAULT 4107157455064783058, r DEFAULT (1000000000000000000))",
            "CREATE TABLE a(b BLOB DEFAULT (x'0000000000'), c DEFAULT (x'0001'))",
            "CREATE TABLE a(n DEFAULT (2461374.653268), m DEFAULT (datetime(1000.5)), o DEFAULT (round(2461374.65)))",
            "CREATE TABLE a(\"CURRENT_TIMESTAMP\" TEXT, b CHECK (b <> 4107157455064783058)) -- datetime(2461374.65)",
            "CREATE TABLE a(b TEXT CHECK (b <> 'CURRENT_TIMESTAMP'), c DEFAULT '(datetime(2461374.65))')",
        ] {
            assert_pairs(&table(sql), &[]);
        }
        let view = "CREATE VIEW v AS SELECT 'CURRENT_TIMESTAMP', new.\"CURRENT_TIMESTAMP\" FROM new";
        assert_pairs(&object("view", "v", "v", view), &[]);
    }

    #[test]
    fn what_cannot_be_restored_is_named() {
        let found = find(&[
            table("CREATE TABLE \"t\" (\"a\" TEXT, CHECK (\"a\" <= datetime(2461374.653268)))"),
            object("index", "i", "t", "CREATE INDEX \"i\" ON \"t\" (\"a\") WHERE \"a\" > datetime(2461374.653268)"),
        ]);
        for object in &found {
            let text = object.to_string();
            assert!(
                text.contains("SQLite refuses the current time")
                    && !text.contains("create the table")
                    && !text.contains("create the index"),
                "{text}"
            );
        }
        assert_eq!(found.len(), 2);
    }

    fn schema_of(connection: &Connection) -> Vec<SchemaObject> {
        crate::migrate::database::schema(connection).unwrap()
    }

    fn run_remedies(connection: &Connection, found: &[FrozenObject]) {
        let statements: Vec<&str> = found.iter().flat_map(|object| &object.remedy).map(String::as_str).collect();
        connection.execute_batch(&statements.join(";\n")).unwrap();
    }

    #[test]
    fn the_remedy_restores_the_schema_and_keeps_the_rows() {
        let connection = Connection::open_in_memory().unwrap();
        connection
            .execute_batch(
                "PRAGMA foreign_keys=ON;
                 CREATE TABLE \"o t\" (\"id\" INTEGER PRIMARY KEY, \"ts\" TEXT DEFAULT (datetime(2461374.653268)), \
                    \"r\" INTEGER DEFAULT (4107157455064783058), \"g\" TEXT GENERATED ALWAYS AS (\"ts\" || 'x') STORED);
                 CREATE INDEX oi ON \"o t\"(ts);
                 CREATE TABLE child(p INTEGER REFERENCES \"o t\"(id) ON DELETE CASCADE);
                 CREATE TABLE log(at, n);
                 CREATE TRIGGER \"tr\" AFTER INSERT ON \"o t\" BEGIN INSERT INTO log VALUES (\"CURRENT_TIMESTAMP\", 8546673577512701402); END;
                 CREATE VIEW \"v\" AS SELECT \"id\", datetime(2461374.653268) AS \"n\" FROM \"o t\";
                 CREATE TRIGGER vi INSTEAD OF INSERT ON V BEGIN INSERT INTO log VALUES ('v', 0); END;
                 INSERT INTO \"o t\"(id) VALUES(1); INSERT INTO child VALUES(1);",
            )
            .unwrap();
        let found = find(&schema_of(&connection));
        assert_eq!(found.iter().map(|it| it.name.as_str()).collect::<Vec<_>>(), ["o t", "tr", "v"]);
        run_remedies(&connection, &found);
        connection.execute_batch("INSERT INTO \"o t\"(id) VALUES(2), (3)").unwrap();
        let one = |sql: &str| connection.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
        assert_eq!(find(&schema_of(&connection)), []);
        assert_eq!(one("SELECT count(*) FROM \"o t\" WHERE ts = '2026-11-30 03:40:42' AND r = 4107157455064783058"), 1);
        assert_eq!(one("SELECT count(DISTINCT r) FROM \"o t\""), 3);
        assert_eq!(one("SELECT count(*) FROM child"), 1);
        assert_eq!(one("SELECT count(*) FROM sqlite_master WHERE name IN ('oi', 'tr', 'vi')"), 3);
        assert_eq!(one("SELECT count(*) FROM log WHERE at = 'CURRENT_TIMESTAMP'"), 1);
        assert_eq!(one("SELECT count(DISTINCT n) FROM log"), 3);
        assert_eq!(one("SELECT count(*) FROM v WHERE abs(julianday(n) - julianday('now')) < 1"), 3);
    }

    #[test]
    fn a_comment_at_the_end_does_not_hide_the_semicolon() {
        let sql = "CREATE VIEW \"v\" AS SELECT datetime(2461374.653268) AS \"n\" -- now";
        let text = find(&[object("view", "v", "v", sql)])[0].to_string();
        let statements = text.split("new server:\n").nth(1).unwrap();
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch(&format!("{sql}\n; {statements}")).unwrap();
        assert_eq!(find(&schema_of(&connection)), []);
    }

    #[test]
    fn the_text_form() {
        let sql = "CREATE TABLE \"t\" (\"ts\" TEXT DEFAULT (datetime(2461374.653268)))";
        let found = find(&[table(sql)]);
        let expected = "  table t
    column ts: datetime(2461374.653268) may have been datetime('now'); each new row gets the time 2026-11-30T03:40:42Z
    Note: rqlite's rewriting also removes STRICT and WITHOUT ROWID: add them if the table had them.
    If so, create the table again: write these statements to a file, and .restore it on the new server:
      PRAGMA foreign_keys=OFF;
      CREATE TABLE \"copy of t\" AS SELECT * FROM \"t\";
      DROP TABLE \"t\";
      CREATE TABLE \"t\" (\"ts\" TEXT DEFAULT (datetime('now')));
      INSERT INTO \"t\" SELECT * FROM \"copy of t\";
      DROP TABLE \"copy of t\";
";
        assert_eq!(found[0].to_string(), expected);
    }
}
