//! Completes words and colours SQL.

use std::borrow::Cow;

use rustyline::Context;
use rustyline::completion::{Completer, FilenameCompleter, Pair};
use rustyline::highlight::{CmdKind, Highlighter};
use rustyline::hint::Hinter;
use rustyline::validate::Validator;

use crate::command::{HELP, LEVELS};
use crate::print::Mode;
use crate::sql::{self, KEYWORDS, Kind};

/// Commands whose argument is a file.
const FILE_COMMANDS: [&str; 9] =
    [".backup", ".boot", ".dump", ".export", ".import", ".output", ".read", ".restore", ".sysdump"];

/// The ANSI codes of the colours.
const KEYWORD: &str = "\x1b[1;34m";
const TEXT: &str = "\x1b[32m";
const PARAMETER: &str = "\x1b[35m";
const COMMENT: &str = "\x1b[90m";
const RESET: &str = "\x1b[0m";

/// Completes keywords, names, dot commands and files.
#[derive(Default)]
pub(super) struct Helper {
    /// The names of tables, views and columns.
    names: Vec<String>,
    files: FilenameCompleter,
}

impl Helper {
    /// Replaces the names of tables, views and columns.
    pub(super) fn set_names(&mut self, names: Vec<String>) {
        self.names = names;
    }

    /// Returns the words that begin with a prefix, in any case. A keyword takes the case of the prefix.
    fn words(&self, prefix: &str) -> Vec<String> {
        let names = self.names.iter().filter(|name| begins_with(name, prefix)).map(|name| as_written(name));
        let lower = prefix.chars().all(|c| !c.is_uppercase());
        let keyword = |word: &&str| if lower { word.to_lowercase() } else { (*word).to_owned() };
        let keywords = KEYWORDS.iter().filter(|word| !prefix.is_empty() && begins_with(word, prefix)).map(keyword);
        names.chain(keywords).collect()
    }
}

/// Returns a name with quotes if it needs them.
fn as_written(name: &str) -> String {
    let plain = name.chars().all(|c| c.is_alphanumeric() || c == '_') && !name.starts_with(|c: char| c.is_numeric());
    if plain && !sql::is_keyword(name) { name.to_owned() } else { sql::quoted_name(name) }
}

fn begins_with(word: &str, prefix: &str) -> bool {
    word.get(..prefix.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(prefix))
}

fn commands(prefix: &str) -> Vec<String> {
    let names = HELP.iter().filter_map(|(usage, _)| usage.split(' ').next());
    names.filter(|name| begins_with(name, prefix)).map(str::to_owned).collect()
}

/// Returns the words that can be the argument of a command.
fn arguments(command: &str, prefix: &str) -> Option<Vec<String>> {
    let usage = HELP.iter().map(|(usage, _)| *usage).find(|usage| usage.split(' ').next() == Some(command))?;
    let words: Vec<String> = match command {
        ".mode" => Mode::ALL.into_iter().map(|mode| mode.name().to_owned()).collect(),
        ".consistency" => LEVELS.map(|(name, _)| name.to_owned()).to_vec(),
        _ if usage.contains("[on|off]") => vec!["on".to_owned(), "off".to_owned()],
        _ => return None,
    };
    Some(words.into_iter().filter(|word| word.starts_with(prefix)).collect())
}

impl Completer for Helper {
    type Candidate = Pair;

    fn complete(&self, line: &str, position: usize, context: &Context<'_>) -> rustyline::Result<(usize, Vec<Pair>)> {
        let before = &line[..position];
        let command = before.trim_start().starts_with('.').then(|| before.split_whitespace().next()).flatten();
        let is_argument = before.trim_start().contains(char::is_whitespace);
        if let Some(command) = command.filter(|command| is_argument && FILE_COMMANDS.contains(command)) {
            let last = before.rsplit(char::is_whitespace).next().unwrap_or_default();
            if !(command == ".import" && self.names.iter().any(|name| begins_with(name, last)) && !last.is_empty()) {
                return self.files.complete(line, position, context);
            }
        }
        let begin = before.rfind(|c: char| !(c.is_alphanumeric() || "_.".contains(c))).map_or(0, |at| at + 1);
        // The separator may be longer than a byte.
        let begin = (begin..=position).find(|at| before.is_char_boundary(*at)).unwrap_or(position);
        let prefix = &before[begin..];
        let (begin, words) = match command {
            Some(command) if is_argument => (begin, arguments(command, prefix).unwrap_or_else(|| self.words(prefix))),
            Some(_) => (begin, commands(prefix)),
            // After `table.`, a column follows.
            None => {
                let column = prefix.rfind('.').map_or(0, |dot| dot + 1);
                (begin + column, self.words(&prefix[column..]))
            }
        };
        let pair = |word: String| Pair { display: word.clone(), replacement: word };
        Ok((begin, words.into_iter().map(pair).collect()))
    }
}

