//! The configuration of the standalone server. The types in this module are the validated settings. The other modules
//! read and check the sources of the settings:
//!
//! * `flags`: the command line and the environment variables.
//! * `file`: the YAML file that the flag `-config` names.
//! * `companion`: the companion file of a database, a YAML file.
//! * `yaml`: reads typed values from YAML documents.
//! * `database_path`: splits `PATH[:YAML]` and derives a database's id.
//! * `settings`: converts flags to the settings of the server and the engine.
//! * `resolve`: converts the content of a companion file to the settings of a database.
//! * `error`: errors in YAML files, with their position.

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
    /// The address to listen on, as given by the user (`0.0.0.0`, `::1`, `[::1]`, `localhost`).
    pub bind_host: String,
    /// The port to listen on; if 0, the operating system chooses a port.
    pub port: u16,
    /// The hosts that the `Host` header of a request may name, with or without a port. An empty list allows every
    /// host.
    pub allowed_hosts: Vec<String>,
    /// The directory whose files are served to GET and HEAD requests; if `None`, no files are served.
    pub serve_dir: Option<PathBuf>,
    /// The name of the file that is served for a request to its directory.
    pub index_file: String,
    /// The maximum size of a request body, in bytes, before and after decompression.
    pub body_bytes_max: u64,
    /// The maximum memory for the bodies of all requests together, in bytes. One body of the maximum size always fits.
    pub all_bodies_bytes_max: u64,
    /// The maximum total length of the request line and the headers, in bytes.
    pub header_bytes_max: usize,
    /// The maximum number of open connections.
    pub connections_max: usize,
    /// The maximum number of statements in one request.
    pub items_max: usize,
    /// The maximum time for which the SQL of one request may run; `None` is no limit.
    pub query_timeout: Option<Duration>,
    /// The maximum time for which a client's write may wait and run; `None` is no limit. `query_timeout` applies to
    /// writes too.
    pub write_timeout: Option<Duration>,
    /// The time between two checks of a database for damage; if zero, databases are never checked.
    pub check_interval: Duration,
    /// The time within which running requests must end at shutdown.
    pub shutdown_timeout: Duration,
    /// The time within which a client must send the headers of a request, and for which a connection may be idle; zero
    /// is no limit.
    pub header_timeout: Duration,
    /// The time within which a client must send the first request on a new connection; if zero, `header_timeout`
    /// applies.
    pub first_request_timeout: Duration,
    /// The time within which a client must send the body of a request; zero is no limit.
    pub body_timeout: Duration,
    /// The address where `/metrics` and `/healthz` are served, as given by the user (`127.0.0.1:9100`); if `None`,
    /// they are not served.
    pub metrics_addr: Option<String>,
    /// The certificate and the private key for HTTPS; if `None`, the server serves plain HTTP.
    pub tls: Option<TlsFiles>,
    /// The format of log lines.
    pub log_format: LogFormat,
    /// The least severe level of log messages that is written: `error`, `warn`, `info`, `debug` or `trace`.
    pub log_level: String,
    /// Whether a line is logged for each request, whatever the log level is.
    pub log_requests: bool,
    /// The duration from which a request's SQL is logged as slow; if `None`, no SQL is logged.
    pub log_slow: Option<Duration>,
}

/// The settings of the engine that apply to all databases.
#[derive(Debug, Clone)]
pub struct EngineConfig {
    /// Whether clients may ATTACH other database files. The key `allowAttach` of a database overrides this.
    pub allow_attach: bool,
    /// The time for which SQLite waits for a lock that another process holds.
    pub busy_timeout: Duration,
    /// The number of reader threads of each database; if `None`, the engine's default.
    pub read_threads: Option<usize>,
    /// The maximum number of rows in a result; `None` is no limit.
    pub rows_max: Option<u64>,
    /// The maximum size of a TEXT value, a BLOB value or a row, in bytes.
    pub value_bytes_max: u64,
    /// The maximum memory that SQLite may use for one request, in bytes.
    pub memory_bytes_max: u64,
}

