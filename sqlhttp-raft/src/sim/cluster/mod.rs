//! The nodes of a simulated cluster, and the scheduler.

pub(super) mod power_cuts;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sqlhttp_core::{ReadLevel, STACK_BYTES};
use tokio::runtime::{Builder, Runtime};
use tokio::time::Instant;

use super::clients::{self, Content};
use super::faults::{Crash, Fault, Mix};
use super::history::{Ended, Operation, Request};
use super::invariants::{Invariants, Violation, check_history};
use super::machine::{Machine, SYNC_MS_MAX, block_on, on};
use super::mutation::Mutation;
use super::network::Network;
use super::random::Random;
use super::trace::Trace;
use crate::log::simulated::{self, Fault as DiskFault};
use crate::node::Node;
use crate::observer::{Event, Observer};
use crate::options::{Formation, NodeOptions, SnapshotPolicy};

/// How long a simulation causes faults.
const DISTURBED_MS: u64 = 12_000;
/// How long the formation of the cluster may take.
const FORMED_WITHIN_MS: u64 = 20_000;
/// The time after the last fault within which the cluster must work again.
const HEALED_WITHIN_MS: u64 = 30_000;
/// The number of clients that write and read. In addition, each machine has a client that only reads from its node.
const WRITERS: usize = 4;
/// The maximum number of keys.
const KEYS_MAX: u64 = 3;
/// The maximum time after which a client that writes stops waiting.
const GIVEN_UP_AFTER_MS: u64 = 8000;
/// The interval at which the contents of the databases are compared.
const CONTENT_EVERY_MS: u64 = 100;

/// The result of a simulation.
#[derive(Debug, Clone)]
pub struct Report {
    /// The seed that determines everything.
    pub seed: u64,
    /// The invariant that was violated, if any.
    pub violation: Option<String>,
    /// One line per event.
    pub trace: Vec<String>,
    /// A hash of the trace, and of everything that was sent over the network.
    pub fingerprint: u64,
    /// The counts of events.
    pub counts: Counts,
}

/// The counts of events in a simulation.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Acknowledged writes.
    pub written: u64,
    /// Successful reads.
    pub read: u64,
    /// Operations whose outcome is unknown.
    pub unknown: u64,
    /// Faults of all kinds.
    pub faults: u64,
    /// Changes of the leadership.
    pub leaders: u64,
    /// Snapshots of other nodes that were installed.
    pub installed: u64,
    /// The simulated time, in milliseconds.
    pub time_ms: u64,
}

/// Simulates a cluster. `mutation` is a fault that the code has.
///
/// # Panics
/// The thread of the simulation cannot be started, or the simulation itself fails.
pub fn run(seed: u64, mutation: Option<Mutation>) -> Report {
    simulate(seed, mutation, |cluster| {
        let ended = cluster.run();
        cluster.report(ended.err())
    })
}

/// Runs code with a new cluster, on a thread of its own.
fn simulate<T: Send + 'static>(
    seed: u64,
    mutation: Option<Mutation>,
    run: impl FnOnce(&mut Cluster) -> T + Send + 'static,
) -> T {
    on_thread(mutation, move || Ok(run(&mut Cluster::new(seed, mutation)?)))
}

/// Runs a simulation on a thread of its own.
#[expect(clippy::expect_used, reason = "only tests call this function")]
fn on_thread<T: Send + 'static>(
    mutation: Option<Mutation>,
    simulation: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> T {
    super::panics::watch();
    let thread = std::thread::Builder::new().name("sqlhttp-sim".to_owned()).stack_size(STACK_BYTES);
    let thread = thread.spawn(move || {
        sqlhttp_core::simulation::ignore_group_time();
        sqlhttp_core::simulation::set_mutation(mutation.and_then(Mutation::of_engine));
        simulation().expect("a simulation can be prepared")
    });
    thread.expect("the thread of a simulation can be started").join().expect("a simulation ends")
}

/// A machine and the process that runs on it.
struct Host {
    machine: Arc<Machine>,
    name: String,
    directory: PathBuf,
    process: Option<Process>,
    /// The time at which a process is started, if none runs.
    restart_at: u64,
}

/// A process: a node and its runtime.
struct Process {
    runtime: Runtime,
    /// The time of the runtime at the beginning of the simulation.
    epoch: Instant,
    slot: Arc<Mutex<Slot>>,
}

