//! Where requests go, and how they are written.

use std::net::{SocketAddr, ToSocketAddrs as _};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::Error;
use crate::protocol::{Auth, Protocol};
use crate::workload::Operation;

/// A server on this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Endpoint {
    /// Its address; always a loopback one.
    pub address: SocketAddr,
}

impl Endpoint {
    /// Understands `http://host:port`. Only loopback addresses are accepted: the generator measures servers that share
    /// its machine, and must not become a weapon by a typing error.
    pub fn parse(url: &str) -> Result<Self, Error> {
        let refuse = |why: &str| Error::Usage(format!("--url {url}: {why}"));
        let authority = url.strip_prefix("http://").ok_or_else(|| refuse("must begin with http://"))?;
        let authority = authority.strip_suffix('/').unwrap_or(authority);
        if authority.contains(['/', '?', '#', '@']) {
            return Err(refuse("give only host and port; the database is --db"));
        }
        let mut addresses = authority.to_socket_addrs().map_err(|e| refuse(&e.to_string()))?;
        let address = addresses.find(|address| address.ip().is_loopback());
        address.map(|address| Endpoint { address }).ok_or_else(|| refuse("not a loopback address"))
    }
}

/// Writes requests for one server into buffers that are used again.
#[derive(Debug)]
pub struct RequestWriter<'p> {
    protocol: &'p dyn Protocol,
    headers: String,
    body: Vec<u8>,
    request: Vec<u8>,
}

impl<'p> RequestWriter<'p> {
    /// For this server, protocol and user.
    pub fn new(endpoint: Endpoint, protocol: &'p dyn Protocol, auth: &Auth) -> Self {
        let mut headers = format!(" HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\n", endpoint.address);
        if let Auth::Basic { user, password } = auth {
            headers += &format!("Authorization: Basic {}\r\n", STANDARD.encode(format!("{user}:{password}")));
        }
        headers += "Content-Length: ";
        RequestWriter { protocol, headers, body: Vec::new(), request: Vec::new() }
    }

    /// The bytes of the request for an operation.
    pub fn write(&mut self, operation: &Operation) -> &[u8] {
        self.body.clear();
        self.protocol.write_body(operation, &mut self.body);
        self.request.clear();
        self.request.extend_from_slice(b"POST ");
        self.request.extend_from_slice(self.protocol.path(operation).as_bytes());
        self.request.extend_from_slice(self.headers.as_bytes());
        self.request.extend_from_slice(itoa::Buffer::new().format(self.body.len()).as_bytes());
        self.request.extend_from_slice(b"\r\n\r\n");
        self.request.extend_from_slice(&self.body);
        &self.request
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::Ws4sqlite;

    #[test]
    fn only_loopback_urls_are_accepted() {
        assert_eq!(Endpoint::parse("http://127.0.0.1:12321").unwrap().address, "127.0.0.1:12321".parse().unwrap());
        assert_eq!(Endpoint::parse("http://[::1]:80/").unwrap().address, "[::1]:80".parse().unwrap());
        for url in [
            "http://192.0.2.1:80",
            "https://127.0.0.1:80",
            "127.0.0.1:80",
            "http://127.0.0.1:80/db",
            "http://x@127.0.0.1:80",
        ] {
            assert!(Endpoint::parse(url).is_err(), "{url}");
        }
    }

    #[test]
    fn a_request_states_the_length_of_its_body() {
        let auth = Auth::Basic { user: "Aladdin".into(), password: "open sesame".into() };
        let protocol = Ws4sqlite::new("db", &auth);
        let endpoint = Endpoint { address: "127.0.0.1:1".parse().unwrap() };
        let mut writer = RequestWriter::new(endpoint, &protocol, &auth);
        writer.write(&Operation::Batch(1));
        let request = String::from_utf8(writer.write(&Operation::Point(1)).to_vec()).unwrap();
        let (head, body) = request.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("POST /db HTTP/1.1\r\nHost: 127.0.0.1:1\r\n"), "{head}");
        assert!(head.contains("\r\nAuthorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==\r\n"), "{head}");
        assert!(head.ends_with(&format!("\r\nContent-Length: {}", body.len())), "{head}");
    }
}
