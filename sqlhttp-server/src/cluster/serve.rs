//! The program `sqlhttp-cluster`, from the command line to the exit status.

use std::ffi::OsString;
use std::future::Future;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use sqlhttp_core::sqlite_version;
use tokio::net::TcpListener;

use super::app::{ClusterApp, SHUTDOWN_TIMEOUT, build_app};
use super::auth::AuthFile;
use super::collector::LogTimes;
use super::config::{self, ClusterConfig};
use super::context::{ClusterContext, NodeSettings};
use super::formation::discovery::DnsDiscovery;
use super::start::Start;
use super::{log, stop};
use crate::http::app::App as _;
use crate::http::run;
use crate::process::shutdown;
use crate::process::tls::peers::PeerTls;
use crate::process::tls::{Tls, TlsOptions};

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

async fn serve(config: ClusterConfig) -> Result<(), String> {
    announce();
    for (flag, why) in &config.ignored_flags {
        tracing::warn!(target: "rqlited", "-{flag} has no effect: {why}");
    }
    let signal = shutdown::signals().map_err(|error| format!("cannot listen to signals: {error}"))?;
    let raft_listener = bind(&config.raft_addr).await?;
    let mux = if config.node_tls.is_some() { "TLS mux" } else { "mux" };
    tracing::info!(target: "mux", "{mux} serving on {}, advertising {}", config.raft_addr, config.raft_adv_addr);
    let is_new = create_directory(&config.data_dir)?;
    let auth = open_auth(config.auth_file.as_deref())?;
    let tls = load_tls(&config)?;
    let node_tls = load_node_tls(&config)?;
    let discovery = discovery(&config)?;
    let http_listener = bind(&config.http_addr).await?;
    tracing::info!(target: "http", "service listening on {}", config.http_addr);
    let described = tls.as_ref().map(Tls::describe);
    let log_times = Arc::new(LogTimes::default());
    let app =
        Arc::new(build_app(NodeSettings { config, auth, tls: described, node_tls, discovery }, log_times.clone()));
    let cluster = app.cluster().clone();
    let raft_listener = raft_listener.into_std().map_err(|error| format!("the Raft listener: {error}"))?;
    let mut start = Start::begin(cluster.clone(), raft_listener, is_new, log_times);
    let mut ended = Ok(());
    let stop = async { ended = until_stopped(signal, &app, &mut start).await };
    let served = run(http_listener, app.clone(), tls, stop).await;
    start.end().await;
    let closed = match cluster.node() {
        Some(node) => node.close().await,
        None => Ok(()),
    };
    served.map_err(|error| format!("serving has ended: {error}"))?;
    ended?;
    closed.map_err(|error| format!("closing: {error}"))?;
    tracing::info!(target: "rqlited", "rqlite server stopped");
    Ok(())
}

/// Waits until the process must end: until it receives a stop signal, the node could not be started, or the node has
/// stopped because of a failure. In the last case, a supervisor can restart the process. After a signal, prepares the
/// node for its stop. Returns the last message of the process if it ends because of an error.
async fn until_stopped(
    signal: impl Future<Output = &'static str>,
    app: &ClusterApp,
    start: &mut Start,
) -> Result<(), String> {
    let cluster = app.cluster();
    tokio::select! {
        name = signal => tracing::info!(target: "rqlited", "received signal \"{name}\""),
        why = start.failed() => return Err(why),
        why = failure(cluster), if cluster.config.exit_on_failure => {
            tracing::error!(target: "rqlited", "this process ends because the node has stopped: {why} (-exit-on-failure)");
            return Err(format!("this node had stopped: {why}"));
        }
    }
    shutdown::exit_after(stop::prepare_timeout(&cluster.config) + SHUTDOWN_TIMEOUT + CLOSE_TIMEOUT);
    let Some(node) = cluster.node() else { return Ok(()) };
    app.transport().stop();
    // A node that leaves its cluster must not join it again.
    start.end().await;
    stop::prepare(node, &cluster.config, cluster.auth.as_deref()).await
}

/// Waits until the node has stopped because of a failure, and returns the reason.
async fn failure(cluster: &ClusterContext) -> String {
    cluster.slot.opened().await.failure().await
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

fn load_node_tls(config: &ClusterConfig) -> Result<Option<Arc<PeerTls>>, String> {
    let Some(options) = &config.node_tls else { return Ok(None) };
    let tls = PeerTls::load(options).map_err(|error| format!("failed to enable TLS between nodes: {error}"))?;
    Ok(Some(Arc::new(tls)))
}

/// Returns the search for the other nodes; `None` if the command line does not ask for it.
fn discovery(config: &ClusterConfig) -> Result<Option<Arc<DnsDiscovery>>, String> {
    let Some(discovery) = &config.formation.discovery else { return Ok(None) };
    let port = config::address::split_host_port(&config.raft_adv_addr).and_then(|(_, port)| port.parse().ok());
    DnsDiscovery::new(discovery, port.unwrap_or_default()).map(|discovery| Some(Arc::new(discovery)))
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
