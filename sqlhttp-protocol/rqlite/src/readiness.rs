//! Encodes the reply of `/readyz`: whether a node can serve requests, as plain text.

use crate::reply::{ContentType, Reply};

/// The readiness of a node, as `/readyz` reports it. Status 200 for `Alive`, `Ready` and `Damaged`; status 503 for the
/// others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readiness<'a> {
    /// The node is running. Nothing else was checked, because the client sent the parameter `noleader`.
    Alive,
    /// The cluster has no leader as far as the node can tell, or the store of the node is not open yet.
    NoLeader,
    /// The node was removed from its cluster.
    Removed,
    /// There is a leader, but it did not respond to the node. The text is the reason.
    LeaderUnreachable(&'a str),
    /// The leader is reachable, but the store of the node is not ready.
    StoreNotReady,
    /// The node is still applying the entries that its Raft log contained at startup.
    Replaying {
        /// The index of the last Raft log entry that was applied.
        applied: u64,
        /// The index of the last entry of the Raft log.
        last: u64,
    },
    /// The client asked for `sync`, but the node did not apply all committed Raft log entries within the time limit.
    NotSynced,
    /// A verification has found that the content of the node differs from that of the other nodes. The text is the
    /// reason.
    Differs(&'a str),
    /// The database does not respond. The text is the reason.
    DatabaseFails(&'a str),
    /// The node can serve requests.
    Ready,
    /// The node can serve requests, but an integrity check has found damage in the database. The text is the first line
    /// of the check's result.
    Damaged(&'a str),
}

/// Encodes the readiness of a node. `sync`: whether the client asked to wait until all committed Raft log entries are
/// applied.
pub fn encode_readiness(readiness: Readiness<'_>, sync: bool) -> Reply {
    let text = match readiness {
        Readiness::Alive => String::new(),
        Readiness::NoLeader => "\n[+]leader does not exist".to_owned(),
        Readiness::Removed => "\n[+]leader does not exist\n[+]this node was removed from the cluster".to_owned(),
        Readiness::LeaderUnreachable(why) => format!("\n[+]leader not contactable: {why}"),
        Readiness::StoreNotReady => "\n[+]leader ok\n[+]store not ready".to_owned(),
        Readiness::Replaying { applied, last } => {
            format!("\n[+]leader ok\n[+]store not ready: {applied} of {last} entries of the log are applied")
        }
        Readiness::NotSynced => "\n[+]leader ok\n[+]store ok\n[+]sync timeout waiting for commit index".to_owned(),
        Readiness::DatabaseFails(why) => format!("{}\n[+]db not ok: ({why}, [])", serving(sync)),
        Readiness::Differs(why) => format!("{}\n[+]db differs: {why}", serving(sync)),
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
