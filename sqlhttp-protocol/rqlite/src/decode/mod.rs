//! Decodes the statements of a request, from its body or its query string.

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

/// The bytes by which an SQLite database file is recognized. The header string of such a file is `SQLite format 3` and
/// a zero byte; only this part of it is compared.
const SQLITE_FILE: &[u8] = b"SQLite format";

/// Decodes the body of a POST request. `content_type` is the value of the request header `Content-Type`. If it is
/// missing, the body is decoded as JSON.
///
/// The body of a queued write may be empty. With the parameter `wait`, it may also be an empty array or `null`. Such a
/// write contains no statements. With `wait`, its reply is sent after the writes that were queued before it have run.
///
/// # Errors
/// * Status 400 if the body is not a list of statements.
/// * Status 413 if it contains more than [`STATEMENTS_MAX`] statements or [`VALUES_MAX`] values.
/// * A top-level error if the SQL text of a plain-text body is not UTF-8.
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

/// Decodes a GET request. The parameter `q` contains the SQL text. Without `q`, the call has no statements.
///
/// # Errors
/// Status 400 if `q` is missing at `/db/sql`. A top-level error if the SQL text is not UTF-8.
pub fn decode_query_string(endpoint: Endpoint, params: &Params) -> Result<Call, Refusal> {
    match &params.q {
        Some(sql) => one_text(sql),
        None if endpoint == Endpoint::Sql => Err(Refusal::text(400, "query not specified")),
        None => Ok(Call::default()),
    }
}

/// Returns whether a body sent to `/db/load` is an SQLite database file. Any other body is SQL text, which [`decode`]
/// decodes. `head` must contain the first 14 bytes of the body, or the whole body if it is shorter.
pub fn is_database_file(head: &[u8]) -> bool {
    head.len() > SQLITE_FILE.len() && head.starts_with(SQLITE_FILE)
}

/// Returns whether the body is plain SQL text rather than JSON. The comparison of the content type is case-sensitive.
fn is_text(endpoint: Endpoint, content_type: Option<&str>) -> bool {
    match endpoint {
        Endpoint::Load => true,
        Endpoint::Execute | Endpoint::Queue | Endpoint::Query => {
            content_type.is_some_and(|header| header.starts_with("text/plain"))
        }
        Endpoint::Request | Endpoint::Sql => false,
    }
}

/// Returns whether a body without statements is valid for a queued write. An empty body is always valid; `[]` and
/// `null` are valid only with `wait`.
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
