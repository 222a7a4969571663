//! The messages that nodes exchange after the hello.
//!
//! A message is encoded with postcard, except for [`AppendRequest`], whose entries are copied to the connection in the
//! form in which they are in the Raft log. New fields of a struct and new variants of an enum are added only at the
//! end, and a change that an older node cannot ignore gets a new [`super::hello::PROTOCOL`].

use std::io;

use openraft::entry::{EntryPayload, RaftEntry as _};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, StreamAppendError, StreamAppendResult, TransferLeaderError,
    TransferLeaderRequest, TransferLeaderResponse, VoteRequest, VoteResponse,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::command::Command;
use crate::membership;
use crate::types::{Entry, LogId, TypeConfig, Vote, log_id};

/// A request to another node.
pub(crate) trait Request: Serialize + DeserializeOwned + Send + 'static {
    /// The kind of the frames that contain this request.
    const KIND: u8;
    /// The response to this request.
    type Response: Serialize + DeserializeOwned + Send + 'static;
}

/// The kind of the frames with an [`AppendRequest`].
pub(crate) const APPEND: u8 = 10;
/// The kind of the frames with the response to a request.
pub(crate) const RESPONSE: u8 = 2;
/// The kind of the frames with the reason why a node cannot respond to a request. The request had no effect.
pub(crate) const REFUSAL: u8 = 3;

/// Appends the encoding of a message to `out`.
pub(crate) fn encode(out: &mut Vec<u8>, message: &impl Serialize) -> io::Result<()> {
    let bytes = std::mem::take(out);
    *out = crate::command::append_postcard(message, bytes)?;
    Ok(())
}

/// Decodes a message. Bytes after the known fields are ignored, because a newer program may have added fields.
pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> io::Result<T> {
    let decoded = postcard::take_from_bytes(bytes).map(|(message, _)| message);
    decoded.map_err(|error| malformed(&error.to_string()))
}

fn malformed(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("a message between nodes is malformed: {why}"))
}

/// The id of an entry of the Raft log. The index is counted from 0, as in openraft.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct WireLogId {
    term: u64,
    index: u64,
}

impl From<LogId> for WireLogId {
    fn from(id: LogId) -> Self {
        WireLogId { term: id.leader_id.term, index: id.index }
    }
}

impl From<WireLogId> for LogId {
    fn from(id: WireLogId) -> Self {
        log_id(id.term, id.index)
    }
}

/// A vote (section 3.4 of the Raft dissertation). It is committed if a quorum has granted it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct WireVote {
    term: u64,
    node: u64,
    committed: bool,
}

impl From<Vote> for WireVote {
    fn from(vote: Vote) -> Self {
        WireVote { term: vote.leader_id.term, node: vote.leader_id.voted_for, committed: vote.committed }
    }
}

impl From<WireVote> for Vote {
    fn from(WireVote { term, node, committed }: WireVote) -> Self {
        if committed { Vote::new_committed(term, node) } else { Vote::new(term, node) }
    }
}

/// Asks for a vote, or in a pre-vote whether the node would grant it (section 9.6 of the Raft dissertation).
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct VoteCall {
    pub(crate) pre_vote: bool,
    vote: WireVote,
    last: Option<WireLogId>,
    pub(crate) leadership_transfer: bool,
}

/// The response to a [`VoteCall`].
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct VoteReply {
    vote: WireVote,
    granted: bool,
    last: Option<WireLogId>,
}

impl Request for VoteCall {
    const KIND: u8 = 11;
    type Response = VoteReply;
}

impl VoteCall {
    pub(crate) fn new(request: VoteRequest<TypeConfig>, pre_vote: bool) -> VoteCall {
        let VoteRequest { vote, last_log_id, leadership_transfer } = request;
        VoteCall { pre_vote, vote: vote.into(), last: last_log_id.map(WireLogId::from), leadership_transfer }
    }

    pub(crate) fn request(self) -> VoteRequest<TypeConfig> {
        let mut request = VoteRequest::new(self.vote.into(), self.last.map(LogId::from));
        request.leadership_transfer = self.leadership_transfer;
        request
    }
}

