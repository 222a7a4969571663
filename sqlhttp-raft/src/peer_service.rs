//! Responds to the requests of other nodes.

use std::io;
use std::sync::{Arc, Weak};

use serde::Serialize;
use sqlhttp_core::Database;

use crate::bootstrap::{NotifyCall, PromiseCall};
use crate::cluster::{InfoCall, InfoReply, StepDownCall};
use crate::forward::{AuthorizeCall, ForwardCall, WireError};
use crate::leadership::Leadership;
use crate::loads::{LoadCall, UploadCall, append_upload};
use crate::members::{JoinCall, MembershipReply, RemoveCall};
use crate::network::message::{self, APPEND, AppendReply, TransferCall, TransferReply, VoteCall, VoteReply, WireVote};
use crate::network::{Handled, Request, Service};
use crate::node::{Node, NodeInner};
use crate::raft::Raft;
use crate::read_index::{ReadIndexCall, ReadIndexReply};
use crate::removal::{MembershipAnswer, MembershipCall};
use crate::runtime::blocking;
use crate::skip::{AdoptSkipsCall, SkipCall};
use crate::snapshots::{BeginCall, ChunkCall, InstallCall};
use crate::verify::{
    BucketsCall, EndCall, OutcomeCall, OutcomesCall, PinCall, ReseedCall, RowsCall, SeedCall, StateCall, VerdictCall,
};

/// The permission to add a node that votes, and one that does not, as rqlite names them.
const JOIN: &str = "join";
const JOIN_READ_ONLY: &str = "join-read-only";
/// The permission to remove a node.
const REMOVE: &str = "remove";
/// The permission to transfer the leadership.
const LEADER_OPS: &str = "leader-ops";

/// Responds to the requests of other nodes.
pub(crate) struct PeerService {
    pub(crate) raft: Raft,
    pub(crate) leadership: Arc<Leadership>,
    pub(crate) database: Database,
    // A weak reference, so that the connections of other nodes do not keep the node alive.
    pub(crate) node: Weak<NodeInner>,
}

impl PeerService {
    fn node(&self) -> Result<Node, String> {
        self.node.upgrade().map(|inner| Node { inner }).ok_or_else(|| "the node is being closed".to_owned())
    }

    async fn append(&self, body: &[u8]) -> Handled {
        let request = message::decode_append(body).map_err(to_text)?;
        let response = self.raft.append_entries(request).await.map_err(to_text)?;
        let reply = AppendReply::from(response);
        if !matches!(reply, AppendReply::HigherVote(_)) {
            self.leadership.contact.note();
        }
        encode(&reply)
    }

    async fn vote(&self, call: VoteCall) -> Result<VoteReply, String> {
        if !self.leadership.may_vote() && !call.leadership_transfer {
            return Err("this node has just been started, and does not vote yet".to_owned());
        }
        let pre_vote = call.pre_vote;
        let request = call.request();
        let response = if pre_vote { self.raft.pre_vote(request).await } else { self.raft.vote(request).await }
            .map_err(to_text)?;
        Ok(response.into())
    }

    async fn transfer(&self, call: TransferCall) -> Result<TransferReply, String> {
        let node = self.node()?;
        if let Some(reason) = node.differs().filter(|_| call.is_to(node.inner.leadership.own_id())) {
            return Err(reason.to_string());
        }
        let response = self.raft.handle_transfer_leader(call.into()).await.map_err(to_text)?;
        Ok(response.into())
    }

    async fn read_index(&self, call: ReadIndexCall) -> Result<ReadIndexReply, String> {
        if !self.leadership.is_leader() {
            return Ok(ReadIndexReply(None));
        }
        let node = self.node()?;
        let indexes = if call.confirmed { &node.inner.confirmed_reads } else { &node.inner.leased_reads };
        indexes.next().await.map(ReadIndexReply).map_err(to_text)
    }

    async fn forwarded(&self, call: ForwardCall) -> Result<<ForwardCall as Request>::Response, String> {
        Ok(self.node()?.run_forwarded(call).await.map_err(WireError::from))
    }

