//! A connection that sends a request and reads its answer, one after the other.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::{Malformed, Progress, Response, ResponseParser};

/// Enough for most answers to come in one read.
const INPUT_LEN: usize = 64 << 10;

/// Why an exchange has no response. The connection is of no more use.
#[derive(Debug, thiserror::Error)]
pub enum ExchangeError {
    /// The socket failed.
    #[error("{0}")]
    Io(#[from] std::io::Error),
    /// What came was no response.
    #[error("{0}")]
    Malformed(#[from] Malformed),
}

/// A connection to a server.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    parser: ResponseParser,
    input: Box<[u8]>,
}

impl Connection {
    /// Connects, with Nagle's algorithm off.
    pub async fn open(address: SocketAddr) -> std::io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Connection { stream, parser: ResponseParser::default(), input: vec![0; INPUT_LEN].into() })
    }

    /// Sends a request and waits for the end of its answer. The answer's body is appended to `body` if it is given.
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
