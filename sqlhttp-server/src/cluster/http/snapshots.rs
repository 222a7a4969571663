//! `/snapshot` and `/reap`.

use hyper::StatusCode;
use sqlhttp_rqlite::{Params, encode_reaped};

use super::Request;
use crate::api::rqlite::{error, from_protocol};
use crate::http::reply::{self, HttpResponse};

/// Takes a snapshot.
pub(crate) async fn take(request: &Request<'_>, params: &Params) -> HttpResponse {
    request.state.vars.user_snapshots.add(1);
    let trailing = Some(params.trailing_logs).filter(|trailing| *trailing > 0);
    match request.member.node.snapshot_by_request(trailing).await {
        Ok(true) => reply::empty(StatusCode::OK),
        Ok(false) => reply::empty(StatusCode::NO_CONTENT),
        Err(why) => error(StatusCode::INTERNAL_SERVER_ERROR, &why.to_string()),
    }
}

/// Tidies up behind snapshots.
pub(crate) async fn reap(request: &Request<'_>) -> HttpResponse {
    request.state.vars.user_reaps.add(1);
    match request.member.node.reap().await {
        Ok(reaped) => from_protocol(encode_reaped(reaped.snapshots, reaped.wals)),
        Err(why) => error(StatusCode::INTERNAL_SERVER_ERROR, &why.to_string()),
    }
}
