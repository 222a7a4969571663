//! Encodes the outcomes of batches as replies.
//!
//! `whole` encodes a complete outcome, and `parts` encodes an outcome part by part; both use `encoder`. `rows` writes
//! the rows of one result. `value` and `date` write single values. `error` encodes replies to requests that have no
//! outcome. `trailer` writes the end of a reply.

mod date;
mod detail;
mod encoder;
mod error;
mod parts;
mod rows;
mod trailer;
mod value;
mod whole;

pub use error::{EncodeError, encode_error, encode_top_level_error};
pub use parts::PartEncoder;
pub(crate) use trailer::write_time;
pub use whole::{encode, encode_queued};