    async fn authorize(&self, call: AuthorizeCall) -> Result<bool, String> {
        Ok(self.node()?.permits(&call.0, None).await)
    }

    async fn info(&self, _call: InfoCall) -> Result<InfoReply, String> {
        Ok(self.node()?.own_peer_info())
    }

    async fn join(&self, call: JoinCall) -> Result<MembershipReply, String> {
        let node = self.node()?;
        let permission = if call.non_voter { JOIN_READ_ONLY } else { JOIN };
        if !node.permits(&call.authorization, Some(permission)).await {
            return Ok(MembershipReply::Unauthorized);
        }
        // A future that is dropped because its connection breaks must not leave half of the change.
        run_detached(async move {
            if let Err(error) = node.prepare_for_members().await {
                return MembershipReply::Refused(error.to_string());
            }
            match node.share_skips(&call).await {
                Ok(()) => node.inner.members.join(call).await,
                Err(why) => MembershipReply::Refused(why),
            }
        })
        .await
    }

    async fn remove(&self, call: RemoveCall) -> Result<MembershipReply, String> {
        let node = self.node()?;
        if !node.permits(&call.authorization, Some(REMOVE)).await {
            return Ok(MembershipReply::Unauthorized);
        }
        run_detached(async move { node.inner.members.remove(&call.name).await }).await
    }

    async fn step_down(&self, call: StepDownCall) -> Result<MembershipReply, String> {
        let node = self.node()?;
        if !node.permits(&call.authorization, Some(LEADER_OPS)).await {
            return Ok(MembershipReply::Unauthorized);
        }
        Ok(node.step_down_here(call.to.as_deref()).await)
    }

    async fn begin_snapshot(&self, call: BeginCall) -> Result<<BeginCall as Request>::Response, String> {
        let node = self.node()?;
        run_blocking(move || {
            let received = node.inner.receiver.begin(call.id, call.bytes)?;
            if node.inner.log.lacks_space_for(call.bytes.saturating_sub(received)) {
                return Err(io::Error::other("the disk has no space for the snapshot"));
            }
            Ok(received)
        })
        .await
    }

    async fn append_chunk(&self, call: ChunkCall) -> Result<<ChunkCall as Request>::Response, String> {
        let node = self.node()?;
        run_blocking(move || node.inner.receiver.append(call.id, call.offset, &call.bytes)).await
    }

    async fn install_snapshot(&self, call: InstallCall) -> Result<<InstallCall as Request>::Response, String> {
        let node = self.node()?;
        // The connection may break; the installation then goes on.
        run_detached(async move { node.install_received(call.id, call.vote.into()).await.map(WireVote::from) }).await
    }

    async fn record_verdict(&self, call: VerdictCall) -> Result<<VerdictCall as Request>::Response, String> {
        let node = self.node()?;
        run_detached(async move { node.record_verdict(call).await }).await
    }

    async fn end_verification(&self, call: EndCall) -> Result<(), String> {
        self.node()?.end_verification(&call);
        Ok(())
    }

    async fn seed(&self, call: SeedCall) -> Result<<SeedCall as Request>::Response, String> {
        let node = self.node()?;
        run_detached(async move { node.seed(call).await }).await
    }

    async fn reseed(&self, call: ReseedCall) -> Result<<ReseedCall as Request>::Response, String> {
        let node = self.node()?;
        // The connection may break; the replacement then goes on.
        run_detached(async move { node.reseed(call).await }).await
    }

    async fn skip(&self, call: SkipCall) -> Result<<SkipCall as Request>::Response, String> {
        let node = self.node()?;
        let applied_index = self.database.progress().index;
        run_blocking(move || node.inner.machine.skips().answer(call, applied_index)).await
    }

    async fn adopt_skips(&self, call: AdoptSkipsCall) -> Result<<AdoptSkipsCall as Request>::Response, String> {
        let node = self.node()?;
        run_blocking(move || node.inner.machine.skips().adopt(call)).await
    }

