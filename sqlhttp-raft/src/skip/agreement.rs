//! The agreement of all nodes to skip an entry.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::future::join_all;
use openraft::async_runtime::WatchReceiver as _;
use serde::{Deserialize, Serialize};

use super::records::SkipRecords;
use super::{SkipEntry, file};
use crate::log::LogStore;
use crate::network::{Peers, Request, Target};
use crate::observer::{Event, Observer};
use crate::raft::Raft;
use crate::runtime::blocking;

/// The time within which a node must respond to a question about an entry to skip.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(2);
/// The time between two rounds of questions. No event announces that another node has been started with its file.
const ASK_EVERY: Duration = Duration::from_millis(250);

/// Asks a node whether it skips an entry.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct SkipCall(SkipEntry);

/// The response to a [`SkipCall`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum SkipReply {
    /// All nodes skip the entry.
    Decided,
    /// The node skips the entry if all nodes are willing to. It never applies the entry.
    Willing,
    /// The node has applied the entry.
    Applied,
    /// The node has not applied the entry, and is not willing to skip it, for this reason.
    Unwilling(String),
}

impl Request for SkipCall {
    const KIND: u8 = 50;
    type Response = Result<SkipReply, String>;
}

/// Gives a node the decisions of the cluster, before it becomes a member.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct AdoptSkipsCall(Vec<SkipEntry>);

impl Request for AdoptSkipsCall {
    const KIND: u8 = 51;
    type Response = Result<(), String>;
}

/// The nodes that must agree.
pub(crate) enum Scope {
    /// The members of the cluster that this node belongs to.
    Cluster { peers: Arc<Peers>, view: Box<dyn Fn() -> View + Send + Sync> },
    /// None: a recovery makes this node the only member.
    Alone,
    /// A recovery leaves several members, which cannot agree while they recover.
    Recovery,
}

/// The leadership and the other members, as this node knows them.
pub(crate) struct View {
    leads: bool,
    /// The names of the other members, by Raft id.
    others: BTreeMap<u64, String>,
}

impl Scope {
    pub(crate) fn cluster(peers: Arc<Peers>, raft: &Raft) -> Scope {
        let (own, metrics) = (*raft.node_id(), raft.server_metrics());
        let view = move || {
            let metrics = metrics.borrow_watched();
            let others = metrics.membership_config.nodes().filter(|(id, _)| **id != own);
            View {
                leads: metrics.current_leader == Some(own),
                others: others.map(|(id, member)| (*id, member.name.clone())).collect(),
            }
        };
        Scope::Cluster { peers, view: Box::new(view) }
    }
}

/// The entries that this node skips.
pub(crate) struct Skips {
    /// The entry in `raft/skip.json`; `None` if there is no file, or if this node applied the entry before it was
    /// started.
    requested: Option<SkipEntry>,
    records: SkipRecords,
    scope: OnceLock<Scope>,
    log: LogStore,
    observer: Arc<dyn Observer>,
}

impl Skips {
    /// Reads `raft/skip.json` and `raft/skipped.json` in the directory of a node that has applied the entries up to
    /// `applied_index`.
    ///
    /// # Errors
    /// A file cannot be read, or is malformed. The error names the file.
    pub(crate) fn open(
        directory: &Path,
        applied_index: u64,
        log: LogStore,
        observer: Arc<dyn Observer>,
    ) -> io::Result<Skips> {
        let directory = directory.join("raft");
        let (request, recorded) = (directory.join("skip.json"), directory.join("skipped.json"));
        let named =
            |path: &Path, error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
        let records = SkipRecords::open(recorded.clone()).map_err(|error| named(&recorded, error))?;
        let mut requested = file::read(&request).map_err(|error| named(&request, error))?;
        if let Some(entry) = requested.take_if(|entry| entry.index <= applied_index) {
            observer.event(&Event::SkipFileObsolete { file: &request, index: entry.index, applied_index });
        }
        Ok(Skips { requested, records, scope: OnceLock::new(), log, observer })
    }

    /// Sets the nodes that must agree. An entry to skip is not passed before.
    pub(crate) fn set_scope(&self, scope: Scope) {
        // There is one call per node.
        let _ = self.scope.set(scope);
    }

    /// Returns whether this node may have to skip the entry at `index`.
    pub(crate) fn names(&self, index: u64) -> bool {
        self.named(index).is_some()
    }

    fn named(&self, index: u64) -> Option<SkipEntry> {
        // Called for each entry. Few nodes have ever skipped one.
        if self.requested.is_none() && self.records.are_empty() {
            return None;
        }
        let recorded = self.records.get(index).map(|record| record.entry);
        recorded.or_else(|| self.requested.clone().filter(|entry| entry.index == index))
    }

