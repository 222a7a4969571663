//! What the server is told to do: `flags` is what was typed, `file` and `companion` what YAML files say, and the types
//! here are what it all means (`settings`, `resolve` and `source` lead from the one to the other).

pub(crate) mod companion;
pub(crate) mod database_path;
pub(crate) mod error;
pub(crate) mod file;
pub mod flags;
pub(crate) mod resolve;
pub(crate) mod settings;
pub(crate) mod yaml;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use sqlhttp_core::{JournalMode, Location};

use crate::api::auth::{AuthConfig, TokenConfig};
use crate::process::logging::LogFormat;
use crate::process::tls::TlsFiles;

/// Settings of the process and its listeners.
#[derive(Debug, Clone)]
pub struct ServerConfig {
    /// Address to listen on, as typed (`0.0.0.0`, `::1`, `[::1]`, `localhost`).
    pub bind_host: String,
    /// Port to listen on; 0 lets the system choose.
    pub port: u16,
    /// The hosts that requests may name, with or without a port; none is every host.
    pub allowed_hosts: Vec<String>,
    /// Directory whose files are served over GET and HEAD.
    pub serve_dir: Option<PathBuf>,
    /// The file served for a directory.
    pub index_file: String,
    /// Largest request body, in bytes, after decompression too.
    pub body_bytes_max: u64,
    /// Memory for all request bodies together, in bytes; one body of the greatest length always fits.
    pub all_bodies_bytes_max: u64,
    /// Largest request line and headers together, in bytes.
    pub header_bytes_max: usize,
    /// Connections open at once.
    pub connections_max: usize,
    /// Items in one request.
    pub items_max: usize,
    /// How long one request's SQL may run.
    pub query_timeout: Option<Duration>,
    /// How long a write of a client may wait and run, if that is limited. `query_timeout` holds for writes too.
    pub write_timeout: Option<Duration>,
    /// How often databases are checked for damage; zero is never.
    pub check_interval: Duration,
    /// How long shutting down waits for running requests.
    pub shutdown_timeout: Duration,
    /// How long a client may take to send its headers; zero is no limit.
    pub header_timeout: Duration,
    /// How long a new connection may be without a request; zero is no limit but `header_timeout`.
    pub first_request_timeout: Duration,
    /// How long a client may take to send its body; zero is no limit.
    pub body_timeout: Duration,
    /// Where `/metrics` and `/healthz` are served, as typed (`127.0.0.1:9100`).
    pub metrics_addr: Option<String>,
    /// Serve HTTPS with this certificate and key.
    pub tls: Option<TlsFiles>,
    /// How log lines look.
    pub log_format: LogFormat,
    /// The least level that is logged: `error`, `warn`, `info`, `debug`, `trace`.
    pub log_level: String,
    /// Log a line for each request, whatever the level.
    pub log_requests: bool,
    /// Log requests whose SQL takes longer than this.
    pub log_slow: Option<Duration>,
}

/// Settings of the engine that hold for all databases.
#[derive(Debug, Clone)]
pub struct EngineConfig {
    /// Clients may ATTACH, unless a database's own `allowAttach` says otherwise.
    pub allow_attach: bool,
    /// How long to wait for a lock that another process holds.
    pub busy_timeout: Duration,
    /// How many threads read at once, for each database; `None` leaves it to the engine.
    pub read_threads: Option<usize>,
    /// How many rows a result may have.
    pub rows_max: Option<u64>,
    /// How many bytes a text, a BLOB or a row may have.
    pub value_bytes_max: u64,
    /// Memory that SQLite may use for one request, bytes.
    pub memory_bytes_max: u64,
}

/// One database that is served, with everything its companion file says.
#[derive(Debug, Clone)]
pub struct DatabaseConfig {
    /// The id under which clients reach it.
    pub id: String,
    /// Where it lives.
    pub location: Location,
    /// No writes.
    pub read_only: bool,
    /// Journal mode.
    pub journal_mode: JournalMode,
    /// Clients may ATTACH.
    pub allow_attach: bool,
    /// Who may use it; `None` is everybody.
    pub auth: Option<AuthConfig>,
    /// The `corsOrigin` value, validated; `None` is off.
    pub cors_origin: Option<String>,
    /// Statements that clients call as `#id`.
    pub stored_statements: HashMap<String, Arc<str>>,
    /// Only those may be called.
    pub only_stored_statements: bool,
    /// Run when the database is created.
    pub init_statements: Vec<String>,
    /// What is done at start and by the clock.
    pub tasks: Vec<TaskConfig>,
    /// Named lists of statements (sqliterg).
    pub macros: Vec<MacroConfig>,
    /// Backups into a directory (sqliterg).
    pub backup: Option<DirectoryBackupConfig>,
}

/// One entry of `scheduledTasks`.
#[derive(Debug, Clone)]
pub struct TaskConfig {
    /// When, if by the clock. The text as written; `schedule::Schedule::parse` has accepted it.
    pub schedule: Option<String>,
    /// Also once, before the port opens.
    pub at_startup: bool,
    /// VACUUM first.
    pub vacuum: bool,
    /// Then back up.
    pub backup: Option<BackupConfig>,
    /// Then run these.
    pub statements: Vec<String>,
}

/// A backup with rotation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupConfig {
    /// Path of the file, with `%s` in the file name where the time goes; `~` is already expanded.
    pub template: String,
    /// How many to keep.
    pub files_max: usize,
}

/// A named list of statements (sqliterg's `macros`).
#[derive(Debug, Clone)]
pub struct MacroConfig {
    /// Its name.
    pub id: String,
    /// Its statements; `^id` and `#id` are already resolved.
    pub statements: Vec<String>,
    /// Run each statement on its own instead of all in one transaction.
    pub disable_transaction: bool,
    /// When it runs.
    pub execution: ExecutionConfig,
}

/// Backups into a directory (sqliterg's `backup`).
#[derive(Debug, Clone)]
pub struct DirectoryBackupConfig {
    /// The directory; the start creates it if it does not exist.
    pub dir: PathBuf,
    /// How many files to keep.
    pub files_max: usize,
    /// When it runs.
    pub execution: ExecutionConfig,
}

/// When a macro or a backup of sqliterg's kind runs.
#[derive(Debug, Clone, Default)]
pub struct ExecutionConfig {
    /// When the database is created.
    pub on_create: bool,
    /// At every start (implies at creation).
    pub on_startup: bool,
    /// Every so often, first after one period.
    pub period: Option<Duration>,
    /// Over HTTP.
    pub web_service: Option<TokenConfig>,
}
