//! The client of these tests: it sends bytes as they are, or requests to the database `t`.

use std::net::SocketAddr;
use std::ops::Deref;

use crate::common;

/// A connection.
pub struct Client(common::Client);

/// An answer.
#[derive(Debug)]
pub struct Response(common::Response);

impl Client {
    pub fn connect(address: SocketAddr) -> Self {
        Client(common::Client::connect(address).unwrap())
    }

    /// Sends bytes as they are.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.write(bytes.as_ref()).unwrap();
    }

    /// Sends a request and reads the answer.
    pub fn request(&mut self, head: &str, body: &[u8]) -> Response {
        self.send_request(head, body);
        self.response()
    }

    /// Sends a request. The head is given without its Host and Content-Length headers and without the empty line.
    pub fn send_request(&mut self, head: &str, body: &[u8]) {
        self.send(encode(head, body));
    }

    /// Runs a query on `/t`.
    pub fn query(&mut self, sql: &str) -> Response {
        self.request("POST /t HTTP/1.1", call(sql).as_bytes())
    }

    /// Runs a query on `/t`. Returns its status, or `None` if the connection fails.
    pub fn try_query(&mut self, sql: &str) -> Option<u16> {
        self.0.write(&encode("POST /t HTTP/1.1", call(sql).as_bytes())).ok()?;
        self.try_response().map(|response| response.status)
    }

    /// Sends a query on `/t`, without reading the answer.
    pub fn send_query(&mut self, sql: &str) {
        self.send_request("POST /t HTTP/1.1", call(sql).as_bytes());
    }

    /// Reads an answer, which must be complete.
    pub fn response(&mut self) -> Response {
        Response(self.0.receive(false).unwrap())
    }

    /// Reads an answer. `None` if it is incomplete or missing.
    pub fn try_response(&mut self) -> Option<Response> {
        self.0.receive(false).ok().map(Response)
    }

    /// Reads an answer to HEAD.
    pub fn response_to_head(&mut self) -> Response {
        Response(self.0.receive(true).unwrap())
    }

    /// Reads the status of an interim answer.
    pub fn interim_status(&mut self) -> u16 {
        self.0.receive_interim().unwrap()
    }

    /// Reads an answer and asserts that its body is cut. Returns the status.
    pub fn cut_response(&mut self) -> u16 {
        let head = self.0.receive(true).unwrap();
        let rest = self.0.until_closed();
        assert_eq!(head.header("transfer-encoding"), Some("chunked"));
        assert!(!rest.ends_with(b"\r\n0\r\n\r\n"), "the body is complete");
        head.status
    }

    /// Waits until the server closes the connection.
    pub fn closed(&mut self) {
        self.0.until_closed();
    }
}

impl Deref for Response {
    type Target = common::Response;

    fn deref(&self) -> &common::Response {
        &self.0
    }
}

impl Response {
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

fn encode(head: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("{head}\r\nHost: test\r\nContent-Length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

/// A request body with one query.
pub fn call(sql: &str) -> String {
    format!("{{\"transaction\":[{{\"query\":\"{sql}\"}}]}}")
}
