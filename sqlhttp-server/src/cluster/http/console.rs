//! The page `/console/`, to which `/` redirects: links to the endpoints that a browser can show. rqlite has a web
//! console at this path.

use hyper::StatusCode;

use crate::api::context::AppContext;
use crate::http::reply::{self, HttpResponse, ReplyBody};

const PAGE: &str = "<!DOCTYPE html>
<html lang=\"en\">
<head><meta charset=\"utf-8\"><title>sqlhttp</title></head>
<body>
<h1>sqlhttp</h1>
<p>This node serves rqlite's HTTP API. It has no web console.</p>
<ul>
<li><a href=\"/status?pretty\">/status</a>: the node and its database</li>
<li><a href=\"/nodes?pretty\">/nodes</a>: the members of the cluster</li>
<li><a href=\"/readyz\">/readyz</a>: whether the node can serve</li>
<li><a href=\"/debug/vars\">/debug/vars</a>, <a href=\"/metrics\">/metrics</a>: counters and metrics</li>
<li><a href=\"/licenses\">/licenses</a></li>
</ul>
</body>
</html>
";

/// Handles `/console/`. The page contains no data of the database, so it requires no permission.
pub(crate) fn answer(context: &AppContext) -> HttpResponse {
    context.counters.ui.add(1);
    reply::with_type(StatusCode::OK, "text/html; charset=utf-8", ReplyBody::Whole(PAGE.into()))
}
