//! The end of a reply.

use std::time::Duration;

use sqlhttp_text::number;

use crate::json;
use crate::reply::Reply;
use crate::reply_shape::{ReplyShape, Trailer};

/// Writes the members after the results, and the end of the reply.
pub(super) fn write_trailer(out: &mut Vec<u8>, shape: &ReplyShape, trailer: &Trailer) {
    write_time(out, trailer.elapsed, shape);
    if shape.raft_index && trailer.raft_index != 0 {
        json::write_key(out, "raft_index");
        number::write_integer(out, trailer.raft_index);
    }
    out.push(b'}');
}

/// Writes the member `time`, in seconds, if the client asked for timings.
pub(crate) fn write_time(out: &mut Vec<u8>, elapsed: Duration, shape: &ReplyShape) {
    if shape.timings && !elapsed.is_zero() {
        json::write_key(out, "time");
        number::write_real(out, elapsed.as_secs_f64());
    }
}

/// Makes a reply of compact JSON: indents it if the client asked for that, and sets the content type of the endpoint.
pub(super) fn finish(compact: Vec<u8>, shape: &ReplyShape) -> Reply {
    Reply { content_type: shape.endpoint.content_type(), ..Reply::json(compact, shape.pretty) }
}
