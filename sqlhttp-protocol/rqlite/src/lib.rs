//! The JSON protocol of rqlite as pure functions: a request becomes a [`Batch`](sqlhttp_core::Batch), an
//! [`Outcome`](sqlhttp_core::Outcome) becomes a reply. The client's half is here too.
//!
//! It is not a server: it opens no file, no socket and no thread, and reads no clock.
//!
//! ```
//! use sqlhttp_core::{Changed, Outcome, StepOutcome};
//! use sqlhttp_rqlite::{Endpoint, Params, Trailer, decode, encode};
//!
//! // POST /db/execute?transaction
//! let params = Params::parse("transaction").unwrap();
//! let body = br#"[["INSERT INTO foo(name) VALUES(?)", "fiona"]]"#;
//! let call = decode(Endpoint::Execute, Some("application/json"), body, &params).unwrap();
//! let (batch, shape) = call.into_batch(Endpoint::Execute, &params).unwrap();
//! assert_eq!(batch.steps[0].sql(), Some("INSERT INTO foo(name) VALUES(?)"));
//!
//! // A database runs the batch and tells what came of it.
//! let changed = Changed { rows: 1, last_insert_id: Some(1) };
//! let outcome = Outcome { steps: vec![StepOutcome::Changed(changed)], ..Outcome::default() };
//!
//! let reply = encode(&outcome, &shape, &Trailer::default());
//! assert_eq!(reply.status, 200);
//! assert_eq!(reply.body, br#"{"results":[{"last_insert_id":1,"rows_affected":1}]}"#);
//! ```
//!
//! # The way of a request
//!
//! 1. [`Params::parse`] reads the query string, before anybody looks at the path. What is wrong with it is a
//!    [`Refusal`].
//! 2. [`decode`] reads the body of a POST, [`decode_query_string`] the SQL text of a GET: a [`Call`].
//! 3. [`Call::into_batch`] gives the batch and the [`ReplyShape`] of the reply, unless a statement is a PRAGMA for which the
//!    whole request is refused.
//! 4. A database runs the batch.
//! 5. [`encode`] writes the whole outcome, or [`PartEncoder`] writes it part by part; [`encode_error`] says why there is
//!    no outcome, and [`encode_top_level_error`] says it for the cluster.
//!
//! # Map
//!
//! | module | what it does |
//! |---|---|
//! | `params` | query strings into parameters, and back |
//! | `decode` | bodies into calls |
//! | `call`, `pragma` | calls into batches |
//! | `encode` | outcomes into JSON: rows, types, values, indentation; numbers, strings and dates with `sqlhttp-text` |
//! | `messages` | failures and errors into texts |
//! | `reply`, `reply_shape`, `endpoint` | the vocabulary of this crate |
//! | `sql_endpoint`, `nodes`, `readiness`, `admin` | the other endpoints, as far as they are data |
//! | [`status`], [`vars`] | facts about a server into the documents of `/status` and `/debug/vars` |
//! | [`client`] | batches into requests, replies into results |

/// What the header `X-Rqlite-Version` says: what the original says of itself when nobody gave it a version.
pub const VERSION: &str = "10";

mod admin;
mod call;
pub mod client;
mod decode;
mod encode;
mod endpoint;
mod json;
mod messages;
mod nodes;
mod params;
mod pragma;
mod pretty;
mod readiness;
mod reply;
mod reply_shape;
mod sql_endpoint;
pub mod status;
pub mod vars;

pub use admin::{decode_leader_target, decode_remove, encode_reaped};
pub use call::{Call, Statement};
pub use decode::{STATEMENTS_MAX, VALUES_MAX, decode, decode_query_string, is_database_file};
pub use encode::{Abort, PartEncoder, encode, encode_error, encode_queued, encode_top_level_error};
pub use endpoint::Endpoint;
pub use nodes::{NodeInfo, encode_node, encode_nodes};
pub use params::{BackupFormat, Params};
pub use readiness::{Readiness, encode_readiness};
pub use reply::{ContentType, Refusal, Reply};
pub use reply_shape::{ReplyShape, Trailer};
pub use sql_endpoint::encode_sql;
pub use sqlhttp_core::StepFacts;
pub use sqlhttp_text::duration::format as format_duration;
