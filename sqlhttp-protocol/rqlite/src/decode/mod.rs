//! Requests into calls.

mod list;
mod progress;
mod text;
mod value;

pub use list::STATEMENTS_MAX;
pub use progress::VALUES_MAX;
pub(crate) use value::spelled_bytes;

use crate::call::{Call, Statement};
use crate::endpoint::Endpoint;
use crate::params::Params;
use crate::reply::Refusal;

/// What a database file begins with, but for two bytes.
const SQLITE_FILE: &[u8] = b"SQLite format";

/// Decodes the body of a POST. `content_type` is the header's value, byte for byte; without one, the body is JSON.
///
/// A queued write may have an empty body; with `wait` also an empty list or `null`. It has no statements then, and with `wait`
/// its answer comes after the writes before it.
///
/// # Errors
/// Status 400 for a body that is no list of statements, 413 for more than [`STATEMENTS_MAX`] statements or
/// [`VALUES_MAX`] values, and a top-level error for SQL text that is not UTF-8.
pub fn decode(endpoint: Endpoint, content_type: Option<&str>, body: &[u8], params: &Params) -> Result<Call, Refusal> {
    if is_text(endpoint, content_type) {
        return one_text(body);
    }
    let statements = list::parse(&text::lossy(body)).or_else(|refusal| {
        let is_empty = endpoint == Endpoint::Queue && is_empty_write(body, &refusal, params.wait);
        if is_empty { Ok(Vec::new()) } else { Err(refusal) }
    })?;
    Ok(Call { statements })
}

/// Decodes a GET: the SQL text is in the parameter `q`. Without it, there is nothing to run.
///
/// # Errors
/// Status 400 for `/db/sql` without `q`, and a top-level error for SQL text that is not UTF-8.
pub fn decode_query_string(endpoint: Endpoint, params: &Params) -> Result<Call, Refusal> {
    match &params.q {
        Some(sql) => one_text(sql),
        None if endpoint == Endpoint::Sql => Err(Refusal::text(400, "query not specified")),
        None => Ok(Call::default()),
    }
}

/// Whether the beginning of what was sent to `/db/load` (14 bytes suffice) is that of a database file. Anything else
/// is SQL text, for [`decode`].
pub fn is_database_file(head: &[u8]) -> bool {
    head.len() > SQLITE_FILE.len() && head.starts_with(SQLITE_FILE)
}

/// Whether the whole body is one SQL text. Only the exact beginning of the header counts.
fn is_text(endpoint: Endpoint, content_type: Option<&str>) -> bool {
    match endpoint {
        Endpoint::Load => true,
        Endpoint::Execute | Endpoint::Queue | Endpoint::Query => {
            content_type.is_some_and(|header| header.starts_with("text/plain"))
        }
        Endpoint::Request | Endpoint::Sql => false,
    }
}

/// Whether a queued write may have this body although it has no statements: nothing at all, or `[]` and `null` with `wait`.
fn is_empty_write(body: &[u8], refusal: &Refusal, wait: bool) -> bool {
    match body.trim_ascii() {
        b"" => true,
        b"null" => wait,
        _ => wait && *refusal == Refusal::no_statements(),
    }
}

fn one_text(sql: &[u8]) -> Result<Call, Refusal> {
    match std::str::from_utf8(sql) {
        Ok(sql) => Ok(Call { statements: vec![Statement::new(sql)] }),
        Err(_) => Err(Refusal::TopLevel("string field contains invalid UTF-8".into())),
    }
}
