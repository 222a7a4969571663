//! `/db/backup`: downloads the database. The server creates a copy beside the database's file, sends the copy, and
//! removes it.

use std::io;
use std::time::Instant;

use async_compression::tokio::bufread::GzipEncoder;
use futures_util::StreamExt;
use hyper::StatusCode;
use sqlhttp_core::{Batch, Deadline, Error, JournalMode, Location, ReadLevel, Step};
use sqlhttp_rqlite::{BackupFormat, Params};
use tokio::fs::{File, OpenOptions};
use tokio::io::{AsyncBufRead, AsyncSeekExt, AsyncWriteExt, SeekFrom};
use tokio_util::io::{ReaderStream, StreamReader};

use super::copy::{DatabaseCopy, copy_error};
use super::reply::error;
use super::{dump, redirect};
use crate::api::exchange::{Exchange, with_deadline};
use crate::http::reply::{self, ByteStream, EarlyResponse, HttpResponse, ReplyBody};

/// The size of the chunks in which a file is sent, in bytes.
const PIECE_BYTES: usize = 64 << 10;

/// The offset in a database file of the two file format version numbers, and the values of these numbers for a database
/// with a write-ahead log (<https://sqlite.org/fileformat.html#file_format_version_numbers>).
const VERSIONS_AT: u64 = 18;
const VERSIONS_WAL: [u8; 2] = [2, 2];

/// The length of the header of a database file, in bytes. A shorter file is an empty database.
const HEADER_BYTES: u64 = 100;

/// Handles a request to `/db/backup`.
pub(crate) async fn answer(exchange: &Exchange<'_>, params: Params) -> Result<HttpResponse, EarlyResponse> {
    if params.vacuum && params.backup_format != BackupFormat::Binary {
        return Err(Box::new(error(StatusCode::INTERNAL_SERVER_ERROR, "invalid backup format")));
    }
    let Some(copies) = &exchange.database.copies else {
        return Err(Box::new(error(StatusCode::NOT_IMPLEMENTED, "this database cannot be copied")));
    };
    if !params.noleader {
        redirect::to_leader(exchange, &params, Some(media_type(params.backup_format))).await?;
        catch_up(exchange, &params).await?;
    }
    exchange.context.counters.backups.add(1);
    let copy = DatabaseCopy::make(exchange, copies, params.vacuum).await?;
    exchange.context.identity.record_backup();
    exchange.database.last_backup.record();
    let wal = params.backup_format == BackupFormat::Binary
        && !params.vacuum
        && exchange.database.journal_mode == JournalMode::Wal
        && matches!(exchange.database.location, Location::File(_));
    let media_type = media_type(params.backup_format);
    let body = match params.backup_format {
        BackupFormat::Sql => {
            let text = dump::stream(copy, params.tables).await.map_err(|why| copy_error(&why))?;
            if params.compress {
                gzipped(StreamReader::new(text))
            } else {
                ReplyBody::Stream { stream: text, len: None }
            }
        }
        BackupFormat::Binary | BackupFormat::Delete => {
            let sent = send(copy, wal, params.compress).await;
            sent.map_err(|why| copy_error(&io_error(why)))?
        }
    };
    Ok(reply::with_type(StatusCode::OK, media_type, body))
}

fn media_type(format: BackupFormat) -> &'static str {
    match format {
        BackupFormat::Sql => "application/sql",
        BackupFormat::Binary | BackupFormat::Delete => "application/octet-stream",
    }
}

/// Waits until this node's database contains every write that was acknowledged before the request, so that a copy of it
/// is as good as a copy of the leader's database.
async fn catch_up(exchange: &Exchange<'_>, params: &Params) -> Result<(), EarlyResponse> {
    let Some(replication) = &exchange.database.replication else { return Ok(()) };
    let caught_up = if !replication.is_open() {
        return Err(Box::new(error(StatusCode::INTERNAL_SERVER_ERROR, "store not open")));
    } else if replication.leader_address().is_none() {
        Err(Error::NoLeader)
    } else {
        let deadline = Deadline::after(Instant::now(), params.timeout);
        with_deadline(deadline, async {
            // As for each read, the leader checks the credentials of the client.
            let read = Batch::one(Step::query("SELECT 1", ()));
            exchange.backend().read_batch(read, ReadLevel::Weak, deadline).await?.whole().await?.into_result()?;
            replication.catch_up(deadline).await
        })
        .await
    };
    caught_up.map_err(|why| match why {
        Error::NoLeader => {
            exchange.context.counters.leader_not_found.add(1);
            Box::new(error(StatusCode::SERVICE_UNAVAILABLE, "leader not found"))
        }
        why => copy_error(&why),
    })
}

/// Builds a response body that sends a copy of the database. If `wal` is set, the header of the copy is changed to the
/// header of a database with a write-ahead log, like the header of the served database's own file.
async fn send(copy: DatabaseCopy, wal: bool, compressed: bool) -> io::Result<ReplyBody> {
    let mut file = OpenOptions::new().read(true).write(true).open(copy.file.path()).await?;
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

/// Returns the content of a copy's file in chunks. The stream owns the copy, so the file is removed when the stream is
/// dropped.
fn pieces(file: File, copy: DatabaseCopy) -> ByteStream {
    Box::pin(ReaderStream::with_capacity(file, PIECE_BYTES).inspect(move |_| {
        let _ = &copy;
    }))
}

fn gzipped(reader: impl AsyncBufRead + Send + 'static) -> ReplyBody {
    ReplyBody::stream(ReaderStream::with_capacity(GzipEncoder::new(Box::pin(reader)), PIECE_BYTES))
}

fn io_error(source: io::Error) -> Error {
    Error::Io { action: "read the copy", path: String::new(), source: source.into() }
}
