//! The encoding of the frames of a segment. The format is described in [`crate::log`].

use std::io;

use openraft::entry::{EntryPayload, RaftEntry as _};

use crate::command::Command;
use crate::membership;
use crate::types::{Entry, LogId, Vote, log_id};

/// The length of a frame's header, in bytes. It contains the length of the body, the kind of the frame, the durable
/// offset, and the CRCs of the header and of the body.
pub(super) const HEADER_BYTES: usize = 17;
/// The number of header bytes that the CRC of the header covers. (The CRC also covers the number of the segment and the
/// offset of the frame.)
const COVERED_BYTES: usize = 9;
/// The length of an entry's index, term and tag in the body of a frame, in bytes.
const ENTRY_HEAD_BYTES: usize = 17;
/// The maximum length of a frame's body, in bytes.
pub(super) const BODY_BYTES_MAX: usize = u32::MAX as usize / 2;

/// The decoded contents of a frame.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Frame {
    Entry(Entry),
    /// Removes the entries after this one; all entries, if the value is `None`.
    Truncate(Option<LogId>),
    Purge(LogId),
    Vote(Vote),
    Committed(LogId),
    /// The end frame: the last frame of a segment that other segments follow.
    SegmentEnd,
}

const ENTRY: u8 = 1;
const TRUNCATE: u8 = 2;
const PURGE: u8 = 3;
const VOTE: u8 = 4;
const COMMITTED: u8 = 5;
const END: u8 = 6;

/// A valid frame, borrowed from the bytes of a segment.
#[derive(Debug)]
pub(super) struct FrameRef<'b> {
    pub(super) kind: u8,
    /// The offset up to which the segment was durable when this frame was written.
    pub(super) durable: u32,
    pub(super) body: &'b [u8],
}

impl FrameRef<'_> {
    /// The length of the frame, including its header, in bytes.
    pub(super) fn len(&self) -> usize {
        HEADER_BYTES + self.body.len()
    }

    /// Returns the id of the entry in this frame, or `None` if the frame contains no entry.
    pub(super) fn entry_id(&self) -> Option<LogId> {
        if self.kind == ENTRY { read_log_id(&mut &*self.body) } else { None }
    }
}

/// Returns the length of the frame of an entry, in bytes.
pub(super) fn entry_len(entry: &Entry) -> u64 {
    let payload = match &entry.payload {
        EntryPayload::Blank => 0,
        EntryPayload::Normal(command) => command.bytes().len(),
        EntryPayload::Membership(members) => membership::encode_members(members).map_or(0, |bytes| bytes.len()),
    };
    (HEADER_BYTES + ENTRY_HEAD_BYTES + payload) as u64
}

/// Appends an encoded frame to `out`. The first byte of `out` is at offset `base` of segment `number`; the segment is
/// durable up to offset `durable`.
///
/// # Errors
/// The entry is longer than [`BODY_BYTES_MAX`].
pub(super) fn encode(out: &mut Vec<u8>, frame: &Frame, number: u64, base: u64, durable: u32) -> io::Result<()> {
    let start = out.len();
    let offset = base + start as u64;
    out.extend_from_slice(&[0; HEADER_BYTES]);
    let kind = write_body(out, frame)?;
    let body = out.len() - start - HEADER_BYTES;
    if body > BODY_BYTES_MAX {
        out.truncate(start);
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("an entry of {body} bytes is too long for the log"),
        ));
    }
    let header = &mut out[start..];
    header[..4].copy_from_slice(&(body as u32).to_le_bytes());
    header[4] = kind;
    header[5..COVERED_BYTES].copy_from_slice(&durable.to_le_bytes());
    let header_crc = checksum(number, offset, &header[..COVERED_BYTES]);
    let body_crc = checksum(number, offset, &header[HEADER_BYTES..]);
    header[COVERED_BYTES..COVERED_BYTES + 4].copy_from_slice(&header_crc.to_le_bytes());
    header[COVERED_BYTES + 4..HEADER_BYTES].copy_from_slice(&body_crc.to_le_bytes());
    Ok(())
}

/// A valid header of a frame.
struct Header {
    kind: u8,
    durable: u32,
    body_crc: u32,
    /// The index in the bytes after the last one of the frame. It may be beyond the bytes.
    end: usize,
}

fn header_at(bytes: &[u8], number: u64, base: u64, at: usize) -> Option<Header> {
    let header = bytes.get(at..at.checked_add(HEADER_BYTES)?)?;
    let number_at = |at: usize| Some(u32::from_le_bytes(header.get(at..at + 4)?.try_into().ok()?));
    let kind = header[4];
    // The cheap checks come first: recovery searches for frames at every offset, in bytes that a client may have
    // chosen.
    if !(ENTRY..=END).contains(&kind)
        || checksum(number, base + at as u64, &header[..COVERED_BYTES]) != number_at(COVERED_BYTES)?
    {
        return None;
    }
    let end = at.checked_add(HEADER_BYTES)?.checked_add(number_at(0)? as usize)?;
    Some(Header { kind, durable: number_at(5)?, body_crc: number_at(COVERED_BYTES + 4)?, end })
}

