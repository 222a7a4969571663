//! The endpoints of rqlite's API that concern one database.

use hyper::{Method, StatusCode};
use sqlhttp_rqlite::ContentType;

use crate::http::reply::{self, HttpResponse, ReplyBody};

/// What rqlite's API offers of a database: at `/<id>/<path>`, and at `/<path>` when there is only one database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Resource {
    /// `db/execute`: statements for their effect.
    Execute,
    /// `db/query`: statements for their rows.
    Query,
    /// `db/request`: statements for either.
    Request,
    /// `db/sql`: statements, not run.
    Sql,
    /// `db/backup`: the database, to take away.
    Backup,
    /// `db/load`: the database, to be filled.
    Load,
    /// `readyz`: whether it can serve.
    Readyz,
    /// `status`: what it tells of itself.
    Status,
    /// `nodes`: the members of its cluster.
    Nodes,
    /// `leader`: the member that leads.
    Leader,
}

impl Resource {
    pub(crate) fn takes(self, method: &Method) -> bool {
        match self {
            Resource::Execute | Resource::Request | Resource::Load => method == Method::POST,
            Resource::Query | Resource::Sql => matches!(*method, Method::GET | Method::POST),
            Resource::Backup => method == Method::GET,
            Resource::Readyz | Resource::Status | Resource::Nodes | Resource::Leader => {
                matches!(*method, Method::GET | Method::HEAD)
            }
        }
    }

    /// An answer without a body, of the type that the resource's answers usually have.
    pub(crate) fn empty(self, status: StatusCode) -> HttpResponse {
        match self {
            Resource::Execute
            | Resource::Query
            | Resource::Request
            | Resource::Sql
            | Resource::Status
            | Resource::Nodes
            | Resource::Leader => reply::with_type(status, ContentType::Json.header(), ReplyBody::EMPTY),
            Resource::Backup | Resource::Load | Resource::Readyz => reply::empty(status),
        }
    }
}
