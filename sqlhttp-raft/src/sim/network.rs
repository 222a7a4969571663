//! A simulated network: TCP connections with delays, partitions and broken connections.
//!
//! As with TCP, bytes arrive in order or not at all. A link that is cut delays them until it works again, because TCP
//! sends them again. After [`DEAD_AFTER`] without progress, both ends of a connection break.

use std::collections::{BTreeMap, VecDeque};
use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::random::Random;
use super::trace::Fingerprint;
use crate::network::DEAD_AFTER;

/// The maximum number of bytes of a connection that are in flight, or have arrived and have not been read.
const WINDOW_BYTES: usize = 256 << 10;
/// The time after which the opening of a connection to a machine that does not respond is tried again.
const SYN_RETRY_MS: u64 = 1000;
/// The maximum delay of a healthy link, in milliseconds.
const DELAY_MS_MAX: u64 = 3;
/// The port of all nodes.
const PORT: u16 = 4002;

/// The network of a cluster, and its clock.
pub(super) struct Network {
    /// The time since the beginning of the simulation, in milliseconds.
    now: AtomicU64,
    state: Mutex<State>,
}

struct State {
    random: Random,
    events: BTreeMap<(u64, u64), Event>,
    next_event: u64,
    connections: BTreeMap<u64, Connection>,
    next_connection: u64,
    machines: Vec<MachineState>,
    /// The links by the numbers of the sending and of the receiving machine.
    links: Vec<Vec<Link>>,
    fingerprint: Fingerprint,
}

#[derive(Default)]
struct MachineState {
    powered: bool,
    /// The connections that wait to be accepted; `None` if no process listens.
    backlog: Option<VecDeque<u64>>,
    acceptor: Option<Waker>,
}

#[derive(Clone)]
struct Link {
    cut: bool,
    delay_ms_max: u64,
}

#[derive(Debug, Clone, Copy)]
enum Event {
    /// A request to open the connection arrives at the server.
    Open(u64),
    /// The server's consent, or its refusal, arrives at the client.
    Opened(u64, bool),
    /// The next payload in this direction arrives.
    Arrive(u64, usize),
    /// The connection breaks for this end.
    Break(u64, usize),
    /// Both ends break if the direction makes no progress since the time of the second number.
    Expire(u64, usize, u64),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Opening,
    Open,
    Refused,
}

/// A connection. The client is end 0. Direction 0 is from the client to the server.
struct Connection {
    machines: [usize; 2],
    phase: Phase,
    opener: Option<Waker>,
    directions: [Direction; 2],
    /// Whether the process at this end uses the connection.
    used: [bool; 2],
    broken: [bool; 2],
}