/// The settings of one database, from its companion file or its entry in the `-config` file.
#[derive(Debug, Clone)]
pub struct DatabaseConfig {
    /// The id of the database. The paths of its URLs begin with `/<id>`.
    pub id: String,
    /// Where the database is stored: in the file with this path, or in memory.
    pub location: Location,
    /// Whether writes to the database are refused.
    pub read_only: bool,
    /// The journal mode of the database.
    pub journal_mode: JournalMode,
    /// Whether clients may ATTACH other database files.
    pub allow_attach: bool,
    /// The users and how they authenticate; if `None`, no authentication is required.
    pub auth: Option<AuthConfig>,
    /// The validated value of `corsOrigin`; if `None`, CORS is disabled.
    pub cors_origin: Option<String>,
    /// The stored statements by id. A client runs one with `#id` in place of the SQL text.
    pub stored_statements: HashMap<String, Arc<str>>,
    /// Whether clients may run only stored statements.
    pub only_stored_statements: bool,
    /// The statements that are run once, when the database is created.
    pub init_statements: Vec<String>,
    /// The tasks that are run at start or by a schedule (`scheduledTasks`).
    pub tasks: Vec<TaskConfig>,
    /// The macros: named lists of statements (sqliterg's `macros`).
    pub macros: Vec<MacroConfig>,
    /// The backups into a directory (sqliterg's `backup`); `None` if they are not configured.
    pub backup: Option<DirectoryBackupConfig>,
}

/// An entry of the list `scheduledTasks`.
#[derive(Debug, Clone)]
pub struct TaskConfig {
    /// The schedule as written in the file, already validated with `schedule::Schedule::parse`; if `None`, the task
    /// runs only at start.
    pub schedule: Option<String>,
    /// Whether the task also runs once at start, before the port is opened.
    pub at_startup: bool,
    /// Whether the task begins with VACUUM.
    pub vacuum: bool,
    /// The backup that the task makes after VACUUM; `None` if it makes none.
    pub backup: Option<BackupConfig>,
    /// The SQL statements that the task runs after the backup.
    pub statements: Vec<String>,
}

/// The settings of a task's backup, which also removes the oldest backups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupConfig {
    /// The path of the backup file, with `~` already expanded. `%s` in the file name is replaced with the time of the
    /// backup.
    pub template: String,
    /// The number of backups to keep. Older backups are removed.
    pub files_max: usize,
}

/// A macro: a named list of statements (sqliterg's `macros`).
#[derive(Debug, Clone)]
pub struct MacroConfig {
    /// The name of the macro.
    pub id: String,
    /// The statements of the macro. References to stored statements (`^id`, `#id`) are already replaced with their
    /// SQL.
    pub statements: Vec<String>,
    /// Whether each statement runs on its own. Otherwise all statements run in one transaction.
    pub disable_transaction: bool,
    /// When the macro runs, and who may run it over HTTP.
    pub execution: ExecutionConfig,
}

/// Backups of a database into a directory (sqliterg's `backup`).
#[derive(Debug, Clone)]
pub struct DirectoryBackupConfig {
    /// The directory of the backups. If it does not exist, it is created at start.
    pub dir: PathBuf,
    /// The number of backups to keep. Older backups are removed.
    pub files_max: usize,
    /// When a backup is made, and who may request one over HTTP.
    pub execution: ExecutionConfig,
}

/// When a macro or a directory backup runs (sqliterg's `execution`), and who may run it over HTTP.
#[derive(Debug, Clone, Default)]
pub struct ExecutionConfig {
    /// Whether the macro or backup runs when the database is created.
    pub on_create: bool,
    /// Whether the macro or backup runs at every start of the server, including the one that creates the database.
    pub on_startup: bool,
    /// The time between two runs; if `None`, the macro or backup does not run periodically. The first run is one
    /// period after the start.
    pub period: Option<Duration>,
    /// The access over HTTP, with or without a token; if `None`, clients cannot run the macro or backup.
    pub web_service: Option<TokenConfig>,
}
