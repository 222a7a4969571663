//! The program `sqlhttp-standalone` as a function, from the command line to the exit status.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use chrono::Local;
use sqlhttp_core::{BoxFuture, Database, Error, JournalMode};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::app::{ServedDatabase, StandaloneApp};
use super::config::{DatabaseConfig, ServerConfig};
use super::monitor::run_monitor;
use super::schedule::{self, DirectoryBackupError, MacroError, ReportFailure, SystemClock};
use super::startup::{self, Console, Invocation, OpenDatabase, StartOutcome, StartedService};
use crate::api::admin::{AdminError, CheckedContent, Copies, Macros, check_content};
use crate::http;
use crate::http::basic_auth::BasicCredentials;
use crate::process::logging::RequestLines;
use crate::process::scratch::{Purpose, ScratchFile};
use crate::process::tls::Tls;
use crate::process::{database_watch, logging, shutdown};

/// Starts the server, serves requests until the process receives a stop signal, and shuts down. Returns the exit
/// status of the process.
pub async fn main(invocation: &Invocation, console: &mut Console<'_>) -> u8 {
    let service = match startup::start(invocation, console).await {
        StartOutcome::Serve(service) => service,
        StartOutcome::Exit(status) => return status,
    };
    match prepare(&service, console).await {
        Ok(ready) => serve(ready, *service).await,
        Err(message) => {
            console.fatal(&message);
            service.abandon().await;
            1
        }
    }
}

/// A server whose ports are open but that does not accept connections yet.
struct PreparedServer {
    app: Arc<StandaloneApp>,
    tls: Option<Tls>,
    listener: TcpListener,
    monitor: Option<TcpListener>,
    signal: BoxFuture<'static, ()>,
}

/// Serves requests on a listener until `shutdown` resolves. Running requests then have the configured time
/// (`-shutdown-timeout`) to end. The databases stay open.
///
/// # Errors
/// Returned if the address of the listener cannot be determined, or if the threads that serve connections cannot be
/// started. Errors of single connections are only logged.
pub async fn run(
    listener: TcpListener,
    app: Arc<StandaloneApp>,
    tls: Option<Tls>,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    http::run(listener, app, tls, shutdown).await
}

/// The time within which the databases must close after the requests have ended. Otherwise the process exits.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(10);

async fn prepare(service: &StartedService, console: &mut Console<'_>) -> Result<PreparedServer, String> {
    let server = &service.server;
    let lines = RequestLines { all: server.log_requests, slow: server.log_slow.is_some() };
    logging::init(server.log_format, &server.log_level, lines).map_err(|error| error.to_string())?;
    let tls = server.tls.as_ref().map(Tls::from_files).transpose().map_err(|error| error.to_string())?;
    let served = service.databases.iter().map(served_database).collect();
    let app = StandaloneApp::new(server, served).map_err(|error| error.to_string())?;
    for opened in &service.databases {
        // Only databases in WAL mode are checked. With a rollback journal, the check would hold a read lock that
        // blocks the writer.
        let interval =
            if opened.config.journal_mode == JournalMode::Wal { server.check_interval } else { Duration::ZERO };
        database_watch::start(&opened.database, &opened.config.id, interval);
    }
    let patience = server.shutdown_timeout.saturating_add(CLOSE_TIMEOUT);
    let signal = shutdown::signals().map_err(|error| format!("cannot listen to signals: {error}"))?;
    let monitor = match &server.metrics_addr {
        Some(address) => Some(bind_monitor(address).await?),
        None => None,
    };
    let listener = bind(server).await?;
    let port = listener.local_addr().map_or(server.port, |address| address.port());
    console.listening(&server.bind_host, port);
    Ok(PreparedServer {
        app,
        tls,
        listener,
        monitor,
        signal: Box::pin(async move {
            let _ = signal.await;
            shutdown::exit_after(patience);
        }),
    })
}

async fn bind(server: &ServerConfig) -> Result<TcpListener, String> {
    let host = startup::bind_host(server);
    let bound = TcpListener::bind((host, server.port)).await;
    bound.map_err(|error| startup::listen_failure(host, server.port, &error))
}

async fn bind_monitor(address: &str) -> Result<TcpListener, String> {
    let bound = TcpListener::bind(address).await;
    bound.map_err(|error| format!("failed to listen for metrics on {address}: {error}"))
}

