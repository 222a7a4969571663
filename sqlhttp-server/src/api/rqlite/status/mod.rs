//! `/status`: collects the data that [`sqlhttp_rqlite::status`] encodes.
//!
//! A cluster node returns another `/status` document. The data that both documents contain is collected by this module.

pub(crate) mod process;

use std::path::Path;
use std::time::SystemTime;

use chrono::{DateTime, SecondsFormat, Utc};
use hyper::StatusCode;
use sqlhttp_core::{Atomicity, Batch, JournalMode, Location, ReadLevel, Step, StepOutcome, sqlite_version};
use sqlhttp_rqlite::status::{Http, PRAGMAS, Process, Queue, Sqlite, StandaloneStatus, Tls};
use sqlhttp_rqlite::{ContentType, Params};

use super::identity::hostname;
use super::statements;
use crate::api::exchange::{Exchange, with_deadline};
use crate::http::reply::{self, HttpResponse, ReplyBody};

/// Handles a request to `/status` on the standalone server. Returns the whole document, or only the part of it under
/// the parameter `key`.
pub(crate) async fn answer(exchange: &Exchange<'_>, params: &Params) -> HttpResponse {
    respond(collect(exchange, params).await.encode(params.pretty, &params.key))
}

/// Builds the response with an encoded `/status` document.
pub(crate) fn respond(document: Vec<u8>) -> HttpResponse {
    reply::with_type(StatusCode::OK, ContentType::Json.header(), ReplyBody::Whole(document.into()))
}

async fn collect(exchange: &Exchange<'_>, params: &Params) -> StandaloneStatus {
    let dir = match &exchange.database.location {
        Location::File(path) => path.parent().unwrap_or(Path::new("")).to_string_lossy().into_owned(),
        Location::Memory => String::new(),
    };
    StandaloneStatus {
        process: process(exchange),
        http: http(exchange),
        addr: exchange.context.identity.address().to_owned(),
        id: exchange.database.id.to_string(),
        dir,
        ready: !exchange.context.is_stopping(),
        sqlite: sqlite(exchange, params).await,
    }
}

fn http(exchange: &Exchange<'_>) -> Http {
    let identity = &exchange.context.identity;
    Http {
        auth: exchange.database.rules.auth.is_some(),
        bind_addr: identity.address().to_owned(),
        allow_origin: exchange.database.rules.cors_origin.as_ref().map(ToString::to_string),
        queue: Queue { batch_len: 1, sequence_number: identity.last_executed(), ..Queue::default() },
        tls: if identity.is_https { Tls::Enabled } else { Tls::Disabled },
        peers: None,
    }
}

/// Collects the data about the process and its host for `/status`.
pub(crate) fn process(exchange: &Exchange<'_>) -> Process {
    let identity = &exchange.context.identity;
    #[cfg(unix)]
    let parent_id = std::os::unix::process::parent_id();
    #[cfg(not(unix))]
    let parent_id = 0;
    Process {
        server: concat!("sqlhttp ", env!("CARGO_PKG_VERSION")).to_owned(),
        current_time: rfc3339(SystemTime::now()),
        start_time: rfc3339(identity.started_at),
        uptime: identity.started.elapsed(),
        executable: std::env::current_exe().unwrap_or_default().to_string_lossy().into_owned(),
        hostname: hostname(),
        page_bytes: process::page_bytes(),
        process_id: std::process::id(),
        parent_id,
        architecture: std::env::consts::ARCH,
        system: std::env::consts::OS,
        processors: std::thread::available_parallelism().map_or(1, usize::from),
        threads: process::threads(),
        in_kubernetes: std::env::var_os("KUBERNETES_SERVICE_HOST").is_some(),
    }
}

/// Formats a time in RFC 3339 with nanoseconds: `2026-11-21T00:47:12.510851582Z`.
pub(crate) fn rfc3339(time: SystemTime) -> String {
    DateTime::<Utc>::from(time).to_rfc3339_opts(SecondsFormat::Nanos, true)
}

/// Collects the data about the database for `/status`. The PRAGMAs for this run on a reader connection.
pub(crate) async fn sqlite(exchange: &Exchange<'_>, params: &Params) -> Sqlite {
    let database = &exchange.database;
    let pragmas = pragmas(exchange, params).await;
    let status = database.status().unwrap_or_default();
    let (path, modified) = match &database.location {
        Location::File(path) => (path.to_string_lossy().into_owned(), modified(path)),
        Location::Memory => (":memory:".to_owned(), exchange.context.identity.started_at),
    };
    Sqlite {
        pragmas,
        writer_synchronous: synchronous(database.journal_mode),
        path,
        last_modified: rfc3339(modified),
        file_bytes: status.file_bytes,
        wal_bytes: status.wal_bytes,
        version: sqlite_version().to_owned(),
    }
}

/// Returns the time of the last modification of a database: of its file or of its write-ahead log, whichever is later.
fn modified(file: &Path) -> SystemTime {
    let mut wal = file.as_os_str().to_owned();
    wal.push("-wal");
    let of = |file: &Path| std::fs::metadata(file).and_then(|metadata| metadata.modified()).ok();
    of(file).max(of(Path::new(&wal))).unwrap_or(SystemTime::UNIX_EPOCH)
}

/// Runs the PRAGMAs whose values `/status` shows. Returns an empty list if they fail or do not finish within the time
/// limit.
async fn pragmas(exchange: &Exchange<'_>, params: &Params) -> Vec<StepOutcome> {
    let steps = PRAGMAS.iter().map(|name| Step::query(format!("PRAGMA {name}"), ())).collect();
    let batch = Batch { steps, atomicity: Atomicity::Each, ..Batch::default() };
    let deadline = statements::deadline(exchange, Some(params.timeout));
    let outcome = async { exchange.database.backend.read_batch(batch, ReadLevel::None, deadline).await?.whole().await };
    with_deadline(deadline, outcome).await.map(|outcome| outcome.steps).unwrap_or_default()
}

/// Returns the value of `PRAGMA synchronous` on the writer's connection, which depends on the journal mode. A reader
/// connection cannot query it (<https://sqlite.org/pragma.html#pragma_synchronous>).
fn synchronous(journal_mode: JournalMode) -> u8 {
    match journal_mode {
        JournalMode::Delete | JournalMode::Keep => 3,
        JournalMode::Wal | JournalMode::Truncate | JournalMode::Persist => 2,
    }
}
