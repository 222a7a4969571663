//! What an entry of the log carries, in the form in which it is written, sent and applied.
//!
//! ```text
//! version     1 byte, now 2
//! checksum    4 bytes, little-endian: CRC-32 of everything after it
//! database    the name of the database,
//! conditions  the time, the setting of foreign keys, the longest value (not in version 1), and
//! works       what to do, in postcard's encoding (<https://postcard.jamesmunns.com/wire-format>)
//! ```
//!
//! Version 1 is still read: its batches carry their own time, and run under the options of the node.
//!
//! Enums of the encoding only ever grow at their end, so that a newer program reads what an older one has written. Each
//! node that proposes an entry encodes it once; the same bytes go to the log and to other nodes. What is large and repeats
//! itself (the same statement a hundred times) is compressed: that is quicker than to write and to send it.

use std::fmt;
use std::io;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sqlhttp_core::{Action, Batch, Conditions, Step};

use crate::propose::Waiting;

/// The name of the only database there is as yet. Its place in every entry is there already.
pub(crate) const DATABASE: &str = "main";

const VERSION: u8 = 2;
/// The oldest version that is read.
const VERSION_MIN: u8 = 1;
const HEAD_BYTES: usize = 5;

/// Work that takes fewer bytes is never compressed.
const COMPRESSED_BYTES_MIN: usize = 1 << 10;
/// Work that takes more is not either: it would take the time of others.
const COMPRESSED_BYTES_MAX: usize = 4 << 20;

/// Something that an entry does.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Work {
    /// Runs a batch.
    Batch {
        batch: Arc<Batch>,
        /// It does not share its transaction.
        alone: bool,
        /// How many steps of SQLite's virtual machine it may take; 0 for no limit.
        steps_max: u64,
    },
    /// Takes a place in the log, and does nothing.
    Barrier,
    /// Replaces all content by this database file.
    Replace(Arc<[u8]>),
}

/// Work as it is written: what [`Work`] is, or the same compressed.
#[derive(Serialize, Deserialize)]
enum Written<'a> {
    /// Of version 1: without a limit.
    Batch {
        batch: Arc<Batch>,
        alone: bool,
    },
    Barrier,
    Replace(Arc<[u8]>),
    /// LZ4, its length before that in front; what was compressed is one of the others.
    Compressed(&'a [u8]),
    Limited {
        batch: Arc<Batch>,
        alone: bool,
        steps_max: u64,
    },
}

/// The conditions as they are written.
#[derive(Serialize, Deserialize)]
struct WrittenConditions {
    unix_ms: i64,
    foreign_keys: bool,
    value_bytes_max: u64,
}

impl From<&Work> for Written<'_> {
    fn from(work: &Work) -> Self {
        match work {
            Work::Batch { batch, alone, steps_max } => {
                Written::Limited { batch: batch.clone(), alone: *alone, steps_max: *steps_max }
            }
            Work::Barrier => Written::Barrier,
            Work::Replace(bytes) => Written::Replace(bytes.clone()),
        }
    }
}

impl Written<'_> {
    /// The work; adds to `len_plain` what it takes beyond what is written.
    fn read(self, len_plain: &mut usize) -> io::Result<Work> {
        match self {
            Written::Batch { batch, alone } => Ok(Work::Batch { batch, alone, steps_max: 0 }),
            Written::Limited { batch, alone, steps_max } => Ok(Work::Batch { batch, alone, steps_max }),
            Written::Barrier => Ok(Work::Barrier),
            Written::Replace(bytes) => Ok(Work::Replace(bytes)),
            Written::Compressed(bytes) => {
                let (len, packed) = lz4_flex::block::uncompressed_size(bytes).map_err(io::Error::other)?;
                if len > COMPRESSED_BYTES_MAX {
                    return Err(io::Error::other("compressed work is too long"));
                }
                *len_plain += len;
                let bytes = lz4_flex::block::decompress(packed, len).map_err(io::Error::other)?;
                match postcard::from_bytes(&bytes).map_err(io::Error::other)? {
                    Written::Compressed(_) => Err(io::Error::other("compressed work is compressed")),
                    written => written.read(len_plain),
                }
            }
        }
    }
}

