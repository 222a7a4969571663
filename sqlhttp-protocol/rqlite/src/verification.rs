//! The reply of `/verify`: whether the nodes of a cluster have the same content. rqlite has no such endpoint.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::reply::Reply;

/// Whether the nodes of a cluster have the same content.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Verification {
    /// The index of the Raft log at which the content was compared; 0 on a server without a Raft log.
    pub index: u64,
    /// Whether all nodes have responded, have the same content, and no integrity check has found damage.
    pub equal: bool,
    /// The results of the nodes, by name.
    pub nodes: BTreeMap<String, VerifiedNode>,
    /// The differences that were found.
    #[serde(default)]
    pub differences: Vec<Difference>,
    /// The names of the nodes whose content was replaced by that of the leader.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub repaired: Vec<String>,
}

/// The result of one node.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct VerifiedNode {
    /// The digest of the node's content, as hexadecimal digits; `None` if the node has computed none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// Why the node has computed no digest, or the damage that its integrity check has found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// A row, or a whole table, in which a node differs from the majority.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// The name of the node.
    pub node: String,
    /// The name of the table.
    pub table: String,
    /// The row; `None` if only one of the nodes has the table, or if the rows could not be compared.
    pub row: Option<RowName>,
}

/// The name of a row in its table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum RowName {
    /// The rowid.
    Rowid(i64),
    /// The primary key of a table without rowids, as SQL literals that are separated by commas.
    Key(String),
}

/// Encodes the result of a verification. The status is 503 if `has_quorum` is false: fewer nodes have responded than a
/// majority of the voters.
pub fn encode_verification(verification: &Verification, has_quorum: bool, pretty: bool) -> Reply {
    // A struct with string keys can always be encoded.
    let body = serde_json::to_vec(verification).unwrap_or_default();
    Reply { status: if has_quorum { 200 } else { 503 }, ..Reply::json(body, pretty) }
}

/// Decodes the body of a reply of `/verify`.
///
/// # Errors
/// The body is not such a reply.
pub fn decode_verification(body: &[u8]) -> Result<Verification, serde_json::Error> {
    serde_json::from_slice(body)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_verification_survives_encoding() {
        let digest = |digest: &str| VerifiedNode { digest: Some(digest.to_owned()), error: None };
        let error = VerifiedNode { digest: None, error: Some("connection refused".to_owned()) };
        let difference = |row| Difference { node: "n2".to_owned(), table: "t".to_owned(), row };
        let verification = Verification {
            index: 7,
            equal: false,
            nodes: [("n1", digest("0a")), ("n2", digest("0b")), ("n3", error)]
                .map(|(name, node)| (name.to_owned(), node))
                .into(),
            differences: vec![
                difference(Some(RowName::Rowid(3))),
                difference(Some(RowName::Key("'a', 1".to_owned()))),
                difference(None),
            ],
            repaired: Vec::new(),
        };
        let reply = encode_verification(&verification, true, false);
        let expected = r#"{"index":7,"equal":false,"nodes":{"n1":{"digest":"0a"},"n2":{"digest":"0b"},"n3":{"error":"connection refused"}},"differences":[{"node":"n2","table":"t","row":3},{"node":"n2","table":"t","row":"'a', 1"},{"node":"n2","table":"t","row":null}]}"#;
        assert_eq!((reply.status, std::str::from_utf8(&reply.body).unwrap()), (200, expected));
        assert_eq!(decode_verification(&reply.body).unwrap(), verification);
        assert_eq!(encode_verification(&verification, false, true).status, 503);
        assert!(decode_verification(b"{}").is_err());
    }
}
