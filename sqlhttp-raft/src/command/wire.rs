//! The encoding of the operations and conditions of a Raft log entry: postcard, with LZ4 for large repetitive
//! operations.

use std::io;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sqlhttp_core::{Action, Batch, Conditions, NamedZone, Step};

use super::operation::Operation;

/// The minimum length of an operation that is compressed, in bytes.
const COMPRESSED_BYTES_MIN: usize = 1 << 10;
/// The maximum length of an operation that is compressed, in bytes. Compressing a longer one would delay other
/// requests.
const COMPRESSED_BYTES_MAX: usize = 4 << 20;

/// An operation together with its encoding.
#[derive(Debug)]
pub(crate) struct EncodedOperation {
    pub(super) operation: Operation,
    pub(super) bytes: Vec<u8>,
    pub(super) len_plain: usize,
}

impl EncodedOperation {
    /// Encodes an operation.
    ///
    /// # Errors
    /// The errors of postcard. postcard does not fail when it writes to memory.
    pub(crate) fn new(operation: Operation) -> io::Result<EncodedOperation> {
        let plain = encode(&WireOperation::from(&operation), Vec::with_capacity(len_of(&operation)))?;
        let len_plain = plain.len();
        let bytes = compress(&plain)?.unwrap_or(plain);
        Ok(EncodedOperation { operation, bytes, len_plain })
    }

    /// Whether the operation needs an entry of its own.
    pub(crate) fn needs_own_entry(&self) -> bool {
        matches!(self.operation, Operation::LoadCommit { .. })
    }

    /// The length of the encoded operation before compression, in bytes.
    pub(crate) fn len(&self) -> usize {
        self.len_plain
    }
}

/// The encoded form of an [`Operation`], possibly compressed. New variants may be added only at the end.
#[derive(Serialize, Deserialize)]
pub(super) enum WireOperation<'a> {
    /// A batch without a maximum number of steps. Written by version 1; newer versions write `Limited`.
    Batch {
        batch: Arc<Batch>,
        exclusive: bool,
    },
    Barrier,
    Replace(Arc<[u8]>),
    /// One of the other variants, encoded and compressed with LZ4. The bytes begin with the uncompressed length.
    Compressed(&'a [u8]),
    Limited {
        batch: Arc<Batch>,
        exclusive: bool,
        steps_max: u64,
    },
    LoadBegin {
        bytes: u64,
    },
    LoadChunk {
        load: u64,
        offset: u64,
        #[serde(with = "crate::byte_string")]
        bytes: Arc<[u8]>,
    },
    LoadCommit {
        load: u64,
        checksum: u32,
    },
    LoadAbort {
        load: u64,
    },
}

/// The encoded form of [`Conditions`], except the time zone.
#[derive(Serialize, Deserialize)]
pub(super) struct WireConditions {
    pub(super) unix_ms: i64,
    pub(super) foreign_keys: bool,
    pub(super) value_bytes_max: u64,
}

impl From<&Conditions> for WireConditions {
    fn from(conditions: &Conditions) -> Self {
        let Conditions { unix_ms, foreign_keys, value_bytes_max, time_zone: _ } = *conditions;
        WireConditions { unix_ms, foreign_keys, value_bytes_max }
    }
}

impl WireConditions {
    fn with_zone(self, time_zone: Option<NamedZone>) -> Conditions {
        let WireConditions { unix_ms, foreign_keys, value_bytes_max } = self;
        Conditions { unix_ms, foreign_keys, value_bytes_max, time_zone }
    }
}

impl From<&Operation> for WireOperation<'_> {
    fn from(operation: &Operation) -> Self {
        match operation {
            Operation::Batch { batch, exclusive, steps_max } => {
                WireOperation::Limited { batch: batch.clone(), exclusive: *exclusive, steps_max: *steps_max }
            }
            Operation::Barrier => WireOperation::Barrier,
            Operation::Replace(bytes) => WireOperation::Replace(bytes.clone()),
            Operation::LoadBegin { bytes } => WireOperation::LoadBegin { bytes: *bytes },
            Operation::LoadChunk { load, offset, bytes } => {
                WireOperation::LoadChunk { load: *load, offset: *offset, bytes: bytes.clone() }
            }
            Operation::LoadCommit { load, checksum } => WireOperation::LoadCommit { load: *load, checksum: *checksum },
            Operation::LoadAbort { load } => WireOperation::LoadAbort { load: *load },
        }
    }
}

