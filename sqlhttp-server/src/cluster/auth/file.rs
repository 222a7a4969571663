//! The auth file in use. It is read again when it changes.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::{Access, AuthFileError, CredentialStore, Permission};
use crate::http::basic_auth::BasicCredentials;
use crate::process::reloading::{CHECK_INTERVAL, Reload, Reloading};

/// The auth file of a node.
#[derive(Debug)]
pub struct AuthFile {
    path: PathBuf,
    store: Reloading<CredentialStore>,
}

impl AuthFile {
    /// Reads the file. It is not watched yet, see [`AuthFile::watch`].
    pub fn open(path: &Path) -> Result<Arc<Self>, AuthFileError> {
        let read = {
            let path = path.to_owned();
            move || CredentialStore::read(&path)
        };
        Ok(Arc::new(AuthFile { path: path.to_owned(), store: Reloading::new(vec![path.to_owned()], read)? }))
    }

    /// Looks at the file every second, in a task of its own that ends with the `AuthFile`. Requests never wait for the
    /// file, and a user who is gone from it is shut out even if nobody has asked for long. Call it within a runtime.
    pub fn watch(self: &Arc<Self>) {
        self.watch_every(CHECK_INTERVAL);
    }

    pub(crate) fn watch_every(self: &Arc<Self>, interval: Duration) {
        let file = Arc::downgrade(self);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(interval).await;
                let Some(file) = file.upgrade() else { return };
                // A panic is a bug in reading; the next look is another chance.
                let _ = tokio::task::spawn_blocking(move || file.reload_if_changed()).await;
            }
        });
    }

    /// Reads the file again if it has changed. A broken file changes nothing but the log.
    pub fn reload_if_changed(&self) {
        match self.store.reload_if_changed() {
            Reload::Unchanged => {}
            Reload::Replaced => tracing::info!("reloaded auth file '{}'", self.path.display()),
            Reload::Rejected(problem) => tracing::error!("keeping the users that were known: {problem}"),
        }
    }

    /// Whether each of the `needed` permissions is granted, see [`CredentialStore::access`].
    pub async fn access(&self, credentials: Option<&BasicCredentials>, needed: &[Permission]) -> Access {
        self.store.current().access(credentials, needed).await
    }

    /// The password of a user, if the file has it in clear.
    pub fn clear_password(&self, username: &str) -> Option<String> {
        self.store.current().clear_password(username).map(str::to_owned)
    }
}
