//! The document of `/status` on a standalone server, which has independent databases.

use serde_json::{Map, Value, json};

use super::document;
use super::http::Http;
use super::process::Process;
use super::sqlite::Sqlite;

/// The facts about a standalone server that `/status` reports for one of its databases. Values that only a cluster has
/// are those of a cluster whose only node is the leader.
#[derive(Debug, Clone, Default)]
pub struct StandaloneStatus {
    /// The facts about the server process.
    pub process: Process,
    /// The facts about the HTTP API.
    pub http: Http,
    /// The address to which clients connect.
    pub addr: String,
    /// The id of the database.
    pub id: String,
    /// The directory that contains the database file. Empty for an in-memory database.
    pub dir: String,
    /// Whether the server accepts requests.
    pub ready: bool,
    /// The facts about the database.
    pub sqlite: Sqlite,
}

impl StandaloneStatus {
    /// Encodes the document as JSON, indented if `pretty`. If `key` is not empty, encodes only the value at the path
    /// `key`. A path consists of names separated by periods, such as `store.sqlite3`.
    pub fn encode(&self, pretty: bool, key: &str) -> Vec<u8> {
        let mut all = Map::new();
        self.process.add_to(&mut all);
        all.insert("http".to_owned(), self.http.document());
        all.insert("store".to_owned(), self.store());
        document::encode(&Value::Object(all), pretty, key)
    }

    fn store(&self) -> Value {
        let (addr, id) = (&self.addr, &self.id);
        json!({
            "addr": addr,
            "db_applied_index": 0,
            "db_conf": { "fk_constraints": self.sqlite.enforces_foreign_keys() },
            "dir": self.dir,
            "fsm_index": 0,
            "leader": { "addr": addr, "node_id": id },
            "node_id": id,
            "nodes": [{ "addr": addr, "id": id, "suffrage": "voter" }],
            "open": {},
            "raft": { "num_peers": 0, "state": "Leader", "voter": true },
            "ready": self.ready,
            "snapshot_store": { "snapshots": [] },
            "sqlite3": self.sqlite.document(),
        })
    }
}
