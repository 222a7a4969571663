//! Finds out whether an address serves HTTP. An address of `-join` must be a Raft address; the address of the HTTP API
//! is a frequent mistake.
//!
//! A node that responds to a message between nodes is not probed: it would report the request as that of a stranger.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use rustls::ClientConfig;
use rustls::crypto::aws_lc_rs;
use rustls_pki_types::ServerName;
use sqlhttp_raft::{HTTP_PROBE, Node};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::process::tls::peers::AnyServer;

/// The time within which a server must respond.
const TIMEOUT: Duration = Duration::from_secs(2);

/// The beginning of every HTTP/1 response.
const BEGINNING: &[u8] = b"HTTP/";

/// Returns an error if one of the addresses serves HTTP or HTTPS.
pub(crate) async fn check(node: &Node, addresses: &[String]) -> Result<(), String> {
    if addresses.is_empty() {
        return Ok(());
    }
    tracing::info!(target: "rqlited", "checking that supplied join addresses don't serve HTTP(S)");
    let probes: Vec<_> = addresses.iter().map(|address| probe(node, address)).collect();
    refuse_http(addresses, &join_all(probes).await)
}

/// Returns whether an address serves HTTP or HTTPS.
async fn probe(node: &Node, address: &str) -> bool {
    node.peer_info(address, TIMEOUT).await.is_err() && serves_http(address).await
}

/// Returns an error that names the first of the addresses that serves HTTP. `serve_http` states for each address
/// whether it does.
fn refuse_http(addresses: &[String], serve_http: &[bool]) -> Result<(), String> {
    match addresses.iter().zip(serve_http).find(|(_, serves)| **serves) {
        Some((address, _)) => Err(format!("join address {address} appears to be serving HTTP when it should be Raft")),
        None => Ok(()),
    }
}

async fn serves_http(address: &str) -> bool {
    let plain = async { request(TcpStream::connect(address).await?, address).await };
    match tokio::time::timeout(TIMEOUT, plain).await {
        Ok(Ok(true)) => return true,
        // The server may expect TLS.
        Ok(_) => {}
        // A server that does not respond may be a node that is not open yet. It would report a TLS handshake later.
        Err(_) => return false,
    }
    let encrypted = async {
        let stream = TcpStream::connect(address).await?;
        let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
        let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
        let config = client_config().map_err(io::Error::other)?;
        request(TlsConnector::from(Arc::new(config)).connect(name, stream).await?, address).await
    };
    matches!(tokio::time::timeout(TIMEOUT, encrypted).await, Ok(Ok(true)))
}

/// Sends a request, and returns whether the response is an HTTP response.
async fn request(mut stream: impl AsyncRead + AsyncWrite + Unpin, address: &str) -> io::Result<bool> {
    let request = format!("{HTTP_PROBE} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    stream.flush().await?;
    let mut beginning = [0; BEGINNING.len()];
    stream.read_exact(&mut beginning).await?;
    Ok(beginning == BEGINNING)
}

/// Returns a client that accepts every certificate, because the probe sends nothing confidential.
fn client_config() -> Result<ClientConfig, rustls::Error> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = Arc::new(AnyServer(provider.clone()));
    let versions = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(versions.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth())
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    /// Starts a server that sends `response` on every connection and closes it. Returns its address.
    async fn server(response: &'static [u8]) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        tokio::spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                let _ = socket.read(&mut [0; 1024]).await;
                let _ = socket.write_all(response).await;
            }
        });
        address
    }

    #[tokio::test]
    async fn an_address_that_serves_http_is_refused() {
        let (http, other) = (server(b"HTTP/1.1 404 Not Found\r\n\r\n").await, server(b"\x01").await);
        let closed = {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            listener.local_addr().unwrap().to_string()
        };
        for address in [other.as_str(), &closed, "http://nonsense"] {
            assert!(!serves_http(address).await, "{address}");
        }
        assert!(serves_http(&http).await);
        let refused = refuse_http(&[other, http.clone()], &[false, true]);
        assert_eq!(refused, Err(format!("join address {http} appears to be serving HTTP when it should be Raft")));
    }
}
