//! Splits input into SQL statements and dot commands.
//!
//! A statement ends at a `;` that is outside quotes, comments and the body of a trigger; the rule is that of
//! `sqlite3_complete` (<https://sqlite.org/c3ref/complete.html>). A line that begins with a dot is a command, unless it
//! continues a statement.

use crate::sql::{self, Kind, Token};

/// A part of the input that the shell executes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Item {
    /// An SQL statement, with the `;` at its end if there is one.
    Statement(String),
    /// A dot command.
    Command(String),
}

impl Item {
    /// Returns the item for a line that is not continued by other lines; `None` for a blank line.
    pub(crate) fn of_line(line: &str) -> Option<Item> {
        match line.trim() {
            "" => None,
            line if line.starts_with('.') => Some(Item::Command(line.to_owned())),
            line => Some(Item::Statement(line.to_owned())),
        }
    }

    /// Whether the item begins a transaction.
    pub(crate) fn begins_transaction(&self) -> bool {
        let Item::Statement(text) = self else { return false };
        sql::words(text).first().is_some_and(|word| word.is("BEGIN") || word.is("SAVEPOINT"))
    }

    /// Whether the item is one of the words that end rqlite's shell without a dot.
    pub(crate) fn is_quit(&self) -> bool {
        let Item::Statement(text) = self else { return false };
        let first = text.split_whitespace().next().unwrap_or_default();
        ["quit", "exit"].iter().any(|word| word.eq_ignore_ascii_case(first))
    }
}

/// Collects lines until a statement is complete.
#[derive(Debug, Default)]
pub(crate) struct Splitter {
    pending: String,
    /// The length of the text whose tokens have been examined.
    examined: usize,
    place: Place,
    /// The character that ends the token after that text; `None` if no token is open.
    open: Option<char>,
}

impl Splitter {
    /// Adds a line, and returns the items that are complete.
    pub(crate) fn push_line(&mut self, line: &str) -> Vec<Item> {
        if self.is_empty() && line.trim_start().starts_with('.') {
            self.clear();
            return vec![Item::Command(line.trim().to_owned())];
        }
        self.pending.push_str(line);
        self.pending.push('\n');
        // A long string is not examined again for each of its lines.
        match self.open {
            Some(end) if !line.contains(end) => Vec::new(),
            _ => self.take_statements(),
        }
    }

    /// Whether no statement has begun.
    pub(crate) fn is_empty(&self) -> bool {
        sqlhttp_text::script::skip_blanks(&self.pending).is_empty() && !self.pending.trim_start().starts_with("/*")
    }

    /// Returns the statement that has begun, at the end of the input. The `;` at its end may be missing.
    pub(crate) fn finish(&mut self) -> Option<Item> {
        let pending = std::mem::take(&mut self.pending);
        self.clear();
        statement(&pending)
    }

    /// Discards the statement that has begun.
    pub(crate) fn clear(&mut self) {
        *self = Splitter::default();
    }

    /// Removes the statements that are complete, and returns them.
    fn take_statements(&mut self) -> Vec<Item> {
        let mut items = Vec::new();
        let (mut begin, mut end) = (0, self.examined);
        self.open = None;
        for token in sql::tokens(&self.pending[self.examined..]) {
            if !token.complete {
                self.open = token.text.chars().next().map(end_of);
                break;
            }
            end += token.text.len();
            self.place = match self.place.after(&token) {
                Some(place) => place,
                None => {
                    items.extend(statement(&self.pending[begin..end]));
                    begin = end;
                    Place::default()
                }
            };
        }
        self.pending.drain(..begin);
        self.examined = end - begin;
        items
    }
}

/// Returns a character of the end of a token that begins with this one.
fn end_of(begin: char) -> char {
    match begin {
        '[' => ']',
        '-' => '\n',
        '/' => '*',
        'x' | 'X' => '\'',
        quote => quote,
    }
}

/// Returns the item for the text of a statement; `None` if the text contains only blanks, comments and `;`.
fn statement(text: &str) -> Option<Item> {
    let mut rest = text;
    loop {
        rest = sqlhttp_text::script::skip_blanks(rest);
        match rest.strip_prefix(';') {
            Some(after) => rest = after,
            None => break,
        }
    }
    (!rest.is_empty()).then(|| Item::Statement(text.trim().to_owned()))
}

/// The position of the scanner in a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Place {
    /// At the beginning, where `EXPLAIN` may stand.
    #[default]
    Begin,
    /// After `CREATE`, where `TEMP` or `TRIGGER` may follow.
    Create,
    /// In any other statement. A `;` ends it.
    Statement,
    /// In the body of a trigger.
    Trigger,
    /// In the body of a trigger, after a `;`.
    TriggerStep,
    /// After the `END` of the body of a trigger. A `;` ends the statement.
    TriggerEnd,
}

