//! The content of a database at one moment: a read transaction that stays open while the database is written.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use rusqlite::Connection;
use tokio::sync::oneshot;

use super::{Bucket, ContentDigest, RowDigest, scan};
use crate::engine::background::spawn_low_priority;
use crate::engine::connection_config::Role;
use crate::engine::connection_gate::ConnectionGate;
use crate::engine::error::{engine_error, sql_error};
use crate::engine::file_watch::wal_of;
use crate::engine::session::Session;
use crate::engine::shared::SharedState;
use crate::engine::sqlite::pages;
use crate::engine::watch::{Cancel, CancelOnDrop, StopReason, stop_error};
use crate::model::{Error, SqlError};

/// The number of virtual-machine steps between two checks whether a scan must end. A step can read a value of many
/// megabytes.
const STEPS_PER_POLL: i32 = 1000;
/// The interval at which a scan measures the write-ahead log.
const MEASURE_INTERVAL: Duration = Duration::from_secs(1);
/// The growth of the write-ahead log, in bytes, at which the content is given up. The log cannot be reused while the
/// read transaction is open.
const WAL_GROWTH_MAX: u64 = 1 << 30;

/// The content of a database at one moment, which stays readable while the database is written. The write-ahead log
/// grows as long as this value exists.
///
/// The content is given up when the database file is replaced, and when a method or
/// [`PinnedContent::give_up_if_outgrown`] finds that the write-ahead log has grown by 1 GiB. All methods then return
/// [`Error::Unavailable`].
#[derive(Debug, Clone)]
pub struct PinnedContent {
    slot: Arc<Slot>,
}

#[derive(Debug)]
struct Slot {
    /// The session with the read transaction; `None` after the content was given up.
    session: Mutex<Option<Session>>,
    limits: KeepLimits,
}

/// The conditions under which the content is kept.
#[derive(Debug, Clone)]
struct KeepLimits {
    gate: Arc<ConnectionGate>,
    wal: Option<PathBuf>,
    wal_bytes_max: u64,
}

impl KeepLimits {
    fn new(shared: &SharedState) -> KeepLimits {
        let wal = shared.config.file().map(|file| wal_of(file));
        let wal_bytes_max = bytes_of(wal.as_ref()).saturating_add(WAL_GROWTH_MAX);
        KeepLimits { gate: shared.config.gate().clone(), wal, wal_bytes_max }
    }

    /// Whether the file is being replaced, so that all connections must be closed.
    fn is_file_replaced(&self) -> bool {
        self.gate.is_shut()
    }

    /// Whether the write-ahead log has grown too much.
    fn is_wal_too_long(&self) -> bool {
        bytes_of(self.wal.as_ref()) > self.wal_bytes_max
    }
}

impl Slot {
    fn lock(&self) -> MutexGuard<'_, Option<Session>> {
        self.session.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The contents that are pinned, so that they can be given up.
#[derive(Debug, Default)]
pub(crate) struct Pins(Mutex<Vec<Weak<Slot>>>);

impl Pins {
    fn add(&self, slot: &Arc<Slot>) {
        let mut pins = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        pins.retain(|pin| pin.strong_count() > 0);
        pins.push(Arc::downgrade(slot));
    }

    /// Gives up all contents that are not being read. A scan that reads one gives it up when it ends.
    pub(crate) fn give_up(&self) {
        let pins = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        for slot in pins.iter().filter_map(Weak::upgrade) {
            if let Ok(mut session) = slot.session.try_lock() {
                session.take();
            } else {
                self.add(&slot);
            }
        }
    }
}

impl PinnedContent {
    /// Opens a read transaction on the current content.
    pub(crate) fn open(shared: &SharedState) -> Result<PinnedContent, Error> {
        let content = PinnedContent::prepare(shared)?;
        if content.begin()? { Ok(content) } else { Err(given_up()) }
    }

    /// Opens a connection for [`PinnedContent::begin`].
    pub(crate) fn prepare(shared: &SharedState) -> Result<PinnedContent, Error> {
        let session = Session::open(&shared.config, Role::Copier).map_err(pin_error)?;
        let slot = Arc::new(Slot { session: Mutex::new(Some(session)), limits: KeepLimits::new(shared) });
        shared.pins.add(&slot);
        Ok(PinnedContent { slot })
    }

