//! As much of HTTP/1.1 as a load generator needs: write a POST, read the answer, keep the connection.

mod connection;
mod endpoint;
mod response;

pub use connection::{Connection, ExchangeError};
pub use endpoint::{Endpoint, RequestWriter};
pub use response::{Malformed, Progress, Response, ResponseParser};
