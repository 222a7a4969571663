//! Loads of database files: the content of a file replaces that of the database on every node.
//!
//! A file may be much larger than the memory of a node, so the Raft log contains it in parts:
//!
//! 1. A node that is not leader sends the file to the leader, in parts ([`UploadCall`], [`LoadCall`]).
//! 2. The leader checks the file, and proposes [`Operation::LoadBegin`]. The index of that entry identifies the load.
//! 3. It proposes the parts ([`Operation::LoadChunk`]), one at a time, so that other writes are appended between them.
//!    Each node that applies a part appends it to a file beside its database ([`crate::machine`]).
//! 4. It proposes [`Operation::LoadCommit`]. On each node that applies it, that file becomes the database.
//!
//! Until step 4, nothing but the position of the database changes. A load that fails ends with
//! [`Operation::LoadAbort`], and a load whose leader is lost is ended by the next leader
//! ([`Node::abort_stale_load`]). At most one load is open at a time. While it is open, its entries stay in the Raft log
//! and no copy of the database is made for a follower: a node that is restarted reads the parts from the log again, and
//! a copy would not contain them.

mod uploads;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::Duration;

use sqlhttp_core::{Deadline, Ending, Error, Failure, Outcome, SqlError};
use tokio::fs::File;
use tokio::io::AsyncReadExt as _;

pub(crate) use self::uploads::{LoadCall, UploadCall, append_upload, remove_old_uploads};
use tokio::time::Instant;

use crate::command::Operation;
use crate::forward::Caller;
use crate::machine::NOT_OPEN;
use crate::node::{Node, io_error};
use crate::runtime::engine;
use crate::snapshots::CHUNK_BYTES;
use crate::writes::Route;

/// The number of times that a file is sent or replicated again because the leader has changed before the load was
/// committed.
const ATTEMPTS_MAX: u32 = 3;
/// The minimum duration of an attempt that counts for [`ATTEMPTS_MAX`]. After such an attempt, the time to wait for
/// the next leader starts from zero.
const LONG_ATTEMPT: Duration = Duration::from_secs(1);
/// The time for which an operation of a load is proposed again while too many writes wait.
const STEP_PATIENCE: Duration = Duration::from_secs(60);
/// The time between two attempts to propose an operation of a load.
const STEP_PAUSE: Duration = Duration::from_millis(100);
/// The bytes that a load needs on the disk for each byte of the file: in the Raft log and beside the database.
const SPACE_FACTOR: u64 = 2;

impl Node {
    /// Replaces all content of the database with that of a database file, on every node at the same index of the Raft
    /// log. Checks the file first, and removes it at the end. A node that is not leader sends the file to the leader.
    /// Returns the index. Once the file is being replicated, that goes on even if this future is dropped.
    ///
    /// # Errors
    /// * [`Error::Sqlite`]: the file is not a valid database; or the disk of the leader has become full during the
    ///   load; or this node is the only voter, and its disk has no space for the content.
    /// * [`Error::Unavailable`]: another database file is being loaded; or the disk of the leader has no space for the
    ///   file.
    /// * [`Error::Io`]: the database file cannot be read, or the leader cannot write its parts.
    /// * The errors of [`sqlhttp_core::Backend::write_batch`].
    pub async fn load(&self, file: PathBuf) -> Result<u64, Error> {
        self.load_for(&Caller::default(), file).await
    }

    /// Returns `false` if the disk of this node is known to have no space for this number of bytes beside what the Raft
    /// log and the database need to go on.
    pub fn has_space_for(&self, bytes: u64) -> bool {
        !self.inner.log.lacks_space_for(bytes)
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
                // An attempt without a quorum ends after this time, in which a write fails too.
                let is_over = begun.elapsed() >= self.inner.options.apply_timeout;
                if is_over || attempts >= ATTEMPTS_MAX {
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
        engine(self.inner.database.check_image(file.to_owned())).await?;
        let bytes = reader.metadata().await.map_err(read_failed)?.len();
        if self.inner.log.lacks_space_for(bytes.saturating_mul(SPACE_FACTOR)) {
            return Err(Error::Unavailable("the disk of the leader has no space for so large a file".into()));
        }
        let begun = self.propose_step(Operation::LoadBegin { bytes }).await;
        let load = begun.map_err(without_effect)?.log_index;
        let replicated = match self.replicate_chunks(load, &mut reader).await {
            Ok(checksum) => self.propose_step(Operation::LoadCommit { load, checksum }).await,
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
            let outcome = self.propose_step(chunk).await.map_err(ChunkError::Proposal)?;
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

    /// Proposes an operation of a load. If it was not appended to the Raft log because too many other writes wait,
    /// tries again.
    async fn propose_step(&self, operation: Operation) -> Result<Outcome, Error> {
        let begun = Instant::now();
        loop {
            match self.propose(operation.clone(), Deadline::NEVER).await {
                Err(Error::Overloaded(_) | Error::Timeout) if begun.elapsed() < STEP_PATIENCE => {
                    tokio::time::sleep(STEP_PAUSE).await;
                }
                proposed => return proposed,
            }
        }
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
