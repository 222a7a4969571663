//! The auth file of a node, which is read again when it changes.

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
    /// Reads the auth file. Call [`AuthFile::watch`] afterwards, so that the file is read again when it changes.
    pub fn open(path: &Path) -> Result<Arc<Self>, AuthFileError> {
        let read = {
            let path = path.to_owned();
            move || CredentialStore::read(&path)
        };
        Ok(Arc::new(AuthFile { path: path.to_owned(), store: Reloading::new(vec![path.to_owned()], read)? }))
    }

    /// Starts a task that checks every second whether the auth file has changed, and reads it again if so. The task
    /// ends when the `AuthFile` is dropped. Requests never wait for the file, and a removed user loses access within
    /// seconds. Must be called within a Tokio runtime.
    pub fn watch(self: &Arc<Self>) {
        self.watch_every(CHECK_INTERVAL);
    }

    pub(crate) fn watch_every(self: &Arc<Self>, interval: Duration) {
        let file = Arc::downgrade(self);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(interval).await;
                let Some(file) = file.upgrade() else { return };
                // If reading the file panics, the task tries again at the next interval.
                let _ = tokio::task::spawn_blocking(move || file.reload_if_changed()).await;
            }
        });
    }

    /// Reads the auth file again if it has changed. If the file is invalid, logs the error and keeps the previous
    /// users.
    pub fn reload_if_changed(&self) {
        match self.store.reload_if_changed() {
            Reload::Unchanged => {}
            Reload::Replaced => tracing::info!("reloaded auth file '{}'", self.path.display()),
            Reload::Rejected(problem) => tracing::error!("the users have not changed: {problem}"),
        }
    }

    /// Returns whether each of the `needed` permissions is granted; see [`CredentialStore::access`].
    pub async fn access(&self, credentials: Option<&BasicCredentials>, needed: &[Permission]) -> Access {
        self.store.current().access(credentials, needed).await
    }

    /// Returns whether each of the `needed` permissions is granted; see [`CredentialStore::access_blocking`].
    pub fn access_blocking(&self, credentials: Option<&BasicCredentials>, needed: &[Permission]) -> bool {
        self.store.current().access_blocking(credentials, needed)
    }

    /// Returns the password of a user; `None` if the user does not exist, has no password, or the auth file contains
    /// only a hash of the password.
    pub fn clear_password(&self, username: &str) -> Option<String> {
        self.store.current().clear_password(username).map(str::to_owned)
    }
}
