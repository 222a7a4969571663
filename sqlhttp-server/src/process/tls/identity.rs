//! The certificate that the server presents. It is reloaded when its files change.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use rustls::crypto::CryptoProvider;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use x509_parser::prelude::{ASN1Time, FromDer, X509Certificate};

use super::TlsError;
use crate::process::reloading::{Reload, Reloading};
use crate::process::tls::TlsFiles;

/// The certificate and the private key of the server, with the files from which they are loaded.
#[derive(Debug)]
pub(crate) struct Identity {
    cert: PathBuf,
    pair: Reloading<CertifiedKey>,
}

impl Identity {
    /// Loads the certificate and the key from their files for the first time.
    pub(crate) fn load(files: TlsFiles, provider: Arc<CryptoProvider>) -> Result<Self, TlsError> {
        let cert = files.cert.clone();
        let paths = vec![files.cert.clone(), files.key.clone()];
        let identity = Identity { cert, pair: Reloading::new(paths, move || read_pair(&files, &provider))? };
        identity.warn_if_not_valid();
        Ok(identity)
    }

    /// Reloads the certificate and the key if their files have changed. The files are checked at most once per second.
    pub(crate) fn reload_if_due(&self, now: Instant) {
        match self.pair.reload_if_due(now) {
            Reload::Unchanged => {}
            Reload::Replaced => {
                tracing::info!("reloading certificate at {}", self.cert.display());
                self.warn_if_not_valid();
            }
            Reload::Rejected(problem) => tracing::error!("keeping the certificate in use: {problem}"),
        }
    }

    /// Logs a warning if the certificate has expired or is not valid yet. The server still uses the certificate,
    /// because the clock of the server may be wrong.
    fn warn_if_not_valid(&self) {
        if let Some(problem) =
            self.current().end_entity_cert().ok().and_then(|leaf| validity_problem(leaf, ASN1Time::now()))
        {
            tracing::warn!("TLS certificate '{}' {problem}: clients will refuse it", self.cert.display());
        }
    }

    /// Returns the certificate and the key that are in use.
    pub(crate) fn current(&self) -> Arc<CertifiedKey> {
        self.pair.current()
    }
}

impl ResolvesServerCert for Identity {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.reload_if_due(Instant::now());
        Some(self.current())
    }
}

/// Returns the reason why a certificate is not valid at the time `now`. Returns `None` if the certificate is valid.
/// Also returns `None` if it cannot be parsed, which does not occur because rustls has already parsed it.
fn validity_problem(leaf: &[u8], now: ASN1Time) -> Option<String> {
    let (_, certificate) = X509Certificate::from_der(leaf).ok()?;
    let validity = certificate.validity();
    if now > validity.not_after {
        Some(format!("has expired on {}", validity.not_after))
    } else if now < validity.not_before {
        Some(format!("is not valid before {}", validity.not_before))
    } else {
        None
    }
}

fn read_pair(files: &TlsFiles, provider: &CryptoProvider) -> Result<CertifiedKey, TlsError> {
    let certificates = read_certificates(&files.cert)?;
    let key =
        PrivateKeyDer::from_pem_file(&files.key).map_err(|source| TlsError::Key { path: files.key.clone(), source })?;
    CertifiedKey::from_der(certificates, key, provider)
        .map_err(|source| TlsError::Mismatch { files: files.clone(), source })
}

/// Reads all certificates from a PEM file. Fails if the file contains none.
pub(crate) fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let failed = |source| TlsError::Certificate { path: path.to_owned(), source };
    let certificates: Vec<_> =
        CertificateDer::pem_file_iter(path).map_err(failed)?.collect::<Result<_, _>>().map_err(failed)?;
    if certificates.is_empty() { Err(TlsError::NoCertificate(path.to_owned())) } else { Ok(certificates) }
}
