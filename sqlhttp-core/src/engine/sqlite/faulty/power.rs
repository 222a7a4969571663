//! The power of simulated disks: counts their changes, and fails at a chosen one.

use std::fmt::Debug;

/// An operation that changes a simulated disk.
#[derive(Debug, Clone, Copy)]
pub struct DiskChange<'a> {
    /// `create`, `write`, `truncate`, `sync`, `rename`, `delete` or `sync directory`.
    pub kind: &'static str,
    /// The path of the file or of the directory; empty for a temporary file. For a rename, the new path.
    pub file: &'a str,
    /// The offset of a write.
    pub offset: u64,
    /// The bytes of a write.
    pub bytes: &'a [u8],
}

/// The power of a disk at an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Power {
    /// The operation takes place.
    On,
    /// The operation fails, because there is no power.
    Off,
    /// The power fails during the operation: a sync takes place in part, and any other operation takes place without
    /// being durable.
    Fails,
}

/// Supplies simulated disks with power.
pub trait PowerSupply: Debug + Send + Sync {
    /// Returns the power at the next operation that changes a disk. Called once for each such operation, in their
    /// order. A disk is locked meanwhile.
    fn at(&self, change: &DiskChange<'_>) -> Power;
}
