//! The dot commands, as data.

use std::path::PathBuf;

use sqlhttp_core::{ReadLevel, Value};

use crate::print::Mode;
use crate::records::Format;
use crate::sql::{self, Kind};

/// A dot command with its arguments.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Command {
    Backup {
        file: PathBuf,
        /// Whether SQLite checks the content of the file.
        check: bool,
    },
    Boot(PathBuf),
    Consistency(Option<ReadLevel>),
    Dump {
        file: PathBuf,
        tables: Vec<String>,
    },
    Explain(String),
    Export(Export),
    Expvar(Option<String>),
    Extensions,
    Help,
    Import(Import),
    Indexes,
    Leader,
    Mode(Option<Mode>),
    Nodes {
        all: bool,
    },
    /// `None` for standard output.
    Output(Option<PathBuf>),
    Param(ParamCommand),
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
    Sysdump(PathBuf),
    Tables,
    /// The id of a database of a standalone server, or the path of the API.
    Use(Option<String>),
    /// Compares the content of the nodes.
    Verify {
        /// Whether each node also checks the integrity of its database.
        deep: bool,
        /// Whether the content of followers that differ is replaced.
        repair: bool,
    },
}

/// `.import`: inserts the records of a file into a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Import {
    pub(crate) file: PathBuf,
    pub(crate) table: String,
    pub(crate) format: Format,
    /// The number of records at the beginning of the file that are not inserted.
    pub(crate) skip: u64,
    /// The text that means NULL.
    pub(crate) null: Option<String>,
}

/// `.export`: writes a table or the rows of a query to a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Export {
    pub(crate) file: PathBuf,
    /// The name of a table, or a query.
    pub(crate) source: String,
    pub(crate) mode: Mode,
}

/// `.param`: values for the named parameters of all statements.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum ParamCommand {
    Clear,
    List,
    Set(String, Value),
    Unset(String),
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
    /// Whether long and wide results are shown by a pager.
    Pager,
    /// Whether the durations of statements are shown.
    Timer,
}

/// The commands and their descriptions, in alphabetical order.
#[rustfmt::skip]
pub(crate) const HELP: [(&str, &str); 38] = [
    (".backup [--check] FILE", "Write database backup to FILE, and check it with SQLite"),
    (".blobarray [on|off]", "Show setting, or set BLOB data display as byte arrays"),
    (".boot FILE", "Boot the node using a SQLite file read from FILE"),
    (".changes [on|off]", "Show setting, or set display of last insert ID after writes"),
    (".consistency [LEVEL]", "Show or set read consistency: none, weak, linearizable, strong, auto"),
    (".dump FILE [TABLE,TABLE...]", "Dump the database in SQL text to FILE, optionally limited to TABLEs"),
    (".exit", "Exit this program"),
    (".explain SELECT ...", "Show the query plan of a statement as a tree"),
    (".export [OPTIONS] FILE SOURCE", "Write a table or query to FILE; --csv --tsv --json --jsonl"),
    (".expvar [KEY]", "Show the counters of the connected node"),
    (".extensions", "Show loaded SQLite extensions"),
    (".forcewrites [on|off]", "Show setting, or set all statements to be executed via /db/execute"),
    (".help", "Show this message"),
    (".import [OPTIONS] FILE TABLE", "Insert CSV or JSON lines; --csv --tsv --jsonl --skip N --null TEXT"),
    (".indexes", "Show the CREATE statements of all indexes"),
    (".leader", "Show the current cluster leader"),
    (".mode [MODE]", "Show or set mode: column csv json line jsonl tsv markdown html insert"),
    (".nodes [all]", "Show connection status of voting nodes. 'all' to show all nodes"),
    (".output [FILE]", "Send output to FILE, or stdout if FILE is omitted"),
    (".pager [on|off]", "Show setting, or set the use of a pager for long and wide results"),
    (".param [set NAME VALUE]", "List parameters, or set one for all statements; unset NAME, clear"),
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
    (".stepdown [NODEID]", "Instruct the leader to stepdown, optionally specifying new leader node"),
    (".sysdump FILE", "Dump system diagnostics of all nodes to FILE"),
    (".table", "Same as .tables"),
    (".tables", "List names of tables"),
    (".timer [on|off]", "Show setting, or set query timings on or off"),
    (".use [ID]", "Show or select the database of a standalone server; / for a node"),
    (".verify [--deep] [--repair]", "Compare the content of the nodes; check indexes; repair followers"),
];

