//! The command line, parsed as Go's `flag` package does it. Flags are written `-name` or `--name`. The value of a flag
//! follows after `=` or a blank, that of a boolean only after `=`. The first word that is not a flag ends the flags.
//! [`TABLE`] describes all flags; the parser, the usage text, the environment variables, the man page and the
//! completion scripts use it.

use std::collections::HashMap;
use std::time::Duration;

use sqlhttp_text::flag::{self, Scanned, invalid, parse_value};
pub use sqlhttp_text::flag::{FlagError, FlagKind, Value};

use crate::process::generate::{self, Candidates, FlagEntry, Program, generate};

/// The name of this program in the banner and the usage text.
pub const PROGRAM: &str = "sqlhttp-standalone";

/// A flag of the command line.
#[derive(Debug, Clone, Copy)]
pub struct Flag {
    /// The name of the flag, without dashes.
    pub name: &'static str,
    /// Another name of the flag, which earlier versions of this program or `sqlhttp-cluster` use; empty if there is
    /// none.
    pub alias: &'static str,
    /// The type of the flag's value.
    pub kind: FlagKind,
    /// The value that applies if the flag is not given, as on the command line; empty if there is none.
    pub default: &'static str,
    /// Whether ws4sqlite has this flag too.
    pub original: bool,
    /// The description of the flag in the usage text.
    pub help: &'static str,
    /// The values that a shell offers for the flag.
    pub(crate) candidates: Candidates,
}

impl Flag {
    /// Returns the name of the environment variable that sets the flag: `SQLHTTP_BIND_HOST` for `bind-host`.
    pub fn env_name(&self) -> String {
        env_name_of(self.name)
    }

    /// Returns the name of the flag, and its alias if it has one.
    fn names(&self) -> impl Iterator<Item = &'static str> + use<> {
        [self.name, self.alias].into_iter().filter(|name| !name.is_empty())
    }

    const fn also(self, alias: &'static str) -> Flag {
        Flag { alias, ..self }
    }

    const fn offers(self, candidates: Candidates) -> Flag {
        Flag { candidates, ..self }
    }

    /// Returns whether the flag can also be set outside the command line. `version` and `generate` cannot, because
    /// they are not settings.
    fn is_setting(&self) -> bool {
        !matches!(self.name, "version" | generate::FLAG)
    }
}

fn env_name_of(name: &str) -> String {
    format!("SQLHTTP_{}", name.to_ascii_uppercase().replace('-', "_"))
}

const fn original(name: &'static str, kind: FlagKind, default: &'static str, help: &'static str) -> Flag {
    Flag { name, alias: "", kind, default, original: true, help, candidates: Candidates::None }
}

const fn further(name: &'static str, kind: FlagKind, default: &'static str, help: &'static str) -> Flag {
    Flag { name, alias: "", kind, default, original: false, help, candidates: Candidates::None }
}

const LOG_FORMATS: FlagKind = FlagKind::Choice(&["text", "json"]);
const LOG_LEVELS: FlagKind = FlagKind::Choice(&["error", "warn", "info", "debug", "trace"]);

