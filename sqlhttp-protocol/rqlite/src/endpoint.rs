//! The endpoints that take SQL.

use crate::reply::ContentType;

/// An endpoint that takes SQL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Endpoint {
    /// `/db/execute`: runs statements and returns the number of changes.
    Execute,
    /// `/db/execute?queue`: queues statements that write.
    Queue,
    /// `/db/query`: runs statements that only read and returns rows.
    Query,
    /// `/db/request`: runs statements of any kind.
    Request,
    /// `/db/sql`: returns the statements without running them.
    Sql,
    /// `/db/load` with SQL text: runs the text.
    Load,
}

impl Endpoint {
    /// Returns the content type of the endpoint's replies, except for errors in plain text.
    pub fn content_type(self) -> ContentType {
        match self {
            Endpoint::Load => ContentType::Text,
            Endpoint::Execute | Endpoint::Queue | Endpoint::Query | Endpoint::Request | Endpoint::Sql => {
                ContentType::Json
            }
        }
    }
}
