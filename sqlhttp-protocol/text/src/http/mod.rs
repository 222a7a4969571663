//! The HTTP part of the clients of both protocols: the interface to the library that sends requests, transports that
//! implement it, and the choice between several hosts.
//!
//! The module itself performs no I/O: a [`Transport`] does, which the program provides. The feature `hyper` contains
//! one for tokio, `HyperTransport`, and the feature `fetch` one for WebAssembly, `FetchTransport`.

#[cfg(feature = "fetch")]
mod fetch_transport;
mod host;
mod hosts;
#[cfg(feature = "hyper")]
mod hyper_transport;
#[cfg(feature = "hyper")]
mod source_body;
mod transport;

#[cfg(feature = "fetch")]
pub use fetch_transport::{FetchBody, FetchTransport};
pub use host::{Host, InvalidHost, Scheme};
pub use hosts::{Hosts, RESPONSE_BYTES_MAX, SendError, basic_auth, receive};
#[cfg(feature = "hyper")]
pub use hyper_transport::HyperTransport;
pub use transport::{
    BodySource, HttpRequest, HttpResponse, Method, RequestBody, ResponseBody, Transport, TransportError,
};