    /// Waits until all nodes agree to skip the entry at `index`. `digest` is that of the entry in the Raft log.
    ///
    /// # Errors
    /// The entry is named with another digest; another node has applied the entry; the record cannot be written; the
    /// node is being closed.
    pub(crate) async fn agree(self: &Arc<Self>, index: u64, digest: &str) -> io::Result<()> {
        let Some(entry) = self.named(index) else { return Ok(()) };
        if entry.digest != digest {
            let why =
                format!("skip.json names entry {index} with the digest {}, but its digest is {digest}", entry.digest);
            return Err(io::Error::other(why));
        }
        if self.is_decided(&entry) {
            return Ok(());
        }
        self.record(entry.clone(), false).await?;
        let mut reported = String::new();
        loop {
            let waits_for = match self.ask_all(&entry).await? {
                Progress::Agreed => return self.record(entry, true).await,
                Progress::WaitsFor(nodes) => nodes,
            };
            if self.log.is_closing() {
                return Err(io::Error::other("the node is being closed"));
            }
            if waits_for != reported {
                self.observer.event(&Event::SkipWaits { index, reason: &waits_for });
                reported = waits_for;
            }
            tokio::time::sleep(ASK_EVERY).await;
        }
    }

    fn is_decided(&self, entry: &SkipEntry) -> bool {
        self.records.get(entry.index).is_some_and(|record| record.decided && record.entry == *entry)
    }

    async fn record(self: &Arc<Self>, entry: SkipEntry, decided: bool) -> io::Result<()> {
        let skips = self.clone();
        blocking(move || skips.records.record(entry, decided)).await.map_err(io::Error::other)?
    }

    /// Asks all other nodes about an entry that this node is willing to skip.
    async fn ask_all(&self, entry: &SkipEntry) -> io::Result<Progress> {
        let (peers, view) = match self.scope.get() {
            None => return Ok(Progress::WaitsFor("Raft".to_owned())),
            Some(Scope::Alone) => return Ok(Progress::Agreed),
            Some(Scope::Recovery) => {
                return Err(io::Error::other(format!(
                    "entry {} of the log cannot be skipped while raft/peers.json names other nodes: name only this \
                     node, and let the others join with empty directories",
                    entry.index
                )));
            }
            Some(Scope::Cluster { peers, view }) => (peers, view()),
        };
        let call = SkipCall(entry.clone());
        let questions = view.others.keys().map(|id| peers.call(Target::Node(*id), &call, RESPONSE_TIMEOUT));
        let replies = join_all(questions).await.into_iter().map(|called| match called {
            Ok(Ok(reply)) => reply,
            Ok(Err(why)) => SkipReply::Unwilling(why),
            Err(error) => SkipReply::Unwilling(error.to_string()),
        });
        let replies: Vec<(&String, SkipReply)> = view.others.values().zip(replies).collect();
        progress(entry, view.leads, &replies)
    }

    /// Responds to another node. Blocks.
    ///
    /// # Errors
    /// The record cannot be written.
    pub(crate) fn answer(&self, call: SkipCall, applied_index: u64) -> io::Result<SkipReply> {
        let SkipCall(entry) = call;
        if self.is_decided(&entry) {
            return Ok(SkipReply::Decided);
        }
        let named = self.named(entry.index);
        let is_recorded = self.records.get(entry.index).is_some();
        // A node with a record has passed the entry without applying it.
        if entry.index <= applied_index && !is_recorded {
            return Ok(SkipReply::Applied);
        }
        Ok(match named {
            None => SkipReply::Unwilling("has no raft/skip.json for this entry".to_owned()),
            Some(named) if named != entry => SkipReply::Unwilling("names another digest of this entry".to_owned()),
            Some(named) => {
                self.records.record(named, false)?;
                SkipReply::Willing
            }
        })
    }

    /// Returns the decisions that a node needs before it becomes a member; `None` if there are none.
    pub(crate) fn for_new_member(&self) -> Option<AdoptSkipsCall> {
        let decided = self.records.decided();
        (!decided.is_empty()).then_some(AdoptSkipsCall(decided))
    }

    /// Records the decisions of the cluster that this node joins. Blocks.
    ///
    /// # Errors
    /// The record cannot be written.
    pub(crate) fn adopt(&self, call: AdoptSkipsCall) -> io::Result<()> {
        call.0.into_iter().try_for_each(|entry| self.records.record(entry, true))
    }
}

