//! Opens the node of this process and makes it a member of a cluster, while the HTTP API is already served.

use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;

use sqlhttp_core::Options;
use sqlhttp_raft::{
    Authorizer, BoxedStream, Credentials, Formation, Node, NodeOptions, PeerSecurity, SecuredStream, SnapshotPolicy,
};
use sqlhttp_rqlite::VERSION;
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::auth::{AuthFile, Permission};
use super::collector::LogTimes;
use super::config::{self, ClusterConfig};
use super::context::ClusterContext;
use super::formation;
use super::observer::RqliteLog;
use crate::http::basic_auth::BasicCredentials;
use crate::process::database_watch;
use crate::process::tls::peers::PeerTls;

/// The start of the node, which runs beside the HTTP server.
pub(crate) struct Start {
    /// `None` once the task has ended.
    task: Option<JoinHandle<()>>,
    /// Receives the last message of the process if the start has failed.
    failure: oneshot::Receiver<String>,
    stopping: CancellationToken,
}

impl Start {
    /// Starts the node in a task. `listener` accepts connections of other nodes.
    pub(crate) fn begin(
        cluster: Arc<ClusterContext>,
        listener: TcpListener,
        is_new: bool,
        log_times: Arc<LogTimes>,
    ) -> Start {
        let (sender, failure) = oneshot::channel();
        let stopping = CancellationToken::new();
        let stopped = stopping.clone();
        let task = tokio::spawn(async move {
            let started = async {
                open(&cluster, listener, is_new, &log_times).await?;
                tokio::select! {
                    formed = form(&cluster) => formed,
                    () = stopped.cancelled() => Ok(()),
                }
            };
            if let Err(why) = started.await {
                // The receiver is gone if the process is being stopped.
                let _ = sender.send(why);
            }
        });
        Start { task: Some(task), failure, stopping }
    }

    /// Waits until the start has failed, and returns the last message of the process. Never returns if the start
    /// succeeds.
    pub(crate) async fn failed(&mut self) -> String {
        match (&mut self.failure).await {
            Ok(why) => why,
            Err(_) => std::future::pending().await,
        }
    }

    /// Ends the start: waits until the node is open or could not be opened, and gives up making it a member.
    pub(crate) async fn end(&mut self) {
        self.stopping.cancel();
        if let Some(task) = self.task.take() {
            // The task fails only if it has panicked.
            let _ = task.await;
        }
    }
}

/// Opens the node and puts it in its slot.
async fn open(
    cluster: &ClusterContext,
    listener: TcpListener,
    is_new: bool,
    log_times: &Arc<LogTimes>,
) -> Result<(), String> {
    let config = &cluster.config;
    let (id, address) = (&config.node_id, &config.raft_adv_addr);
    tracing::info!(target: "store", "opening store with node ID {id}, listening on {address}");
    let failed = |why: String| format!("failed to open store: {why}");
    config.raft.check_timeouts().map_err(failed)?;
    refuse_foreign_state(&config.data_dir).map_err(failed)?;
    let formation = formation::of_new_node(&config.formation);
    if is_new && formation == Formation::Create {
        tracing::info!(target: "rqlited", "bootstrapping single new node");
    }
    let options = NodeOptions::new(&config.data_dir, id, address)
        .database(database_options(config))
        .apply_timeout(config.raft.apply_timeout)
        .write_steps_max(config.write_steps_max)
        .snapshots(
            SnapshotPolicy::default()
                .entries(config.raft.snapshot_entries)
                .wal_bytes(config.raft.snapshot_wal_bytes.unwrap_or_default())
                .interval(config.raft.snapshot_interval),
        )
        .vacuum_interval(config.auto_vacuum_interval.unwrap_or_default())
        .optimize_interval(config.auto_optimize_interval.unwrap_or_default())
        .observer(Arc::new(RqliteLog::new(log_times.clone())))
        .api_url(config.api_url())
        .version(VERSION.to_owned())
        .heartbeat_timeout(config.raft.heartbeat_timeout)
        .non_voter(config.formation.non_voter)
        .formation(formation)
        .listener(Some(Arc::new(listener)))
        .connect_timeout(config.cluster_connect_timeout)
        .reap_voters_after(config.raft.reap_voter_timeout)
        .reap_non_voters_after(config.raft.reap_read_only_timeout)
        .security(cluster.node_tls.clone().map(|tls| -> Arc<dyn PeerSecurity> { Arc::new(NodeTls(tls)) }))
        .authorizer(Arc::new(NodeAuthorizer(cluster.auth.clone())));
    let node = Node::start(options).await.map_err(|error| failed(error.to_string()))?;
    database_watch::start(node.database(), &config.db_name, config.check_interval);
    cluster.slot.fill(node);
    Ok(())
}

/// Joins or forms a cluster as the flags say, when the node is open. Then starts the check whether it has been removed,
/// and logs the URL of its HTTP API.
///
/// # Errors
/// The message with which the process ends.
async fn form(cluster: &ClusterContext) -> Result<(), String> {
    let (config, node) = (&cluster.config, cluster.slot.opened().await);
    formation::run(node, &config.formation, cluster.discovery.as_ref(), cluster.auth.as_deref()).await?;
    node.watch_for_removal(config.raft.shutdown_on_remove);
    tracing::info!(target: "rqlited", "node HTTP API available at {}", config.api_url());
    if let Some((host, port)) = config::address::split_host_port(&config.http_adv_addr) {
        tracing::info!(target: "rqlited", "connect using the command-line tool via 'rqlite -H {host} -p {port}'");
    }
    Ok(())
}

/// Encrypts the connections between nodes with TLS.
struct NodeTls(Arc<PeerTls>);

impl PeerSecurity for NodeTls {
    fn connect<'a>(&'a self, address: &'a str, stream: TcpStream) -> SecuredStream<'a> {
        Box::pin(async { Ok(Box::new(self.0.connect(address, stream).await?) as BoxedStream) })
    }

    fn accept(&self, stream: TcpStream) -> SecuredStream<'_> {
        Box::pin(async { Ok(Box::new(self.0.accept(stream).await?) as BoxedStream) })
    }
}

/// Checks the requests of other nodes against this node's auth file; permits every request if there is none.
struct NodeAuthorizer(Option<Arc<AuthFile>>);

impl Authorizer for NodeAuthorizer {
    fn permits(&self, credentials: Option<&Credentials>, permissions: &[&str]) -> bool {
        let Some(auth) = &self.0 else { return true };
        let needed: Option<Vec<Permission>> = permissions.iter().map(|name| Permission::from_name(name)).collect();
        let Some(needed) = needed else { return false };
        let credentials = credentials.map(|Credentials { username, password }| BasicCredentials {
            username: username.clone(),
            password: password.clone(),
        });
        auth.access_blocking(credentials.as_ref(), &needed)
    }
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
    Options::default()
        .foreign_keys(config.foreign_keys)
        .time_zone(config.time_zone)
        .value_bytes_max(config.value_bytes_max)
        .value_bytes_max_name("-max-value-bytes")
        .memory_bytes_max(config.memory_bytes_max)
        .memory_bytes_max_name("-max-statement-memory")
        .read_queue_len_max(defaults.read_queue_len_max)
        .read_threads(config.reads_max.map_or(defaults.read_threads, |max| defaults.read_threads.min(max.max(1))))
}