impl From<VoteResponse<TypeConfig>> for VoteReply {
    fn from(response: VoteResponse<TypeConfig>) -> Self {
        let VoteResponse { vote, vote_granted, last_log_id } = response;
        VoteReply { vote: vote.into(), granted: vote_granted, last: last_log_id.map(WireLogId::from) }
    }
}

impl From<VoteReply> for VoteResponse<TypeConfig> {
    fn from(reply: VoteReply) -> Self {
        VoteResponse::new(Vote::from(reply.vote), reply.last.map(LogId::from), reply.granted)
    }
}

/// Transfers the leadership to a node (section 3.10 of the Raft dissertation).
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct TransferCall {
    from: WireVote,
    to: u64,
    last: Option<WireLogId>,
}

/// The response to a [`TransferCall`].
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum TransferReply {
    Accepted,
    VoteChanged { expected: WireVote, actual: WireVote },
    LogNotFlushed { expected: Option<WireLogId>, actual: Option<WireLogId> },
}

impl Request for TransferCall {
    const KIND: u8 = 12;
    type Response = TransferReply;
}

impl TransferCall {
    /// Returns whether the node with this Raft id shall become leader.
    pub(crate) fn is_to(&self, node: u64) -> bool {
        self.to == node
    }
}

impl From<&TransferLeaderRequest<TypeConfig>> for TransferCall {
    fn from(request: &TransferLeaderRequest<TypeConfig>) -> Self {
        let last = request.last_log_id().copied().map(WireLogId::from);
        TransferCall { from: (*request.from_leader()).into(), to: *request.to_node_id(), last }
    }
}

impl From<TransferCall> for TransferLeaderRequest<TypeConfig> {
    fn from(call: TransferCall) -> Self {
        TransferLeaderRequest::new(call.from.into(), call.to, call.last.map(LogId::from))
    }
}

impl From<TransferLeaderResponse<TypeConfig>> for TransferReply {
    fn from(response: TransferLeaderResponse<TypeConfig>) -> Self {
        match response {
            Ok(()) => TransferReply::Accepted,
            Err(TransferLeaderError::VoteChanged { expected, actual }) => {
                TransferReply::VoteChanged { expected: expected.into(), actual: actual.into() }
            }
            Err(TransferLeaderError::LogNotFlushed { expected, actual }) => TransferReply::LogNotFlushed {
                expected: expected.map(WireLogId::from),
                actual: actual.map(WireLogId::from),
            },
        }
    }
}

impl From<TransferReply> for TransferLeaderResponse<TypeConfig> {
    fn from(reply: TransferReply) -> Self {
        match reply {
            TransferReply::Accepted => Ok(()),
            TransferReply::VoteChanged { expected, actual } => {
                Err(TransferLeaderError::VoteChanged { expected: expected.into(), actual: actual.into() })
            }
            TransferReply::LogNotFlushed { expected, actual } => Err(TransferLeaderError::LogNotFlushed {
                expected: expected.map(LogId::from),
                actual: actual.map(LogId::from),
            }),
        }
    }
}

/// The part of an [`AppendRequest`] before its entries.
#[derive(Debug, Serialize, Deserialize)]
struct AppendHead {
    vote: WireVote,
    prev: Option<WireLogId>,
    commit: Option<WireLogId>,
    entries: u32,
}

/// A request to append entries to the Raft log; without entries, a heartbeat (section 3.5 of the Raft dissertation).
///
/// The encoding is the head, and for each entry its term u64, its index u64, its tag u8 (0 blank, 1 command,
/// 2 membership), the length of its bytes u32, and its bytes.
pub(crate) type AppendRequest = AppendEntriesRequest<TypeConfig>;

/// Appends the encoding of an append request to `out`.
pub(crate) fn encode_append(out: &mut Vec<u8>, request: &AppendRequest) -> io::Result<()> {
    let AppendEntriesRequest { vote, prev_log_id, entries, leader_commit } = request;
    let head = AppendHead {
        vote: (*vote).into(),
        prev: prev_log_id.map(WireLogId::from),
        commit: leader_commit.map(WireLogId::from),
        entries: u32::try_from(entries.len()).map_err(io::Error::other)?,
    };
    encode(out, &head)?;
    entries.iter().try_for_each(|entry| encode_entry(out, entry))
}

