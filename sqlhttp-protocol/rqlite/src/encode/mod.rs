//! Encodes outcomes as replies.
//!
//! `whole` encodes an outcome at once, `parts` encodes it part by part; both use the same `encoder`. `rows` writes the
//! rows of one result, `value` and `date` write single values, `error` writes replies without an outcome, and `trailer`
//! ends a reply.

mod date;
mod detail;
mod encoder;
mod error;
mod parts;
mod rows;
mod trailer;
mod value;
mod whole;

pub use error::{Abort, encode_error, encode_top_level_error};
pub use parts::PartEncoder;
pub(crate) use trailer::write_time;
pub use whole::{encode, encode_queued};