/// The work of one entry. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Command {
    bytes: Arc<[u8]>,
    works: Arc<[Work]>,
    /// The conditions under which its batches run; `None` in version 1.
    conditions: Option<Conditions>,
    /// How many bytes it would take if nothing were compressed, about.
    len_plain: usize,
    /// Who waits for it on this node; no part of what is written and sent.
    waiting: Option<Arc<Waiting>>,
}

/// One piece of work, encoded.
#[derive(Debug)]
pub(crate) struct EncodedWork {
    work: Work,
    bytes: Vec<u8>,
    len_plain: usize,
}

impl EncodedWork {
    /// Encodes a piece of work.
    ///
    /// # Errors
    /// postcard's, which does not fail when it writes to memory.
    pub(crate) fn new(work: Work) -> io::Result<EncodedWork> {
        let plain = encode(&Written::from(&work), Vec::with_capacity(len_of(&work)))?;
        let len_plain = plain.len();
        let bytes = compress(&plain)?.unwrap_or(plain);
        Ok(EncodedWork { work, bytes, len_plain })
    }

    /// How many bytes it takes before it is compressed.
    pub(crate) fn len(&self) -> usize {
        self.len_plain
    }
}

/// The length of a piece of work when it is encoded, about.
fn len_of(work: &Work) -> usize {
    let len_of_step = |step: &Step| match &step.action {
        Action::Run { sql, bindings } => sql.len() + 24 * bindings.entries.len() + 16,
        Action::RunEach { sql, bindings } => sql.len() + 48 * bindings.len() + 16,
        Action::Fail(_) => 64,
    };
    match work {
        Work::Batch { batch, .. } => 32 + batch.steps.iter().map(len_of_step).sum::<usize>(),
        Work::Barrier => 1,
        Work::Replace(bytes) => bytes.len() + 8,
    }
}

/// Appends the encoded form of a value.
fn encode(value: &impl Serialize, bytes: Vec<u8>) -> io::Result<Vec<u8>> {
    postcard::serialize_with_flavor(value, Appended(bytes)).map_err(io::Error::other)
}

/// A vector that postcard appends to. (postcard's own flavors append byte by byte, or to an empty vector only.)
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

/// The same in fewer bytes, if that is worth it.
fn compress(plain: &[u8]) -> io::Result<Option<Vec<u8>>> {
    if !(COMPRESSED_BYTES_MIN..=COMPRESSED_BYTES_MAX).contains(&plain.len()) {
        return Ok(None);
    }
    let compressed = lz4_flex::block::compress_prepend_size(plain);
    if compressed.len() > plain.len() / 4 * 3 {
        return Ok(None);
    }
    postcard::to_stdvec(&Written::Compressed(&compressed)).map(Some).map_err(io::Error::other)
}

impl Command {
    /// All this work as one entry.
    pub(crate) fn new(database: &str, conditions: Conditions, works: Vec<EncodedWork>) -> io::Result<Command> {
        let len_plain = works.iter().map(EncodedWork::len).sum::<usize>();
        let length = works.iter().map(|work| work.bytes.len()).sum::<usize>() + database.len() + HEAD_BYTES + 40;
        let mut bytes = Vec::with_capacity(length);
        bytes.extend([VERSION, 0, 0, 0, 0]);
        // A sequence is its length and then its items, so encoded items are put together as they are.
        let Conditions { unix_ms, foreign_keys, value_bytes_max } = conditions;
        let written = WrittenConditions { unix_ms, foreign_keys, value_bytes_max };
        bytes = encode(&(database, written, works.len()), bytes)?;
        works.iter().for_each(|work| bytes.extend_from_slice(&work.bytes));
        let checksum = crc32fast::hash(&bytes[HEAD_BYTES..]);
        bytes[1..HEAD_BYTES].copy_from_slice(&checksum.to_le_bytes());
        let works = works.into_iter().map(|work| work.work).collect();
        Ok(Command { bytes: bytes.into(), works, conditions: Some(conditions), len_plain, waiting: None })
    }

    /// The conditions under which its batches run; `None` if it is of version 1.
    pub(crate) fn conditions(&self) -> Option<Conditions> {
        self.conditions
    }