/// All flags, sorted by name. The flags of ws4sqlite come first.
pub const TABLE: &[Flag] = &[
    original("bind-host", FlagKind::Text, "0.0.0.0", "The host to bind"),
    original("db", FlagKind::List, "", "Repeatable; paths of file-based databases").offers(Candidates::Files),
    original(
        "mem-db",
        FlagKind::List,
        "",
        "Repeatable; config for memory-based databases (format: ID[:configFilePath])",
    ),
    original("port", FlagKind::Int, "12321", "Port for the web service"),
    original("serve-dir", FlagKind::Text, "", "A directory to serve with builtin HTTP server")
        .offers(Candidates::Directories),
    original("version", FlagKind::Bool, "", "Display the version number"),
    further("allow-attach", FlagKind::Bool, "false", "Let clients ATTACH other database files"),
    further("allowed-hosts", FlagKind::Text, "", "Comma-separated hosts that requests may name; empty is every host")
        .also("http-allowed-hosts"),
    further(
        "body-timeout",
        FlagKind::Duration,
        "5m",
        "How long a client may take to send a request's body; 0 is no limit",
    )
    .also("http-body-timeout"),
    further("busy-timeout", FlagKind::Duration, "5s", "How long to wait for a lock that another process holds"),
    further("check-interval", FlagKind::Duration, "24h", "How often databases are checked for damage; 0 is never"),
    further("config", FlagKind::Text, "", "A YAML file that lists databases and settings").offers(Candidates::Files),
    further(
        "first-request-timeout",
        FlagKind::Duration,
        "10s",
        "How long a new connection may be without a request; 0 is -header-timeout",
    )
    .also("http-first-request-timeout"),
    further(generate::FLAG, generate::KINDS, "", generate::HELP),
    further(
        "header-timeout",
        FlagKind::Duration,
        "2m",
        "How long a connection may be idle, or a client take to send its headers; 0 is no limit",
    ),
    further("index-file", FlagKind::Text, "index.html", "The file that -serve-dir serves for a directory"),
    further("log-format", LOG_FORMATS, "text", "How log lines look"),
    further("log-level", LOG_LEVELS, "warn", "The least level that is logged; info includes -log-requests"),
    further("log-requests", FlagKind::Bool, "false", "Log a line for each request, and why it was refused"),
    further(
        "log-slow",
        FlagKind::Duration,
        "0s",
        "Log requests whose SQL takes longer than this, with the first KiB of the SQL; 0 logs none",
    ),
    further(
        "max-bodies",
        FlagKind::Size,
        "512M",
        "Memory for all request bodies together; one of -max-body always fits",
    )
    .also("http-max-bodies"),
    further("max-body", FlagKind::Size, "64M", "Largest request body, also after decompression"),
    further("max-connections", FlagKind::Count, "10000", "Connections open at once"),
    further("max-header", FlagKind::Size, "64K", "Largest request line and headers together"),
    further("max-rows", FlagKind::Count, "0", "Rows in one result; 0 is no limit"),
    further("max-statement-memory", FlagKind::Size, "512M", "Memory that SQLite may use for one request"),
    further("max-statements", FlagKind::Count, "100000", "Statements in one request").also("max-items"),
    further("max-value-bytes", FlagKind::Size, "64M", "Largest text or BLOB, and largest row"),
    further("metrics-addr", FlagKind::Text, "", "Serve /metrics and /healthz on this host:port"),
    further("query-timeout", FlagKind::Duration, "0s", "How long the SQL of one request may run; 0 is no limit"),
    further("read-threads", FlagKind::Count, "0", "Threads that read, for each database; 0 is one for each processor"),
    further("shutdown-timeout", FlagKind::Duration, "4s", "How long shutting down waits for running requests"),
    further("tls-cert", FlagKind::Text, "", "Serve HTTPS with this certificate chain, a PEM file")
        .offers(Candidates::Files),
    further("tls-key", FlagKind::Text, "", "The private key of -tls-cert, a PEM file").offers(Candidates::Files),
    further("write-timeout", FlagKind::Duration, "60s", "How long a write may wait and run; 0 is no limit"),
];

/// The values of the flags that were set. Any other flag has its default value.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    values: HashMap<&'static str, Vec<Value>>,
}

/// The request of a parsed command line.
#[derive(Debug, PartialEq, Eq)]
pub enum CommandLine {
    /// The server is started with these settings. The first word that is not a flag and the words after it are
    /// ignored.
    Run {
        /// The values of the flags that were set.
        settings: Settings,
        /// The words that are ignored.
        ignored: Vec<String>,
    },
    /// The usage text is printed.
    Help,
}

/// Parses the command line, without the name of the program. If this returns an error, the process ends with status 2;
/// [`explain`] formats the message.
pub fn parse(arguments: &[String]) -> Result<CommandLine, FlagError> {
    let mut settings = Settings::default();
    let set = |name: &str, value| {
        if let Some(flag) = find(name) {
            settings.set(flag, value);
        }
    };
    let scanned = flag::scan(arguments, |name| find(name).map(|flag| flag.kind), set)?;
    Ok(match scanned {
        Scanned::Rest(ignored) => CommandLine::Run { settings, ignored: ignored.to_vec() },
        Scanned::Help => CommandLine::Help,
    })
}