    /// Begins the read transaction. Returns `false` if the connection was closed, because the database file is
    /// replaced.
    pub(crate) fn begin(&self) -> Result<bool, Error> {
        let mut kept = self.slot.lock();
        let Some(session) = kept.as_mut() else { return Ok(false) };
        session.begin().map_err(pin_error)?;
        // BEGIN alone does not open a snapshot; the first read does.
        let read = session.connection().query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()));
        read.map_err(|error| pin_error(sql_error(error)))?;
        Ok(true)
    }

    /// Gives up the content if the write-ahead log has grown by 1 GiB. A scan that runs gives it up by itself.
    pub fn give_up_if_outgrown(&self) {
        if self.slot.limits.is_wal_too_long()
            && let Ok(mut session) = self.slot.session.try_lock()
        {
            session.take();
        }
    }

    /// Computes the digest of the whole content, on a low-priority thread. Dropping the future ends the computation.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if the content was given up; [`Error::Sqlite`] if it cannot be read.
    pub async fn digest(&self) -> Result<ContentDigest, Error> {
        self.read(scan::digest).await
    }

    /// Like [`PinnedContent::digest`], on this thread.
    pub(crate) fn digest_blocking(&self, cancel: &Cancel) -> Result<ContentDigest, Error> {
        self.slot.read(cancel, scan::digest)
    }

    /// Distributes the rows of the table `table` over `count` buckets by the hash of their key, on a low-priority
    /// thread. Returns the sum of the hashes of the rows of each bucket, modulo 2^128; an empty list if there is no
    /// such table.
    ///
    /// # Errors
    /// As [`PinnedContent::digest`].
    pub async fn buckets(&self, table: String, count: u32) -> Result<Vec<u128>, Error> {
        self.read(move |connection| scan::buckets(connection, &table, count)).await
    }

    /// Returns the rows of a bucket of the table `table` in the order of their keys, at most `rows_max`.
    ///
    /// # Errors
    /// As [`PinnedContent::digest`].
    pub async fn rows(&self, table: String, bucket: Bucket, rows_max: usize) -> Result<Vec<RowDigest>, Error> {
        self.read(move |connection| scan::rows(connection, &table, bucket, rows_max)).await
    }

    /// Runs `work` on a low-priority thread.
    async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, Error> {
        let (reply, answer) = oneshot::channel();
        let cancel = Cancel::default();
        let mut guard = CancelOnDrop(Some(cancel.clone()));
        let slot = self.slot.clone();
        spawn_low_priority("sqlhttp-digest", move || {
            // The send fails if the caller has dropped the future. That is no error.
            let _ = reply.send(slot.read(&cancel, work));
        })?;
        let result = answer.await.map_err(|_| Error::Closed)?;
        guard.disarm();
        result
    }
}

impl Slot {
    fn read<T>(
        self: &Arc<Self>,
        cancel: &Cancel,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, Error> {
        let mut kept = self.lock();
        let session = kept.as_mut().ok_or_else(given_up)?;
        let too_long = Cancel::default();
        let result = session.as_owner_sql(|connection| {
            stop_when(connection, self.limits.clone(), cancel.clone(), too_long.clone()).map_err(sql_error)?;
            work(connection).map_err(sql_error)
        });
        if too_long.is_set() || self.limits.is_file_replaced() {
            kept.take();
            return Err(if too_long.is_set() { given_up() } else { stop_error(StopReason::FileReplaced) });
        }
        result.map_err(|error| engine_error("read content", error))
    }
}

/// Makes the statements of a connection stop when `cancel` is set, when the file is replaced, or when the write-ahead
/// log has grown too much. In the last case, sets `too_long`.
fn stop_when(
    connection: &mut Connection,
    limits: KeepLimits,
    cancel: Cancel,
    too_long: Cancel,
) -> rusqlite::Result<()> {
    let mut measured = Instant::now();
    pages::on_progress(connection, STEPS_PER_POLL, move |_| {
        if measured.elapsed() >= MEASURE_INTERVAL {
            measured = Instant::now();
            if limits.is_wal_too_long() {
                too_long.set();
            }
        }
        cancel.is_set() || too_long.is_set() || limits.is_file_replaced()
    })
}

fn pin_error(error: SqlError) -> Error {
    engine_error("pin content", error)
}

fn given_up() -> Error {
    Error::Unavailable("the database was written too much, or its file was replaced, while its content was read".into())
}

fn bytes_of(wal: Option<&PathBuf>) -> u64 {
    wal.and_then(|wal| std::fs::metadata(wal).ok()).map_or(0, |metadata| metadata.len())
}
