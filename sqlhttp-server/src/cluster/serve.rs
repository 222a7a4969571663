//! The program `sqlhttp-cluster`, from the command line to the exit status.

use std::ffi::OsString;
use std::future::Future;
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use sqlhttp_core::{Options, sqlite_version};
use sqlhttp_raft::{Node, NodeOptions, SnapshotPolicy};
use tokio::net::TcpListener;

use super::app::{SHUTDOWN_TIMEOUT, build_app};
use super::auth::AuthFile;
use super::collector::LogTimes;
use super::config::{self, ClusterConfig};
use super::context::{ClusterContext, NodeSettings};
use super::log;
use super::observer::RqliteLog;
use crate::http::run;
use crate::process::tls::{Tls, TlsOptions};
use crate::process::{database_watch, shutdown};

/// The time within which the node must close, after requests have had [`SHUTDOWN_TIMEOUT`] to end. Otherwise the
/// process exits.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(15);

/// Starts the node, serves requests until the process receives a stop signal, and closes the node. Returns the exit
/// status of the process.
pub async fn main(arguments: &[OsString]) -> u8 {
    let config = match config::parse(arguments) {
        Ok(config) => config,
        Err(exit) => {
            // A failure to write to standard error cannot be reported.
            let _ = exit.write(&mut io::stdout(), &mut io::stderr());
            return exit.code;
        }
    };
    if let Err(error) = log::init(&config.log, config.raft.log_level) {
        eprintln!("{}", log::line(log::PROCESS, &error.to_string()));
        return 1;
    }
    match serve(config).await {
        Ok(()) => 0,
        Err(message) => {
            tracing::error!(target: "rqlited", "{message}");
            1
        }
    }
}

type Signal = Pin<Box<dyn Future<Output = ()> + Send>>;

async fn serve(config: ClusterConfig) -> Result<(), String> {
    announce();
    for (flag, why) in &config.ignored_flags {
        tracing::warn!(target: "rqlited", "-{flag} has no effect: {why}");
    }
    let signal = shutdown::signals().map_err(|error| format!("cannot listen to signals: {error}"))?;
    let signal: Signal = Box::pin(async {
        let name = signal.await;
        tracing::info!(target: "rqlited", "received signal \"{name}\"");
        shutdown::exit_after(SHUTDOWN_TIMEOUT + CLOSE_TIMEOUT);
    });
    let raft_listener = bind(&config.raft_addr).await?;
    tracing::info!(target: "mux", "mux serving on {}, advertising {}", config.raft_addr, config.raft_adv_addr);
    let is_new = create_directory(&config.data_dir)?;
    let auth = open_auth(config.auth_file.as_deref())?;
    let tls = load_tls(&config)?;
    let http_listener = bind(&config.http_addr).await?;
    tracing::info!(target: "http", "service listening on {}", config.http_addr);
    let log_times = Arc::new(LogTimes::default());
    let node = start_node(&config, is_new, &log_times).await?;
    let described = tls.as_ref().map(Tls::describe);
    let settings = NodeSettings { config: config.clone(), auth, tls: described };
    let app = Arc::new(build_app(node.clone(), settings, log_times));
    log_addresses(&config, app.cluster());
    database_watch::start(node.database(), &config.db_name, config.check_interval);
    let failure = Arc::new(OnceLock::new());
    let stop = if config.exit_on_failure { stop_signal(signal, node.clone(), failure.clone()) } else { signal };
    let served = run(http_listener, app, tls, stop).await;
    drop(raft_listener);
    let closed = node.close().await;
    served.map_err(|error| format!("serving has ended: {error}"))?;
    closed.map_err(|error| format!("closing: {error}"))?;
    if let Some(why) = failure.get() {
        return Err(format!("this node had stopped: {why}"));
    }
    tracing::info!(target: "rqlited", "rqlite server stopped");
    Ok(())
}

/// Returns a future that resolves when the process must end: when `signal` resolves, or when the node has stopped
/// because of a failure. In the latter case, a supervisor can restart the process.
fn stop_signal(signal: Signal, node: Node, failure: Arc<OnceLock<String>>) -> Signal {
    Box::pin(async move {
        tokio::select! {
            () = signal => {}
            why = node.failure() => {
                tracing::error!(target: "rqlited", "this process ends because the node has stopped: {why} (-exit-on-failure)");
                // The result can be ignored: only this function sets `failure`, and only once.
                let _ = failure.set(why);
            }
        }
    })
}

fn announce() {
    let version = env!("CARGO_PKG_VERSION");
    tracing::info!(target: "rqlited", "{} starting, version {version}, SQLite {}", config::PROGRAM, sqlite_version());
    sqlhttp_core::missing_features().iter().for_each(|feature| tracing::warn!(target: "rqlited", "{feature}"));
    let words: Vec<_> = std::env::args_os().map(|word| word.to_string_lossy().into_owned()).collect();
    tracing::info!(target: "rqlited", "launch command: {}", words.join(" "));
}

