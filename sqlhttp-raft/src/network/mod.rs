//! The network between the nodes of a cluster.
//!
//! Nodes speak a protocol of their own over TCP. The bytes of an entry are sent as they are in the Raft log, so nothing
//! is encoded again, and two nodes have several connections: a heartbeat never waits behind a long entry, a forwarded
//! request or a snapshot.
//!
//! | module | contents |
//! |---|---|
//! | `frame` | the frames of a connection |
//! | `hello` | the first message in each direction, which checks that the right nodes are connected |
//! | `message` | the messages of Raft |
//! | `dialer` | opens connections |
//! | `client` | a connection on which requests are multiplexed |
//! | `append` | the pipelined connection that replicates the Raft log |
//! | `socket` | the sockets |
//! | `server`, `requests` | accepts the connections of other nodes; responds to requests |
//! | `guests`, `budget` | limits of connections of strangers, and of the memory for requests |
//! | `peers` | the connections of this node to all other nodes, as openraft uses them |

mod append;
mod budget;
mod client;
mod dialer;
mod frame;
mod guests;
mod hello;
pub(crate) mod message;
mod peers;
mod requests;
mod server;
mod socket;

pub(crate) use client::CallError;
pub(crate) use dialer::{AddressBook, Dialer, Target};
pub use dialer::{BoxedStream, PeerSecurity, PeerStream, SecuredStream};
pub use hello::HTTP_PROBE;
pub(crate) use message::Request;
pub(crate) use peers::{Network, Peers};
pub(crate) use server::{Handled, PeerServer, Service};
#[cfg(feature = "sim")]
pub(crate) use socket::DEAD_AFTER;
pub(crate) use socket::Listener;