/// The result of a round of questions.
#[derive(Debug, PartialEq, Eq)]
enum Progress {
    Agreed,
    /// The nodes that are not willing yet, with the reasons.
    WaitsFor(String),
}

/// Evaluates the replies of all other members, with their names.
///
/// # Errors
/// A node has applied the entry.
fn progress(entry: &SkipEntry, leads: bool, replies: &[(&String, SkipReply)]) -> io::Result<Progress> {
    if replies.iter().any(|(_, reply)| *reply == SkipReply::Decided) {
        return Ok(Progress::Agreed);
    }
    if let Some((name, _)) = replies.iter().find(|(_, reply)| *reply == SkipReply::Applied) {
        return Err(io::Error::other(format!(
            "entry {} of the log cannot be skipped, because {name} has applied it: remove raft/skip.json and \
             raft/skipped.json from this node",
            entry.index
        )));
    }
    let mut waits_for = String::new();
    for (name, reply) in replies {
        if let SkipReply::Unwilling(why) = reply {
            let separator = if waits_for.is_empty() { "" } else { "; " };
            let _ = write!(waits_for, "{separator}{name}: {why}");
        }
    }
    Ok(match (waits_for.is_empty(), leads) {
        (true, true) => Progress::Agreed,
        (true, false) => Progress::WaitsFor("the decision of the leader".to_owned()),
        (false, _) => Progress::WaitsFor(waits_for),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::log::LogOptions;
    use crate::observer::NoObserver;

    #[test]
    fn a_node_records_its_willingness_before_it_answers() {
        let directory = tempfile::tempdir().unwrap();
        let raft = directory.path().join("raft");
        std::fs::create_dir_all(raft.join("log")).unwrap();
        let log = LogStore::open(LogOptions::new(&raft.join("log"))).unwrap();
        let open = || Skips::open(directory.path(), 0, log.clone(), Arc::new(NoObserver)).unwrap();
        let entry = |digest: &str| SkipEntry { index: 17, digest: digest.to_owned() };
        let unwilling = |why: &str| SkipReply::Unwilling(why.to_owned());
        let without_file = open().answer(SkipCall(entry("aa")), 3).unwrap();
        assert_eq!(without_file, unwilling("has no raft/skip.json for this entry"));
        assert_eq!(open().answer(SkipCall(entry("aa")), 17).unwrap(), SkipReply::Applied);

        std::fs::write(raft.join("skip.json"), r#"{"index": 17, "digest": "aa"}"#).unwrap();
        let other = open().answer(SkipCall(entry("bb")), 3).unwrap();
        assert_eq!(other, unwilling("names another digest of this entry"));
        assert_eq!(open().answer(SkipCall(entry("aa")), 3).unwrap(), SkipReply::Willing);
        // The node remains willing without the file, and when it has passed the entry.
        std::fs::remove_file(raft.join("skip.json")).unwrap();
        assert_eq!(open().answer(SkipCall(entry("aa")), 17).unwrap(), SkipReply::Willing);
        open().adopt(AdoptSkipsCall(vec![entry("aa")])).unwrap();
        assert_eq!(open().answer(SkipCall(entry("aa")), 17).unwrap(), SkipReply::Decided);
        log.close();
    }

    #[test]
    fn the_leader_decides_when_all_nodes_are_willing() {
        let entry = SkipEntry { index: 17, digest: "aa".to_owned() };
        let names = ["n2".to_owned(), "n3".to_owned()];
        let evaluate = |leads, replies: [SkipReply; 2]| {
            let replies: Vec<_> = names.iter().zip(replies).collect();
            progress(&entry, leads, &replies)
        };
        let unwilling = || SkipReply::Unwilling("is away".to_owned());
        assert_eq!(evaluate(true, [SkipReply::Willing, SkipReply::Willing]).unwrap(), Progress::Agreed);
        let waits = evaluate(false, [SkipReply::Willing, SkipReply::Willing]).unwrap();
        assert_eq!(waits, Progress::WaitsFor("the decision of the leader".to_owned()));
        let waits = evaluate(true, [SkipReply::Willing, unwilling()]).unwrap();
        assert_eq!(waits, Progress::WaitsFor("n3: is away".to_owned()));
        // A decision is final, also if a node has joined since and received the content without the entry.
        assert_eq!(evaluate(false, [SkipReply::Decided, SkipReply::Applied]).unwrap(), Progress::Agreed);
        let error = evaluate(true, [SkipReply::Applied, unwilling()]).unwrap_err().to_string();
        assert!(error.contains("n2 has applied it"), "{error}");
        assert_eq!(progress(&entry, true, &[]).unwrap(), Progress::Agreed);
    }
}