#[derive(Default)]
struct Direction {
    in_flight: VecDeque<Payload>,
    in_flight_bytes: usize,
    arrived: VecDeque<u8>,
    /// Whether the sender has closed the connection, and everything before that has arrived.
    ended: bool,
    /// The time of the last arrival that has been scheduled.
    last_arrival: u64,
    /// The number of payloads that could not arrive because the link is cut.
    stalled: usize,
    stalled_since: u64,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

enum Payload {
    Bytes(Vec<u8>),
    End,
}

impl Network {
    pub(super) fn new(machines: usize, random: Random) -> Arc<Network> {
        let state = State {
            random,
            events: BTreeMap::new(),
            next_event: 0,
            connections: BTreeMap::new(),
            next_connection: 1,
            machines: (0..machines).map(|_| MachineState::default()).collect(),
            links: vec![vec![Link { cut: false, delay_ms_max: DELAY_MS_MAX }; machines]; machines],
            fingerprint: Fingerprint::default(),
        };
        Arc::new(Network { now: AtomicU64::new(0), state: Mutex::new(state) })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The time since the beginning of the simulation, in milliseconds.
    pub(super) fn now(&self) -> u64 {
        self.now.load(Ordering::Relaxed)
    }

    /// Advances the clock by a millisecond, and delivers what is due.
    pub(super) fn advance(&self) {
        let now = self.now.fetch_add(1, Ordering::Relaxed) + 1;
        let mut state = self.state();
        while let Some(entry) = state.events.first_entry().filter(|entry| entry.key().0 <= now) {
            let event = entry.remove();
            state.handle(now, event);
        }
    }

    /// A value that depends on everything that has been delivered.
    pub(super) fn fingerprint(&self) -> u64 {
        self.state().fingerprint.value()
    }

    /// Cuts a link or repairs it.
    pub(super) fn set_cut(&self, from: usize, to: usize, cut: bool) {
        let now = self.now();
        let mut state = self.state();
        state.links[from][to].cut = cut;
        if cut {
            return;
        }
        let connections: Vec<(u64, usize)> = state.directions(from, to);
        for (id, direction) in connections {
            let stalled = state.direction(id, direction).map_or(0, |direction| std::mem::take(&mut direction.stalled));
            for _ in 0..stalled {
                state.schedule_arrival(now, id, direction);
            }
        }
    }

    /// Sets the maximum delay of all links of a machine; `None` for that of healthy links.
    pub(super) fn set_delays(&self, machine: usize, delay_ms_max: Option<u64>) {
        let delay_ms_max = delay_ms_max.unwrap_or(DELAY_MS_MAX);
        let mut state = self.state();
        state.links[machine].iter_mut().for_each(|link| link.delay_ms_max = delay_ms_max);
        state.links.iter_mut().for_each(|links| links[machine].delay_ms_max = delay_ms_max);
    }

    /// Repairs all links.
    pub(super) fn heal(&self) {
        let machines = self.state().machines.len();
        for from in 0..machines {
            for to in 0..machines {
                self.set_cut(from, to, false);
            }
            self.set_delays(from, None);
        }
    }

    pub(super) fn power_on(&self, machine: usize) {
        self.state().machines[machine].powered = true;
    }

    /// Ends all connections of a machine whose process has been killed or, if `power_cut` is set, whose power has
    /// failed. In the latter case, the peers detect it late.
    pub(super) fn crash(&self, machine: usize, power_cut: bool) {
        let now = self.now();
        let mut state = self.state();
        state.machines[machine] = MachineState { powered: !power_cut, ..MachineState::default() };
        let ids: Vec<u64> = state.connections.keys().copied().collect();
        for id in ids {
            let Some(connection) = state.connections.get_mut(&id) else { continue };
            for end in 0..2 {
                if connection.machines[end] == machine {
                    connection.used[end] = false;
                    connection.broken[end] = true;
                }
            }
            if !connection.machines.contains(&machine) || connection.used == [false; 2] {
                state.remove_unused(id);
                continue;
            }
            let peer = usize::from(connection.machines[0] == machine);
            let delay = if power_cut { state.random.between(1, DEAD_AFTER_MS) } else { 1 };
            state.schedule(now + delay, Event::Break(id, peer));
        }
    }

    /// Opens a connection from a machine to an address.
    pub(super) async fn connect(self: &Arc<Self>, from: usize, address: &str) -> io::Result<SimulatedStream> {
        let host = address.split(':').next().and_then(|name| name.strip_prefix('n')).and_then(|n| n.parse().ok());
        let to = host.and_then(|number: usize| number.checked_sub(1)).filter(|to| *to < self.state().machines.len());
        let to = to.ok_or_else(|| io::Error::other(format!("{address} is not the address of a machine")))?;
        let id = self.state().open(self.now(), from, to);
        let stream = SimulatedStream { network: self.clone(), id, end: 0 };
        poll_fn(|cx| stream.network.state().poll_opened(id, cx)).await.map(|()| stream)
    }

    /// Begins to accept connections at a machine.
    pub(super) fn listen(self: &Arc<Self>, machine: usize) -> SimulatedListener {
        self.state().machines[machine].backlog = Some(VecDeque::new());
        SimulatedListener { network: self.clone(), machine }
    }
}

const DEAD_AFTER_MS: u64 = DEAD_AFTER.as_millis() as u64;

impl State {
    fn schedule(&mut self, at: u64, event: Event) {
        self.next_event += 1;
        self.events.insert((at, self.next_event), event);
    }

    fn delay(&mut self, from: usize, to: usize) -> u64 {
        let most = self.links[from][to].delay_ms_max;
        self.random.between(1, most)
    }

    fn direction(&mut self, id: u64, direction: usize) -> Option<&mut Direction> {
        self.connections.get_mut(&id).map(|connection| &mut connection.directions[direction])
    }

