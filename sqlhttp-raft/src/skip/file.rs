//! Reads `raft/skip.json`, the request of the operator.

use std::io;
use std::path::Path;

use super::SkipEntry;

/// Reads `raft/skip.json`. Returns `None` if the file does not exist.
///
/// # Errors
/// `raft/skip.json` cannot be read, or does not have the form `{"index": 17, "digest": "0123abcd"}`.
pub(super) fn read(file: &Path) -> io::Result<Option<SkipEntry>> {
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
