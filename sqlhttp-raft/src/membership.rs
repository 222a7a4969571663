//! The encoding of the cluster membership in the database and in the Raft log. openraft defines no stable encoding.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use serde::{Deserialize, Serialize};

use crate::types::{MemberInfo, Membership, StoredMembership, log_id};

/// The encoded form of the cluster membership. New parts may be added only after the last one: it is followed by
/// [`Extras`], which older versions of this program do not write and ignore.
#[derive(Serialize, Deserialize)]
struct MembershipRecord {
    /// The term and the index of the Raft log entry that contains the membership; the index is counted from 0, as in
    /// openraft. `None` inside the entry itself, and if no entry has set a membership.
    log_id: Option<(u64, u64)>,
    /// The sets of voters. A decision requires a majority of each set. There is one set, or two during a membership
    /// change (joint consensus, section 4.3 of the Raft dissertation).
    voters: Vec<BTreeSet<u64>>,
    /// All members of the cluster by Raft id, including those that do not vote.
    nodes: BTreeMap<u64, NameAndAddress>,
}

/// The part of a [`MemberInfo`] that the first version of the encoding has.
#[derive(Serialize, Deserialize)]
struct NameAndAddress {
    name: String,
    raft_address: String,
}

/// The other parts of the members by Raft id. New fields may be added only to a further record after this one.
type Extras = BTreeMap<u64, Extra>;

#[derive(Default, Serialize, Deserialize)]
struct Extra {
    non_voter: bool,
    instance: u128,
}

/// Encodes a cluster membership for the database, together with the id of the Raft log entry that has set it.
pub(crate) fn encode(membership: &StoredMembership) -> io::Result<Vec<u8>> {
    to_bytes(membership.log_id().map(|id| (id.leader_id.term, id.index)), membership.membership())
}

/// Encodes a cluster membership as the payload of a Raft log entry.
pub(crate) fn encode_members(membership: &Membership) -> io::Result<Vec<u8>> {
    to_bytes(None, membership)
}

fn to_bytes(log_id: Option<(u64, u64)>, membership: &Membership) -> io::Result<Vec<u8>> {
    let voters = membership.get_joint_config().clone();
    let (mut nodes, mut extras) = (BTreeMap::new(), Extras::new());
    for (id, MemberInfo { name, raft_address, non_voter, instance }) in membership.nodes() {
        nodes.insert(*id, NameAndAddress { name: name.clone(), raft_address: raft_address.clone() });
        extras.insert(*id, Extra { non_voter: *non_voter, instance: *instance });
    }
    postcard::to_stdvec(&(MembershipRecord { log_id, voters, nodes }, extras)).map_err(io::Error::other)
}

/// Decodes the result of [`encode_members`].
pub(crate) fn decode_members(bytes: &[u8]) -> io::Result<Membership> {
    Ok(decode(bytes)?.membership().clone())
}

/// Decodes the result of [`encode`]. Empty bytes decode to the membership of a node that belongs to no cluster yet.
pub(crate) fn decode(bytes: &[u8]) -> io::Result<StoredMembership> {
    if bytes.is_empty() {
        return Ok(StoredMembership::default());
    }
    let invalid =
        |why: String| io::Error::new(io::ErrorKind::InvalidData, format!("the membership makes no sense: {why}"));
    let (record, rest): (MembershipRecord, &[u8]) =
        postcard::take_from_bytes(bytes).map_err(|why| invalid(why.to_string()))?;
    let mut extras = Extras::new();
    if !rest.is_empty() {
        extras = postcard::take_from_bytes(rest).map_err(|why| invalid(why.to_string()))?.0;
    }
    let nodes: BTreeMap<u64, MemberInfo> = record
        .nodes
        .into_iter()
        .map(|(id, NameAndAddress { name, raft_address })| {
            let Extra { non_voter, instance } = extras.remove(&id).unwrap_or_default();
            (id, MemberInfo { name, raft_address, non_voter, instance })
        })
        .collect();
    let membership = Membership::new(record.voters, nodes).map_err(|why| invalid(why.to_string()))?;
    Ok(StoredMembership::new(record.log_id.map(|(term, index)| log_id(term, index)), membership))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_membership_survives_encoding() {
        let peer = |name: &str| MemberInfo {
            name: name.to_owned(),
            raft_address: format!("{name}:4002"),
            non_voter: name == "learner",
            instance: u128::MAX,
        };
        let nodes = BTreeMap::from([(1, peer("a")), (7, peer("b")), (9, peer("learner"))]);
        let joint = Membership::new(vec![BTreeSet::from([1]), BTreeSet::from([1, 7])], nodes).unwrap();
        for stored in [StoredMembership::default(), StoredMembership::new(Some(log_id(3, 12)), joint)] {
            let bytes = encode(&stored).unwrap();
            assert_eq!(decode(&bytes).unwrap(), stored);
        }
        assert_eq!(decode(&[]).unwrap(), StoredMembership::default());
        assert!(decode(&[1, 2]).is_err());
    }

    #[test]
    fn the_first_version_of_the_encoding_can_be_read() {
        let nodes = BTreeMap::from([(1, NameAndAddress { name: "a".to_owned(), raft_address: "a:4002".to_owned() })]);
        let record = MembershipRecord { log_id: Some((2, 5)), voters: vec![BTreeSet::from([1])], nodes };
        let decoded = decode(&postcard::to_stdvec(&record).unwrap()).unwrap();
        let member = decoded.membership().get_node(&1).unwrap();
        assert_eq!((member.name.as_str(), member.non_voter, member.instance), ("a", false, 0));
        assert_eq!(*decoded.log_id(), Some(log_id(2, 5)));
    }
}
