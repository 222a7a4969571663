//! The loop of the interactive shell.

mod helper;

use std::io::{self, Write as _};
use std::path::Path;
use std::time::Duration;

use rustyline::config::{CompletionType, Config};
use rustyline::error::ReadlineError;
use rustyline::history::{DefaultHistory, History as _};
use sqlhttp_rqlite::Params;
use sqlhttp_rqlite::client::{ClientError, HttpRequest, Method, Transport};

use self::helper::Helper;
use crate::output::warn;
use crate::shell::{Flow, Shell, ShellError};
use crate::statement::{Item, Splitter};

/// The name of the file in the home directory that contains the lines of earlier sessions.
const HISTORY_FILE: &str = ".sqlhttp_history";
/// The maximum number of lines in that file.
const HISTORY_LINES_MAX: usize = 1000;
/// The environment variable that switches the history off with 0, as in rqlite's shell.
const HISTORY_SIZE_VARIABLE: &str = "RQLITE_HISTFILESIZE";
/// The header field with the version of the server.
const VERSION_FIELD: &str = "x-rqlite-version";
/// The maximum time for asking the server for the names of tables and columns.
const NAMES_TIMEOUT: Duration = Duration::from_secs(1);

type Editor = rustyline::Editor<Helper, DefaultHistory>;

/// Connects to the server, and executes what the user types until the end. If `lines` is set, a line is a statement, as
/// in rqlite's shell.
///
/// # Errors
/// The terminal cannot be read or written.
pub(crate) async fn run<T: Transport + Clone>(shell: &mut Shell<T>, lines: bool) -> io::Result<()> {
    if !welcome(shell).await? {
        return Ok(());
    }
    let mut editor = editor().map_err(io::Error::other)?;
    let size = std::env::var(HISTORY_SIZE_VARIABLE).ok().and_then(|size| size.parse::<i64>().ok());
    let kept = size.is_none_or(|size| size > 0);
    let history = std::env::home_dir().map(|home| home.join(HISTORY_FILE)).filter(|_| kept);
    if let Some(file) = &history {
        // The file does not exist before the first session ends.
        let _ = editor.load_history(file);
    }
    let ended = read_lines(shell, &mut editor, lines).await;
    if let Some(file) = history.filter(|_| !editor.history().is_empty())
        && let Err(error) = save_history(&mut editor, &file)
    {
        warn(&format!("the history cannot be saved: {}: {error}", file.display()));
    }
    writeln!(io::stdout(), "bye~")?;
    ended
}

fn editor() -> rustyline::Result<Editor> {
    let config = Config::builder().max_history_size(HISTORY_LINES_MAX)?.completion_type(CompletionType::List).build();
    let mut editor = Editor::with_config(config)?;
    editor.set_helper(Some(Helper::default()));
    Ok(editor)
}

/// Connects to the server, and prints the banner. Reports the error if no server can be reached, and returns whether
/// one was.
///
/// # Errors
/// The terminal cannot be written.
pub(crate) async fn welcome<T: Transport + Clone>(shell: &mut Shell<T>) -> io::Result<bool> {
    match version(shell).await {
        Ok(version) => {
            let mut out = io::stdout();
            writeln!(out, "Welcome to sqlhttp {}.", env!("CARGO_PKG_VERSION"))?;
            writeln!(out, "Enter \".help\" for usage hints.")?;
            writeln!(out, "Connected to {} running version {version}", shell.client().host())?;
            Ok(true)
        }
        Err(error) => {
            shell.report(&ShellError::Client(error))?;
            Ok(false)
        }
    }
}

async fn version<T: Transport + Clone>(shell: &Shell<T>) -> Result<String, ClientError> {
    let client = shell.client();
    let request = HttpRequest::new(Method::Get, client.target("status", &Params::default()));
    let (_, response) = client.send(request).await?;
    Ok(response.header(VERSION_FIELD).unwrap_or("unknown").to_owned())
}

async fn read_lines<T: Transport + Clone>(shell: &mut Shell<T>, editor: &mut Editor, lines: bool) -> io::Result<()> {
    let mut splitter = Splitter::default();
    loop {
        if splitter.is_empty() {
            update_names(shell, editor).await;
        }
        let prompt = shell.prompt();
        let continued = " ".repeat(prompt.len().saturating_sub("...> ".len())) + "...> ";
        let line = match editor.readline(if splitter.is_empty() { &prompt } else { &continued }) {
            Ok(line) => line,
            Err(ReadlineError::Interrupted) => {
                splitter.clear();
                continue;
            }
            Err(ReadlineError::Eof) => break,
            Err(error) => return Err(io::Error::other(error)),
        };
        if splitter.is_empty() && Item::of_line(&line).is_some_and(|item| item.is_quit()) {
            return Ok(());
        }
        if !line.trim().is_empty() {
            editor.add_history_entry(&line).map_err(io::Error::other)?;
        }
        // A text that is pasted may have several lines.
        let items: Vec<Item> = match lines {
            true => line.lines().filter_map(Item::of_line).collect(),
            false => line.lines().flat_map(|line| splitter.push_line(line)).collect(),
        };
        match execute_all(shell, &items).await? {
            Flow::Continue => {}
            Flow::Quit | Flow::Closed => return Ok(()),
            Flow::Interrupted => splitter.clear(),
        }
    }
    // A statement that is not complete is not executed.
    Ok(())
}

/// Executes items until one ends the shell or is interrupted.
async fn execute_all<T: Transport + Clone>(shell: &mut Shell<T>, items: &[Item]) -> io::Result<Flow> {
    for item in items {
        let flow = execute(shell, item).await?;
        if flow != Flow::Continue {
            return Ok(flow);
        }
    }
    Ok(Flow::Continue)
}

/// Asks the server for the names that are completed, if they may have changed. Without an answer, they stay as they
/// are.
async fn update_names<T: Transport + Clone>(shell: &mut Shell<T>, editor: &mut Editor) {
    let asked = tokio::time::timeout(NAMES_TIMEOUT, shell.schema_names()).await;
    if let (Ok(Ok(Some(names))), Some(helper)) = (asked, editor.helper_mut()) {
        helper.set_names(names);
    }
}

/// Executes an item. Ctrl-C ends the wait for the response and closes the connection, so that the server interrupts a
/// read.
async fn execute<T: Transport + Clone>(shell: &mut Shell<T>, item: &Item) -> io::Result<Flow> {
    let interrupted = tokio::select! {
        executed = shell.execute(item) => return executed,
        interrupted = tokio::signal::ctrl_c() => interrupted,
    };
    interrupted?;
    shell.interrupt()?;
    Ok(Flow::Interrupted)
}

/// Writes the history to a file that only the user can read, because statements may contain secrets.
fn save_history(editor: &mut Editor, file: &Path) -> io::Result<()> {
    // The history of another session, which may have ended in the meantime, remains.
    editor.append_history(file).map_err(io::Error::other)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o600))?;
    }
    Ok(())
}