    /// Eight hexadecimal digits that tell this command from others at the same place of a log.
    pub(crate) fn digest(&self) -> String {
        format!("{:08x}", crc32fast::hash(&self.bytes))
    }

    /// The same, for which somebody waits.
    pub(crate) fn awaited_by(self, waiting: Arc<Waiting>) -> Command {
        Command { waiting: Some(waiting), ..self }
    }

    /// Who waits for it on this node, as far as this is known.
    pub(crate) fn waiting(&self) -> Option<&Arc<Waiting>> {
        self.waiting.as_ref()
    }

    /// The encoded form.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// What it takes in memory, about, bytes: a batch is some small pieces of memory, each with its overhead.
    pub(crate) fn bytes_in_memory(&self) -> usize {
        self.bytes.len() + self.len_plain * 2 + self.works.len() * 512
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
        if !(VERSION_MIN..=VERSION).contains(&version) {
            return Err(invalid(format!("a command has version {version}; this program knows {VERSION}")));
        }
        if crc32fast::hash(body) != u32::from_le_bytes(checksum) {
            return Err(invalid("a command's checksum is wrong".to_owned()));
        }
        let nonsense = |why: &dyn fmt::Display| invalid(format!("a command makes no sense: {why}"));
        let (database, conditions, works) = read_body(version, body).map_err(|why| nonsense(&why))?;
        if database != DATABASE {
            return Err(invalid(format!("a command is for the database '{database}', which is not here")));
        }
        let mut len_plain = body.len();
        let works: io::Result<Arc<[Work]>> = works.into_iter().map(|work| work.read(&mut len_plain)).collect();
        let works = works.map_err(|why| nonsense(&why))?;
        Ok(Command { works, conditions, bytes: bytes.into(), len_plain, waiting: None })
    }
}

/// The parts of a command's body.
type Body<'b> = (&'b str, Option<Conditions>, Vec<Written<'b>>);

