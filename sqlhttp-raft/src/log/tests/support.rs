//! Helpers for the tests of the log.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;

use openraft::entry::EntryPayload;
use openraft::storage::{IOFlushed, RaftLogReader as _, RaftLogStorage as _};
use openraft::type_config::async_runtime::Oneshot as _;
use openraft_rt_tokio::TokioOneshot;
use tokio::sync::oneshot;

use super::super::LogStore;
use crate::command::{Command, DATABASE, EncodedOperation, Operation};
use sqlhttp_core::Conditions;

use crate::types::{Entry, MemberInfo, Membership, log_id};

/// Returns a blank entry, which contains no command.
pub(super) fn blank(term: u64, index: u64) -> Entry {
    Entry { log_id: log_id(term, index), payload: EntryPayload::Blank }
}

/// Returns an entry of about this number of bytes. The bytes depend on the term and the index, and cannot be
/// compressed.
pub(super) fn command(term: u64, index: u64, bytes: usize) -> Entry {
    let content: Vec<u8> = (0..bytes as u64)
        .map(|at| (at + index * 7 + term).wrapping_mul(0x9E37_79B9_7F4A_7C15))
        .map(|mixed| ((mixed ^ (mixed >> 29)).wrapping_mul(0xBF58_476D_1CE4_E5B9) >> 40) as u8 | 1)
        .collect();
    let operation = EncodedOperation::new(Operation::Replace(Arc::from(content))).unwrap();
    let conditions = Conditions { unix_ms: 0, foreign_keys: false, value_bytes_max: 1, time_zone: None };
    let command = Command::new(DATABASE, conditions, vec![operation]).unwrap();
    Entry { log_id: log_id(term, index), payload: EntryPayload::Normal(command) }
}

/// Returns an entry with a membership of three voters.
pub(super) fn members(term: u64, index: u64) -> Entry {
    let peer = |id: u64| MemberInfo {
        name: format!("n{id}"),
        raft_address: format!("host{id}:{index}"),
        ..MemberInfo::default()
    };
    let nodes: BTreeMap<u64, MemberInfo> = (1..=3).map(|id| (id, peer(id))).collect();
    let members = Membership::new(vec![BTreeSet::from([1, 2, 3])], nodes).unwrap();
    Entry { log_id: log_id(term, index), payload: EntryPayload::Membership(members) }
}

/// The receiver of the result of an append.
pub(super) type Pending = oneshot::Receiver<io::Result<()>>;

/// Starts an append, without waiting for the disk.
pub(super) async fn begin_append(log: &mut LogStore, entries: Vec<Entry>) -> Pending {
    let (sender, pending) = TokioOneshot::channel();
    log.append(entries, IOFlushed::signal(sender)).await.unwrap();
    pending
}

/// Appends entries to the log, and waits until they are durable.
pub(super) async fn append(log: &mut LogStore, entries: Vec<Entry>) -> io::Result<()> {
    begin_append(log, entries).await.await.expect("the callback was dropped")
}

/// Returns all entries of the log.
pub(super) async fn all_entries(log: &mut LogStore) -> Vec<Entry> {
    log.try_get_log_entries(..).await.unwrap()
}
