//! Accepts the connections of other nodes, and responds to their requests.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_util::{StreamExt as _, stream};
use tokio::io::{AsyncWriteExt as _, BufReader, ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::client::AbortOnDrop;
use super::dialer::{BoxedStream, PeerSecurity, configure};
use super::frame::{self, BODY_BYTES_MAX, Frame};
use super::hello::{self, HELLO_TIMEOUT, Hello, PROTOCOL, PROTOCOL_MIN, Purpose, Welcome};
use super::message::{self, APPEND, AppendReply, AppendRequest, REFUSAL, RESPONSE};
use crate::identity::Identity;
use crate::observer::{Event, Observer};
use crate::raft::Raft;

/// The maximum number of connections of other nodes.
const CONNECTIONS_MAX: usize = 256;
/// The maximum number of requests of one connection that are being handled.
const REQUESTS_MAX: usize = 1024;
/// The maximum length of a request on a connection for short messages, and on one for snapshots, in bytes.
const CONTROL_BYTES_MAX: usize = 1 << 20;
const BULK_BYTES_MAX: usize = 4 << 20;
/// The maximum length of the frames that are written to a connection together, in bytes.
const WRITE_BYTES_MAX: usize = 256 << 10;
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

    /// Records that the leader with this vote has sent a valid append request.
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
    pub(crate) last_report: Mutex<Option<Instant>>,
}

