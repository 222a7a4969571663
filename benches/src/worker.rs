//! Sends the requests of a run over the connections of one thread.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::runtime;
use tokio::task::LocalSet;
use tokio::time::{sleep, timeout, timeout_at};

use crate::Error;
use crate::http::{Connection, RequestWriter, Response};
use crate::pacer::Pacer;
use crate::plan::{Plan, Timeline};
use crate::random::Random;
use crate::tally::Tally;
use crate::workload::OperationKind;

/// The pause after a failed attempt to open a connection.
const RECONNECT_PAUSE: Duration = Duration::from_millis(10);
/// The time limit for opening all connections of a thread at the start of a run.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

/// The connections of one thread. They are opened and used on that thread only.
#[derive(Debug)]
pub struct Worker {
    runtime: runtime::Runtime,
    connections: Vec<Connection>,
    first: usize,
}

/// The state that all connections of one thread share.
struct WorkerContext {
    plan: Arc<Plan>,
    pacer: Option<Arc<Pacer>>,
    timeline: Timeline,
    body_len_min: [u64; OperationKind::ALL.len()],
    tally: RefCell<Tally>,
}

impl Worker {
    /// Opens `count` connections. They are numbered from `first`.
    pub fn connect(plan: &Plan, first: usize, count: usize) -> Result<Self, Error> {
        let runtime =
            runtime::Builder::new_current_thread().enable_all().build().map_err(Error::io("start a runtime"))?;
        let address = plan.target.endpoint.address;
        let connect_all = async {
            let mut connections = Vec::with_capacity(count);
            for _ in 0..count {
                connections.push(Connection::open(address).await?);
            }
            Ok(connections)
        };
        let connected = runtime.block_on(async { timeout(CONNECT_TIMEOUT, connect_all).await });
        let connections = connected.unwrap_or_else(|elapsed| Err(elapsed.into()));
        let connections = connections.map_err(Error::io(format!("connect to {address}")))?;
        Ok(Worker { runtime, connections, first })
    }

    /// Sends requests over all connections until the end of the timeline, and returns the counts. A response whose body
    /// is shorter than `body_len_min` (in bytes, by kind of operation) is counted as an error.
    pub fn run(
        self,
        plan: &Arc<Plan>,
        pacer: Option<Arc<Pacer>>,
        timeline: Timeline,
        body_len_min: [u64; OperationKind::ALL.len()],
    ) -> Tally {
        let context =
            WorkerContext { plan: Arc::clone(plan), pacer, timeline, body_len_min, tally: RefCell::default() };
        let context = Rc::new(context);
        let tasks = LocalSet::new();
        for (index, connection) in self.connections.into_iter().enumerate() {
            tasks.spawn_local(Rc::clone(&context).run_connection(self.first + index, connection));
        }
        self.runtime.block_on(tasks);
        context.tally.take()
    }
}

impl WorkerContext {
    async fn run_connection(self: Rc<Self>, number: usize, connection: Connection) {
        let give_up = self.timeline.give_up.into();
        if timeout_at(give_up, self.send_requests(number, connection)).await.is_err() {
            self.tally.borrow_mut().errors.timeout += 1;
        }
    }

    async fn send_requests(&self, number: usize, connection: Connection) {
        let target = &self.plan.target;
        let mut writer = RequestWriter::new(target.endpoint, &*target.protocol, &target.auth);
        let mut random = Random::new(self.plan.seed.wrapping_add(number as u64));
        let mut connection = Some(connection);
        while let Some(start) = self.next_request_time().await {
            let kind = self.plan.workload.next_kind(self.plan.write_percent, &mut random);
            let operation = kind.operation(self.plan.items, &mut random);
            let Some(mut open) = self.connected_or_new(connection.take()).await else {
                continue;
            };
            if self.exchange(&mut open, kind, start, writer.write(&operation)).await {
                connection = Some(open);
            }
        }
    }

    /// Returns the time from which the latency of the next request is counted. In a closed loop, this is the current
    /// time, or `None` after the measured time. In an open loop, waits until a request is due and returns its due time,
    /// or `None` at the end of the schedule.
    async fn next_request_time(&self) -> Option<Instant> {
        match &self.pacer {
            Some(pacer) => pacer.next().await.map(|due| self.timeline.start + due),
            None => {
                let now = Instant::now();
                (now < self.timeline.window_end).then_some(now)
            }
        }
    }

    /// Returns `connection`, or opens a new connection if there is none. If a new connection cannot be opened, counts
    /// the error, pauses, and returns `None`.
    async fn connected_or_new(&self, connection: Option<Connection>) -> Option<Connection> {
        if connection.is_some() {
            return connection;
        }
        let opened = Connection::open(self.plan.target.endpoint.address).await.ok();
        if opened.is_none() {
            self.tally.borrow_mut().errors.connect += 1;
            sleep(RECONNECT_PAUSE).await;
        }
        opened
    }

    /// Sends one request and records its response or error. Returns whether another request can be sent on the
    /// connection.
    async fn exchange(&self, connection: &mut Connection, kind: OperationKind, start: Instant, request: &[u8]) -> bool {
        self.tally.borrow_mut().record_sent(kind);
        match connection.exchange(request, None).await {
            Ok(response) => {
                self.record(kind, start, response);
                response.keep_alive
            }
            Err(error) => {
                self.tally.borrow_mut().errors.count_failed_exchange(&error);
                false
            }
        }
    }

    fn record(&self, kind: OperationKind, start: Instant, response: Response) {
        let now = Instant::now();
        let mut tally = self.tally.borrow_mut();
        if response.status != 200 {
            *tally.errors.status.entry(response.status).or_default() += 1;
            return;
        }
        if response.body_len < self.body_len_min[kind.index()] {
            tally.errors.short += 1;
            return;
        }
        tally.record_acknowledged(kind);
        if self.timeline.in_window(now) {
            tally.record_answer(kind, response.body_len);
        }
        if self.timeline.in_window(start) {
            tally.record_latency(kind, now.saturating_duration_since(start));
        }
    }
}
