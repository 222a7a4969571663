//! HTTPS: HTTP/1.1 and HTTP/2, as negotiated in the handshake.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod http_support;

use std::net::SocketAddr;
use std::sync::Arc;

use http_support::client::call;
use http_support::{Setup, soon};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use sqlhttp_server::process::tls::{Tls, TlsFiles};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

struct Secured {
    address: SocketAddr,
    certificate: CertificateDer<'static>,
}

async fn start() -> Secured {
    let dir = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let files = TlsFiles { cert: dir.path().join("cert.pem"), key: dir.path().join("key.pem") };
    std::fs::write(&files.cert, made.cert.pem()).unwrap();
    std::fs::write(&files.key, made.signing_key.serialize_pem()).unwrap();
    let certificate = CertificateDer::from_pem_file(&files.cert).unwrap();
    let tls = Tls::from_files(&files).unwrap();

    let app = Setup::new().start().await.app;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(sqlhttp_server::standalone::serve::run(listener, app, Some(tls), std::future::pending()));
    Secured { address, certificate }
}

impl Secured {
    async fn connect(&self, protocol: &str) -> TlsStream<TcpStream> {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let mut config = config.with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
        let socket = soon(TcpStream::connect(self.address)).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        soon(TlsConnector::from(Arc::new(config)).connect(name, socket)).await.unwrap()
    }
}

#[tokio::test]
async fn http_1_is_served_over_tls() {
    let server = start().await;
    let mut socket = server.connect("http/1.1").await;
    let body = call("x");
    let head = format!("POST /t HTTP/1.1\r\nHost: t\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", body.len());
    soon(socket.write_all((head + &body).as_bytes())).await.unwrap();
    let mut answer = String::new();
    soon(socket.read_to_string(&mut answer)).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.ends_with("\"resultSet\":[{\"a\":\"x\"}]}]}"), "{answer}");
}

#[tokio::test]
async fn http_2_is_served_over_tls() {
    let server = start().await;
    let mut socket = server.connect("h2").await;
    assert_eq!(socket.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    // The preface and empty settings; the server answers with its own settings, a frame of type 4 on stream 0.
    soon(socket.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")).await.unwrap();
    let mut frame = [0; 9];
    soon(socket.read_exact(&mut frame)).await.unwrap();
    assert_eq!((frame[3], &frame[5..]), (4, &[0; 4][..]));
}

#[tokio::test]
async fn plain_http_on_a_port_of_https_is_answered() {
    let server = start().await;
    for request in ["POST /t HTTP/1.1\r\nHost: t\r\n\r\n".to_owned(), "x".repeat(1 << 20)] {
        let mut socket = soon(TcpStream::connect(server.address)).await.unwrap();
        soon(socket.write_all(request.as_bytes())).await.unwrap();
        let mut answer = String::new();
        soon(socket.read_to_string(&mut answer)).await.unwrap();
        let expected = "HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n";
        assert_eq!(answer, expected);
    }
    let mut nonsense = http_support::Client::connect(server.address).await;
    nonsense.send("\0\0").await;
    nonsense.closed().await;
}
