//! `sqlhttp`: the shell for SQLite over HTTP.
//!
//! | module | what it does |
//! |---|---|
//! | `args` | the command line |
//! | `connect` | creates the client from the command line |
//! | `statement` | splits input into statements and dot commands |
//! | `command` | the dot commands, as data |
//! | `shell` | executes statements and dot commands |
//! | `interactive` | the loop of the interactive shell |
//! | `print`, `tree` | write results |

mod args;
mod command;
mod connect;
mod interactive;
mod print;
mod shell;
mod statement;
mod tree;

use std::io::{self, BufRead as _, IsTerminal as _};
use std::process::ExitCode;

use args::Args;
use clap::Parser as _;
use shell::{Flow, Shell};
use sqlhttp_rqlite::client::HyperTransport;
use statement::Splitter;

/// The exit status for a command line that cannot be used.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    let args = Args::parse();
    match run(&args) {
        Ok(status) => ExitCode::from(status),
        Err(message) => {
            eprintln!("sqlhttp: {message}");
            ExitCode::from(USAGE)
        }
    }
}

/// Executes what the command line asks for. Returns the exit status, or the message for a command line that cannot be
/// used.
fn run(args: &Args) -> Result<u8, String> {
    let client = connect::client(args).map_err(|error| error.to_string())?;
    let has_sql = args.sql.is_some() || !args.execute.is_empty();
    let interactive = !has_sql && io::stdin().is_terminal();
    let mut shell = Shell::new(client, args.format, interactive);
    shell.set_output(args.output.clone()).map_err(|error| error.to_string())?;
    // The connections are served on a thread of their own, also while the shell waits for a line.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.map_err(|error| format!("cannot start a thread: {error}"))?;
    let executed = runtime.block_on(async {
        if interactive {
            interactive::run(&mut shell).await
        } else if has_sql {
            run_arguments(&mut shell, args).await
        } else {
            run_input(&mut shell).await
        }
    });
    match executed {
        Ok(()) => Ok(shell.exit_status()),
        // The reader of the results needs no more of them: `sqlhttp … | head -1`.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(shell.exit_status()),
        Err(error) => {
            eprintln!("sqlhttp: {error}");
            Ok(1)
        }
    }
}

async fn run_arguments(shell: &mut Shell<HyperTransport>, args: &Args) -> io::Result<()> {
    for text in args.execute.iter().chain(&args.sql) {
        if shell.execute_text(text).await? == Flow::Quit {
            break;
        }
    }
    Ok(())
}

/// Executes standard input, each item when it is complete.
async fn run_input(shell: &mut Shell<HyperTransport>) -> io::Result<()> {
    let mut splitter = Splitter::default();
    for line in io::stdin().lock().lines() {
        for item in splitter.push_line(&line?) {
            if shell.execute(&item).await? == Flow::Quit {
                return Ok(());
            }
        }
    }
    if let Some(item) = splitter.finish() {
        shell.execute(&item).await?;
    }
    Ok(())
}
