//! The connections of this node to all other nodes, and openraft's interface to them.

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::Stream;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use openraft::OptionalSend;
use openraft::errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{RPCOption, RaftNetworkFactory, RaftNetworkV2, stream_append_sequential};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendResult, TransferLeaderRequest,
    TransferLeaderResponse, VoteRequest, VoteResponse,
};
use tokio::runtime::Handle;

use super::append::AppendLink;
use super::client::{AbortOnDrop, CallError, RpcClient};
use super::dialer::{Dialer, Target};
use super::hello::Purpose;
use super::message::{self, APPEND, AppendReply, Request, TransferCall, VoteCall};
use crate::machine::{DatabaseSnapshot, Snapshot};
use crate::snapshots::{self, Exports, InstallCall};
use crate::types::{MemberInfo, TypeConfig, Vote, index_of};

/// The minimum time within which a node must respond to a vote request, a heartbeat or a transfer of the leadership.
/// openraft drops the call earlier if the response would come too late.
const RESPONSE_TIME_MIN: Duration = Duration::from_secs(1);

/// The connections of this node to all other nodes.
pub(crate) struct Peers {
    dialer: Arc<Dialer>,
    /// The replication thread.
    raft_runtime: Handle,
    exports: Arc<Exports>,
    /// The runtime for forwarded requests and snapshots.
    slow_runtime: Handle,
    clients: Mutex<BTreeMap<(Target, Purpose), Arc<RpcClient>>>,
}

/// The maximum number of connections to other nodes, including those to addresses that belong to no member (the targets
/// of a join). When it is reached, all of them are closed.
const CLIENTS_MAX: usize = 1024;

impl Peers {
    pub(crate) fn new(dialer: Arc<Dialer>, exports: Arc<Exports>, raft_runtime: Handle, slow_runtime: Handle) -> Peers {
        Peers { dialer, exports, raft_runtime, slow_runtime, clients: Mutex::default() }
    }

    /// The number of times that a connection for forwarded requests was opened because the one before had broken.
    pub(crate) fn reconnects(&self) -> u64 {
        self.dialer.reconnects.load(Ordering::Relaxed)
    }

    /// Sets the address of a node that is no member yet.
    pub(crate) fn set_address(&self, node: u64, address: &str) {
        self.dialer.addresses.set(node, address);
    }

    fn client(&self, target: Target, purpose: Purpose) -> Arc<RpcClient> {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if clients.len() >= CLIENTS_MAX {
            clients.clear();
        }
        let key = (target, purpose);
        if let Some(client) = clients.get(&key) {
            return client.clone();
        }
        let runtime = match purpose {
            Purpose::Control | Purpose::Append => &self.raft_runtime,
            Purpose::Forward | Purpose::Bulk => &self.slow_runtime,
        };
        let client = Arc::new(RpcClient::new(self.dialer.clone(), key.0.clone(), purpose, runtime.clone()));
        clients.insert(key, client.clone());
        client
    }

    /// Sends a short request, and waits for the response.
    ///
    /// # Errors
    /// See [`CallError`].
    pub(crate) async fn call<R: Request>(
        &self,
        target: Target,
        request: &R,
        timeout: Duration,
    ) -> Result<R::Response, CallError> {
        self.client(target, Purpose::Control).call(request, timeout).await
    }

    /// Sends a request of a client to the leader, and waits for the response until `end` is ready.
    ///
    /// # Errors
    /// See [`CallError`].
    pub(crate) async fn forward<R: Request>(
        &self,
        target: Target,
        request: &R,
        end: impl Future<Output = ()>,
    ) -> Result<R::Response, CallError> {
        self.client(target, Purpose::Forward).call_until(request, end).await
    }

    /// Sends a request of a snapshot's transfer, and waits for the response.
    ///
    /// # Errors
    /// See [`CallError`].
    pub(crate) async fn bulk<R: Request>(
        &self,
        target: Target,
        request: &R,
        timeout: Duration,
    ) -> Result<R::Response, CallError> {
        self.client(target, Purpose::Bulk).call(request, timeout).await
    }
}

/// Creates the connections that openraft uses.
pub(crate) struct Network(pub(crate) Arc<Peers>);

/// A connection of openraft to one node.
pub(crate) struct Connection {
    peers: Arc<Peers>,
    node: u64,
    /// The connection that replicates the Raft log; `None` for a connection that sends only heartbeats.
    append: Option<AppendLink>,
}

impl Connection {
    async fn control<R: Request>(&self, request: &R, option: &RPCOption) -> Result<R::Response, CallError> {
        self.peers.call(Target::Node(self.node), request, option.hard_ttl().max(RESPONSE_TIME_MIN)).await
    }
}

