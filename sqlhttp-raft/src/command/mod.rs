//! The contents of a Raft log entry, in the form in which they are written to the log, sent to other nodes and applied.
//!
//! ```text
//! version     1 byte, 2 or 3
//! checksum    4 bytes, little-endian: CRC-32 of everything after it
//! database    the name of the database
//! conditions  the time, whether foreign keys are enforced, the maximum length of a value; absent in version 1
//! time zone   the name of the time zone of local times; absent in versions 1 and 2, which means UTC
//! operations  the list of operations
//! ```
//!
//! The last four parts are in the encoding of postcard (<https://postcard.jamesmunns.com/wire-format>).
//!
//! A command without a time zone is written in version 2, so that nodes with an older program can read it during an
//! upgrade. Version 1 can still be read. Its batches contain their own time, and run with the options of the node that
//! applies them.
//!
//! New variants of the encoded enums are added only at the end, so that a newer program can read what an older one has
//! written. The node that proposes an entry encodes it once; the same bytes are written to the Raft log and sent to
//! other nodes. Large, repetitive operations (the same statement a hundred times) are compressed, because compression
//! takes less time than writing and sending the uncompressed bytes.

mod operation;
mod wire;

#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::sync::Arc;

use sqlhttp_core::Conditions;

pub(crate) use self::operation::Operation;
pub(crate) use self::wire::EncodedOperation;
pub(crate) use self::wire::encode as append_postcard;
use self::wire::{WireConditions, encode, read_body};

/// The name of the database in every entry. A node has one database for now; the name is encoded so that there can be
/// more.
pub(crate) const DATABASE: &str = "main";

/// The newest version of the encoding, with a time zone.
const VERSION: u8 = 3;
/// The version of commands without a time zone.
const VERSION_WITHOUT_ZONE: u8 = 2;
/// The oldest version of the encoding that can be read.
const VERSION_MIN: u8 = 1;
const HEAD_BYTES: usize = 5;

/// A number that this node assigns to each entry that it proposes. The number has no meaning to other nodes or after a
/// restart, so it is not part of the encoded command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ProposalId(pub(crate) u64);

/// The replicated contents of one Raft log entry. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Command {
    bytes: Arc<[u8]>,
    operations: Arc<[Operation]>,
    /// The time and the settings that apply to the SQL of the batches. `None` if the command was encoded in version 1.
    conditions: Option<Conditions>,
    /// The approximate length of the encoded command without compression, in bytes.
    len_plain: usize,
    /// The id under which [`crate::waiters`] keeps the callers of this command. `None` unless this process has proposed
    /// the command.
    proposal: Option<ProposalId>,
}

impl Command {
    /// Combines encoded operations into the command of one Raft log entry.
    pub(crate) fn new(
        database: &str,
        conditions: Conditions,
        operations: Vec<EncodedOperation>,
    ) -> io::Result<Command> {
        let len_plain = operations.iter().map(EncodedOperation::len).sum::<usize>();
        let length =
            operations.iter().map(|operation| operation.bytes.len()).sum::<usize>() + database.len() + HEAD_BYTES + 40;
        let mut bytes = Vec::with_capacity(length);
        bytes.extend([if conditions.time_zone.is_some() { VERSION } else { VERSION_WITHOUT_ZONE }, 0, 0, 0, 0]);
        bytes = encode(&(database, WireConditions::from(&conditions)), bytes)?;
        if let Some(zone) = conditions.time_zone {
            bytes = encode(&zone.name(), bytes)?;
        }
        // postcard encodes a sequence as its length followed by its elements, so encoded operations can be
        // concatenated.
        bytes = encode(&operations.len(), bytes)?;
        operations.iter().for_each(|operation| bytes.extend_from_slice(&operation.bytes));
        let checksum = crc32fast::hash(&bytes[HEAD_BYTES..]);
        bytes[1..HEAD_BYTES].copy_from_slice(&checksum.to_le_bytes());
        let operations = operations.into_iter().map(|encoded| encoded.operation).collect();
        Ok(Command { bytes: bytes.into(), operations, conditions: Some(conditions), len_plain, proposal: None })
    }

    /// The time and the settings that apply to the SQL of the batches. `None` if the command was encoded in version 1.
    pub(crate) fn conditions(&self) -> Option<Conditions> {
        self.conditions
    }

    /// Returns eight hexadecimal digits that distinguish this command from other commands at the same index of the Raft
    /// log.
    pub(crate) fn digest(&self) -> String {
        format!("{:08x}", crc32fast::hash(&self.bytes))
    }

    /// Sets the id under which [`crate::waiters`] keeps the callers of this command.
    pub(crate) fn proposed_as(self, id: ProposalId) -> Command {
        Command { proposal: Some(id), ..self }
    }

    /// The id under which [`crate::waiters`] keeps the callers of this command. `None` unless this process has proposed
    /// the command.
    pub(crate) fn proposal(&self) -> Option<ProposalId> {
        self.proposal
    }

    /// The command in its encoded form.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The approximate size of the command in memory, in bytes. It is larger than the encoding, because a batch
    /// consists of many small allocations, each with its overhead.
    pub(crate) fn bytes_in_memory(&self) -> usize {
        self.bytes.len() + self.len_plain * 2 + self.operations.len() * 512
    }

    /// The operations of the command, in the order in which they are applied.
    pub(crate) fn operations(&self) -> &[Operation] {
        &self.operations
    }

    /// Decodes a command from the bytes of a Raft log entry.
    ///
    /// # Errors
    /// `InvalidData`: the bytes are truncated or damaged, have an unknown version, or are for another database.
    pub(crate) fn from_bytes(bytes: Vec<u8>) -> io::Result<Command> {
        let invalid = |why: String| io::Error::new(io::ErrorKind::InvalidData, why);
        let Some((&[version, checksum @ ..], body)) = bytes.split_first_chunk::<HEAD_BYTES>() else {
            return Err(invalid("a command is cut off".to_owned()));
        };
        if !(VERSION_MIN..=VERSION).contains(&version) {
            return Err(invalid(format!("a command has version {version}; this program knows {VERSION}")));
        }
        if crc32fast::hash(body) != u32::from_le_bytes(checksum) {
            return Err(invalid("a command's checksum is wrong".to_owned()));
        }
        let malformed = |why: &dyn fmt::Display| invalid(format!("a command makes no sense: {why}"));
        let (database, conditions, operations) = read_body(version, body).map_err(|why| malformed(&why))?;
        if database != DATABASE {
            return Err(invalid(format!("a command is for the database '{database}', which is not here")));
        }
        let mut len_plain = body.len();
        let operations: io::Result<Arc<[Operation]>> =
            operations.into_iter().map(|operation| operation.read(&mut len_plain)).collect();
        let operations = operations.map_err(|why| malformed(&why))?;
        Ok(Command { operations, conditions, bytes: bytes.into(), len_plain, proposal: None })
    }
}

impl PartialEq for Command {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Command({} operations, {} bytes)", self.operations.len(), self.bytes.len())
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}