fn served_database(opened: &OpenDatabase) -> ServedDatabase {
    let database = opened.database.clone();
    let admin = Arc::new(DatabaseAdmin(opened.clone()));
    ServedDatabase {
        config: DatabaseConfig::clone(&opened.config),
        backend: Arc::new(opened.database.clone()),
        macros: Some(admin.clone()),
        copies: Some(admin),
        status: Some(Arc::new(move || database.status())),
        last_backup: opened.last_backup.clone(),
    }
}

async fn serve(ready: PreparedServer, service: StartedService) -> u8 {
    let PreparedServer { app, tls, listener, monitor, signal } = ready;
    let stop = CancellationToken::new();
    let jobs = service
        .databases
        .iter()
        .flat_map(|opened| schedule::jobs_of(&opened.config, &opened.database, &opened.last_backup));
    let report: ReportFailure = Arc::new(|line| tracing::error!("{line}"));
    let scheduler = tokio::spawn(schedule::run(jobs.collect(), Arc::new(SystemClock), report, stop.clone()));
    let monitoring = monitor.map(|listener| {
        let stopped = stop.clone();
        tokio::spawn(run_monitor(listener, app.clone(), async move { stopped.cancelled().await }))
    });
    let mut status = 0;
    if let Err(error) = run(listener, app, tls, signal).await {
        tracing::error!("serving has ended: {error}");
        status = 1;
    }
    stop.cancel();
    // `stop` ends both tasks. If one of them has panicked, the panic hook has already reported it.
    let _ = scheduler.await;
    if let Some(monitoring) = monitoring {
        let _ = monitoring.await;
    }
    status.max(close(&service.databases).await)
}

async fn close(databases: &[OpenDatabase]) -> u8 {
    let mut status = 0;
    for opened in databases {
        if let Err(error) = opened.database.close().await {
            tracing::error!("closing database '{}': {error}", opened.config.id);
            status = 1;
        }
    }
    status
}

/// Runs the macros, backups and copies of a database that clients request over HTTP.
struct DatabaseAdmin(OpenDatabase);

impl Macros for DatabaseAdmin {
    fn run_macro<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Vec<u64>, AdminError>> {
        Box::pin(async move {
            let found = self.0.config.macros.iter().find(|one| one.id == name);
            let found = found.ok_or_else(|| AdminError::NotFound(format!("macro '{name}' not found")))?;
            schedule::run_macro(&self.0.database, found).await.map_err(|error| match error {
                MacroError::Statement(index, message) => {
                    AdminError::Failed { statement: usize::try_from(index).ok(), message }
                }
                MacroError::Database(error) => AdminError::Database(error),
            })
        })
    }

    fn run_backup(&self) -> BoxFuture<'_, Result<(), AdminError>> {
        Box::pin(async move {
            let OpenDatabase { config, database, last_backup } = &self.0;
            let Some(backup) = &config.backup else {
                return Err(AdminError::NotFound("no backup is configured".to_owned()));
            };
            let result = schedule::run_directory_backup(database, config, backup, last_backup, Local::now()).await;
            result.map(drop).map_err(|error| match error {
                DirectoryBackupError::Exists(_) => AdminError::AlreadyExists(error.to_string()),
                DirectoryBackupError::Failed(message) => AdminError::Failed { statement: None, message },
            })
        })
    }
}

impl Copies for DatabaseAdmin {
    fn copy_to<'a>(&'a self, to: &'a Path, vacuumed: bool) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(copy(&self.0.database, to, vacuumed))
    }

    fn load_file(&self, file: PathBuf, _: Option<BasicCredentials>) -> BoxFuture<'_, Result<u64, Error>> {
        Box::pin(async move {
            self.0.database.check_image(file.clone()).await?;
            self.0.database.replace(file).await?;
            Ok(0)
        })
    }

    fn check_content(&self, deep: bool) -> BoxFuture<'_, Result<CheckedContent, Error>> {
        Box::pin(check_content(&self.0.database, deep))
    }

    fn scratch_file(&self) -> ScratchFile {
        ScratchFile::beside(&self.0.config.location, Purpose::Load)
    }
}

/// Writes a copy of a database to the file `to`, which must not exist. If `vacuumed` is true, the copy is written with
/// `VACUUM INTO`.
pub(crate) async fn copy(database: &Database, to: &Path, vacuumed: bool) -> Result<(), Error> {
    if !vacuumed {
        return database.backup(to).await;
    }
    let action = "vacuum";
    let path = to.to_str().ok_or_else(|| Error::Unsupported("the file's path is not UTF-8".to_owned()))?;
    let sql = format!("VACUUM INTO '{}'", path.replace('\'', "''"));
    database.run_script(&sql).await?.map_err(|source| Error::Sqlite { action, source })
}
