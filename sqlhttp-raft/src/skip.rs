//! An operator's way past one entry of the log: `raft/skip.json`.
//!
//! The file names an entry by its index and its digest, both of which the log message of a node that could not apply it
//! contains. The entry is then passed over, here and at every later start, until the log has been cut behind it. Nodes that do
//! not pass over it have other content from then on, so the file is refused where there are other voters.

use std::io;
use std::path::Path;

use serde::Deserialize;

/// The entry to pass over.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SkipFile {
    /// Its index, counted from 1.
    pub(crate) index: u64,
    /// Its digest: see [`crate::command::Command::digest`].
    pub(crate) digest: String,
}

/// Reads the file, if there is one.
///
/// # Errors
/// It cannot be read, or does not have the form `{"index": 17, "digest": "0123abcd"}`.
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
