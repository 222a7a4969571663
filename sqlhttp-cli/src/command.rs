//! The dot commands, as data.

use std::path::PathBuf;

use sqlhttp_core::ReadLevel;

use crate::print::Mode;

/// A dot command with its arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Command {
    Backup(PathBuf),
    Consistency(Option<ReadLevel>),
    Dump {
        file: PathBuf,
        tables: Vec<String>,
    },
    Expvar(Option<String>),
    Extensions,
    Help,
    Indexes,
    Leader,
    Mode(Option<Mode>),
    Nodes {
        all: bool,
    },
    /// `None` for standard output.
    Output(Option<PathBuf>),
    Quit,
    Read(PathBuf),
    Ready,
    Reap,
    Remove(String),
    Restore(PathBuf),
    Schema,
    Set(Switch, Option<bool>),
    Show,
    Snapshot(u64),
    Status(Option<String>),
    Stepdown(Option<String>),
    Tables,
}

/// A setting that is on or off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Switch {
    /// Whether BLOBs are shown as arrays of bytes.
    BlobArray,
    /// Whether the rowid of the last inserted row is shown after a write.
    Changes,
    /// Whether all statements are sent to `/db/execute`.
    ForceWrites,
    /// Whether the durations of statements are shown.
    Timer,
}

/// The commands and their descriptions, in alphabetical order.
pub(crate) const HELP: [(&str, &str); 29] = [
    (".backup FILE", "Write database backup to FILE"),
    (".blobarray [on|off]", "Show setting, or set BLOB data display as byte arrays"),
    (".changes [on|off]", "Show setting, or set display of last insert ID after writes"),
    (".consistency [LEVEL]", "Show or set read consistency: none, weak, linearizable, strong, auto"),
    (".dump FILE [TABLE,TABLE...]", "Dump the database in SQL text to FILE, optionally limited to TABLEs"),
    (".exit", "Exit this program"),
    (".expvar [KEY]", "Show the counters of the connected node"),
    (".extensions", "Show loaded SQLite extensions"),
    (".forcewrites [on|off]", "Show setting, or set all statements to be executed via /db/execute"),
    (".help", "Show this message"),
    (".indexes", "Show the CREATE statements of all indexes"),
    (".leader", "Show the current cluster leader"),
    (".mode [MODE]", "Show or set mode: column, csv, json, line, jsonl, markdown, html, insert"),
    (".nodes [all]", "Show connection status of voting nodes. 'all' to show all nodes"),
    (".output [FILE]", "Send output to FILE, or stdout if FILE is omitted"),
    (".quit", "Exit this program"),
    (".read FILE", "Execute the SQL statements and commands in FILE"),
    (".ready", "Show ready status for connected node"),
    (".reap", "Request a snapshot reap on connected node"),
    (".remove NODEID", "Remove node NODEID from the cluster"),
    (".restore FILE", "Load using SQLite file or SQL dump contained in FILE"),
    (".schema", "Show CREATE statements for all tables, indexes, views and triggers"),
    (".show", "Show the current values for various settings"),
    (".snapshot [TRAILINGLOGS]", "Request a Raft snapshot and log truncation on connected node"),
    (".status [KEY]", "Show status and diagnostic information for connected node"),
    (".stepdown [NODEID]", "Instruct the leader to stepdown, optionally specifying new Leader node"),
    (".table", "Same as .tables"),
    (".tables", "List names of tables"),
    (".timer [on|off]", "Show setting, or set query timings on or off"),
];

impl Switch {
    /// The name of the command that sets it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Switch::BlobArray => "blobarray",
            Switch::Changes => "changes",
            Switch::ForceWrites => "forcewrites",
            Switch::Timer => "timer",
        }
    }
}