/// Creates the data directory if it does not exist. Returns whether the node is new, that is, whether the directory
/// contains no Raft log.
fn create_directory(directory: &Path) -> Result<bool, String> {
    let (is_new, shown) = (!directory.join("raft").join("log").exists(), directory.display());
    if is_new {
        tracing::info!(target: "rqlited", "no preexisting node state detected in {shown}, node may be bootstrapping");
    } else {
        tracing::info!(target: "rqlited", "preexisting node state detected in {shown}");
    }
    std::fs::create_dir_all(directory).map_err(|error| format!("failed to create data directory {shown}: {error}"))?;
    Ok(is_new)
}

fn open_auth(file: Option<&Path>) -> Result<Option<Arc<AuthFile>>, String> {
    let Some(file) = file else { return Ok(None) };
    let auth = AuthFile::open(file).map_err(|error| format!("failed to load credentials: {error}"))?;
    auth.watch();
    Ok(Some(auth))
}

fn load_tls(config: &ClusterConfig) -> Result<Option<Tls>, String> {
    let Some(files) = &config.http_tls else { return Ok(None) };
    let options = TlsOptions {
        client_ca: config.http_ca_cert.clone(),
        verify_client: config.http_verify_client,
        common_name: config.http_verify_common_name.clone(),
        ..TlsOptions::new(&files.cert, &files.key)
    };
    let tls = Tls::load(&options).map_err(|error| format!("failed to enable HTTPS: {error}"))?;
    let (cert, key) = (files.cert.display(), files.key.display());
    let mutual = if options.verify_client { ", mutual TLS enabled" } else { "" };
    tracing::info!(target: "http", "secure HTTPS server enabled with cert {cert}, key {key}{mutual}");
    Ok(Some(tls))
}

async fn bind(address: &str) -> Result<TcpListener, String> {
    let bound = match config::address::split_host_port(address) {
        Some(("", port)) => bind_all(port).await,
        _ => TcpListener::bind(address).await,
    };
    bound.map_err(|error| format!("listen tcp {address}: {error}"))
}

/// Binds a port on all network interfaces: on `[::]`, which accepts IPv4 too, or on `0.0.0.0` if that fails because
/// the system has no IPv6.
async fn bind_all(port: &str) -> io::Result<TcpListener> {
    match TcpListener::bind(format!("[::]:{port}")).await {
        Err(error) if error.kind() != io::ErrorKind::AddrInUse => TcpListener::bind(format!("0.0.0.0:{port}")).await,
        bound => bound,
    }
}

async fn start_node(config: &ClusterConfig, is_new: bool, log_times: &Arc<LogTimes>) -> Result<Node, String> {
    let (id, address) = (&config.node_id, &config.raft_adv_addr);
    tracing::info!(target: "store", "opening store with node ID {id}, listening on {address}");
    config.raft.check_timeouts().map_err(|why| format!("failed to open store: {why}"))?;
    if is_new {
        tracing::info!(target: "rqlited", "bootstrapping single new node");
    }
    refuse_foreign_state(&config.data_dir).map_err(|why| format!("failed to open store: {why}"))?;
    let options = NodeOptions {
        database: database_options(config),
        election_timeout: config.raft.election_timeout,
        apply_timeout: config.raft.apply_timeout,
        write_steps_max: config.write_steps_max,
        snapshots: SnapshotPolicy {
            entries: config.raft.snapshot_entries,
            wal_bytes: config.raft.snapshot_wal_bytes.unwrap_or_default(),
            interval: config.raft.snapshot_interval,
        },
        vacuum_interval: config.auto_vacuum_interval.unwrap_or_default(),
        optimize_interval: config.auto_optimize_interval.unwrap_or_default(),
        observer: Arc::new(RqliteLog::new(log_times.clone())),
        ..NodeOptions::new(&config.data_dir, id, address)
    };
    Node::start(options).await.map_err(|error| format!("failed to open store: {error}"))
}

/// Returns an error if the data directory contains the files of an rqlite node, which this program cannot read.
fn refuse_foreign_state(directory: &Path) -> Result<(), String> {
    let file = directory.join("raft.db");
    if !file.exists() {
        return Ok(());
    }
    Err(format!(
        "{} is rqlite's, which this program cannot read: take a backup of that node (/db/backup), start in an empty \
         directory, and load the backup there (/boot)",
        file.display()
    ))
}

fn database_options(config: &ClusterConfig) -> Options {
    let defaults = Options::default();
    Options {
        foreign_keys: config.foreign_keys,
        time_zone: config.time_zone,
        value_bytes_max: config.value_bytes_max,
        value_bytes_max_name: "-max-value-bytes",
        memory_bytes_max: config.memory_bytes_max,
        memory_bytes_max_name: "-max-statement-memory",
        read_queue_len_max: defaults.read_queue_len_max,
        read_threads: config.reads_max.map_or(defaults.read_threads, |max| defaults.read_threads.min(max.max(1))),
        ..defaults
    }
}

fn log_addresses(config: &ClusterConfig, cluster: &ClusterContext) {
    let url = cluster.api_url();
    tracing::info!(target: "rqlited", "node HTTP API available at {url}");
    if let Some((host, port)) = config::address::split_host_port(&config.http_adv_addr) {
        tracing::info!(target: "rqlited", "connect using the command-line tool via 'rqlite -H {host} -p {port}'");
    }
}