impl WireOperation<'_> {
    /// Decodes the operation. If it is compressed, adds its uncompressed length to `len_plain`.
    pub(super) fn read(self, len_plain: &mut usize) -> io::Result<Operation> {
        match self {
            WireOperation::Batch { batch, exclusive } => Ok(Operation::Batch { batch, exclusive, steps_max: 0 }),
            WireOperation::Limited { batch, exclusive, steps_max } => {
                Ok(Operation::Batch { batch, exclusive, steps_max })
            }
            WireOperation::Barrier => Ok(Operation::Barrier),
            WireOperation::Replace(bytes) => Ok(Operation::Replace(bytes)),
            WireOperation::LoadBegin { bytes } => Ok(Operation::LoadBegin { bytes }),
            WireOperation::LoadChunk { load, offset, bytes } => Ok(Operation::LoadChunk { load, offset, bytes }),
            WireOperation::LoadCommit { load, checksum } => Ok(Operation::LoadCommit { load, checksum }),
            WireOperation::LoadAbort { load } => Ok(Operation::LoadAbort { load }),
            WireOperation::Compressed(bytes) => {
                let (len, packed) = lz4_flex::block::uncompressed_size(bytes).map_err(io::Error::other)?;
                if len > COMPRESSED_BYTES_MAX {
                    return Err(io::Error::other("a compressed operation is too long"));
                }
                *len_plain += len;
                let bytes = lz4_flex::block::decompress(packed, len).map_err(io::Error::other)?;
                match postcard::from_bytes(&bytes).map_err(io::Error::other)? {
                    WireOperation::Compressed(_) => Err(io::Error::other("a compressed operation is compressed twice")),
                    written => written.read(len_plain),
                }
            }
        }
    }
}

/// Returns the approximate length of an operation's encoding, in bytes.
fn len_of(operation: &Operation) -> usize {
    let len_of_step = |step: &Step| match &step.action {
        Action::Run { sql, bindings } => sql.len() + 24 * bindings.entries.len() + 16,
        Action::RunEach { sql, bindings } => sql.len() + 48 * bindings.len() + 16,
        Action::Fail(_) => 64,
    };
    match operation {
        Operation::Batch { batch, .. } => 32 + batch.steps.iter().map(len_of_step).sum::<usize>(),
        Operation::Barrier => 1,
        Operation::Replace(bytes) => bytes.len() + 8,
        Operation::LoadChunk { bytes, .. } => bytes.len() + 32,
        Operation::LoadBegin { .. } | Operation::LoadCommit { .. } | Operation::LoadAbort { .. } => 24,
    }
}

/// Appends the postcard encoding of a value to `bytes`, and returns `bytes`.
pub(crate) fn encode(value: &impl Serialize, bytes: Vec<u8>) -> io::Result<Vec<u8>> {
    postcard::serialize_with_flavor(value, Appended(bytes)).map_err(io::Error::other)
}

/// A vector to which postcard appends. (postcard's own flavors append byte by byte, or write only to an empty vector.)
struct Appended(Vec<u8>);

impl postcard::ser_flavors::Flavor for Appended {
    type Output = Vec<u8>;

    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.0.push(byte);
        Ok(())
    }

    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    fn finalize(self) -> postcard::Result<Vec<u8>> {
        Ok(self.0)
    }
}

/// Returns the encoding of the variant [`WireOperation::Compressed`] for an encoded operation. Returns `None` if the
/// operation is too short or too long for compression, or if compression would save less than a quarter.
fn compress(plain: &[u8]) -> io::Result<Option<Vec<u8>>> {
    if !(COMPRESSED_BYTES_MIN..=COMPRESSED_BYTES_MAX).contains(&plain.len()) {
        return Ok(None);
    }
    let compressed = lz4_flex::block::compress_prepend_size(plain);
    if compressed.len() > plain.len() / 4 * 3 {
        return Ok(None);
    }
    postcard::to_stdvec(&WireOperation::Compressed(&compressed)).map(Some).map_err(io::Error::other)
}

/// The parts of an encoded command after its checksum: the name of the database, the conditions and the operations.
pub(super) type Body<'b> = (&'b str, Option<Conditions>, Vec<WireOperation<'b>>);

pub(super) fn read_body(version: u8, body: &[u8]) -> io::Result<Body<'_>> {
    match version {
        1 => {
            let (database, operations) = postcard::from_bytes(body).map_err(io::Error::other)?;
            Ok((database, None, operations))
        }
        2 => {
            let (database, written, operations): (_, WireConditions, _) =
                postcard::from_bytes(body).map_err(io::Error::other)?;
            Ok((database, Some(written.with_zone(None)), operations))
        }
        _ => {
            let (database, written, zone, operations): (_, WireConditions, &str, _) =
                postcard::from_bytes(body).map_err(io::Error::other)?;
            let zone = zone.parse().map_err(io::Error::other)?;
            Ok((database, Some(written.with_zone(Some(zone))), operations))
        }
    }
}
