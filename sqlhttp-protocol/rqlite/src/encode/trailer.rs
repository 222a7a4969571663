//! Writes the end of a reply.

use std::time::Duration;

use sqlhttp_text::number;

use crate::json;
use crate::reply::Reply;
use crate::reply_shape::{ReplyShape, Trailer};

/// Writes the JSON members that follow the results (`time` and `raft_index`), and the closing brace of the reply.
pub(super) fn write_trailer(out: &mut Vec<u8>, shape: &ReplyShape, trailer: &Trailer) {
    write_time(out, trailer.elapsed, shape);
    if shape.raft_index && trailer.raft_index != 0 {
        json::write_key(out, "raft_index");
        number::write_integer(out, trailer.raft_index);
    }
    out.push(b'}');
}

/// Writes the JSON member `time`, a number of seconds, if the client asked for timings and the duration is not zero.
pub(crate) fn write_time(out: &mut Vec<u8>, elapsed: Duration, shape: &ReplyShape) {
    if shape.timings && !elapsed.is_zero() {
        json::write_key(out, "time");
        number::write_real(out, elapsed.as_secs_f64());
    }
}

/// Converts the compact JSON of a reply to a [`Reply`] with the content type of the endpoint. The JSON is indented if
/// the client asked for that.
pub(super) fn finish(compact: Vec<u8>, shape: &ReplyShape) -> Reply {
    Reply { content_type: shape.endpoint.content_type(), ..Reply::json(compact, shape.pretty) }
}
