//! Tests of HTTPS with TLS handshakes over an in-memory stream.

use std::path::Path;
use std::time::{Duration, Instant};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsConnector;

use super::*;

fn write_files(dir: &Path) -> TlsFiles {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let files = TlsFiles { cert: dir.join("cert.pem"), key: dir.join("key.pem") };
    put(&files.cert, &made.cert.pem());
    put(&files.key, &made.signing_key.serialize_pem());
    files
}

/// Replaces a file with a new one. The inode of the file changes, so the change is detected even if the length and the
/// modification time stay the same.
fn put(path: &Path, pem: &str) {
    let new = path.with_extension("new");
    std::fs::write(&new, pem).unwrap();
    std::fs::rename(&new, path).unwrap();
}

#[test]
fn files_are_read() {
    let dir = tempfile::tempdir().unwrap();
    assert!(Tls::from_files(&write_files(dir.path())).is_ok());
}

#[test]
fn errors_contain_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let other = tempfile::tempdir().unwrap();
    let good = write_files(dir.path());
    let foreign = write_files(other.path());
    let message = |files: &TlsFiles| Tls::from_files(files).unwrap_err().to_string();

    let missing = TlsFiles { cert: dir.path().join("none.pem"), ..good.clone() };
    assert!(message(&missing).starts_with(&format!("TLS certificate '{}': ", missing.cert.display())));
    let swapped = TlsFiles { cert: good.key.clone(), key: good.cert.clone() };
    assert!(message(&swapped).ends_with("there is no certificate in it"));
    let no_key = TlsFiles { key: good.cert.clone(), ..good.clone() };
    assert!(message(&no_key).starts_with("TLS key "));
    let mixed = TlsFiles { key: foreign.key, ..good.clone() };
    assert!(message(&mixed).contains(" and key "), "{}", message(&mixed));

    let no_ca =
        TlsOptions { client_ca: Some(good.key), verify_client: true, ..TlsOptions::new(&good.cert, foreign.cert) };
    assert!(Tls::load(&no_ca).is_err());
}

/// A certificate authority for client certificates.
struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "authority");
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Authority { pem, issuer: Issuer::new(params, key) }
    }

    fn issue(&self, common_name: &str) -> (CertificateDer<'static>, PrivateKeyDer<'static>) {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, common_name);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        (certificate.der().clone(), PrivateKeyDer::Pkcs8(key.serialize_der().into()))
    }
}

/// The TLS settings of a server, and the authority that issues its clients' certificates.
struct Server {
    dir: TempDir,
    options: TlsOptions,
    authority: Authority,
}

impl Server {
    fn new(common_name: Option<&str>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let files = write_files(dir.path());
        let authority = Authority::new();
        let ca = dir.path().join("ca.pem");
        std::fs::write(&ca, &authority.pem).unwrap();
        let options = TlsOptions {
            client_ca: Some(ca),
            verify_client: true,
            common_name: common_name.map(str::to_owned),
            ..TlsOptions::new(files.cert, files.key)
        };
        Server { dir, options, authority }
    }

    /// Returns whether a client with this certificate completes the handshake and can read.
    async fn serves(&self, client: Option<(CertificateDer<'static>, PrivateKeyDer<'static>)>) -> bool {
        let tls = Tls::load(&self.options).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(&self.options.cert).unwrap()).unwrap();
        shake_hands(&tls, roots, client).await
    }
}