impl Command {
    /// Parses a line that begins with a dot.
    ///
    /// # Errors
    /// The message for an unknown command, a missing argument or an invalid one.
    pub(crate) fn parse(line: &str) -> Result<Command, String> {
        let (name, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let argument = Some(rest.trim()).filter(|rest| !rest.is_empty());
        let file = |purpose: &str| argument.map(PathBuf::from).ok_or_else(|| format!("please specify {purpose}"));
        let text = || argument.map(str::to_owned);
        Ok(match name.to_ascii_lowercase().as_str() {
            ".backup" => Command::Backup(file("an output file for the backup")?),
            ".blobarray" => Command::Set(Switch::BlobArray, switch(argument)?),
            ".changes" => Command::Set(Switch::Changes, switch(argument)?),
            ".consistency" => Command::Consistency(argument.map(read_level).transpose()?),
            ".dump" => dump(argument.ok_or("please specify an output file for the SQL text")?),
            ".exit" | ".quit" => Command::Quit,
            ".expvar" => Command::Expvar(text()),
            ".extensions" => Command::Extensions,
            ".forcewrites" => Command::Set(Switch::ForceWrites, switch(argument)?),
            ".help" => Command::Help,
            ".indexes" => Command::Indexes,
            ".leader" => Command::Leader,
            ".mode" => Command::Mode(argument.map(mode).transpose()?),
            ".nodes" => Command::Nodes { all: argument.is_some() },
            ".output" => Command::Output(argument.filter(|file| *file != "stdout").map(PathBuf::from)),
            ".read" => Command::Read(file("an input file to read from")?),
            ".ready" => Command::Ready,
            ".reap" => Command::Reap,
            ".remove" => Command::Remove(text().ok_or("please specify the ID of the node to remove")?),
            ".restore" => Command::Restore(file("an input file to restore from")?),
            ".schema" => Command::Schema,
            ".show" => Command::Show,
            ".snapshot" => Command::Snapshot(argument.map(trailing_logs).transpose()?.unwrap_or(0)),
            ".status" => Command::Status(text()),
            ".stepdown" => Command::Stepdown(text()),
            ".table" | ".tables" => Command::Tables,
            ".timer" => Command::Set(Switch::Timer, switch(argument)?),
            _ => return Err(format!("unknown command '{name}'. Enter \".help\" for usage hints.")),
        })
    }
}

fn switch(argument: Option<&str>) -> Result<Option<bool>, String> {
    match argument {
        None => Ok(None),
        Some("on") => Ok(Some(true)),
        Some("off") => Ok(Some(false)),
        Some(other) => Err(format!("invalid option '{other}'. Use 'on' or 'off' (default)")),
    }
}

fn mode(name: &str) -> Result<Mode, String> {
    let names: Vec<String> = Mode::ALL.into_iter().map(|mode| format!("'{}'", mode.name())).collect();
    Mode::parse(name).ok_or_else(|| format!("invalid mode '{name}'. Use {}", one_of(&names)))
}

/// The consistency levels and their names.
const LEVELS: [(&str, ReadLevel); 5] = [
    ("none", ReadLevel::None),
    ("weak", ReadLevel::Weak),
    ("linearizable", ReadLevel::Linearizable),
    ("strong", ReadLevel::Strong),
    ("auto", ReadLevel::Auto),
];

fn read_level(name: &str) -> Result<ReadLevel, String> {
    let found = LEVELS.iter().find(|(known, _)| *known == name).map(|(_, level)| *level);
    let names: Vec<String> = LEVELS.iter().map(|(name, _)| format!("'{name}'")).collect();
    found.ok_or_else(|| format!("invalid consistency '{name}'. Use {}", one_of(&names)))
}

/// Returns the name of a consistency level.
pub(crate) fn level_name(level: ReadLevel) -> &'static str {
    LEVELS.iter().find(|(_, known)| *known == level).map_or("", |(name, _)| name)
}

/// Returns `a, b, or c`.
fn one_of(names: &[String]) -> String {
    match names.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{}, or {last}", rest.join(", ")),
        _ => names.concat(),
    }
}

fn trailing_logs(number: &str) -> Result<u64, String> {
    number.parse().map_err(|_| format!("invalid trailing logs value: {number}"))
}

fn dump(arguments: &str) -> Command {
    let (file, tables) = arguments.split_once(char::is_whitespace).unwrap_or((arguments, ""));
    let tables = tables.split(',').map(|table| table.trim().to_owned()).filter(|table| !table.is_empty()).collect();
    Command::Dump { file: PathBuf::from(file), tables }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_command_of_the_help_is_known() {
        for (usage, _) in HELP {
            let name = usage.split(' ').next().unwrap_or_default();
            let needs_argument = usage.contains(' ') && !usage.contains('[') || name == ".dump";
            let line = if needs_argument { format!("{name} x") } else { name.to_owned() };
            assert!(Command::parse(&line).is_ok(), "{line}");
            assert!(Command::parse(&line.to_uppercase()).is_ok(), "{line}");
            if needs_argument {
                assert!(Command::parse(name).unwrap_err().starts_with("please specify"), "{name}");
            }
        }
        assert!(HELP.is_sorted_by_key(|(usage, _)| usage.split(' ').next()));
    }

    #[test]
    fn arguments() {
        assert_eq!(Command::parse(".timer on"), Ok(Command::Set(Switch::Timer, Some(true))));
        assert_eq!(Command::parse(".mode csv"), Ok(Command::Mode(Some(Mode::Csv))));
        assert_eq!(Command::parse(".consistency strong"), Ok(Command::Consistency(Some(ReadLevel::Strong))));
        assert_eq!(Command::parse(".output stdout"), Ok(Command::Output(None)));
        let tables = vec!["a".to_owned(), "b".to_owned()];
        assert_eq!(Command::parse(".dump f.sql a, b"), Ok(Command::Dump { file: "f.sql".into(), tables }));
        assert_eq!(Command::parse(".backup my file.db"), Ok(Command::Backup("my file.db".into())));
    }

    #[test]
    fn invalid_arguments_are_named() {
        for (line, message) in [
            (".timer maybe", "invalid option 'maybe'. Use 'on' or 'off' (default)"),
            (
                ".mode x",
                "invalid mode 'x'. Use 'column', 'csv', 'json', 'line', 'jsonl', 'markdown', 'html', or 'insert'",
            ),
            (".consistency x", "invalid consistency 'x'. Use 'none', 'weak', 'linearizable', 'strong', or 'auto'"),
            (".snapshot -1", "invalid trailing logs value: -1"),
            (".nonsense", "unknown command '.nonsense'. Enter \".help\" for usage hints."),
        ] {
            assert_eq!(Command::parse(line).unwrap_err(), message);
        }
    }
}
