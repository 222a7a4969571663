//! Starts a node: opens and checks the Raft log and the database, then starts Raft.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use openraft::{Config, SnapshotPolicy};
use sqlhttp_core::{Database, Error, JournalMode, Writes};

use crate::bootstrap::Notified;
use crate::files;
use crate::identity::{DirectoryState, Identity};
use crate::leadership::{Leadership, Timing, own_info};
use crate::log::{CheckedLog, LogError, LogOptions, LogStore};
use crate::machine::{REPORT_AFTER, StateMachine};
use crate::maintain::Maintenance;
use crate::members::Members;
use crate::membership;
use crate::network::{AddressBook, Dialer, Listener, Network, PeerServer, Peers};
use crate::node::{Counters, Node, NodeInner};
use crate::observer::Event;
use crate::options::{Formation, NodeOptions};
use crate::peer_service::PeerService;
use crate::propose::{ProposeSettings, Proposer};
use crate::raft::Raft;
use crate::read_index::{ReadIndexes, RoundContext};
use crate::reads::Authorized;
use crate::recovery;
use crate::runtime::{Runtime, blocking, engine};
use crate::skip::{Scope, Skips};
use crate::snapshots::{EXPORT_PREFIX, Exports, InstallRecord, LOADED_PREFIX, Receiver};
use crate::stall::StallWatch;
use crate::timer::CoarseTimer;
use crate::types::id_at;
use crate::verify::{DifferenceMark, OutcomeWatch, VerifySessions};
use crate::waiters::Waiters;

/// Why a node could not be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// Another process uses the directory of the node.
    #[error("{0} is in use by another process")]
    InUse(PathBuf),
    /// A file operation failed, or a thread could not be started.
    #[error("{action} {path}: {source}")]
    Io {
        /// The operation that failed.
        action: &'static str,
        /// The path of the file or directory on which the operation failed.
        path: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
    /// The Raft log is damaged or cannot be read. The message contains the file and, if the log is damaged, the offset.
    #[error("{0}")]
    Log(String),
    /// The database cannot be opened.
    #[error("{file}: {source}")]
    Database {
        /// The path of the database file.
        file: PathBuf,
        /// The error that the database returned.
        source: Error,
    },
    /// The recovery of the cluster that the file `raft/peers.json` requests is not possible.
    #[error("the recovery that {file} asks for is not possible: {source}")]
    Recovery {
        /// The path of `raft/peers.json`.
        file: PathBuf,
        /// Why the recovery is not possible.
        source: io::Error,
    },
    /// The Raft log and the database come from different nodes.
    #[error(
        "{0} and the log in {1} do not belong together: each was written by another cluster. Put the files of one node \
         back together, or restore this node from a backup"
    )]
    Mixed(PathBuf, PathBuf),
    /// openraft, or the thread on which it runs, returned an error.
    #[error("raft: {0}")]
    Raft(String),
}

impl Node {
    /// Starts a node with the contents of its directory. With an empty directory, [`NodeOptions::formation`] determines
    /// what the node does. A node that is the only voter of its cluster becomes leader shortly after this function
    /// returns; see [`Node::status`].
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn start(options: NodeOptions) -> Result<Node, StartError> {
        if recovery::path(&options.directory).exists() {
            recover(&options).await?;
        }
        let opened = open_files(&options).await?;
        let (log, database) = (opened.log.clone(), opened.database.clone());
        let started = Node::start_opened(options, opened).await;
        if started.is_err() {
            abandon(log, database).await;
        }
        started
    }

