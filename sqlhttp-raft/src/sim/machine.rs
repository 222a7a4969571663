//! A simulated machine: its clocks, its random numbers, its disks and its network interface.

use std::cell::RefCell;
use std::future::Future;
use std::io;
use std::path::Path;
use std::pin::pin;
use std::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sqlhttp_core::FaultyDisk;

use super::mutation::Mutation;
use super::network::{Network, SimulatedListener, SimulatedStream};
use super::power::MachinePower;
use super::random::Random;
use crate::log::disk::Disk as _;
use crate::log::simulated::SimulatedDisk;
use crate::snapshots::DOWNLOAD_PREFIX;

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
    power: Arc<MachinePower>,
    /// The length of a segment of the log.
    segment_bytes: AtomicU32,
    /// The difference between the system clock of this machine and the right time.
    skew_ms: AtomicI64,
    /// The maximum time of a sync of the log.
    sync_ms_max: AtomicU64,
}

impl Machine {
    pub(super) fn new(
        number: usize,
        network: Arc<Network>,
        directory: &Path,
        mut random: Random,
        mutation: Option<Mutation>,
    ) -> io::Result<Machine> {
        let (log_disk, database_disk) =
            (SimulatedDisk::new(), FaultyDisk::new(random.bits()).map_err(io::Error::other)?);
        let power = Arc::new(MachinePower::new(number, network.clone(), &directory.to_string_lossy()));
        log_disk.connect(power.clone());
        database_disk.connect(power.clone());
        Ok(Machine {
            number,
            mutation,
            network,
            random: Mutex::new(random),
            log_disk,
            database_disk,
            power,
            segment_bytes: AtomicU32::new(SEGMENT_BYTES),
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

    pub(super) fn power(&self) -> &MachinePower {
        &self.power
    }

    /// The length of a segment of the log, in bytes.
    pub(crate) fn segment_bytes(&self) -> u32 {
        self.segment_bytes.load(Ordering::Relaxed)
    }

    pub(super) fn set_segment_bytes(&self, bytes: u32) {
        self.segment_bytes.store(bytes, Ordering::Relaxed);
    }

    /// Copies a snapshot that has been received to the file system, where it can be checked.
    pub(crate) fn show_download(&self, file: &Path) -> io::Result<()> {
        std::fs::write(file, self.log_disk.read(file)?)
    }

    /// Moves a snapshot to the simulated disk of the database. One that has been received is as durable there as it was
    /// on the other disk; another one is moved from the file system, and is durable. Does nothing if the file does not
    /// exist, or the machine has no power.
    pub(crate) fn move_to_database_disk(&self, file: &Path) {
        if self.power.failed().is_some() {
            return;
        }
        let name = file.to_string_lossy();
        if let Some((content, synced, named)) = self.log_disk.take(file) {
            self.database_disk.put_partly_durable(&name, content, synced, named);
        } else if let Some(content) = std::fs::read(file).ok().filter(|_| !name.contains(DOWNLOAD_PREFIX)) {
            self.database_disk.put(&name, content);
        }
        let _ = std::fs::remove_file(file);
    }

    /// Like [`sqlhttp_core::Database::finish_install`], on the simulated disk.
    pub(crate) fn finish_install(&self, database: &Path, snapshot: &Path) -> io::Result<bool> {
        self.move_to_database_disk(snapshot);
        self.database_disk.finish_install(&database.to_string_lossy(), &snapshot.to_string_lossy())
    }
}

/// The length of a segment of the log, in bytes. Short segments make a simulation fast, and it then uses many.
const SEGMENT_BYTES: u32 = 16 << 10;
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
