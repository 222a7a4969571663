//! The client's side of the ws4sqlite protocol: encodes batches as request bodies, and decodes replies.
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

mod call;
mod reply;

pub use call::{Format, NotExpressible, encode_call};
pub use reply::{ItemResult, ReplyError, decode_reply};
