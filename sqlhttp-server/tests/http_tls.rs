//! HTTPS: HTTP/1.1 and HTTP/2, as negotiated in the handshake.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;
mod http_support;

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;

use http_support::client::call;
use http_support::{Server, Setup};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use sqlhttp_server::process::tls::{Tls, TlsFiles};

/// A server with a certificate of its own.
struct Secured {
    server: Server,
    certificate: CertificateDer<'static>,
}

impl Secured {
    fn start() -> Secured {
        let dir = common::temp_dir();
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let cert = common::write(dir.path(), "cert.pem", made.cert.pem());
        let key = common::write(dir.path(), "key.pem", made.signing_key.serialize_pem());
        let certificate = CertificateDer::from_pem_file(&cert).unwrap();
        let tls = Tls::from_files(&TlsFiles { cert, key }).unwrap();
        let server = Setup { tls: Some(tls), ..Setup::new() }.start();
        Secured { server, certificate }
    }

    /// A connection without TLS.
    fn connect_plain(&self) -> TcpStream {
        let socket = TcpStream::connect(self.server.address).unwrap();
        socket.set_read_timeout(Some(common::http::PATIENCE)).unwrap();
        socket
    }

    /// A connection for this application protocol, after the handshake.
    fn connect(&self, protocol: &str) -> StreamOwned<ClientConnection, TcpStream> {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let mut config = config.with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
        let name = ServerName::try_from("localhost").unwrap();
        let mut connection = ClientConnection::new(Arc::new(config), name).unwrap();
        let mut socket = self.connect_plain();
        connection.complete_io(&mut socket).unwrap();
        StreamOwned::new(connection, socket)
    }
}

#[test]
fn http_1_is_served_over_tls() {
    let secured = Secured::start();
    let mut socket = secured.connect("http/1.1");
    let body = call("x");
    let head = format!("POST /t HTTP/1.1\r\nHost: t\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", body.len());
    socket.write_all((head + &body).as_bytes()).unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.ends_with("\"resultSet\":[{\"a\":\"x\"}]}]}"), "{answer}");
}

#[test]
fn http_2_is_served_over_tls() {
    let secured = Secured::start();
    let mut socket = secured.connect("h2");
    assert_eq!(socket.conn.alpn_protocol(), Some(&b"h2"[..]));
    // The preface and empty settings. The server answers with its own settings, a frame of type 4 on stream 0.
    socket.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").unwrap();
    let mut frame = [0; 9];
    socket.read_exact(&mut frame).unwrap();
    assert_eq!((frame[3], &frame[5..]), (4, &[0; 4][..]));
}

#[test]
fn plain_http_on_a_port_of_https_is_answered() {
    let secured = Secured::start();
    for request in ["POST /t HTTP/1.1\r\nHost: t\r\n\r\n".to_owned(), "x".repeat(1 << 20)] {
        let mut socket = secured.connect_plain();
        socket.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        let expected = "HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n";
        assert_eq!(answer, expected);
    }
    let mut nonsense = secured.server.connect();
    nonsense.send("\0\0");
    nonsense.closed();
}
