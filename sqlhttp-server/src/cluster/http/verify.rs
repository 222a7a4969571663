//! The endpoint `/verify`: compares the content of the nodes of the cluster.

use hyper::{Method, StatusCode};
use sqlhttp_core::RowKey;
use sqlhttp_raft::{VerifyError, VerifyOptions};
use sqlhttp_rqlite::{Difference, Params, RowName, Verification, VerifiedNode, encode_verification};

use super::request::Request;
use crate::api::rqlite::reply::{error, from_protocol};
use crate::http::reply::HttpResponse;

/// Handles `/verify`. A repair requires the method POST, because it replaces the content of nodes.
pub(crate) async fn answer(request: &Request<'_>, params: &Params) -> HttpResponse {
    if params.repair && request.head.method != Method::POST {
        return error(StatusCode::BAD_REQUEST, "repair requires the method POST");
    }
    let Some(node) = request.cluster.node() else {
        return error(StatusCode::SERVICE_UNAVAILABLE, "store not open");
    };
    let (node, credentials) = (node.clone(), request.credentials());
    let options = VerifyOptions::new().deep(params.deep).repair(params.repair);
    // A verification that has begun goes on if the client disconnects, so that every node receives its verdict.
    let verified = tokio::spawn(async move { node.verify(options, credentials).await }).await;
    match verified {
        Ok(Ok(verification)) => {
            let has_quorum = verification.has_quorum;
            from_protocol(encode_verification(&to_protocol(verification), has_quorum, params.pretty))
        }
        Ok(Err(why @ VerifyError::Running)) => error(StatusCode::CONFLICT, &why.to_string()),
        Ok(Err(why)) => error(StatusCode::SERVICE_UNAVAILABLE, &why.to_string()),
        Err(_) => error(StatusCode::INTERNAL_SERVER_ERROR, "internal error"),
    }
}

fn to_protocol(verification: sqlhttp_raft::Verification) -> Verification {
    let sqlhttp_raft::Verification { index, equal, has_quorum: _, nodes, differences, repaired, .. } = verification;
    let digest = |digest: u128| format!("{digest:032x}");
    let nodes = nodes.into_iter().map(|(name, node)| {
        let node = VerifiedNode { digest: node.digest.map(digest), error: node.error };
        (name, node)
    });
    let differences = differences.into_iter().map(|difference| Difference {
        node: difference.node,
        table: difference.table,
        row: difference.row.map(|key| match key {
            RowKey::Rowid(rowid) => RowName::Rowid(rowid),
            RowKey::Primary(key) => RowName::Key(key),
        }),
    });
    Verification { index, equal, nodes: nodes.collect(), differences: differences.collect(), repaired }
}
