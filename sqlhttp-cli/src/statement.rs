//! Splits input into SQL statements and dot commands.
//!
//! A statement ends at a `;` that is outside quotes, comments and the body of a trigger; the rule is that of
//! `sqlite3_complete` (<https://sqlite.org/c3ref/complete.html>). A line that begins with a dot is a command, unless it
//! continues a statement.

use crate::sql::{self, Kind};

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
}

impl Splitter {
    /// Adds a line, and returns the items that are complete.
    pub(crate) fn push_line(&mut self, line: &str) -> Vec<Item> {
        if self.is_empty() && line.trim_start().starts_with('.') {
            self.pending.clear();
            return vec![Item::Command(line.trim().to_owned())];
        }
        self.pending.push_str(line);
        self.pending.push('\n');
        let mut items = Vec::new();
        while let Some(end) = statement_end(&self.pending) {
            let rest = self.pending.split_off(end);
            items.extend(statement(&std::mem::replace(&mut self.pending, rest)));
        }
        items
    }

    /// Whether no statement has begun.
    pub(crate) fn is_empty(&self) -> bool {
        sqlhttp_text::script::skip_blanks(&self.pending).is_empty() && !self.pending.trim_start().starts_with("/*")
    }

    /// Returns the statement that has begun, at the end of the input. The `;` at its end may be missing.
    pub(crate) fn finish(&mut self) -> Option<Item> {
        statement(&std::mem::take(&mut self.pending))
    }

    /// Forgets the statement that has begun.
    pub(crate) fn clear(&mut self) {
        self.pending.clear();
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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// At the beginning, where `EXPLAIN` may stand.
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

/// Returns the position after the `;` that ends the first statement of the text; `None` if the statement is not
/// complete.
fn statement_end(text: &str) -> Option<usize> {
    let (mut at, mut place) = (0, Place::Begin);
    for token in sql::tokens(text) {
        at += token.text.len();
        if !token.complete {
            return None;
        }
        place = match (token.kind, place) {
            (Kind::Blank | Kind::Comment, place) => place,
            (Kind::Semicolon, Place::Trigger | Place::TriggerStep) => Place::TriggerStep,
            (Kind::Semicolon, _) => return Some(at),
            (Kind::Word, place) => after_word(place, token.text),
            (_, place) => after_other(place),
        };
    }
    None
}

fn after_word(place: Place, word: &str) -> Place {
    let is = |expected: &[&str]| expected.iter().any(|expected| word.eq_ignore_ascii_case(expected));
    match place {
        Place::Begin if is(&["EXPLAIN", "QUERY", "PLAN"]) => Place::Begin,
        Place::Begin if is(&["CREATE"]) => Place::Create,
        Place::Create if is(&["TEMP", "TEMPORARY"]) => Place::Create,
        Place::Create if is(&["TRIGGER"]) => Place::Trigger,
        Place::TriggerStep if is(&["END"]) => Place::TriggerEnd,
        place => after_other(place),
    }
}

fn after_other(place: Place) -> Place {
    match place {
        Place::Begin | Place::Create | Place::Statement => Place::Statement,
        Place::Trigger | Place::TriggerStep | Place::TriggerEnd => Place::Trigger,
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