fn find(name: &str) -> Option<&'static Flag> {
    TABLE.iter().find(|flag| flag.names().any(|known| known == name))
}

/// Returns the message about an error on the command line or in the environment, which may have several lines.
pub fn explain(error: &FlagError) -> String {
    let names = TABLE.iter().flat_map(Flag::names);
    let summary = |name: &str| find(name).map(|it| flag::summary(it.name, it.kind, it.default, it.help));
    flag::explain(error, PROGRAM, names, summary)
}

impl Settings {
    /// Reads the settings from environment variables named `SQLHTTP_<NAME>`. The values of a list flag are separated
    /// by commas. Empty variables are ignored.
    pub fn from_env(variable: impl Fn(&str) -> Option<String>) -> Result<Self, FlagError> {
        let mut settings = Settings::default();
        for flag in TABLE.iter().filter(|flag| flag.is_setting()) {
            // The variable of the alias is read first, so that the variable of the name overrides it.
            for name in flag.names().map(env_name_of).collect::<Vec<_>>().iter().rev() {
                if let Some(text) = variable(name).filter(|text| !text.is_empty()) {
                    settings.set_from_env(flag, name, &text)?;
                }
            }
        }
        Ok(settings)
    }

    fn set_from_env(&mut self, flag: &'static Flag, variable: &str, text: &str) -> Result<(), FlagError> {
        let parts = if flag.kind == FlagKind::List { text.split(',').collect() } else { vec![text] };
        for part in parts {
            let value = parse_value(flag.kind, part)
                .map_err(|why| FlagError::new(flag.name, invalid(flag.kind, part, variable, &why)))?;
            self.set(flag, value);
        }
        Ok(())
    }

    /// Sets a flag by name, for the `-config` file. Returns an error for `db`, `mem-db`, `config`, `version` and
    /// `generate`, which cannot be set in that file.
    pub(crate) fn set_named(&mut self, name: &str, text: &str) -> Result<(), String> {
        let flag = find(name).filter(|flag| settable_in_file(flag));
        let flag = flag.ok_or_else(|| format!("unknown setting '{name}'"))?;
        let value = parse_value(flag.kind, text).map_err(|why| invalid(flag.kind, text, name, &why))?;
        self.set(flag, value);
        Ok(())
    }

    /// Adds the values of `lower`, settings of lower priority, for the flags that `self` does not set.
    pub fn or(mut self, lower: Settings) -> Self {
        for (name, values) in lower.values {
            self.values.entry(name).or_insert(values);
        }
        self
    }