    async fn upload(&self, call: UploadCall) -> Result<<UploadCall as Request>::Response, String> {
        let node = self.node()?;
        if !self.leadership.is_leader() {
            return Ok(Err("this node is not leader".to_owned()));
        }
        if node.inner.log.lacks_space_for(call.0.bytes.len() as u64) {
            return Ok(Err("the disk of the leader is full".to_owned()));
        }
        run_blocking(move || append_upload(node.directory(), &call.0)).await
    }

    async fn load(&self, call: LoadCall) -> Result<<LoadCall as Request>::Response, String> {
        let node = self.node()?;
        // The connection may break; the file is loaded anyway.
        run_detached(async move { node.load_uploaded(call).await.map_err(WireError::from) }).await
    }

    async fn notify(&self, call: NotifyCall) -> Result<<NotifyCall as Request>::Response, String> {
        Ok(self.node()?.notified(call))
    }

    async fn membership(&self, call: MembershipCall) -> Result<MembershipAnswer, String> {
        Ok(self.node()?.membership_of(&call))
    }

    async fn promise(&self, call: PromiseCall) -> Result<bool, String> {
        let node = self.node()?;
        let promised = blocking(move || node.inner.identity.adopt_cluster(call.cluster)).await;
        promised.map_err(to_text)?.map_err(to_text)
    }
}

impl Service for PeerService {
    async fn handle(&self, kind: u8, body: Vec<u8>, is_member: bool) -> Handled {
        let needs_no_cluster = [InfoCall::KIND, JoinCall::KIND, NotifyCall::KIND, PromiseCall::KIND].contains(&kind);
        if !is_member && !needs_no_cluster {
            return Err("this message needs a common cluster".to_owned());
        }
        match kind {
            APPEND => self.append(&body).await,
            VoteCall::KIND => answer(&body, |call| self.vote(call)).await,
            TransferCall::KIND => answer(&body, |call| self.transfer(call)).await,
            ReadIndexCall::KIND => answer(&body, |call| self.read_index(call)).await,
            ForwardCall::KIND => answer(&body, |call| self.forwarded(call)).await,
            AuthorizeCall::KIND => answer(&body, |call| self.authorize(call)).await,
            InfoCall::KIND => answer(&body, |call| self.info(call)).await,
            JoinCall::KIND => answer(&body, |call| self.join(call)).await,
            RemoveCall::KIND => answer(&body, |call| self.remove(call)).await,
            StepDownCall::KIND => answer(&body, |call| self.step_down(call)).await,
            BeginCall::KIND => answer(&body, |call| self.begin_snapshot(call)).await,
            ChunkCall::KIND => answer(&body, |call| self.append_chunk(call)).await,
            InstallCall::KIND => answer(&body, |call| self.install_snapshot(call)).await,
            UploadCall::KIND => answer(&body, |call| self.upload(call)).await,
            LoadCall::KIND => answer(&body, |call| self.load(call)).await,
            NotifyCall::KIND => answer(&body, |call| self.notify(call)).await,
            PromiseCall::KIND => answer(&body, |call| self.promise(call)).await,
            MembershipCall::KIND => answer(&body, |call| self.membership(call)).await,
            PinCall::KIND => answer(&body, async |call| Ok(self.node()?.begin_verification(call).await)).await,
            StateCall::KIND => answer(&body, async |call| Ok(self.node()?.verification_state(&call))).await,
            BucketsCall::KIND => answer(&body, async |call| Ok(self.node()?.verification_buckets(call).await)).await,
            RowsCall::KIND => answer(&body, async |call| Ok(self.node()?.verification_rows(call).await)).await,
            VerdictCall::KIND => answer(&body, |call| self.record_verdict(call)).await,
            EndCall::KIND => answer(&body, |call| self.end_verification(call)).await,
            OutcomeCall::KIND => answer(&body, async |OutcomeCall| Ok(self.node()?.last_outcome())).await,
            OutcomesCall::KIND => answer(&body, async |call| Ok(self.node()?.outcomes_up_to(&call))).await,
            SeedCall::KIND => answer(&body, |call| self.seed(call)).await,
            ReseedCall::KIND => answer(&body, |call| self.reseed(call)).await,
            SkipCall::KIND => answer(&body, |call| self.skip(call)).await,
            AdoptSkipsCall::KIND => answer(&body, |call| self.adopt_skips(call)).await,
            other => Err(format!("this node does not support messages of kind {other}; it may be an older version")),
        }
    }

