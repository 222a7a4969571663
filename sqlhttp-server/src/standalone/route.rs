//! Finds the route of a request: the database and the endpoint that its method and path name.
//!
//! The path is percent-decoded once, and its bytes are compared with the ids of the databases. Therefore every
//! encoding of an id leads to its database: `/%74est`, raw UTF-8, `/a%2Fb`. One trailing slash is ignored. If several
//! routes match, the first of these applies:
//!
//! 1. a database, where an exact match of the id precedes a match that ignores case;
//! 2. a path of ws4sqlite or sqliterg below a database;
//! 3. a path of rqlite below a database.

use std::borrow::Cow;
use std::collections::HashMap;

use hyper::Method;
use percent_encoding::percent_decode_str;

use crate::api::rqlite::resource::Resource;

/// The endpoint that a request names. The number in a variant is the index of the database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Route {
    /// `POST /<id>`: runs a transaction in ws4sqlite's protocol.
    Call(usize),
    /// `OPTIONS /<id>`: a CORS preflight request, or a request for the allowed methods.
    Options(usize),
    /// `GET` or `POST /<id>/macro/<name>`: runs the macro with this name.
    Macro(usize, String),
    /// `GET` or `POST /<id>/backup`: makes a backup.
    Backup(usize),
    /// An endpoint of rqlite's API below the database, with any method.
    Rqlite(usize, Resource),
    /// The path exists but does not support the method of the request. The string is the value of the response header
    /// `Allow`.
    WrongMethod(usize, &'static str),
    /// No database and no endpoint has this path.
    Unknown,
}

impl Route {
    /// Returns the index of the database that the request names, in the order of [`RouteTable::new`]; `None` if the
    /// path names no database of the table.
    pub(crate) fn database(&self) -> Option<usize> {
        match self {
            Route::Call(database)
            | Route::Options(database)
            | Route::Macro(database, _)
            | Route::Backup(database)
            | Route::Rqlite(database, _)
            | Route::WrongMethod(database, _) => Some(*database),
            Route::Unknown => None,
        }
    }

    /// Returns whether the request may have an effect with any method: transactions, macros and backups. For rqlite's
    /// API, this is `false`: its requests write with some methods only, which `api::rqlite` checks.
    pub(crate) fn has_effect(&self) -> bool {
        matches!(self, Route::Call(_) | Route::Macro(..) | Route::Backup(_))
    }
}

const RESOURCES: [(&[u8], Resource); 11] = [
    (b"db/execute", Resource::Execute),
    (b"db/query", Resource::Query),
    (b"db/request", Resource::Request),
    (b"db/sql", Resource::Sql),
    (b"db/backup", Resource::Backup),
    (b"db/load", Resource::Load),
    (b"readyz", Resource::Readyz),
    (b"status", Resource::Status),
    (b"nodes", Resource::Nodes),
    (b"leader", Resource::Leader),
    (b"verify", Resource::Verify),
];

/// The indexes of the databases by id, and by id ignoring case.
#[derive(Debug, Default)]
pub(crate) struct RouteTable {
    exact: HashMap<Box<[u8]>, usize>,
    folded: HashMap<String, usize>,
    len: usize,
}

impl RouteTable {
    /// Creates a table of these ids. If two ids differ only in case, a path with a third spelling leads to the first
    /// of them.
    pub(crate) fn new<'a>(ids: impl IntoIterator<Item = &'a str>) -> Self {
        let mut table = RouteTable::default();
        for (index, id) in ids.into_iter().enumerate() {
            table.exact.entry(id.as_bytes().into()).or_insert(index);
            table.folded.entry(id.to_lowercase()).or_insert(index);
            table.len += 1;
        }
        table
    }

    fn find(&self, name: &[u8]) -> Option<usize> {
        self.exact.get(name).copied().or_else(|| {
            let name = std::str::from_utf8(name).ok()?;
            self.folded.get(&name.to_lowercase()).copied()
        })
    }
}

