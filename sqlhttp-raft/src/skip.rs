//! Reads `raft/skip.json`, a file in which an operator names an entry of the Raft log that the node must skip because
//! it cannot apply the entry.
//!
//! The file contains the index and the digest of the entry. The node reports both when it cannot apply an entry. The
//! node then skips the entry, now and at every later start, until the log has been compacted past it. From then on its
//! content differs from that of nodes that have applied the entry. Therefore the node does not start with this file if
//! there are other voters.

use std::io;
use std::path::Path;

use serde::Deserialize;

/// The contents of `raft/skip.json`: the entry to skip.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SkipFile {
    /// The index of the entry to skip, counted from 1.
    pub(crate) index: u64,
    /// The digest of the entry's command, as returned by [`crate::command::Command::digest`].
    pub(crate) digest: String,
}

/// Reads `raft/skip.json`. Returns `None` if the file does not exist.
///
/// # Errors
/// `raft/skip.json` cannot be read, or does not have the form `{"index": 17, "digest": "0123abcd"}`.
pub(crate) fn read(file: &Path) -> io::Result<Option<SkipFile>> {
    let text = match std::fs::read(file) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    serde_json::from_slice(&text).map(Some).map_err(|error| {
        let form = r#"{"index": 17, "digest": "0123abcd"}"#;
        io::Error::new(io::ErrorKind::InvalidData, format!("{error}; the file has the form {form}"))
    })
}
