//! What a path of a node asks for. Pure. Paths are compared exactly, after percent-decoding; one trailing slash is
//! tolerated.

use std::borrow::Cow;

use hyper::{Method, StatusCode};
use percent_encoding::percent_decode_str;
use sqlhttp_rqlite::ContentType;

use crate::http::reply::{self, HttpResponse, ReplyBody};
use crate::standalone::route::Resource;

/// What a path asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// Something of the data API.
    Data(Resource),
    /// `/readyz`
    Readyz,
    /// `/status`
    Status,
    /// `/nodes`
    Nodes,
    /// `/leader`
    Leader,
    /// `/remove`
    Remove,
    /// `/boot`
    Boot,
    /// `/snapshot`
    Snapshot,
    /// `/reap`
    Reap,
    /// `/licenses`
    Licenses,
    /// `/debug/vars`
    Vars,
    /// `/metrics`
    Metrics,
    /// `/<name of the database>`: a transaction in ws4sqlite's protocol.
    Ws4sqlite,
    /// `/`
    Root,
    /// `/console`
    Console,
    /// `/console/`
    ConsolePage,
}

const PLACES: [(&[u8], Place); 17] = [
    (b"db/execute", Place::Data(Resource::Execute)),
    (b"db/query", Place::Data(Resource::Query)),
    (b"db/request", Place::Data(Resource::Request)),
    (b"db/sql", Place::Data(Resource::Sql)),
    (b"db/backup", Place::Data(Resource::Backup)),
    (b"db/load", Place::Data(Resource::Load)),
    (b"readyz", Place::Readyz),
    (b"status", Place::Status),
    (b"nodes", Place::Nodes),
    (b"leader", Place::Leader),
    (b"remove", Place::Remove),
    (b"boot", Place::Boot),
    (b"snapshot", Place::Snapshot),
    (b"reap", Place::Reap),
    (b"licenses", Place::Licenses),
    (b"debug/vars", Place::Vars),
    (b"metrics", Place::Metrics),
];

/// What a path (as received, no query) asks for; `None` if nobody answers to it.
pub(crate) fn place(path: &str, database: &str) -> Option<Place> {
    let decoded: Cow<'_, [u8]> = percent_decode_str(path).into();
    match &*decoded {
        b"" | b"/" => return Some(Place::Root),
        b"/console" => return Some(Place::Console),
        b"/console/" => return Some(Place::ConsolePage),
        _ => {}
    }
    let name = decoded.strip_prefix(b"/")?;
    let name = name.strip_suffix(b"/").unwrap_or(name);
    let known = PLACES.iter().find(|(known, _)| *known == name).map(|(_, place)| *place);
    known.or_else(|| name.eq_ignore_ascii_case(database.as_bytes()).then_some(Place::Ws4sqlite))
}

impl Place {
    /// Whether a method is for it.
    pub(crate) fn takes(self, method: &Method) -> bool {
        let reads = matches!(*method, Method::GET | Method::HEAD);
        match self {
            Place::Data(resource) => resource.takes(method),
            Place::Readyz | Place::Status | Place::Nodes | Place::Licenses | Place::Metrics | Place::ConsolePage => {
                reads
            }
            Place::Leader => matches!(*method, Method::GET | Method::POST),
            Place::Remove => method == Method::DELETE,
            Place::Boot | Place::Snapshot | Place::Reap | Place::Ws4sqlite => method == Method::POST,
            Place::Vars | Place::Root | Place::Console => true,
        }
    }

    /// An answer without a body, of the type that the place's answers usually have.
    pub(crate) fn empty(self, status: StatusCode) -> HttpResponse {
        let media_type = match self {
            Place::Data(resource) => return resource.empty(status),
            Place::Status | Place::Nodes | Place::Leader | Place::Vars => ContentType::Json.header(),
            Place::Licenses => ContentType::Text.header(),
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
            ("/db/query", Place::Data(Resource::Query)),
            ("/db%2Fquery/", Place::Data(Resource::Query)),
            ("/", Place::Root),
            ("/console", Place::Console),
            ("/console/", Place::ConsolePage),
            ("/leader/", Place::Leader),
            ("/debug/vars", Place::Vars),
            ("/main", Place::Ws4sqlite),
            ("/MAIN/", Place::Ws4sqlite),
        ] {
            assert_eq!(place(path, "main"), Some(wanted), "{path}");
        }
        for path in ["/db/queryfoo", "//db/query", "/db//query", "/DB/query", "/nope", "/db", "/status//", "/other"] {
            assert_eq!(place(path, "main"), None, "{path}");
        }
    }

    #[test]
    fn a_path_of_the_api_wins_over_a_database_of_that_name() {
        assert_eq!(place("/status", "status"), Some(Place::Status));
    }
}
