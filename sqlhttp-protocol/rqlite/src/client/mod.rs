//! The client's side of the rqlite protocol: encodes batches as requests, and decodes replies.
//!
//! [`Client`] sends the requests with a [`Transport`]: it continues with another host if one cannot be reached, and
//! follows redirects to the leader. The feature `hyper` of this crate contains the transport `HyperTransport` for
//! tokio, the feature `fetch` the transport `FetchTransport` for WebAssembly. Without these features, the crate
//! performs no I/O: [`encode_call`] and [`decode_reply`] are functions, and the program provides the transport.
//!
//! A [`Client`] is a [`sqlhttp_core::Backend`]: the methods of [`sqlhttp_core::Executor`] run a program on a server as
//! on an embedded database.
//!
//! ```
//! use sqlhttp_core::Value;
//! use sqlhttp_rqlite::client::{self, StatementResult};
//!
//! let reply = br#"{"results":[{"columns":["a"],"types":["integer"],"values":[[7]]},{"error":"no such table: t"}]}"#;
//! let results = client::decode_reply(200, reply).unwrap().results;
//! let StatementResult::Rows(rows) = &results[0] else { panic!() };
//! assert_eq!(rows.rows, [[Value::Integer(7)]]);
//! assert_eq!(results[1], StatementResult::Failed("no such table: t".into()));
//! ```

mod backend;
mod call;
mod failover;
mod reply;
mod stream;

pub use call::{NotExpressible, Request, adapt_to_endpoint, encode_call};
pub use failover::{Client, ClientError};
pub use reply::{
    Cell, Changes, JsonText, ReplyError, Response, ResultRows, StatementResult, decode_reply, decode_reply_as,
};
#[cfg(feature = "fetch")]
pub use sqlhttp_text::http::FetchTransport;
#[cfg(feature = "hyper")]
pub use sqlhttp_text::http::HyperTransport;
pub use sqlhttp_text::http::{
    BodySource, Host, HttpRequest, HttpResponse, InvalidHost, Method, RequestBody, ResponseBody, Scheme, Transport,
    TransportError,
};
pub use stream::{Part, ReplyReader, ResultStream};
