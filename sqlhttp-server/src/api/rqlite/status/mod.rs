//! `/status`: what the server and the database tell of themselves, under the names that rqlite's tools read. What a
//! single database does not have (a log, other nodes) is told as of a cluster of one. A node of a cluster has more to
//! tell, and takes the parts that are the same from here.

pub(crate) mod process;

use std::path::Path;
use std::time::SystemTime;

use chrono::{DateTime, SecondsFormat, Utc};
use hyper::StatusCode;
use serde::Serialize as _;
use serde_json::ser::PrettyFormatter;
use serde_json::{Map, Serializer, Value, json};
use sqlhttp_core::{Atomicity, Batch, JournalMode, Location, ReadLevel, Step, StepOutcome, ValueRef, sqlite_version};
use sqlhttp_rqlite::{ContentType, Params, VERSION, format_duration};

use super::identity::hostname;
use super::statements;
use crate::api::exchange::{Exchange, until};
use crate::http::reply::{self, HttpResponse, ReplyBody};

/// The settings of a connection that tools read.
const PRAGMAS: [&str; 5] = ["busy_timeout", "foreign_keys", "journal_mode", "synchronous", "wal_autocheckpoint"];

/// What is told of memory and pages.
const MEMORY: [&str; 7] =
    ["cache_size", "freelist_count", "hard_heap_limit", "max_page_count", "page_count", "page_size", "soft_heap_limit"];

/// Tells all, or what stands under `key`.
pub(crate) async fn answer(exchange: &Exchange<'_>, params: &Params) -> HttpResponse {
    respond(&all(exchange, params).await, params)
}

/// All of it, or what stands under `key`.
pub(crate) fn respond(all: &Value, params: &Params) -> HttpResponse {
    let body = if params.key.is_empty() { write(all, params.pretty) } else { write(pick(all, &params.key), false) };
    reply::with_type(StatusCode::OK, ContentType::Json.header(), ReplyBody::Whole(body.into()))
}

/// Walks down the objects. What cannot be walked any further is told; what does not exist is `{}`.
fn pick<'v>(all: &'v Value, key: &str) -> &'v Value {
    static NOTHING: std::sync::LazyLock<Value> = std::sync::LazyLock::new(|| json!({}));
    let mut value = all;
    for name in key.split('.') {
        let Some(object) = value.as_object() else { return value };
        let Some(found) = object.get(name) else { return &NOTHING };
        value = found;
    }
    value
}

/// JSON values always have a text.
fn write(value: &Value, pretty: bool) -> Vec<u8> {
    if !pretty {
        return serde_json::to_vec(value).unwrap_or_default();
    }
    let mut out = Vec::new();
    let _ = value.serialize(&mut Serializer::with_formatter(&mut out, PrettyFormatter::with_indent(b"    ")));
    out
}

async fn all(exchange: &Exchange<'_>, params: &Params) -> Value {
    json!({
        "build": build(),
        "http": http(exchange),
        "node": node(exchange),
        "os": os(),
        "runtime": runtime(),
        "store": store(exchange, params).await,
    })
}

/// What was built.
pub(crate) fn build() -> Value {
    let server = concat!("sqlhttp ", env!("CARGO_PKG_VERSION"));
    json!({
        "build_time": "unknown",
        "commit": "unknown",
        "compiler_command": "unknown",
        "compiler_toolchain": "rustc",
        "server": server,
        "version": VERSION,
    })
}

fn http(exchange: &Exchange<'_>) -> Value {
    let node = &exchange.state.node;
    let mut http = json!({
        "auth": if exchange.database.auth.is_some() { "enabled" } else { "disabled" },
        "bind_addr": node.address(),
        "queue": { "_default": {
            "batch_size": 1,
            "max_size": 0,
            "sequence_number": node.last_executed(),
            "timeout": "0s",
        }},
        "tls": { "enabled": node.tls.to_string() },
    });
    if let Some(origin) = &exchange.database.cors_origin {
        http["allow_origin"] = json!(origin);
    }
    http
}

