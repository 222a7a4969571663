//! `sqlhttp`: the shell for SQLite over HTTP.
//!
//! | module | what it does |
//! |---|---|
//! | `args`, `generate` | the command line; its man page and completions |
//! | `connect` | creates the client from the command line |
//! | `statement`, `sql` | splits input into statements and dot commands; the tokens of SQL |
//! | `command` | the dot commands, as data |
//! | `shell` | executes statements and dot commands |
//! | `interactive` | the loop of the interactive shell |
//! | `migrate` | prepares the move from ws4sqlite or rqlite |
//! | `print`, `tree`, `output`, `progress` | write results |
//! | `records`, `partial_file`, `database_file` | read and write files |

mod args;
mod command;
mod connect;
mod database_file;
mod generate;
mod interactive;
mod migrate;
mod output;
mod partial_file;
mod print;
mod progress;
mod records;
mod shell;
mod sql;
mod statement;
mod tree;

use std::fs::File;
use std::io::{self, BufRead as _, IsTerminal as _, Write};
use std::path::Path;
use std::process::ExitCode;

use args::{Args, Task};
use clap::Parser as _;
use output::warn;
use shell::{Flow, Session, Shell};
use sqlhttp_rqlite::client::{Client, HyperTransport};
use statement::{Item, Splitter};

/// The exit status for a command line that cannot be used.
const USAGE: u8 = 2;
/// The exit status after a signal that ends the program: 128 and the number of SIGINT.
const INTERRUPTED: u8 = 130;

fn main() -> ExitCode {
    let args = Args::parse();
    match run(&args) {
        Ok(status) => ExitCode::from(status),
        Err(message) => {
            warn(&message);
            ExitCode::from(USAGE)
        }
    }
}

/// Executes what the command line asks for. Returns the exit status, or the message for a command line that cannot be
/// used.
fn run(args: &Args) -> Result<u8, String> {
    if let Some(kind) = args.generate {
        return Ok(exit_status(generate::print(kind, &mut io::stdout()), 0));
    }
    let client = connect::client(args).map_err(|error| error.to_string())?;
    let has_sql = args.sql.is_some() || !args.execute.is_empty();
    match &args.task {
        Some(_) if has_sql => return Err("migrate executes no SQL; remove the SQL, or remove migrate".to_owned()),
        Some(task) => return run_task(task, args, &client),
        None => {}
    }
    let session = session(has_sql);
    let mut shell = Shell::new(client, args.format, session);
    shell.set_output(args.output.clone()).map_err(|error| error.to_string())?;
    let runtime = runtime()?;
    let executed = runtime.block_on(async {
        let script = async {
            match session {
                Session::Interactive => interactive::run(&mut shell, is_rqlite()).await,
                Session::RqliteScript => run_lines(&mut shell).await,
                Session::Script if has_sql => run_arguments(&mut shell, args).await,
                Session::Script => run_input(&mut shell).await,
            }
        };
        // An interactive shell continues after Ctrl-C.
        tokio::select! {
            executed = script => Some(executed),
            () = stopped(), if session != Session::Interactive => None,
        }
    });
    // The script has been dropped, and with it each incomplete file.
    let Some(executed) = executed else { return Ok(INTERRUPTED) };
    // A thread may still read a file.
    runtime.shutdown_background();
    Ok(exit_status(executed, shell.exit_status()))
}

/// Waits for a signal that ends the program.
async fn stopped() {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let [interrupt, terminate] = [SignalKind::interrupt(), SignalKind::terminate()].map(signal);
        // Without a handler, the signal ends the program at once.
        let (Ok(mut interrupt), Ok(mut terminate)) = (interrupt, terminate) else {
            return std::future::pending().await;
        };
        tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} }
    }
    #[cfg(not(unix))]
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending().await
    }
}

/// Returns the exit status `status`, or 1 if the results could not be written.
fn exit_status(written: io::Result<()>, status: u8) -> u8 {
    match written {
        Ok(()) => status,
        // The reader of the output needs no more of it: `sqlhttp … | head -1`.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => status,
        Err(error) => {
            warn(&error.to_string());
            1
        }
    }
}

/// Returns the runtime of the client. The connections are served on a thread of their own, also while the shell waits
/// for a line.
fn runtime() -> Result<tokio::runtime::Runtime, String> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    runtime.map_err(|error| format!("cannot start a thread: {error}"))
}

/// Executes a task. Returns the exit status, or the message for a command line that cannot be used.
fn run_task(task: &Task, args: &Args, client: &Client<HyperTransport>) -> Result<u8, String> {
    let Task::Migrate(migrate) = task;
    let mut out: Box<dyn Write> = match &args.output {
        None => Box::new(io::stdout()),
        Some(file) => Box::new(File::create(file).map_err(|error| format!("{}: {error}", file.display()))?),
    };
    let mut status = 0;
    let written = runtime()?.block_on(migrate::run(migrate, client, &mut out)).map(|found| status = found);
    Ok(exit_status(written, status))
}

fn session(has_sql: bool) -> Session {
    match (has_sql, io::stdin().is_terminal()) {
        (false, true) => Session::Interactive,
        (false, false) if is_rqlite() => Session::RqliteScript,
        _ => Session::Script,
    }
}

/// Whether the program was called by the name of rqlite's shell.
fn is_rqlite() -> bool {
    std::env::args_os().next().is_some_and(|name| Path::new(&name).file_stem().is_some_and(|stem| stem == "rqlite"))
}

async fn run_arguments(shell: &mut Shell<HyperTransport>, args: &Args) -> io::Result<()> {
    let mut texts = args.execute.iter().chain(&args.sql);
    while let Some(text) = texts.next() {
        match shell.execute_text(text).await? {
            Flow::Continue => {}
            Flow::Closed if texts.next().is_some() => {
                shell.skip_rest();
                break;
            }
            _ => break,
        }
    }
    Ok(())
}

/// Executes standard input, each item when it is complete.
async fn run_input(shell: &mut Shell<HyperTransport>) -> io::Result<()> {
    let mut splitter = Splitter::default();
    for (number, line) in io::stdin().lock().lines().enumerate() {
        let line = line
            .map_err(|error| io::Error::new(error.kind(), format!("standard input, line {}: {error}", number + 1)))?;
        let items = splitter.push_line(&line);
        for (number, item) in items.iter().enumerate() {
            let flow = shell.execute(item).await?;
            if flow == Flow::Closed && number + 1 < items.len() {
                shell.skip_rest();
            }
            if flow != Flow::Continue {
                return Ok(());
            }
        }
    }
    if let Some(item) = splitter.finish() {
        shell.execute(&item).await?;
    }
    Ok(())
}

/// Executes standard input like rqlite's shell: a line is an item, and the banner and the prompts are printed.
async fn run_lines(shell: &mut Shell<HyperTransport>) -> io::Result<()> {
    let prompts = !io::stdout().is_terminal();
    if !interactive::welcome(shell).await? {
        return Ok(());
    }
    let mut lines = io::stdin().lock().lines();
    loop {
        if prompts {
            print!("{}", shell.prompt());
            io::stdout().flush()?;
        }
        let Some(line) = lines.next().transpose()? else { break };
        let Some(item) = Item::of_line(&line) else { continue };
        if item.is_quit() || shell.execute(&item).await? != Flow::Continue {
            break;
        }
    }
    writeln!(io::stdout(), "bye~")
}
