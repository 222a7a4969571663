//! The parameter `redirect`: a node that is not the leader redirects the client to the leader instead of forwarding the
//! request.

use hyper::StatusCode;
use hyper::header::{self, HeaderValue};
use sqlhttp_core::ReadLevel;
use sqlhttp_rqlite::Params;

use super::reply::error;
use crate::api::exchange::Exchange;
use crate::http::reply::{self, EarlyResponse, ReplyBody};

/// Returns whether reads at this level are answered from this node's database without the leader. Such a request is
/// never redirected.
pub(crate) fn is_local_read(exchange: &Exchange<'_>, level: ReadLevel) -> bool {
    exchange.database.replication.as_ref().is_none_or(|replication| replication.reads_locally(level))
}

/// Returns the redirect to the leader as an error if the client has asked for one and this node is not the leader.
/// `media_type` is that of the endpoint's other responses; `None` if they have none.
pub(crate) async fn to_leader(
    exchange: &Exchange<'_>,
    params: &Params,
    media_type: Option<&'static str>,
) -> Result<(), EarlyResponse> {
    let Some(location) = location(exchange, params).await? else { return Ok(()) };
    let status = StatusCode::MOVED_PERMANENTLY;
    let empty = |media_type| reply::with_type(status, media_type, ReplyBody::EMPTY);
    let mut response = media_type.map_or_else(|| reply::empty(status), empty);
    response.headers_mut().insert(header::LOCATION, location);
    Err(Box::new(response))
}

/// Returns the URL to which a request must be redirected: the leader's API with the path and the query of the request.
/// Returns `None` if the request must not be redirected.
async fn location(exchange: &Exchange<'_>, params: &Params) -> Result<Option<HeaderValue>, EarlyResponse> {
    let replication = exchange.database.replication.as_ref().filter(|_| params.redirect);
    let Some(replication) = replication.filter(|it| it.is_open() && !it.is_leader()) else { return Ok(None) };
    let target = exchange.request.uri.path_and_query().map_or("/", |target| target.as_str());
    let url = replication.leader_url(params.timeout).await;
    let location = url.and_then(|url| HeaderValue::try_from(format!("{url}{target}")).ok());
    if location.is_none() {
        exchange.context.counters.leader_not_found.add(1);
        // The status is that of rqlite. Without `redirect`, it is 503.
        return Err(Box::new(error(StatusCode::INTERNAL_SERVER_ERROR, "leader not found")));
    }
    Ok(location)
}