impl<S: Service> PeerServer<S> {
    /// Accepts connections until the task is aborted. Runs on the replication thread.
    pub(crate) async fn run(self: Arc<Self>, listener: TcpListener) {
        let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        loop {
            let (stream, address) = match listener.accept().await {
                Ok(accepted) => accepted,
                Err(_) => {
                    // Too many open files, or the peer has closed the connection already.
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            match slots.clone().try_acquire_owned() {
                Ok(slot) => drop(tokio::spawn(self.clone().serve(stream, address, slot))),
                Err(_) => self.report(address, "too many connections of other nodes"),
            }
        }
    }

    /// Reports a refused connection, at most once per [`REPORT_EVERY`].
    fn report(&self, address: SocketAddr, reason: &str) {
        let mut last = self.last_report.lock().unwrap_or_else(PoisonError::into_inner);
        if last.is_none_or(|last| last.elapsed() >= REPORT_EVERY) {
            *last = Some(Instant::now());
            self.observer.event(&Event::PeerRefused { address: &address.to_string(), reason });
        }
    }

    async fn serve(self: Arc<Self>, stream: TcpStream, address: SocketAddr, slot: OwnedSemaphorePermit) {
        let greeting = tokio::time::timeout(HELLO_TIMEOUT, self.greet(stream)).await;
        let greeted = greeting.unwrap_or_else(|_| Err(io::Error::other("the peer sent no hello in time")));
        let (stream, hello) = match greeted {
            Ok(greeted) => greeted,
            Err(error) => return self.report(address, &error.to_string()),
        };
        let runtime = self.slow_runtime.clone();
        match hello.purpose {
            // A broken connection needs no report: the peer opens another one.
            Purpose::Append => drop(self.serve_appends(stream).await),
            Purpose::Control => drop(self.serve_requests(stream, &hello).await),
            Purpose::Forward | Purpose::Bulk => {
                let serving = runtime.spawn(async move {
                    let _slot = slot;
                    self.serve_requests(stream, &hello).await
                });
                drop(serving);
            }
        }
    }

    async fn greet(&self, stream: TcpStream) -> io::Result<(BoxedStream, Hello)> {
        configure(&stream)?;
        let mut stream: BoxedStream = match &self.security {
            Some(security) => security.accept(stream).await?,
            None => Box::new(stream),
        };
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
        match tokio::task::spawn_blocking(move || identity.adopt_cluster(cluster)).await {
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
    async fn serve_appends(&self, stream: BoxedStream) -> io::Result<()> {
        let (reader, mut writer) = tokio::io::split(stream);
        let reader = BufReader::with_capacity(64 << 10, reader);
        let requests = stream::unfold(reader, |mut reader| async move {
            let request = next_append(&mut reader).await.ok().flatten()?;
            Some((request, reader))
        });
        let mut results = pin!(self.raft.stream_append(requests));
        let mut buffer = Vec::new();
        while let Some(result) = results.next().await {
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

    /// Responds to requests. Several are handled at the same time, and each response is sent when it is ready.
    async fn serve_requests(&self, stream: BoxedStream, hello: &Hello) -> io::Result<()> {
        let is_member = hello.cluster != 0 && hello.cluster == self.identity.cluster();
        let bytes_max = match hello.purpose {
            Purpose::Control => CONTROL_BYTES_MAX,
            Purpose::Bulk => BULK_BYTES_MAX,
            Purpose::Append | Purpose::Forward => BODY_BYTES_MAX,
        };
        let (reader, writer) = tokio::io::split(stream);
        let mut reader = BufReader::with_capacity(64 << 10, reader);
        let (replies, queue) = mpsc::channel(REQUESTS_MAX);
        let mut writing = AbortOnDrop(tokio::spawn(write_replies(writer, queue)));
        let slots = Arc::new(Semaphore::new(REQUESTS_MAX));
        loop {
            let slot = slots.clone().acquire_owned().await.map_err(io::Error::other)?;
            let frame = tokio::select! {
                frame = frame::read(&mut reader, bytes_max) => frame?,
                _ = &mut writing => None,
            };
            let Some(frame) = frame else { return Ok(()) };
            let (service, replies) = (self.service.clone(), replies.clone());
            tokio::spawn(async move {
                let reply = respond(&*service, frame, is_member).await;
                // The send fails if the connection is broken.
                let _ = replies.send(reply).await;
                drop(slot);
            });
        }
    }
}

/// Why a connection is not accepted at once.
enum Refusal {
    /// It is refused, for this reason.
    Because(String),
    /// It is accepted if this node can become a member of the peer's cluster.
    UnlessAdopted,
}

async fn next_append(reader: &mut BufReader<ReadHalf<BoxedStream>>) -> io::Result<Option<AppendRequest>> {
    let Some(frame) = frame::read(reader, BODY_BYTES_MAX).await? else { return Ok(None) };
    if frame.kind != APPEND {
        return Err(io::ErrorKind::InvalidData.into());
    }
    message::decode_append(&frame.body).map(Some)
}

async fn respond(service: &impl Service, frame: Frame, is_member: bool) -> Vec<u8> {
    let Frame { kind, id, body } = frame;
    let mut out = Vec::new();
    let pushed = match service.handle(kind, body, is_member).await {
        Ok(reply) => frame::push(&mut out, RESPONSE, id, |out| {
            out.extend_from_slice(&reply);
            Ok(())
        }),
        Err(why) => push_refusal(&mut out, id, &why),
    };
    if pushed.is_err() {
        // The response is too long. The request may have had an effect, so this must not be a refusal; the peer does
        // not accept an empty response.
        out.clear();
        let _ = frame::push(&mut out, RESPONSE, id, |_| Ok(()));
    }
    out
}

fn push_refusal(out: &mut Vec<u8>, id: u32, why: &str) -> io::Result<()> {
    frame::push(out, REFUSAL, id, |out| {
        out.extend_from_slice(why.as_bytes());
        Ok(())
    })
}

async fn write_replies(mut writer: WriteHalf<BoxedStream>, mut queue: mpsc::Receiver<Vec<u8>>) -> io::Result<()> {
    let mut buffer = Vec::new();
    while let Some(first) = queue.recv().await {
        buffer.clear();
        buffer.extend_from_slice(&first);
        while buffer.len() < WRITE_BYTES_MAX {
            let Ok(next) = queue.try_recv() else { break };
            buffer.extend_from_slice(&next);
        }
        writer.write_all(&buffer).await?;
        writer.flush().await?;
        buffer.shrink_to(WRITE_BYTES_MAX);
    }
    Ok(())
}
