//! Recovery of a cluster that has lost its quorum for good: the file `raft/peers.json`.
//!
//! An operator writes the file into the directory of each remaining node and starts the nodes. Each node then applies
//! all entries of its Raft log, also those that may never have been committed, and replaces the membership by that in
//! the file. The format is that of rqlite.
//!
//! The recovered cluster is a new one, whose id depends on the last entry of the node's log. A node that is not in the
//! file cannot connect to it. Neither can a node in the file whose log ended elsewhere: its content may differ. The
//! operator empties the directory of such a node, and it joins as a new one.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use sqlhttp_core::{Database, LogEntry, LogWork};

use crate::identity::Identity;
use crate::log::LogStore;
use crate::machine::StateMachine;
use crate::membership;
use crate::runtime::engine;
use crate::small_files::sync_directory_of;
use crate::snapshots::InstallRecord;
use crate::types::{MemberInfo, Membership, StoredMembership, id_at};

/// A member in `raft/peers.json`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct Peer {
    /// The name of the member.
    id: String,
    /// The address at which other nodes connect to the member, as `host:port`.
    address: String,
    #[serde(default)]
    non_voter: bool,
}

/// Returns the path of the file that requests a recovery.
pub(crate) fn path(directory: &Path) -> PathBuf {
    directory.join("raft").join("peers.json")
}

/// The name of the snapshot in the record of a recovery. No file has this name: the content of the database is the
/// snapshot.
const NO_FILE: &str = "db.sqlite-recovered";

/// Applies all entries of the Raft log to the database, and replaces the membership. The next start of the node resets
/// the Raft log to the position of the database.
///
/// # Errors
/// `raft/peers.json` is malformed, or names a node that is not a member; an entry cannot be applied; a file operation
/// failed.
pub(crate) async fn recover(
    directory: &Path,
    log: &LogStore,
    database: &Database,
    machine: &StateMachine,
    identity: &Identity,
) -> io::Result<()> {
    let file = path(directory);
    machine.apply_all(log).await?;
    let progress = database.progress();
    let members = membership::decode(&progress.membership)?;
    let replaced = read(&file, members.membership())?;
    let is_done = *members.membership() == replaced && *members.log_id() == id_at(progress.term, progress.index);
    if !is_done {
        let (term, index) = (progress.term.max(1), progress.index + 1);
        InstallRecord::new(Path::new(NO_FILE), term, index).write(directory)?;
        let stored = StoredMembership::new(id_at(term, index), replaced);
        // The Raft log is reset, so it does not contain the parts of an open load any more.
        let no_load = LogWork::Load { load_index: 0, refusal: None };
        let work = vec![no_load, LogWork::Membership(membership::encode(&stored)?)];
        let entry = LogEntry { term, index, conditions: None, work };
        engine(database.apply(vec![entry])).await.map_err(io::Error::other)?;
        engine(database.sync()).await.map_err(io::Error::other)?;
    }
    // The membership contains the last entry, and a random number of each member.
    identity.replace_cluster(hash(&database.progress().membership))?;
    std::fs::rename(&file, file.with_extension("info"))?;
    sync_directory_of(&file)
}

/// Returns a 128-bit FNV-1a hash (<https://datatracker.ietf.org/doc/html/draft-eastlake-fnv>). It is never 0.
fn hash(bytes: &[u8]) -> u128 {
    let mut hash: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    for byte in bytes {
        hash = (hash ^ u128::from(*byte)).wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013b);
    }
    hash.max(1)
}

/// Reads `raft/peers.json`. The names in it must be those of `members`.
fn read(file: &Path, members: &Membership) -> io::Result<Membership> {
    let invalid = |why: String| io::Error::new(io::ErrorKind::InvalidData, why);
    let bytes = std::fs::read(file)?;
    let peers: Vec<Peer> = serde_json::from_slice(&bytes).map_err(|error| invalid(error.to_string()))?;
    let (mut nodes, mut voters) = (BTreeMap::new(), BTreeSet::new());
    for Peer { id, address, non_voter } in peers {
        let known = members.nodes().find(|(_, member)| member.name == id);
        let (node, member) = known.ok_or_else(|| invalid(format!("it names '{id}', which is not a member")))?;
        if !non_voter {
            voters.insert(*node);
        }
        nodes.insert(*node, MemberInfo { raft_address: address, non_voter, ..member.clone() });
    }
    if voters.is_empty() {
        return Err(invalid("it names no voter".to_owned()));
    }
    Membership::new(vec![voters], nodes).map_err(|error| invalid(error.to_string()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn the_file_replaces_addresses_and_voters() {
        let member = |name: &str| MemberInfo { name: name.to_owned(), instance: 5, ..MemberInfo::default() };
        let nodes = BTreeMap::from([(1, member("a")), (7, member("b")), (9, member("c"))]);
        let members = Membership::new(vec![BTreeSet::from([1, 7, 9])], nodes).unwrap();
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("peers.json");
        let text = r#"[{"id": "a", "address": "x:1"}, {"id": "c", "address": "y:2", "non_voter": true}]"#;
        std::fs::write(&file, text).unwrap();
        let replaced = read(&file, &members).unwrap();
        assert!(replaced.voter_ids().eq([1]));
        let replica = replaced.get_node(&9).unwrap();
        assert_eq!((replica.raft_address.as_str(), replica.non_voter, replica.instance), ("y:2", true, 5));
        for (text, wanted) in [
            (r#"[{"id": "z", "address": "x:1"}]"#, "'z', which is not a member"),
            (r#"[{"id": "a", "address": "x:1", "non_voter": true}]"#, "no voter"),
            ("{", "expected a sequence"),
        ] {
            std::fs::write(&file, text).unwrap();
            let error = read(&file, &members).unwrap_err().to_string();
            assert!(error.contains(wanted), "{error}");
        }
    }
}
