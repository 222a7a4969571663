//! `/db/backup`: the database, to take away. A copy is made beside the database's file, sent, and removed.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use async_compression::tokio::bufread::GzipEncoder;
use futures_util::StreamExt;
use hyper::StatusCode;
use sqlhttp_core::{Error, JournalMode, Location};
use sqlhttp_rqlite::{BackupFormat, Params};
use tokio::fs::{File, OpenOptions};
use tokio::io::{AsyncBufRead, AsyncSeekExt, AsyncWriteExt, SeekFrom};
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::io::{ReaderStream, StreamReader};

use super::{dump, error, panicked};
use crate::api::exchange::Exchange;
use crate::api::ws4sqlite::answer::log;
use crate::http::reply::{self, ByteStream, HttpResponse, Rejection, ReplyBody};

/// How much of a file is sent at a time, in bytes.
const PIECE_BYTES: usize = 64 << 10;

/// Where in a database file it says whether it has a write-ahead log, and what it says then
/// (<https://sqlite.org/fileformat.html#file_format_version_numbers>).
const VERSIONS_AT: u64 = 18;
const VERSIONS_WAL: [u8; 2] = [2, 2];

/// The shortest file that is a database with content, in bytes.
const HEADER_BYTES: u64 = 100;

/// Sends the database.
pub(crate) async fn answer(exchange: &Exchange<'_>, params: Params) -> Result<HttpResponse, Rejection> {
    if params.vacuum && params.backup_format != BackupFormat::Binary {
        return Err(Box::new(error(StatusCode::INTERNAL_SERVER_ERROR, "invalid backup format")));
    }
    if let Some(member) = &exchange.state.member
        && !params.noleader
        && member.node.status().leader().is_none()
    {
        exchange.state.vars.leader_not_found.add(1);
        return Err(Box::new(error(StatusCode::SERVICE_UNAVAILABLE, "leader not found")));
    }
    exchange.state.vars.backups.add(1);
    let copy = Copy::make(exchange, params.vacuum).await?;
    exchange.state.node.has_backed_up();
    exchange.database.last_backup.is_now();
    let wal = params.backup_format == BackupFormat::Binary
        && !params.vacuum
        && exchange.database.journal_mode == JournalMode::Wal
        && matches!(exchange.database.location, Location::File(_));
    let (media_type, body) = match params.backup_format {
        BackupFormat::Sql => {
            let text = dump::stream(copy, params.tables).await.map_err(|why| failed(&why))?;
            let body = if params.compress {
                gzipped(StreamReader::new(text))
            } else {
                ReplyBody::Stream { stream: text, len: None }
            };
            ("application/sql", body)
        }
        BackupFormat::Binary | BackupFormat::Delete => {
            let sent = send(copy, wal, params.compress).await;
            ("application/octet-stream", sent.map_err(|why| failed(&io_error(why)))?)
        }
    };
    Ok(reply::with_type(StatusCode::OK, media_type, body))
}

/// A copy of a database in a file of its own, which is removed when this is dropped.
pub(crate) struct Copy {
    pub(crate) path: PathBuf,
    _place: OwnedSemaphorePermit,
}

impl Copy {
    async fn make(exchange: &Exchange<'_>, vacuumed: bool) -> Result<Copy, Rejection> {
        let Some(admin) = &exchange.database.admin else {
            return Err(Box::new(error(StatusCode::NOT_IMPLEMENTED, "this database cannot be copied")));
        };
        let place = exchange.state.node.copies.clone().try_acquire_owned();
        let place = place.map_err(|_| Box::new(error(StatusCode::SERVICE_UNAVAILABLE, "too many backups at once")))?;
        let copy = Copy { path: fresh_path(&exchange.database.location), _place: place };
        let admin = admin.clone();
        // Not given up when the client goes away: a copy that is almost finished would get its name after we had removed
        // it. As it is, whatever there is in the end is removed.
        let making = tokio::spawn(async move { admin.copy_to(&copy.path, vacuumed).await.map(|()| copy) });
        making.await.map_err(|_| Box::new(panicked()))?.map_err(|why| failed(&why))
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        // Best effort: there may be no file.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// A name that no other copy has: beside the database, where there is room for it, as far as that can be said.
fn fresh_path(location: &Location) -> PathBuf {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let suffix = format!("-download-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
    match location {
        Location::File(path) => beside(path, &suffix),
        Location::Memory => std::env::temp_dir().join(format!("sqlhttp{suffix}")),
    }
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// The copy's bytes. `wal`: it shall say that it has a write-ahead log, as the database's own file does.
async fn send(copy: Copy, wal: bool, compressed: bool) -> io::Result<ReplyBody> {
    let mut file = OpenOptions::new().read(true).write(true).open(&copy.path).await?;
    let len = file.metadata().await?.len();
    if wal && len >= HEADER_BYTES {
        file.seek(SeekFrom::Start(VERSIONS_AT)).await?;
        file.write_all(&VERSIONS_WAL).await?;
        file.flush().await?;
        file.rewind().await?;
    }
    let pieces = pieces(file, copy);
    Ok(if compressed {
        gzipped(StreamReader::new(pieces))
    } else {
        ReplyBody::Stream { stream: pieces, len: Some(len) }
    })
}

/// The file stays as long as somebody reads it.
fn pieces(file: File, copy: Copy) -> ByteStream {
    Box::pin(ReaderStream::with_capacity(file, PIECE_BYTES).inspect(move |_| {
        let _ = &copy;
    }))
}

fn gzipped(reader: impl AsyncBufRead + Send + 'static) -> ReplyBody {
    ReplyBody::stream(ReaderStream::with_capacity(GzipEncoder::new(Box::pin(reader)), PIECE_BYTES))
}

fn failed(why: &Error) -> Rejection {
    log(why);
    Box::new(match why {
        Error::Overloaded(_)
        | Error::Busy(_)
        | Error::Closed
        | Error::NoLeader
        | Error::Timeout
        | Error::Unavailable(_) => error(StatusCode::SERVICE_UNAVAILABLE, &why.to_string()),
        // The path is the operator's business.
        Error::Io { action, source, .. } => error(StatusCode::INTERNAL_SERVER_ERROR, &format!("{action}: {source}")),
        Error::LeadershipLost
        | Error::Unknown
        | Error::ReadOnly
        | Error::Poisoned(_)
        | Error::Sqlite { .. }
        | Error::Unsupported(_) => error(StatusCode::INTERNAL_SERVER_ERROR, &why.to_string()),
    })
}

fn io_error(source: io::Error) -> Error {
    Error::Io { action: "read the copy", path: String::new(), source: source.into() }
}
