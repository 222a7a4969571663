//! Loads of database files: the content of a file replaces that of the database on every node.
//!
//! A file may be much larger than the memory of a node, so the Raft log contains it in parts:
//!
//! 1. A node that is not leader sends the file to the leader, in parts ([`UploadCall`], [`LoadCall`]).
//! 2. The leader checks the file, and proposes [`Operation::LoadBegin`]. The index of that entry identifies the load.
//! 3. It proposes the parts ([`Operation::LoadChunk`]), one at a time, so that other writes are appended between them.
//!    Each node that applies a part appends it to a file beside its database ([`crate::machine`]).
//! 4. It proposes [`Operation::LoadCommit`]. Each node that applies it replaces the content of its database with that
//!    file, in one transaction.
//!
//! Until step 4, nothing but the position of the database changes. A load that fails ends with
//! [`Operation::LoadAbort`], and a load whose leader is lost is ended by the next leader
//! ([`Node::abort_stale_load`]). At most one load is open at a time. While it is open, its entries stay in the Raft log
//! and no copy of the database is made for a follower: a node that is restarted reads the parts from the log again, and
//! a copy would not contain them.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use sqlhttp_core::{Deadline, Ending, Error, Failure, Outcome, SqlError};
use tokio::fs::File;
use tokio::io::AsyncReadExt as _;

use crate::command::Operation;
use crate::forward::{Authorization, Caller, WireError};
use crate::identity::random_u128;
use crate::machine::NOT_OPEN;
use crate::network::{CallError, Request, Target};
use crate::node::{Node, io_error};
use crate::snapshots::{CHUNK_BYTES, ChunkCall, SYNC_BYTES};
use crate::writes::Route;

/// The beginning of the names of files that other nodes have sent to be loaded.
pub(crate) const UPLOAD_PREFIX: &str = "load-";
/// The time within which the leader must respond to a part of a file.
const CHUNK_TIMEOUT: Duration = Duration::from_secs(30);
/// The time within which the leader must check a file and replicate it, for each started gibibyte.
const LOAD_TIMEOUT: Duration = Duration::from_secs(3600);
/// The number of times that a file is sent or replicated again because the leader has changed before the load was
/// committed.
const ATTEMPTS_MAX: u32 = 3;
/// The duration of an attempt from which the wait for the next leader begins anew.
const LONG_ATTEMPT: Duration = Duration::from_secs(1);
/// How often a part is proposed again while too many writes wait, and the time between two attempts.
const CHUNK_ATTEMPTS_MAX: u32 = 100;
const CHUNK_PAUSE: Duration = Duration::from_millis(100);
/// The bytes that a load needs on the disk for each byte of the file: in the Raft log and beside the database.
const SPACE_FACTOR: u64 = 2;

/// The time after the last part of a file after which the file is removed if it is not loaded.
const UPLOAD_KEPT_FOR: Duration = Duration::from_secs(600);

/// A part of a file that the leader is asked to load.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct UploadCall(pub(crate) ChunkCall);

impl Request for UploadCall {
    const KIND: u8 = 27;
    type Response = Result<(), String>;
}

/// Asks the leader to load a file that has been sent completely.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct LoadCall {
    pub(crate) authorization: Authorization,
    pub(crate) id: u128,
}

/// The response is the index of the Raft log entry that contains the file.
impl Request for LoadCall {
    const KIND: u8 = 28;
    type Response = Result<u64, WireError>;
}

/// Returns the path of the file that other nodes send under this id.
pub(crate) fn upload_path(directory: &Path, id: u128) -> PathBuf {
    directory.join(format!("{UPLOAD_PREFIX}{id:032x}"))
}

