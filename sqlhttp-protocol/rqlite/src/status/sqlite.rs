//! The section `store.sqlite3` of `/status`: the SQLite database.

use serde_json::{Map, Value, json};
use sqlhttp_core::{StepOutcome, ValueRef};

use super::size::friendly;

/// The PRAGMAs that return a setting of a connection.
const SETTINGS: [&str; 5] = ["busy_timeout", "foreign_keys", "journal_mode", "synchronous", "wal_autocheckpoint"];

/// The PRAGMAs that return figures about memory and pages.
const MEMORY: [&str; 7] =
    ["cache_size", "freelist_count", "hard_heap_limit", "max_page_count", "page_count", "page_size", "soft_heap_limit"];

/// The PRAGMAs whose results `/status` contains, without the keyword PRAGMA.
pub const PRAGMAS: [&str; 13] = [
    SETTINGS[0],
    SETTINGS[1],
    SETTINGS[2],
    SETTINGS[3],
    SETTINGS[4],
    MEMORY[0],
    MEMORY[1],
    MEMORY[2],
    MEMORY[3],
    MEMORY[4],
    MEMORY[5],
    MEMORY[6],
    "compile_options",
];

/// The keys of the figures about a connection pool.
const POOL: [&str; 9] = [
    "idle",
    "in_use",
    "max_idle_closed",
    "max_idle_time_closed",
    "max_lifetime_closed",
    "max_open_connections",
    "open_connections",
    "wait_count",
    "wait_duration",
];

/// The facts about the database that `/status` reports.
#[derive(Debug, Clone, Default)]
pub struct Sqlite {
    /// The outcome of each PRAGMA in [`PRAGMAS`] on a connection that only reads, in the same order. Empty if the
    /// PRAGMAs were not run.
    pub pragmas: Vec<StepOutcome>,
    /// The result of `PRAGMA synchronous` on the connection that writes
    /// (<https://sqlite.org/pragma.html#pragma_synchronous>).
    pub writer_synchronous: u8,
    /// The path of the database file; `:memory:` for an in-memory database.
    pub path: String,
    /// The time of the last write to the database, in RFC 3339 with nanoseconds.
    pub last_modified: String,
    /// The size of the database file, in bytes.
    pub file_bytes: u64,
    /// The size of the write-ahead log of SQLite, in bytes.
    pub wal_bytes: u64,
    /// The version of SQLite.
    pub version: String,
}

impl Sqlite {
    /// Describes the database of a standalone server, which writes to the database directly.
    pub(super) fn document(&self) -> Value {
        let settings: Map<String, Value> =
            SETTINGS.iter().map(|name| ((*name).to_owned(), json!(self.setting(name)))).collect();
        let mut writer = settings.clone();
        writer.insert("synchronous".to_owned(), json!(self.writer_synchronous.to_string()));
        let memory: Map<String, Value> =
            MEMORY.iter().map(|name| ((*name).to_owned(), self.first(name).unwrap_or(json!(0)))).collect();
        let pages_bytes = self.number("page_count").saturating_mul(self.number("page_size"));
        json!({
            "compile_options": self.column("compile_options"),
            "db_size": pages_bytes,
            "db_size_friendly": friendly(pages_bytes),
            "extensions": [],
            "last_modified": self.last_modified,
            "mem_stats": memory,
            "path": self.path,
            "pragmas": { "ro": settings, "rw": writer },
            "size": self.file_bytes,
            "transaction": { "ro": false, "rw": false },
            "version": self.version,
            "wal_size": self.wal_bytes,
        })
    }

    /// Describes the database of a cluster node, to which the entries of the Raft log are applied. The settings of the
    /// connection that writes are constants, except for `foreign_keys` and `synchronous`.
    pub(super) fn replicated_document(&self, foreign_keys: bool, readers_max: usize) -> Value {
        let mut sqlite = self.document();
        let path = &self.path;
        sqlite["conn_pool_stats"] = json!({ "ro": pool(readers_max), "rw": pool(1) });
        sqlite["pragmas"]["rw"] = writer_settings(foreign_keys, self.writer_synchronous);
        sqlite["ro_dsn"] = json!(format!("file:{path}?_fk={foreign_keys}&_journal=WAL&_query_only=true&mode=ro"));
        sqlite["rw_dsn"] = json!(format!("file:{path}?_fk={foreign_keys}&_journal=WAL&_sync=1"));
        sqlite
    }

    /// Returns whether connections enforce foreign keys.
    pub(super) fn enforces_foreign_keys(&self) -> bool {
        self.setting("foreign_keys") == "1"
    }

    /// Returns the first column of the rows that a PRAGMA returned.
    fn column(&self, name: &str) -> Vec<Value> {
        let outcome = PRAGMAS.iter().zip(&self.pragmas).find(|(pragma, _)| **pragma == name);
        match outcome {
            Some((_, StepOutcome::Rows(rows))) => rows.iter().filter_map(|row| row.get(0)).map(to_json).collect(),
            _ => Vec::new(),
        }
    }

    fn first(&self, name: &str) -> Option<Value> {
        self.column(name).into_iter().next()
    }

    fn number(&self, name: &str) -> u64 {
        self.first(name).and_then(|value| value.as_u64()).unwrap_or(0)
    }

    /// Returns the result of a PRAGMA as text. Empty if the PRAGMA returned nothing.
    fn setting(&self, name: &str) -> String {
        let text = |value: Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        self.first(name).map_or(String::new(), text)
    }
}

fn to_json(value: ValueRef<'_>) -> Value {
    match value {
        ValueRef::Integer(integer) => json!(integer),
        ValueRef::Real(real) => json!(real),
        other => other.as_text().map_or(Value::Null, |text| json!(text)),
    }
}

/// Describes a connection pool with at most `max` connections, one of which is open and idle.
fn pool(max: usize) -> Value {
    let mut pool: Map<String, Value> = POOL.iter().map(|name| ((*name).to_owned(), json!(0))).collect();
    pool.insert("idle".to_owned(), json!(1));
    pool.insert("max_open_connections".to_owned(), json!(max));
    pool.insert("open_connections".to_owned(), json!(1));
    Value::Object(pool)
}

fn writer_settings(foreign_keys: bool, synchronous: u8) -> Value {
    json!({
        "busy_timeout": "5000",
        "foreign_keys": if foreign_keys { "1" } else { "0" },
        "journal_mode": "wal",
        "synchronous": synchronous.to_string(),
        "wal_autocheckpoint": "1000",
    })
}