/// Sends a copy of the database that contains the entries up to `index_min` to a node. Returns the node's vote.
async fn send_copy(peers: &Peers, node: u64, vote: Vote, index_min: u64) -> Result<Vote, StreamingError<TypeConfig>> {
    let unreachable = |why: String| StreamingError::from(Unreachable::from_string(why));
    let export = peers.exports.get(index_min).await.map_err(|error| unreachable(error.to_string()))?;
    if export.progress.term > vote.leader_id.term {
        // This node is no longer leader, and the copy contains entries of the next leader.
        return Err(ReplicationClosed::new("the copy belongs to a later term").into());
    }
    let install = InstallCall { id: export.id, vote: vote.into() };
    let sent = snapshots::send(peers, &peers.exports, Target::Node(node), &export, &install).await;
    sent.map(Vote::from).map_err(|error| unreachable(error.to_string()))
}

fn rpc_error(error: CallError) -> RPCError<TypeConfig> {
    match error {
        CallError::NotSent(why) => Unreachable::from_string(why).into(),
        CallError::Lost(why) => NetworkError::new(&io::Error::other(why)).into(),
    }
}

impl RaftNetworkFactory<TypeConfig> for Network {
    type Network = Connection;

    async fn new_client(&mut self, target: u64, member: &MemberInfo) -> Connection {
        self.0.dialer.addresses.set(target, &member.raft_address);
        let append = AppendLink::new(self.0.dialer.clone(), Target::Node(target));
        Connection { peers: self.0.clone(), node: target, append: Some(append) }
    }

    async fn new_heartbeat_client(&mut self, target: u64, member: &MemberInfo) -> Connection {
        Connection { append: None, ..self.new_client(target, member).await }
    }
}

impl RaftNetworkV2<TypeConfig> for Connection {
    type SnapshotData = DatabaseSnapshot;

    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<TypeConfig>, RPCError<TypeConfig>> {
        let client = self.peers.client(Target::Node(self.node), Purpose::Control);
        let write = |out: &mut Vec<u8>| message::encode_append(out, &request);
        let end = tokio::time::sleep(option.hard_ttl().max(RESPONSE_TIME_MIN));
        let reply = client.call_raw(APPEND, write, end).await;
        let reply = reply.and_then(|bytes| {
            message::decode::<AppendReply>(&bytes).map_err(|error| CallError::Lost(error.to_string()))
        });
        reply.map(AppendEntriesResponse::from).map_err(rpc_error)
    }

    fn stream_append<'s, S>(
        &'s mut self,
        input: S,
        option: RPCOption,
    ) -> BoxFuture<
        's,
        Result<BoxStream<'s, Result<StreamAppendResult<TypeConfig>, RPCError<TypeConfig>>>, RPCError<TypeConfig>>,
    >
    where
        S: Stream<Item = AppendEntriesRequest<TypeConfig>> + OptionalSend + Unpin + 'static,
    {
        if self.append.is_none() {
            return stream_append_sequential(self, input, option);
        }
        Box::pin(async move {
            match &mut self.append {
                Some(link) => link.stream(input).await,
                None => Err(Unreachable::from_string("no connection for entries").into()),
            }
        })
    }

    async fn vote(
        &mut self,
        request: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        let reply = self.control(&VoteCall::new(request, false), &option).await;
        reply.map(VoteResponse::from).map_err(rpc_error)
    }

    async fn pre_vote(
        &mut self,
        request: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        let reply = self.control(&VoteCall::new(request, true), &option).await;
        reply.map(VoteResponse::from).map_err(rpc_error)
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        let (peers, node) = (self.peers.clone(), self.node);
        let index = snapshot.meta.last_log_id.map_or(0, |id| index_of(&id));
        // The file is read on another thread than that of replication.
        let sending = self.peers.slow_runtime.spawn(async move { send_copy(&peers, node, vote, index).await });
        let mut sending = AbortOnDrop(sending);
        tokio::select! {
            biased;
            closed = cancel => Err(closed.into()),
            sent = &mut sending => match sent {
                Ok(Ok(vote)) => Ok(SnapshotResponse::new(vote)),
                Ok(Err(error)) => Err(error),
                Err(error) => Err(NetworkError::new(&error).into()),
            },
        }
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<TypeConfig>, RPCError<TypeConfig>> {
        let reply = self.control(&TransferCall::from(&request), &option).await;
        reply.map(TransferLeaderResponse::from).map_err(rpc_error)
    }
}
