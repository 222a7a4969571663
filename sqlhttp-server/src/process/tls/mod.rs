//! HTTPS: the certificate and key from PEM files, and which clients must show one of their own.

mod clients;
mod error;
mod files;
mod identity;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;

pub use error::TlsError;
pub use files::TlsFiles;
use identity::Identity;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use serde::Serialize;
use tokio_rustls::TlsAcceptor;

/// HTTP/2's name in the TLS handshake.
pub(crate) const HTTP_2: &[u8] = b"h2";

/// The protocols that a client may choose from.
const PROTOCOLS: [&str; 2] = ["h2", "http/1.1"];

/// How HTTPS is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsOptions {
    /// The certificate chain, a PEM file. It is read again when it changes.
    pub cert: PathBuf,
    /// The private key, a PEM file. It is read again when it changes.
    pub key: PathBuf,
    /// The authorities that clients' certificates may come from, a PEM file; those that this host trusts if there
    /// is none.
    pub client_ca: Option<PathBuf>,
    /// Clients must show a valid certificate.
    pub verify_client: bool,
    /// The common name that clients' certificates must have. It implies `verify_client`.
    pub common_name: Option<String>,
}

impl TlsOptions {
    /// A certificate for the server, and none asked of clients.
    pub fn new(cert: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        TlsOptions { cert: cert.into(), key: key.into(), client_ca: None, verify_client: false, common_name: None }
    }

    fn files(&self) -> TlsFiles {
        TlsFiles { cert: self.cert.clone(), key: self.key.clone() }
    }

    fn demands_client_certificate(&self) -> bool {
        self.verify_client || self.common_name.is_some()
    }
}

/// What turns a TCP connection into an encrypted one. Clones share it.
#[derive(Clone)]
pub struct Tls {
    pub(crate) acceptor: TlsAcceptor,
    options: Arc<TlsOptions>,
}

/// How HTTPS is served, in the words of `/status`. Its JSON has the keys in alphabetical order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TlsDescription {
    /// The clients' authorities; empty for those of this host.
    pub ca_file: String,
    /// The certificate chain.
    pub cert_file: String,
    /// `NoClientCert` or `RequireAndVerifyClientCert`.
    pub client_auth: &'static str,
    /// `true`, as text.
    pub enabled: &'static str,
    /// The private key.
    pub key_file: String,
    /// The protocols that a client may choose from.
    pub next_protos: Vec<&'static str>,
}

impl Tls {
    /// Reads the files; no client needs a certificate.
    pub fn from_files(files: &TlsFiles) -> Result<Tls, TlsError> {
        Tls::load(&TlsOptions::new(&files.cert, &files.key))
    }

    /// Reads the files. TLS 1.2 and 1.3 are spoken, and HTTP/2 is offered beside HTTP/1.1.
    pub fn load(options: &TlsOptions) -> Result<Tls, TlsError> {
        let identity = Arc::new(Identity::load(options.files(), Arc::new(aws_lc_rs::default_provider()))?);
        Tls::with_identity(options, identity)
    }

    fn with_identity(options: &TlsOptions, identity: Arc<Identity>) -> Result<Tls, TlsError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|source| TlsError::Mismatch { files: options.files(), source })?;
        let builder = if options.demands_client_certificate() {
            let (ca, name) = (options.client_ca.as_deref(), options.common_name.as_deref());
            builder.with_client_cert_verifier(clients::verifier(ca, name, &provider)?)
        } else {
            builder.with_no_client_auth()
        };
        let mut config = builder.with_cert_resolver(identity);
        config.alpn_protocols = PROTOCOLS.map(|name| name.as_bytes().to_vec()).to_vec();
        Ok(Tls { acceptor: TlsAcceptor::from(Arc::new(config)), options: Arc::new(options.clone()) })
    }

    /// How HTTPS is served, for `/status`.
    pub fn describe(&self) -> TlsDescription {
        let text = |path: &PathBuf| path.display().to_string();
        let demands = self.options.demands_client_certificate();
        TlsDescription {
            ca_file: self.options.client_ca.as_ref().map(text).unwrap_or_default(),
            cert_file: text(&self.options.cert),
            client_auth: if demands { "RequireAndVerifyClientCert" } else { "NoClientCert" },
            enabled: "true",
            key_file: text(&self.options.key),
            next_protos: PROTOCOLS.to_vec(),
        }
    }
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls").field("options", &self.options).finish_non_exhaustive()
    }
}
