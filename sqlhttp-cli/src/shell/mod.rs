//! Executes statements and dot commands.
//!
//! | module | what it does |
//! |---|---|
//! | `query` | runs SQL and writes its results |
//! | `node` | asks a node for its state, and changes the cluster |
//! | `transfer` | transfers whole databases: `.backup`, `.restore` and the like |
//! | `import`, `export` | transfer the rows of a table |

mod export;
mod import;
mod node;
mod query;
mod transfer;

pub(crate) use transfer::download;

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use sqlhttp_core::{ReadLevel, Value};
use sqlhttp_rqlite::Params;
use sqlhttp_rqlite::client::{Client, ClientError, HttpRequest, HttpResponse, Method, ReplyError, Transport};

use crate::command::{Command, HELP, ParamCommand, Switch, level_name};
use crate::output::{Output, warn};
use crate::partial_file::at;
use crate::print::{Mode, visible};
use crate::sql;
use crate::statement::{Item, Splitter};

/// The maximum length of an error message that is printed, in bytes.
const ERROR_BYTES_MAX: usize = 64 << 10;

/// The maximum depth of files that execute files with `.read`.
const READ_DEPTH_MAX: usize = 8;

/// Whether the shell continues after an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flow {
    Continue,
    Quit,
    /// The user has interrupted the item. The rest of the line is not executed.
    Interrupted,
    /// The reader of standard output has ended.
    Closed,
}

/// How the shell is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Session {
    /// A user types at a terminal. Errors stand between the results.
    Interactive,
    /// A script. Errors are written to standard error, and determine the exit status.
    Script,
    /// A script for rqlite's shell. Errors stand between the results, and the exit status is 0.
    RqliteScript,
}

/// The error of a statement or command. The shell continues with the next one.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ShellError {
    /// The server has executed the statement, and it failed.
    #[error("{0}")]
    Statement(String),
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("unauthorized")]
    Unauthorized,
    #[error("server responded with {status}: {text}")]
    Status { status: u16, text: String },
    #[error("{0}")]
    Invalid(String),
    #[error("{}: {source}", file.display())]
    File { file: PathBuf, source: io::Error },
    /// An import ended early.
    #[error("{place}: {source}")]
    Import { place: String, source: Box<ShellError> },
    /// The results cannot be written.
    #[error("{0}")]
    Output(#[from] io::Error),
}

impl ShellError {
    /// Whether no server could be reached.
    fn is_unreachable(&self) -> bool {
        match self {
            ShellError::Client(ClientError::Unreachable(_)) => true,
            ShellError::Import { source, .. } => source.is_unreachable(),
            _ => false,
        }
    }
}

/// The settings that commands change.
#[derive(Debug, Clone)]
struct Settings {
    mode: Mode,
    level: ReadLevel,
    blob_array: bool,
    changes: bool,
    force_writes: bool,
    pager: bool,
    timer: bool,
    /// The values of named parameters.
    params: BTreeMap<String, Value>,
}

/// The shell, connected to a server.
pub(crate) struct Shell<T> {
    client: Client<T>,
    settings: Settings,
    out: Output,
    session: Session,
    read_depth: usize,
    failed: bool,
    unreachable: bool,
    /// The number of rows that a running import has inserted, for the message after an interruption.
    unfinished: Option<String>,
    /// Whether the tables or their columns may have changed since [`Shell::schema_names`].
    schema_changed: bool,
}

impl<T: Transport + Clone> Shell<T> {
    pub(crate) fn new(client: Client<T>, mode: Mode, session: Session) -> Shell<T> {
        let settings = Settings {
            mode,
            level: ReadLevel::default(),
            blob_array: false,
            changes: false,
            force_writes: false,
            pager: session == Session::Interactive,
            timer: false,
            params: BTreeMap::new(),
        };
        Shell {
            client,
            settings,
            out: Output::stdout(),
            session,
            read_depth: 0,
            failed: false,
            unreachable: false,
            unfinished: None,
            schema_changed: true,
        }
    }

    /// The client of the server.
    pub(crate) fn client(&self) -> &Client<T> {
        &self.client
    }

    /// The prompt: the address of the server, and the database if it was selected.
    pub(crate) fn prompt(&self) -> String {
        format!("{}{}> ", self.client.host().authority(), self.client.prefix().trim_end_matches('/'))
    }

