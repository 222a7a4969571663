//! The requests of the clients of a simulation, and the responses to them.

use sqlhttp_core::ReadLevel;

/// A request of a client. Every key contains the serial number of its last write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Request {
    Write,
    /// A transaction whose last step fails after the serial number was written.
    FailingWrite,
    Read(ReadLevel),
}

/// The end of an operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Ended {
    Written,
    /// The serial number that was read; 0 if the key does not exist.
    Read(i64),
    /// The error promises that nothing took effect.
    Refused(String),
    /// The operation may have taken effect.
    Unknown(String),
}

/// An operation of a client. Times are in milliseconds since the beginning of the simulation.
#[derive(Debug, Clone)]
pub(super) struct Operation {
    /// The unique number of the operation, which a write stores.
    pub(super) serial: i64,
    pub(super) client: usize,
    /// The machine whose node has received the request.
    pub(super) machine: usize,
    pub(super) key: i64,
    pub(super) request: Request,
    pub(super) begun: u64,
    pub(super) ended: Option<(u64, Ended)>,
}