    /// Starts a node whose files are open.
    async fn start_opened(options: NodeOptions, opened: Opened) -> Result<Node, StartError> {
        let Opened { log, database, identity } = opened;
        let skips = open_skips(&options, &database, &log).await?;
        let start_thread = |name: &str| {
            Runtime::start(name).map_err(|source| io_error("start the thread of", &options.directory, source))
        };
        let (runtime, slow_runtime) = (start_thread("sqlhttp-raft")?, start_thread("sqlhttp-peers")?);
        let timer = runtime.run(async { CoarseTimer::start(REPORT_AFTER) }).await;
        let timer = timer.map_err(|error| StartError::Raft(error.to_string()))?;
        let waiters = Waiters::default();
        let difference = Arc::new(read_mark(&options)?);
        let exports = Arc::new(Exports::new(database.clone(), &options.directory, difference.clone()));
        let machine =
            StateMachine::new(database.clone(), &options, skips, timer, waiters.clone(), log.clone(), exports.clone());
        let addresses = Arc::new(AddressBook::default());
        let dialer = Arc::new(Dialer {
            identity: identity.clone(),
            addresses: addresses.clone(),
            security: options.security.clone(),
            connect_timeout: options.connect_timeout,
            reconnects: AtomicU64::new(0),
        });
        let (fast, slow) = (runtime.handle().clone(), slow_runtime.handle().clone());
        let peers = Arc::new(Peers::new(dialer, exports.clone(), fast, slow));
        let parts = Parts {
            options: options.clone(),
            database,
            log,
            identity,
            machine,
            peers,
            exports,
            difference,
            addresses,
            waiters,
        };
        let started = runtime.run(start_raft(parts)).await;
        let started = started.map_err(|error| StartError::Raft(error.to_string()))??;
        let inner = started.into_inner(options, runtime, slow_runtime);
        let node = Node { inner };
        if let Some(reason) = node.differs() {
            node.inner.options.observer.event(&Event::ContentDiffers { reason: &reason });
        }
        Maintenance::start(&node);
        StallWatch::start(&node);
        OutcomeWatch::start(&node);
        Ok(node)
    }
}

/// Reads whether the content of this node differs from that of the majority.
fn read_mark(options: &NodeOptions) -> Result<DifferenceMark, StartError> {
    DifferenceMark::open(&options.directory).map_err(|source| io_error("read the mark in", &options.directory, source))
}

/// Reads which entries this node skips.
async fn open_skips(options: &NodeOptions, database: &Database, log: &LogStore) -> Result<Arc<Skips>, StartError> {
    let (directory, observer, log) = (options.directory.clone(), options.observer.clone(), log.clone());
    let applied_index = database.progress().index;
    let opened = blocking(move || Skips::open(&directory, applied_index, log, observer)).await;
    let opened = opened.map_err(|error| StartError::Raft(error.to_string()))?;
    let skips = opened.map_err(|source| io_error("read", &options.directory, source))?;
    Ok(Arc::new(skips))
}

/// Recovers the cluster as `raft/peers.json` requests: see [`recovery`].
async fn recover(options: &NodeOptions) -> Result<(), StartError> {
    let opened = open_files(options).await?;
    let (log, database) = (opened.log.clone(), opened.database.clone());
    if let Err(error) = recover_opened(options, opened).await {
        abandon(log, database).await;
        return Err(error);
    }
    let closed = engine(database.close()).await;
    closed.map_err(|source| StartError::Database { file: options.directory.join("db.sqlite"), source })?;
    let closed = blocking(move || log.close()).await;
    closed.map_err(|error| StartError::Raft(error.to_string()))?;
    options.observer.event(&Event::ClusterRecovered { file: &recovery::path(&options.directory) });
    Ok(())
}

async fn recover_opened(options: &NodeOptions, opened: Opened) -> Result<(), StartError> {
    let Opened { log, database, identity } = opened;
    let timer = CoarseTimer::start(REPORT_AFTER);
    let exports = Arc::new(Exports::new(database.clone(), &options.directory, Arc::new(read_mark(options)?)));
    let skips = open_skips(options, &database, &log).await?;
    let refused = |source| StartError::Recovery { file: recovery::path(&options.directory), source };
    let is_sole = recovery::is_sole_member(&options.directory).map_err(refused)?;
    skips.set_scope(if is_sole { Scope::Alone } else { Scope::Recovery });
    let waiters = Waiters::default();
    let machine = StateMachine::new(database.clone(), options, skips, timer, waiters, log.clone(), exports);
    recovery::recover(&options.directory, &log, &database, &machine, &identity).await.map_err(refused)
}

