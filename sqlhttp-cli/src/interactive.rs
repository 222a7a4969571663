//! The loop of the interactive shell.

use std::io::{self, Write as _};
use std::path::PathBuf;

use rustyline::config::Configurer as _;
use rustyline::error::ReadlineError;
use rustyline::{DefaultEditor, history::History as _};
use sqlhttp_rqlite::client::{HttpRequest, Method, Transport};
use sqlhttp_rqlite::{Params, client::ClientError};

use crate::shell::{Flow, Shell, ShellError};
use crate::statement::{Item, Splitter};

/// The name of the file in the home directory that contains the lines of earlier sessions.
const HISTORY_FILE: &str = ".sqlhttp_history";
/// The maximum number of lines in that file.
const HISTORY_LINES_MAX: usize = 1000;
/// The header field with the version of the server.
const VERSION_FIELD: &str = "x-rqlite-version";

/// Connects to the server, and executes what the user types until the end.
///
/// # Errors
/// The terminal cannot be read or written.
pub(crate) async fn run<T: Transport>(shell: &mut Shell<T>) -> io::Result<()> {
    match version(shell).await {
        Ok(version) => {
            println!("Welcome to sqlhttp {}.", env!("CARGO_PKG_VERSION"));
            println!("Enter \".help\" for usage hints.");
            println!("Connected to {} running version {version}", shell.client().host());
        }
        Err(error) => {
            shell.report(&ShellError::Client(error))?;
            return Ok(());
        }
    }
    let mut editor = DefaultEditor::new().map_err(io::Error::other)?;
    editor.set_max_history_size(HISTORY_LINES_MAX).map_err(io::Error::other)?;
    let history = std::env::home_dir().map(|home| home.join(HISTORY_FILE));
    if let Some(file) = &history {
        // The file does not exist before the first session ends.
        let _ = editor.load_history(file);
    }
    let ended = read_lines(shell, &mut editor).await;
    if let Some(file) = history.filter(|_| !editor.history().is_empty()) {
        save_history(&mut editor, file)?;
    }
    println!("bye~");
    ended
}

async fn version<T: Transport>(shell: &Shell<T>) -> Result<String, ClientError> {
    let client = shell.client();
    let request = HttpRequest::new(Method::Get, client.target("status", &Params::default()));
    let (_, response) = client.send(request).await?;
    Ok(response.header(VERSION_FIELD).unwrap_or("unknown").to_owned())
}

async fn read_lines<T: Transport>(shell: &mut Shell<T>, editor: &mut DefaultEditor) -> io::Result<()> {
    let mut splitter = Splitter::default();
    loop {
        let prompt = format!("{}> ", shell.client().host().authority());
        let continued = format!("{:>width$}", "...> ", width = prompt.len());
        let line = match editor.readline(if splitter.is_empty() { &prompt } else { &continued }) {
            Ok(line) => line,
            Err(ReadlineError::Interrupted) => {
                splitter.clear();
                continue;
            }
            Err(ReadlineError::Eof) => break,
            Err(error) => return Err(io::Error::other(error)),
        };
        if splitter.is_empty() && ["quit", "exit"].contains(&line.trim().to_lowercase().as_str()) {
            return Ok(());
        }
        if !line.trim().is_empty() {
            editor.add_history_entry(&line).map_err(io::Error::other)?;
        }
        for item in splitter.push_line(&line) {
            if execute(shell, &item).await? == Flow::Quit {
                return Ok(());
            }
        }
    }
    if let Some(item) = splitter.finish() {
        execute(shell, &item).await?;
    }
    Ok(())
}

/// Executes an item. Ctrl-C ends the wait for the response and closes the connection, so that the server interrupts a
/// read.
async fn execute<T: Transport>(shell: &mut Shell<T>, item: &Item) -> io::Result<Flow> {
    tokio::select! {
        executed = shell.execute(item) => executed,
        _ = tokio::signal::ctrl_c() => {
            writeln!(io::stdout(), "interrupted; a write may have been carried out")?;
            Ok(Flow::Continue)
        }
    }
}

/// Writes the history to a file that only the user can read, because statements may contain secrets.
fn save_history(editor: &mut DefaultEditor, file: PathBuf) -> io::Result<()> {
    editor.save_history(&file).map_err(io::Error::other)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600))?;
    }
    Ok(())
}
