//! The node of this process and its settings, for the request handlers.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use hyper::header::HeaderValue;
use sqlhttp_core::{BoxFuture, Database, Error};
use sqlhttp_raft::Node;

use super::auth::AuthFile;
use super::config::ClusterConfig;
use super::write_queue::WrittenBatches;
use crate::api::admin::Copies;
use crate::process::scratch::{Purpose, ScratchFile};
use crate::process::tls::TlsDescription;

/// The settings of a node that request handlers use.
pub(crate) struct NodeSettings {
    pub(crate) config: ClusterConfig,
    /// The users and their permissions; if `None`, every client may do everything.
    pub(crate) auth: Option<Arc<AuthFile>>,
    /// A description of the HTTPS settings; `None` if the node serves plain HTTP.
    pub(crate) tls: Option<TlsDescription>,
}

/// The node of this process, with its settings.
pub(crate) struct ClusterContext {
    pub(crate) node: Node,
    pub(crate) config: ClusterConfig,
    pub(crate) auth: Option<Arc<AuthFile>>,
    pub(crate) tls: Option<TlsDescription>,
    /// The counters of the batches that the queue of queued writes has written.
    pub(crate) written: Arc<WrittenBatches>,
}

impl ClusterContext {
    pub(crate) fn new(node: Node, settings: NodeSettings, written: Arc<WrittenBatches>) -> Self {
        let NodeSettings { config, auth, tls } = settings;
        ClusterContext { node, config, auth, tls, written }
    }

    /// Returns whether `-http-allow-origin` allows pages of `origin` to read responses.
    pub(crate) fn allows_origin(&self, origin: Option<&HeaderValue>) -> bool {
        self.config.http_allow_origin.as_deref().is_some_and(|allowed| {
            allowed == "*" || origin.is_some_and(|origin| origin.as_bytes().eq_ignore_ascii_case(allowed.as_bytes()))
        })
    }

    /// Returns the URL of the node's HTTP API, with the advertised address.
    pub(crate) fn api_url(&self) -> String {
        let scheme = if self.config.http_tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.config.http_adv_addr)
    }
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
    fn has_leader(&self) -> bool {
        self.0.node.status().leader().is_some()
    }

    fn large_file_hint(&self) -> &'static str {
        "; POST /boot takes database files of any size"
    }

    fn copy_to<'a>(&'a self, to: &'a Path, vacuumed: bool) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            let (to, first) = (to.to_owned(), if vacuumed { beside(to, "-whole") } else { to.to_owned() });
            self.0.node.database().backup(&first).await?;
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

    fn load_file(&self, file: PathBuf) -> BoxFuture<'_, Result<u64, Error>> {
        Box::pin(self.0.node.load(file))
    }

    fn scratch_file(&self) -> ScratchFile {
        ScratchFile::in_directory(self.0.node.directory(), Purpose::Load)
    }
}