async fn shake_hands(
    tls: &Tls,
    roots: RootCertStore,
    client: Option<(CertificateDer<'static>, PrivateKeyDer<'static>)>,
) -> bool {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let builder = builder.with_root_certificates(roots);
    let config = match client {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => builder.with_client_auth_cert(vec![certificate], key).unwrap(),
    };
    let (near, far) = tokio::io::duplex(64 << 10);
    let server = async {
        let mut socket = tls.acceptor.accept(far).await?;
        socket.write_all(b"x").await?;
        socket.shutdown().await
    };
    let client = async {
        let name = ServerName::try_from("localhost").unwrap();
        let mut socket = TlsConnector::from(Arc::new(config)).connect(name, near).await?;
        // With TLS 1.3 the client receives the refusal of its certificate only when it reads.
        socket.read_u8().await
    };
    let (served, read) = tokio::join!(server, client);
    assert_eq!(served.is_ok(), read.is_ok(), "{served:?} {read:?}");
    read.is_ok()
}

#[tokio::test]
async fn clients_need_a_certificate_of_the_authority() {
    let server = Server::new(None);
    assert!(!server.serves(None).await);
    assert!(!server.serves(Some(Authority::new().issue("client"))).await);
    assert!(server.serves(Some(server.authority.issue("client"))).await);
}

#[tokio::test]
async fn clients_need_the_right_common_name() {
    let server = Server::new(Some("client"));
    assert!(!server.serves(None).await);
    assert!(!server.serves(Some(server.authority.issue("clients"))).await);
    assert!(!server.serves(Some(Authority::new().issue("client"))).await);
    assert!(server.serves(Some(server.authority.issue("client"))).await);
}

#[tokio::test]
async fn a_common_name_alone_demands_a_certificate_too() {
    let mut server = Server::new(Some("client"));
    server.options.verify_client = false;
    assert!(!server.serves(None).await);
    assert!(server.serves(Some(server.authority.issue("client"))).await);
}

#[tokio::test]
async fn clients_need_no_certificate_by_default() {
    let mut server = Server::new(None);
    server.options.verify_client = false;
    assert!(server.serves(None).await);
}

#[tokio::test]
async fn a_new_pair_is_loaded_and_a_mismatched_one_is_not() {
    let server = Server::new(None);
    let options = TlsOptions { verify_client: false, ..server.options.clone() };
    let provider = Arc::new(aws_lc_rs::default_provider());
    let identity = Arc::new(Identity::load(options.files(), provider).unwrap());
    let tls = Tls::with_identity(&options, Arc::clone(&identity)).unwrap();
    let trusting = |certificate: &CertificateDer<'static>| {
        let mut roots = RootCertStore::empty();
        roots.add(certificate.clone()).unwrap();
        roots
    };
    let on_disk = || CertificateDer::from_pem_file(&options.cert).unwrap();
    let later = Instant::now() + Duration::from_secs(3600);

    let old = on_disk();
    write_files(server.dir.path());
    let new = on_disk();
    identity.reload_if_due(later);
    assert!(shake_hands(&tls, trusting(&new), None).await);
    assert!(!shake_hands(&tls, trusting(&old), None).await);

    // The certificate has been replaced, but not yet its key.
    let halfway = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    put(&options.cert, &halfway.cert.pem());
    identity.reload_if_due(later + Duration::from_secs(2));
    assert!(shake_hands(&tls, trusting(&new), None).await);

    put(&options.key, &halfway.signing_key.serialize_pem());
    identity.reload_if_due(later + Duration::from_secs(4));
    assert!(shake_hands(&tls, trusting(&on_disk()), None).await);
}

#[test]
fn the_description_has_the_values_of_status() {
    let server = Server::new(None);
    let tls = Tls::load(&server.options).unwrap();
    let described = serde_json::to_value(tls.describe()).unwrap();
    assert_eq!(described["enabled"], "true");
    assert_eq!(described["client_auth"], "RequireAndVerifyClientCert");
    assert_eq!(described["next_protos"], serde_json::json!(["h2", "http/1.1"]));
    assert_eq!(described["ca_file"], server.options.client_ca.as_ref().unwrap().display().to_string());
    let open = Tls::load(&TlsOptions::new(&server.options.cert, &server.options.key)).unwrap().describe();
    assert_eq!((open.client_auth, open.ca_file.as_str()), ("NoClientCert", ""));
}
