//! Finds the rows in which nodes differ.

use std::collections::BTreeSet;
use std::time::Duration;

use sqlhttp_core::RowKey;

use super::compare::{differing_buckets, differing_rows, differing_tables};
use super::coordinator::{Coordinator, Results};
use super::messages::{BucketsCall, RowsCall, WireDigest, WireRow};
use super::sessions::ROWS_MAX;
use super::{DIFFERENCES_MAX, Difference};

/// The time within which a node must read a table.
const TABLE_TIMEOUT: Duration = Duration::from_secs(600);
/// The limits of the number of buckets over which the rows of a table are distributed.
const BUCKETS: (u64, u64) = (4096, 1 << 16);
/// The average number of rows of a bucket of a large table.
const BUCKET_ROWS: u64 = 1000;
/// The maximum number of buckets of a table whose rows are compared. Each of them needs a scan of the table.
const BUCKETS_MAX: usize = 16;

/// The search for the rows in which members differ.
pub(super) struct Search<'a> {
    pub(super) coordinator: &'a Coordinator<'a>,
    pub(super) results: &'a Results,
}

impl Search<'_> {
    /// Returns the rows in which the members `differing` differ from the first of the members `equal`; at most
    /// [`DIFFERENCES_MAX`].
    pub(super) async fn differences(
        &self,
        equal: &BTreeSet<u64>,
        differing: impl Iterator<Item = (u64, String)>,
    ) -> Vec<Difference> {
        let mut found = Vec::new();
        let digests = &self.results.digests;
        let Some((equal, ours)) = equal.first().and_then(|id| Some((*id, digests.get(id)?))) else { return found };
        for (member, node) in differing {
            let Some(theirs) = digests.get(&member) else { continue };
            for (table, in_both) in differing_tables(ours, theirs) {
                let buckets = bucket_count(ours, theirs, &table);
                let rows = if in_both { self.rows_of((equal, member), &table, buckets).await } else { Vec::new() };
                let difference = |row| Difference { node: node.clone(), table: table.clone(), row };
                if rows.is_empty() {
                    found.push(difference(None));
                } else {
                    found.extend(rows.into_iter().map(|row| difference(Some(row))));
                }
                if found.len() >= DIFFERENCES_MAX {
                    found.truncate(DIFFERENCES_MAX);
                    return found;
                }
            }
        }
        found
    }

    /// Returns the keys of rows of a table in which two members differ. Returns none if a member does not respond.
    async fn rows_of(&self, members: (u64, u64), table: &str, count: u32) -> Vec<RowKey> {
        let (ours, theirs) =
            futures_util::join!(self.buckets(members.0, table, count), self.buckets(members.1, table, count));
        let (Ok(ours), Ok(theirs)) = (ours, theirs) else { return Vec::new() };
        let mut keys = Vec::new();
        for number in differing_buckets(&ours, &theirs).into_iter().take(BUCKETS_MAX) {
            let call = RowsCall { id: self.coordinator.id(), table: table.to_owned(), count, number };
            let (ours, theirs) = futures_util::join!(self.rows(members.0, call.clone()), self.rows(members.1, call));
            let (Ok(ours), Ok(theirs)) = (ours, theirs) else { break };
            // A list that was cut off may lack rows that the other one has.
            if ours.len() < ROWS_MAX && theirs.len() < ROWS_MAX {
                keys.extend(differing_rows(&ours, &theirs).into_iter().map(RowKey::from));
            }
            if keys.len() >= DIFFERENCES_MAX {
                break;
            }
        }
        keys.sort();
        keys
    }

    async fn buckets(&self, member: u64, table: &str, count: u32) -> Result<Vec<u128>, String> {
        let call = BucketsCall { id: self.coordinator.id(), table: table.to_owned(), count };
        if self.coordinator.is_own(member) {
            return self.coordinator.node().verification_buckets(call).await;
        }
        self.coordinator.ask(member, &call, TABLE_TIMEOUT).await?
    }

    async fn rows(&self, member: u64, call: RowsCall) -> Result<Vec<WireRow>, String> {
        if self.coordinator.is_own(member) {
            return self.coordinator.node().verification_rows(call).await;
        }
        self.coordinator.ask(member, &call, TABLE_TIMEOUT).await?
    }
}

/// Returns the number of buckets for a table, which depends on its number of rows.
fn bucket_count(ours: &WireDigest, theirs: &WireDigest, table: &str) -> u32 {
    let tables = ours.tables.iter().chain(&theirs.tables).filter(|digest| digest.name == table);
    let rows = tables.map(|digest| digest.rows).max().unwrap_or(0);
    u32::try_from((rows / BUCKET_ROWS).clamp(BUCKETS.0, BUCKETS.1)).unwrap_or(u32::MAX)
}
