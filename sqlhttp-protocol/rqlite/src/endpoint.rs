//! The endpoints that accept SQL.

use crate::reply::ContentType;

/// An endpoint that accepts SQL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Endpoint {
    /// `/db/execute`: runs statements and returns the number of changes.
    Execute,
    /// `/db/execute?queue`: queues statements that write, and runs them later.
    Queue,
    /// `/db/query`: runs statements that only read and returns rows.
    Query,
    /// `/db/request`: runs statements that read or write.
    Request,
    /// `/db/sql`: returns the text of the statements without running them.
    Sql,
    /// `/db/load` with a body of SQL text: runs the statements of the text.
    Load,
}

impl Endpoint {
    /// Returns the path of the endpoint, relative to that of the API.
    pub fn path(self) -> &'static str {
        match self {
            Endpoint::Execute | Endpoint::Queue => "db/execute",
            Endpoint::Query => "db/query",
            Endpoint::Request => "db/request",
            Endpoint::Sql => "db/sql",
            Endpoint::Load => "db/load",
        }
    }

    /// Returns the content type of the endpoint's replies. Errors in plain text have [`ContentType::Error`] instead.
    pub fn content_type(self) -> ContentType {
        match self {
            Endpoint::Load => ContentType::Text,
            Endpoint::Execute | Endpoint::Queue | Endpoint::Query | Endpoint::Request | Endpoint::Sql => {
                ContentType::Json
            }
        }
    }
}
