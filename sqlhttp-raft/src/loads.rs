//! Loads of database files: the content of a file replaces that of the database on every node.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sqlhttp_core::{Deadline, Ending, Error, Failure};
use tokio::fs::File;
use tokio::io::AsyncReadExt as _;

use crate::command::Operation;
use crate::forward::{Authorization, Caller, WireError};
use crate::identity::random_u128;
use crate::network::{CallError, Request, Target};
use crate::node::{Node, io_error};
use crate::snapshots::{CHUNK_BYTES, ChunkCall};
use crate::writes::Route;

/// The beginning of the names of files that other nodes have sent to be loaded.
pub(crate) const UPLOAD_PREFIX: &str = "load-";
/// The time within which the leader must respond to a part of a file.
const CHUNK_TIMEOUT: Duration = Duration::from_secs(30);
/// The time within which the leader must check a file and replicate it.
const LOAD_TIMEOUT: Duration = Duration::from_secs(3600);

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
    file.write_all_at(&chunk.bytes, chunk.offset)
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
    /// log. Checks the file first, and removes it once it has been read. A node that is not leader sends the file to
    /// the leader. Returns the index.
    ///
    /// # Errors
    /// * [`Error::Sqlite`]: the file is not a valid database; or this node is the only voter, and its disk has no space
    ///   for the content.
    /// * [`Error::Io`]: the database file cannot be read.
    /// * The errors of [`sqlhttp_core::Backend::execute`].
    pub async fn load(&self, file: PathBuf) -> Result<u64, Error> {
        self.load_for(&Caller::default(), file).await
    }

    pub(crate) async fn load_for(&self, caller: &Caller, file: PathBuf) -> Result<u64, Error> {
        let wait = self.leader_wait(Deadline::NEVER);
        loop {
            match self.route() {
                Route::Here => return self.load_here(file).await,
                Route::Peer(leader) => match self.send_to_load(caller, leader, &file).await {
                    Err(Error::NoLeader) => {}
                    loaded => {
                        // Best effort: a file that cannot be removed now is removed at the next start.
                        let _ = tokio::fs::remove_file(&file).await;
                        return loaded;
                    }
                },
                Route::Nowhere => {}
            }
            if let Some(why) = self.stopped() {
                return Err(why);
            }
            wait.pause().await?;
        }
    }

    async fn load_here(&self, file: PathBuf) -> Result<u64, Error> {
        self.inner.database.check_image(file.clone()).await?;
        let read = tokio::task::spawn_blocking(move || {
            let bytes = std::fs::read(&file);
            // Best effort: a file that cannot be removed now is removed at the next start.
            let _ = std::fs::remove_file(&file);
            bytes.map_err(|source| io_error("read", &file, source))
        });
        let bytes = read.await.map_err(|_| Error::Closed)??;
        let outcome = self.propose(Operation::Replace(bytes.into()), Deadline::NEVER).await?;
        if let Ending::NotCommitted(Failure::Sql(source)) = outcome.ending {
            return Err(Error::Sqlite { action: "load", source });
        }
        self.inner.counters.loads.fetch_add(1, Ordering::Relaxed);
        Ok(outcome.log_index)
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
        match peers.bulk(target, &call, LOAD_TIMEOUT).await {
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