    /// The exit status of the program: 0 if nothing has failed, 3 if no server could be reached, otherwise 1. The user
    /// of an interactive shell has seen the errors of statements: they do not count.
    pub(crate) fn exit_status(&self) -> u8 {
        match (self.session, self.unreachable, self.failed) {
            (Session::RqliteScript, ..) | (Session::Interactive, false, _) | (_, false, false) => 0,
            (_, true, _) => 3,
            (_, false, true) => 1,
        }
    }

    /// Sends the results to a file, or to standard output.
    ///
    /// # Errors
    /// The file cannot be created.
    pub(crate) fn set_output(&mut self, file: Option<PathBuf>) -> Result<(), ShellError> {
        self.out = match file {
            None => Output::stdout(),
            Some(path) => Output::file(path.clone()).map_err(at(&path))?,
        };
        Ok(())
    }

    /// Executes an item, and reports its error.
    ///
    /// # Errors
    /// Standard output cannot be written, for example because the disk is full.
    pub(crate) async fn execute(&mut self, item: &Item) -> io::Result<Flow> {
        let executed = match item {
            Item::Statement(sql) => self.run_sql(sql).await.map(|()| Flow::Continue),
            Item::Command(line) => self.run_command(line).await,
        };
        let paged = self.out.is_paged();
        let ended = self.out.end();
        match executed.and_then(|flow| ended.map(|()| flow).map_err(ShellError::Output)) {
            Ok(flow) => Ok(flow),
            // The user has left the pager.
            Err(ShellError::Output(error)) if paged && error.kind() == io::ErrorKind::BrokenPipe => Ok(Flow::Continue),
            Err(ShellError::Output(source)) => match self.out.path().map(Path::to_owned) {
                None if source.kind() == io::ErrorKind::BrokenPipe => Ok(Flow::Closed),
                None => Err(source),
                Some(file) => {
                    // The error also occurs when the buffer is dropped, which reports none.
                    self.out = Output::stdout();
                    self.report(&ShellError::File { file, source })
                }
            },
            Err(error) => {
                let flow = self.report(&error)?;
                if self.session == Session::Script && item.begins_transaction() {
                    // Otherwise, each of them would be committed on its own.
                    warn("the statements after it are not executed, because they are not in a transaction");
                    return Ok(Flow::Quit);
                }
                Ok(flow)
            }
        }
    }

    /// Executes the items of a text.
    ///
    /// # Errors
    /// See [`Shell::execute`].
    pub(crate) async fn execute_text(&mut self, text: &str) -> io::Result<Flow> {
        let mut splitter = Splitter::default();
        let mut items: Vec<Item> = text.lines().flat_map(|line| splitter.push_line(line)).collect();
        items.extend(splitter.finish());
        for (number, item) in items.iter().enumerate() {
            let flow = self.execute(item).await?;
            if flow == Flow::Closed && number + 1 < items.len() {
                self.skip_rest();
            }
            if flow != Flow::Continue {
                return Ok(flow);
            }
        }
        Ok(Flow::Continue)
    }

    /// Whether messages such as `1 row affected` stand between the results. Otherwise, another program reads the
    /// results.
    fn shows_messages(&self) -> bool {
        self.settings.mode.is_for_people() || self.session == Session::RqliteScript
    }

    /// Reports that items are not executed, because the reader of the results has ended.
    pub(crate) fn skip_rest(&mut self) {
        self.failed = true;
        warn("the reader of the results has ended; the statements after it are not executed");
    }

    /// Ends an item that the user has interrupted.
    ///
    /// # Errors
    /// The terminal cannot be written.
    pub(crate) fn interrupt(&mut self) -> io::Result<()> {
        // The future that would have reduced the depth was dropped.
        self.read_depth = 0;
        match self.out.end() {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => return Err(error),
            _ => {}
        }
        match self.unfinished.take() {
            Some(done) => writeln!(io::stdout(), "interrupted; {done}, and perhaps the rows of the last request"),
            None => writeln!(io::stdout(), "interrupted; a write may have been carried out"),
        }
    }

    /// Writes an error where the user expects it: between the results in an interactive shell, otherwise to standard
    /// error.
    pub(crate) fn report(&mut self, error: &ShellError) -> io::Result<Flow> {
        self.failed = true;
        self.unreachable |= error.is_unreachable();
        let message = match error {
            ShellError::Statement(message) => format!("Error: {message}"),
            error => format!("ERR! {error}"),
        };
        // The text may come from the server.
        let message = visible(beginning(&message));
        match self.session {
            Session::Script => writeln!(io::stderr(), "{message}")?,
            Session::Interactive | Session::RqliteScript => writeln!(io::stdout(), "{message}")?,
        }
        Ok(Flow::Continue)
    }