fn read_body(version: u8, body: &[u8]) -> postcard::Result<Body<'_>> {
    if version == 1 {
        let (database, works) = postcard::from_bytes(body)?;
        return Ok((database, None, works));
    }
    let (database, written, works): (&str, WrittenConditions, _) = postcard::from_bytes(body)?;
    let WrittenConditions { unix_ms, foreign_keys, value_bytes_max } = written;
    Ok((database, Some(Conditions { unix_ms, foreign_keys, value_bytes_max }), works))
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

    use sqlhttp_core::{Bindings, Failure, Stamp, Value};

    use super::*;

    const CONDITIONS: Conditions =
        Conditions { unix_ms: 1_700_000_000_123, foreign_keys: true, value_bytes_max: 64 << 20 };

    fn command() -> Command {
        let steps = vec![
            Step::execute("INSERT INTO t VALUES (?)", ["ä"]),
            Step::query("SELECT :a", [("a", 1.5)]).or_continue(),
            Step::fail(Failure::MissingPositional(3)),
        ];
        let stamp = Some(Stamp { unix_ms: 1_700_000_000_123, seed: 9 });
        let batch = Arc::new(Batch { stamp, ..Batch::transaction(steps) });
        let works =
            [Work::Batch { batch, alone: true, steps_max: 7 }, Work::Barrier, Work::Replace(Arc::from(*b"SQLite"))];
        Command::new(DATABASE, CONDITIONS, works.into_iter().map(|work| EncodedWork::new(work).unwrap()).collect())
            .unwrap()
    }

    #[test]
    fn what_is_encoded_is_read() {
        let command = command();
        let read = Command::from_bytes(command.bytes().to_vec()).unwrap();
        assert_eq!(read.works(), command.works());
        assert_eq!(read.bytes(), command.bytes());
        assert_eq!(read.conditions(), Some(CONDITIONS));
    }

    /// Logs that have been written must stay readable.
    #[test]
    fn the_format_does_not_change() {
        let batch = Arc::new(Batch {
            stamp: Some(Stamp { unix_ms: 1, seed: 2 }),
            ..Batch::one(Step::execute("x", Bindings::positional([1_i64])))
        });
        let work = EncodedWork::new(Work::Batch { batch, alone: false, steps_max: 0 }).unwrap();
        let command = Command::new(DATABASE, CONDITIONS, vec![work]).unwrap();
        let conditions = [4, b'm', b'a', b'i', b'n', 246, 161, 171, 254, 249, 98, 1, 128, 128, 128, 32];
        let works = [1, 4, 1, 0, 1, b'x', 1, 0, 1, 2, 0, 1, 0, 0, 1, 2, 2, 0, 0, 0];
        assert_eq!(command.bytes()[HEAD_BYTES..], [&conditions[..], &works].concat());
    }

    #[test]
    fn version_1_is_read() {
        let body = [4, b'm', b'a', b'i', b'n', 1, 0, 1, 0, 1, b'x', 1, 0, 1, 2, 0, 1, 0, 0, 1, 2, 2, 0, 0];
        let bytes = [&[1][..], &crc32fast::hash(&body).to_le_bytes(), &body].concat();
        let command = Command::from_bytes(bytes).unwrap();
        assert_eq!(command.conditions(), None);
        let step = Step::execute("x", Bindings::positional([1_i64]));
        let batch = Arc::new(Batch { stamp: Some(Stamp { unix_ms: 1, seed: 2 }), ..Batch::one(step) });
        assert_eq!(command.works(), [Work::Batch { batch, alone: false, steps_max: 0 }]);
    }

    #[test]
    fn a_newer_version_is_refused() {
        let mut bytes = command().bytes().to_vec();
        bytes[0] = VERSION + 1;
        let error = Command::from_bytes(bytes).unwrap_err();
        assert!(error.to_string().contains("version 3"), "{error}");
    }

    #[test]
    fn what_repeats_itself_is_compressed() {
        let steps = (0..100_i64)
            .map(|id| Step::execute("INSERT INTO t(id, name) VALUES (?, ?)", [id.into(), Value::from("name")]))
            .collect();
        let stamp = Some(Stamp { unix_ms: 1, seed: 2 });
        let work =
            Work::Batch { batch: Arc::new(Batch { stamp, ..Batch::transaction(steps) }), alone: false, steps_max: 0 };
        let plain = postcard::to_stdvec(&Written::from(&work)).unwrap().len();
        let encoded = EncodedWork::new(work.clone()).unwrap();
        assert!(encoded.bytes.len() < plain / 3, "{} of {plain}", encoded.bytes.len());
        let command =
            Command::new(DATABASE, CONDITIONS, vec![encoded, EncodedWork::new(Work::Barrier).unwrap()]).unwrap();
        let read = Command::from_bytes(command.bytes().to_vec()).unwrap();
        assert_eq!(read.works(), [work, Work::Barrier]);
    }

    #[test]
    fn what_does_not_repeat_itself_is_not() {
        let mut chance = 1_u64;
        let mut next = || {
            chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (chance >> 56) as u8
        };
        let bytes: Arc<[u8]> = (0..10_000).map(|_| next()).collect();
        let encoded = EncodedWork::new(Work::Replace(bytes)).unwrap();
        assert_eq!(encoded.bytes, postcard::to_stdvec(&Written::from(&encoded.work)).unwrap());
    }

    /// What a peer sends may claim anything.
    #[test]
    fn nonsense_in_compressed_work_is_refused() {
        let compressed = |plain: &[u8]| {
            let packed = lz4_flex::block::compress_prepend_size(plain);
            postcard::to_stdvec(&Written::Compressed(&packed)).unwrap()
        };
        let huge = postcard::to_stdvec(&Written::Compressed(&[255, 255, 255, 127, 0])).unwrap();
        let twice = compressed(&compressed(&[1]));
        for bytes in [huge, twice, compressed(b"nonsense"), postcard::to_stdvec(&Written::Compressed(&[1])).unwrap()] {
            let work = EncodedWork { work: Work::Barrier, bytes, len_plain: 1 };
            let command = Command::new(DATABASE, CONDITIONS, vec![work]).unwrap();
            assert!(Command::from_bytes(command.bytes().to_vec()).is_err());
        }
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
        let command = Command::new("other", CONDITIONS, vec![EncodedWork::new(Work::Barrier).unwrap()]).unwrap();
        let error = Command::from_bytes(command.bytes().to_vec()).unwrap_err();
        assert!(error.to_string().contains("'other'"), "{error}");
    }
}