/// The node of a process, once it has been started.
#[derive(Default)]
struct Slot {
    node: Option<Node>,
    failed: Option<String>,
}

/// An action at a later time.
enum Later {
    Repair(Vec<(usize, usize)>),
    FastLinks(usize),
    FastDisk(usize),
    Rejoin(usize),
    Crash(usize, Crash, u64),
    /// All nodes but one take a snapshot and purge their whole logs, so that this one needs a snapshot of the leader.
    PurgeFor(usize),
}

struct Client {
    /// The machine to whose node the client sends most of its requests.
    home: usize,
    /// Whether the client only reads, and only from the node of its home.
    only_reads: bool,
    /// The index of the current operation in the history.
    operation: Option<usize>,
    /// The time at which the client stops waiting for the current operation, which may end later.
    gives_up_at: u64,
    next_at: u64,
}

impl Client {
    fn new(home: usize, only_reads: bool) -> Client {
        Client { home, only_reads, operation: None, gives_up_at: 0, next_at: 0 }
    }
}

type Results = Arc<Mutex<Vec<(i64, Ended)>>>;

struct Cluster {
    seed: u64,
    network: Arc<Network>,
    hosts: Vec<Host>,
    directory: PathBuf,
    random: Random,
    mix: Mix,
    keys: u64,
    trace: Arc<Mutex<Trace>>,
    invariants: Invariants,
    history: Vec<Operation>,
    clients: Vec<Client>,
    results: Results,
    later: Vec<(u64, Later)>,
    /// Whether faults are being caused.
    disturbed: bool,
    counts: Counts,
}

/// Adds the events of a node to the trace.
struct TraceObserver {
    trace: Arc<Mutex<Trace>>,
    network: Arc<Network>,
    name: String,
    directory: String,
}

