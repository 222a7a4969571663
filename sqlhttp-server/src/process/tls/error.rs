//! The error of the TLS settings.

use std::path::PathBuf;

use rustls::server::VerifierBuilderError;
use rustls_pki_types::pem;

use super::files::TlsFiles;

/// The reason why HTTPS cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The certificate file cannot be read or is not PEM.
    #[error("TLS certificate '{}': {source}", path.display())]
    Certificate {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: pem::Error,
    },
    /// The certificate file contains no certificate.
    #[error("TLS certificate '{}': there is no certificate in it", .0.display())]
    NoCertificate(PathBuf),
    /// The key file cannot be read, is not PEM, or contains no private key.
    #[error("TLS key '{}': {source}", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: pem::Error,
    },
    /// Certificate and key do not belong together, or their kind is not supported.
    #[error("TLS certificate '{}' and key '{}': {source}", files.cert.display(), files.key.display())]
    Mismatch {
        /// The files.
        files: TlsFiles,
        /// The cause.
        source: rustls::Error,
    },
    /// No file with authorities is set, and no certificate authority of the host could be read.
    #[error("TLS: this host has no certificates of authorities to verify clients with{}", list(.0))]
    NoHostRoots(Vec<rustls_native_certs::Error>),
    /// Client certificates cannot be verified with these authorities.
    #[error("TLS: clients cannot be verified: {0}")]
    Clients(VerifierBuilderError),
}

fn list(errors: &[rustls_native_certs::Error]) -> String {
    errors.iter().map(|error| format!(": {error}")).collect()
}