    async fn run_command(&mut self, line: &str) -> Result<Flow, ShellError> {
        match Command::parse(line).map_err(ShellError::Invalid)? {
            Command::Quit => return Ok(Flow::Quit),
            Command::Read(file) => return Box::pin(self.read(&file)).await,
            Command::Backup { file, check } => self.backup(&file, check).await?,
            Command::Boot(file) => self.boot(&file).await?,
            Command::Dump { file, tables } => self.dump(&file, tables).await?,
            Command::Restore(file) => self.restore(&file).await?,
            Command::Import(import) => self.import(&import).await?,
            Command::Export(export) => self.export(&export).await?,
            Command::Sysdump(file) => self.sysdump(&file).await?,
            Command::Output(file) => self.set_output(file)?,
            Command::Help => HELP.iter().try_for_each(|(usage, what)| writeln!(self.out, "{usage:<30}{what}"))?,
            Command::Show => self.show()?,
            Command::Mode(None) => writeln!(self.out, "{}", self.settings.mode.name())?,
            Command::Mode(Some(mode)) => self.settings.mode = mode,
            Command::Consistency(None) => writeln!(self.out, "{}", level_name(self.settings.level))?,
            Command::Consistency(Some(level)) => self.settings.level = level,
            Command::Param(command) => self.param(command)?,
            Command::Use(None) => writeln!(self.out, "{}", self.client.prefix())?,
            Command::Use(Some(id)) => self.select_database(&id).await?,
            Command::Set(switch, None) => {
                let on = *self.switch(switch);
                writeln!(self.out, "{}", on_off(on))?;
            }
            Command::Set(switch, Some(on)) => *self.switch(switch) = on,
            Command::Tables => self.query("SELECT name FROM sqlite_master WHERE type='table' ORDER BY name").await?,
            Command::Indexes => self.query("SELECT sql FROM sqlite_master WHERE type='index'").await?,
            Command::Schema => {
                self.query("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY rowid").await?;
            }
            Command::Explain(sql) => self.explain(&sql).await?,
            Command::Status(key) => self.show_document("status", &Params::default(), key.as_deref()).await?,
            Command::Expvar(key) => self.show_document("debug/vars", &Params::default(), key.as_deref()).await?,
            Command::Nodes { all } => {
                let params = Params::default().nonvoters(all);
                self.show_document("nodes", &params, None).await?;
            }
            Command::Leader => self.leader().await?,
            Command::Ready => self.ready().await?,
            Command::Extensions => self.extensions().await?,
            Command::Remove(id) => drop(self.ask(Method::Delete, "remove", &Params::default(), Some(&id)).await?),
            Command::Snapshot(trailing_logs) => {
                let params = Params::default().trailing_logs(trailing_logs);
                self.ask(Method::Post, "snapshot", &params, None).await?;
            }
            Command::Reap => self.reap().await?,
            Command::Verify { deep, repair } => self.verify(deep, repair).await?,
            Command::Stepdown(id) => {
                let params = Params::default().wait(true);
                self.ask(Method::Post, "leader", &params, id.as_deref()).await?;
            }
        }
        Ok(Flow::Continue)
    }

    fn switch(&mut self, switch: Switch) -> &mut bool {
        match switch {
            Switch::BlobArray => &mut self.settings.blob_array,
            Switch::Changes => &mut self.settings.changes,
            Switch::ForceWrites => &mut self.settings.force_writes,
            Switch::Pager => &mut self.settings.pager,
            Switch::Timer => &mut self.settings.timer,
        }
    }

    fn show(&mut self) -> io::Result<()> {
        let settings = &self.settings;
        let output = self.out.path().map_or("stdout".to_owned(), |file| file.display().to_string());
        let lines = [
            (Switch::BlobArray.name(), on_off(settings.blob_array)),
            (Switch::Changes.name(), on_off(settings.changes)),
            ("consistency", level_name(settings.level)),
            (Switch::ForceWrites.name(), on_off(settings.force_writes)),
            ("mode", settings.mode.name()),
            ("output", &output),
            (Switch::Pager.name(), on_off(settings.pager)),
            (Switch::Timer.name(), on_off(settings.timer)),
        ];
        lines.iter().try_for_each(|(name, value)| writeln!(self.out, "  {name}: {value}"))
    }