/// Closes the files of a node whose start has failed, so that it can be started again in the same process.
async fn abandon(log: LogStore, database: Database) {
    // The error of the start is more important than those of closing the files.
    let _ = engine(database.close()).await;
    let _ = blocking(move || log.close()).await;
}

async fn open_files(options: &NodeOptions) -> Result<Opened, StartError> {
    let options = options.clone();
    let opened = blocking(move || open(&options)).await;
    opened.map_err(|error| StartError::Raft(error.to_string()))?
}

/// The open files of a node.
struct Opened {
    log: LogStore,
    database: Database,
    identity: Arc<Identity>,
}

/// Opens and checks the Raft log, then the database. Checks that they belong together.
fn open(options: &NodeOptions) -> Result<Opened, StartError> {
    let directory = log_directory(options);
    files::create_directories(&directory).map_err(|source| io_error("create", &directory, source))?;
    let mut log_options = LogOptions::new(&directory);
    log_options.observer = options.observer.clone();
    let refused = |error: LogError| match error {
        LogError::InUse => StartError::InUse(options.directory.clone()),
        other => StartError::Log(other.to_string()),
    };
    // The Raft log is read and checked before anything is written to the directory, so that a damaged log stays
    // unchanged for a repair.
    let checked = CheckedLog::check(log_options).map_err(refused)?;
    // The lock on the log's directory is held from here, so no other process uses these files.
    remove_leftovers(&options.directory).map_err(|source| io_error("clean up", &options.directory, source))?;
    let file = options.directory.join("db.sqlite");
    let record = finish_install(options, &file)?;
    let database = Database::open(file.clone(), database_options(options))
        .map_err(|source| StartError::Database { file, source })?;
    // An entry is applied only after this node has synced it. The Raft log of a healthy node therefore contains every
    // applied entry that has not been purged.
    let progress = database.progress();
    let installed = record.as_ref().and_then(InstallRecord::last_entry);
    let log = checked.open(id_at(progress.term, progress.index), installed).map_err(refused)?;
    if let Some(identity) = log.identity() {
        let known = database.progress().log;
        // A snapshot that has just become the database may contain the identity of another node's log.
        if record.is_none() && known != 0 && known != identity {
            return Err(StartError::Mixed(options.directory.join("db.sqlite"), directory));
        }
        database.set_log(identity);
    }
    InstallRecord::remove(&options.directory).map_err(|source| io_error("clean up", &options.directory, source))?;
    let is_empty = log.status().last_index == 0 && database.progress().index == 0;
    // Older versions of this program have clusters of one node, whose membership contains no random number.
    let members = membership::decode(&database.progress().membership);
    let members = members.map_err(|error| StartError::Raft(error.to_string()))?;
    let is_older = members.nodes().count() <= 1 && members.nodes().all(|(_, member)| member.instance == 0);
    let identity_failed = |source| io_error("open the identity in", &options.directory, source);
    let has_identity = Identity::exists(&options.directory).map_err(identity_failed)?;
    let state = match options.formation {
        _ if !is_empty && is_older && !has_identity => DirectoryState::Older,
        _ if !is_empty => DirectoryState::Existing,
        Formation::Create => DirectoryState::Creates,
        Formation::Await => DirectoryState::Awaits,
    };
    let identity = Identity::open(&options.directory, state, log.identity().unwrap_or_default());
    let identity = identity.map_err(identity_failed)?;
    Ok(Opened { log, database, identity: Arc::new(identity) })
}