fn encode_entry(out: &mut Vec<u8>, entry: &Entry) -> io::Result<()> {
    let id = entry.log_id();
    out.extend_from_slice(&id.leader_id.term.to_le_bytes());
    out.extend_from_slice(&id.index.to_le_bytes());
    let members;
    let (tag, bytes): (u8, &[u8]) = match &entry.payload {
        EntryPayload::Blank => (0, &[]),
        EntryPayload::Normal(command) => (1, command.bytes()),
        EntryPayload::Membership(membership) => {
            members = membership::encode_members(membership)?;
            (2, &members)
        }
    };
    out.push(tag);
    out.extend_from_slice(&u32::try_from(bytes.len()).map_err(io::Error::other)?.to_le_bytes());
    out.extend_from_slice(bytes);
    Ok(())
}

/// Decodes an append request.
///
/// # Errors
/// The bytes are not an append request, or an entry is malformed.
pub(crate) fn decode_append(bytes: &[u8]) -> io::Result<AppendRequest> {
    let (head, mut rest): (AppendHead, &[u8]) =
        postcard::take_from_bytes(bytes).map_err(|error| malformed(&error.to_string()))?;
    let mut entries = Vec::new();
    for _ in 0..head.entries {
        entries.push(decode_entry(&mut rest)?);
    }
    if !rest.is_empty() {
        return Err(malformed("bytes after the last entry"));
    }
    Ok(AppendEntriesRequest {
        vote: head.vote.into(),
        prev_log_id: head.prev.map(LogId::from),
        entries,
        leader_commit: head.commit.map(LogId::from),
    })
}

fn decode_entry(rest: &mut &[u8]) -> io::Result<Entry> {
    let cut_off = || malformed("an entry is cut off");
    let term = u64::from_le_bytes(take(rest).ok_or_else(cut_off)?);
    let index = u64::from_le_bytes(take(rest).ok_or_else(cut_off)?);
    let [tag] = take(rest).ok_or_else(cut_off)?;
    let len = u32::from_le_bytes(take(rest).ok_or_else(cut_off)?) as usize;
    let (bytes, after) = rest.split_at_checked(len).ok_or_else(cut_off)?;
    *rest = after;
    let payload = match tag {
        0 => EntryPayload::Blank,
        1 => EntryPayload::Normal(Command::from_bytes(bytes.to_vec())?),
        2 => EntryPayload::Membership(membership::decode_members(bytes)?),
        _ => return Err(malformed("an entry has an unknown tag")),
    };
    Ok(Entry { log_id: log_id(term, index), payload })
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (bytes, after) = rest.split_first_chunk::<N>()?;
    *rest = after;
    Some(*bytes)
}

/// The response to an [`AppendRequest`].
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum AppendReply {
    /// The follower has appended all entries, and they are durable.
    Appended,
    /// The follower has appended the entries up to this one.
    AppendedUpTo(Option<WireLogId>),
    /// The follower has no entry with the id before the first entry.
    Conflict,
    /// The follower has granted a later vote.
    HigherVote(WireVote),
}

impl From<AppendEntriesResponse<TypeConfig>> for AppendReply {
    fn from(response: AppendEntriesResponse<TypeConfig>) -> Self {
        match response {
            AppendEntriesResponse::Success => AppendReply::Appended,
            AppendEntriesResponse::PartialSuccess(id) => AppendReply::AppendedUpTo(id.map(WireLogId::from)),
            AppendEntriesResponse::Conflict => AppendReply::Conflict,
            AppendEntriesResponse::HigherVote(vote) => AppendReply::HigherVote(vote.into()),
        }
    }
}

