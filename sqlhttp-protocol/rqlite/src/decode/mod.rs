//! Decodes requests.

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

/// The beginning of a database file. Its header string is `SQLite format 3` with a zero byte; only this part is
/// compared.
const SQLITE_FILE: &[u8] = b"SQLite format";

/// Decodes the body of a POST. `content_type` is the value of the header. Without it, the body is JSON.
///
/// The body of a queued write may be empty. With `wait`, it may also be an empty list or `null`. Such a write has no
/// statements; with `wait`, its reply is sent after the writes that were queued before it.
///
/// # Errors
/// Status 400 for a body that is not a list of statements, status 413 for more than [`STATEMENTS_MAX`] statements or
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

/// Decodes a GET. The parameter `q` contains the SQL text. Without it, the call has no statements.
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

/// Whether a body sent to `/db/load` is a database file. `head` is the beginning of the body, of at least 14 bytes if
/// the body is as long. Any other body is SQL text, which [`decode`] decodes.
pub fn is_database_file(head: &[u8]) -> bool {
    head.len() > SQLITE_FILE.len() && head.starts_with(SQLITE_FILE)
}

/// Whether the body is plain SQL text. The header is compared with regard to case.
fn is_text(endpoint: Endpoint, content_type: Option<&str>) -> bool {
    match endpoint {
        Endpoint::Load => true,
        Endpoint::Execute | Endpoint::Queue | Endpoint::Query => {
            content_type.is_some_and(|header| header.starts_with("text/plain"))
        }
        Endpoint::Request | Endpoint::Sql => false,
    }
}

/// Whether a body without statements is valid for a queued write: an empty body, or `[]` and `null` with `wait`.
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