    fn leader_contact(&self) {
        self.leadership.contact.note();
    }

    fn may_join(&self) -> bool {
        self.database.progress().index == 0
    }
}

/// Decodes a request, handles it, and encodes its response.
async fn answer<R, F>(body: &[u8], handle: impl FnOnce(R) -> F) -> Handled
where
    R: Request,
    F: Future<Output = Result<R::Response, String>>,
{
    let request = message::decode::<R>(body).map_err(to_text)?;
    encode(&handle(request).await?)
}

fn encode(reply: &impl Serialize) -> Handled {
    let mut bytes = Vec::new();
    message::encode(&mut bytes, reply).map_err(to_text)?;
    Ok(bytes)
}

async fn run_detached<T: Send + 'static>(future: impl Future<Output = T> + Send + 'static) -> Result<T, String> {
    tokio::spawn(future).await.map_err(to_text)
}

async fn run_blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<Result<T, String>, String> {
    blocking(work).await.map(|done| done.map_err(to_text)).map_err(to_text)
}

fn to_text(error: impl ToString) -> String {
    error.to_string()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]

    use std::net::TcpListener;
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::network::{CallError, Target};
    use crate::options::{Formation, NodeOptions};

    const PATIENCE: Duration = Duration::from_secs(10);

    /// Starts a node with the name `name`. Returns it with its directory and its address.
    async fn start(name: &str, formation: Formation) -> (Node, tempfile::TempDir, String) {
        let (directory, listener) = (tempfile::tempdir().unwrap(), TcpListener::bind("127.0.0.1:0").unwrap());
        let address = listener.local_addr().unwrap().to_string();
        let options =
            NodeOptions::new(directory.path(), name, &address).formation(formation).listener(Some(Arc::new(listener)));
        (Node::start(options).await.unwrap(), directory, address)
    }

    #[tokio::test]
    async fn a_node_of_no_cluster_can_ask_for_information_only() {
        let (member, _directory, address) = start("n1", Formation::Create).await;
        let (stranger, _other_directory, _) = start("n2", Formation::Await).await;
        let (peers, target) = (&stranger.inner.peers, Target::Address(address));
        peers.call(target.clone(), &InfoCall, PATIENCE).await.unwrap();
        let refused = peers.call(target, &ReadIndexCall { confirmed: false }, PATIENCE).await;
        let Err(CallError::NotSent(why)) = refused else { panic!("{refused:?}") };
        assert!(why.contains("needs a common cluster"), "{why}");
        member.close().await.unwrap();
        stranger.close().await.unwrap();
    }

    #[tokio::test]
    async fn a_node_of_another_cluster_is_refused() {
        let (member, _directory, address) = start("n1", Formation::Create).await;
        // The first node of every cluster has the same Raft id, so another member asks.
        let (other, _other_directory, other_address) = start("n2", Formation::Create).await;
        let (foreign, _third_directory, _) = start("n3", Formation::Await).await;
        foreign.join(&[other_address], None).await.unwrap();
        // The leader tells the new member the id of its cluster when it connects to it.
        foreign.inner.leadership.wait_for_leader().await;
        let refused = foreign.inner.peers.call(Target::Address(address), &InfoCall, PATIENCE).await;
        let Err(CallError::NotSent(why)) = refused else { panic!("{refused:?}") };
        assert!(why.contains("this node belongs to another cluster"), "{why}");
        for node in [member, foreign, other] {
            node.close().await.unwrap();
        }
    }
}