impl From<AppendReply> for AppendEntriesResponse<TypeConfig> {
    fn from(reply: AppendReply) -> Self {
        match reply {
            AppendReply::Appended => AppendEntriesResponse::Success,
            AppendReply::AppendedUpTo(id) => AppendEntriesResponse::PartialSuccess(id.map(LogId::from)),
            AppendReply::Conflict => AppendEntriesResponse::Conflict,
            AppendReply::HigherVote(vote) => AppendEntriesResponse::HigherVote(vote.into()),
        }
    }
}

impl From<StreamAppendResult<TypeConfig>> for AppendReply {
    fn from(result: StreamAppendResult<TypeConfig>) -> Self {
        match result {
            Ok(id) => AppendReply::AppendedUpTo(id.map(WireLogId::from)),
            Err(StreamAppendError::Conflict(_)) => AppendReply::Conflict,
            Err(StreamAppendError::HigherVote(vote)) => AppendReply::HigherVote(vote.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::collections::{BTreeMap, BTreeSet};

    use sqlhttp_core::Conditions;

    use super::*;
    use crate::command::{DATABASE, EncodedOperation, Operation};
    use crate::types::{MemberInfo, Membership};

    fn request() -> AppendRequest {
        let conditions = Conditions { unix_ms: 7, foreign_keys: true, value_bytes_max: 100, time_zone: None };
        let operations = vec![EncodedOperation::new(Operation::Barrier).unwrap()];
        let command = Command::new(DATABASE, conditions, operations).unwrap();
        let node = MemberInfo { name: "a".to_owned(), raft_address: "a:1".to_owned(), ..MemberInfo::default() };
        let members = Membership::new(vec![BTreeSet::from([1])], BTreeMap::from([(1, node)])).unwrap();
        let payloads = [
            EntryPayload::Blank,
            EntryPayload::Normal(command),
            EntryPayload::Membership(members),
            EntryPayload::Blank,
        ];
        let entries = payloads.into_iter().zip(5..).map(|(payload, index)| Entry { log_id: log_id(2, index), payload });
        AppendEntriesRequest {
            vote: Vote::new_committed(2, 1),
            prev_log_id: Some(log_id(1, 4)),
            entries: entries.collect(),
            leader_commit: None,
        }
    }

    #[test]
    fn an_append_request_survives_encoding() {
        let request = request();
        let mut bytes = vec![9];
        encode_append(&mut bytes, &request).unwrap();
        let decoded = decode_append(&bytes[1..]).unwrap();
        assert_eq!(decoded.vote, request.vote);
        assert_eq!((decoded.prev_log_id, decoded.leader_commit), (request.prev_log_id, request.leader_commit));
        assert_eq!(decoded.entries, request.entries);
    }

    #[test]
    fn a_cut_off_append_request_is_refused() {
        let mut bytes = Vec::new();
        encode_append(&mut bytes, &request()).unwrap();
        for len in 0..bytes.len() {
            assert!(decode_append(&bytes[..len]).is_err(), "cut at {len}");
        }
        bytes.push(0);
        assert!(decode_append(&bytes).is_err());
    }

    #[test]
    fn votes_and_replies_survive_encoding() {
        let asked = VoteRequest::<TypeConfig>::new(Vote::new(3, 9), Some(log_id(2, 7)));
        let mut bytes = Vec::new();
        encode(&mut bytes, &VoteCall::new(asked.clone(), true)).unwrap();
        // A field that a newer program has added.
        bytes.push(1);
        let call: VoteCall = decode(&bytes).unwrap();
        assert!(call.pre_vote);
        assert_eq!(call.request(), asked);
        let response = VoteResponse::<TypeConfig>::new(Vote::new_committed(4, 2), None, true);
        assert_eq!(VoteResponse::from(VoteReply::from(response.clone())), response);
        for reply in [
            AppendEntriesResponse::Success,
            AppendEntriesResponse::PartialSuccess(Some(log_id(1, 2))),
            AppendEntriesResponse::Conflict,
            AppendEntriesResponse::HigherVote(Vote::new(1, 2)),
        ] {
            assert_eq!(AppendEntriesResponse::from(AppendReply::from(reply.clone())), reply);
        }
    }
}