/// Returns the route of a request. `path` is percent-encoded, as received, and does not include the query.
pub(crate) fn route(method: &Method, path: &str, table: &RouteTable) -> Route {
    let decoded: Cow<'_, [u8]> = percent_decode_str(path).into();
    let Some(name) = decoded.strip_prefix(b"/") else {
        return Route::Unknown;
    };
    let shorter = name.strip_suffix(b"/");
    if let Some(database) = table.find(name).or_else(|| table.find(shorter?)) {
        return database_route(method, database);
    }
    let name = shorter.unwrap_or(name);
    match macro_or_backup_route(name, table) {
        Some(route) => only_get_and_post(method, route),
        None => rqlite_route(name, table).unwrap_or(Route::Unknown),
    }
}

fn database_route(method: &Method, database: usize) -> Route {
    match *method {
        Method::POST => Route::Call(database),
        Method::OPTIONS => Route::Options(database),
        _ => Route::WrongMethod(database, "POST"),
    }
}

/// Returns the route of `<id>/backup` or `<id>/macro/<name>`; `None` for any other path. The id and the name may
/// contain slashes. If there are several ways to split the path, the one with the longest id applies.
fn macro_or_backup_route(name: &[u8], table: &RouteTable) -> Option<Route> {
    if let Some(database) = name.strip_suffix(b"/backup").and_then(|id| table.find(id)) {
        return Some(Route::Backup(database));
    }
    const INFIX: &[u8] = b"/macro/";
    let starts = (0..name.len().saturating_sub(INFIX.len())).rev();
    starts.filter(|&at| name[at..].starts_with(INFIX)).find_map(|at| {
        let database = table.find(&name[..at])?;
        let id = std::str::from_utf8(&name[at + INFIX.len()..]).ok()?;
        Some(Route::Macro(database, id.to_owned()))
    })
}

/// Returns the route of `<id>/db/execute` and the other paths of rqlite; `None` for any other path. If there is only
/// one database, `<id>/` may be missing.
fn rqlite_route(name: &[u8], table: &RouteTable) -> Option<Route> {
    RESOURCES.iter().find_map(|(path, resource)| {
        let before = name.strip_suffix(*path)?;
        let database = match before.strip_suffix(b"/") {
            Some(id) => table.find(id)?,
            None if before.is_empty() && table.len == 1 => 0,
            None => return None,
        };
        Some(Route::Rqlite(database, *resource))
    })
}