/// How long the server runs.
pub(crate) fn node(exchange: &Exchange<'_>) -> Value {
    let node = &exchange.state.node;
    json!({
        "current_time": rfc3339(SystemTime::now()),
        "start_time": rfc3339(node.started_at),
        "uptime": format_duration(node.started.elapsed()),
    })
}

/// A moment, as `2026-11-21T00:47:12.510851582Z`.
pub(crate) fn rfc3339(moment: SystemTime) -> String {
    DateTime::<Utc>::from(moment).to_rfc3339_opts(SecondsFormat::Nanos, true)
}

/// The process and its system.
pub(crate) fn os() -> Value {
    let executable = std::env::current_exe().unwrap_or_default();
    #[cfg(unix)]
    let parent = std::os::unix::process::parent_id();
    #[cfg(not(unix))]
    let parent = 0;
    json!({
        "executable": executable.to_string_lossy(),
        "hostname": hostname(),
        "page_size": process::page_bytes(),
        "pid": std::process::id(),
        "ppid": parent,
    })
}

/// In the words of the original's platform.
pub(crate) fn runtime() -> Value {
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let system = match std::env::consts::OS {
        "macos" => "darwin",
        other => other,
    };
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    json!({
        "GOARCH": architecture,
        "GOMAXPROCS": processors,
        "GOOS": system,
        "kubernetes_hint": std::env::var_os("KUBERNETES_SERVICE_HOST").is_some(),
        "num_cpu": processors,
        "num_goroutine": process::threads(),
        "version": "rust",
    })
}

/// A store that is its own leader.
async fn store(exchange: &Exchange<'_>, params: &Params) -> Value {
    let (address, id) = (exchange.state.node.address(), &exchange.database.id);
    let dir = match &exchange.database.location {
        Location::File(path) => path.parent().unwrap_or(Path::new("")).to_string_lossy().into_owned(),
        Location::Memory => String::new(),
    };
    let sqlite3 = sqlite3(exchange, params).await;
    json!({
        "addr": address,
        "db_applied_index": 0,
        "db_conf": { "fk_constraints": sqlite3["pragmas"]["rw"]["foreign_keys"] == "1" },
        "dir": dir,
        "fsm_index": 0,
        "leader": { "addr": address, "node_id": id },
        "node_id": id,
        "nodes": [{ "addr": address, "id": id, "suffrage": "voter" }],
        "open": {},
        "raft": { "num_peers": 0, "state": "Leader", "voter": true },
        "ready": !exchange.state.is_stopping(),
        "snapshot_store": { "snapshots": [] },
        "sqlite3": sqlite3,
    })
}

/// What SQLite tells, asked on a reader.
pub(crate) async fn sqlite3(exchange: &Exchange<'_>, params: &Params) -> Value {
    let database = &exchange.database;
    let answers = ask(exchange, params).await;
    let one = |name: &str| answers.iter().find(|(asked, _)| *asked == name).and_then(|(_, rows)| rows.first());
    let text = |name: &str| one(name).map_or(String::new(), plain);
    let readers: Map<String, Value> = PRAGMAS.iter().map(|name| ((*name).to_owned(), text(name).into())).collect();
    let mut writer = readers.clone();
    writer.insert("synchronous".to_owned(), json!(synchronous(database.journal_mode)));
    let memory: Map<String, Value> =
        MEMORY.iter().map(|name| ((*name).to_owned(), one(name).cloned().unwrap_or(json!(0)))).collect();
    let number = |name: &str| one(name).and_then(Value::as_u64).unwrap_or(0);
    let pages_bytes = number("page_count").saturating_mul(number("page_size"));
    let options = answers.iter().find(|(asked, _)| *asked == "compile_options").map(|(_, rows)| rows.clone());
    let status = database.status().unwrap_or_default();
    let (path, modified) = match &database.location {
        Location::File(path) => (path.to_string_lossy().into_owned(), modified(path)),
        Location::Memory => (":memory:".to_owned(), exchange.state.node.started_at),
    };
    json!({
        "compile_options": options.unwrap_or_default(),
        "db_size": pages_bytes,
        "db_size_friendly": friendly(pages_bytes),
        "extensions": [],
        "last_modified": rfc3339(modified),
        "mem_stats": memory,
        "path": path,
        "pragmas": { "ro": readers, "rw": writer },
        "size": status.file_bytes,
        "transaction": { "ro": false, "rw": false },
        "version": sqlite_version(),
        "wal_size": status.wal_bytes,
    })
}