impl Observer for TraceObserver {
    fn event(&self, event: &Event<'_>) {
        let event = format!("{} {event:?}", self.name).replace(&self.directory, "");
        lock(&self.trace).add(self.network.now(), &event);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for number in 0..self.hosts.len() {
            self.end_process(number);
        }
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// Creates a directory for the files that are not on simulated disks, in memory if possible.
fn new_directory() -> io::Result<PathBuf> {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let memory = Path::new("/dev/shm");
    let base = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let directory = base.join(format!("sqlhttp-sim-{}-{number:08}", std::process::id()));
    std::fs::create_dir_all(&directory)?;
    Ok(directory)
}

impl Cluster {
    fn new(seed: u64, mutation: Option<Mutation>) -> io::Result<Cluster> {
        let mut random = Random::new(seed);
        let machines = if random.percent(85) { 3 } else { 5 };
        Cluster::of(machines, random, seed, mutation)
    }

    fn of(machines: usize, mut random: Random, seed: u64, mutation: Option<Mutation>) -> io::Result<Cluster> {
        let network = Network::new(machines, random.fork());
        let directory = new_directory()?;
        let mut hosts = Vec::new();
        for number in 0..machines {
            let name = format!("n{}", number + 1);
            let directory = directory.join(&name);
            std::fs::create_dir(&directory)?;
            let machine = Machine::new(number, network.clone(), &directory, random.fork(), mutation)?;
            hosts.push(Host { machine: Arc::new(machine), name, directory, process: None, restart_at: 0 });
        }
        let writers = (0..WRITERS).map(|number| Client::new(number % machines, false));
        let clients = writers.chain((0..machines).map(|machine| Client::new(machine, true))).collect();
        let (mix, keys) = (Mix::new(&mut random), random.between(1, KEYS_MAX));
        Ok(Cluster {
            seed,
            network,
            hosts,
            directory,
            random,
            mix,
            keys,
            trace: Arc::default(),
            invariants: Invariants::new(machines),
            history: Vec::new(),
            clients,
            results: Results::default(),
            later: Vec::new(),
            disturbed: false,
            counts: Counts::default(),
        })
    }

    fn report(&mut self, violation: Option<Violation>) -> Report {
        self.counts.time_ms = self.network.now();
        if let Some(violation) = &violation {
            self.note(&format!("VIOLATION {violation}"));
        }
        let trace = std::mem::take(&mut *lock(&self.trace));
        let fingerprint = trace.fingerprint() ^ self.network.fingerprint();
        Report { seed: self.seed, violation, fingerprint, trace: trace.lines, counts: self.counts }
    }

    fn note(&self, event: &str) {
        lock(&self.trace).add(self.network.now(), event);
    }

    fn run(&mut self) -> Result<(), Violation> {
        self.form()?;
        self.disturb()?;
        let content = self.heal()?;
        check_history(&self.history, &content)
    }

    /// Starts all nodes, and waits until they are voters of one cluster.
    fn form(&mut self) -> Result<(), Violation> {
        let until = self.network.now() + FORMED_WITHIN_MS;
        let members = self.hosts.len();
        while !self.hosts.iter().all(|host| host.node().is_some_and(|node| voters(&node) == members)) {
            self.tick()?;
            if self.network.now() > until {
                return Err("the cluster was not formed in time".to_owned());
            }
        }
        let created = Arc::new(AtomicU64::new(0));
        let mut next_attempt = self.network.now();
        while created.load(Ordering::Relaxed) == 0 {
            if self.network.now() >= next_attempt {
                // A power cut may have ended the last attempt.
                next_attempt += CREATION_RETRY_MS;
                let done = created.clone();
                self.spawn(0, move |node| async move {
                    if clients::create_tables(&node).await.is_ok() || clients::content(&node).await.is_some() {
                        done.store(1, Ordering::Relaxed);
                    }
                });
            }
            self.tick()?;
            if self.network.now() > until {
                return Err("the tables were not created in time".to_owned());
            }
        }
        Ok(())
    }

    /// Runs clients and causes faults.
    fn disturb(&mut self) -> Result<(), Violation> {
        self.disturbed = true;
        let until = self.network.now() + DISTURBED_MS;
        let mut next_fault = self.network.now() + 500;
        while self.network.now() < until {
            self.run_clients();
            if self.network.now() >= next_fault {
                let leader = self.hosts.iter().position(|host| host.node().is_some_and(|node| node.is_leader()));
                let fault = self.mix.choose(&mut self.random, self.hosts.len(), leader);
                self.cause(fault);
                next_fault = self.network.now() + self.mix.pause_ms(&mut self.random);
            }
            self.tick()?;
        }
        self.disturbed = false;
        if self.random.percent(50) {
            self.cause(Fault::CrashAll { how: Crash::PowerAll, down_ms: 1 });
        }
        Ok(())
    }

    /// Ends all faults, and waits until the cluster works. Returns the content of all databases.
    fn heal(&mut self) -> Result<Content, Violation> {
        self.note("heal");
        self.network.heal();
        self.later.clear();
        let now = self.network.now();
        for host in &mut self.hosts {
            host.machine.set_sync_time(SYNC_MS_MAX);
            host.machine.set_skew(0);
            host.restart_at = host.restart_at.min(now);
        }
        let until = now + HEALED_WITHIN_MS;
        let mut fresh = None;
        while self.network.now() < until {
            if (self.network.now() - now).is_multiple_of(REJOIN_EVERY_MS) {
                // A request to remove a node may have been carried out after the node has joined again.
                (0..self.hosts.len()).for_each(|number| self.act(Later::Rejoin(number)));
            }
            self.tick()?;
            let idle = self.clients.iter().all(|client| client.operation.is_none());
            if !idle || !self.is_settled() {
                continue;
            }
            // One write and one read at each node must succeed.
            let Some(first) = fresh else {
                fresh = Some(self.history.len());
                for machine in 0..self.hosts.len() {
                    self.begin(machine % WRITERS, machine, Request::Write);
                    self.begin(machine % WRITERS, machine, Request::Read(ReadLevel::Linearizable));
                }
                continue;
            };
            let ended = |operation: &Operation| operation.ended.as_ref().map(|(_, ended)| ended.clone());
            let mut all = self.history[first..].iter().map(ended);
            if all.clone().any(|ended| ended.is_none()) {
                continue;
            }
            if all.any(|ended| !matches!(ended, Some(Ended::Written | Ended::Read(_)))) {
                // A connection that a fault has broken is detected by the first request on it.
                fresh = None;
                continue;
            }
            if let Some(content) = self.equal_content()? {
                return Ok(content);
            }
        }
        Err(format!("the cluster does not recover: {}", self.describe()))
    }

    /// Returns whether all nodes are voters, know the same leader, and have applied the same entries.
    fn is_settled(&self) -> bool {
        let state = |node: &Node| {
            let (leadership, applied) = (&node.inner.leadership, node.inner.database.progress().index);
            (node.is_ready_leader(), (voters(node), applied, leadership.leader()))
        };
        let nodes: Vec<_> = self.hosts.iter().filter_map(|host| host.inside(state)).collect();
        nodes.len() == self.hosts.len()
            && nodes.iter().all(|(_, state)| state.0 == nodes.len() && *state == nodes[0].1)
            && nodes.iter().filter(|(leads, _)| *leads).count() == 1
    }

    fn describe(&self) -> String {
        let describe = |host: &Host| {
            let describe_node = |node: &Node| {
                let status = node.status();
                let (role, term, applied) = (status.role, status.term, status.applied_index);
                let leader = node.leader().map(|leader| leader.name);
                format!(
                    "{} {role:?} term {term} applied {applied} last {} leader {leader:?} voters {}",
                    host.name,
                    status.log.last_index,
                    voters(node)
                )
            };
            let down = || format!("{} is down: {:?}", host.name, host.failure());
            host.inside(describe_node).unwrap_or_else(down)
        };
        self.hosts.iter().map(describe).collect::<Vec<_>>().join("; ")
    }

    /// Returns the content of all databases if they have applied the same entries.
    fn equal_content(&mut self) -> Result<Option<Content>, Violation> {
        let mut first: Option<(u64, Content)> = None;
        for number in 0..self.hosts.len() {
            let Some(node) = self.hosts[number].node() else { return Ok(None) };
            let index = node.inner.database.progress().index;
            let content = self.hosts[number].inside(|node| block_on(clients::content(node))).flatten();
            let Some(content) = content else { return Ok(None) };
            match &first {
                None => first = Some((index, content)),
                Some((applied, _)) if *applied != index => return Ok(None),
                Some((_, expected)) if *expected != content => {
                    return Err(format!("the final contents of n1 and n{} differ", number + 1));
                }
                Some(_) => {}
            }
        }
        Ok(first.map(|(_, content)| content))
    }

    /// Advances the simulation by a millisecond.
    fn tick(&mut self) -> Result<(), Violation> {
        self.network.advance();
        let now = self.network.now();
        while let Some(at) = self.later.iter().position(|(at, _)| *at <= now) {
            let (_, later) = self.later.remove(at);
            self.act(later);
        }
        for number in 0..self.hosts.len() {
            if self.hosts[number].process.is_none() && self.hosts[number].restart_at <= now {
                self.start_process(number)?;
            }
            let host = &self.hosts[number];
            if let Some(process) = &host.process {
                let end = process.epoch + Duration::from_millis(now);
                on(&host.machine, || process.runtime.block_on(async { tokio::time::sleep_until(end).await }));
                if self.end_without_power(number) {
                    continue;
                }
                let host = &self.hosts[number];
                if let Some(why) = host.failure() {
                    return Err(format!("n{} does not start: {why}", number + 1));
                }
            }
            if let Some(message) = super::panics::take() {
                return Err(format!("n{}: a task has panicked: {message}", number + 1));
            }
            self.observe(number).map_err(|violation| format!("n{}: {violation}", number + 1))?;
        }
        self.collect_results();
        Ok(())
    }

    fn observe(&mut self, number: usize) -> Result<(), Violation> {
        let Some(node) = self.hosts[number].node() else { return Ok(()) };
        let checked = self.hosts[number].inside(|node| self.invariants.check(number, node));
        if let Some(change) = checked.transpose()?.flatten() {
            self.counts.leaders += u64::from(change.leads);
            let role = if change.leads { "leads" } else { "does not lead" };
            self.note(&format!("n{} {role} in term {}", number + 1, change.term));
            self.crash_soon(number, 8, 3);
        }
        let installed = node.inner.machine.installed();
        if self.invariants.notice_installed(number, installed) {
            self.counts.installed += 1;
            self.note(&format!("n{} has installed a snapshot", number + 1));
            let within_ms = [4, 800, 3000][self.random.index(3)];
            self.crash_soon(number, 60, within_ms);
        }
        let is_due = self.network.now() % CONTENT_EVERY_MS == number as u64;
        if is_due && self.invariants.wants_content(number, &node) {
            let content = self.hosts[number].inside(|node| block_on(clients::content(node))).flatten();
            if let Some(content) = content {
                self.invariants.check_content(number, &node, &content)?;
            }
        }
        Ok(())
    }

    /// Makes a machine lose its power within a time after an event, in `percent` of 100 calls.
    fn crash_soon(&mut self, number: usize, percent: u64, within_ms: u64) {
        if self.disturbed && self.random.percent(percent) {
            let how = if self.random.percent(50) { Crash::PowerAll } else { Crash::PowerPart };
            let at = self.network.now() + self.random.between(1, within_ms);
            self.later.push((at, Later::Crash(number, how, self.random.between(1, 300))));
        }
    }

    fn start_process(&mut self, number: usize) -> Result<(), Violation> {
        self.note(&format!("n{} starts", number + 1));
        self.network.power_on(number);
        let targets = self.addresses_without(number);
        let host = &mut self.hosts[number];
        let runtime = Builder::new_current_thread().enable_time().start_paused(true).build();
        let runtime = runtime.map_err(|error| format!("no runtime: {error}"))?;
        let slot = Arc::<Mutex<Slot>>::default();
        let observer = TraceObserver {
            trace: self.trace.clone(),
            network: self.network.clone(),
            name: host.name.clone(),
            directory: host.directory.to_string_lossy().into_owned(),
        };
        let directory = observer.directory.clone();
        let options = host.options(number, Arc::new(observer));
        let in_slot = slot.clone();
        // The first tick of the runtime is this one.
        let now = self.network.now();
        let begun = runtime.block_on(async {
            // The engine compares deadlines with the real clock, which never reaches them this way.
            tokio::time::advance(AHEAD).await;
            Instant::now()
        });
        let epoch = begun - Duration::from_millis(now.saturating_sub(1));
        on(&host.machine, || {
            runtime.spawn(async move {
                match Node::start(options).await {
                    Ok(node) => {
                        lock(&in_slot).node = Some(node.clone());
                        join(&node, &targets).await;
                    }
                    Err(error) => lock(&in_slot).failed = Some(error.to_string().replace(&directory, "")),
                }
            })
        });
        host.process = Some(Process { runtime, epoch, slot });
        Ok(())
    }

    /// Ends the process of a machine, without an effect on its disks.
    fn end_process(&mut self, number: usize) {
        let host = &mut self.hosts[number];
        let Some(process) = host.process.take() else { return };
        on(&host.machine, || {
            drop(lock(&process.slot).node.take());
            drop(process);
        });
        self.invariants.process_ended(number);
    }

    /// Ends the process of a machine as `how` says.
    fn crash(&mut self, number: usize, how: Crash, down_ms: u64) {
        if self.hosts[number].process.is_none() {
            return;
        }
        self.network.crash(number, how != Crash::Kill);
        let (cut_at, seed) = (self.random.below(6), self.random.bits());
        let host = &self.hosts[number];
        let (log_disk, database_disk) = (host.machine.log_disk(), host.machine.database_disk());
        let (log_loss, database_loss) = match how {
            Crash::Kill => (simulated::Loss::Killed, sqlhttp_core::Loss::Nothing),
            Crash::PowerAll => (simulated::Loss::All, sqlhttp_core::Loss::Unsynced),
            Crash::PowerPart => (simulated::Loss::Part(seed), sqlhttp_core::Loss::Torn),
        };
        // The operations in the queue of the log may have been written in part.
        log_disk.set_fault(DiskFault::CutAt(cut_at));
        host.inside(|node| node.inner.log.write_now());
        database_disk.power_cut(database_loss);
        self.end_process(number);
        log_disk.crash(log_loss);
        self.hosts[number].restart_at = self.network.now() + down_ms;
    }

    fn cause(&mut self, fault: Fault) {
        self.counts.faults += 1;
        self.note(&format!("{fault:?}"));
        let now = self.network.now();
        match fault {
            Fault::Crash { machine, how, down_ms } => {
                self.crash(machine, how, down_ms);
                if down_ms > PURGED_AFTER_MS && self.random.percent(80) {
                    self.later.push((now + down_ms / 2, Later::PurgeFor(machine)));
                }
            }
            Fault::CrashAll { how, down_ms } => {
                (0..self.hosts.len()).for_each(|number| self.crash(number, how, down_ms))
            }
            Fault::Cut { links, for_ms } => {
                links.iter().for_each(|(from, to)| self.network.set_cut(*from, *to, true));
                self.later.push((now + for_ms, Later::Repair(links)));
            }
            Fault::SlowLinks { machine, delay_ms, for_ms } => {
                self.network.set_delays(machine, Some(delay_ms));
                self.later.push((now + for_ms, Later::FastLinks(machine)));
            }
            Fault::SlowDisk { machine, sync_ms, for_ms } => {
                self.hosts[machine].machine.set_sync_time(sync_ms);
                self.later.push((now + for_ms, Later::FastDisk(machine)));
            }
            Fault::Clock { machine, skew_ms } => self.hosts[machine].machine.set_skew(skew_ms),
            Fault::Snapshot { machine, trailing } => self.spawn(machine, move |node| async move {
                let _ = node.snapshot(Some(trailing)).await;
            }),
            Fault::Transfer { machine } => self.spawn(machine, move |node| async move {
                let _ = node.transfer_leadership(None, None).await;
            }),
            Fault::Remove { machine, by, for_ms } => {
                let name = self.hosts[machine].name.clone();
                self.spawn(by, move |node| async move {
                    let _ = node.remove_member(&name, None).await;
                });
                self.later.push((now + for_ms, Later::Rejoin(machine)));
            }
        }
    }

    fn act(&mut self, later: Later) {
        match later {
            Later::Repair(links) => links.into_iter().for_each(|(from, to)| self.network.set_cut(from, to, false)),
            Later::FastLinks(machine) => self.network.set_delays(machine, None),
            Later::Crash(machine, how, down_ms) => {
                self.note(&format!("n{} {how:?} for {down_ms} ms", machine + 1));
                self.crash(machine, how, down_ms);
            }
            Later::PurgeFor(absent) => {
                for machine in (0..self.hosts.len()).filter(|machine| *machine != absent) {
                    self.spawn(machine, |node| async move {
                        let _ = node.snapshot(Some(0)).await;
                    });
                }
            }
            Later::FastDisk(machine) => self.hosts[machine].machine.set_sync_time(SYNC_MS_MAX),
            Later::Rejoin(machine) => {
                if self.hosts[machine].node().is_none() {
                    let at = self.network.now() + REJOIN_RETRY_MS;
                    return self.later.push((at, Later::Rejoin(machine)));
                }
                let targets = self.addresses_without(machine);
                self.spawn(machine, move |node| async move { join(&node, &targets).await });
            }
        }
    }

    /// The addresses of all nodes but one.
    fn addresses_without(&self, number: usize) -> Vec<String> {
        let others = self.hosts.iter().filter(|host| host.machine.number != number);
        others.map(|host| format!("{}:4002", host.name)).collect()
    }

    /// Starts a task on the node of a machine, if the node runs.
    fn spawn<F>(&self, number: usize, task: impl FnOnce(Node) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let host = &self.hosts[number];
        if let (Some(process), Some(node)) = (&host.process, host.node()) {
            on(&host.machine, || process.runtime.spawn(task(node)));
        }
    }

    fn run_clients(&mut self) {
        let now = self.network.now();
        for client in 0..self.clients.len() {
            let Client { home, only_reads, ref operation, next_at, .. } = self.clients[client];
            if operation.is_some() || next_at > now {
                continue;
            }
            let (machine, request, pause_ms_max, patience_ms) = if only_reads {
                let patience_ms = self.random.between(20, 800);
                (home, read_request(&mut self.random), 60, patience_ms)
            } else {
                self.move_client(client);
                let away = self.random.percent(30);
                let machine = if away { self.random.index(self.hosts.len()) } else { self.clients[client].home };
                let patience_ms =
                    if self.random.percent(30) { self.random.between(50, 1500) } else { GIVEN_UP_AFTER_MS };
                (machine, any_request(&mut self.random), 120, patience_ms)
            };
            self.begin(client, machine, request);
            self.clients[client].gives_up_at = now + patience_ms;
            self.clients[client].next_at = now + self.random.between(1, pause_ms_max);
        }
    }

    /// Sometimes gives a client another home.
    fn move_client(&mut self, client: usize) {
        if self.hosts[self.clients[client].home].process.is_none() || self.random.percent(5) {
            self.clients[client].home = self.random.index(self.hosts.len());
        }
    }

    /// Sends a request to the node of a machine.
    fn begin(&mut self, client: usize, machine: usize, request: Request) {
        if self.hosts[machine].node().is_none() {
            return;
        }
        let serial = i64::try_from(self.history.len() + 1).unwrap_or(i64::MAX);
        let key = i64::try_from(self.random.below(self.keys)).unwrap_or(0);
        let begun = self.network.now();
        self.clients[client].operation = Some(self.history.len());
        self.clients[client].gives_up_at = begun + GIVEN_UP_AFTER_MS;
        self.history.push(Operation { serial, client, machine, key, request, begun, ended: None });
        let (results, host) = (self.results.clone(), self.hosts[machine].machine.clone());
        self.spawn(machine, move |node| async move {
            let ended = clients::perform(&node, request, serial, key).await;
            if host.power().failed().is_none() {
                lock(&results).push((serial, ended));
            }
        });
    }

    fn collect_results(&mut self) {
        let now = self.network.now();
        let results = std::mem::take(&mut *lock(&self.results));
        for (serial, ended) in results {
            let Some(operation) = usize::try_from(serial - 1).ok().and_then(|at| self.history.get_mut(at)) else {
                continue;
            };
            match &ended {
                Ended::Written => self.counts.written += 1,
                Ended::Read(_) => self.counts.read += 1,
                Ended::Unknown(_) => self.counts.unknown += 1,
                Ended::Refused(_) => {}
            }
            let Operation { client, machine, key, request, .. } = *operation;
            operation.ended = Some((now, ended.clone()));
            self.note(&format!("{serial} client {client} n{} key {key} {request:?}: {ended:?}", machine + 1));
        }
        for client in &mut self.clients {
            let Some(operation) = client.operation.map(|at| &mut self.history[at]) else { continue };
            let is_gone = now >= client.gives_up_at || self.hosts[operation.machine].process.is_none();
            if is_gone || operation.ended.is_some() {
                client.operation = None;
            }
        }
    }
}

/// Chooses the request of a client that writes and reads.
fn any_request(random: &mut Random) -> Request {
    match random.below(20) {
        0..10 => Request::Write,
        10 => Request::FailingWrite,
        11..14 => Request::Read(ReadLevel::Linearizable),
        14 => Request::Read(ReadLevel::Strong),
        15..19 => Request::Read(ReadLevel::Weak),
        _ => Request::Read(ReadLevel::None),
    }
}

/// Chooses the request of a client that only reads.
fn read_request(random: &mut Random) -> Request {
    Request::Read(match random.below(20) {
        0..11 => ReadLevel::Weak,
        11..19 => ReadLevel::Linearizable,
        _ => ReadLevel::None,
    })
}

/// How far the clocks of the runtimes are ahead of the real one.
const AHEAD: Duration = Duration::from_secs(3600);
/// The time between two attempts to join.
const JOIN_PAUSE: Duration = Duration::from_millis(200);
/// A node that is down for longer than this often needs a snapshot.
const PURGED_AFTER_MS: u64 = 300;
const REJOIN_RETRY_MS: u64 = 100;
const CREATION_RETRY_MS: u64 = 2000;
const REJOIN_EVERY_MS: u64 = 5000;

/// Joins the cluster, as a program does at its start: it may have been removed, or its address may have changed.
async fn join(node: &Node, targets: &[String]) {
    while node.join(targets, None).await.is_err() {
        tokio::time::sleep(JOIN_PAUSE).await;
    }
}

/// Returns the number of voters that a node knows.
fn voters(node: &Node) -> usize {
    node.inner.raft.voter_ids().count()
}

impl Host {
    fn node(&self) -> Option<Node> {
        self.process.as_ref().and_then(|process| lock(&process.slot).node.clone())
    }

    /// Calls a function with the node of the process, with the clocks of the machine. Returns `None` if no node runs.
    fn inside<T>(&self, call: impl FnOnce(&Node) -> T) -> Option<T> {
        let (process, node) = (self.process.as_ref()?, self.node()?);
        Some(on(&self.machine, || {
            let _clock = process.runtime.enter();
            call(&node)
        }))
    }

    /// Why the node of the process could not be started.
    fn failure(&self) -> Option<String> {
        self.process.as_ref().and_then(|process| lock(&process.slot).failed.clone())
    }

    fn options(&self, number: usize, observer: Arc<dyn Observer>) -> NodeOptions {
        let mut options = NodeOptions::new(&self.directory, &self.name, format!("{}:4002", self.name));
        options.formation = if number == 0 { Formation::Create } else { Formation::Await };
        options.database.vfs = Some(self.machine.database_disk().name().to_owned());
        options.snapshots = SnapshotPolicy::default().interval(Duration::ZERO);
        options.optimize_interval = Duration::ZERO;
        options.observer = observer;
        options
    }
}

#[cfg(test)]
mod scenarios;
