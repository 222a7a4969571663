//! A simulated machine: its clocks, its random numbers, its disks and its network interface.

use std::cell::RefCell;
use std::future::Future;
use std::io;
use std::path::Path;
use std::pin::pin;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sqlhttp_core::FaultyDisk;

use super::mutation::Mutation;
use super::network::{Network, SimulatedListener, SimulatedStream};
use super::random::Random;
use crate::log::simulated::SimulatedDisk;

/// The time of the system clocks when a simulation begins, in milliseconds since 1970-01-01 00:00 UTC.
const BEGIN_UNIX_MS: u64 = 1_800_000_000_000;

thread_local! {
    static CURRENT: RefCell<Option<Arc<Machine>>> = const { RefCell::new(None) };
}

/// Returns the simulated machine on which the calling code runs; `None` outside of a simulation.
pub(crate) fn machine() -> Option<Arc<Machine>> {
    CURRENT.with_borrow(Clone::clone)
}

/// Runs code on a simulated machine.
pub(super) fn on<T>(machine: &Arc<Machine>, code: impl FnOnce() -> T) -> T {
    CURRENT.set(Some(machine.clone()));
    let result = code();
    CURRENT.set(None);
    result
}

/// A simulated machine. It outlives the crashes of its node.
pub(crate) struct Machine {
    pub(super) number: usize,
    /// The fault that the code has.
    pub(super) mutation: Option<Mutation>,
    network: Arc<Network>,
    random: Mutex<Random>,
    log_disk: SimulatedDisk,
    database_disk: FaultyDisk,
    /// The difference between the system clock of this machine and the right time.
    skew_ms: AtomicI64,
    /// The maximum time of a sync of the log.
    sync_ms_max: AtomicU64,
}

impl Machine {
    pub(super) fn new(
        number: usize,
        network: Arc<Network>,
        mut random: Random,
        mutation: Option<Mutation>,
    ) -> io::Result<Machine> {
        let database_disk = FaultyDisk::new(random.bits()).map_err(io::Error::other)?;
        Ok(Machine {
            number,
            mutation,
            network,
            random: Mutex::new(random),
            log_disk: SimulatedDisk::new(),
            database_disk,
            skew_ms: AtomicI64::new(0),
            sync_ms_max: AtomicU64::new(SYNC_MS_MAX),
        })
    }

    pub(crate) fn random(&self) -> u64 {
        self.random.lock().unwrap_or_else(PoisonError::into_inner).bits()
    }

    pub(crate) fn system_time(&self) -> SystemTime {
        let now = (BEGIN_UNIX_MS + self.network.now()).saturating_add_signed(self.skew_ms.load(Ordering::Relaxed));
        UNIX_EPOCH + Duration::from_millis(now)
    }

    pub(super) fn set_skew(&self, ms: i64) {
        self.skew_ms.store(ms, Ordering::Relaxed);
    }

    pub(super) fn set_sync_time(&self, ms_max: u64) {
        self.sync_ms_max.store(ms_max, Ordering::Relaxed);
    }

    /// Returns the duration of the next write and sync of the log.
    pub(crate) fn sync_time(&self) -> Duration {
        Duration::from_millis(self.random() % (self.sync_ms_max.load(Ordering::Relaxed) + 1))
    }

    pub(crate) fn log_disk(&self) -> SimulatedDisk {
        self.log_disk.clone()
    }

    pub(super) fn database_disk(&self) -> &FaultyDisk {
        &self.database_disk
    }

    /// Opens a connection to the node at `address`.
    pub(crate) async fn connect(&self, address: &str) -> io::Result<SimulatedStream> {
        self.network.connect(self.number, address).await
    }

    /// Accepts the connections of other nodes.
    pub(crate) fn listen(&self) -> SimulatedListener {
        self.network.listen(self.number)
    }

    /// Moves a file from the file system to the simulated disk of the database, where it is durable. Does nothing if
    /// the file does not exist.
    pub(crate) fn move_to_database_disk(&self, file: &Path) {
        if let Ok(content) = std::fs::read(file) {
            self.database_disk.put(&file.to_string_lossy(), content);
            let _ = std::fs::remove_file(file);
        }
    }

    /// Like [`sqlhttp_core::Database::finish_install`], on the simulated disk.
    pub(crate) fn finish_install(&self, database: &Path, snapshot: &Path) -> io::Result<bool> {
        self.move_to_database_disk(snapshot);
        self.database_disk.finish_install(&database.to_string_lossy(), &snapshot.to_string_lossy())
    }
}

/// The maximum time of a sync of the log on a healthy disk, in milliseconds.
pub(super) const SYNC_MS_MAX: u64 = 4;

/// Polls a future to completion on this thread, which is parked in between.
pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(output) => return output,
            Poll::Pending => std::thread::park(),
        }
    }
}
