//! Compares the digests of the nodes.

use std::collections::{BTreeMap, BTreeSet};

use super::messages::{WireDigest, WireKey, WireRow};

/// Returns the digest with which the others are compared, and whether a majority of the voters has it. That is the
/// digest that most voters have; if several are equally frequent, that of the leader. `None` if no member has a digest.
pub(super) fn reference(
    digests: &BTreeMap<u64, u128>,
    voters: &BTreeSet<u64>,
    leader: Option<u64>,
) -> Option<(u128, bool)> {
    let weight = |digest: &u128| {
        let count = digests.iter().filter(|(id, other)| voters.contains(id) && *other == digest).count();
        (count, leader.and_then(|leader| digests.get(&leader)) == Some(digest))
    };
    let digest = digests.values().max_by_key(|digest| weight(digest))?;
    Some((*digest, weight(digest).0 > voters.len() / 2))
}

/// Returns the names of the tables in which two nodes differ, and whether both nodes have the table.
pub(super) fn differing_tables(ours: &WireDigest, theirs: &WireDigest) -> Vec<(String, bool)> {
    let by_name = |digest: &WireDigest| -> BTreeMap<String, (u64, u128)> {
        digest.tables.iter().map(|table| (table.name.clone(), (table.rows, table.sum))).collect()
    };
    let (ours, theirs) = (by_name(ours), by_name(theirs));
    let names: BTreeSet<&String> = ours.keys().chain(theirs.keys()).collect();
    names
        .into_iter()
        .filter(|name| ours.get(*name) != theirs.get(*name))
        .map(|name| (name.clone(), ours.contains_key(name) && theirs.contains_key(name)))
        .collect()
}

/// Returns the numbers of the buckets in which two nodes differ.
pub(super) fn differing_buckets(ours: &[u128], theirs: &[u128]) -> Vec<u32> {
    (0..).zip(ours.iter().zip(theirs)).filter(|(_, (ours, theirs))| ours != theirs).map(|(number, _)| number).collect()
}

/// Returns the keys of the rows in which two nodes differ: rows that differ, and rows that only one of them has.
pub(super) fn differing_rows(ours: &[WireRow], theirs: &[WireRow]) -> BTreeSet<WireKey> {
    let count = |rows: &[WireRow]| {
        let mut counts: BTreeMap<(WireKey, u128), usize> = BTreeMap::new();
        for row in rows {
            *counts.entry((row.key.clone(), row.hash)).or_default() += 1;
        }
        counts
    };
    let (ours, theirs) = (count(ours), count(theirs));
    let rows = ours.keys().chain(theirs.keys());
    rows.filter(|row| ours.get(*row) != theirs.get(*row)).map(|(key, _)| key.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verify::messages::WireTable;

    #[test]
    fn the_reference_is_the_digest_of_most_voters() {
        let voters = BTreeSet::from([1, 2, 3]);
        let of = |digests: &[(u64, u128)]| reference(&digests.iter().copied().collect(), &voters, Some(1));
        assert_eq!(of(&[(1, 7), (2, 7), (3, 7)]), Some((7, true)));
        assert_eq!(of(&[(1, 8), (2, 7), (3, 7)]), Some((7, true)));
        assert_eq!(of(&[(1, 8), (3, 7)]), Some((8, false)));
        assert_eq!(of(&[(1, 8), (2, 7), (3, 6)]), Some((8, false)));
        assert_eq!(of(&[(2, 7), (4, 6), (5, 6), (6, 6)]), Some((7, false)), "members without a vote do not count");
        assert_eq!(of(&[]), None);
    }

    #[test]
    fn tables_that_one_node_lacks_differ() {
        let digest = |tables: &[(&str, u64, u128)]| WireDigest {
            digest: 0,
            tables: tables
                .iter()
                .map(|(name, rows, sum)| WireTable { name: (*name).to_owned(), rows: *rows, sum: *sum })
                .collect(),
            damages: Vec::new(),
        };
        let ours = digest(&[("a", 1, 5), ("b", 1, 5), ("c", 0, 0)]);
        let theirs = digest(&[("a", 1, 5), ("b", 2, 5), ("d", 0, 0)]);
        let expected = [("b".to_owned(), true), ("c".to_owned(), false), ("d".to_owned(), false)];
        assert_eq!(differing_tables(&ours, &theirs), expected);
        assert_eq!(differing_buckets(&[1, 2, 3], &[1, 5, 4]), [1, 2]);
    }

    #[test]
    fn rows_differ_by_content_and_by_presence() {
        let row = |rowid, hash| WireRow { key: WireKey::Rowid(rowid), hash };
        let ours = [row(1, 10), row(2, 20), row(3, 30)];
        let theirs = [row(1, 10), row(2, 21), row(4, 40)];
        let keys = [2, 3, 4].map(WireKey::Rowid);
        assert_eq!(differing_rows(&ours, &theirs), BTreeSet::from(keys));
        assert!(differing_rows(&ours, &ours).is_empty());
    }
}
