//! The identity of a node: the file `node.json` in its directory.
//!
//! Each directory has its own Raft id. A node whose disk was wiped therefore cannot speak as its former self, and
//! cannot vote twice in a term (section 3.8 of the Raft dissertation: a server that loses its persistent state must not
//! rejoin with its old identity).

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use crate::small_files::{self, write_durably};

/// The name of the file in the directory of the node.
const FILE: &str = "node.json";
/// The version of the file's format.
const VERSION: u32 = 1;
/// The Raft id of a node that has created a cluster of one. Every other node chooses a random id.
pub(crate) const FIRST_NODE_ID: u64 = 1;

/// The identity of a node. Clones of the values are sent to other nodes when a connection is opened.
#[derive(Debug)]
pub(crate) struct Identity {
    file: PathBuf,
    record: Mutex<Record>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Record {
    cluster: u128,
    node: u64,
    instance: u128,
    /// The identity of the Raft log in the same directory; 0 if the log has none.
    log: u128,
}

/// The contents of `node.json`. JSON has no 128-bit numbers, so these are hexadecimal strings.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileContents {
    version: u32,
    /// Empty until the node belongs to a cluster.
    cluster_id: String,
    node_id: u64,
    instance: String,
    log_id: String,
}

/// The state of the directory of a node at its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DirectoryState {
    /// A Raft log with entries, and `node.json`.
    Existing,
    /// A Raft log with entries of a cluster of one node, which an older version of this program has written without
    /// `node.json`.
    Older,
    /// Nothing. The node creates a cluster.
    Creates,
    /// Nothing. The node waits until it is added to a cluster.
    Awaits,
}

impl Identity {
    /// Reads `node.json`. If the file does not exist, chooses an identity and writes it durably. `log` is the identity
    /// of the Raft log in the directory.
    ///
    /// # Errors
    /// The file cannot be read or written, does not contain an identity, or belongs to another log; or the file is
    /// missing although the directory contains the log of a member.
    pub(crate) fn open(directory: &Path, state: DirectoryState, log: u128) -> io::Result<Identity> {
        let file = directory.join(FILE);
        let record = match small_files::read(&file) {
            Ok(bytes) => check(read(&bytes)?, state, log)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let chosen = choose(state, log)?;
                write(&file, chosen)?;
                chosen
            }
            Err(error) => return Err(error),
        };
        let identity = Identity { file, record: Mutex::new(record) };
        if state == DirectoryState::Creates && record.cluster == 0 {
            // The node was first started to join a cluster, which did not succeed. It creates a cluster now.
            identity.adopt_cluster(random_u128())?;
        }
        Ok(identity)
    }

    /// Returns whether the directory contains `node.json`.
    pub(crate) fn exists(directory: &Path) -> bool {
        let found = small_files::read(&directory.join(FILE));
        !found.is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
    }

    fn lock(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The Raft id of this node.
    pub(crate) fn node(&self) -> u64 {
        self.lock().node
    }

    /// A random number that identifies the directory of this node.
    pub(crate) fn instance(&self) -> u128 {
        self.lock().instance
    }

    /// A random number that identifies the cluster; 0 while this node belongs to no cluster.
    pub(crate) fn cluster(&self) -> u128 {
        self.lock().cluster
    }

    /// Records durably that this node belongs to another cluster than before, because the cluster was recovered from
    /// the loss of its quorum.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(crate) fn replace_cluster(&self, cluster: u128) -> io::Result<()> {
        let mut record = self.lock();
        let replaced = Record { cluster, ..*record };
        write(&self.file, replaced)?;
        *record = replaced;
        Ok(())
    }

    /// Records durably that this node belongs to a cluster. Returns `false`, and changes nothing, if the node already
    /// belongs to another cluster.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(crate) fn adopt_cluster(&self, cluster: u128) -> io::Result<bool> {
        let mut record = self.lock();
        if record.cluster != 0 {
            return Ok(record.cluster == cluster);
        }
        let adopted = Record { cluster, ..*record };
        write(&self.file, adopted)?;
        *record = adopted;
        Ok(true)
    }
}

/// Checks that `node.json` belongs to the other files in the directory. If the log was removed, the node would vote
/// again in terms in which it has voted already.
fn check(record: Record, state: DirectoryState, log: u128) -> io::Result<Record> {
    let refused = |why: &str| Err(io::Error::new(io::ErrorKind::InvalidData, why));
    if record.log != 0 && log != 0 && record.log != log {
        return refused(
            "node.json belongs to another Raft log than that in raft/log. If the log was removed on purpose, remove \
             node.json too: the node then joins as a new one",
        );
    }
    if state == DirectoryState::Creates && record.cluster != 0 && record.node != FIRST_NODE_ID {
        return refused(
            "this node has been added to a cluster, of which it contains no entry yet. Start it as it was started before, \
             or remove node.json to create a new cluster",
        );
    }
    Ok(record)
}

