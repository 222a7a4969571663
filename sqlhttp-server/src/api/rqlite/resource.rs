//! The endpoints of rqlite's API that concern one database.

use hyper::{Method, StatusCode};
use sqlhttp_rqlite::ContentType;

use crate::http::reply::{self, HttpResponse, ReplyBody};

/// An endpoint for one database. Its path is `/<id>/<path>`, and also `/<path>` if the server has only one database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Resource {
    /// `db/execute`: executes statements that write.
    Execute,
    /// `db/query`: executes statements that read.
    Query,
    /// `db/request`: executes statements that read and statements that write.
    Request,
    /// `db/sql`: returns the statements of the request without executing them.
    Sql,
    /// `db/backup`: downloads the database.
    Backup,
    /// `db/load`: executes SQL text, or replaces the database with a database file.
    Load,
    /// `readyz`: reports whether the database can serve requests.
    Readyz,
    /// `status`: returns the state of the server and of the database.
    Status,
    /// `nodes`: lists the nodes of the cluster.
    Nodes,
    /// `leader`: returns the leader of the cluster.
    Leader,
    /// `verify`: returns a digest of the content.
    Verify,
}

impl Resource {
    /// Returns whether the endpoint accepts a request method.
    pub(crate) fn takes(self, method: &Method) -> bool {
        match self {
            Resource::Execute | Resource::Request | Resource::Load => method == Method::POST,
            Resource::Query | Resource::Sql => matches!(*method, Method::GET | Method::POST),
            Resource::Backup | Resource::Verify => method == Method::GET,
            Resource::Readyz | Resource::Status | Resource::Nodes | Resource::Leader => {
                matches!(*method, Method::GET | Method::HEAD)
            }
        }
    }

    /// Builds a response without a body, with the media type that the endpoint's other responses have.
    pub(crate) fn empty(self, status: StatusCode) -> HttpResponse {
        match self {
            Resource::Execute
            | Resource::Query
            | Resource::Request
            | Resource::Sql
            | Resource::Status
            | Resource::Nodes
            | Resource::Leader
            | Resource::Verify => reply::with_type(status, ContentType::Json.header(), ReplyBody::EMPTY),
            Resource::Backup | Resource::Load | Resource::Readyz => reply::empty(status),
        }
    }
}
