#![doc = include_str!("../README.md")]
//!
//! # The steps of a request
//!
//! An item is a query or statement of a request: an element of the JSON member `transaction`.
//!
//! 1. [`decode`] (or [`decode_form`]) decodes the body to a [`Call`]. A body that is not of this form is refused with a
//!    [`Refusal`].
//! 2. The caller checks [`Call::credentials`], if the database requires them in the body, and [`Call::item_count`].
//! 3. [`Call::into_batch`] checks each item, looks up stored statements, and returns the batch and the [`ReplyShape`].
//!    A malformed item becomes a step that fails when it is run. It cannot be refused earlier, because an earlier item
//!    may fail first, and because `noFail` applies to such a failure as well.
//! 4. A database runs the batch.
//! 5. [`encode`] encodes a complete outcome, and [`PartEncoder`] encodes an outcome part by part. If there is no
//!    outcome because the request failed as a whole, [`encode_error`] encodes the error.
//!
//! # Map
//!
//! | module | what it does |
//! |---|---|
//! | `decode` | decodes JSON and form bodies |
//! | `call` | checks calls, and converts them to batches |
//! | `encode` | encodes outcomes and errors |
//! | `messages` | returns the error messages for failed items and requests |
//! | `reply`, `reply_shape` | the error object, and the form of a reply |
//! | `json` | writes JSON strings |
//! | [`client`] | a client; encodes requests, and decodes replies |

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
pub use encode::{EncodeError, PartEncoder, encode, encode_error};
pub use reply::{Refusal, Reply, capitalized};
pub use reply_shape::ReplyShape;