fn choose(state: DirectoryState, log: u128) -> io::Result<Record> {
    // The bit for the sign stays 0, because SQLite and JSON readers have signed integers.
    let random_id = || (crate::clock::new_stamp().seed >> 1).max(FIRST_NODE_ID + 1);
    let (cluster, node) = match state {
        DirectoryState::Older | DirectoryState::Creates => (random_u128(), FIRST_NODE_ID),
        DirectoryState::Awaits => (0, random_id()),
        DirectoryState::Existing => {
            let why = "node.json is missing, but the directory contains the log of a member. Restore node.json from a \
                       copy, or empty the directory: the node then joins as a new one";
            return Err(io::Error::new(io::ErrorKind::NotFound, why));
        }
    };
    Ok(Record { cluster, node, instance: random_u128(), log })
}

/// Returns a random number other than 0.
pub(crate) fn random_u128() -> u128 {
    let random = || u128::from(crate::clock::new_stamp().seed);
    (random() << 64 | random()).max(1)
}

fn read(bytes: &[u8]) -> io::Result<Record> {
    let invalid = |why: String| {
        let why = format!("{FILE} does not contain the identity of a node: {why}. Restore the file from a copy");
        io::Error::new(io::ErrorKind::InvalidData, why)
    };
    let contents: FileContents = serde_json::from_slice(bytes).map_err(|error| invalid(error.to_string()))?;
    if contents.version != VERSION {
        return Err(invalid(format!("version {} is unknown", contents.version)));
    }
    let number = |text: &str| u128::from_str_radix(text, 16).map_err(|error| invalid(error.to_string()));
    let cluster = if contents.cluster_id.is_empty() { 0 } else { number(&contents.cluster_id)? };
    let (instance, log) = (number(&contents.instance)?, number(&contents.log_id)?);
    Ok(Record { cluster, node: contents.node_id, instance, log })
}

/// Writes the file durably: a crash leaves either the old contents or the new ones.
fn write(file: &Path, record: Record) -> io::Result<()> {
    let Record { cluster, node, instance, log } = record;
    let cluster_id = if cluster == 0 { String::new() } else { format!("{cluster:032x}") };
    let contents = FileContents {
        version: VERSION,
        cluster_id,
        node_id: node,
        instance: format!("{instance:032x}"),
        log_id: format!("{log:032x}"),
    };
    write_durably(file, &serde_json::to_vec_pretty(&contents).map_err(io::Error::other)?)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn an_identity_is_chosen_once() {
        let directory = tempfile::tempdir().unwrap();
        let first = Identity::open(directory.path(), DirectoryState::Awaits, 5).unwrap();
        assert_eq!(first.cluster(), 0);
        assert!(first.node() > FIRST_NODE_ID);
        let again = Identity::open(directory.path(), DirectoryState::Existing, 5).unwrap();
        assert_eq!((again.node(), again.instance()), (first.node(), first.instance()));
        let other = tempfile::tempdir().unwrap();
        let other = Identity::open(other.path(), DirectoryState::Awaits, 6).unwrap();
        assert_ne!((other.node(), other.instance()), (first.node(), first.instance()));
    }

    #[test]
    fn the_creator_of_a_cluster_has_the_first_id() {
        for state in [DirectoryState::Creates, DirectoryState::Older] {
            let directory = tempfile::tempdir().unwrap();
            let identity = Identity::open(directory.path(), state, 5).unwrap();
            assert_eq!(identity.node(), FIRST_NODE_ID);
            assert_ne!(identity.cluster(), 0);
        }
    }

    #[test]
    fn a_node_joins_one_cluster_only() {
        let directory = tempfile::tempdir().unwrap();
        let identity = Identity::open(directory.path(), DirectoryState::Awaits, 5).unwrap();
        assert!(identity.adopt_cluster(7).unwrap());
        assert!(!identity.adopt_cluster(8).unwrap());
        let again = Identity::open(directory.path(), DirectoryState::Existing, 5).unwrap();
        assert_eq!(again.cluster(), 7);
        assert!(again.adopt_cluster(7).unwrap());
        let creates = Identity::open(directory.path(), DirectoryState::Creates, 5).unwrap_err();
        assert!(creates.to_string().contains("added to a cluster"), "{creates}");
        again.replace_cluster(9).unwrap();
        assert_eq!(Identity::open(directory.path(), DirectoryState::Existing, 5).unwrap().cluster(), 9);
    }

    #[test]
    fn a_node_whose_log_was_removed_does_not_speak_as_its_former_self() {
        let directory = tempfile::tempdir().unwrap();
        Identity::open(directory.path(), DirectoryState::Creates, 5).unwrap();
        let error = Identity::open(directory.path(), DirectoryState::Awaits, 6).unwrap_err();
        assert!(error.to_string().contains("another Raft log"), "{error}");
        let other = tempfile::tempdir().unwrap();
        let error = Identity::open(other.path(), DirectoryState::Existing, 5).unwrap_err();
        assert!(error.to_string().contains("node.json is missing"), "{error}");
    }

    #[test]
    fn a_damaged_file_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        for contents in ["", "{}", r#"{"version": 9, "cluster_id": "", "node_id": 2, "instance": "1", "log_id": "1"}"#]
        {
            std::fs::write(directory.path().join(FILE), contents).unwrap();
            let error = Identity::open(directory.path(), DirectoryState::Existing, 5).unwrap_err().to_string();
            assert!(error.contains(FILE), "{error}");
        }
    }
}