/// Returns the frame that begins at `bytes[at]`, or `None` if there is no valid frame. The first byte of `bytes` is at
/// offset `base` of segment `number`.
pub(super) fn decode_at(bytes: &[u8], number: u64, base: u64, at: usize) -> Option<FrameRef<'_>> {
    let Header { kind, durable, body_crc, end } = header_at(bytes, number, base, at)?;
    let body = bytes.get(at + HEADER_BYTES..end)?;
    let right = checksum(number, base + at as u64, body) == body_crc;
    right.then_some(FrameRef { kind, durable, body })
}

/// Returns the index after the last byte of the frame that begins at `bytes[at]`, where the segment begins with
/// `bytes[0]`; the index after its header, if the header is not valid. The index may be beyond the bytes.
pub(super) fn end_at(bytes: &[u8], number: u64, at: usize) -> usize {
    header_at(bytes, number, 0, at).map_or(at.saturating_add(HEADER_BYTES), |header| header.end)
}

fn checksum(number: u64, offset: u64, bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&number.to_le_bytes());
    hasher.update(&offset.to_le_bytes());
    hasher.update(bytes);
    hasher.finalize()
}

fn write_body(out: &mut Vec<u8>, frame: &Frame) -> io::Result<u8> {
    Ok(match frame {
        Frame::Entry(entry) => {
            write_log_id(out, &entry.log_id());
            match &entry.payload {
                EntryPayload::Blank => out.push(0),
                EntryPayload::Normal(command) => {
                    out.push(1);
                    out.extend_from_slice(command.bytes());
                }
                EntryPayload::Membership(members) => {
                    out.push(2);
                    out.extend_from_slice(&membership::encode_members(members)?);
                }
            }
            ENTRY
        }
        Frame::Truncate(last) => {
            if let Some(last) = last {
                write_log_id(out, last);
            }
            TRUNCATE
        }
        Frame::Purge(id) => {
            write_log_id(out, id);
            PURGE
        }
        Frame::Vote(vote) => {
            write_vote(out, vote);
            VOTE
        }
        Frame::Committed(id) => {
            write_log_id(out, id);
            COMMITTED
        }
        Frame::SegmentEnd => END,
    })
}

/// Decodes the contents of a valid frame.
///
/// # Errors
/// The contents are malformed although their checksum is correct: another program has written them, or this program has
/// a bug.
pub(super) fn parse(found: &FrameRef<'_>) -> io::Result<Frame> {
    let malformed = || io::Error::new(io::ErrorKind::InvalidData, "a frame makes no sense");
    let mut rest = found.body;
    let frame = match found.kind {
        ENTRY => {
            let id = read_log_id(&mut rest).ok_or_else(malformed)?;
            let (tag, bytes) = rest.split_first().ok_or_else(malformed)?;
            let payload = match tag {
                0 => EntryPayload::Blank,
                1 => EntryPayload::Normal(Command::from_bytes(bytes.to_vec())?),
                2 => EntryPayload::Membership(membership::decode_members(bytes)?),
                _ => return Err(malformed()),
            };
            return Ok(Frame::Entry(Entry { log_id: id, payload }));
        }
        TRUNCATE if rest.is_empty() => Frame::Truncate(None),
        TRUNCATE => Frame::Truncate(Some(read_log_id(&mut rest).ok_or_else(malformed)?)),
        PURGE => Frame::Purge(read_log_id(&mut rest).ok_or_else(malformed)?),
        VOTE => Frame::Vote(read_vote(&mut rest).ok_or_else(malformed)?),
        COMMITTED => Frame::Committed(read_log_id(&mut rest).ok_or_else(malformed)?),
        _ => Frame::SegmentEnd,
    };
    if rest.is_empty() { Ok(frame) } else { Err(malformed()) }
}

pub(super) fn write_log_id(out: &mut Vec<u8>, id: &LogId) {
    out.extend_from_slice(&id.index.to_le_bytes());
    out.extend_from_slice(&id.leader_id.term.to_le_bytes());
}

pub(super) fn read_log_id(rest: &mut &[u8]) -> Option<LogId> {
    let (index, term) = (read_u64(rest)?, read_u64(rest)?);
    Some(log_id(term, index))
}

pub(super) fn write_vote(out: &mut Vec<u8>, vote: &Vote) {
    out.extend_from_slice(&vote.leader_id.term.to_le_bytes());
    out.extend_from_slice(&vote.leader_id.voted_for.to_le_bytes());
    out.push(u8::from(vote.committed));
}

pub(super) fn read_vote(rest: &mut &[u8]) -> Option<Vote> {
    let (term, node) = (read_u64(rest)?, read_u64(rest)?);
    let (committed, after) = rest.split_first()?;
    *rest = after;
    Some(if *committed == 0 { Vote::new(term, node) } else { Vote::new_committed(term, node) })
}

pub(super) fn read_u64(rest: &mut &[u8]) -> Option<u64> {
    let (bytes, after) = rest.split_first_chunk::<8>()?;
    *rest = after;
    Some(u64::from_le_bytes(*bytes))
}
