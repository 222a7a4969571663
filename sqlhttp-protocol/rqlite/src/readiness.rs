//! `/readyz`: whether a node can serve requests, as plain text.

use crate::reply::{ContentType, Reply};

/// The readiness of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readiness<'a> {
    /// The node runs. The client did not ask for more (`noleader`).
    Alive,
    /// The node does not know a leader, or is not open yet.
    NoLeader,
    /// The leader does not answer, for this reason.
    LeaderUnreachable(&'a str),
    /// The store of the node is not ready.
    StoreNotReady,
    /// The node applies the entries that its log contained at the start.
    Replaying {
        /// The index of the last entry that was applied.
        applied: u64,
        /// The index of the last entry of the log.
        last: u64,
    },
    /// The node has not applied all committed entries within the time limit (`sync`).
    NotSynced,
    /// The database does not answer, for this reason.
    DatabaseFails(&'a str),
    /// The node can serve requests.
    Ready,
    /// The node can serve requests, but an integrity check has found damage in the database. The text is the first line
    /// of the check's result.
    Damaged(&'a str),
}

/// Encodes the readiness of a node. `sync`: whether the client asked for all committed entries to be applied.
pub fn encode_readiness(readiness: Readiness<'_>, sync: bool) -> Reply {
    let text = match readiness {
        Readiness::Alive => String::new(),
        Readiness::NoLeader => "\n[+]leader does not exist".to_owned(),
        Readiness::LeaderUnreachable(why) => format!("\n[+]leader not contactable: {why}"),
        Readiness::StoreNotReady => "\n[+]leader ok\n[+]store not ready".to_owned(),
        Readiness::Replaying { applied, last } => {
            format!("\n[+]leader ok\n[+]store not ready: {applied} of {last} entries of the log are applied")
        }
        Readiness::NotSynced => "\n[+]leader ok\n[+]store ok\n[+]sync timeout waiting for commit index".to_owned(),
        Readiness::DatabaseFails(why) => format!("{}\n[+]db not ok: ({why}, [])", serving(sync)),
        Readiness::Ready => format!("{}\n[+]db ok", serving(sync)),
        Readiness::Damaged(what) => format!("{}\n[+]db damaged: {what}", serving(sync)),
    };
    let ok = matches!(readiness, Readiness::Alive | Readiness::Ready | Readiness::Damaged(_));
    Reply {
        status: if ok { 200 } else { 503 },
        content_type: ContentType::Text,
        body: format!("[+]node ok{text}").into_bytes(),
    }
}

fn serving(sync: bool) -> &'static str {
    if sync { "\n[+]leader ok\n[+]store ok\n[+]sync ok" } else { "\n[+]leader ok\n[+]store ok" }
}
