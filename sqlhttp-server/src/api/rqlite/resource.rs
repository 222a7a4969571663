//! The endpoints of rqlite's API that concern one database.

use hyper::{Method, StatusCode};
use sqlhttp_rqlite::ContentType;

use crate::http::reply::{self, HttpResponse, ReplyBody};

/// An endpoint of one database, at `/<id>/<path>`, and at `/<path>` if the server has only one database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Resource {
    /// `db/execute`: runs statements that write.
    Execute,
    /// `db/query`: runs statements that read.
    Query,
    /// `db/request`: runs statements of both kinds.
    Request,
    /// `db/sql`: shows statements without running them.
    Sql,
    /// `db/backup`: downloads the database.
    Backup,
    /// `db/load`: loads SQL text or a database file.
    Load,
    /// `readyz`: shows whether the database can serve requests.
    Readyz,
    /// `status`: shows the state of the server and of the database.
    Status,
    /// `nodes`: shows the members of the cluster.
    Nodes,
    /// `leader`: shows the leader of the cluster.
    Leader,
}

impl Resource {
    /// Returns whether the endpoint accepts a method.
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

    /// Makes a response without a body, with the media type of the endpoint's other responses.
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
