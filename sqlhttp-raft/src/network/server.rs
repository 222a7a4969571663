//! Accepts the connections of other nodes, and responds to their requests.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use tokio::io::{AsyncWriteExt as _, BufReader, ReadHalf};
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::Instant;

use super::budget::{Budget, Budgets, Taken};
use super::dialer::{BoxedStream, PeerSecurity};
use super::frame::{self, BODY_BYTES_MAX, HELLO_BYTES_MAX};
use super::guests::{GuestPass, Guests};
use super::hello::{self, HELLO_TIMEOUT, Hello, NoHello, PROTOCOL, PROTOCOL_MIN, Purpose, Welcome};
use super::message::{self, APPEND, AppendReply, AppendRequest, RESPONSE};
use super::requests::{self, Limits, push_refusal, read_within};
use super::socket::{Listener, Socket};
use crate::identity::Identity;
use crate::observer::{Event, Observer};
use crate::raft::Raft;
use crate::runtime::blocking;

/// The maximum number of connections of members of the cluster.
const CONNECTIONS_MAX: usize = 256;
/// The maximum number of connections of other peers, and of those that have not completed their hello.
const GUESTS_MAX: usize = 256;
/// The time without a request after which the connection of a peer that is no member is closed.
const GUEST_IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// See [`Limits::body_timeout`].
const BODY_TIMEOUT: Duration = Duration::from_secs(10);
/// The maximum length of a request on a connection for short messages, and on one for snapshots, in bytes.
const CONTROL_BYTES_MAX: usize = 1 << 20;
const BULK_BYTES_MAX: usize = 4 << 20;
/// The minimum time between two reports of refused connections.
const REPORT_EVERY: Duration = Duration::from_secs(1);
/// The time that the server waits after the operating system could not accept a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The encoded response to a request, or the reason why there is none.
pub(crate) type Handled = Result<Vec<u8>, String>;

/// Responds to the requests of other nodes.
pub(crate) trait Service: Send + Sync + 'static {
    /// Responds to a request of this kind, whose body is `body`. `is_member` is whether the peer and this node belong
    /// to the same cluster.
    fn handle(&self, kind: u8, body: Vec<u8>, is_member: bool) -> impl Future<Output = Handled> + Send;

    /// Records that the leader has sent a valid append request.
    fn leader_contact(&self);

    /// Called for a peer that belongs to a cluster, while this node belongs to none. Returns whether this node may
    /// become a member of that cluster.
    fn may_join(&self) -> bool;
}

/// Accepts the connections of other nodes.
pub(crate) struct PeerServer<S> {
    pub(crate) identity: Arc<Identity>,
    pub(crate) security: Option<Arc<dyn PeerSecurity>>,
    pub(crate) service: Arc<S>,
    pub(crate) raft: Raft,
    /// The runtime for the requests of clients and for snapshots, which may take long.
    pub(crate) slow_runtime: Handle,
    pub(crate) observer: Arc<dyn Observer>,
    pub(crate) state: ServerState,
}

/// The limits of all connections together, and the time of the last report.
pub(crate) struct ServerState {
    budgets: Budgets,
    members: Arc<Semaphore>,
    last_report: Mutex<Option<Instant>>,
}

impl Default for ServerState {
    fn default() -> ServerState {
        let (budgets, members) = (Budgets::default(), Arc::new(Semaphore::new(CONNECTIONS_MAX)));
        ServerState { budgets, members, last_report: Mutex::default() }
    }
}

impl<S: Service> PeerServer<S> {
    /// Accepts connections until the task is aborted. Runs on the replication thread.
    pub(crate) async fn run(self: Arc<Self>, mut listener: Listener) {
        let guests = Guests::new(GUESTS_MAX);
        loop {
            match listener.accept().await {
                Ok((stream, address)) => guests.admit(|pass| self.clone().serve(stream, address, pass)),
                // Too many open files, or the peer has closed the connection already.
                Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
            }
        }
    }

