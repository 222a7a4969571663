//! The client's side of the ws4sqlite protocol: encodes batches as request bodies, and decodes replies.
//!
//! [`Client`] sends the requests with a [`Transport`], and continues with another host if one cannot be reached. The
//! feature `hyper` of this crate contains the transport `HyperTransport` for tokio, the feature `fetch` the transport
//! `FetchTransport` for WebAssembly. Without these features, the crate performs no I/O: [`encode_call`] and
//! [`decode_reply`] are functions, and the program provides the transport.
//!
//! A [`Client`] is a [`sqlhttp_core::Backend`]: the methods of [`sqlhttp_core::Executor`] run a program on a server as
//! on an embedded database.
//!
//! ```
//! use sqlhttp_core::{Batch, Step, Value};
//! use sqlhttp_ws4sqlite::client::{self, Format, ItemResult};
//!
//! let batch = Batch::one(Step::query("SELECT :a AS a", [("a", 7_i64)]));
//! let body = client::encode_call(&batch, None, Format::Map).unwrap();
//! assert_eq!(body, br#"{"transaction":[{"query":"SELECT :a AS a","values":{"a":7}}]}"#);
//!
//! let reply = br#"{"results":[{"success":true,"resultHeaders":["a"],"resultSet":[{"a":7}]}]}"#;
//! let results = client::decode_reply(200, reply).unwrap();
//! assert_eq!(results, [ItemResult::Rows { headers: vec!["a".into()], rows: vec![vec![Value::Integer(7)]] }]);
//! ```

mod backend;
mod call;
mod failover;
mod failure;
mod reply;
mod stream;

pub use call::{Format, NotExpressible, adapt, encode_call};
pub use failover::{AuthMode, Client, ClientError};
pub use reply::{ItemResult, ReplyError, decode_reply};
#[cfg(feature = "fetch")]
pub use sqlhttp_text::http::FetchTransport;
#[cfg(feature = "hyper")]
pub use sqlhttp_text::http::HyperTransport;
pub use sqlhttp_text::http::{
    BodySource, Host, HttpRequest, HttpResponse, InvalidHost, Method, RequestBody, ResponseBody, Scheme, SendError,
    Transport, TransportError,
};
pub use stream::{Part, ReplyReader};
