//! The part of HTTP/1.1 that a load generator needs: writing a POST request, reading the response, and keeping the
//! connection open.

mod connection;
mod endpoint;
mod response;

pub use connection::{Connection, ExchangeError};
pub use endpoint::{Endpoint, RequestWriter};
pub use response::{Malformed, Progress, Response, ResponseParser};
