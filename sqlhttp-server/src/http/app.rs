//! The interface between the transport and the program that answers requests.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;

use hyper::body::Incoming;
use hyper::http::request::Parts;

use super::peer::Peer;
use super::reply::HttpResponse;
use super::transport::Transport;

/// A program that answers HTTP requests. The transport (`listen`, `connection`, `handle`) serves one `App` and knows
/// neither a protocol nor a database.
pub(crate) trait App: Send + Sync + 'static {
    /// The state that the program shares with the transport.
    fn transport(&self) -> &Arc<Transport>;

    /// Takes the address of the listener, before the first connection is accepted.
    fn listening(&self, address: SocketAddr);

    /// Answers a request. Returns the response and the index of the database in whose metrics the request is counted
    /// (`None` if the request reached no database). The program takes the body out of `body` to read it. The transport
    /// discards a body that is left there.
    ///
    /// Dropping the future cancels the request and interrupts its statement.
    fn answer(
        &self,
        head: &Parts,
        peer: &Peer,
        body: &mut Option<Incoming>,
    ) -> impl Future<Output = (Option<usize>, HttpResponse)> + Send;

    /// The response for a request that the transport refuses, in the format of the program's protocol.
    fn refusal(&self, refused: Refused) -> HttpResponse;

    /// The media type and the body of the response to a head that hyper could not parse. `status` is the status line
    /// (`400 Bad Request`).
    fn malformed_head(status: &str) -> (&'static str, String);
}

/// The reason why the transport refuses a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    /// The head is ambiguous: a proxy in front of this server may read another host or another length in it (400). The
    /// text is the reason.
    Ambiguous(&'static str),
    /// The host that the request names is not one of the allowed hosts (403).
    HostNotAllowed,
    /// All connections are in use (503).
    TooManyConnections,
    /// The handler of the request has panicked (500).
    Panicked,
}
