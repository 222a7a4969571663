//! What the clients of both protocols share: the interface to the library that sends HTTP requests, transports that
//! implement it, and the choice between several hosts.
//!
//! The module itself performs no I/O: a [`Transport`] does, which the program provides. The feature `hyper` contains
//! one for tokio, `HyperTransport`.

mod host;
mod hosts;
#[cfg(feature = "hyper")]
mod hyper_transport;
#[cfg(feature = "hyper")]
mod source_body;
mod transport;

pub use host::{Host, InvalidHost, Scheme};
pub use hosts::{Hosts, RESPONSE_BYTES_MAX, SendError, basic_auth, receive};
#[cfg(feature = "hyper")]
pub use hyper_transport::HyperTransport;
pub use transport::{
    BodySource, HttpRequest, HttpResponse, Method, RequestBody, ResponseBody, Transport, TransportError,
};
