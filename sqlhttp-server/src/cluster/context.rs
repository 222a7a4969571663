//! The node of this process and its settings, for the request handlers.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use hyper::header::HeaderValue;
use sqlhttp_core::{BoxFuture, Database, Error};
use sqlhttp_raft::{Credentials, Node};

use super::auth::AuthFile;
use super::config::ClusterConfig;
use super::formation::discovery::DnsDiscovery;
use super::slot::{LeaderPermissions, NodeSlot};
use super::write_queue::WrittenBatches;
use crate::api::admin::{CheckedContent, Copies, check_content};
use crate::api::rqlite::counters::Counter;
use crate::http::basic_auth::BasicCredentials;
use crate::process::scratch::{Purpose, ScratchFile};
use crate::process::tls::TlsDescription;
use crate::process::tls::peers::PeerTls;

/// The settings of a node that request handlers use.
pub(crate) struct NodeSettings {
    pub(crate) config: ClusterConfig,
    /// The users and their permissions; if `None`, every client may do everything.
    pub(crate) auth: Option<Arc<AuthFile>>,
    /// A description of the HTTPS settings; `None` if the node serves plain HTTP.
    pub(crate) tls: Option<TlsDescription>,
    /// The encryption of the traffic between nodes; `None` if it is not encrypted.
    pub(crate) node_tls: Option<Arc<PeerTls>>,
    /// The search for the other nodes; `None` if the node does not search for them.
    pub(crate) discovery: Option<Arc<DnsDiscovery>>,
}

/// The node of this process, with its settings.
pub(crate) struct ClusterContext {
    /// The node, once it is open.
    pub(crate) slot: Arc<NodeSlot>,
    pub(crate) config: ClusterConfig,
    pub(crate) auth: Option<Arc<AuthFile>>,
    pub(crate) tls: Option<TlsDescription>,
    /// The encryption of the traffic between nodes; `None` if it is not encrypted.
    pub(crate) node_tls: Option<Arc<PeerTls>>,
    /// The search for the other nodes; `None` if the node does not search for them.
    pub(crate) discovery: Option<Arc<DnsDiscovery>>,
    /// The counters of requests that this node has forwarded to the leader.
    pub(crate) forwarded: ForwardedCounters,
    /// The counters of the batches that the queue of queued writes has written.
    pub(crate) written: Arc<WrittenBatches>,
}

/// The counters of requests that this node has forwarded to the leader, as rqlite names them.
#[derive(Debug, Default)]
pub(crate) struct ForwardedCounters {
    pub(crate) remote_executions: Counter,
    pub(crate) remote_requests: Counter,
    pub(crate) remote_loads: Counter,
    pub(crate) remote_remove_node: Counter,
    pub(crate) remote_stepdowns: Counter,
}

impl ClusterContext {
    pub(crate) fn new(slot: Arc<NodeSlot>, settings: NodeSettings, written: Arc<WrittenBatches>) -> Self {
        let NodeSettings { config, auth, tls, node_tls, discovery } = settings;
        ClusterContext {
            slot,
            config,
            auth,
            tls,
            node_tls,
            discovery,
            forwarded: ForwardedCounters::default(),
            written,
        }
    }

    /// Returns the node; `None` if it is not open yet.
    pub(crate) fn node(&self) -> Option<&Node> {
        self.slot.get()
    }

    /// Returns whether `-http-allow-origin` allows pages of `origin` to read responses.
    pub(crate) fn allows_origin(&self, origin: Option<&HeaderValue>) -> bool {
        self.config.http_allow_origin.as_deref().is_some_and(|allowed| {
            allowed == "*" || origin.is_some_and(|origin| origin.as_bytes().eq_ignore_ascii_case(allowed.as_bytes()))
        })
    }
}

/// Returns the credentials of a request in the form in which a node sends them to the leader.
pub(crate) fn to_leader(credentials: BasicCredentials) -> Credentials {
    let BasicCredentials { username, password } = credentials;
    Credentials { username, password }
}

/// Returns the path with `suffix` appended to its file name.
fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Copies and restores the database of a node. A copy is made of this node's database alone. A restore replaces the
/// content of the database with that of a database file; it is an entry of the Raft log, so every node applies it.
pub(crate) struct NodeCopies(pub(crate) Arc<ClusterContext>);

impl Copies for NodeCopies {
    fn large_file_hint(&self) -> &'static str {
        "; POST /boot takes database files of any size"
    }

    fn file_bytes_max(&self) -> Option<(u64, &'static str)> {
        Some((self.0.config.load_bytes_max, "max-load"))
    }

    fn has_space_for(&self, bytes: u64) -> bool {
        self.0.node().is_none_or(|node| node.has_space_for(bytes))
    }

    fn copy_to<'a>(&'a self, to: &'a Path, vacuumed: bool) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            let (to, first) = (to.to_owned(), if vacuumed { beside(to, "-whole") } else { to.to_owned() });
            let node = self.0.node().ok_or(Error::Closed)?;
            if let Some(why) = node.differs() {
                return Err(Error::Unavailable(why));
            }
            node.database().backup(&first).await?;
            // The copy leaves the node, so it must not contain the index up to which this node has applied the Raft
            // log.
            let finished = tokio::task::spawn_blocking(move || {
                let removed = Database::remove_progress(&first);
                if !vacuumed {
                    return removed;
                }
                // VACUUM runs after the applied index has been removed, because the removal leaves a free page.
                let written = removed.and_then(|()| Database::vacuum_copy(&first, &to));
                // An error is ignored, because the next start of the node also removes the file.
                let _ = std::fs::remove_file(&first);
                written
            });
            finished.await.map_err(|_| Error::Closed)?
        })
    }

    fn load_file(&self, file: PathBuf, credentials: Option<BasicCredentials>) -> BoxFuture<'_, Result<u64, Error>> {
        Box::pin(async {
            let node = self.0.node().ok_or(Error::Closed)?;
            let user = node.on_behalf_of(credentials.map(to_leader), LeaderPermissions::Load.names());
            user.load(file).await
        })
    }

    fn check_content(&self, deep: bool) -> BoxFuture<'_, Result<CheckedContent, Error>> {
        Box::pin(async move { check_content(self.0.node().ok_or(Error::Closed)?.database(), deep).await })
    }

    fn scratch_file(&self) -> ScratchFile {
        ScratchFile::in_directory(&self.0.config.data_dir, Purpose::Load)
    }
}
