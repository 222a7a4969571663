//! The small bodies of the operator's endpoints: `/remove`, `/leader`, `/reap`.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::reply::{ContentType, Refusal, Reply};

/// Reads the body of `DELETE /remove`: `{"id":"<node>"}` and nothing else. `None` for any other, which is answered
/// with status 400 and an empty body.
pub fn decode_remove(body: &[u8]) -> Option<String> {
    let mut object: BTreeMap<String, String> = serde_json::from_slice(body).ok()?;
    let id = object.remove("id")?;
    object.is_empty().then_some(id)
}

/// Reads whom `POST /leader` wants to be the leader; `None` for anyone. A body counts only if its type is exactly
/// `application/json`.
///
/// # Errors
/// Status 400 for a body that is no JSON of the right form.
pub fn decode_leader_target(content_type: Option<&str>, body: &[u8]) -> Result<Option<String>, Refusal> {
    #[derive(Deserialize)]
    struct Target {
        id: Option<String>,
    }
    if content_type != Some("application/json") || body.is_empty() {
        return Ok(None);
    }
    let target: Target =
        serde_json::from_slice(body).map_err(|error| Refusal::text(400, format!("invalid JSON: {error}")))?;
    Ok(target.id.filter(|id| !id.is_empty()))
}

/// Encodes what `/reap` did: how many snapshots went, and how many write-ahead logs were folded in.
pub fn encode_reaped(snapshots: u64, wals: u64) -> Reply {
    Reply {
        status: 200,
        content_type: ContentType::Json,
        body: format!("{{\"snapshots_reaped\":{snapshots},\"wals_checkpointed\":{wals}}}\n").into_bytes(),
    }
}
