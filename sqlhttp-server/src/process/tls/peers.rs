//! TLS for the connections between nodes. A node is a TLS server for the connections that it accepts and a TLS client
//! for those that it opens; it presents the same certificate in both roles.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ResolvesClientCert, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};

use super::clients::{roots_in_file, roots_of_host};
use super::identity::Identity;
use super::{Tls, TlsError, TlsFiles, TlsOptions};

/// The settings of TLS between nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerTlsOptions {
    /// The certificate chain and the private key of this node.
    pub files: TlsFiles,
    /// The PEM file with the authorities that issue the certificates of nodes; `None` for the authorities that the host
    /// trusts.
    pub ca: Option<PathBuf>,
    /// Whether this node accepts every certificate of the nodes to which it connects.
    pub no_verify: bool,
    /// Whether nodes that connect to this one must present a valid certificate.
    pub verify_client: bool,
    /// The host name that the certificates of other nodes must have; `None` for the host of their address.
    pub server_name: Option<String>,
    /// The common name that the certificates of nodes that connect to this one must have; `None` for any.
    pub common_name: Option<String>,
}

/// TLS for the connections between nodes.
pub(crate) struct PeerTls {
    acceptor: TlsAcceptor,
    connector: TlsConnector,
    server_name: Option<String>,
}

impl PeerTls {
    /// Loads the files that `options` names.
    pub(crate) fn load(options: &PeerTlsOptions) -> Result<PeerTls, TlsError> {
        let PeerTlsOptions { files, ca, verify_client, common_name, .. } = options.clone();
        let server = TlsOptions { client_ca: ca, verify_client, common_name, ..TlsOptions::new(files.cert, files.key) };
        let provider = Arc::new(aws_lc_rs::default_provider());
        let identity = Arc::new(Identity::load(options.files.clone(), provider.clone())?);
        let acceptor = Tls::with_identity(&server, identity.clone())?.acceptor;
        let failed = |source| TlsError::Mismatch { files: options.files.clone(), source };
        let client = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(failed)?
            .dangerous()
            .with_custom_certificate_verifier(verifier(options, provider)?)
            .with_client_cert_resolver(identity);
        let connector = TlsConnector::from(Arc::new(client));
        Ok(PeerTls { acceptor, connector, server_name: options.server_name.clone() })
    }

    /// Encrypts a connection that this node has opened to `address`, and verifies the certificate of the other node.
    pub(crate) async fn connect(&self, address: &str, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
        let name = self.server_name.as_deref().unwrap_or(host.trim_start_matches('[').trim_end_matches(']'));
        let name = ServerName::try_from(name.to_owned()).map_err(io::Error::other)?;
        self.connector.connect(name, stream).await.map(TlsStream::Client)
    }

    /// Encrypts a connection that another node has opened.
    pub(crate) async fn accept(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        self.acceptor.accept(stream).await.map(TlsStream::Server)
    }
}

fn verifier(options: &PeerTlsOptions, provider: Arc<CryptoProvider>) -> Result<Arc<dyn ServerCertVerifier>, TlsError> {
    if options.no_verify {
        return Ok(Arc::new(AnyServer(provider)));
    }
    let roots = Arc::new(options.ca.as_deref().map_or_else(roots_of_host, roots_in_file)?);
    let verifier = WebPkiServerVerifier::builder_with_provider(roots, provider).build().map_err(TlsError::Clients)?;
    Ok(verifier)
}

impl ResolvesClientCert for Identity {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.reload_if_due(Instant::now());
        Some(self.current())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// Accepts every certificate of a server. The connection is encrypted, but the server may be any.
#[derive(Debug)]
pub(crate) struct AnyServer(pub(crate) Arc<CryptoProvider>);

impl ServerCertVerifier for AnyServer {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
