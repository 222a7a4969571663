//! Stub of the network between nodes: clusters have a single node for now, so every call to another node returns
//! `Unreachable`.

use std::future::Future;

use openraft::OptionalSend;
use openraft::errors::{RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{RPCOption, RaftNetworkFactory, RaftNetworkV2};
use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, VoteRequest, VoteResponse};

use crate::machine::DatabaseSnapshot;
use crate::types::{MemberInfo, TypeConfig, Vote};

/// Creates connections to other nodes.
pub(crate) struct Network;

/// A connection to another node. No connection is made yet.
pub(crate) struct Connection {
    peer: MemberInfo,
}

impl Connection {
    fn unreachable(&self) -> Unreachable<TypeConfig> {
        let why = format!(
            "node '{}' at {} cannot be reached: this cluster has one node",
            self.peer.name, self.peer.raft_address
        );
        Unreachable::from_string(why)
    }
}

impl RaftNetworkFactory<TypeConfig> for Network {
    type Network = Connection;

    async fn new_client(&mut self, _target: u64, peer: &MemberInfo) -> Connection {
        Connection { peer: peer.clone() }
    }
}

impl RaftNetworkV2<TypeConfig> for Connection {
    type SnapshotData = DatabaseSnapshot;

    async fn append_entries(
        &mut self,
        _rpc: AppendEntriesRequest<TypeConfig>,
        _option: RPCOption,
    ) -> Result<AppendEntriesResponse<TypeConfig>, RPCError<TypeConfig>> {
        Err(self.unreachable().into())
    }

    async fn vote(
        &mut self,
        _rpc: VoteRequest<TypeConfig>,
        _option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        Err(self.unreachable().into())
    }

    async fn full_snapshot(
        &mut self,
        _vote: Vote,
        _snapshot: openraft::alias::SnapshotOf<TypeConfig, DatabaseSnapshot>,
        _cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        Err(self.unreachable().into())
    }
}