impl Place {
    /// Returns the place after a token; `None` if the token ends the statement.
    fn after(self, token: &Token<'_>) -> Option<Place> {
        Some(match (token.kind, self) {
            (Kind::Blank | Kind::Comment, place) => place,
            (Kind::Semicolon, Place::Trigger | Place::TriggerStep) => Place::TriggerStep,
            (Kind::Semicolon, _) => return None,
            (Kind::Word, place) => place.after_word(token.text),
            (_, place) => place.after_other(),
        })
    }

    fn after_word(self, word: &str) -> Place {
        let is = |expected: &[&str]| expected.iter().any(|expected| word.eq_ignore_ascii_case(expected));
        match self {
            Place::Begin if is(&["EXPLAIN", "QUERY", "PLAN"]) => Place::Begin,
            Place::Begin if is(&["CREATE"]) => Place::Create,
            Place::Create if is(&["TEMP", "TEMPORARY"]) => Place::Create,
            Place::Create if is(&["TRIGGER"]) => Place::Trigger,
            Place::TriggerStep if is(&["END"]) => Place::TriggerEnd,
            place => place.after_other(),
        }
    }

    fn after_other(self) -> Place {
        match self {
            Place::Begin | Place::Create | Place::Statement => Place::Statement,
            Place::Trigger | Place::TriggerStep | Place::TriggerEnd => Place::Trigger,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(lines: &[&str]) -> (Vec<String>, Option<String>) {
        let mut splitter = Splitter::default();
        let text = |item| match item {
            Item::Statement(text) => text,
            Item::Command(text) => format!("command {text}"),
        };
        let items: Vec<String> = lines.iter().flat_map(|line| splitter.push_line(line)).map(text).collect();
        (items, splitter.finish().map(text))
    }

    #[test]
    fn statements_end_at_semicolons_outside_quotes_and_comments() {
        for statement in [
            "SELECT ';', \";\", `;`, [;] FROM t;",
            "SELECT 'it''s; fine';",
            "SELECT 1 -- ; not here\n, 2;",
            "SELECT /* ; \n ; */ 1;",
            "CREATE TRIGGER a AFTER INSERT ON t BEGIN SELECT 1; SELECT CASE WHEN 1 THEN 2 END; END;",
            "EXPLAIN CREATE TEMP TRIGGER a AFTER INSERT ON t BEGIN SELECT 1;\nEND;",
            "CREATE TABLE trigger_end(a);",
            "SELECT größe FROM t;",
        ] {
            let lines: Vec<&str> = statement.split('\n').collect();
            assert_eq!(split(&lines), (vec![statement.to_owned()], None));
            // Without the last character, the statement is not complete.
            let open = &statement[..statement.len() - 1];
            let lines: Vec<&str> = open.split('\n').collect();
            assert_eq!(split(&lines), (vec![], Some(open.to_owned())));
        }
    }

    #[test]
    fn a_statement_of_many_lines_is_examined_once() {
        let mut splitter = Splitter::default();
        // Half of the lines are rows, and half are the lines of one string with semicolons.
        let rows = (0..50_000).map(|row| format!("({row}, 'a;b'),"));
        let lines = std::iter::once("INSERT INTO t VALUES".to_owned()).chain(rows).chain(["(0, '".to_owned()]);
        let text = std::iter::repeat_n("a line of a string; with more".to_owned(), 50_000);
        for line in lines.chain(text) {
            assert_eq!(splitter.push_line(&line), []);
        }
        assert_eq!(splitter.push_line("');").len(), 1);
        assert!(splitter.is_empty());
    }

    #[test]
    fn lines_of_rqlite() {
        assert_eq!(Item::of_line("  .mode "), Some(Item::Command(".mode".to_owned())));
        assert_eq!(Item::of_line("SELECT 1; SELECT 2"), Some(Item::Statement("SELECT 1; SELECT 2".to_owned())));
        assert_eq!(Item::of_line(" \t"), None);
        assert!(Item::of_line("EXIT now").is_some_and(|item| item.is_quit()));
        assert!(Item::of_line("quit;").is_some_and(|item| !item.is_quit()));
    }

    #[test]
    fn a_line_may_contain_several_statements_and_a_part_of_one() {
        let (items, rest) = split(&["SELECT 1; SELECT 2; SEL", "ECT 3"]);
        assert_eq!(items, ["SELECT 1;", "SELECT 2;"]);
        assert_eq!(rest.as_deref(), Some("SEL\nECT 3"));
    }

    #[test]
    fn lines_that_begin_with_a_dot_are_commands_outside_statements() {
        let (items, rest) = split(&["  .tables ", "SELECT 1", ".5;", "-- a comment", ".mode csv"]);
        assert_eq!(items, ["command .tables", "SELECT 1\n.5;", "command .mode csv"]);
        assert_eq!(rest, None);
    }

    #[test]
    fn blanks_comments_and_single_semicolons_are_no_statements() {
        assert_eq!(split(&["", "  ;; -- nothing", "/* nothing */ ;"]), (vec![], None));
        assert_eq!(split(&["/* open"]), (vec![], None));
    }
}
