//! The interface between the HTTP transport and the program that handles the requests.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;

use hyper::body::Incoming;
use hyper::http::request::Parts;

use super::peer::Peer;
use super::reply::HttpResponse;
use super::transport::Transport;

/// A program that handles HTTP requests. The transport (`listen`, `connection`, `handle`) serves one `App` and depends
/// on no protocol and no database.
pub(crate) trait App: Send + Sync + 'static {
    /// Returns the state that the program shares with the transport.
    fn transport(&self) -> &Arc<Transport>;

    /// Called before the first connection is accepted. `address` is the address of the listener.
    fn listening(&self, address: SocketAddr);

    /// Handles a request. Returns the response, and the index of the database in whose metrics the request is counted
    /// (`None` if the request is for no database). To read the request body, the program takes it out of `body`. The
    /// transport discards a body that the program leaves there.
    ///
    /// Dropping the future cancels the request and interrupts its SQL statement.
    fn answer(
        &self,
        head: &Parts,
        peer: &Peer,
        body: &mut Option<Incoming>,
    ) -> impl Future<Output = (Option<usize>, HttpResponse)> + Send;

    /// Returns the response to a request that the transport refuses, in the format of the program's protocol.
    fn refusal(&self, refused: Refused) -> HttpResponse;

    /// Returns the media type and the body of the response to a request whose head hyper could not parse. `status` is
    /// the status code and its reason phrase, such as `400 Bad Request`.
    fn malformed_head(status: &str) -> (&'static str, String);
}

/// The reason why the transport refuses a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    /// The head is ambiguous: a proxy in front of this server may read another host or another body length from it. The
    /// response has status 400, and this text is the reason in it.
    Ambiguous(&'static str),
    /// The request names a host that is not one of the allowed hosts. The response has status 403.
    HostNotAllowed,
    /// All connection slots are in use. The response has status 503.
    TooManyConnections,
    /// The handler of the request has panicked. The response has status 500.
    Panicked,
}
