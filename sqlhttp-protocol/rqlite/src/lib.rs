#![doc = include_str!("../README.md")]
//!
//! # The steps of a request
//!
//! 1. [`Params::parse`] parses the query string. The server does this before it examines the path.
//! 2. [`decode`] decodes the body of a POST, and [`decode_query_string`] the SQL text of a GET. Both return a [`Call`].
//! 3. [`Call::into_batch`] converts the call to a batch and the [`ReplyShape`]. It refuses the request if a statement
//!    begins with a refused PRAGMA.
//! 4. A database runs the batch.
//! 5. [`encode`] encodes a complete outcome, and [`PartEncoder`] encodes an outcome part by part. If there is no
//!    outcome because the request failed as a whole, [`encode_error`] encodes the error. A node of a cluster encodes
//!    some errors with [`encode_top_level_error`].
//!
//! Each of the first three steps may return a [`Refusal`]. In that case, the refusal becomes the reply.
//!
//! # Map
//!
//! | module | what it does |
//! |---|---|
//! | `params` | parses query strings, and formats them |
//! | `decode` | decodes bodies |
//! | `call`, `pragma` | convert calls to batches, and refuse some PRAGMAs |
//! | `encode` | encodes outcomes and errors |
//! | `messages` | returns the error messages for failed statements and requests |
//! | `reply`, `reply_shape`, `endpoint` | the types that the other modules share |
//! | `json`, `pretty` | write JSON strings and keys, and indent JSON |
//! | `sql_endpoint`, `nodes`, `readiness`, `admin` | encode and decode the bodies of the other endpoints |
//! | [`status`], [`vars`] | encode the documents of `/status` and `/debug/vars` |
//! | [`client`] | a client; encodes requests, and decodes replies |

/// The value of the response header `X-Rqlite-Version`. An rqlite that was built without a version number reports this
/// value.
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
mod verification;

pub use admin::{decode_leader_target, decode_remove, encode_reaped};
pub use call::{Call, Statement};
pub use decode::{STATEMENTS_MAX, VALUES_MAX, decode, decode_query_string, is_database_file};
pub use encode::{EncodeError, PartEncoder, encode, encode_error, encode_queued, encode_top_level_error};
pub use endpoint::Endpoint;
pub use nodes::{NodeInfo, encode_node, encode_nodes};
pub use params::{BackupFormat, Params};
pub use readiness::{Readiness, encode_readiness};
pub use reply::{ContentType, Refusal, Reply};
pub use reply_shape::{ReplyShape, Trailer};
pub use sql_endpoint::encode_sql;
pub use sqlhttp_core::StepInfo;
pub use verification::{Difference, RowName, Verification, VerifiedNode, decode_verification, encode_verification};
