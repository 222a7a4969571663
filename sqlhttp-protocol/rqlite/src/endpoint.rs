//! The endpoints that take SQL.

use crate::reply::ContentType;

/// An endpoint that takes SQL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Endpoint {
    /// `/db/execute`: what statements change.
    Execute,
    /// `/db/execute?queue`: the same, later.
    Queue,
    /// `/db/query`: rows; nothing is changed.
    Query,
    /// `/db/request`: either.
    Request,
    /// `/db/sql`: nothing is run.
    Sql,
    /// `/db/load` with SQL text.
    Load,
}

impl Endpoint {
    /// The type of its answers, be they whole or told in parts, unless they are errors in plain text.
    pub fn content_type(self) -> ContentType {
        match self {
            Endpoint::Load => ContentType::Text,
            Endpoint::Execute | Endpoint::Queue | Endpoint::Query | Endpoint::Request | Endpoint::Sql => {
                ContentType::Json
            }
        }
    }
}