    /// The connections and directions in which bytes flow from one machine to another.
    fn directions(&self, from: usize, to: usize) -> Vec<(u64, usize)> {
        let all = self.connections.iter().flat_map(|(id, connection)| [(*id, 0, connection), (*id, 1, connection)]);
        let matching = all.filter(|(_, direction, connection)| {
            connection.machines[*direction] == from && connection.machines[1 - *direction] == to
        });
        matching.map(|(id, direction, _)| (id, direction)).collect()
    }

    fn open(&mut self, now: u64, from: usize, to: usize) -> u64 {
        let id = self.next_connection;
        self.next_connection += 1;
        let connection = Connection {
            machines: [from, to],
            phase: Phase::Opening,
            opener: None,
            directions: Default::default(),
            used: [true, false],
            broken: [false; 2],
        };
        self.connections.insert(id, connection);
        let delay = self.delay(from, to);
        self.schedule(now + delay, Event::Open(id));
        id
    }

    fn poll_opened(&mut self, id: u64, cx: &Context<'_>) -> Poll<io::Result<()>> {
        let Some(connection) = self.connections.get_mut(&id) else { return Poll::Ready(Err(reset())) };
        match connection.phase {
            _ if connection.broken[0] => Poll::Ready(Err(reset())),
            Phase::Open => Poll::Ready(Ok(())),
            Phase::Refused => Poll::Ready(Err(ErrorKind::ConnectionRefused.into())),
            Phase::Opening => {
                connection.opener = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    fn handle(&mut self, now: u64, event: Event) {
        match event {
            Event::Open(id) => self.arrive_open(now, id),
            Event::Opened(id, accepted) => {
                let Some(connection) = self.connections.get_mut(&id) else { return };
                connection.phase = if accepted { Phase::Open } else { Phase::Refused };
                wake(&mut connection.opener);
            }
            Event::Arrive(id, direction) => self.arrive(now, id, direction),
            Event::Break(id, end) => self.break_end(id, end),
            Event::Expire(id, direction, since) => {
                let stuck = self.direction(id, direction);
                if stuck.is_some_and(|direction| direction.stalled > 0 && direction.stalled_since == since) {
                    self.break_end(id, 0);
                    self.break_end(id, 1);
                }
            }
        }
    }

    fn arrive_open(&mut self, now: u64, id: u64) {
        let Some(connection) = self.connections.get(&id).filter(|connection| connection.used[0]) else { return };
        let [from, to] = connection.machines;
        let unreachable = self.links[from][to].cut || self.links[to][from].cut || !self.machines[to].powered;
        if unreachable {
            return self.schedule(now + SYN_RETRY_MS, Event::Open(id));
        }
        let server = &mut self.machines[to];
        let accepted = server.backlog.is_some();
        if let Some(backlog) = &mut server.backlog {
            backlog.push_back(id);
            wake(&mut server.acceptor);
        }
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.used[1] = accepted;
        }
        let delay = self.delay(to, from);
        self.schedule(now + delay, Event::Opened(id, accepted));
    }

    fn schedule_arrival(&mut self, now: u64, id: u64, direction: usize) {
        let Some(connection) = self.connections.get(&id) else { return };
        let (from, to) = (connection.machines[direction], connection.machines[1 - direction]);
        let delay = self.delay(from, to);
        let Some(link) = self.direction(id, direction) else { return };
        let at = (now + delay).max(link.last_arrival);
        link.last_arrival = at;
        self.schedule(at, Event::Arrive(id, direction));
    }

    fn arrive(&mut self, now: u64, id: u64, direction: usize) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let (from, to) = (connection.machines[direction], connection.machines[1 - direction]);
        let receiver = &mut connection.directions[direction];
        if self.links[from][to].cut {
            receiver.stalled += 1;
            if receiver.stalled == 1 {
                receiver.stalled_since = now;
                self.schedule(now + DEAD_AFTER_MS, Event::Expire(id, direction, now));
            }
            return;
        }
        match receiver.in_flight.pop_front() {
            // The process at the other end has closed the connection or ended, and its machine says so.
            Some(Payload::Bytes(_)) if !connection.used[1 - direction] => {
                return self.schedule(now + 1, Event::Break(id, direction));
            }
            Some(Payload::Bytes(bytes)) => {
                self.fingerprint.add(&[now, id, direction as u64, bytes.len() as u64]);
                receiver.in_flight_bytes -= bytes.len();
                receiver.arrived.extend(bytes);
            }
            Some(Payload::End) => receiver.ended = true,
            None => {}
        }
        wake(&mut receiver.reader);
    }

    fn break_end(&mut self, id: u64, end: usize) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        connection.broken[end] = true;
        wake(&mut connection.opener);
        wake(&mut connection.directions[end].writer);
        wake(&mut connection.directions[1 - end].reader);
    }

