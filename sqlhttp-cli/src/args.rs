//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Parser, Subcommand, ValueEnum};

use crate::migrate::MigrateArgs;
use crate::print::Mode;

const NOTES: &str = "\
Without SQL and with a terminal, the shell is interactive. Otherwise it executes the SQL of
--execute, the SQL argument, or standard input. It then prints no banner and no prompt, and writes
errors to standard error.

RQLITE_HOST is the URL of the server if neither --scheme, --host nor --port is given.
If --user contains no password, it is that of --password-file, of the environment variable
SQLHTTP_PASSWORD, or the one that the user types.

Called as `rqlite`, the shell treats standard input as rqlite's shell does: a line is a statement,
errors stand between the results, and the exit status is 0.

Exit status: 0 if everything succeeded, 1 if a statement or a command failed, 2 if the command line
is wrong, 3 if no server could be reached.";

/// The shell for SQLite over HTTP: for sqlhttp-cluster, sqlhttp-standalone and rqlite.
#[derive(Debug, Parser)]
#[command(name = "sqlhttp", version, after_help = NOTES, disable_version_flag = true, disable_help_flag = true)]
#[command(
    disable_help_subcommand = true,
    override_usage = "sqlhttp [OPTIONS] [SQL]\n       sqlhttp [OPTIONS] migrate ..."
)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) task: Option<Task>,

    /// SQL to execute; dot commands are accepted, too
    #[arg(value_name = "SQL")]
    pub(crate) sql: Option<String>,

    /// Servers for when the first one cannot be reached
    #[arg(short, long, value_name = "HOST:PORT", value_delimiter = ',')]
    pub(crate) alternatives: Vec<String>,

    /// Protocol: http or https [default: http]
    #[arg(short, long, hide_possible_values = true)]
    pub(crate) scheme: Option<SchemeName>,

    /// Name or address of the server [default: 127.0.0.1]
    #[arg(short = 'H', long)]
    pub(crate) host: Option<String>,

    /// Port of the server [default: 4001]
    #[arg(short, long)]
    pub(crate) port: Option<u16>,

    /// Path of the API; /ID/ for sqlhttp-standalone
    #[arg(short = 'P', long, default_value = "/")]
    pub(crate) prefix: String,

    /// Accept every certificate of a server
    #[arg(short, long)]
    pub(crate) insecure: bool,

    /// Certificates of the trusted authorities [default: the system's]
    #[arg(short, long, value_name = "FILE")]
    pub(crate) ca_cert: Option<PathBuf>,

    /// Certificate of the client
    #[arg(short = 'd', long, value_name = "FILE", requires = "client_key")]
    pub(crate) client_cert: Option<PathBuf>,

    /// Key of the client
    #[arg(short = 'k', long, value_name = "FILE", requires = "client_cert")]
    pub(crate) client_key: Option<PathBuf>,

    /// User; other users of the machine can see a PASSWORD here
    #[arg(short, long, value_name = "NAME[:PASSWORD]")]
    pub(crate) user: Option<String>,

    /// File with the password, which only its owner can read
    #[arg(long, value_name = "FILE", requires = "user")]
    pub(crate) password_file: Option<PathBuf>,

    /// Maximum time until results begin; 0: no limit
    #[arg(short = 't', long, value_name = "TIME", default_value = "30s", value_parser = duration)]
    pub(crate) http_timeout: Duration,

    /// SQL to execute (repeatable)
    #[arg(short, long, value_name = "SQL", allow_hyphen_values = true)]
    pub(crate) execute: Vec<String>,

    /// File for the results [default: standard output]
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,

    /// column, csv, json, jsonl, tsv, line, markdown, html, insert
    #[arg(long, value_name = "MODE", default_value = "column")]
    #[arg(hide_default_value = true, hide_possible_values = true)]
    pub(crate) format: Mode,

    /// Print a man page or completions: man, bash, zsh, fish
    #[arg(long, value_name = "KIND", hide_possible_values = true)]
    pub(crate) generate: Option<crate::generate::Kind>,

    /// Print this help
    #[arg(short = 'h', long, action = ArgAction::HelpShort)]
    help: Option<bool>,

    /// Print the version
    #[arg(short = 'v', long, action = ArgAction::Version)]
    version: Option<bool>,
}

/// A task other than the execution of SQL.
#[derive(Debug, Subcommand)]
pub(crate) enum Task {
    /// Prepare the move from ws4sqlite or rqlite
    Migrate(MigrateArgs),
}

/// The protocol of the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum SchemeName {
    /// HTTP
    Http,
    /// HTTP over TLS
    Https,
}

impl SchemeName {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            SchemeName::Http => "http",
            SchemeName::Https => "https",
        }
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    sqlhttp_text::duration::parse(text).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_definition_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn the_help_fits_on_a_screen() {
        let help = Args::command().render_help().to_string();
        let lines: Vec<&str> = help.lines().collect();
        assert!(lines.len() <= 60, "{}", lines.len());
        let long = lines.iter().find(|line| line.chars().count() > 100);
        assert_eq!(long, None);
    }

    #[test]
    fn the_flags_of_rqlite() {
        let line = "sqlhttp -a b:1,c:2 -s https -H a -p 5 -P /x/ -i -u me:pw -t 1m";
        let args = Args::try_parse_from(line.split(' ')).unwrap();
        assert_eq!(args.alternatives, ["b:1", "c:2"]);
        assert_eq!((args.scheme, args.host.as_deref(), args.port), (Some(SchemeName::Https), Some("a"), Some(5)));
        assert_eq!((args.prefix.as_str(), args.insecure, args.http_timeout), ("/x/", true, Duration::from_secs(60)));
        for line in ["sqlhttp -d x", "sqlhttp -t x", "sqlhttp --format x", "sqlhttp --bogus", "sqlhttp -p 70000"] {
            assert!(Args::try_parse_from(line.split(' ')).is_err(), "{line}");
        }
    }
}
