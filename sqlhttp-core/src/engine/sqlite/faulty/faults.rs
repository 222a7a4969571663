//! Which operation fails, and how.

use std::ffi::c_int;

use rusqlite::ffi;

/// What a stopped disk answers to an operation that would change it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AfterStop {
    /// An I/O error.
    Fail,
    /// Success, although nothing reaches the disk. The process goes on seeing its own changes.
    Pretend,
}

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiskFault {
    /// Files neither grow nor come into being (`SQLITE_FULL`) until [`super::FaultyDisk::heal`].
    Full,
    /// Everything fails (`SQLITE_IOERR`) until [`super::FaultyDisk::heal`].
    Io,
    /// One operation fails (`SQLITE_IOERR`).
    IoOnce,
}

/// What is asked of the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operation {
    Read,
    Write { grows: bool },
    Truncate,
    Sync,
    Create,
    Delete,
    Exists,
    Size,
    ShareMemory,
}

impl Operation {
    /// Whether it changes what is on disk.
    fn changes(self) -> bool {
        match self {
            Operation::Write { .. } | Operation::Truncate | Operation::Sync | Operation::Create | Operation::Delete => {
                true
            }
            Operation::Read | Operation::Exists | Operation::Size | Operation::ShareMemory => false,
        }
    }

    /// What SQLite's own VFS answers if the system fails.
    pub(super) fn io_error(self) -> c_int {
        match self {
            Operation::Read => ffi::SQLITE_IOERR_READ,
            Operation::Write { .. } => ffi::SQLITE_IOERR_WRITE,
            Operation::Truncate => ffi::SQLITE_IOERR_TRUNCATE,
            Operation::Sync => ffi::SQLITE_IOERR_FSYNC,
            Operation::Create => ffi::SQLITE_CANTOPEN,
            Operation::Delete => ffi::SQLITE_IOERR_DELETE,
            Operation::Exists => ffi::SQLITE_IOERR_ACCESS,
            Operation::Size => ffi::SQLITE_IOERR_FSTAT,
            Operation::ShareMemory => ffi::SQLITE_IOERR_SHMMAP,
        }
    }
}

impl DiskFault {
    fn hits(self, operation: Operation) -> bool {
        match self {
            DiskFault::Full => matches!(operation, Operation::Write { grows: true } | Operation::Create),
            DiskFault::Io | DiskFault::IoOnce => true,
        }
    }

    fn error(self, operation: Operation) -> c_int {
        match (self, operation) {
            (DiskFault::Full, Operation::Write { .. }) => ffi::SQLITE_FULL,
            _ => operation.io_error(),
        }
    }
}

/// What becomes of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It takes place.
    Proceed,
    /// Only the process sees it.
    Pretend,
    /// It fails with this code because the disk has stopped: nothing happens any more.
    Stopped(c_int),
    /// It fails with this code, and may have taken place in part.
    Fail(c_int),
}

#[derive(Debug)]
struct Armed {
    fault: DiskFault,
    /// How many operations go well before.
    spare: u64,
}

/// What has been counted, and what is to go wrong.
#[derive(Debug, Default)]
pub(super) struct Faults {
    operations: u64,
    syncs: u64,
    failures: u64,
    stop: Option<(u64, AfterStop)>,
    stopped: Option<AfterStop>,
    armed: Option<Armed>,
}

impl Faults {
    pub(super) fn operations(&self) -> u64 {
        self.operations
    }

    pub(super) fn syncs(&self) -> u64 {
        self.syncs
    }

    pub(super) fn failures(&self) -> u64 {
        self.failures
    }

    pub(super) fn stopped(&self) -> Option<AfterStop> {
        self.stopped
    }

    pub(super) fn stop_at_sync(&mut self, n: u64, then: AfterStop) {
        self.stop = Some((self.syncs.saturating_add(n.max(1)), then));
    }

    pub(super) fn fail_after(&mut self, operations: u64, fault: DiskFault) {
        self.armed = Some(Armed { fault, spare: operations });
    }

    pub(super) fn heal(&mut self) {
        self.armed = None;
    }

    /// After a power cut: nothing is wrong any more, and the counters go on.
    pub(super) fn end_all(&mut self) {
        self.stop = None;
        self.stopped = None;
        self.armed = None;
    }

    /// Decides what becomes of an operation.
    pub(super) fn judge(&mut self, operation: Operation) -> Verdict {
        self.count(operation);
        let verdict = match self.stopped {
            Some(AfterStop::Fail) if operation.changes() => Verdict::Stopped(operation.io_error()),
            Some(AfterStop::Pretend) if operation.changes() => Verdict::Pretend,
            _ => self.judge_by_fault(operation),
        };
        if matches!(verdict, Verdict::Stopped(_) | Verdict::Fail(_)) {
            self.failures += 1;
        }
        verdict
    }

    fn count(&mut self, operation: Operation) {
        self.operations += 1;
        if operation != Operation::Sync {
            return;
        }
        self.syncs += 1;
        if let Some((at, then)) = self.stop
            && self.syncs >= at
        {
            self.stopped = Some(then);
        }
    }

    fn judge_by_fault(&mut self, operation: Operation) -> Verdict {
        let Some(armed) = self.armed.as_mut().filter(|armed| armed.fault.hits(operation)) else {
            return Verdict::Proceed;
        };
        if armed.spare > 0 {
            armed.spare -= 1;
            return Verdict::Proceed;
        }
        let code = armed.fault.error(operation);
        if armed.fault == DiskFault::IoOnce {
            self.armed = None;
        }
        Verdict::Fail(code)
    }
}