/// Writes a part of a file that another node sends. Blocks.
///
/// # Errors
/// A file operation failed; or the part does not follow the last one.
pub(crate) fn append_upload(directory: &Path, chunk: &ChunkCall) -> io::Result<()> {
    let path = upload_path(directory, chunk.id);
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(path)?;
    if file.metadata()?.len() != chunk.offset {
        return Err(io::Error::other("the part does not follow the last one"));
    }
    file.write_all_at(&chunk.bytes, chunk.offset)?;
    // The file need not be durable, but a sync of the Raft log would have to wait until the operating system has
    // written all pages of this file.
    let end = chunk.offset + chunk.bytes.len() as u64;
    if end / SYNC_BYTES > chunk.offset / SYNC_BYTES { file.sync_data() } else { Ok(()) }
}

/// Removes the files that other nodes have begun to send and have not completed. Blocks.
///
/// # Errors
/// A file operation failed.
pub(crate) fn remove_old_uploads(directory: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        // The name of an upload contains only its id. Other programs use the same beginning for their own files.
        let name = entry.file_name();
        let is_upload = name.to_string_lossy().strip_prefix(UPLOAD_PREFIX).is_some_and(|id| id.len() == 32);
        let age = entry.metadata()?.modified()?.elapsed().unwrap_or_default();
        if is_upload && age > UPLOAD_KEPT_FOR {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

impl Node {
    /// Replaces all content of the database with that of a database file, on every node at the same index of the Raft
    /// log. Checks the file first, and removes it at the end. A node that is not leader sends the file to the leader.
    /// Returns the index. Once the file is being replicated, that goes on even if this future is dropped.
    ///
    /// # Errors
    /// * [`Error::Sqlite`]: the file is not a valid database; or this node is the only voter, and its disk has no space
    ///   for the content.
    /// * [`Error::Unavailable`]: another database file is being loaded; or the disk of the leader has no space for the
    ///   file.
    /// * [`Error::Io`]: the database file cannot be read, or the leader cannot write its copy.
    /// * The errors of [`sqlhttp_core::Backend::execute`].
    pub async fn load(&self, file: PathBuf) -> Result<u64, Error> {
        self.load_for(&Caller::default(), file).await
    }

    pub(crate) async fn load_for(&self, caller: &Caller, file: PathBuf) -> Result<u64, Error> {
        let loaded = self.load_at_leader(caller, &file).await;
        // Best effort: a file that cannot be removed now is removed at the next start.
        let _ = tokio::fs::remove_file(&file).await;
        loaded
    }

    async fn load_at_leader(&self, caller: &Caller, file: &Path) -> Result<u64, Error> {
        let mut wait = self.leader_wait(Deadline::NEVER);
        let mut attempts = 0;
        loop {
            let begun = Instant::now();
            let loaded = match self.route() {
                Route::Here => self.load_here(file.to_owned()).await,
                Route::Peer(leader) => self.send_to_load(caller, leader, file).await,
                Route::Nowhere => Err(Error::NoLeader),
            };
            if !matches!(loaded, Err(Error::NoLeader)) {
                return loaded;
            }
            if let Some(why) = self.stopped() {
                return Err(why);
            }
            if begun.elapsed() >= LONG_ATTEMPT {
                attempts += 1;
                if attempts >= ATTEMPTS_MAX {
                    return loaded;
                }
                wait = self.leader_wait(Deadline::NEVER);
            }
            wait.pause().await?;
        }
    }

    /// Checks a file and replicates it. Returns [`Error::NoLeader`] if nothing took effect because this node is not
    /// leader any more.
    async fn load_here(&self, file: PathBuf) -> Result<u64, Error> {
        // A load that has begun must be ended, so it does not depend on the future of its caller. It runs on the thread
        // for forwarded requests, because encoding a part takes about a millisecond.
        let node = self.clone();
        let running = self.inner.slow_runtime.run(async move { node.run_load(&file).await });
        let index = running.await.map_err(|_| Error::Closed)??;
        self.inner.counters.loads.fetch_add(1, Ordering::Relaxed);
        Ok(index)
    }

    async fn run_load(&self, file: &Path) -> Result<u64, Error> {
        let turn = tokio::time::timeout(self.inner.options.apply_timeout, self.inner.loads.lock()).await;
        let _turn = turn.map_err(|_| Error::Unavailable("another database file is being loaded".into()))?;
        let read_failed = |source| io_error("read", file, source);
        // The name of the file may be removed before its content has been read.
        let mut reader = File::open(file).await.map_err(read_failed)?;
        self.inner.database.check_image(file.to_owned()).await?;
        let bytes = reader.metadata().await.map_err(read_failed)?.len();
        if self.inner.log.lacks_space_for(bytes.saturating_mul(SPACE_FACTOR)) {
            return Err(Error::Unavailable("the disk of the leader has no space for so large a file".into()));
        }
        let begun = self.propose(Operation::LoadBegin { bytes }, Deadline::NEVER).await;
        let load = begun.map_err(without_effect)?.log_index;
        let replicated = match self.replicate_chunks(load, &mut reader).await {
            Ok(checksum) => self.propose(Operation::LoadCommit { load, checksum }, Deadline::NEVER).await,
            Err(ChunkError::Proposal(error)) => Err(without_effect(error)),
            Err(ChunkError::File(source)) => Err(read_failed(source)),
            Err(ChunkError::Disk(source)) => Err(self.disk_error(&source)),
        };
        let ended = replicated.and_then(committed_index);
        if matches!(ended, Err(Error::LeadershipLost | Error::Unknown | Error::NoLeader)) {
            // The load may be committed, or the next leader ends it.
            return ended;
        }
        if ended.is_err() && self.inner.database.progress().load_index == load {
            self.abort_load(load).await;
        }
        ended
    }

    /// Proposes the parts of a file. Returns the CRC-32 of the file.
    async fn replicate_chunks(&self, load: u64, reader: &mut File) -> Result<u32, ChunkError> {
        let mut hasher = crc32fast::Hasher::new();
        let mut offset = 0;
        loop {
            let mut bytes = Vec::with_capacity(CHUNK_BYTES);
            let read = (&mut *reader).take(CHUNK_BYTES as u64).read_to_end(&mut bytes).await;
            if read.map_err(ChunkError::File)? == 0 {
                return Ok(hasher.finalize());
            }
            hasher.update(&bytes);
            let len = bytes.len() as u64;
            let chunk = Operation::LoadChunk { load, offset, bytes: bytes.into() };
            let outcome = self.propose_chunk(chunk).await.map_err(ChunkError::Proposal)?;
            if outcome.ending != Ending::Done {
                // Another node has been leader meanwhile, and has ended the load.
                return Err(ChunkError::Proposal(Error::NoLeader));
            }
            if let Some(error) = self.inner.machine.load_error(load) {
                return Err(ChunkError::Disk(error));
            }
            offset += len;
        }
    }

    /// Proposes a part. Waits while so many other writes are queued that no more are accepted.
    async fn propose_chunk(&self, chunk: Operation) -> Result<Outcome, Error> {
        for _ in 1..CHUNK_ATTEMPTS_MAX {
            match self.propose(chunk.clone(), Deadline::NEVER).await {
                Err(Error::Overloaded(_)) => tokio::time::sleep(CHUNK_PAUSE).await,
                proposed => return proposed,
            }
        }
        self.propose(chunk, Deadline::NEVER).await
    }

    /// Returns the error of a load whose file cannot be written beside the database of this node.
    fn disk_error(&self, source: &io::Error) -> Error {
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                let text = "database or disk is full".to_owned();
                let source = SqlError { code: SQLITE_FULL, generic: text.clone(), message: text, offset: None };
                Error::Sqlite { action: "load", source }
            }
            kind => io_error("write a database file in", &self.inner.options.directory, kind.into()),
        }
    }

    async fn abort_load(&self, load: u64) {
        // After an error, the periodic clean-up or the next leader ends the load.
        let _ = self.propose(Operation::LoadAbort { load }, Deadline::NEVER).await;
    }

    /// Ends a load that is open although this node, which is leader, does not replicate it: an earlier leader has begun
    /// it and could not end it. Does nothing on other nodes.
    pub(crate) async fn abort_stale_load(&self) {
        let Ok(_turn) = self.inner.loads.try_lock() else { return };
        self.abort_open_load().await;
    }

    /// Ends the load that is open, if there is one and this node is leader. The caller must hold the lock of loads.
    pub(crate) async fn abort_open_load(&self) {
        let load = self.inner.database.progress().load_index;
        if load != 0 && self.inner.leadership.is_ready() {
            self.abort_load(load).await;
        }
    }

    /// Sends a file to the leader, which loads it. Returns [`Error::NoLeader`] if nothing took effect.
    async fn send_to_load(&self, caller: &Caller, leader: u64, file: &Path) -> Result<u64, Error> {
        let failed = |source| io_error("read", file, source);
        let (id, target, peers) = (random_u128(), Target::Node(leader), &self.inner.peers);
        let mut reader = File::open(file).await.map_err(failed)?;
        let mut offset = 0;
        loop {
            let mut bytes = Vec::with_capacity(CHUNK_BYTES);
            (&mut reader).take(CHUNK_BYTES as u64).read_to_end(&mut bytes).await.map_err(failed)?;
            if bytes.is_empty() {
                break;
            }
            let len = bytes.len() as u64;
            let chunk = UploadCall(ChunkCall { id, offset, bytes });
            let sent = peers.bulk(target.clone(), &chunk, CHUNK_TIMEOUT).await.map_err(|_| Error::NoLeader)?;
            sent.map_err(|why| Error::Unavailable(why.into()))?;
            offset += len;
        }
        let call = LoadCall { authorization: Authorization::of(caller), id };
        let gibibytes = u32::try_from(offset >> 30).unwrap_or(u32::MAX).saturating_add(1);
        match peers.bulk(target, &call, LOAD_TIMEOUT.saturating_mul(gibibytes)).await {
            Ok(loaded) => loaded.map_err(Error::from),
            Err(CallError::NotSent(_)) => Err(Error::NoLeader),
            Err(CallError::Lost(_)) => Err(Error::LeadershipLost),
        }
    }

    /// Loads a file that another node has sent.
    pub(crate) async fn load_uploaded(&self, call: LoadCall) -> Result<u64, Error> {
        let file = upload_path(&self.inner.options.directory, call.id);
        let loaded = if !self.permits(&call.authorization, None).await {
            Err(Error::Unauthorized)
        } else if !self.inner.leadership.is_leader() {
            Err(Error::NoLeader)
        } else {
            self.load_here(file.clone()).await
        };
        // Best effort: a file that cannot be removed now is removed at the next start.
        let _ = tokio::fs::remove_file(&file).await;
        loaded
    }
}

/// Why the parts of a file could not be replicated. Nothing took effect.
enum ChunkError {
    /// A part could not be proposed or was not applied.
    Proposal(Error),
    /// The file could not be read.
    File(io::Error),
    /// The file cannot be written beside the database of this node.
    Disk(io::Error),
}

/// Converts the error of an operation before the commit of a load. Without the commit, it has no effect, even if it is
/// unknown whether it is applied.
fn without_effect(error: Error) -> Error {
    match error {
        Error::LeadershipLost | Error::Unknown => Error::NoLeader,
        error => error,
    }
}

/// SQLite's result code of a full disk.
const SQLITE_FULL: i32 = 13;

/// Returns the index of the entry that has committed a load.
fn committed_index(outcome: Outcome) -> Result<u64, Error> {
    match outcome.ending {
        Ending::Done => Ok(outcome.log_index),
        // Another node has been leader meanwhile, and has ended the load.
        Ending::NotCommitted(Failure::Sql(error)) if error.code == NOT_OPEN => Err(Error::NoLeader),
        Ending::NotCommitted(Failure::Sql(source)) => Err(Error::Sqlite { action: "load", source }),
        ending => Err(Error::Unsupported(format!("the load ended with {ending:?}"))),
    }
}