    /// Reports a refused connection, at most once per [`REPORT_EVERY`].
    fn report(&self, address: SocketAddr, error: &io::Error) {
        if NoHello::is(error) {
            return;
        }
        let mut last = self.state.last_report.lock().unwrap_or_else(PoisonError::into_inner);
        if last.is_none_or(|last| last.elapsed() >= REPORT_EVERY) {
            *last = Some(Instant::now());
            self.observer.event(&Event::PeerRefused { address: &address.to_string(), reason: &error.to_string() });
        }
    }

    async fn serve(self: Arc<Self>, stream: Socket, address: SocketAddr, pass: GuestPass) {
        let greeting = tokio::time::timeout(HELLO_TIMEOUT, self.greet(stream)).await;
        let greeted = greeting.unwrap_or_else(|_| Err(io::Error::other("the peer sent no hello in time")));
        let (stream, hello) = match greeted {
            Ok(greeted) => greeted,
            Err(error) => return self.report(address, &error),
        };
        let is_member = hello.cluster != 0 && hello.cluster == self.identity.cluster();
        let limits = self.limits(hello.purpose, is_member);
        if !is_member {
            // A broken connection needs no report: the peer opens another one.
            return drop(requests::serve(stream, &self.service, &limits).await);
        }
        let Ok(slot) = self.state.members.clone().try_acquire_owned() else {
            return self.report(address, &io::Error::other("too many connections of other nodes"));
        };
        drop(pass);
        let runtime = self.slow_runtime.clone();
        match hello.purpose {
            Purpose::Append => drop(self.serve_appends(stream, limits).await),
            Purpose::Control => drop(requests::serve(stream, &self.service, &limits).await),
            Purpose::Forward | Purpose::Bulk => {
                let serving = runtime.spawn(async move {
                    let _slot = slot;
                    requests::serve(stream, &self.service, &limits).await
                });
                drop(serving);
            }
        }
    }

    /// Returns the limits of a connection.
    fn limits(&self, purpose: Purpose, is_member: bool) -> Limits {
        let Budgets { appends, forwards, snapshots } = &self.state.budgets;
        let (bytes_max, budget) = match purpose {
            _ if !is_member => (HELLO_BYTES_MAX, Budget::new(HELLO_BYTES_MAX)),
            Purpose::Control => (CONTROL_BYTES_MAX, Budget::new(CONTROL_BYTES_MAX)),
            Purpose::Bulk => (BULK_BYTES_MAX, snapshots.clone()),
            Purpose::Append => (BODY_BYTES_MAX, appends.clone()),
            Purpose::Forward => (BODY_BYTES_MAX, forwards.clone()),
        };
        let idle_timeout = (!is_member).then_some(GUEST_IDLE_TIMEOUT);
        Limits { is_member, bytes_max, budget, idle_timeout, body_timeout: BODY_TIMEOUT }
    }

    async fn greet(&self, stream: Socket) -> io::Result<(BoxedStream, Hello)> {
        let mut stream = stream.accept(self.security.as_ref()).await?;
        let hello = hello::receive_hello(&mut *stream).await?;
        let (cluster, node, instance) = (self.identity.cluster(), self.identity.node(), self.identity.instance());
        let refusal = match self.refusal(&hello) {
            Ok(()) => None,
            Err(Refusal::Because(why)) => Some(why),
            Err(Refusal::UnlessAdopted) => self.adopt(hello.cluster).await,
        };
        let welcome = match &refusal {
            Some(why) => Welcome::Refused(why.clone()),
            None => Welcome::Accepted { protocol: hello.protocol.min(PROTOCOL), cluster, node, instance },
        };
        hello::respond(&mut *stream, &welcome).await?;
        match refusal {
            Some(why) => Err(io::Error::other(why)),
            None => Ok((stream, hello)),
        }
    }

