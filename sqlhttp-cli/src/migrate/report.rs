//! The report on a move to another server.

use std::fmt;

use super::frozen::FrozenObject;
use super::words;

/// A report on a move to another server. Its text form has a section for each field; sections without content are left
/// out, except those that a reader would look for.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Report {
    /// The command lines of the new servers.
    pub(crate) command_lines: Vec<CommandLine>,
    /// The documented differences that concern what the old server uses.
    pub(crate) differences: Vec<Difference>,
    /// The document that lists all differences.
    pub(crate) document: &'static str,
    /// The description of each file.
    pub(crate) files: Vec<String>,
    /// The objects of the schema with values that rqlite's rewriting has left; `None` if the schema was not examined.
    pub(crate) frozen: Option<Vec<FrozenObject>>,
    /// The problems that prevent the move or need a decision.
    pub(crate) problems: Vec<Problem>,
    /// The steps of the move, in their order.
    pub(crate) steps: Vec<Step>,
}

/// The command line of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CommandLine {
    /// The description of the server that the command line starts.
    pub(crate) label: String,
    /// The name of the program and its arguments.
    pub(crate) words: Vec<String>,
}

/// A documented difference that concerns something that the old server uses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Difference {
    /// The flag, or the file and the key, that the old server uses.
    pub(crate) used: String,
    /// The beginning of the first cell of the row in the document.
    pub(crate) topic: &'static str,
    /// The difference.
    pub(crate) text: String,
}

/// Something that prevents the move, or needs a decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    /// The file or document with the problem.
    pub(crate) file: String,
    /// The key or flag; empty if the problem concerns the whole file.
    pub(crate) key: String,
    /// The description of the problem.
    pub(crate) message: String,
    /// The remedy.
    pub(crate) remedy: String,
}

/// A step of the move.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Step {
    /// The instruction.
    pub(crate) text: String,
    /// The commands of the step, as lines for a shell.
    pub(crate) commands: Vec<String>,
}

impl Problem {
    pub(crate) fn new(
        file: impl Into<String>,
        key: impl Into<String>,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Problem {
        Problem { file: file.into(), key: key.into(), message: message.into(), remedy: remedy.into() }
    }
}

impl Step {
    pub(crate) fn new(text: impl Into<String>, commands: impl IntoIterator<Item = String>) -> Step {
        Step { text: text.into(), commands: commands.into_iter().collect() }
    }
}

impl Report {
    /// The exit status of the program: 1 if there are problems.
    pub(crate) fn exit_status(&self) -> u8 {
        u8::from(!self.problems.is_empty())
    }

    /// Adds a difference, unless the same one is in the report already.
    pub(crate) fn add_difference(&mut self, difference: Difference) {
        if !self.differences.contains(&difference) {
            self.differences.push(difference);
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_command_lines(f, &self.command_lines)?;
        self.write_differences(f)?;
        write_lines(f, "Files", &self.files)?;
        if let Some(frozen) = &self.frozen {
            write_frozen(f, frozen)?;
        }
        write_lines(f, "Problems", &self.problems)?;
        write_steps(f, &self.steps)
    }
}

impl Report {
    fn write_differences(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\nWhat differs:")?;
        for difference in &self.differences {
            writeln!(f, "  {difference}")?;
        }
        let what = if self.differences.is_empty() { "Nothing that was found in use. " } else { "" };
        writeln!(f, "  {what}{} lists all differences, also those that only clients can notice.", self.document)
    }
}

fn write_command_lines(f: &mut fmt::Formatter<'_>, lines: &[CommandLine]) -> fmt::Result {
    writeln!(f, "Command line:")?;
    for CommandLine { label, words } in lines {
        if !label.is_empty() {
            writeln!(f, "  # {label}")?;
        }
        writeln!(f, "  {}", words::line(words))?;
    }
    if lines.is_empty() { writeln!(f, "  none, because of the problems below") } else { Ok(()) }
}

fn write_lines<T: fmt::Display>(f: &mut fmt::Formatter<'_>, title: &str, lines: &[T]) -> fmt::Result {
    if lines.is_empty() {
        return Ok(());
    }
    writeln!(f, "\n{title}:")?;
    lines.iter().try_for_each(|line| writeln!(f, "  {line}"))
}

fn write_frozen(f: &mut fmt::Formatter<'_>, frozen: &[FrozenObject]) -> fmt::Result {
    writeln!(f, "\nFrozen defaults:")?;
    if frozen.is_empty() {
        return writeln!(f, "  none found");
    }
    frozen.iter().try_for_each(|object| write!(f, "{object}"))
}

fn write_steps(f: &mut fmt::Formatter<'_>, steps: &[Step]) -> fmt::Result {
    if steps.is_empty() {
        return Ok(());
    }
    writeln!(f, "\nSteps:")?;
    for (number, Step { text, commands }) in (1..).zip(steps) {
        writeln!(f, "  {number}. {text}")?;
        commands.iter().try_for_each(|command| writeln!(f, "       {command}"))?;
    }
    Ok(())
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.used, self.text)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Problem { file, key, message, remedy } = self;
        let key = if key.is_empty() { String::new() } else { format!("{key}: ") };
        write!(f, "{file}: {key}{message}; {remedy}")
    }
}

/// Checks, for tests, that a document has a row for each topic.
#[cfg(test)]
pub(crate) fn assert_rows_exist<'a>(document: &str, topics: impl IntoIterator<Item = &'a str>) {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(document);
    let text = std::fs::read_to_string(path).unwrap();
    for topic in topics {
        let row = format!("| {topic}");
        assert!(text.lines().any(|line| line.starts_with(&row)), "{document} has no row '{topic}'");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_without_content_are_left_out() {
        let report = Report { document: "docs/d.md", ..Report::default() };
        let text = report.to_string();
        assert!(text.starts_with("Command line:\n  none, because of the problems below\n\nWhat differs:\n  Nothing"));
        for title in ["Files:", "Frozen defaults:", "Problems:", "Steps:"] {
            assert!(!text.contains(title), "{text}");
        }
        assert_eq!(report.exit_status(), 0);
    }

    #[test]
    fn all_sections() {
        let words = vec!["sqlhttp-standalone".to_owned(), "--db".to_owned(), "a b.db".to_owned()];
        let used = "a.yaml: readOnly".to_owned();
        let difference = Difference { used, topic: "`readOnly`", text: "cannot be switched off".to_owned() };
        let mut report = Report {
            command_lines: vec![CommandLine { label: String::new(), words }],
            document: "docs/d.md",
            files: vec!["a b.db: 1 byte".to_owned()],
            frozen: Some(Vec::new()),
            problems: vec![
                Problem::new("a.yaml", "auth", "is wrong", "correct it"),
                Problem::new("b", "", "is missing", "add it"),
            ],
            steps: vec![Step::new("Start it.", ["x".to_owned()])],
            ..Report::default()
        };
        report.add_difference(difference.clone());
        report.add_difference(difference);
        let expected = "\
Command line:
  sqlhttp-standalone --db 'a b.db'

What differs:
  a.yaml: readOnly: cannot be switched off
  docs/d.md lists all differences, also those that only clients can notice.

Files:
  a b.db: 1 byte

Frozen defaults:
  none found

Problems:
  a.yaml: auth: is wrong; correct it
  b: is missing; add it

Steps:
  1. Start it.
       x
";
        assert_eq!(report.to_string(), expected);
        assert_eq!(report.exit_status(), 1);
    }
}