/// When a database was last written: its file, or the write-ahead log beside it.
fn modified(file: &Path) -> SystemTime {
    let mut wal = file.as_os_str().to_owned();
    wal.push("-wal");
    let of = |file: &Path| std::fs::metadata(file).and_then(|metadata| metadata.modified()).ok();
    of(file).max(of(Path::new(&wal))).unwrap_or(SystemTime::UNIX_EPOCH)
}

/// The answers to the PRAGMAs: the first column of their rows. Those that cannot be had are missing.
async fn ask(exchange: &Exchange<'_>, params: &Params) -> Vec<(&'static str, Vec<Value>)> {
    let names: Vec<&str> = PRAGMAS.into_iter().chain(MEMORY).chain(["compile_options"]).collect();
    let steps = names.iter().map(|name| Step::query(format!("PRAGMA {name}"), ())).collect();
    let batch = Batch { steps, atomicity: Atomicity::Each, ..Batch::default() };
    let deadline = statements::deadline(exchange, Some(params.timeout));
    let outcome = async { exchange.database.backend.query(batch, ReadLevel::None, deadline).await?.whole().await };
    let steps = until(deadline, outcome).await.map(|outcome| outcome.steps).unwrap_or_default();
    let first_column = |step: StepOutcome| match step {
        StepOutcome::Rows(rows) => rows.iter().filter_map(|row| row.get(0)).map(to_json).collect(),
        _ => Vec::new(),
    };
    names.into_iter().zip(steps.into_iter().map(first_column)).collect()
}

fn to_json(value: ValueRef<'_>) -> Value {
    match value {
        ValueRef::Integer(integer) => json!(integer),
        ValueRef::Real(real) => json!(real),
        other => other.as_text().map_or(Value::Null, |text| json!(text)),
    }
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// What makes the writer's commits durable, which no reader can tell
/// (<https://sqlite.org/pragma.html#pragma_synchronous>).
fn synchronous(journal_mode: JournalMode) -> &'static str {
    match journal_mode {
        JournalMode::Delete | JournalMode::Keep => "3",
        JournalMode::Wal | JournalMode::Truncate | JournalMode::Persist => "2",
    }
}

/// `4.1 kB`.
pub(crate) fn friendly(bytes: u64) -> String {
    const UNITS: [&str; 7] = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];
    if bytes < 10 {
        return format!("{bytes} B");
    }
    let power = (bytes.ilog10() / 3) as usize;
    let value = (bytes as f64 / 1000_f64.powi(power as i32) * 10.0 + 0.5).floor() / 10.0;
    let places = usize::from(value < 10.0);
    format!("{value:.places$} {}", UNITS[power.min(UNITS.len() - 1)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys() {
        let all = json!({ "a": { "b": { "c": 1 } }, "l": [1] });
        assert_eq!(pick(&all, "a.b"), &json!({ "c": 1 }));
        assert_eq!(pick(&all, "a.b.c"), &json!(1));
        assert_eq!(pick(&all, "a.b.c.d"), &json!(1));
        assert_eq!(pick(&all, "l.0"), &json!([1]));
        assert_eq!(pick(&all, "a.x"), &json!({}));
    }

    #[test]
    fn sizes() {
        for (bytes, text) in [
            (0, "0 B"),
            (9, "9 B"),
            (999, "999 B"),
            (4096, "4.1 kB"),
            (69632, "70 kB"),
            (32768, "33 kB"),
            (u64::MAX, "18 EB"),
        ] {
            assert_eq!(friendly(bytes), text);
        }
    }
}