    fn param(&mut self, command: ParamCommand) -> io::Result<()> {
        let params = &mut self.settings.params;
        match command {
            ParamCommand::Clear => params.clear(),
            ParamCommand::Set(name, value) => drop(params.insert(name, value)),
            ParamCommand::Unset(name) => drop(params.remove(&name)),
            ParamCommand::List => {
                for (name, value) in params {
                    writeln!(self.out, ":{name} {}", literal(value))?;
                }
            }
        }
        Ok(())
    }

    /// Selects a database of a standalone server, if the server has it.
    async fn select_database(&mut self, id: &str) -> Result<(), ShellError> {
        let client = self.client.for_host(self.client.host().clone()).with_prefix(id);
        let request = HttpRequest::new(Method::Get, client.target("readyz", &Params::default()));
        match client.send_whole(request).await?.status {
            401 => return Err(ShellError::Unauthorized),
            404 => return Err(ShellError::Invalid(format!("the server has no database '{}'", id.trim_matches('/')))),
            _ => {}
        }
        self.client.set_prefix(id);
        self.schema_changed = true;
        Ok(())
    }

    /// Executes the statements and commands of a file.
    async fn read(&mut self, file: &Path) -> Result<Flow, ShellError> {
        if self.read_depth >= READ_DEPTH_MAX {
            return Err(ShellError::Invalid(format!("files are nested more than {READ_DEPTH_MAX} levels deep")));
        }
        // Reading a pipe can block. Ctrl-C does not wait for it.
        let path = file.to_owned();
        let read = tokio::task::spawn_blocking(move || std::fs::read_to_string(path)).await;
        let text = read.unwrap_or_else(|error| Err(io::Error::other(error))).map_err(at(file))?;
        self.read_depth += 1;
        let executed = self.execute_text(&text).await;
        self.read_depth -= 1;
        Ok(executed?)
    }

    /// Sends a request, and receives the whole response. `id` is the id of a node in the body.
    async fn send(
        &self,
        method: Method,
        resource: &str,
        params: &Params,
        id: Option<&str>,
    ) -> Result<HttpResponse<Vec<u8>>, ShellError> {
        let mut request = HttpRequest::new(method, self.client.target(resource, params));
        if let Some(id) = id {
            let body = serde_json::json!({ "id": id }).to_string().into_bytes();
            request = request.with_body("application/json", body);
        }
        let response = self.client.send_whole(request).await?;
        if response.status == 401 { Err(ShellError::Unauthorized) } else { Ok(response) }
    }

    /// Like [`Shell::send`]. A response with an error status is an error.
    async fn ask(
        &self,
        method: Method,
        resource: &str,
        params: &Params,
        id: Option<&str>,
    ) -> Result<Vec<u8>, ShellError> {
        let response = self.send(method, resource, params, id).await?;
        succeeded(response.status, &response.body)?;
        Ok(response.body)
    }
}

/// The error for a reply without the result of the statement.
const NO_RESULT: &str = "the reply contains no result";

fn on_off(on: bool) -> &'static str {
    if on { "on" } else { "off" }
}

/// Returns a value as an SQL literal (<https://sqlite.org/lang_expr.html#literal_values_constants_>).
fn literal(value: &Value) -> String {
    match value {
        Value::Null => "NULL".to_owned(),
        Value::Integer(value) => value.to_string(),
        Value::Real(value) => format!("{value:?}"),
        Value::Text(text) => format!("'{}'", text.replace('\'', "''")),
        Value::Blob(bytes) => sql::blob_literal(bytes),
    }
}

/// Returns the error of a response with an error status.
fn succeeded(status: u16, body: &[u8]) -> Result<(), ShellError> {
    match status {
        200..=299 => Ok(()),
        401 => Err(ShellError::Unauthorized),
        _ => Err(ShellError::Status { status, text: String::from_utf8_lossy(body).trim_end().to_owned() }),
    }
}

fn from_client(error: ClientError) -> ShellError {
    match error {
        ClientError::Reply(ReplyError::Refused { status: 401, .. }) => ShellError::Unauthorized,
        ClientError::Reply(ReplyError::Refused { status, text }) => ShellError::Status { status, text },
        error => ShellError::Client(error),
    }
}

/// Returns the beginning of a long error message, which tells a person enough.
fn beginning(message: &str) -> &str {
    let mut end = message.len().min(ERROR_BYTES_MAX);
    while !message.is_char_boundary(end) {
        end -= 1;
    }
    &message[..end]
}
