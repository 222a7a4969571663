//! The hello with which a connection between nodes begins.
//!
//! The node that opens a connection sends its identity, the identity of its cluster and the Raft id of the node that it
//! wants to reach. The other side refuses the connection if they do not fit. A message is therefore always received by
//! the node to which it is addressed, even if addresses have changed or a disk was replaced.

use std::io;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use super::frame::{self, HELLO_BYTES_MAX, PREFACE};
use crate::identity::Identity;

/// The version of the messages between nodes. Two nodes use the older of their versions, so that the nodes of a cluster
/// can be upgraded one after the other. A node refuses versions before [`PROTOCOL_MIN`].
pub(super) const PROTOCOL: u16 = 1;
/// The oldest version of the messages that this program supports.
pub(super) const PROTOCOL_MIN: u16 = 1;

/// The beginning of an HTTP request that a node closes without a report. A program sends it to find out whether an
/// address serves HTTP.
pub const HTTP_PROBE: &str = "HEAD /?sqlhttp";

/// The kind of the frames that contain a [`Hello`] or a [`Welcome`].
const HELLO: u8 = 1;
/// The time within which a peer must complete the hello.
pub(super) const HELLO_TIMEOUT: Duration = Duration::from_secs(5);

/// The purpose of a connection. Each purpose has its own connection, so that a short message never waits behind a long
/// one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) enum Purpose {
    /// Votes, heartbeats, read indexes, and changes of the membership.
    Control,
    /// The entries of the Raft log.
    Append,
    /// Requests of clients that are forwarded to the leader.
    Forward,
    /// Snapshots.
    Bulk,
}

/// The first message of the node that opens a connection. New fields are added only at the end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Hello {
    pub(super) protocol: u16,
    pub(super) purpose: Purpose,
    /// The cluster of the sender; 0 if it belongs to none.
    pub(super) cluster: u128,
    pub(super) node: u64,
    pub(super) instance: u128,
    /// The Raft id of the node that the sender wants to reach; `None` if the sender knows only its address.
    pub(super) to_node: Option<u64>,
}

/// The response to a [`Hello`]. New variants are added only at the end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Welcome {
    Accepted {
        protocol: u16,
        cluster: u128,
        node: u64,
        instance: u128,
    },
    /// The connection is refused for this reason, and is closed.
    Refused(String),
}

/// The peer at the other end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PeerIdentity {
    pub(super) cluster: u128,
    pub(super) node: u64,
    pub(super) instance: u128,
}

/// Sends the hello on a connection that this node has opened, and waits for the response. Returns the identity of the
/// peer.
///
/// # Errors
/// The connection is broken, the peer refuses it, or the peer is this node.
pub(super) async fn greet<S>(
    stream: &mut S,
    own: &Identity,
    purpose: Purpose,
    to_node: Option<u64>,
) -> io::Result<PeerIdentity>
where
    S: AsyncRead + AsyncWrite + Unpin + ?Sized,
{
    let (cluster, node, instance) = (own.cluster(), own.node(), own.instance());
    let hello = Hello { protocol: PROTOCOL, purpose, cluster, node, instance, to_node };
    let mut bytes = PREFACE.to_vec();
    push(&mut bytes, &hello)?;
    stream.write_all(&bytes).await?;
    stream.flush().await?;
    match receive(stream).await? {
        Welcome::Accepted { instance: peer, .. } if peer == instance => {
            Err(io::Error::other("the address is that of this node"))
        }
        Welcome::Accepted { cluster, node, instance, .. } => Ok(PeerIdentity { cluster, node, instance }),
        Welcome::Refused(why) => Err(io::Error::new(io::ErrorKind::ConnectionRefused, why)),
    }
}

/// Reads the preface and the hello of a peer that has opened a connection.
///
/// # Errors
/// The connection is broken, or the peer does not speak this protocol.
pub(super) async fn receive_hello<S>(stream: &mut S) -> io::Result<Hello>
where
    S: AsyncRead + Unpin + ?Sized,
{
    let mut preface = [0; PREFACE.len()];
    let first = stream.read(&mut preface).await?;
    if first == 0 {
        return Err(NoHello::error());
    }
    stream.read_exact(&mut preface[first..]).await?;
    if HTTP_PROBE.as_bytes().starts_with(&preface) {
        return Err(NoHello::error());
    }
    if &preface != PREFACE {
        return Err(io::Error::new(io::ErrorKind::InvalidData, describe_preface(&preface)));
    }
    receive(stream).await
}

/// Sends the response to a hello.
pub(super) async fn respond<S>(stream: &mut S, welcome: &Welcome) -> io::Result<()>
where
    S: AsyncWrite + Unpin + ?Sized,
{
    let mut bytes = Vec::new();
    push(&mut bytes, welcome)?;
    stream.write_all(&bytes).await?;
    stream.flush().await
}

/// The error of a connection on which no hello was attempted: the peer has closed it without a byte, as the health
/// checks of load balancers do, or has sent [`HTTP_PROBE`]. It is not reported.
#[derive(Debug, thiserror::Error)]
#[error("the peer is not a node")]
pub(super) struct NoHello;

impl NoHello {
    fn error() -> io::Error {
        io::Error::other(NoHello)
    }

    /// Returns whether this is such an error.
    pub(super) fn is(error: &io::Error) -> bool {
        error.get_ref().is_some_and(|inner| inner.is::<NoHello>())
    }
}

/// Returns the error message for a connection that does not begin with [`PREFACE`]. It names the protocol if these
/// bytes are those of HTTP, rqlite or TLS.
fn describe_preface(preface: &[u8; 8]) -> String {
    let methods: [&[u8]; 7] = [b"GET ", b"POST ", b"HEAD ", b"PUT ", b"DELETE ", b"OPTIONS ", b"PRI * HT"];
    if methods.iter().any(|method| preface.starts_with(method)) {
        return "an HTTP request was sent to the Raft port; the HTTP API has another port (-http-addr)".to_owned();
    }
    match preface {
        [1 | 2, ..] => "a node of rqlite has connected; it cannot be a member of this cluster".to_owned(),
        [0x16, 3, ..] => "a TLS connection was opened, but this node expects none (-node-cert)".to_owned(),
        _ => "the peer is not a node of sqlhttp".to_owned(),
    }
}

fn push(out: &mut Vec<u8>, message: &impl Serialize) -> io::Result<()> {
    let bytes = postcard::to_stdvec(message).map_err(io::Error::other)?;
    frame::push(out, HELLO, 0, |out| {
        out.extend_from_slice(&bytes);
        Ok(())
    })
}

async fn receive<S, T>(stream: &mut S) -> io::Result<T>
where
    S: AsyncRead + Unpin + ?Sized,
    T: for<'de> Deserialize<'de>,
{
    let frame = frame::read(stream, HELLO_BYTES_MAX).await?.ok_or(io::ErrorKind::UnexpectedEof)?;
    let malformed = || io::Error::new(io::ErrorKind::InvalidData, "the hello of a peer is malformed");
    if frame.kind != HELLO {
        return Err(malformed());
    }
    // Bytes after the known fields are ignored: a newer program may have added fields.
    postcard::take_from_bytes(&frame.body).map(|(message, _)| message).map_err(|_| malformed())
}
