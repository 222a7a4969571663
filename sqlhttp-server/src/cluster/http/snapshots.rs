//! The endpoints `/snapshot` and `/reap`.

use hyper::StatusCode;
use sqlhttp_rqlite::{Params, encode_reaped};

use super::request::Request;
use crate::api::rqlite::reply::{error, from_protocol};
use crate::http::reply::{self, HttpResponse};

/// Handles `/snapshot`: takes a snapshot. Responds with 204 if no write has been applied since the last snapshot, so
/// that none was taken.
pub(crate) async fn take(request: &Request<'_>, params: &Params) -> HttpResponse {
    request.context.counters.user_snapshots.add(1);
    let trailing = Some(params.trailing_logs).filter(|trailing| *trailing > 0);
    let Some(node) = request.cluster.node() else { return not_open() };
    match node.snapshot_by_request(trailing).await {
        Ok(true) => reply::empty(StatusCode::OK),
        Ok(false) => reply::empty(StatusCode::NO_CONTENT),
        Err(why) => error(StatusCode::INTERNAL_SERVER_ERROR, &why.to_string()),
    }
}

/// Handles `/reap`: checkpoints SQLite's write-ahead log. In rqlite, this endpoint also merges snapshots; a node of
/// this program has only one snapshot.
pub(crate) async fn reap(request: &Request<'_>) -> HttpResponse {
    request.context.counters.user_reaps.add(1);
    let Some(node) = request.cluster.node() else { return not_open() };
    match node.checkpoint().await {
        Ok(had_wal) => from_protocol(encode_reaped(0, u64::from(had_wal))),
        Err(why) => error(StatusCode::INTERNAL_SERVER_ERROR, &why.to_string()),
    }
}

fn not_open() -> HttpResponse {
    error(StatusCode::INTERNAL_SERVER_ERROR, "store not open")
}
