//! The JSON protocol of ws4sqlite as pure functions: a request body becomes a [`Batch`](sqlhttp_core::Batch), an
//! [`Outcome`](sqlhttp_core::Outcome) becomes a reply body. The client's half is here too.
//!
//! It is not a server: it opens no file, no socket and no thread, and reads no clock.
//!
//! ```
//! use sqlhttp_core::{Changed, Ending, Outcome, StepOutcome};
//! use sqlhttp_ws4sqlite::{Statements, decode, encode};
//!
//! let body = br#"{"transaction": [{"statement": "INSERT INTO t VALUES (:id)", "values": {"id": 1}}]}"#;
//! let call = decode(body).unwrap();
//! let (batch, shape) = call.into_batch(&Statements::default()).unwrap();
//! assert_eq!(batch.steps[0].sql(), Some("INSERT INTO t VALUES (:id)"));
//!
//! // A database runs the batch and tells what came of it.
//! let changed = Changed { rows: 1, last_insert_id: Some(1) };
//! let outcome = Outcome { steps: vec![StepOutcome::Changed(changed)], ending: Ending::Done, ..Outcome::default() };
//!
//! let reply = encode(&outcome, &shape);
//! assert_eq!(reply.status, 200);
//! assert_eq!(reply.body, br#"{"results":[{"success":true,"rowsUpdated":1}]}"#);
//! ```
//!
//! # The way of a request
//!
//! 1. [`decode`] (or [`decode_form`]) reads the body into a [`Call`]. What is not the JSON of a call is a [`Refusal`].
//! 2. The caller looks at [`Call::credentials`], if the database wants them, and at [`Call::item_count`].
//! 3. [`Call::into_batch`] checks each item, looks up stored statements, and gives the batch and the [`ReplyShape`].
//!    An item that is formally wrong becomes a step that fails when its turn comes, because earlier items may fail
//!    first, and because `noFail` holds for such a failure as well.
//! 4. A database runs the batch.
//! 5. [`encode`] writes the whole outcome, or [`PartEncoder`] writes it part by part; [`encode_error`] says why there
//!    is no outcome.
//!
//! # Map
//!
//! | module | what it does |
//! |---|---|
//! | `decode` | JSON and form bodies into calls |
//! | `call` | calls into batches: the checks and their order |
//! | `encode` | outcomes into JSON: rows; numbers, strings and dates with `sqlhttp-text` |
//! | `messages` | failures and errors into texts and statuses |
//! | `reply` | the error object, capitalisation |
//! | [`client`] | batches into bodies, replies into results |

mod call;
pub mod client;
mod decode;
mod encode;
mod json;
mod messages;
mod reply;
mod reply_shape;

pub use call::{Call, Credentials, Statements};
pub use decode::{decode, decode_form};
pub use encode::{Abort, PartEncoder, encode, encode_error};
pub use reply::{Refusal, Reply, capitalized};
pub use reply_shape::ReplyShape;
