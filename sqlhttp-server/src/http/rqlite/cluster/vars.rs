//! `/debug/vars`.
use super::super::super::reply::HttpResponse;
use super::Request;
use sqlhttp_rqlite::Params;

pub(super) fn answer(_request: &Request<'_>, _params: &Params) -> HttpResponse {
    super::super::panicked()
}
