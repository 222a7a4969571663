//! The hosts of a client, and the choice of the host that receives a request.

use std::sync::atomic::{AtomicUsize, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::host::Host;
use super::transport::{HttpRequest, HttpResponse, ResponseBody, Transport, TransportError};

/// The maximum length of the body of a response with an error status, in bytes. The rest is not received. SQLite quotes
/// tokens of the SQL text in its messages, so they can be long.
const ERROR_BYTES_MAX: usize = 1 << 20;

/// The default of the maximum length of a response that a client holds in memory, in bytes.
pub const RESPONSE_BYTES_MAX: usize = 1 << 30;

/// The hosts of a client. One of them receives the requests, at first the first one.
///
/// If a host cannot be reached, the request is sent to the next one, which then receives the further requests, too. A
/// request that may have been carried out is not sent again. If the connection fails before the header of the response
/// has arrived, the next request is sent to another host. If it fails later, the next request is sent to the same host
/// first.
#[derive(Debug)]
pub struct Hosts {
    hosts: Vec<Host>,
    /// The index of the host that receives the next request.
    current: AtomicUsize,
}

/// The error of a request to one of several hosts.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// No host could be reached. No server has received the request. Contains the error of each host.
    #[error("no host can be reached: {}", shown(.0))]
    Unreachable(Vec<(Host, String)>),
    /// The connection failed before the response was complete. The server may have carried out the request.
    #[error("{host}: the connection failed, and the request may have been carried out: {reason}")]
    Lost {
        /// The server.
        host: Host,
        /// The error of the connection.
        reason: String,
    },
    /// The body of the request cannot be read. No server has carried out the request.
    #[error("the body of the request cannot be read: {0}")]
    Body(String),
    /// The response is longer than the limit of the client, in bytes.
    #[error("the response is longer than {0} bytes")]
    TooLong(usize),
}

fn shown(errors: &[(Host, String)]) -> String {
    let errors: Vec<String> = errors.iter().map(|(host, why)| format!("{host}: {why}")).collect();
    errors.join("; ")
}

impl SendError {
    /// Creates the error of a request to one host.
    pub fn new(host: &Host, error: TransportError) -> SendError {
        match error {
            TransportError::NotSent(why) => SendError::Unreachable(vec![(host.clone(), why)]),
            TransportError::Body(why) => SendError::Body(why),
            TransportError::Lost(reason) => SendError::Lost { host: host.clone(), reason },
        }
    }

    /// Creates the error of a response whose body has not arrived completely.
    pub fn lost(host: &Host, error: &TransportError) -> SendError {
        SendError::Lost { host: host.clone(), reason: error.reason().to_owned() }
    }
}

impl Hosts {
    /// Creates a list of hosts. `first` receives the requests until it cannot be reached.
    pub fn new(first: Host, others: impl IntoIterator<Item = Host>) -> Hosts {
        Hosts { hosts: std::iter::once(first).chain(others).collect(), current: AtomicUsize::new(0) }
    }

    /// The host that receives the next request.
    pub fn current(&self) -> &Host {
        // `new` creates at least one host.
        &self.hosts[self.current.load(Ordering::Relaxed) % self.hosts.len()]
    }

    /// Sends a request, and receives the header of the response. Returns the server that has sent it, and the response.
    ///
    /// # Errors
    /// See [`SendError`]. A response with an error status is no error.
    pub async fn send<T: Transport>(
        &self,
        transport: &T,
        request: &HttpRequest,
    ) -> Result<(&Host, HttpResponse<T::Body>), SendError> {
        let mut errors = Vec::new();
        let first = self.current.load(Ordering::Relaxed);
        for number in 0..self.hosts.len() {
            let index = (first + number) % self.hosts.len();
            let host = &self.hosts[index];
            match transport.send(host, request).await {
                Ok(response) => {
                    self.current.store(index, Ordering::Relaxed);
                    return Ok((host, response));
                }
                Err(TransportError::NotSent(why)) => errors.push((host.clone(), why)),
                Err(error @ TransportError::Body(_)) => return Err(SendError::new(host, error)),
                Err(error @ TransportError::Lost(_)) => {
                    // The next request is sent to another host: this one has probably stopped.
                    self.current.store((index + 1) % self.hosts.len(), Ordering::Relaxed);
                    return Err(SendError::new(host, error));
                }
            }
        }
        Err(SendError::Unreachable(errors))
    }
}

/// Receives the body of a response, up to `bytes_max` bytes. The body of a response with an error status is cut off
/// there, or after 1 MiB: its beginning says what has failed.
///
/// # Errors
/// [`SendError::Lost`], [`SendError::TooLong`].
pub async fn receive<B: ResponseBody>(
    host: &Host,
    mut response: HttpResponse<B>,
    bytes_max: usize,
) -> Result<HttpResponse<Vec<u8>>, SendError> {
    let failed = response.status >= 400;
    let most = if failed { bytes_max.min(ERROR_BYTES_MAX) } else { bytes_max };
    let mut whole = Vec::new();
    while let Some(chunk) = response.body.chunk().await.map_err(|error| SendError::lost(host, &error))? {
        if whole.len() + chunk.len() > most {
            if !failed {
                return Err(SendError::TooLong(bytes_max));
            }
            whole.extend_from_slice(&chunk[..most - whole.len()]);
            break;
        }
        whole.extend_from_slice(&chunk);
    }
    Ok(HttpResponse { status: response.status, headers: response.headers, body: whole })
}

/// Returns the value of the header field `Authorization` for basic authentication (RFC 7617).
pub fn basic_auth(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    /// The chunks of a body, the last one first.
    struct Chunks(Vec<Vec<u8>>);

    impl ResponseBody for Chunks {
        async fn chunk(&mut self) -> Result<Option<Vec<u8>>, TransportError> {
            Ok(self.0.pop())
        }
    }

    /// Receives a body of 64 chunks of 32 KiB. Returns its length.
    fn received(status: u16, bytes_max: usize) -> Result<usize, SendError> {
        let response = HttpResponse::new(status, Vec::new(), Chunks(vec![vec![b'x'; 32 * 1024]; 64]));
        let host = "a".parse().unwrap();
        let Poll::Ready(received) =
            pin!(receive(&host, response, bytes_max)).poll(&mut Context::from_waker(Waker::noop()))
        else {
            panic!("the body is in memory")
        };
        received.map(|response| response.body.len())
    }

    #[test]
    fn the_body_of_an_error_is_cut_off() {
        const MIB: usize = 1024 * 1024;
        assert_eq!(received(200, 2 * MIB), Ok(2 * MIB));
        assert_eq!(received(200, 2 * MIB - 1), Err(SendError::TooLong(2 * MIB - 1)));
        assert_eq!(received(500, 2 * MIB), Ok(MIB));
        assert_eq!(received(400, 100_000), Ok(100_000));
    }
}
