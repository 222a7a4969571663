//! Starts a node: opens and checks the Raft log and the database, then starts Raft.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use openraft::{Config, SnapshotPolicy};
use sqlhttp_core::{Database, Error, JournalMode, Writes};
use tokio::sync::watch;

use crate::leadership::{own_info, watch_leadership};
use crate::log::{CheckedLog, LogError, LogOptions, LogStore};
use crate::machine::{REPORT_AFTER, StateMachine};
use crate::maintain::Maintenance;
use crate::membership;
use crate::network::Network;
use crate::node::{Counters, Node, NodeInner};
use crate::observer::Event;
use crate::options::NodeOptions;
use crate::propose::{ProposeSettings, Proposer};
use crate::raft::Raft;
use crate::runtime::Runtime;
use crate::skip::{self, SkipFile};
use crate::timer::CoarseTimer;
use crate::types::id_at;
use crate::waiters::Waiters;

/// The Raft id of the first node of a cluster. A Raft id is never reused; the name of a node may be.
const FIRST_NODE_ID: u64 = 1;

/// Why a node could not be started.
#[derive(Debug, thiserror::Error)]
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
    /// The file `raft/peers.json` exists. It requests a recovery of the cluster, which is not supported yet.
    #[error("{0} asks for a recovery, which is not supported yet; remove it to start without")]
    Recovery(PathBuf),
    /// `raft/skip.json` names an entry to skip, but there are other voters, which would apply that entry.
    #[error("{0} asks to pass over an entry, which is refused where there are other voters; remove it")]
    SkipFile(PathBuf),
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
    /// Starts a node with the contents of its directory. With an empty directory, the node creates a cluster of one
    /// node. The node becomes leader shortly after this function returns; see [`Node::status`].
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn start(options: NodeOptions) -> Result<Node, StartError> {
        let own = options.clone();
        let opened = tokio::task::spawn_blocking(move || open(&own)).await;
        let (log, database) = opened.map_err(|error| StartError::Raft(error.to_string()))??;
        let skip = read_skip(&options, &database)?;
        let counters = Counters { started_on_existing: database.progress().index > 0, ..Counters::default() };
        let runtime = Runtime::start().map_err(|source| io_error("start the thread of", &options.directory, source))?;
        let timer = runtime.run(async { CoarseTimer::start(REPORT_AFTER) }).await;
        let timer = timer.map_err(|error| StartError::Raft(error.to_string()))?;
        let waiters = Waiters::default();
        let machine = StateMachine::new(database.clone(), &options, skip, timer, waiters.clone(), log.durable_index());
        let started = start_raft(options.clone(), database.clone(), log.clone(), machine.clone(), waiters);
        let started = runtime.run(started).await;
        let (raft, proposer, ready_term) = started.map_err(|error| StartError::Raft(error.to_string()))??;
        let inner = NodeInner { options, database, log, machine, raft, proposer, ready_term, counters, runtime };
        let node = Node { inner: Arc::new(inner) };
        Maintenance::start(&node);
        Ok(node)
    }
}

/// Reads `raft/skip.json`. Returns `None` if the file does not exist, and an error if it exists although there are
/// other voters.
fn read_skip(options: &NodeOptions, database: &Database) -> Result<Option<SkipFile>, StartError> {
    let file = options.directory.join("raft").join("skip.json");
    let skip = skip::read(&file).map_err(|source| io_error("read", &file, source))?;
    let progress = database.progress();
    let members = membership::decode(&progress.membership).map_err(|error| StartError::Raft(error.to_string()))?;
    match skip {
        Some(_) if members.membership().voter_ids().count() > 1 => Err(StartError::SkipFile(file)),
        Some(skip) if skip.index <= progress.index => {
            let (index, applied_index) = (skip.index, progress.index);
            options.observer.event(&Event::SkipFileObsolete { file: &file, index, applied_index });
            // After a power cut, the database may have to apply the entry again, and must skip it then.
            Ok(Some(skip))
        }
        skip => Ok(skip),
    }
}

