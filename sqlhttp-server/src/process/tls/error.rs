//! The error type of the TLS settings.

use std::path::PathBuf;

use rustls::server::VerifierBuilderError;
use rustls_pki_types::pem;

use super::files::TlsFiles;

/// The reason why HTTPS cannot be served with the given settings.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The server's certificate file cannot be read or is not PEM.
    #[error("TLS certificate '{}': {source}", path.display())]
    Certificate {
        /// The path of the certificate file.
        path: PathBuf,
        /// The cause of the error.
        source: pem::Error,
    },
    /// The server's certificate file, at this path, contains no certificate.
    #[error("TLS certificate '{}': there is no certificate in it", .0.display())]
    NoCertificate(PathBuf),
    /// The server's key file cannot be read, is not PEM, or contains no private key.
    #[error("TLS key '{}': {source}", path.display())]
    Key {
        /// The path of the key file.
        path: PathBuf,
        /// The cause of the error.
        source: pem::Error,
    },
    /// The server's certificate and key do not belong together, or a type of key or certificate is not supported.
    #[error("TLS certificate '{}' and key '{}': {source}", files.cert.display(), files.key.display())]
    Mismatch {
        /// The paths of the certificate and of the key.
        files: TlsFiles,
        /// The cause of the error.
        source: rustls::Error,
    },
    /// No file with certificate authorities for clients is set, and no authority that the host trusts could be read.
    /// The list contains the errors of reading them.
    #[error("TLS: this host has no certificates of authorities to verify clients with{}", list(.0))]
    NoHostRoots(Vec<rustls_native_certs::Error>),
    /// Client certificates cannot be verified with the given certificate authorities.
    #[error("TLS: clients cannot be verified: {0}")]
    Clients(VerifierBuilderError),
}

fn list(errors: &[rustls_native_certs::Error]) -> String {
    errors.iter().map(|error| format!(": {error}")).collect()
}
