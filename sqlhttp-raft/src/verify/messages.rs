//! The messages of a verification.

use serde::{Deserialize, Serialize};
use sqlhttp_core::{ContentDigest, RowDigest, RowKey, TableDigest};

use crate::network::Request;

/// Asks a node to keep its content directly after an entry of the Raft log, and to compute its digest.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct PinCall {
    /// A random number that identifies the verification.
    pub(crate) id: u128,
    pub(crate) index: u64,
    /// Whether the node also runs an integrity check.
    pub(crate) deep: bool,
}

/// The response to a [`PinCall`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum PinReply {
    /// The node waits for the entry.
    Waits,
    /// The node has applied the entry already.
    Passed,
    /// The node takes part in another verification.
    Busy,
    /// The node cannot open a connection to its database, for this reason.
    Failed(String),
}

impl Request for PinCall {
    const KIND: u8 = 40;
    type Response = PinReply;
}

/// Asks a node for its progress in a verification.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct StateCall {
    pub(crate) id: u128,
}

/// The progress of a node in a verification.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum SessionState {
    /// The node waits for the entry. It has applied the entries up to `applied_index`.
    Waits { applied_index: u64 },
    /// The node computes the digest, or runs the integrity check.
    Computes,
    /// The node applied the entry before it could keep its content.
    Passed,
    /// The node has computed the digest.
    Done(WireDigest),
    /// The node cannot compute the digest.
    Failed(String),
    /// The node does not take part in this verification. It may have been restarted.
    Unknown,
    /// The node cannot read its content, because the database is damaged. The text is SQLite's message.
    Damaged(String),
}

impl Request for StateCall {
    const KIND: u8 = 41;
    type Response = SessionState;
}

/// The digest of a node's content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct WireDigest {
    pub(crate) digest: u128,
    pub(crate) tables: Vec<WireTable>,
    /// The damage that the integrity check has found.
    pub(crate) damages: Vec<String>,
}

/// The digest of a table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct WireTable {
    pub(crate) name: String,
    pub(crate) rows: u64,
    pub(crate) sum: u128,
}

impl WireDigest {
    pub(crate) fn new(content: ContentDigest, damages: Vec<String>) -> WireDigest {
        let table = |TableDigest { name, rows, sum }| WireTable { name, rows, sum };
        WireDigest { digest: content.digest, tables: content.tables.into_iter().map(table).collect(), damages }
    }
}

/// Asks a node for the digests of the buckets of a table.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct BucketsCall {
    pub(crate) id: u128,
    pub(crate) table: String,
    pub(crate) count: u32,
}

impl Request for BucketsCall {
    const KIND: u8 = 42;
    type Response = Result<Vec<u128>, String>;
}

/// Asks a node for the rows of a bucket of a table.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct RowsCall {
    pub(crate) id: u128,
    pub(crate) table: String,
    /// The number of buckets over which the rows are distributed.
    pub(crate) count: u32,
    /// The number of the bucket.
    pub(crate) number: u32,
}

impl Request for RowsCall {
    const KIND: u8 = 43;
    type Response = Result<Vec<WireRow>, String>;
}

/// The digest of a row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct WireRow {
    pub(crate) key: WireKey,
    pub(crate) hash: u128,
}

/// The key of a row.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum WireKey {
    Rowid(i64),
    Primary(String),
}

impl From<RowDigest> for WireRow {
    fn from(RowDigest { key, hash }: RowDigest) -> Self {
        let key = match key {
            RowKey::Rowid(rowid) => WireKey::Rowid(rowid),
            RowKey::Primary(key) => WireKey::Primary(key),
        };
        WireRow { key, hash }
    }
}

impl From<WireKey> for RowKey {
    fn from(key: WireKey) -> Self {
        match key {
            WireKey::Rowid(rowid) => RowKey::Rowid(rowid),
            WireKey::Primary(key) => RowKey::Primary(key),
        }
    }
}

/// Sends a node the verdict of a verification.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct VerdictCall {
    pub(crate) id: u128,
    pub(crate) verdict: Verdict,
}

/// Whether the content of a node is that of a majority of the voters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Verdict {
    /// The index at which the content was compared.
    pub(crate) index: u64,
    /// The digest of the node; `None` if its database is damaged.
    pub(crate) digest: Option<u128>,
    /// The digest of the majority.
    pub(crate) expected: u128,
}

/// The response is an error if the node does not know the verification, or cannot record the verdict.
impl Request for VerdictCall {
    const KIND: u8 = 44;
    type Response = Result<(), String>;
}

/// Ends a verification on a node.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct EndCall {
    pub(crate) id: u128,
}

impl Request for EndCall {
    const KIND: u8 = 49;
    type Response = ();
}
