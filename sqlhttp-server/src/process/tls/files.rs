//! The paths of the server's certificate and key.

use std::path::PathBuf;

/// The paths of the PEM files with the server's certificate and private key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The file with the certificate chain.
    pub cert: PathBuf,
    /// The file with the private key.
    pub key: PathBuf,
}
