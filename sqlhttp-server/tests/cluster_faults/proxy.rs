//! A TCP proxy between the nodes, with a delay, a bandwidth and interruptions for each direction of each pair of nodes.
//! Nodes advertise an address of the proxy instead of their own.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::network;

const FIRST_PORT: u16 = 5001;
/// The chunks of a direction that have been read and not yet written.
const CHUNKS_MAX: usize = 256;
const CHUNK_BYTES: usize = 16 << 10;

/// The address that a node advertises.
pub fn address(node: usize) -> SocketAddr {
    SocketAddr::from((network::BRIDGE, FIRST_PORT + u16::try_from(node).expect("few nodes")))
}

/// The treatment of the bytes from one node to another.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Link {
    /// The time until a byte is passed on.
    pub delay: Duration,
    /// The bytes that are passed on in a second, if they are limited.
    pub bytes_per_second: Option<u64>,
    /// Whether all bytes wait.
    pub blocked: bool,
}

#[derive(Debug)]
struct Shared {
    /// By the node that sends and the node that receives.
    links: Vec<Vec<watch::Sender<Link>>>,
    /// Changes when all connections are to be closed.
    resets: watch::Sender<u64>,
}

/// The proxy of all nodes.
#[derive(Debug)]
pub struct Proxy {
    shared: Arc<Shared>,
    /// Ends the tasks on drop.
    runtime: Mutex<Option<tokio::runtime::Runtime>>,
}

impl Proxy {
    /// Listens for this number of nodes.
    pub fn start(nodes: usize) -> Proxy {
        let link = || watch::Sender::new(Link::default());
        let links = (0..nodes).map(|_| (0..nodes).map(|_| link()).collect()).collect();
        let shared = Arc::new(Shared { links, resets: watch::Sender::new(0) });
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let runtime = builder.worker_threads(1).enable_all().build().expect("a runtime");
        for node in 0..nodes {
            let listener = runtime.block_on(TcpListener::bind(address(node))).expect("an address of the proxy");
            runtime.spawn(accept(listener, node, Arc::clone(&shared)));
        }
        Proxy { shared, runtime: Mutex::new(Some(runtime)) }
    }

    /// Sets what happens to the bytes from one node to another.
    pub fn set(&self, from: usize, to: usize, link: Link) {
        self.shared.links[from][to].send_replace(link);
    }

    /// Closes all connections between nodes.
    pub fn reset(&self) {
        self.shared.resets.send_modify(|count| *count += 1);
    }

    /// Passes all bytes on at once.
    pub fn heal(&self) {
        for link in self.shared.links.iter().flatten() {
            link.send_replace(Link::default());
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.lock().expect("the runtime").take() {
            runtime.shutdown_background();
        }
    }
}

/// Accepts connections to a node.
async fn accept(listener: TcpListener, to: usize, shared: Arc<Shared>) {
    while let Ok((stream, peer)) = listener.accept().await {
        let from = (0..shared.links.len()).find(|node| IpAddr::V4(network::ip(*node)) == peer.ip());
        let Some(from) = from else { continue };
        tokio::spawn(connect(stream, from, to, Arc::clone(&shared)));
    }
}

/// Joins a connection with one to the node, until either ends or all connections are reset.
async fn connect(client: TcpStream, from: usize, to: usize, shared: Arc<Shared>) {
    let mut resets = shared.resets.subscribe();
    let Ok(server) = TcpStream::connect(network::raft(to)).await else { return };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let (client_read, client_write) = client.into_split();
    let (server_read, server_write) = server.into_split();
    let there = pass(client_read, server_write, shared.links[from][to].subscribe());
    let back = pass(server_read, client_write, shared.links[to][from].subscribe());
    tokio::select! {
        () = there => {}
        () = back => {}
        _ = resets.changed() => {}
    }
}

/// Passes the bytes of one direction on.
async fn pass(
    mut source: tokio::net::tcp::OwnedReadHalf,
    sink: tokio::net::tcp::OwnedWriteHalf,
    link: watch::Receiver<Link>,
) {
    let (sender, receiver) = mpsc::channel(CHUNKS_MAX);
    let reader_link = link.clone();
    let read = async move {
        let mut buffer = vec![0; CHUNK_BYTES];
        while let Ok(length @ 1..) = source.read(&mut buffer).await {
            let due = Instant::now() + reader_link.borrow().delay;
            if sender.send((due, buffer[..length].to_vec())).await.is_err() {
                return;
            }
        }
    };
    tokio::join!(read, write(receiver, sink, link));
}

/// Writes the chunks of one direction when they are due.
async fn write(
    mut chunks: mpsc::Receiver<(Instant, Vec<u8>)>,
    mut sink: tokio::net::tcp::OwnedWriteHalf,
    mut link: watch::Receiver<Link>,
) {
    while let Some((due, chunk)) = chunks.recv().await {
        tokio::time::sleep_until(due).await;
        let Ok(current) = link.wait_for(|link| !link.blocked).await.map(|link| *link) else { return };
        if let Some(rate) = current.bytes_per_second {
            tokio::time::sleep(Duration::from_micros(chunk.len() as u64 * 1_000_000 / rate.max(1))).await;
        }
        if sink.write_all(&chunk).await.is_err() {
            return;
        }
    }
}
