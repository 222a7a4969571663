//! The address of a server, and the encoding of requests for it.

use std::net::{Ipv4Addr, SocketAddr, ToSocketAddrs as _};
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::protocol::{Auth, Protocol};
use crate::workload::Operation;

/// The address of a server on this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Endpoint {
    /// The address and port of the server. The address is a loopback address.
    pub address: SocketAddr,
}

impl Endpoint {
    /// Returns the endpoint with this port on 127.0.0.1.
    pub fn local(port: u16) -> Self {
        Endpoint { address: (Ipv4Addr::LOCALHOST, port).into() }
    }
}

impl FromStr for Endpoint {
    type Err = String;

    /// Parses `http://host:port`. Only loopback addresses are accepted. The generator is meant for servers on its own
    /// machine, and a typing error must not put load on another machine.
    fn from_str(url: &str) -> Result<Self, String> {
        let authority = url.strip_prefix("http://").ok_or("must begin with http://")?;
        let authority = authority.strip_suffix('/').unwrap_or(authority);
        if authority.contains(['/', '?', '#', '@']) {
            return Err("give only host and port; --db names the database".into());
        }
        let mut addresses = authority.to_socket_addrs().map_err(|error| error.to_string())?;
        let address = addresses.find(|address| address.ip().is_loopback()).ok_or("not a loopback address")?;
        Ok(Endpoint { address })
    }
}

/// Encodes HTTP requests for one server. The buffers are reused for each request.
#[derive(Debug)]
pub struct RequestWriter<'p> {
    protocol: &'p dyn Protocol,
    headers: String,
    body: Vec<u8>,
    request: Vec<u8>,
}

impl<'p> RequestWriter<'p> {
    /// Creates the writer for a server, and prepares the HTTP headers for the protocol and the credentials.
    pub fn new(endpoint: Endpoint, protocol: &'p dyn Protocol, auth: &Auth) -> Self {
        let mut headers = format!(" HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\n", endpoint.address);
        if let Auth::Basic { user, password } = auth {
            headers += &format!("Authorization: Basic {}\r\n", STANDARD.encode(format!("{user}:{password}")));
        }
        headers += "Content-Length: ";
        RequestWriter { protocol, headers, body: Vec::new(), request: Vec::new() }
    }

    /// Returns the bytes of the HTTP request for an operation. They are valid until the next call.
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
        assert_eq!("http://127.0.0.1:12321".parse(), Ok(Endpoint::local(12321)));
        assert_eq!("http://[::1]:80/".parse(), Ok(Endpoint { address: "[::1]:80".parse().unwrap() }));
        for url in [
            "http://192.0.2.1:80",
            "https://127.0.0.1:80",
            "127.0.0.1:80",
            "http://127.0.0.1:80/db",
            "http://x@127.0.0.1:80",
        ] {
            assert!(url.parse::<Endpoint>().is_err(), "{url}");
        }
    }

    #[test]
    fn a_request_states_the_length_of_its_body() {
        let auth = Auth::Basic { user: "Aladdin".into(), password: "open sesame".into() };
        let protocol = Ws4sqlite::new("db", &auth);
        let endpoint = Endpoint::local(1);
        let mut writer = RequestWriter::new(endpoint, &protocol, &auth);
        writer.write(&Operation::Batch(1));
        let request = String::from_utf8(writer.write(&Operation::Point(1)).to_vec()).unwrap();
        let (head, body) = request.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("POST /db HTTP/1.1\r\nHost: 127.0.0.1:1\r\n"), "{head}");
        assert!(head.contains("\r\nAuthorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==\r\n"), "{head}");
        assert!(head.ends_with(&format!("\r\nContent-Length: {}", body.len())), "{head}");
    }
}
