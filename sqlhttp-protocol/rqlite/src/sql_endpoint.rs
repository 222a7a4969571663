//! Encodes the reply of `/db/sql`: the statements of the request, as they would run after rewriting.
//!
//! rqlite rewrites calls of functions such as `random()`. This implementation never rewrites statements.

use crate::call::Call;
use crate::encode::write_time;
use crate::json;
use crate::reply::Reply;
use crate::reply_shape::{ReplyShape, Trailer};

/// Encodes the original and the rewritten SQL text of each statement. Both are the same text.
pub fn encode_sql(call: &Call, shape: &ReplyShape, trailer: &Trailer) -> Reply {
    let mut out = b"{\"results\":[".to_vec();
    for (index, statement) in call.statements.iter().enumerate() {
        out.extend_from_slice(if index == 0 { b"{" } else { b",{" });
        json::write_key(&mut out, "original");
        json::write_string(&mut out, &statement.sql);
        if !statement.sql.is_empty() {
            json::write_key(&mut out, "rewritten");
            json::write_string(&mut out, &statement.sql);
        }
        out.push(b'}');
    }
    out.push(b']');
    write_time(&mut out, trailer.elapsed, shape);
    out.push(b'}');
    Reply::json(out, shape.pretty)
}
