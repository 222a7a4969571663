//! Links between nodes in one process that hold bytes back, each direction on its own: a one-way partition, or a
//! transfer that stops in the middle. The bytes arrive when the link is released, like those that TCP sends again.

use std::collections::HashMap;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};

use sqlhttp_raft::{BoxedStream, PeerSecurity, SecuredStream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// The links between all nodes of a cluster. Clones share them.
#[derive(Clone, Default)]
pub struct Links(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    /// The numbers of the nodes by address.
    nodes: HashMap<String, usize>,
    /// The directions by the numbers of the sender and of the receiver.
    directions: HashMap<(usize, usize), Direction>,
}

/// One direction of a link.
#[derive(Default)]
struct Direction {
    /// The number of bytes that have passed.
    passed: u64,
    /// The number of bytes after which the direction is held; `None` if it is not.
    held_after: Option<u64>,
    /// The number of times that the connections were broken.
    breaks: u64,
    /// The connections that wait until the direction is released.
    waiting: Vec<Waker>,
}

impl Direction {
    fn wake(&mut self) {
        self.waiting.drain(..).for_each(Waker::wake);
    }

    /// The number of bytes that may pass now.
    fn allowed(&self) -> usize {
        let allowed = self.held_after.map_or(u64::MAX, |after| after.saturating_sub(self.passed));
        usize::try_from(allowed).unwrap_or(usize::MAX)
    }
}

impl Links {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    fn change(&self, from: usize, to: usize, change: impl FnOnce(&mut Direction)) {
        let mut state = self.state();
        let direction = state.directions.entry((from, to)).or_default();
        change(direction);
        direction.wake();
    }

    /// Sets the address at which the others reach a node.
    pub fn add(&self, node: usize, address: &str) {
        self.state().nodes.insert(address.to_owned(), node);
    }

    /// The connections that a node opens.
    pub fn of(&self, node: usize) -> Arc<dyn PeerSecurity> {
        Arc::new(Dialed { links: self.clone(), node })
    }

    /// Holds everything that a node sends to another one from now on.
    pub fn hold(&self, from: usize, to: usize) {
        self.hold_after(from, to, 0);
    }

    /// Holds everything after the next `bytes` bytes.
    pub fn hold_after(&self, from: usize, to: usize, bytes: u64) {
        self.change(from, to, |direction| direction.held_after = Some(direction.passed + bytes));
    }

    /// Holds both directions.
    pub fn hold_both(&self, a: usize, b: usize) {
        self.hold(a, b);
        self.hold(b, a);
    }

    /// Lets everything pass.
    pub fn release(&self, from: usize, to: usize) {
        self.change(from, to, |direction| direction.held_after = None);
    }

    /// Lets everything pass in all directions.
    pub fn release_all(&self) {
        let held: Vec<(usize, usize)> = self.state().directions.keys().copied().collect();
        held.into_iter().for_each(|(from, to)| self.release(from, to));
    }

    /// Breaks all connections that one of two nodes has opened to the other.
    pub fn break_connections(&self, a: usize, b: usize) {
        for (from, to) in [(a, b), (b, a)] {
            self.change(from, to, |direction| direction.breaks += 1);
        }
    }

    /// Whether a direction holds bytes because as many have passed as may pass.
    pub fn is_full(&self, from: usize, to: usize) -> bool {
        self.state().directions.get(&(from, to)).is_some_and(|direction| direction.allowed() == 0)
    }

    /// The number of bytes that have passed from one node to another.
    pub fn passed(&self, from: usize, to: usize) -> u64 {
        self.state().directions.get(&(from, to)).map_or(0, |direction| direction.passed)
    }
}

/// Opens the connections of one node.
struct Dialed {
    links: Links,
    node: usize,
}

impl PeerSecurity for Dialed {
    fn connect<'a>(&'a self, address: &'a str, stream: TcpStream) -> SecuredStream<'a> {
        let mut state = self.links.state();
        let node = state.nodes.get(address).copied();
        let boxed: BoxedStream = match node {
            Some(to) => {
                let breaks = state.directions.entry((self.node, to)).or_default().breaks;
                Box::new(Link { stream, links: self.links.clone(), from: self.node, to, breaks })
            }
            None => Box::new(stream),
        };
        Box::pin(std::future::ready(Ok(boxed)))
    }

    fn accept(&self, stream: TcpStream) -> SecuredStream<'_> {
        let boxed: BoxedStream = Box::new(stream);
        Box::pin(std::future::ready(Ok(boxed)))
    }
}

/// A connection, at the side of the node that has opened it.
struct Link {
    stream: TcpStream,
    links: Links,
    from: usize,
    to: usize,
    breaks: u64,
}

impl Link {
    /// Moves bytes in one direction with `transfer`, which gets the maximum number of bytes and returns the number that
    /// it has moved.
    fn pass(
        &mut self,
        cx: &mut Context<'_>,
        (from, to): (usize, usize),
        transfer: impl FnOnce(Pin<&mut TcpStream>, &mut Context<'_>, usize) -> Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        let mut state = self.links.state();
        let broken = state.directions.entry((self.from, self.to)).or_default().breaks != self.breaks;
        let direction = state.directions.entry((from, to)).or_default();
        if broken {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        // Registered in any case: a connection that waits for its peer must notice that it was broken.
        direction.waiting.retain(|waker| !waker.will_wake(cx.waker()));
        direction.waiting.push(cx.waker().clone());
        let allowed = direction.allowed();
        if allowed == 0 {
            return Poll::Pending;
        }
        let moved = transfer(Pin::new(&mut self.stream), cx, allowed);
        if let Poll::Ready(Ok(bytes)) = &moved {
            direction.passed += *bytes as u64;
        }
        moved
    }
}

impl AsyncRead for Link {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let direction = (self.to, self.from);
        let read = self.pass(cx, direction, |stream, cx, allowed| {
            let mut part = vec![0; out.remaining().min(allowed)];
            let mut buffer = ReadBuf::new(&mut part);
            stream.poll_read(cx, &mut buffer).map_ok(|()| {
                out.put_slice(buffer.filled());
                buffer.filled().len()
            })
        });
        read.map_ok(drop)
    }
}

impl AsyncWrite for Link {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let direction = (self.from, self.to);
        self.pass(cx, direction, |stream, cx, allowed| stream.poll_write(cx, &bytes[..bytes.len().min(allowed)]))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