/// Completes the installation of a snapshot that was interrupted when this node ended. Returns the record of the
/// installation, if there is one.
fn finish_install(options: &NodeOptions, database: &Path) -> Result<Option<InstallRecord>, StartError> {
    let directory = &options.directory;
    let failed = |source| io_error("install the snapshot in", directory, source);
    let record = InstallRecord::read(directory).map_err(failed)?;
    if let Some(record) = &record {
        let snapshot = record.snapshot_file(directory);
        #[cfg(feature = "sim")]
        if let Some(machine) = crate::sim::machine() {
            machine.finish_install(database, &snapshot).map_err(failed)?;
            return Ok(Some(record.clone()));
        }
        Database::finish_install(database, &snapshot).map_err(failed)?;
    }
    Ok(record)
}

fn database_options(options: &NodeOptions) -> sqlhttp_core::Options {
    options
        .database
        .clone()
        .writes(Writes::Log)
        .journal_mode(JournalMode::Wal)
        .read_only(false)
        .create(true)
        .allow_attach(false)
}

fn log_directory(options: &NodeOptions) -> PathBuf {
    options.directory.join("raft").join("log")
}

/// Removes the temporary files that an interrupted load, boot or download has left behind.
fn remove_leftovers(directory: &Path) -> io::Result<()> {
    // A file in the record has begun to become the database.
    let recorded = InstallRecord::read(directory)?.map(|record| record.snapshot_file(directory));
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let prefixes = ["restore-", "boot-", "load-", EXPORT_PREFIX, LOADED_PREFIX];
        let scratch = prefixes.iter().any(|prefix| name.starts_with(prefix)) && recorded != Some(entry.path());
        if scratch && entry.file_type()?.is_file() {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

fn io_error(action: &'static str, path: &Path, source: io::Error) -> StartError {
    StartError::Io { action, path: path.to_owned(), source }
}

/// The parts of a node that exist before Raft is started.
struct Parts {
    options: NodeOptions,
    database: Database,
    log: LogStore,
    identity: Arc<Identity>,
    machine: StateMachine,
    peers: Arc<Peers>,
    exports: Arc<Exports>,
    difference: Arc<DifferenceMark>,
    addresses: Arc<AddressBook>,
    waiters: Waiters,
}

/// A node whose Raft is running.
struct Started {
    parts: Parts,
    raft: Raft,
    proposer: Proposer,
    leadership: Arc<Leadership>,
    members: Arc<Members>,
    leased_reads: ReadIndexes,
    confirmed_reads: ReadIndexes,
    listener: Option<Listener>,
}

/// Starts openraft, the proposer and the tracking of leadership, on the current runtime.
async fn start_raft(parts: Parts) -> Result<Started, StartError> {
    let failed = |error: &dyn std::fmt::Display| StartError::Raft(error.to_string());
    let Parts { options, database, log, identity, machine, peers, addresses, waiters, .. } = &parts;
    let config = config(options).map_err(|error| failed(&error))?;
    log.forget_committed();
    let id = identity.node();
    let raft = Raft::new(id, Arc::new(config), Network(peers.clone()), log.clone(), machine.clone())
        .await
        .map_err(|error| failed(&error))?;
    machine.skips().set_scope(Scope::cluster(peers.clone(), &raft));
    let own = own_info(options, identity.instance());
    if raft.is_initialized().await.map_err(|error| failed(&error))? {
        // A sole voter wins its election at once, so no election timeout has to pass first.
        if raft.voter_ids().eq([id]) {
            raft.trigger().elect(false).await.map_err(|error| failed(&error))?;
        }
    } else if options.formation == Formation::Create {
        raft.initialize(BTreeMap::from([(id, own.clone())])).await.map_err(|error| failed(&error))?;
    }
    let leadership = Leadership::start(raft.clone(), log.clone(), database.clone(), addresses.clone(), options);
    let leadership = Arc::new(leadership);
    let settings = ProposeSettings::of(options);
    let proposer = Proposer::start(leadership.clone(), database.clone(), log.clone(), waiters.clone(), settings);
    let members = Members::start(leadership.clone(), options, own);
    let rounds = |confirmed| {
        ReadIndexes::start(RoundContext { leadership: leadership.clone(), peers: peers.clone(), confirmed })
    };
    let (leased_reads, confirmed_reads) = (rounds(false), rounds(true));
    let listener =
        listener(options).map_err(|source| io_error("accept connections for", &options.directory, source))?;
    Ok(Started { raft, proposer, leadership, members, leased_reads, confirmed_reads, listener, parts })
}

/// Returns the socket on which the node accepts the connections of other nodes; `None` if it accepts none.
fn listener(options: &NodeOptions) -> io::Result<Option<Listener>> {
    #[cfg(feature = "sim")]
    if let Some(machine) = crate::sim::machine() {
        return Ok(Some(Listener::Simulated(machine.listen())));
    }
    options.listener.as_deref().map(Listener::new).transpose()
}

impl Started {
    /// Completes the node, and begins to accept the connections of other nodes.
    fn into_inner(self, options: NodeOptions, runtime: Runtime, slow_runtime: Runtime) -> Arc<NodeInner> {
        let Started { parts, raft, proposer, leadership, members, leased_reads, confirmed_reads, listener } = self;
        let Parts { database, log, identity, machine, peers, exports, difference, .. } = parts;
        let receiver = Receiver::new(&options.directory);
        let counters = Counters { started_on_existing: database.progress().index > 0, ..Counters::default() };
        Arc::new_cyclic(|node| {
            if let Some(listener) = listener {
                let service = PeerService {
                    raft: raft.clone(),
                    leadership: leadership.clone(),
                    database: database.clone(),
                    node: node.clone(),
                };
                let server = PeerServer {
                    identity: identity.clone(),
                    security: options.security.clone(),
                    service: Arc::new(service),
                    raft: raft.clone(),
                    slow_runtime: slow_runtime.handle().clone(),
                    observer: options.observer.clone(),
                    state: Default::default(),
                };
                runtime.spawn(Arc::new(server).run(listener));
            }
            NodeInner {
                options,
                database,
                log,
                machine,
                raft,
                proposer,
                identity,
                leadership,
                members,
                peers,
                exports,
                receiver,
                difference,
                verify_sessions: VerifySessions::default(),
                verifying: tokio::sync::Mutex::default(),
                loads: tokio::sync::Mutex::default(),
                leased_reads,
                confirmed_reads,
                authorized: Authorized::default(),
                notified: Notified::default(),
                counters,
                runtime,
                slow_runtime,
            }
        })
    }
}

fn config(options: &NodeOptions) -> Result<Config, openraft::ConfigError> {
    let timing = Timing::new(options.heartbeat_timeout);
    let ms = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX).max(1);
    let heartbeat_interval = ms(timing.heartbeat_interval());
    let config = Config {
        cluster_name: crate::command::DATABASE.to_owned(),
        heartbeat_interval,
        heartbeat_min_interval: Some(heartbeat_interval / 2),
        election_timeout_min: ms(timing.election_min()),
        election_timeout_max: ms(timing.lease()),
        max_payload_entries: 1024,
        enable_pre_vote: Some(true),
        // A leader whose messages arrive but that receives no responses would keep its followers from electing
        // another leader. It stops sending heartbeats when no quorum has responded for this time.
        quorum_loss_probe_interval: Some(ms(timing.lease() * 2) + heartbeat_interval * 2),
        // openraft waits for the state machine when this channel is full, and then responds to no vote and no
        // heartbeat. A long statement on a follower must not have this effect.
        state_machine_channel_size: Some(65_536),
        backoff: "20ms 50ms 100ms ..500ms".to_owned(),
        // The commits of the database are not synced, so after a restart the database may be older than what this node
        // has acknowledged. A leader restored without an election could return a linearizable read from that older
        // state.
        enable_leader_restore: Some(mutated!(LeaderRestore)),
        // The module `maintain` takes snapshots and purges the Raft log, not openraft.
        snapshot_policy: SnapshotPolicy::Never,
        max_in_snapshot_log_to_keep: u64::MAX,
        ..Config::default()
    };
    config.validate()
}