impl Highlighter for Helper {
    fn highlight<'l>(&self, line: &'l str, _: usize) -> Cow<'l, str> {
        if line.trim_start().starts_with('.') {
            return Cow::Borrowed(line);
        }
        let mut coloured = String::with_capacity(line.len() * 2);
        for token in sql::tokens(line) {
            let colour = match token.kind {
                Kind::Word if sql::is_keyword(token.text) => KEYWORD,
                Kind::Text => TEXT,
                Kind::Parameter => PARAMETER,
                Kind::Comment => COMMENT,
                _ => {
                    coloured.push_str(token.text);
                    continue;
                }
            };
            coloured.extend([colour, token.text, RESET]);
        }
        Cow::Owned(coloured)
    }

    fn highlight_char(&self, _: &str, _: usize, _: CmdKind) -> bool {
        true
    }
}

impl Hinter for Helper {
    type Hint = String;
}

impl Validator for Helper {}

impl rustyline::Helper for Helper {}

#[cfg(test)]
mod tests {
    use rustyline::history::DefaultHistory;

    use super::*;

    fn completed(line: &str) -> Vec<String> {
        let mut helper = Helper::default();
        helper.set_names(["users", "user_id", "Ünits", "order", "my table"].map(str::to_owned).to_vec());
        let history = DefaultHistory::new();
        let (begin, pairs) = helper.complete(line, line.len(), &Context::new(&history)).unwrap();
        pairs.into_iter().map(|pair| line[..begin].to_owned() + &pair.replacement).collect()
    }

    #[test]
    fn words_are_completed() {
        assert_eq!(completed("SELECT use"), ["SELECT users", "SELECT user_id"]);
        assert_eq!(completed("SEL"), ["SELECT"]);
        assert_eq!(completed("sel"), ["select"]);
        assert_eq!(completed("SELECT users.user_"), ["SELECT users.user_id"]);
        assert_eq!(completed("SELECT (Ün"), ["SELECT (Ünits"]);
        assert_eq!(completed("SELECT é€use"), ["SELECT é€users", "SELECT é€user_id"]);
        assert_eq!(completed("SELECT éz"), Vec::<String>::new());
        assert_eq!(completed("SELECT * FROM my"), ["SELECT * FROM \"my table\""]);
        assert_eq!(completed("SELECT * FROM orde"), ["SELECT * FROM \"order\"", "SELECT * FROM order"]);
        assert_eq!(completed(".read\u{3000}nonexistent"), Vec::<String>::new());
        assert_eq!(completed(".sy"), [".sysdump"]);
        assert_eq!(completed(".mode j"), [".mode json", ".mode jsonl"]);
        assert_eq!(completed(".timer o"), [".timer on", ".timer off"]);
        assert_eq!(completed(".explain SELECT use"), [".explain SELECT users", ".explain SELECT user_id"]);
        assert_eq!(completed(".import f use"), [".import f users", ".import f user_id"]);
    }

    #[test]
    fn sql_is_coloured() {
        let coloured = Helper::default().highlight("SELECT 'a', :b FROM t -- c", 0).into_owned();
        let expected = format!(
            "{KEYWORD}SELECT{RESET} {TEXT}'a'{RESET}, {PARAMETER}:b{RESET} {KEYWORD}FROM{RESET} t {COMMENT}-- c{RESET}"
        );
        assert_eq!(coloured, expected);
        assert_eq!(Helper::default().highlight(".mode select", 0), ".mode select");
    }
}
