//! HTTPS: the certificate and key, read once from PEM files.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls_pki_types::pem::{self, PemObject};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

use crate::config::TlsFiles;

/// What turns a TCP connection into an encrypted one. Clones share it.
#[derive(Clone)]
pub struct Tls {
    pub(crate) acceptor: TlsAcceptor,
}

/// Why HTTPS cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The certificate file cannot be read or is no PEM.
    #[error("TLS certificate '{}': {source}", path.display())]
    Certificate {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: pem::Error,
    },
    /// The certificate file holds no certificate.
    #[error("TLS certificate '{}': there is no certificate in it", .0.display())]
    NoCertificate(PathBuf),
    /// The key file cannot be read, is no PEM, or holds no private key.
    #[error("TLS key '{}': {source}", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: pem::Error,
    },
    /// Certificate and key do not belong together, or are of a kind that is not supported.
    #[error("TLS certificate '{}' and key '{}': {source}", files.cert.display(), files.key.display())]
    Mismatch {
        /// The files.
        files: TlsFiles,
        /// What is wrong with them.
        source: rustls::Error,
    },
}

impl Tls {
    /// Reads the files. HTTP/2 is offered beside HTTP/1.1.
    pub fn from_files(files: &TlsFiles) -> Result<Tls, TlsError> {
        let certificates = read_certificates(&files.cert)?;
        let key = PrivateKeyDer::from_pem_file(&files.key)
            .map_err(|source| TlsError::Key { path: files.key.clone(), source })?;
        let mismatch = |source| TlsError::Mismatch { files: files.clone(), source };
        let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(mismatch)?
            .with_no_client_auth()
            .with_single_cert(certificates, key)
            .map_err(mismatch)?;
        config.alpn_protocols = vec![HTTP_2.to_vec(), b"http/1.1".to_vec()];
        Ok(Tls { acceptor: TlsAcceptor::from(Arc::new(config)) })
    }
}

/// HTTP/2's name in the TLS handshake.
pub(crate) const HTTP_2: &[u8] = b"h2";

fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let failed = |source| TlsError::Certificate { path: path.to_owned(), source };
    let certificates: Vec<_> =
        CertificateDer::pem_file_iter(path).map_err(failed)?.collect::<Result<_, _>>().map_err(failed)?;
    if certificates.is_empty() { Err(TlsError::NoCertificate(path.to_owned())) } else { Ok(certificates) }
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tls")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write_files(dir: &Path) -> TlsFiles {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let files = TlsFiles { cert: dir.join("cert.pem"), key: dir.join("key.pem") };
        std::fs::write(&files.cert, made.cert.pem()).unwrap();
        std::fs::write(&files.key, made.signing_key.serialize_pem()).unwrap();
        files
    }

    #[test]
    fn files_are_read() {
        let dir = tempfile::tempdir().unwrap();
        assert!(Tls::from_files(&write_files(dir.path())).is_ok());
    }

    #[test]
    fn what_is_wrong_is_said_with_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let other = tempfile::tempdir().unwrap();
        let good = write_files(dir.path());
        let foreign = write_files(other.path());
        let told = |files: &TlsFiles| Tls::from_files(files).unwrap_err().to_string();

        let missing = TlsFiles { cert: dir.path().join("none.pem"), ..good.clone() };
        assert!(told(&missing).starts_with(&format!("TLS certificate '{}': ", missing.cert.display())));
        let swapped = TlsFiles { cert: good.key.clone(), key: good.cert.clone() };
        assert!(told(&swapped).ends_with("there is no certificate in it"));
        let no_key = TlsFiles { key: good.cert.clone(), ..good.clone() };
        assert!(told(&no_key).starts_with("TLS key "));
        let mixed = TlsFiles { key: foreign.key, ..good };
        assert!(told(&mixed).contains(" and key "), "{}", told(&mixed));
    }
}
