//! The document of a server with independent databases.

use serde_json::{Map, Value, json};

use super::document;
use super::http::Http;
use super::process::Process;
use super::sqlite::Sqlite;

/// Facts about a server with independent databases, as `/status` of one of them reports them. Facts that need a cluster
/// are those of a cluster of one node that leads.
#[derive(Debug, Clone, Default)]
pub struct StandaloneStatus {
    /// The process.
    pub process: Process,
    /// The HTTP API.
    pub http: Http,
    /// The address where clients reach the server.
    pub addr: String,
    /// The id of the database.
    pub id: String,
    /// The directory of the database file. Empty for an in-memory database.
    pub dir: String,
    /// Whether the server accepts requests.
    pub ready: bool,
    /// The database.
    pub sqlite: Sqlite,
}

impl StandaloneStatus {
    /// Encodes the document, indented if `pretty`. If `key` is not empty, encodes only the value at that path of names
    /// separated by periods, such as `store.sqlite3`.
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
