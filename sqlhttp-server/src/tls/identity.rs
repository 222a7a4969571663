//! The certificate that the server shows, read anew when its files change.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use rustls::crypto::CryptoProvider;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::TlsError;
use crate::config::TlsFiles;
use crate::reloading::{Reload, Reloading};

/// Certificate and key, and the files they come from.
#[derive(Debug)]
pub(super) struct Identity {
    cert: PathBuf,
    pair: Reloading<CertifiedKey>,
}

impl Identity {
    /// Reads the files for the first time.
    pub(super) fn load(files: TlsFiles, provider: Arc<CryptoProvider>) -> Result<Self, TlsError> {
        let cert = files.cert.clone();
        let paths = vec![files.cert.clone(), files.key.clone()];
        Ok(Identity { cert, pair: Reloading::new(paths, move || read_pair(&files, &provider))? })
    }

    /// Reads the files again if they have changed and it is time to look.
    pub(super) fn renew_if_due(&self, now: Instant) {
        match self.pair.reload_if_due(now) {
            Reload::Unchanged => {}
            Reload::Replaced => tracing::info!("reloading certificate at {}", self.cert.display()),
            Reload::Kept(problem) => tracing::error!("keeping the certificate in use: {problem}"),
        }
    }

    /// The pair in use.
    pub(super) fn current(&self) -> Arc<CertifiedKey> {
        self.pair.current()
    }
}

impl ResolvesServerCert for Identity {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.renew_if_due(Instant::now());
        Some(self.current())
    }
}

fn read_pair(files: &TlsFiles, provider: &CryptoProvider) -> Result<CertifiedKey, TlsError> {
    let certificates = read_certificates(&files.cert)?;
    let key =
        PrivateKeyDer::from_pem_file(&files.key).map_err(|source| TlsError::Key { path: files.key.clone(), source })?;
    CertifiedKey::from_der(certificates, key, provider)
        .map_err(|source| TlsError::Mismatch { files: files.clone(), source })
}

/// The certificates in a PEM file: at least one.
pub(super) fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let failed = |source| TlsError::Certificate { path: path.to_owned(), source };
    let certificates: Vec<_> =
        CertificateDer::pem_file_iter(path).map_err(failed)?.collect::<Result<_, _>>().map_err(failed)?;
    if certificates.is_empty() { Err(TlsError::NoCertificate(path.to_owned())) } else { Ok(certificates) }
}
