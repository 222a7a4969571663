//! What requests need to know of the node that this server is.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use hyper::header::HeaderValue;
use sqlhttp_core::{BoxFuture, Database, Error};
use sqlhttp_raft::Node;

use super::auth::AuthFile;
use super::config::ClusterConfig;
use crate::api::{Admin, AdminError};
use crate::process::tls::TlsDescription;

/// The node that this server is.
pub struct Member {
    /// The node itself.
    pub node: Node,
    /// What it was told to do.
    pub config: ClusterConfig,
    /// Who may do what; everybody may do everything without.
    pub auth: Option<Arc<AuthFile>>,
    /// How HTTPS is spoken, if it is.
    pub tls: Option<TlsDescription>,
    scratch: AtomicU64,
}

impl Member {
    /// The node as requests see it.
    pub fn new(node: Node, config: ClusterConfig, auth: Option<Arc<AuthFile>>, tls: Option<TlsDescription>) -> Self {
        Member { node, config, auth, tls, scratch: AtomicU64::new(0) }
    }

    /// Whether `-http-allow-origin` lets pages of this origin read answers.
    pub(crate) fn allows_origin(&self, origin: Option<&HeaderValue>) -> bool {
        self.config.http_allow_origin.as_deref().is_some_and(|allowed| {
            allowed == "*" || origin.is_some_and(|origin| origin.as_bytes().eq_ignore_ascii_case(allowed.as_bytes()))
        })
    }

    /// The URL under which clients reach it.
    pub fn api_url(&self) -> String {
        let scheme = if self.config.http_tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.config.http_adv_addr)
    }

    /// A file that nobody else uses, for what arrives. What a crash leaves of them is removed at the next start.
    pub(crate) fn scratch_file(&self, purpose: &str) -> PathBuf {
        let number = self.scratch.fetch_add(1, Ordering::Relaxed);
        self.node.directory().join(format!("{purpose}-{}-{number}", std::process::id()))
    }
}

/// The path of a file in the same directory.
fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// What is done with the whole database of a node.
pub struct NodeAdmin(pub Arc<Member>);

impl Admin for NodeAdmin {
    fn run_macro<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Vec<u64>, AdminError>> {
        Box::pin(async move { Err(AdminError::NotFound(format!("macro '{name}' not found"))) })
    }

    fn run_backup(&self) -> BoxFuture<'_, Result<(), AdminError>> {
        Box::pin(async { Err(AdminError::NotFound("no backup is configured".to_owned())) })
    }

    fn copy_to<'a>(&'a self, to: &'a Path, vacuumed: bool) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            let (to, first) = (to.to_owned(), if vacuumed { beside(to, "-whole") } else { to.to_owned() });
            self.0.node.database().backup(&first).await?;
            // How far the node is in its log means nothing outside of it.
            let finished = tokio::task::spawn_blocking(move || {
                let removed = Database::remove_progress(&first);
                if !vacuumed {
                    return removed;
                }
                // Only now, because taking the record out leaves a free page.
                let written = removed.and_then(|()| Database::vacuum_copy(&first, &to));
                // Best effort: the next start removes it, too.
                let _ = std::fs::remove_file(&first);
                written
            });
            finished.await.map_err(|_| Error::Closed)?
        })
    }

    fn load_file(&self, file: PathBuf) -> BoxFuture<'_, Result<u64, Error>> {
        Box::pin(self.0.node.load(file))
    }

    fn scratch_file(&self) -> Option<PathBuf> {
        Some(self.0.scratch_file("load"))
    }
}
