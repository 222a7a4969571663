//! `sqlhttp migrate`: prepares the move from ws4sqlite to `sqlhttp-standalone`, or from rqlite to `sqlhttp-cluster`.
//!
//! | module | what it does |
//! |---|---|
//! | `report` | the report, and its text form |
//! | `ws4sqlite` | the command line and the files of ws4sqlite |
//! | `companion` | the companion files of ws4sqlite |
//! | `rqlite` | the documents of a node of rqlite |
//! | `rqlite_flags` | the flags of rqlited |
//! | `frozen` | finds what rqlite's rewriting of SQL has left in a schema |
//! | `database` | copies and checks database files |
//! | `words` | quotes words for a shell |

mod companion;
mod database;
mod frozen;
mod report;
mod rqlite;
mod rqlite_flags;
mod words;
mod ws4sqlite;

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use sqlhttp_rqlite::client::{Client, ClientError, Transport};

use report::{Problem, Report};
use rqlite::{OldNode, ReadError};

/// The exit status if no server can be reached.
const UNREACHABLE: u8 = 3;

/// The arguments of `sqlhttp migrate`.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct MigrateArgs {
    #[command(subcommand)]
    source: Source,

    /// Print this help
    #[arg(short = 'h', long, global = true, action = clap::ArgAction::Help)]
    help: Option<bool>,
}

/// The server that is replaced.
#[derive(Debug, Clone, clap::Subcommand)]
enum Source {
    /// Report what the move of a ws4sqlite server to sqlhttp-standalone needs
    #[command(name = "from-ws4sqlite")]
    Ws4sqlite {
        #[command(flatten)]
        action: Action,
        /// The command line of ws4sqlite, after `--`
        #[arg(last = true, required = true, value_name = "COMMAND LINE")]
        line: Vec<String>,
    },
    /// Report what the move of a running rqlite node to sqlhttp-cluster needs; the options of the connection precede
    /// `migrate`
    #[command(name = "from-rqlite")]
    Rqlite {
        #[command(flatten)]
        action: Action,
    },
}

/// The options for copying the databases.
#[derive(Debug, Clone, clap::Args)]
struct Action {
    /// Copy the databases into the directory of --to, and check the copies
    #[arg(long, requires = "to")]
    perform: bool,
    /// Directory for the copies
    #[arg(long, value_name = "DIR", requires = "perform")]
    to: Option<PathBuf>,
}

/// Writes the report that the arguments ask for. Returns the exit status: 0, 1 if there are problems, 3 if no server
/// can be reached.
///
/// # Errors
/// `out` cannot be written.
pub(crate) async fn run<T: Transport>(args: &MigrateArgs, client: &Client<T>, out: &mut dyn Write) -> io::Result<u8> {
    let report = match &args.source {
        Source::Ws4sqlite { action, line } => from_ws4sqlite(line, action.to.as_deref()),
        Source::Rqlite { action } => match from_rqlite(client, action.to.as_deref()).await {
            Ok(report) => report,
            Err(error) => {
                writeln!(io::stderr(), "sqlhttp: {error}")?;
                let unreachable = matches!(error, ReadError::Client(ClientError::Unreachable(_)));
                return Ok(if unreachable { UNREACHABLE } else { 1 });
            }
        },
    };
    write!(out, "{report}")?;
    out.flush()?;
    Ok(report.exit_status())
}

/// Returns the report on a command line of ws4sqlite. Copies its files if there is a directory for the copies.
fn from_ws4sqlite(line: &[String], copies: Option<&Path>) -> Report {
    let command = ws4sqlite::parse(line);
    let facts = ws4sqlite::look(&command);
    let mut report = ws4sqlite::report(&command, &facts);
    if let Some(directory) = copies {
        ws4sqlite::perform(&command, &facts, directory, &mut report);
    }
    report
}

/// Returns the report on a node of rqlite. Downloads a backup if there is a directory for it.
async fn from_rqlite<T: Transport>(client: &Client<T>, copies: Option<&Path>) -> Result<Report, ReadError> {
    let mut documents = rqlite::read_documents(client).await?;
    let mut old = OldNode { host: client.host().clone(), directory: None };
    let Some(directory) = copies else { return Ok(rqlite::report(&documents, &old)) };
    let shown = directory.display().to_string();
    match rqlite::download(client, directory).await {
        Ok((size, schema)) => {
            // The frozen defaults are those of the backup.
            documents.schema = Ok(schema);
            old.directory = Some(shown.clone());
            let mut report = rqlite::report(&documents, &old);
            report.files.push(format!("{shown}/rqlite.db: a backup of the database, {size} bytes, checked"));
            Ok(report)
        }
        Err(error) => {
            let mut report = rqlite::report(&documents, &old);
            let remedy = "correct the cause, or choose an empty directory with --to";
            report.problems.push(Problem::new(shown, "--to", format!("no backup: {error}"), remedy));
            Ok(report)
        }
    }
}