fn only_get_and_post(method: &Method, route: Route) -> Route {
    match (method, &route) {
        (&Method::GET | &Method::POST, _) => route,
        (_, Route::Macro(database, _) | Route::Backup(database)) => Route::WrongMethod(*database, "GET, POST"),
        _ => route,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDS: [&str; 11] = ["test", "数据库", "a b", "a+b", "a/b", "100%", "Case", "case", "x/macro/y", "x", "Ärger"];

    fn post(path: &str) -> Route {
        route(&Method::POST, path, &RouteTable::new(IDS))
    }

    fn index(id: &str) -> usize {
        IDS.iter().position(|known| *known == id).unwrap()
    }

    #[test]
    fn every_spelling_reaches_the_database() {
        for path in ["/test", "/TEST", "/test/", "/%74est", "/Te%73t/", "/test%2F"] {
            assert_eq!(post(path), Route::Call(index("test")), "{path}");
        }
        for path in ["/数据库", "/%E6%95%B0%E6%8D%AE%E5%BA%93", "/%e6%95%b0%e6%8d%ae%e5%ba%93/"] {
            assert_eq!(post(path), Route::Call(index("数据库")), "{path}");
        }
        assert_eq!(post("/a%20b"), Route::Call(index("a b")));
        assert_eq!(post("/a+b"), Route::Call(index("a+b")));
        assert_eq!(post("/a%2Bb"), Route::Call(index("a+b")));
        assert_eq!(post("/a%2Fb"), Route::Call(index("a/b")));
        assert_eq!(post("/100%25"), Route::Call(index("100%")));
        assert_eq!(post("/%C3%84RGER"), Route::Call(index("Ärger")));
    }

    #[test]
    fn other_paths_are_unknown() {
        for path in ["/", "//test", "/test//", "/test/x", "/nope", "*", "/aXb", "/%FF", "", "/test/macro/", "/macro/m"]
        {
            assert_eq!(post(path), Route::Unknown, "{path}");
        }
    }

    #[test]
    fn the_exact_case_wins() {
        assert_eq!(post("/Case"), Route::Call(index("Case")));
        assert_eq!(post("/case"), Route::Call(index("case")));
        assert_eq!(post("/CASE"), Route::Call(index("Case")));
    }

    #[test]
    fn methods() {
        let table = RouteTable::new(IDS);
        let on = |method: Method, path: &str| route(&method, path, &table);
        assert_eq!(on(Method::OPTIONS, "/test"), Route::Options(0));
        for method in [Method::GET, Method::HEAD, Method::PUT, Method::DELETE, Method::PATCH] {
            assert_eq!(on(method, "/test"), Route::WrongMethod(0, "POST"));
        }
        assert_eq!(on(Method::GET, "/test/backup"), Route::Backup(0));
        assert_eq!(on(Method::PUT, "/test/backup"), Route::WrongMethod(0, "GET, POST"));
        assert_eq!(on(Method::DELETE, "/test/macro/m"), Route::WrongMethod(0, "GET, POST"));
    }

    #[test]
    fn macros_and_backups() {
        assert_eq!(post("/test/macro/M1"), Route::Macro(0, "M1".into()));
        assert_eq!(post("/test/macro/a%2Fb/"), Route::Macro(0, "a/b".into()));
        assert_eq!(post("/TEST/backup/"), Route::Backup(0));
        assert_eq!(post("/a/b/backup"), Route::Backup(index("a/b")));
        assert_eq!(post("/x/macro/z"), Route::Macro(index("x"), "z".into()));
    }

    #[test]
    fn a_database_wins_over_a_macro_of_another() {
        assert_eq!(post("/x/macro/y"), Route::Call(index("x/macro/y")));
        assert_eq!(post("/x/macro/y/macro/z"), Route::Macro(index("x/macro/y"), "z".into()));
    }

    #[test]
    fn rqlite_below_a_database() {
        for (path, resource) in [
            ("/test/db/execute", Resource::Execute),
            ("/TEST/db/query/", Resource::Query),
            ("/%74est/db%2Frequest", Resource::Request),
            ("/test/db/sql", Resource::Sql),
            ("/test/db/backup", Resource::Backup),
            ("/test/db/load", Resource::Load),
            ("/test/readyz", Resource::Readyz),
            ("/test/status", Resource::Status),
            ("/test/nodes", Resource::Nodes),
            ("/test/leader/", Resource::Leader),
        ] {
            assert_eq!(post(path), Route::Rqlite(index("test"), resource), "{path}");
        }
        for path in
            ["/test/db/queryfoo", "/test/DB/query", "/test/db/query//", "/nope/db/query", "/test/db", "/testdb/query"]
        {
            assert_eq!(post(path), Route::Unknown, "{path}");
        }
        assert_eq!(post("/a/b/db/query"), Route::Rqlite(index("a/b"), Resource::Query));
        // With several databases, a path without an id is ambiguous.
        assert_eq!(post("/db/query"), Route::Unknown);
        assert_eq!(post("/readyz"), Route::Unknown);
    }

    #[test]
    fn rqlite_of_the_only_database() {
        let on = |id: &str, path: &str| route(&Method::POST, path, &RouteTable::new([id]));
        assert_eq!(on("test", "/db/query"), Route::Rqlite(0, Resource::Query));
        assert_eq!(on("test", "/test/db/query"), Route::Rqlite(0, Resource::Query));
        assert_eq!(on("test", "/readyz/"), Route::Rqlite(0, Resource::Readyz));
        assert_eq!(on("test", "//db/query"), Route::Unknown);
    }

    #[test]
    fn a_database_wins_over_rqlite() {
        let on = |id: &str, path: &str| route(&Method::POST, path, &RouteTable::new([id]));
        assert_eq!(on("db", "/db"), Route::Call(0));
        assert_eq!(on("db", "/db/backup"), Route::Backup(0));
        assert_eq!(on("db", "/db/macro/m"), Route::Macro(0, "m".into()));
        assert_eq!(on("db", "/db/query"), Route::Rqlite(0, Resource::Query));
        assert_eq!(on("db", "/db/db/backup"), Route::Rqlite(0, Resource::Backup));
        assert_eq!(on("status", "/status"), Route::Call(0));
        assert_eq!(on("db/query", "/db/query"), Route::Call(0));
    }
}
