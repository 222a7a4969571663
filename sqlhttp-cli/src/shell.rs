//! Executes statements and dot commands.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use sqlhttp_core::{Atomicity, Batch, ReadLevel, Step};
use sqlhttp_rqlite::client::{
    Client, ClientError, HttpRequest, HttpResponse, JsonText, Method, ReplyError, ResponseBody as _, StatementResult,
    Transport, TransportError, decode_reply,
};
use sqlhttp_rqlite::{BackupFormat, Endpoint, Params, is_database_file};

use crate::command::{Command, HELP, Switch, level_name};
use crate::print::Mode;
use crate::statement::{Item, Splitter};
use crate::tree;

/// The maximum depth of files that execute files with `.read`.
const READ_DEPTH_MAX: usize = 8;

/// Whether the shell continues after an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flow {
    Continue,
    Quit,
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
    /// The results cannot be written.
    #[error("{0}")]
    Output(#[from] io::Error),
}

/// The settings that commands change.
#[derive(Debug, Clone, Default)]
struct Settings {
    mode: Mode,
    level: ReadLevel,
    blob_array: bool,
    changes: bool,
    force_writes: bool,
    timer: bool,
}

/// The shell, connected to a server.
pub(crate) struct Shell<T> {
    client: Client<T>,
    settings: Settings,
    /// Where results are written: standard output, or the file of `.output`.
    out: Box<dyn Write>,
    /// The file of `.output`.
    file: Option<PathBuf>,
    /// Whether errors are written to standard output, between the results.
    interactive: bool,
    read_depth: usize,
    failed: bool,
    unreachable: bool,
}

impl<T: Transport> Shell<T> {
    pub(crate) fn new(client: Client<T>, mode: Mode, interactive: bool) -> Shell<T> {
        Shell {
            client,
            settings: Settings { mode, ..Settings::default() },
            out: Box::new(io::stdout()),
            file: None,
            interactive,
            read_depth: 0,
            failed: false,
            unreachable: false,
        }
    }

    /// The client of the server.
    pub(crate) fn client(&self) -> &Client<T> {
        &self.client
    }

    /// The exit status of the program: 0 if nothing has failed, 3 if no server could be reached, otherwise 1.
    pub(crate) fn exit_status(&self) -> u8 {
        match (self.unreachable, self.failed) {
            (true, _) => 3,
            (false, true) => 1,
            (false, false) => 0,
        }
    }

    /// Sends the results to a file, or to standard output.
    ///
    /// # Errors
    /// The file cannot be created.
    pub(crate) fn set_output(&mut self, file: Option<PathBuf>) -> Result<(), ShellError> {
        self.out = match &file {
            None => Box::new(io::stdout()),
            Some(path) => Box::new(io::BufWriter::new(File::create(path).map_err(at(path))?)),
        };
        self.file = file;
        Ok(())
    }

