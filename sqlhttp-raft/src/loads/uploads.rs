//! Database files that a node sends to the leader, which loads them.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sqlhttp_core::Error;
use tokio::fs::File;
use tokio::io::AsyncReadExt as _;

use crate::forward::{Authorization, Caller, WireError};
use crate::identity::random_u128;
use crate::network::{CallError, Request, Target};
use crate::node::{Node, io_error};
use crate::snapshots::{CHUNK_BYTES, ChunkCall, SYNC_BYTES};

/// The beginning of the names of files that other nodes have sent to be loaded.
const UPLOAD_PREFIX: &str = "load-";
/// The time within which the leader must respond to a part of a file.
const CHUNK_TIMEOUT: Duration = Duration::from_secs(30);
/// The time within which the leader must check a file and replicate it, for each started gibibyte.
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

/// The response is the index of the Raft log entry that replaces the content.
impl Request for LoadCall {
    const KIND: u8 = 28;
    type Response = Result<u64, WireError>;
}

/// Returns the path of the file that other nodes send under this id.
fn upload_path(directory: &Path, id: u128) -> PathBuf {
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

/// Removes the files that other nodes have sent for a load and that were last written more than [`UPLOAD_KEPT_FOR`]
/// ago. A load that is running has opened its file already. Blocks.
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
    /// Sends a file to the leader, which loads it. Returns [`Error::NoLeader`] if nothing took effect.
    pub(super) async fn send_to_load(&self, caller: &Caller, leader: u64, file: &Path) -> Result<u64, Error> {
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
