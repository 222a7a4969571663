//! Selects the operations of a simulated disk that fail, and their errors.

use std::ffi::c_int;
use std::sync::Arc;

use rusqlite::ffi;

use super::power::{DiskChange, Power, PowerSupply};

/// The reaction of a stopped disk to an operation that would change it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AfterStop {
    /// The operation fails with an I/O error.
    Fail,
    /// The operation succeeds, but nothing reaches the disk. The process still sees its own changes.
    Pretend,
}

/// A fault of a simulated disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiskFault {
    /// Files cannot grow (`SQLITE_FULL`) or be created (`SQLITE_CANTOPEN`) until [`super::FaultyDisk::heal`].
    Full,
    /// All operations fail with an I/O error until [`super::FaultyDisk::heal`].
    Io,
    /// One operation fails with an I/O error; later ones succeed again.
    IoOnce,
}

/// A kind of operation of a simulated disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operation {
    Read,
    Write { grows: bool },
    Truncate,
    Sync,
    Create,
    Delete,
    Rename,
    Exists,
    Size,
    ShareMemory,
}

impl Operation {
    /// Whether the operation changes the content of the disk.
    fn changes(self) -> bool {
        match self {
            Operation::Write { .. }
            | Operation::Truncate
            | Operation::Sync
            | Operation::Create
            | Operation::Delete
            | Operation::Rename => true,
            Operation::Read | Operation::Exists | Operation::Size | Operation::ShareMemory => false,
        }
    }

    /// The name of an operation that changes the disk, for [`DiskChange::kind`].
    fn name(self) -> &'static str {
        match self {
            Operation::Write { .. } => "write",
            Operation::Truncate => "truncate",
            Operation::Sync => "sync",
            Operation::Create => "create",
            Operation::Delete => "delete",
            Operation::Rename => "rename",
            Operation::Read | Operation::Exists | Operation::Size | Operation::ShareMemory => "none",
        }
    }

    /// The result code with which SQLite's own VFS reports an I/O error of this operation. (SQLite renames no files.)
    pub(super) fn io_error(self) -> c_int {
        match self {
            Operation::Read => ffi::SQLITE_IOERR_READ,
            Operation::Write { .. } => ffi::SQLITE_IOERR_WRITE,
            Operation::Truncate => ffi::SQLITE_IOERR_TRUNCATE,
            Operation::Sync => ffi::SQLITE_IOERR_FSYNC,
            Operation::Create => ffi::SQLITE_CANTOPEN,
            Operation::Delete => ffi::SQLITE_IOERR_DELETE,
            Operation::Rename => ffi::SQLITE_IOERR,
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

/// The effect of the current faults on an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FaultAction {
    /// The operation takes place normally.
    Proceed,
    /// The operation succeeds and the process sees its effect, but it does not reach the disk.
    Pretend,
    /// The operation fails with this code and has no effect, because the disk has stopped.
    Stopped(c_int),
    /// The operation fails with this code, and may have taken place in part.
    Fail(c_int),
}

#[derive(Debug)]
struct ArmedFault {
    fault: DiskFault,
    /// The number of operations of the affected kinds that still succeed before the fault begins.
    remaining: u64,
}

/// The operation counters and the configured faults of a simulated disk.
#[derive(Debug, Default)]
pub(super) struct Faults {
    operations: u64,
    syncs: u64,
    failures: u64,
    stop: Option<(u64, AfterStop)>,
    stopped: Option<AfterStop>,
    armed: Option<ArmedFault>,
    supply: Option<Arc<dyn PowerSupply>>,
}

impl Faults {
    pub(super) fn connect(&mut self, supply: Arc<dyn PowerSupply>) {
        self.supply = Some(supply);
    }

    /// Like [`Faults::decide`], for an operation that changes this file. `written` is the offset and the bytes of a
    /// write.
    pub(super) fn decide_change(&mut self, operation: Operation, file: &[u8], written: (usize, &[u8])) -> FaultAction {
        self.decide_named(operation, operation.name(), file, written)
    }

    /// Like [`Faults::decide`], for the sync of the directory.
    pub(super) fn decide_directory_sync(&mut self) -> FaultAction {
        self.decide_named(Operation::Sync, "sync directory", &[], (0, &[]))
    }

    fn decide_named(
        &mut self,
        operation: Operation,
        kind: &'static str,
        file: &[u8],
        (offset, bytes): (usize, &[u8]),
    ) -> FaultAction {
        let action = self.decide(operation);
        let (Some(supply), FaultAction::Proceed) = (&self.supply, action) else { return action };
        let change = DiskChange { kind, file: &String::from_utf8_lossy(file), offset: offset as u64, bytes };
        let action = match supply.at(&change) {
            Power::Off => FaultAction::Stopped(operation.io_error()),
            Power::Fails if operation == Operation::Sync => FaultAction::Fail(operation.io_error()),
            Power::On | Power::Fails => return FaultAction::Proceed,
        };
        self.failures += 1;
        action
    }

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
        self.armed = Some(ArmedFault { fault, remaining: operations });
    }

    pub(super) fn heal(&mut self) {
        self.armed = None;
    }

    /// Ends all faults, as a power cut does. The counters are not reset.
    pub(super) fn end_all(&mut self) {
        self.stop = None;
        self.stopped = None;
        self.armed = None;
    }

    /// Counts an operation, and returns the effect of the current faults on it.
    pub(super) fn decide(&mut self, operation: Operation) -> FaultAction {
        self.count(operation);
        let action = match self.stopped {
            Some(AfterStop::Fail) if operation.changes() => FaultAction::Stopped(operation.io_error()),
            Some(AfterStop::Pretend) if operation.changes() => FaultAction::Pretend,
            _ => self.decide_by_fault(operation),
        };
        if matches!(action, FaultAction::Stopped(_) | FaultAction::Fail(_)) {
            self.failures += 1;
        }
        action
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

    fn decide_by_fault(&mut self, operation: Operation) -> FaultAction {
        let Some(armed) = self.armed.as_mut().filter(|armed| armed.fault.hits(operation)) else {
            return FaultAction::Proceed;
        };
        if armed.remaining > 0 {
            armed.remaining -= 1;
            return FaultAction::Proceed;
        }
        let code = armed.fault.error(operation);
        if armed.fault == DiskFault::IoOnce {
            self.armed = None;
        }
        FaultAction::Fail(code)
    }
}