    /// Executes an item, and reports its error.
    ///
    /// # Errors
    /// Standard output cannot be written, for example because its reader has ended.
    pub(crate) async fn execute(&mut self, item: &Item) -> io::Result<Flow> {
        let executed = match item {
            Item::Statement(sql) => self.run_sql(sql).await.map(|()| Flow::Continue),
            Item::Command(line) => self.run_command(line).await,
        };
        match executed.and_then(|flow| self.out.flush().map(|()| flow).map_err(ShellError::Output)) {
            Ok(flow) => Ok(flow),
            Err(ShellError::Output(source)) => match self.file.take() {
                None => Err(source),
                Some(file) => {
                    // The error also occurs when the buffer is dropped, which reports none.
                    self.out = Box::new(io::stdout());
                    self.report(&ShellError::File { file, source })
                }
            },
            Err(error) => self.report(&error),
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
        for item in &items {
            if self.execute(item).await? == Flow::Quit {
                return Ok(Flow::Quit);
            }
        }
        Ok(Flow::Continue)
    }

    /// Writes an error where the user expects it: between the results in an interactive shell, otherwise to standard
    /// error.
    pub(crate) fn report(&mut self, error: &ShellError) -> io::Result<Flow> {
        self.failed = true;
        self.unreachable |= matches!(error, ShellError::Client(ClientError::Unreachable(_)));
        let message = match error {
            ShellError::Statement(message) => format!("Error: {message}"),
            error => format!("ERR! {error}"),
        };
        if self.interactive {
            writeln!(io::stdout(), "{message}")?;
        } else {
            writeln!(io::stderr(), "{message}")?;
        }
        Ok(Flow::Continue)
    }

    async fn run_sql(&mut self, sql: &str) -> Result<(), ShellError> {
        let endpoint = if self.settings.force_writes { Endpoint::Execute } else { Endpoint::Request };
        self.run_at(endpoint, sql).await
    }

    /// Executes a statement at an endpoint, and writes its results.
    async fn run_at(&mut self, endpoint: Endpoint, sql: &str) -> Result<(), ShellError> {
        let Settings { level, blob_array, timer, .. } = self.settings;
        let steps = vec![Step::query(sql, ())];
        let batch = Batch { steps, atomicity: Atomicity::Each, timed: timer, ..Batch::default() };
        let set = |params: &mut Params| (params.level, params.blob_array) = (level, blob_array);
        let response = self.client.run_as::<JsonText>(endpoint, &batch, set).await.map_err(from_client)?;
        for result in &response.results {
            self.write_result(result)?;
        }
        Ok(())
    }

    fn write_result(&mut self, result: &StatementResult<JsonText>) -> Result<(), ShellError> {
        let Settings { mode, changes, timer, .. } = self.settings;
        match result {
            StatementResult::Failed(message) => return Err(ShellError::Statement(message.clone())),
            StatementResult::Rows(rows) => {
                mode.write(&mut self.out, rows)?;
                if let Some(time) = rows.time.filter(|_| timer && mode.is_for_people()) {
                    writeln!(self.out, "Run Time: {time:.6} seconds")?;
                }
            }
            StatementResult::Changed(changed) if mode.is_for_people() => {
                let plural = if changed.rows_affected > 1 { "s" } else { "" };
                write!(self.out, "{} row{plural} affected", changed.rows_affected)?;
                if let Some(time) = changed.time.filter(|_| timer) {
                    write!(self.out, " ({time:.6} sec)")?;
                }
                writeln!(self.out)?;
                if changes {
                    writeln!(self.out, "last insert ID: {}", changed.last_insert_id.unwrap_or(0))?;
                }
            }
            StatementResult::Changed(_) => {}
        }
        Ok(())
    }

    async fn run_command(&mut self, line: &str) -> Result<Flow, ShellError> {
        match Command::parse(line).map_err(ShellError::Invalid)? {
            Command::Quit => return Ok(Flow::Quit),
            Command::Read(file) => return Box::pin(self.read(&file)).await,
            Command::Backup(file) => self.backup(&file, Params::default(), "backup file").await?,
            Command::Dump { file, tables } => {
                let params = Params { backup_format: BackupFormat::Sql, tables, ..Params::default() };
                self.backup(&file, params, "SQL text file").await?;
            }
            Command::Restore(file) => self.restore(&file).await?,
            Command::Output(file) => self.set_output(file)?,
            Command::Help => HELP.iter().try_for_each(|(usage, what)| writeln!(self.out, "{usage:<28}{what}"))?,
            Command::Show => self.show()?,
            Command::Mode(None) => writeln!(self.out, "{}", self.settings.mode.name())?,
            Command::Mode(Some(mode)) => self.settings.mode = mode,
            Command::Consistency(None) => writeln!(self.out, "{}", level_name(self.settings.level))?,
            Command::Consistency(Some(level)) => self.settings.level = level,
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
            Command::Status(key) => self.show_document("status", &Params::default(), key.as_deref()).await?,
            Command::Expvar(key) => self.show_document("debug/vars", &Params::default(), key.as_deref()).await?,
            Command::Nodes { all } => {
                let params = Params { nonvoters: all, ..Params::default() };
                self.show_document("nodes", &params, None).await?;
            }
            Command::Leader => self.leader().await?,
            Command::Ready => {
                let ready = self.send(Method::Get, "readyz", &Params::default(), None).await?.status == 200;
                writeln!(self.out, "{}", if ready { "ready" } else { "not ready" })?;
            }
            Command::Extensions => self.extensions().await?,
            Command::Remove(id) => drop(self.ask(Method::Delete, "remove", &Params::default(), Some(&id)).await?),
            Command::Snapshot(trailing_logs) => {
                let params = Params { trailing_logs, ..Params::default() };
                self.ask(Method::Post, "snapshot", &params, None).await?;
            }
            Command::Reap => self.reap().await?,
            Command::Stepdown(id) => {
                let params = Params { wait: true, ..Params::default() };
                self.ask(Method::Post, "leader", &params, id.as_deref()).await?;
            }
        }
        Ok(Flow::Continue)
    }

    async fn query(&mut self, sql: &str) -> Result<(), ShellError> {
        self.run_at(Endpoint::Query, sql).await
    }

    fn switch(&mut self, switch: Switch) -> &mut bool {
        match switch {
            Switch::BlobArray => &mut self.settings.blob_array,
            Switch::Changes => &mut self.settings.changes,
            Switch::ForceWrites => &mut self.settings.force_writes,
            Switch::Timer => &mut self.settings.timer,
        }
    }

    fn show(&mut self) -> io::Result<()> {
        let Settings { mode, level, blob_array, changes, force_writes, timer } = self.settings;
        let output = self.file.as_deref().map_or("stdout".to_owned(), |file| file.display().to_string());
        for (name, value) in [
            (Switch::BlobArray.name(), on_off(blob_array)),
            (Switch::Changes.name(), on_off(changes)),
            ("consistency", level_name(level)),
            (Switch::ForceWrites.name(), on_off(force_writes)),
            ("mode", mode.name()),
            ("output", &output),
            (Switch::Timer.name(), on_off(timer)),
        ] {
            writeln!(self.out, "{name:>11}: {value}")?;
        }
        Ok(())
    }

    /// Executes the statements and commands of a file.
    async fn read(&mut self, file: &Path) -> Result<Flow, ShellError> {
        if self.read_depth >= READ_DEPTH_MAX {
            return Err(ShellError::Invalid(format!("files are nested more than {READ_DEPTH_MAX} levels deep")));
        }
        let text = std::fs::read_to_string(file).map_err(at(file))?;
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
            request.headers.push(("content-type", "application/json".to_owned()));
            request.body = serde_json::json!({ "id": id }).to_string().into_bytes();
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

    /// Requests a JSON object.
    async fn document(&self, resource: &str, params: &Params) -> Result<tree::Object, ShellError> {
        let body = self.ask(Method::Get, resource, params, None).await?;
        let parsed = serde_json::from_slice(&body);
        parsed.map_err(|error| ShellError::Invalid(format!("the response of the server is malformed: {error}")))
    }

    async fn show_document(&mut self, resource: &str, params: &Params, key: Option<&str>) -> Result<(), ShellError> {
        let mut document = self.document(resource, params).await?;
        if let Some(key) = key {
            document.retain(|name, _| name == key);
        }
        Ok(tree::write(&mut self.out, &document)?)
    }

    async fn leader(&mut self) -> Result<(), ShellError> {
        let mut nodes = self.document("nodes", &Params::default()).await?;
        nodes.retain(|_, node| node["leader"] == true);
        if nodes.is_empty() {
            return Err(ShellError::Invalid("no leader found".to_owned()));
        }
        Ok(tree::write(&mut self.out, &nodes)?)
    }

    async fn extensions(&mut self) -> Result<(), ShellError> {
        let status = self.document("status", &Params::default()).await?;
        let names = status.get("extensions").and_then(|extensions| extensions["names"].as_array());
        for name in names.into_iter().flatten().filter_map(|name| name.as_str()) {
            writeln!(self.out, "{name}")?;
        }
        Ok(())
    }

    async fn reap(&mut self) -> Result<(), ShellError> {
        let body = self.ask(Method::Post, "reap", &Params::default(), None).await?;
        let reaped: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
        let count = |name: &str| reaped[name].as_u64().unwrap_or(0);
        let (snapshots, wals) = (count("snapshots_reaped"), count("wals_checkpointed"));
        Ok(writeln!(self.out, "snapshots reaped: {snapshots}, WALs checkpointed: {wals}")?)
    }

    /// Writes a backup to a file. The file appears when the backup is complete.
    async fn backup(&mut self, file: &Path, params: Params, what: &str) -> Result<(), ShellError> {
        let request = HttpRequest::new(Method::Get, self.client.target("db/backup", &params));
        let (host, mut response) = self.client.send(request).await?;
        if response.status != 200 {
            let text = response.body.chunk().await.ok().flatten().unwrap_or_default();
            succeeded(response.status, &text)?;
        }
        let mut partial = file.as_os_str().to_owned();
        partial.push(".partial");
        let partial = PathBuf::from(partial);
        let received = async {
            let mut out = File::create(&partial).map_err(at(&partial))?;
            loop {
                match response.body.chunk().await {
                    Ok(Some(chunk)) => out.write_all(&chunk).map_err(at(&partial))?,
                    Ok(None) => break,
                    Err(TransportError::NotSent(reason) | TransportError::Lost(reason)) => {
                        return Err(ShellError::Client(ClientError::Lost { host, reason }));
                    }
                }
            }
            out.sync_all().map_err(at(&partial))?;
            std::fs::rename(&partial, file).map_err(at(file))
        };
        let received = received.await;
        if received.is_err() {
            // The file may not exist.
            let _ = std::fs::remove_file(&partial);
        }
        received?;
        Ok(writeln!(self.out, "{what} written successfully")?)
    }

    /// Replaces the content of the database with that of a database file, or executes the statements of an SQL file.
    async fn restore(&mut self, file: &Path) -> Result<(), ShellError> {
        let content = std::fs::read(file).map_err(at(file))?;
        let is_database = is_database_file(&content);
        let media_type = if is_database { "application/octet-stream" } else { "text/plain" };
        let mut request = HttpRequest::new(Method::Post, self.client.target("db/load", &Params::default()));
        request.headers.push(("content-type", media_type.to_owned()));
        request.body = content;
        let response = self.client.send_whole(request).await?;
        succeeded(response.status, &response.body)?;
        if !is_database {
            let reply = decode_reply(response.status, &response.body).map_err(ClientError::from)?;
            if let Some(StatementResult::Failed(message)) =
                reply.results.iter().find(|result| matches!(result, StatementResult::Failed(_)))
            {
                return Err(ShellError::Statement(message.clone()));
            }
            if let Some(StatementResult::Changed(last)) = reply.results.last() {
                writeln!(self.out, "last inserted ID: {}", last.last_insert_id.unwrap_or(0))?;
                writeln!(self.out, "rows affected: {}", last.rows_affected)?;
            }
        }
        Ok(writeln!(self.out, "Database restored successfully.")?)
    }
}

fn on_off(on: bool) -> &'static str {
    if on { "on" } else { "off" }
}

/// Returns a function that adds the name of a file to an error.
fn at(file: &Path) -> impl Fn(io::Error) -> ShellError {
    let file = file.to_owned();
    move |source| ShellError::File { file: file.clone(), source }
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
