//! A client that writes bytes and reads answers.

use std::net::SocketAddr;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use super::soon;

/// A connection.
pub struct Client {
    socket: BufReader<TcpStream>,
}

/// An answer.
#[derive(Debug)]
pub struct Response {
    pub status: u16,
    pub version: String,
    headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// The body ended as HTTP demands.
    pub complete: bool,
}

impl Client {
    pub async fn connect(address: SocketAddr) -> Self {
        let socket = soon(TcpStream::connect(address)).await.unwrap();
        Client { socket: BufReader::new(socket) }
    }

    /// Sends bytes as they are.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        soon(self.socket.write_all(bytes.as_ref())).await.unwrap();
    }

    /// Sends a request and reads the answer.
    pub async fn request(&mut self, head: &str, body: &[u8]) -> Response {
        self.send_request(head, body).await;
        self.response().await
    }

    /// Sends a request: the head without the empty line, to which a length is added.
    pub async fn send_request(&mut self, head: &str, body: &[u8]) {
        let mut bytes = format!("{head}\r\nHost: test\r\nContent-Length: {}\r\n\r\n", body.len()).into_bytes();
        bytes.extend_from_slice(body);
        self.send(bytes).await;
    }

    /// Runs a query on `/t`.
    pub async fn query(&mut self, sql: &str) -> Response {
        self.request("POST /t HTTP/1.1", call(sql).as_bytes()).await
    }

    /// Runs a query on `/t`; its status, unless the connection fails.
    pub async fn try_query(&mut self, sql: &str) -> Option<u16> {
        let body = call(sql);
        let request = format!("POST /t HTTP/1.1\r\nHost: t\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        soon(self.socket.write_all(request.as_bytes())).await.ok()?;
        self.line().await.split(' ').nth(1)?.parse().ok()
    }

    /// Starts a query on `/t`.
    pub async fn send_query(&mut self, sql: &str) {
        self.send_request("POST /t HTTP/1.1", call(sql).as_bytes()).await;
    }

    pub async fn response(&mut self) -> Response {
        self.response_to("POST").await
    }

    pub async fn response_to(&mut self, method: &str) -> Response {
        let status_line = self.line().await;
        let mut words = status_line.split(' ');
        let version = words.next().unwrap_or_default().to_owned();
        // A connection that ends without an answer has the status 0.
        let status = words.next().map_or(0, |status| status.parse().unwrap());
        let mut response = Response { status, version, headers: Vec::new(), body: Vec::new(), complete: true };
        loop {
            let line = self.line().await;
            let Some((name, value)) = line.split_once(": ") else {
                break;
            };
            response.headers.push((name.to_ascii_lowercase(), value.to_owned()));
        }
        response.complete = status != 0;
        if response.complete && method != "HEAD" && status != 204 && status != 304 {
            self.body(&mut response).await;
        }
        response
    }

    async fn body(&mut self, response: &mut Response) {
        if let Some(len) = response.header("content-length") {
            let len: usize = len.parse().unwrap();
            let mut body = vec![0; len];
            let read = soon(self.socket.read_exact(&mut body)).await;
            response.complete = read.is_ok();
            response.body = body;
        } else if response.header("transfer-encoding") == Some("chunked") {
            self.chunks(response).await;
        } else {
            soon(self.socket.read_to_end(&mut response.body)).await.unwrap();
        }
    }

    async fn chunks(&mut self, response: &mut Response) {
        loop {
            let len = usize::from_str_radix(&self.line().await, 16);
            let Ok(len) = len else {
                response.complete = false;
                return;
            };
            let mut chunk = vec![0; len + 2];
            if soon(self.socket.read_exact(&mut chunk)).await.is_err() {
                response.complete = false;
                return;
            }
            response.body.extend_from_slice(&chunk[..len]);
            if len == 0 {
                return;
            }
        }
    }

    /// One line without its end; empty at the end of the connection.
    async fn line(&mut self) -> String {
        let mut line = String::new();
        let _ = soon(self.socket.read_line(&mut line)).await;
        line.trim_end().to_owned()
    }

    /// Whether the server has closed the connection. What it sent before is dropped.
    pub async fn closed(&mut self) {
        let mut rest = Vec::new();
        let _ = soon(self.socket.read_to_end(&mut rest)).await;
    }
}

impl Response {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

/// A request body with one query.
pub fn call(sql: &str) -> String {
    format!("{{\"transaction\":[{{\"query\":\"{sql}\"}}]}}")
}