    /// Returns whether no flag was set.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    fn set(&mut self, flag: &'static Flag, value: Value) {
        let values = self.values.entry(flag.name).or_default();
        if flag.kind != FlagKind::List {
            values.clear();
        }
        values.push(value);
    }

    /// Returns the value of a flag: the last one that was set, or else its default; `None` if there is neither.
    fn get(&self, name: &str) -> Option<Value> {
        if let Some(value) = self.values.get(name).and_then(|values| values.last()) {
            return Some(value.clone());
        }
        let flag = find(name).filter(|flag| !flag.default.is_empty())?;
        parse_value(flag.kind, flag.default).ok()
    }

    /// Returns the value of a text flag or a choice flag; an empty string if it has neither a value nor a default.
    pub fn text(&self, name: &str) -> String {
        match self.get(name) {
            Some(Value::Text(text)) => text,
            _ => String::new(),
        }
    }

    /// Returns the value of a text flag or a choice flag; `None` if the value is empty.
    pub fn text_opt(&self, name: &str) -> Option<String> {
        Some(self.text(name)).filter(|text| !text.is_empty())
    }

    /// Returns the values of a list flag, in the order in which they were given.
    pub fn list(&self, name: &str) -> Vec<String> {
        let values = self.values.get(name).map(Vec::as_slice).unwrap_or_default();
        let text = |value: &Value| {
            if let Value::Text(text) = value { Some(text.clone()) } else { None }
        };
        values.iter().filter_map(text).collect()
    }

    /// Returns the value of a boolean flag; `false` if there is none.
    pub fn bool(&self, name: &str) -> bool {
        self.get(name) == Some(Value::Bool(true))
    }

    /// Returns the value of an integer flag or a count flag; 0 if there is none.
    pub fn int(&self, name: &str) -> i64 {
        match self.get(name) {
            Some(Value::Int(value)) => value,
            _ => 0,
        }
    }

    /// Returns the value of a count flag or a size flag; 0 if it is negative.
    pub fn count(&self, name: &str) -> u64 {
        match self.get(name) {
            Some(Value::Int(value)) => u64::try_from(value).unwrap_or(0),
            Some(Value::Size(value)) => value,
            _ => 0,
        }
    }

    /// Returns the value of a duration flag; zero if there is none.
    pub fn duration(&self, name: &str) -> Duration {
        match self.get(name) {
            Some(Value::Duration(value)) => value,
            _ => Duration::ZERO,
        }
    }
}

fn settable_in_file(flag: &Flag) -> bool {
    flag.is_setting() && !matches!(flag.name, "db" | "mem-db" | "config")
}

/// Returns the names of the flags that [`Settings::set_named`] accepts, including aliases.
pub(crate) fn names_in_file() -> impl Iterator<Item = &'static str> {
    TABLE.iter().filter(|flag| settable_in_file(flag)).flat_map(Flag::names)
}

/// The heading of the flags that ws4sqlite does not have.
const FURTHER: &str = "Further flags, which ws4sqlite does not have";

/// The text about all flags, which follows after their descriptions.
const NOTES: &str = "Databases are given as PATH[:configFilePath]; without a config file, <name>.yaml beside the \
                     database is used if\nit exists. Durations are written like 5s, 1m30s, 250ms; sizes in bytes or \
                     like 64K, 16M, 2G.\nEach flag may also be set in the environment: -bind-host is \
                     SQLHTTP_BIND_HOST, -db is SQLHTTP_DB (several,\nseparated by commas). The command line beats \
                     the environment, which beats the file given by -config.\n";

/// Returns the usage text in the layout of Go's `flag` package. The flags that ws4sqlite does not have are in a
/// section of their own.
pub fn usage() -> String {
    let mut text = format!("Usage of {PROGRAM}:\n");
    TABLE.iter().filter(|flag| flag.original).for_each(|flag| text.push_str(&describe(flag)));
    text.push_str(&format!("\n{FURTHER}:\n"));
    TABLE.iter().filter(|flag| !flag.original).for_each(|flag| text.push_str(&describe(flag)));
    text.push_str(&format!("\n{NOTES}"));
    text
}

fn describe(flag: &Flag) -> String {
    flag::describe(flag.name, flag.kind, flag.default, &help(flag))
}

fn help(flag: &Flag) -> String {
    match flag.alias {
        "" => flag.help.to_owned(),
        alias => format!("{}; also -{alias}", flag.help),
    }
}

/// Returns the man page or the completion script that the flag `generate` requests, without the final line feed;
/// `None` if the flag is not set.
pub(crate) fn generated(settings: &Settings) -> Option<String> {
    let flags = TABLE.iter().map(entry).collect();
    let about = "serves SQLite databases over HTTP";
    let program = Program { name: PROGRAM, about, notes: NOTES, flags, data_directory: None };
    generate(&settings.text_opt(generate::FLAG)?, program)
}

fn entry(flag: &Flag) -> FlagEntry {
    FlagEntry {
        name: flag.name,
        kind: flag.kind,
        default: flag.default,
        help: help(flag),
        candidates: flag.candidates,
        variable: flag.is_setting().then(|| flag.env_name()),
        heading: (!flag.original).then_some(FURTHER),
    }
}

#[cfg(test)]
mod tests;
