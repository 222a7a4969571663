//! `/status` of a node.
use super::super::super::reply::HttpResponse;
use super::Request;
use sqlhttp_rqlite::Params;

pub(super) async fn answer(request: &Request<'_>, params: &Params) -> HttpResponse {
    super::super::status::answer(&request.exchange, params).await
}
