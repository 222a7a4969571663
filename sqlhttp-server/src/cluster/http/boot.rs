//! The endpoint `/boot`: replaces the whole content of a node with a database file. The file is received in pieces, so
//! its size is not limited.

use std::io;
use std::path::Path;

use hyper::body::Incoming;
use hyper::{StatusCode, header};
use sqlhttp_raft::BootError;
use sqlhttp_rqlite::is_database_file;
use tokio::fs::File;
use tokio::io::AsyncWriteExt;

use super::request::Request;
use crate::api::outcome::log_error;
use crate::api::rqlite::reply::{body_error, error};
use crate::http::body::{self, BodyError};
use crate::http::reply::{self, EarlyResponse, HttpResponse};
use crate::process::scratch::{Purpose, ScratchFile};

/// The number of bytes at the beginning of a body that are checked before anything is written to disk.
const HEAD_BYTES: usize = 32;

/// Handles `/boot`: receives a database file and replaces the content of the node with it.
pub(crate) async fn answer(request: &Request<'_>, body: &mut Option<Incoming>) -> Result<HttpResponse, EarlyResponse> {
    request.context.counters.boot.add(1);
    let mut pieces = body::BodyChunks::new(body.take());
    let head = pieces.at_least(HEAD_BYTES).await.map_err(|why| body_error(&why))?;
    if head.len() < HEAD_BYTES {
        // Without `Retry-After`, because repeating the same request would fail too.
        let mut response = unavailable("EOF");
        response.headers_mut().remove(header::RETRY_AFTER);
        return Err(response);
    }
    if !is_database_file(&head) {
        return Err(Box::new(reply::closing(error(StatusCode::BAD_REQUEST, "invalid SQLite data"))));
    }
    let node = request.cluster.node().ok_or_else(|| unavailable("store not open"))?;
    node.may_boot().map_err(|why| unavailable(&why.to_string()))?;
    let file = ScratchFile::in_directory(node.directory(), Purpose::Boot);
    receive(&mut pieces, &head, file.path()).await.map_err(|why| match why {
        ReceiveError::Body(why) => body_error(&why),
        ReceiveError::Disk(why) => unavailable(&why.to_string()),
    })?;
    match node.boot(file.path().to_owned()).await {
        Ok(()) => Ok(reply::empty(StatusCode::OK)),
        Err(BootError::Failed(why)) => {
            log_error(&why);
            Err(unavailable(&why.to_string()))
        }
        Err(why) => Err(unavailable(&why.to_string())),
    }
}

/// The reason for which a database file could not be received.
enum ReceiveError {
    Body(BodyError),
    Disk(io::Error),
}

/// Writes the database file in a request body to a new file. `head` is the beginning of the body, which has been read
/// already.
async fn receive(pieces: &mut body::BodyChunks, head: &[u8], file: &Path) -> Result<(), ReceiveError> {
    let mut file = File::create_new(file).await.map_err(ReceiveError::Disk)?;
    file.write_all(head).await.map_err(ReceiveError::Disk)?;
    while let Some(piece) = pieces.next().await.map_err(ReceiveError::Body)? {
        file.write_all(&piece).await.map_err(ReceiveError::Disk)?;
    }
    file.flush().await.map_err(ReceiveError::Disk)
}

fn unavailable(text: &str) -> EarlyResponse {
    Box::new(reply::closing(error(StatusCode::SERVICE_UNAVAILABLE, text)))
}