impl Switch {
    /// The name of the command that sets it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Switch::BlobArray => "blobarray",
            Switch::Changes => "changes",
            Switch::ForceWrites => "forcewrites",
            Switch::Pager => "pager",
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
        let file = |purpose: &str| match argument {
            Some(argument) => file_name(argument),
            None => Err(format!("please specify {purpose}")),
        };
        let text = || argument.map(str::to_owned);
        Ok(match name.to_ascii_lowercase().as_str() {
            ".backup" => backup(argument)?,
            ".blobarray" => Command::Set(Switch::BlobArray, switch(argument)?),
            ".boot" => Command::Boot(file("an input file to boot with")?),
            ".changes" => Command::Set(Switch::Changes, switch(argument)?),
            ".consistency" => Command::Consistency(argument.map(read_level).transpose()?),
            ".dump" => dump(argument.ok_or("please specify an output file for the SQL text")?),
            ".exit" | ".quit" => Command::Quit,
            ".explain" => Command::Explain(text().ok_or("please specify a statement to explain")?),
            ".export" => Command::Export(export(argument.unwrap_or_default())?),
            ".expvar" => Command::Expvar(text()),
            ".extensions" => Command::Extensions,
            ".forcewrites" => Command::Set(Switch::ForceWrites, switch(argument)?),
            ".help" => Command::Help,
            ".import" => Command::Import(import(argument.unwrap_or_default())?),
            ".indexes" => Command::Indexes,
            ".leader" => Command::Leader,
            ".mode" => Command::Mode(argument.map(mode).transpose()?),
            ".nodes" => Command::Nodes { all: argument.is_some() },
            ".output" => Command::Output(argument.filter(|file| *file != "stdout").map(file_name).transpose()?),
            ".pager" => Command::Set(Switch::Pager, switch(argument)?),
            ".param" | ".parameter" => Command::Param(param(argument.unwrap_or("list"))?),
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
            ".sysdump" => Command::Sysdump(file("an output file for the sysdump")?),
            ".table" | ".tables" => Command::Tables,
            ".timer" => Command::Set(Switch::Timer, switch(argument)?),
            ".use" => Command::Use(text()),
            ".verify" => verify(argument.unwrap_or_default())?,
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
pub(crate) const LEVELS: [(&str, ReadLevel); 5] = [
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

fn backup(argument: Option<&str>) -> Result<Command, String> {
    let argument = argument.unwrap_or_default();
    let after_check = argument.strip_prefix("--check").filter(|rest| rest.is_empty() || rest.starts_with(' '));
    match after_check.unwrap_or(argument).trim() {
        "" => Err("please specify an output file for the backup".to_owned()),
        option if option.starts_with("--") => Err(format!("unknown option '{option}'. Use .backup [--check] FILE")),
        file => Ok(Command::Backup { file: file_name(file)?, check: after_check.is_some() }),
    }
}

fn verify(arguments: &str) -> Result<Command, String> {
    let (mut deep, mut repair) = (false, false);
    for word in arguments.split_whitespace() {
        match word {
            "--deep" => deep = true,
            "--repair" => repair = true,
            other => return Err(format!("unknown option '{other}'. Use .verify [--deep] [--repair]")),
        }
    }
    Ok(Command::Verify { deep, repair })
}

/// Returns the name of a file. A name without quotes may contain blanks.
fn file_name(argument: &str) -> Result<PathBuf, String> {
    if !argument.starts_with(['"', '\'']) {
        return Ok(PathBuf::from(argument));
    }
    let mut words = Words(argument);
    match (words.next()?, words.next()?) {
        (Some(name), None) => Ok(PathBuf::from(name)),
        _ => Err(format!("{argument} is more than the name of a file")),
    }
}

fn import(arguments: &str) -> Result<Import, String> {
    const USAGE: &str = "please specify an input file and a table: .import [--csv|--tsv|--jsonl] [--skip N] \
                         [--null TEXT] FILE TABLE";
    let mut words = Words(arguments);
    let (mut format, mut skip, mut null) = (None, 0, None);
    let file = loop {
        let word = words.next()?.ok_or(USAGE)?;
        match word.as_str() {
            "--csv" => format = Some(Format::Csv),
            "--tsv" => format = Some(Format::Tsv),
            "--jsonl" => format = Some(Format::JsonLines),
            "--null" => null = Some(words.next()?.ok_or(USAGE)?),
            "--skip" => {
                let number = words.next()?.ok_or(USAGE)?;
                skip = number.parse().map_err(|_| format!("--skip: '{number}' is not a number of records"))?;
            }
            option if option.starts_with("--") => return Err(format!("unknown option '{option}'. {USAGE}")),
            _ => break PathBuf::from(word),
        }
    };
    let table = words.next()?.ok_or(USAGE)?;
    if words.next()?.is_some() {
        return Err(USAGE.to_owned());
    }
    let format = match format {
        Some(format) => format,
        None => Format::of_file(&file)?,
    };
    Ok(Import { file, table, format, skip, null })
}

fn export(arguments: &str) -> Result<Export, String> {
    const USAGE: &str = "please specify an output file, and a table or a query: .export [--csv|--tsv|--json|--jsonl] \
                         FILE TABLE|SELECT ...";
    let mut words = Words(arguments);
    let mut mode = None;
    let file = loop {
        let word = words.next()?.ok_or(USAGE)?;
        match word.strip_prefix("--") {
            Some(name @ ("csv" | "tsv" | "json" | "jsonl")) => mode = Mode::parse(name),
            Some(name) => return Err(format!("unknown option '--{name}'. {USAGE}")),
            None => break PathBuf::from(word),
        }
    };
    let source = words.0.trim().trim_end_matches(';').trim_end().to_owned();
    if source.is_empty() {
        return Err(USAGE.to_owned());
    }
    let extension = file.extension().and_then(|extension| extension.to_str()).unwrap_or_default().to_ascii_lowercase();
    let by_extension = match extension.as_str() {
        "tsv" | "tab" => Mode::Tsv,
        "json" => Mode::Json,
        "jsonl" | "ndjson" => Mode::Jsonl,
        _ => Mode::Csv,
    };
    Ok(Export { file, source, mode: mode.unwrap_or(by_extension) })
}

fn param(arguments: &str) -> Result<ParamCommand, String> {
    const USAGE: &str = "Use '.param list', '.param set NAME VALUE', '.param unset NAME', or '.param clear'";
    let (action, rest) = arguments.split_once(char::is_whitespace).unwrap_or((arguments, ""));
    let (name, value) = rest.trim().split_once(char::is_whitespace).unwrap_or((rest.trim(), ""));
    let name = name.trim_start_matches([':', '@', '$']);
    let valid = name.starts_with(|c: char| c.is_alphabetic() || c == '_');
    match (action, value.trim()) {
        ("list", _) => Ok(ParamCommand::List),
        ("clear", _) => Ok(ParamCommand::Clear),
        ("set" | "unset", _) if !valid => Err(format!("'{name}' is not the name of a parameter. {USAGE}")),
        ("set", value) if !value.is_empty() => Ok(ParamCommand::Set(name.to_owned(), value_of(value)?)),
        ("unset", "") => Ok(ParamCommand::Unset(name.to_owned())),
        _ => Err(USAGE.to_owned()),
    }
}

/// Returns the value of an SQL literal. Any other text without quotes is a TEXT value.
///
/// # Errors
/// The message for a literal that is malformed, and for an expression with quotes.
fn value_of(text: &str) -> Result<Value, String> {
    let words = sql::words(text);
    let malformed = || format!("{text} is no literal. Use a number, NULL, 'text', x'00ff', or text without quotes");
    if let [word] = &words[..] {
        match word.kind {
            Kind::Text if word.complete => return Ok(Value::Text(word.unquoted())),
            Kind::Blob if word.complete => {
                let digits = &word.text[2..word.text.len() - 1];
                return bytes_of(digits).map(Value::Blob).ok_or_else(malformed);
            }
            Kind::Word if word.is("null") => return Ok(Value::Null),
            _ => {}
        }
    }
    if words.iter().any(|word| matches!(word.kind, Kind::Text | Kind::Blob | Kind::QuotedName)) {
        return Err(malformed());
    }
    if let Ok(integer) = text.parse() {
        return Ok(Value::Integer(integer));
    }
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte));
    Ok(match text.parse::<f64>() {
        Ok(real) if is_number && real.is_finite() => Value::Real(real),
        _ => Value::Text(text.into()),
    })
}

/// Returns the bytes of hexadecimal digits.
fn bytes_of(digits: &str) -> Option<Vec<u8>> {
    let pairs = digits.as_bytes().chunks(2);
    let byte = |pair: &[u8]| (pair.len() == 2).then(|| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())?;
    pairs.map(byte).collect()
}

/// The words of the arguments of a command. A word in quotes may contain blanks.
struct Words<'a>(&'a str);

impl Words<'_> {
    /// Returns the next word; `None` at the end.
    fn next(&mut self) -> Result<Option<String>, String> {
        let rest = self.0.trim_start();
        let quote = rest.chars().next().filter(|c| matches!(c, '"' | '\''));
        let (word, after) = match quote {
            Some(quote) => {
                rest[1..].split_once(quote).ok_or_else(|| format!("the closing {quote} is missing: {rest}"))?
            }
            None => rest.split_once(char::is_whitespace).unwrap_or((rest, "")),
        };
        self.0 = after;
        Ok((quote.is_some() || !word.is_empty()).then(|| word.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_command_of_the_help_is_known() {
        for (usage, _) in HELP {
            let name = usage.split(' ').next().unwrap_or_default();
            let needs_argument = usage.contains(' ') && !usage.contains('[')
                || [".backup", ".dump", ".export", ".import"].contains(&name);
            let line = if needs_argument { format!("{name} x y") } else { name.to_owned() };
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
        assert_eq!(
            Command::parse(".backup my file.db"),
            Ok(Command::Backup { file: "my file.db".into(), check: false })
        );
        assert_eq!(Command::parse(".read 'a b'"), Ok(Command::Read("a b".into())));
        for line in [".read 'a b' c", ".read 'a b", ".backup --chek f"] {
            assert!(Command::parse(line).is_err(), "{line}");
        }
        assert_eq!(Command::parse(".backup --check f"), Ok(Command::Backup { file: "f".into(), check: true }));
    }

    #[test]
    fn files_and_tables() {
        let import = Import {
            file: "my file.jsonl".into(),
            table: "t".into(),
            format: Format::JsonLines,
            skip: 2,
            null: Some(String::new()),
        };
        assert_eq!(Command::parse(".import --skip 2 --null '' 'my file.jsonl' t"), Ok(Command::Import(import.clone())));
        let csv = Import { file: "f".into(), format: Format::Csv, skip: 0, null: None, ..import };
        assert_eq!(Command::parse(".import f t"), Ok(Command::Import(csv)));
        let query = Export { file: "f.json".into(), source: "SELECT 'a b'".into(), mode: Mode::Json };
        assert_eq!(Command::parse(".export f.json SELECT 'a b';"), Ok(Command::Export(query)));
        for line in [
            ".import",
            ".import f",
            ".import --skip x f t",
            ".import --bad f t",
            ".import f t u",
            ".import 'f t",
            ".import f.json t",
        ] {
            assert!(Command::parse(line).is_err(), "{line}");
        }
        for line in [".export", ".export f", ".export --html f t"] {
            assert!(Command::parse(line).is_err(), "{line}");
        }
    }

    #[test]
    fn values_of_parameters() {
        for (text, value) in [
            ("7", Value::Integer(7)),
            ("-1.5e3", Value::Real(-1500.0)),
            ("null", Value::Null),
            ("'it''s 7'", Value::Text("it's 7".into())),
            ("fiona", Value::Text("fiona".into())),
            ("infinity", Value::Text("infinity".into())),
            ("x'00fF'", Value::Blob(vec![0, 255])),
        ] {
            let set = Command::parse(&format!(".param set :a {text}"));
            assert_eq!(set, Ok(Command::Param(ParamCommand::Set("a".into(), value))));
        }
        assert_eq!(Command::parse(".param"), Ok(Command::Param(ParamCommand::List)));
        assert_eq!(Command::parse(".param unset @a"), Ok(Command::Param(ParamCommand::Unset("a".into()))));
        for line in [
            ".param set",
            ".param set a",
            ".param set 1 2",
            ".param x",
            ".param set a 'b",
            ".param set a 'b' || 'c'",
            ".param set a x'0'",
        ] {
            assert!(Command::parse(line).is_err(), "{line}");
        }
    }

    #[test]
    fn invalid_arguments_are_named() {
        for (line, message) in [
            (".timer maybe", "invalid option 'maybe'. Use 'on' or 'off' (default)"),
            (
                ".mode x",
                "invalid mode 'x'. Use 'column', 'csv', 'json', 'line', 'jsonl', 'tsv', 'markdown', 'html', or 'insert'",
            ),
            (".consistency x", "invalid consistency 'x'. Use 'none', 'weak', 'linearizable', 'strong', or 'auto'"),
            (".snapshot -1", "invalid trailing logs value: -1"),
            (".nonsense", "unknown command '.nonsense'. Enter \".help\" for usage hints."),
        ] {
            assert_eq!(Command::parse(line).unwrap_err(), message);
        }
    }
}
