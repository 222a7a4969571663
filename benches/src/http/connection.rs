//! An HTTP connection on which one request and its response are exchanged at a time.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::{Malformed, Progress, Response, ResponseParser};

/// The size of the input buffer of a connection, in bytes. Most responses fit into one read.
const INPUT_LEN: usize = 64 << 10;

/// The reason why an exchange of a request and a response failed. The connection cannot be used again.
#[derive(Debug, thiserror::Error)]
pub enum ExchangeError {
    /// An operation on the socket failed.
    #[error("{0}")]
    Io(#[from] std::io::Error),
    /// The received bytes are not an HTTP response.
    #[error("{0}")]
    Malformed(#[from] Malformed),
}

/// A connection with a server.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    parser: ResponseParser,
    input: Box<[u8]>,
}

impl Connection {
    /// Opens a connection with the server, with Nagle's algorithm disabled.
    pub async fn open(address: SocketAddr) -> std::io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Connection { stream, parser: ResponseParser::default(), input: vec![0; INPUT_LEN].into() })
    }

    /// Sends a request, waits for the end of its response, and returns the response. If `body` is given, the response
    /// body is appended to it.
    pub async fn exchange(
        &mut self,
        request: &[u8],
        mut body: Option<&mut Vec<u8>>,
    ) -> Result<Response, ExchangeError> {
        self.stream.write_all(request).await?;
        loop {
            let len = self.stream.read(&mut self.input).await?;
            if len == 0 {
                return Ok(self.parser.close()?);
            }
            match self.parser.feed(&self.input[..len], body.as_deref_mut())? {
                Progress::More => {}
                Progress::Done { response, consumed } if consumed == len => return Ok(response),
                Progress::Done { .. } => return Err(Malformed("bytes after the end of the response").into()),
            }
        }
    }
}
