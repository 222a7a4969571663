//! What an entry of the log carries, in the form in which it is written, sent and applied.
//!
//! ```text
//! version     1 byte, now 1
//! checksum    4 bytes, little-endian: CRC-32 of everything after it
//! database    the name of the database, and
//! works       what to do, in postcard's encoding (<https://postcard.jamesmunns.com/wire-format>)
//! ```
//!
//! Enums of the encoding only ever grow at their end, so that a newer program reads what an older one has written. Each
//! node that proposes an entry encodes it once; the same bytes go to the log and to other nodes.

use std::fmt;
use std::io;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sqlhttp_core::Batch;

/// The name of the only database there is as yet. Its place in every entry is there already.
pub(crate) const DATABASE: &str = "main";

const VERSION: u8 = 1;
const HEAD_BYTES: usize = 5;

/// Something that an entry does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum Work {
    /// Runs a batch.
    Batch {
        batch: Arc<Batch>,
        /// It does not share its transaction.
        alone: bool,
    },
    /// Takes a place in the log, and does nothing.
    Barrier,
    /// Replaces all content by this database file.
    Replace(Arc<[u8]>),
}

/// The work of one entry. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Command {
    bytes: Arc<[u8]>,
    works: Arc<[Work]>,
}

/// One piece of work, encoded.
#[derive(Debug)]
pub(crate) struct EncodedWork {
    work: Work,
    bytes: Vec<u8>,
}

impl EncodedWork {
    /// Encodes a piece of work.
    ///
    /// # Errors
    /// postcard's, which does not fail when it writes to memory.
    pub(crate) fn new(work: Work) -> io::Result<EncodedWork> {
        let bytes = postcard::to_stdvec(&work).map_err(io::Error::other)?;
        Ok(EncodedWork { work, bytes })
    }

    /// How many bytes it takes in an entry.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }
}

impl Command {
    /// All this work as one entry.
    pub(crate) fn new(database: &str, works: Vec<EncodedWork>) -> io::Result<Command> {
        let length = works.iter().map(EncodedWork::len).sum::<usize>() + database.len() + HEAD_BYTES + 16;
        let mut bytes = Vec::with_capacity(length);
        bytes.extend([VERSION, 0, 0, 0, 0]);
        // A sequence is its length and then its items, so encoded items are put together as they are.
        bytes = postcard::to_extend(&(database, works.len()), bytes).map_err(io::Error::other)?;
        works.iter().for_each(|work| bytes.extend_from_slice(&work.bytes));
        let checksum = crc32fast::hash(&bytes[HEAD_BYTES..]);
        bytes[1..HEAD_BYTES].copy_from_slice(&checksum.to_le_bytes());
        Ok(Command { bytes: bytes.into(), works: works.into_iter().map(|work| work.work).collect() })
    }

    /// The encoded form.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// What it takes in memory, about, bytes: a batch is some small pieces of memory, each with its overhead.
    pub(crate) fn bytes_in_memory(&self) -> usize {
        self.bytes.len() * 3 + self.works.len() * 512
    }

    /// What it does.
    pub(crate) fn works(&self) -> &[Work] {
        &self.works
    }

    /// Reads the encoded form.
    ///
    /// # Errors
    /// The bytes are no command, damaged, of a version that this program does not know, or for another database.
    pub(crate) fn from_bytes(bytes: Vec<u8>) -> io::Result<Command> {
        let invalid = |why: String| io::Error::new(io::ErrorKind::InvalidData, why);
        let Some((&[version, checksum @ ..], body)) = bytes.split_first_chunk::<HEAD_BYTES>() else {
            return Err(invalid("a command is cut off".to_owned()));
        };
        if version != VERSION {
            return Err(invalid(format!("a command has version {version}; this program knows {VERSION}")));
        }
        if crc32fast::hash(body) != u32::from_le_bytes(checksum) {
            return Err(invalid("a command's checksum is wrong".to_owned()));
        }
        let (database, works): (&str, Vec<Work>) =
            postcard::from_bytes(body).map_err(|why| invalid(format!("a command makes no sense: {why}")))?;
        if database != DATABASE {
            return Err(invalid(format!("a command is for the database '{database}', which is not here")));
        }
        Ok(Command { works: works.into(), bytes: bytes.into() })
    }
}

impl PartialEq for Command {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Command({} works, {} bytes)", self.works.len(), self.bytes.len())
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use sqlhttp_core::{Bindings, Failure, Stamp, Step};

    use super::*;

    fn command() -> Command {
        let steps = vec![
            Step::execute("INSERT INTO t VALUES (?)", ["ä"]),
            Step::query("SELECT :a", [("a", 1.5)]).or_continue(),
            Step::fail(Failure::MissingPositional(3)),
        ];
        let stamp = Some(Stamp { unix_ms: 1_700_000_000_123, seed: 9 });
        let batch = Arc::new(Batch { stamp, ..Batch::transaction(steps) });
        let works = [Work::Batch { batch, alone: true }, Work::Barrier, Work::Replace(Arc::from(*b"SQLite"))];
        Command::new(DATABASE, works.into_iter().map(|work| EncodedWork::new(work).unwrap()).collect()).unwrap()
    }

    #[test]
    fn what_is_encoded_is_read() {
        let command = command();
        let read = Command::from_bytes(command.bytes().to_vec()).unwrap();
        assert_eq!(read.works(), command.works());
        assert_eq!(read.bytes(), command.bytes());
    }

    /// Logs that have been written must stay readable.
    #[test]
    fn the_format_does_not_change() {
        let batch = Arc::new(Batch {
            stamp: Some(Stamp { unix_ms: 1, seed: 2 }),
            ..Batch::one(Step::execute("x", Bindings::positional([1_i64])))
        });
        let work = EncodedWork::new(Work::Batch { batch, alone: false }).unwrap();
        let command = Command::new(DATABASE, vec![work]).unwrap();
        let body = [4, b'm', b'a', b'i', b'n', 1, 0, 1, 0, 1, b'x', 1, 0, 1, 2, 0, 1, 0, 0, 1, 2, 2, 0, 0];
        assert_eq!(command.bytes()[HEAD_BYTES..], body);
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let bytes = command().bytes().to_vec();
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(Command::from_bytes(flipped).is_err(), "bit {bit}");
        }
        for length in 0..bytes.len() {
            assert!(Command::from_bytes(bytes[..length].to_vec()).is_err(), "{length} bytes");
        }
    }

    #[test]
    fn another_database_is_refused() {
        let command = Command::new("other", vec![EncodedWork::new(Work::Barrier).unwrap()]).unwrap();
        let error = Command::from_bytes(command.bytes().to_vec()).unwrap_err();
        assert!(error.to_string().contains("'other'"), "{error}");
    }
}