    fn close(&mut self, now: u64, id: u64, end: usize) {
        let Some(connection) = self.connections.get_mut(&id).filter(|connection| connection.used[end]) else { return };
        connection.used[end] = false;
        if !connection.broken[end] && connection.phase != Phase::Refused {
            connection.directions[end].in_flight.push_back(Payload::End);
            self.schedule_arrival(now, id, end);
        }
        self.remove_unused(id);
    }

    fn remove_unused(&mut self, id: u64) {
        if self.connections.get(&id).is_some_and(|connection| connection.used == [false; 2]) {
            self.connections.remove(&id);
        }
    }

    fn poll_read(&mut self, id: u64, end: usize, cx: &Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let Some(connection) = self.connections.get_mut(&id) else { return Poll::Ready(Err(reset())) };
        let direction = &mut connection.directions[1 - end];
        let (front, _) = direction.arrived.as_slices();
        let len = front.len().min(out.remaining());
        if len > 0 {
            out.put_slice(&front[..len]);
            direction.arrived.drain(..len);
            wake(&mut direction.writer);
            return Poll::Ready(Ok(()));
        }
        if connection.broken[end] {
            return Poll::Ready(Err(reset()));
        }
        if direction.ended || out.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        direction.reader = Some(cx.waker().clone());
        Poll::Pending
    }

    fn poll_write(&mut self, now: u64, id: u64, end: usize, cx: &Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let Some(connection) = self.connections.get_mut(&id) else { return Poll::Ready(Err(reset())) };
        if connection.broken[end] {
            return Poll::Ready(Err(reset()));
        }
        let direction = &mut connection.directions[end];
        let room = WINDOW_BYTES.saturating_sub(direction.in_flight_bytes + direction.arrived.len());
        let len = bytes.len().min(room);
        if len == 0 && !bytes.is_empty() {
            direction.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        direction.in_flight.push_back(Payload::Bytes(bytes[..len].to_vec()));
        direction.in_flight_bytes += len;
        self.schedule_arrival(now, id, end);
        Poll::Ready(Ok(len))
    }
}

fn wake(waker: &mut Option<Waker>) {
    if let Some(waker) = waker.take() {
        waker.wake();
    }
}

fn reset() -> io::Error {
    ErrorKind::ConnectionReset.into()
}

/// Accepts the connections to a machine.
pub(crate) struct SimulatedListener {
    network: Arc<Network>,
    machine: usize,
}

impl SimulatedListener {
    pub(crate) async fn accept(&mut self) -> io::Result<(SimulatedStream, SocketAddr)> {
        let (id, peer) = poll_fn(|cx| {
            let mut state = self.network.state();
            let machine = &mut state.machines[self.machine];
            let Some(id) = machine.backlog.as_mut().and_then(VecDeque::pop_front) else {
                machine.acceptor = Some(cx.waker().clone());
                return Poll::Pending;
            };
            Poll::Ready((id, state.connections.get(&id).map_or(0, |connection| connection.machines[0])))
        })
        .await;
        let address = Ipv4Addr::new(10, 0, 0, u8::try_from(peer + 1).unwrap_or(u8::MAX));
        Ok((SimulatedStream { network: self.network.clone(), id, end: 1 }, (address, PORT).into()))
    }
}

/// One end of a connection. Dropping it closes the connection.
pub(crate) struct SimulatedStream {
    network: Arc<Network>,
    id: u64,
    end: usize,
}

impl AsyncRead for SimulatedStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.network.state().poll_read(self.id, self.end, cx, out)
    }
}

impl AsyncWrite for SimulatedStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.network.state().poll_write(self.network.now(), self.id, self.end, cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.network.state().close(self.network.now(), self.id, self.end);
        Poll::Ready(Ok(()))
    }
}

impl Drop for SimulatedStream {
    fn drop(&mut self) {
        self.network.state().close(self.network.now(), self.id, self.end);
    }
}
