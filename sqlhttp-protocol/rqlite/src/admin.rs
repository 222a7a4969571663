//! The request and reply bodies of the endpoints for operators: `/remove`, `/leader` and `/reap`.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::reply::{ContentType, Refusal, Reply};

/// Decodes the body of `DELETE /remove` and returns the name of the node to remove.
///
/// The body must be `{"id":"<node>"}`, without other JSON members. Returns `None` for any other body; the caller then
/// replies with status 400 and an empty body.
pub fn decode_remove(body: &[u8]) -> Option<String> {
    let mut object: BTreeMap<String, String> = serde_json::from_slice(body).ok()?;
    let id = object.remove("id")?;
    object.is_empty().then_some(id)
}

/// Decodes the body of `POST /leader` and returns the name of the node that is to become the leader. Returns `None` if
/// any node may become the leader: if the body or its `id` is empty or missing.
///
/// A body whose content type is not exactly `application/json` is ignored.
///
/// # Errors
/// Status 400 if the body is not a JSON object of this form.
pub fn decode_leader_target(content_type: Option<&str>, body: &[u8]) -> Result<Option<String>, Refusal> {
    #[derive(Deserialize)]
    struct Target {
        id: Option<String>,
    }
    if content_type != Some("application/json") || body.is_empty() {
        return Ok(None);
    }
    let refused = |error: serde_json::Error| {
        // Go's words for a document that ends too early.
        let why = if error.is_eof() { "unexpected EOF".to_owned() } else { error.to_string() };
        Refusal::text(400, format!("invalid JSON: {why}"))
    };
    let target: Target = serde_json::from_slice(body).map_err(refused)?;
    Ok(target.id.filter(|id| !id.is_empty()))
}

/// Encodes the reply of `/reap`: the number of snapshots that were removed, and the number of write-ahead logs that
/// were merged into snapshots.
pub fn encode_reaped(snapshots: u64, wals: u64) -> Reply {
    Reply {
        status: 200,
        content_type: ContentType::Json,
        body: format!("{{\"snapshots_reaped\":{snapshots},\"wals_checkpointed\":{wals}}}\n").into_bytes(),
    }
}
