//! Finds the endpoint of a path. Paths are percent-decoded and must then match exactly, except that one trailing slash
//! is ignored.

use std::borrow::Cow;

use hyper::{Method, StatusCode};
use percent_encoding::percent_decode_str;
use sqlhttp_rqlite::ContentType;

use crate::api::rqlite::resource::Resource;
use crate::http::reply::{self, HttpResponse, ReplyBody};

/// An endpoint of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NodeEndpoint {
    /// An endpoint below `/db/` that reads, writes or copies the database.
    Data(Resource),
    /// `/readyz`: whether the node can serve requests.
    Readyz,
    /// `/status`: the state of the node.
    Status,
    /// `/nodes`: the members of the cluster.
    Nodes,
    /// `/leader`: shows the leader, or transfers the leadership.
    Leader,
    /// `/remove`: removes a node from the cluster.
    Remove,
    /// `/boot`: replaces the content of the node with a database file.
    Boot,
    /// `/snapshot`: takes a snapshot.
    Snapshot,
    /// `/reap`: checkpoints SQLite's write-ahead log.
    Reap,
    /// `/licenses`: the licenses of this program.
    Licenses,
    /// `/debug/vars`: counters, in the JSON format of Go's `expvar`.
    Vars,
    /// `/verify`: compares the content of the nodes.
    Verify,
    /// `/metrics`: metrics for Prometheus.
    Metrics,
    /// `/<name of the database>`: runs a transaction in ws4sqlite's protocol.
    Ws4sqlite,
    /// `/`: redirects to `/console/`.
    Root,
    /// `/console`: redirects to `/console/`.
    Console,
    /// `/console/`: a page with links.
    ConsolePage,
}

const ENDPOINTS: [(&[u8], NodeEndpoint); 18] = [
    (b"db/execute", NodeEndpoint::Data(Resource::Execute)),
    (b"db/query", NodeEndpoint::Data(Resource::Query)),
    (b"db/request", NodeEndpoint::Data(Resource::Request)),
    (b"db/sql", NodeEndpoint::Data(Resource::Sql)),
    (b"db/backup", NodeEndpoint::Data(Resource::Backup)),
    (b"db/load", NodeEndpoint::Data(Resource::Load)),
    (b"readyz", NodeEndpoint::Readyz),
    (b"status", NodeEndpoint::Status),
    (b"nodes", NodeEndpoint::Nodes),
    (b"leader", NodeEndpoint::Leader),
    (b"remove", NodeEndpoint::Remove),
    (b"boot", NodeEndpoint::Boot),
    (b"snapshot", NodeEndpoint::Snapshot),
    (b"reap", NodeEndpoint::Reap),
    (b"licenses", NodeEndpoint::Licenses),
    (b"debug/vars", NodeEndpoint::Vars),
    (b"verify", NodeEndpoint::Verify),
    (b"metrics", NodeEndpoint::Metrics),
];

/// Returns the endpoint of a path; `None` if there is none. `path` is percent-encoded, as received, without the query.
/// `database` is the name of the node's database.
pub(crate) fn endpoint(path: &str, database: &str) -> Option<NodeEndpoint> {
    let decoded: Cow<'_, [u8]> = percent_decode_str(path).into();
    match &*decoded {
        b"" | b"/" => return Some(NodeEndpoint::Root),
        b"/console" => return Some(NodeEndpoint::Console),
        b"/console/" => return Some(NodeEndpoint::ConsolePage),
        _ => {}
    }
    let name = decoded.strip_prefix(b"/")?;
    let name = name.strip_suffix(b"/").unwrap_or(name);
    let known = ENDPOINTS.iter().find(|(known, _)| *known == name).map(|(_, endpoint)| *endpoint);
    known.or_else(|| name.eq_ignore_ascii_case(database.as_bytes()).then_some(NodeEndpoint::Ws4sqlite))
}

impl NodeEndpoint {
    /// Returns whether the endpoint accepts requests with this method.
    pub(crate) fn takes(self, method: &Method) -> bool {
        let reads = matches!(*method, Method::GET | Method::HEAD);
        match self {
            NodeEndpoint::Data(resource) => resource.takes(method),
            NodeEndpoint::Readyz
            | NodeEndpoint::Status
            | NodeEndpoint::Nodes
            | NodeEndpoint::Licenses
            | NodeEndpoint::Metrics
            | NodeEndpoint::ConsolePage => reads,
            NodeEndpoint::Leader | NodeEndpoint::Verify => matches!(*method, Method::GET | Method::POST),
            NodeEndpoint::Remove => method == Method::DELETE,
            NodeEndpoint::Boot | NodeEndpoint::Snapshot | NodeEndpoint::Reap | NodeEndpoint::Ws4sqlite => {
                method == Method::POST
            }
            NodeEndpoint::Vars | NodeEndpoint::Root | NodeEndpoint::Console => true,
        }
    }

    /// Creates a response without a body, with the same media type as the endpoint's other responses.
    pub(crate) fn empty(self, status: StatusCode) -> HttpResponse {
        let media_type = match self {
            NodeEndpoint::Data(resource) => return resource.empty(status),
            NodeEndpoint::Status
            | NodeEndpoint::Nodes
            | NodeEndpoint::Leader
            | NodeEndpoint::Vars
            | NodeEndpoint::Verify => ContentType::Json.header(),
            NodeEndpoint::Licenses => ContentType::Text.header(),
            _ => return reply::empty(status),
        };
        reply::with_type(status, media_type, ReplyBody::EMPTY)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_exact() {
        for (path, wanted) in [
            ("/db/query", NodeEndpoint::Data(Resource::Query)),
            ("/db%2Fquery/", NodeEndpoint::Data(Resource::Query)),
            ("/", NodeEndpoint::Root),
            ("/console", NodeEndpoint::Console),
            ("/console/", NodeEndpoint::ConsolePage),
            ("/leader/", NodeEndpoint::Leader),
            ("/debug/vars", NodeEndpoint::Vars),
            ("/main", NodeEndpoint::Ws4sqlite),
            ("/MAIN/", NodeEndpoint::Ws4sqlite),
        ] {
            assert_eq!(endpoint(path, "main"), Some(wanted), "{path}");
        }
        for path in ["/db/queryfoo", "//db/query", "/db//query", "/DB/query", "/nope", "/db", "/status//", "/other"] {
            assert_eq!(endpoint(path, "main"), None, "{path}");
        }
    }

    #[test]
    fn a_path_of_the_api_precedes_a_database_of_that_name() {
        assert_eq!(endpoint("/status", "status"), Some(NodeEndpoint::Status));
    }
}
