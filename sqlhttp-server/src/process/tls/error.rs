//! Why HTTPS cannot be served.

use std::path::PathBuf;

use rustls::server::VerifierBuilderError;
use rustls_pki_types::pem;

use super::files::TlsFiles;

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
    /// This host trusts no authority that could be read, and no file names others.
    #[error("TLS: this host has no certificates of authorities to verify clients with{}", list(.0))]
    NoHostRoots(Vec<rustls_native_certs::Error>),
    /// Clients' certificates cannot be verified with these authorities.
    #[error("TLS: clients cannot be verified: {0}")]
    Clients(VerifierBuilderError),
}

fn list(errors: &[rustls_native_certs::Error]) -> String {
    errors.iter().map(|error| format!(": {error}")).collect()
}
