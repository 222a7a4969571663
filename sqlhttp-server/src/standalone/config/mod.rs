//! The configuration. The types of this module are the validated settings; the other modules read and check their
//! sources:
//!
//! * `flags`: the command line and the environment.
//! * `file`: the YAML file given by `-config`.
//! * `companion`: the YAML file that accompanies a database.
//! * `yaml`: reads typed values from YAML documents.
//! * `database_path`: splits `PATH[:YAML]` and derives a database's id.
//! * `settings`: turns flags into the settings of the server and the engine.
//! * `resolve`: turns a companion file into the settings of a database.
//! * `error`: errors in YAML files, with their place.

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

/// The settings of the process and its listeners.
#[derive(Debug, Clone)]
pub struct ServerConfig {
    /// The address to listen on, as typed (`0.0.0.0`, `::1`, `[::1]`, `localhost`).
    pub bind_host: String,
    /// The port to listen on; 0 lets the system choose.
    pub port: u16,
    /// The hosts that the `Host` header may name, with or without a port. An empty list allows every host.
    pub allowed_hosts: Vec<String>,
    /// The directory whose files are served by GET and HEAD.
    pub serve_dir: Option<PathBuf>,
    /// The name of the file that is served for a directory.
    pub index_file: String,
    /// The greatest length of a request body, in bytes, before and after decompression.
    pub body_bytes_max: u64,
    /// The memory for all request bodies together, in bytes. One body of the greatest length always fits.
    pub all_bodies_bytes_max: u64,
    /// The greatest length of the request line and the headers together, in bytes.
    pub header_bytes_max: usize,
    /// The greatest number of open connections.
    pub connections_max: usize,
    /// The greatest number of statements in one request.
    pub items_max: usize,
    /// The time that the SQL of one request may run; `None` is no limit.
    pub query_timeout: Option<Duration>,
    /// The time that a client's write may wait and run; `None` is no limit. `query_timeout` applies to writes too.
    pub write_timeout: Option<Duration>,
    /// The interval at which databases are checked for damage; zero is never.
    pub check_interval: Duration,
    /// The time that running requests have to end at shutdown.
    pub shutdown_timeout: Duration,
    /// The time that a client has to send its headers, and that a connection may be idle; zero is no limit.
    pub header_timeout: Duration,
    /// The time that a new connection has to send its first request; zero means that `header_timeout` applies.
    pub first_request_timeout: Duration,
    /// The time that a client has to send the body of a request; zero is no limit.
    pub body_timeout: Duration,
    /// The address of `/metrics` and `/healthz`, as typed (`127.0.0.1:9100`).
    pub metrics_addr: Option<String>,
    /// The certificate and the key of HTTPS; `None` serves HTTP.
    pub tls: Option<TlsFiles>,
    /// The format of log lines.
    pub log_format: LogFormat,
    /// The least severe level that is logged: `error`, `warn`, `info`, `debug`, `trace`.
    pub log_level: String,
    /// Whether a line is logged for each request, whatever the level.
    pub log_requests: bool,
    /// The time above which a request's SQL is logged; `None` logs none.
    pub log_slow: Option<Duration>,
}

/// The settings of the engine that apply to all databases.
#[derive(Debug, Clone)]
pub struct EngineConfig {
    /// Whether clients may ATTACH database files. A database's own `allowAttach` overrides this.
    pub allow_attach: bool,
    /// The time to wait for a lock that another process holds.
    pub busy_timeout: Duration,
    /// The number of reader threads of each database; `None` is the engine's default.
    pub read_threads: Option<usize>,
    /// The greatest number of rows in a result; `None` is no limit.
    pub rows_max: Option<u64>,
    /// The greatest length of a text, a BLOB or a row, in bytes.
    pub value_bytes_max: u64,
    /// The memory that SQLite may use for one request, in bytes.
    pub memory_bytes_max: u64,
}

/// The settings of one database, from its companion file or its entry in the `-config` file.
#[derive(Debug, Clone)]
pub struct DatabaseConfig {
    /// The id, which is the first part of the path of the database's URL.
    pub id: String,
    /// The file of the database, or memory.
    pub location: Location,
    /// Whether writes are refused.
    pub read_only: bool,
    /// The journal mode.
    pub journal_mode: JournalMode,
    /// Whether clients may ATTACH database files.
    pub allow_attach: bool,
    /// The users and how they authenticate; `None` requires no authentication.
    pub auth: Option<AuthConfig>,
    /// The value of `corsOrigin`, validated; `None` disables CORS.
    pub cors_origin: Option<String>,
    /// The stored statements by id. Clients call them as `#id`.
    pub stored_statements: HashMap<String, Arc<str>>,
    /// Whether clients may run only stored statements.
    pub only_stored_statements: bool,
    /// The statements that run when the database is created.
    pub init_statements: Vec<String>,
    /// The tasks that run at start or by a schedule (`scheduledTasks`).
    pub tasks: Vec<TaskConfig>,
    /// Named lists of statements (sqliterg's `macros`).
    pub macros: Vec<MacroConfig>,
    /// Backups into a directory (sqliterg's `backup`).
    pub backup: Option<DirectoryBackupConfig>,
}

/// One entry of `scheduledTasks`.
#[derive(Debug, Clone)]
pub struct TaskConfig {
    /// The schedule as written; `schedule::Schedule::parse` has accepted it. `None` without one.
    pub schedule: Option<String>,
    /// Whether the task also runs once at start, before the port opens.
    pub at_startup: bool,
    /// Whether the task begins with VACUUM.
    pub vacuum: bool,
    /// The backup that follows.
    pub backup: Option<BackupConfig>,
    /// The statements that follow the backup.
    pub statements: Vec<String>,
}

/// A backup with rotation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupConfig {
    /// The path of the file. `%s` in the file name is replaced by the time; `~` is already expanded.
    pub template: String,
    /// The number of backups to keep.
    pub files_max: usize,
}

/// A named list of statements (sqliterg's `macros`).
#[derive(Debug, Clone)]
pub struct MacroConfig {
    /// The name.
    pub id: String,
    /// The statements. References to stored statements (`^id`, `#id`) are already replaced.
    pub statements: Vec<String>,
    /// Whether each statement runs by itself instead of all in one transaction.
    pub disable_transaction: bool,
    /// The occasions on which it runs.
    pub execution: ExecutionConfig,
}

/// Backups into a directory (sqliterg's `backup`).
#[derive(Debug, Clone)]
pub struct DirectoryBackupConfig {
    /// The directory. The start creates it if it does not exist.
    pub dir: PathBuf,
    /// The number of backups to keep.
    pub files_max: usize,
    /// The occasions on which it runs.
    pub execution: ExecutionConfig,
}

/// The occasions on which a macro or a directory backup runs (sqliterg's `execution`).
#[derive(Debug, Clone, Default)]
pub struct ExecutionConfig {
    /// Whether it runs when the database is created.
    pub on_create: bool,
    /// Whether it runs at every start, the creation included.
    pub on_startup: bool,
    /// The period at which it runs, for the first time after one period.
    pub period: Option<Duration>,
    /// The access of clients over HTTP, with or without a token; `None` if they may not start it.
    pub web_service: Option<TokenConfig>,
}
