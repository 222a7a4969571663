//! The client's side of the rqlite protocol: encodes batches as requests, and decodes replies.
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

mod call;
mod reply;

pub use call::{NotExpressible, Request, encode_call};
pub use reply::{Changes, ReplyError, Response, ResultRows, StatementResult, decode_reply};