    /// Makes this node a member of a cluster. Returns the reason if that is not possible.
    async fn adopt(&self, cluster: u128) -> Option<String> {
        let identity = self.identity.clone();
        match blocking(move || identity.adopt_cluster(cluster)).await {
            Ok(Ok(true)) => None,
            Ok(Ok(false)) => Some("this node belongs to another cluster".to_owned()),
            Ok(Err(error)) => Some(format!("node.json cannot be written: {error}")),
            Err(error) => Some(error.to_string()),
        }
    }

    /// Checks whether a connection can be accepted.
    fn refusal(&self, hello: &Hello) -> Result<(), Refusal> {
        let because = |why: String| Err(Refusal::Because(why));
        let (own_cluster, own_node) = (self.identity.cluster(), self.identity.node());
        if hello.protocol < PROTOCOL_MIN {
            return because(format!(
                "the peer has protocol version {}, this node needs {PROTOCOL_MIN}",
                hello.protocol
            ));
        }
        if hello.instance == self.identity.instance() {
            // The sender of the hello detects that it has connected to itself.
            return Ok(());
        }
        if let Some(wanted) = hello.to_node.filter(|wanted| *wanted != own_node) {
            return because(format!("this is not node {wanted}"));
        }
        if hello.node == own_node {
            return because("another node has the same Raft id".to_owned());
        }
        match (hello.cluster, own_cluster) {
            (theirs, own) if theirs == own => Ok(()),
            // The peer wants to join this cluster, or asks for information.
            (0, _) if hello.purpose == Purpose::Control => Ok(()),
            // This node has asked to join the cluster of the peer.
            (_, 0) if hello.to_node.is_some() && self.service.may_join() => Err(Refusal::UnlessAdopted),
            (_, 0) if hello.to_node.is_none() && hello.purpose == Purpose::Control => Ok(()),
            (_, 0) => because("this node belongs to no cluster".to_owned()),
            _ => because("this node belongs to another cluster".to_owned()),
        }
    }

    /// Responds to the append requests of a leader, in their order.
    async fn serve_appends(&self, stream: BoxedStream, limits: Limits) -> io::Result<()> {
        let (reader, mut writer) = tokio::io::split(stream);
        let reader = BufReader::with_capacity(64 << 10, reader);
        // The bytes of a request are returned when it has its result.
        let (in_flight, mut taken) = mpsc::unbounded_channel();
        let requests = stream::unfold((reader, in_flight, limits), |(mut reader, in_flight, limits)| async move {
            let (request, bytes) = next_append(&mut reader, &limits).await.ok().flatten()?;
            in_flight.send(bytes).ok()?;
            Some((request, (reader, in_flight, limits)))
        });
        let mut results = pin!(self.raft.stream_append(requests));
        let mut buffer = Vec::new();
        while let Some(result) = results.next().await {
            drop(taken.try_recv());
            buffer.clear();
            match result {
                Ok(result) => {
                    if !matches!(&result, Err(openraft::raft::StreamAppendError::HigherVote(_))) {
                        self.service.leader_contact();
                    }
                    let reply = AppendReply::from(result);
                    frame::push(&mut buffer, RESPONSE, 0, |out| message::encode(out, &reply))?;
                }
                Err(fatal) => push_refusal(&mut buffer, 0, &fatal.to_string())?,
            }
            writer.write_all(&buffer).await?;
            writer.flush().await?;
        }
        Ok(())
    }
}

/// Why a connection is not accepted at once.
enum Refusal {
    /// It is refused, for this reason.
    Because(String),
    /// It is accepted if this node can become a member of the peer's cluster.
    UnlessAdopted,
}

async fn next_append(
    reader: &mut BufReader<ReadHalf<BoxedStream>>,
    limits: &Limits,
) -> io::Result<Option<(AppendRequest, Taken)>> {
    let Some((frame, taken)) = read_within(reader, limits).await? else { return Ok(None) };
    if frame.kind != APPEND {
        return Err(io::ErrorKind::InvalidData.into());
    }
    message::decode_append(&frame.body).map(|request| Some((request, taken)))
}
