//! `/readyz`: whether a node can serve, as text.

use crate::reply::{ContentType, Reply};

/// How far a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readiness<'a> {
    /// It runs; nothing else was asked (`noleader`).
    Alive,
    /// It knows no leader, or is not open yet.
    NoLeader,
    /// The leader does not answer; why.
    LeaderUnreachable(&'a str),
    /// It is not ready to serve.
    StoreNotReady,
    /// It applies the log that it found at its start.
    Replaying {
        /// The index of the last entry that it has applied.
        applied: u64,
        /// The index of the last entry of its log.
        last: u64,
    },
    /// It has not applied in time what was committed (`sync`).
    NotSynced,
    /// Its database does not answer; why.
    DatabaseFails(&'a str),
    /// It can serve.
    Ready,
    /// It can serve, but a check of its database has found damage; the first line of what it found.
    Damaged(&'a str),
}

/// Encodes readiness. `sync`: whether the client asked for it.
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