/// Opens and checks the Raft log, then the database. Checks that they belong together.
fn open(options: &NodeOptions) -> Result<(LogStore, Database), StartError> {
    let directory = log_directory(options);
    let peers = options.directory.join("raft").join("peers.json");
    if peers.exists() {
        return Err(StartError::Recovery(peers));
    }
    std::fs::create_dir_all(&directory).map_err(|source| io_error("create", &directory, source))?;
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
    let database = Database::open(file.clone(), database_options(options))
        .map_err(|source| StartError::Database { file, source })?;
    // An entry is applied only after this node has synced it. The Raft log of a healthy node therefore contains every
    // applied entry that has not been purged.
    let progress = database.progress();
    let log = checked.open(id_at(progress.term, progress.index), None).map_err(refused)?;
    if let Some(identity) = log.identity() {
        let known = database.progress().log;
        if known != 0 && known != identity {
            return Err(StartError::Mixed(options.directory.join("db.sqlite"), directory));
        }
        database.set_log(identity);
    }
    Ok((log, database))
}

fn database_options(options: &NodeOptions) -> sqlhttp_core::Options {
    sqlhttp_core::Options {
        writes: Writes::Log,
        journal_mode: JournalMode::Wal,
        read_only: false,
        create: true,
        allow_attach: false,
        ..options.database.clone()
    }
}

fn log_directory(options: &NodeOptions) -> PathBuf {
    options.directory.join("raft").join("log")
}

/// Removes the temporary files that an interrupted load, boot or download has left behind.
fn remove_leftovers(directory: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let scratch =
            ["restore-", "boot-", "load-", "db.sqlite-download-"].iter().any(|prefix| name.starts_with(prefix));
        if scratch && entry.file_type()?.is_file() {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

fn io_error(action: &'static str, path: &Path, source: io::Error) -> StartError {
    StartError::Io { action, path: path.to_owned(), source }
}

/// Starts openraft, the proposer and the tracking of leadership, on the current runtime.
async fn start_raft(
    options: NodeOptions,
    database: Database,
    log: LogStore,
    machine: StateMachine,
    waiters: Waiters,
) -> Result<(Raft, Proposer, watch::Receiver<u64>), StartError> {
    let failed = |error: &dyn std::fmt::Display| StartError::Raft(error.to_string());
    let config = config(&options).map_err(|error| failed(&error))?;
    log.forget_committed();
    let raft = Raft::new(FIRST_NODE_ID, Arc::new(config), Network, log.clone(), machine)
        .await
        .map_err(|error| failed(&error))?;
    if raft.is_initialized().await.map_err(|error| failed(&error))? {
        // A sole voter wins its election at once, so no election timeout has to pass first.
        if raft.voter_ids().eq([FIRST_NODE_ID]) {
            raft.trigger().elect(false).await.map_err(|error| failed(&error))?;
        }
    } else {
        raft.initialize(BTreeMap::from([(FIRST_NODE_ID, own_info(&options))])).await.map_err(|error| failed(&error))?;
    }
    let proposer = Proposer::start(raft.clone(), database.clone(), log.clone(), waiters, ProposeSettings::of(&options));
    let (ready_sender, ready_term) = watch::channel(0);
    tokio::spawn(watch_leadership(raft.clone(), log, database, options, ready_sender));
    Ok((raft, proposer, ready_term))
}

fn config(options: &NodeOptions) -> Result<Config, openraft::ConfigError> {
    let election = u64::try_from(options.election_timeout.as_millis()).unwrap_or(u64::MAX).clamp(10, 600_000);
    let config = Config {
        cluster_name: crate::command::DATABASE.to_owned(),
        heartbeat_interval: (election / 5).max(1),
        election_timeout_min: election,
        election_timeout_max: election.saturating_mul(2),
        max_payload_entries: 1024,
        enable_pre_vote: Some(true),
        // The commits of the database are not synced, so after a restart the database may be older than what this node
        // has acknowledged. A leader restored without an election could return a linearizable read from that older
        // state.
        enable_leader_restore: Some(false),
        // The module `maintain` takes snapshots and purges the Raft log, not openraft.
        snapshot_policy: SnapshotPolicy::Never,
        max_in_snapshot_log_to_keep: u64::MAX,
        ..Config::default()
    };
    config.validate()
}
