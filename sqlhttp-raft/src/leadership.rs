//! Tracks whether this node is leader.

use std::collections::BTreeMap;

use openraft::ReadPolicy;
use openraft::async_runtime::WatchReceiver as _;
use sqlhttp_core::Database;
use tokio::sync::watch;

use crate::log::LogStore;
use crate::observer::Event;
use crate::options::NodeOptions;
use crate::raft::Raft;
use crate::types::MemberInfo;

/// Tracks the leadership of this node until replication ends. Sends the current term to `ready_term` when this node is
/// leader and has applied every entry that was acknowledged before; sends 0 when it is not leader. A new leader also
/// updates its own name and address in the cluster membership.
pub(crate) async fn watch_leadership(
    raft: Raft,
    log: LogStore,
    database: Database,
    options: NodeOptions,
    ready_term: watch::Sender<u64>,
) {
    let mut metrics = raft.server_metrics();
    loop {
        let now = metrics.borrow_and_update().clone();
        let term = now.vote.leader_id.term;
        let sole = now.membership_config.nodes().count() == 1;
        log.set_inline_append(sole);
        database.set_sole(sole);
        if !now.state.is_leader() {
            ready_term.send_replace(0);
        } else if *ready_term.borrow() != term {
            // A new leader may serve linearizable reads only after it has committed an entry of its own term (section
            // 6.4 of the Raft dissertation, step 1). `ensure_linearizable` also waits until that entry has been
            // applied.
            if raft.ensure_linearizable(ReadPolicy::ReadIndex).await.is_err() {
                tokio::time::sleep(std::time::Duration::from_millis(1)).await;
                continue;
            }
            ready_term.send_replace(term);
            let NodeOptions { name, raft_address, observer, .. } = &options;
            observer.event(&Event::BecameLeader { name, raft_address });
            keep_own_address(&raft, &options).await;
        }
        if metrics.changed().await.is_err() {
            break;
        }
    }
    // Replication has ended, by a shutdown or because of an error.
    ready_term.send_replace(0);
    if let Err(fatal) = raft.metrics().borrow_watched().running_state.clone()
        && !matches!(fatal, openraft::errors::Fatal::Stopped)
    {
        options.observer.event(&Event::Stopped { error: &fatal.to_string() });
    }
}

/// Returns the name and the address of this node, in the form in which the cluster membership stores them.
pub(crate) fn own_info(options: &NodeOptions) -> MemberInfo {
    MemberInfo { name: options.name.clone(), raft_address: options.raft_address.clone() }
}

/// Updates the cluster membership if this node was started with another name or address than before.
async fn keep_own_address(raft: &Raft, options: &NodeOptions) {
    let id = *raft.node_id();
    let this = own_info(options);
    let known = raft.metrics().borrow_watched().membership_config.get_node(&id).cloned();
    if known.as_ref() == Some(&this) {
        return;
    }
    let change = openraft::ChangeMembers::SetNodes(BTreeMap::from([(id, this)]));
    if let Err(error) = raft.change_membership(change, false).await {
        options.observer.event(&Event::MembershipNotUpdated { error: &error.to_string() });
    }
}
