//! HTTPS: the server's certificate and key from PEM files, and the verification of client certificates.

mod clients;
mod error;
mod files;
mod identity;
pub(crate) mod peers;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;

pub use error::TlsError;
pub use files::TlsFiles;
use identity::Identity;
pub use peers::PeerTlsOptions;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use serde::Serialize;
use tokio_rustls::TlsAcceptor;

/// The name of HTTP/2 in ALPN (the protocol negotiation of TLS).
pub(crate) const HTTP_2: &[u8] = b"h2";

/// The ALPN protocols that the server offers.
const PROTOCOLS: [&str; 2] = ["h2", "http/1.1"];

/// The settings of HTTPS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsOptions {
    /// The PEM file with the certificate chain of the server. It is reloaded when it changes.
    pub cert: PathBuf,
    /// The PEM file with the private key of the server. It is reloaded when it changes.
    pub key: PathBuf,
    /// The PEM file with the certificate authorities that may issue client certificates. `None` means the authorities
    /// that the host trusts.
    pub client_ca: Option<PathBuf>,
    /// Whether clients must present a valid certificate.
    pub verify_client: bool,
    /// The common name that client certificates must have; `None` if any common name is accepted. Setting it implies
    /// `verify_client`.
    pub common_name: Option<String>,
}

impl TlsOptions {
    /// Creates settings with a server certificate that require no client certificates.
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

/// The TLS acceptor, which performs the TLS handshake on accepted TCP connections. All clones share one acceptor.
#[derive(Clone)]
pub struct Tls {
    pub(crate) acceptor: TlsAcceptor,
    options: Arc<TlsOptions>,
}

/// The settings of HTTPS in the form in which rqlite's `/status` shows them. The JSON keys are in alphabetical order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TlsDescription {
    /// The path of the file with the certificate authorities for client certificates; empty for the authorities that
    /// the host trusts.
    pub ca_file: String,
    /// The path of the file with the certificate chain of the server.
    pub cert_file: String,
    /// Whether clients must present a certificate: `NoClientCert` or `RequireAndVerifyClientCert`.
    pub client_auth: &'static str,
    /// Always the string `true`: HTTPS is enabled.
    pub enabled: &'static str,
    /// The path of the file with the private key of the server.
    pub key_file: String,
    /// The ALPN protocols that the server offers.
    pub next_protos: Vec<&'static str>,
}

impl Tls {
    /// Loads the certificate and the key from `files`. Clients need no certificate.
    pub fn from_files(files: &TlsFiles) -> Result<Tls, TlsError> {
        Tls::load(&TlsOptions::new(&files.cert, &files.key))
    }

    /// Loads the files that `options` names. The server supports TLS 1.2 and 1.3 and offers HTTP/2 and HTTP/1.1.
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

    /// Returns the settings of HTTPS in the form for `/status`.
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
