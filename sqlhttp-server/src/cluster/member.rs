//! What requests need to know of the node that this server is.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use hyper::header::HeaderValue;
use sqlhttp_core::{BoxFuture, Database, Error, JournalMode, Options};
use sqlhttp_raft::Node;

use super::auth::AuthFile;
use super::config::ClusterConfig;
use crate::http::{Admin, AdminError};
use crate::tls::TlsDescription;

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
            crate::standalone::copy(self.0.node.database(), to, false).await?;
            let copy = to.to_owned();
            // How far the cluster's log was when the copy was made is nobody's business elsewhere.
            let removed = tokio::task::spawn_blocking(move || Database::remove_progress(&copy)).await;
            removed.map_err(|_| Error::Closed)??;
            // Only now, because what was removed leaves a free page.
            if vacuumed { vacuum(to.to_owned()).await } else { Ok(()) }
        })
    }

    fn load_file(&self, file: PathBuf) -> BoxFuture<'_, Result<u64, Error>> {
        Box::pin(self.0.node.load(file))
    }

    fn scratch_file(&self) -> Option<PathBuf> {
        Some(self.0.scratch_file("load"))
    }
}

/// Rebuilds a file that no other process uses.
async fn vacuum(file: PathBuf) -> Result<(), Error> {
    let options = Options { create: false, journal_mode: JournalMode::Delete, read_threads: 1, ..Options::default() };
    let opened = tokio::task::spawn_blocking(move || Database::open(file, options)).await;
    let database = opened.map_err(|_| Error::Closed)??;
    let vacuumed = database.vacuum().await;
    database.close().await?;
    vacuumed
}
