//! Sends a snapshot to a follower.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::CHUNK_BYTES;
use super::export::{Export, Exports};
use crate::network::message::WireVote;
use crate::network::{CallError, Peers, Request, Target};
use crate::runtime::blocking;

/// The maximum speed of a transfer, in bytes per second. A faster one would slow down the writes of the leader.
const BYTES_PER_SECOND_MAX: u64 = 64 << 20;
/// The time within which the follower must respond to a chunk.
const CHUNK_TIMEOUT: Duration = Duration::from_secs(10);
/// The time within which the follower must check and install a snapshot, for each started gibibyte.
const INSTALL_TIMEOUT: Duration = Duration::from_secs(300);

/// Announces a snapshot to a follower.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct BeginCall {
    pub(crate) id: u128,
    pub(crate) bytes: u64,
}

/// The response is the number of bytes that the follower has already.
impl Request for BeginCall {
    const KIND: u8 = 24;
    type Response = Result<u64, String>;
}

/// A part of a snapshot.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ChunkCall {
    pub(crate) id: u128,
    pub(crate) offset: u64,
    #[serde(with = "crate::byte_string")]
    pub(crate) bytes: Vec<u8>,
}

/// The response is empty once the follower has written the chunk.
impl Request for ChunkCall {
    const KIND: u8 = 25;
    type Response = Result<(), String>;
}

/// Asks the follower to install a snapshot that it has received completely.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct InstallCall {
    pub(crate) id: u128,
    pub(crate) vote: WireVote,
}

/// The response is the vote of the follower.
impl Request for InstallCall {
    const KIND: u8 = 26;
    type Response = Result<WireVote, String>;
}

/// Why a snapshot could not be sent.
#[derive(Debug)]
pub(crate) enum SendError {
    /// The follower cannot be reached, or refuses the snapshot.
    Follower(String),
    /// The copy cannot be read.
    Copy(io::Error),
}

impl std::fmt::Display for SendError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            SendError::Follower(why) => f.write_str(why),
            SendError::Copy(error) => write!(f, "the copy cannot be read: {error}"),
        }
    }
}

impl From<CallError> for SendError {
    fn from(error: CallError) -> Self {
        SendError::Follower(error.to_string())
    }
}

/// Reads `len` bytes of a file.
async fn read_chunk(file: &Arc<File>, offset: u64, len: u64) -> io::Result<Vec<u8>> {
    let (file, mut bytes) = (file.clone(), vec![0; usize::try_from(len).map_err(io::Error::other)?]);
    let read = blocking(move || file.read_exact_at(&mut bytes, offset).map(|()| bytes));
    read.await.map_err(io::Error::other)?
}

/// Sends a copy of the database to a follower, then `install`, and waits until the follower has installed the copy.
/// Returns the response to `install`. A copy that cannot be read is not sent again.
pub(crate) async fn send<T, R>(
    peers: &Peers,
    exports: &Exports,
    target: Target,
    export: &Arc<Export>,
    install: &R,
) -> Result<T, SendError>
where
    R: Request<Response = Result<T, String>>,
{
    let sent = send_file(peers, target, export, install).await;
    if matches!(sent, Err(SendError::Copy(_))) {
        exports.forget(export);
    }
    sent
}

async fn send_file<T, R>(peers: &Peers, target: Target, export: &Arc<Export>, install: &R) -> Result<T, SendError>
where
    R: Request<Response = Result<T, String>>,
{
    let begin = BeginCall { id: export.id, bytes: export.bytes };
    let mut offset = peers.bulk(target.clone(), &begin, CHUNK_TIMEOUT).await?.map_err(SendError::Follower)?;
    let path = export.file.clone();
    let opened = blocking(move || File::open(path)).await.map_err(io::Error::other);
    let file = Arc::new(opened.and_then(|opened| opened).map_err(SendError::Copy)?);
    let (begun, first) = (Instant::now(), offset);
    while offset < export.bytes {
        let len = (export.bytes - offset).min(CHUNK_BYTES as u64);
        let bytes = read_chunk(&file, offset, len).await.map_err(SendError::Copy)?;
        let chunk = ChunkCall { id: export.id, offset, bytes };
        peers.bulk(target.clone(), &chunk, CHUNK_TIMEOUT).await?.map_err(SendError::Follower)?;
        offset += len;
        let due = Duration::from_millis((offset - first) * 1000 / BYTES_PER_SECOND_MAX);
        tokio::time::sleep(due.saturating_sub(begun.elapsed())).await;
    }
    let gibibytes = u32::try_from(export.bytes >> 30).unwrap_or(u32::MAX).saturating_add(1);
    peers.bulk(target, install, INSTALL_TIMEOUT.saturating_mul(gibibytes)).await?.map_err(SendError::Follower)
}
