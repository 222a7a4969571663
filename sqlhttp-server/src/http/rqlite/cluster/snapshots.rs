//! `/snapshot` and `/reap`.

use hyper::StatusCode;
use sqlhttp_rqlite::{Params, encode_reaped};

use super::super::super::reply::{self, HttpResponse};
use super::super::{error, from_protocol};
use super::Request;

/// Takes a snapshot.
pub(super) async fn take(request: &Request<'_>, params: &Params) -> HttpResponse {
    request.state.vars.user_snapshots.add(1);
    let trailing = Some(params.trailing_logs).filter(|trailing| *trailing > 0);
    match request.member.node.snapshot_by_request(trailing).await {
        Ok(true) => reply::empty(StatusCode::OK),
        Ok(false) => reply::empty(StatusCode::NO_CONTENT),
        Err(why) => error(StatusCode::INTERNAL_SERVER_ERROR, &why.to_string()),
    }
}

/// Tidies up behind snapshots.
pub(super) async fn reap(request: &Request<'_>) -> HttpResponse {
    request.state.vars.user_reaps.add(1);
    match request.member.node.checkpoint().await {
        // There is only ever one snapshot, so none is merged into another.
        Ok(had_wal) => from_protocol(encode_reaped(0, u64::from(had_wal))),
        Err(why) => error(StatusCode::INTERNAL_SERVER_ERROR, &why.to_string()),
    }
}
