//! Opens connections to other nodes.

use std::collections::HashMap;
use std::io;
use std::pin::Pin;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::hello::{self, HELLO_TIMEOUT, PeerIdentity, Purpose};
use super::socket;
use crate::identity::Identity;

/// A stream of bytes between two nodes: TCP, or TLS over TCP.
pub trait PeerStream: AsyncRead + AsyncWrite + Unpin + Send + Sync {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + Sync> PeerStream for S {}

/// A boxed [`PeerStream`].
pub type BoxedStream = Box<dyn PeerStream>;

/// A boxed future of an encrypted stream.
pub type SecuredStream<'a> = Pin<Box<dyn Future<Output = io::Result<BoxedStream>> + Send + 'a>>;

/// Encrypts the connections between nodes. The program that runs the node implements it, for example with TLS.
pub trait PeerSecurity: Send + Sync {
    /// Encrypts a connection that this node has opened to `address` (`host:port`), and checks the identity of the peer.
    fn connect<'a>(&'a self, address: &'a str, stream: TcpStream) -> SecuredStream<'a>;

    /// Encrypts a connection that a peer has opened, and checks its identity.
    fn accept(&self, stream: TcpStream) -> SecuredStream<'_>;
}

/// The node to which a connection is opened.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Target {
    /// The node with this Raft id, at the address that the address book contains.
    Node(u64),
    /// The node at this address, `host:port`, whose Raft id is not known yet.
    Address(String),
}

/// The addresses of the other nodes by Raft id. The membership of the cluster determines them, except for nodes that
/// have not been added yet.
#[derive(Debug, Default)]
pub(crate) struct AddressBook(RwLock<HashMap<u64, String>>);

impl AddressBook {
    pub(crate) fn set(&self, node: u64, address: &str) {
        let known = self.get(node);
        if known.as_deref() != Some(address) {
            self.0.write().unwrap_or_else(PoisonError::into_inner).insert(node, address.to_owned());
        }
    }

    pub(crate) fn get(&self, node: u64) -> Option<String> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(&node).cloned()
    }
}

/// Opens connections to other nodes.
pub(crate) struct Dialer {
    pub(crate) identity: Arc<Identity>,
    pub(crate) addresses: Arc<AddressBook>,
    pub(crate) security: Option<Arc<dyn PeerSecurity>>,
    /// The time within which a connection must be established, the hello excluded.
    pub(crate) connect_timeout: Duration,
    /// The number of times that a connection for forwarded requests was opened because the one before had broken.
    pub(crate) reconnects: AtomicU64,
}

impl Dialer {
    /// Opens a connection, and exchanges the hellos.
    ///
    /// # Errors
    /// The address of the node is not known; the connection cannot be established in time; the peer is not the node to
    /// be reached, or refuses the connection.
    pub(super) async fn connect(&self, target: &Target, purpose: Purpose) -> io::Result<(BoxedStream, PeerIdentity)> {
        let (address, to_node) = match target {
            Target::Address(address) => (address.clone(), None),
            Target::Node(node) => {
                let known = self.addresses.get(*node);
                (
                    known.ok_or_else(|| io::Error::other(format!("the address of node {node} is not known")))?,
                    Some(*node),
                )
            }
        };
        let connecting =
            tokio::time::timeout(self.connect_timeout, socket::connect(&address, self.security.as_ref())).await;
        let timed_out = || io::Error::new(io::ErrorKind::TimedOut, format!("connecting to {address} took too long"));
        let mut stream = connecting.map_err(|_| timed_out())??;
        let greeting = hello::greet(&mut *stream, &self.identity, purpose, to_node);
        let peer = tokio::time::timeout(HELLO_TIMEOUT, greeting).await.map_err(|_| timed_out())??;
        if to_node.is_some_and(|node| node != peer.node) {
            return Err(io::Error::other(format!("{address} is the address of another node")));
        }
        Ok((stream, peer))
    }
}
