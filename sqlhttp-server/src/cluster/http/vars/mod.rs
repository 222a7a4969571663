//! `/debug/vars`: what has been counted since the start, in the layout of Go's `expvar`, one group to a line. Names
//! under which nothing can happen here stay, at zero.

mod names;

use hyper::StatusCode;
use serde_json::{Map, Value, json};
use sqlhttp_core::Status;
use sqlhttp_raft::Totals;
use sqlhttp_rqlite::{ContentType, Params};

use self::names::{GROUPS, Group, MEMORY};
use super::Request;
use crate::api::rqlite::counters::Vars;
use crate::api::rqlite::status::process;
use crate::cluster::write_queue::WrittenBatches;
use crate::http::reply::{self, HttpResponse, ReplyBody};

/// How many pauses of its garbage collector Go remembers.
const GO_PAUSES: usize = 256;

/// The value of a counter, under the names of its group and its own.
type Figure = (&'static str, &'static str, u64);

/// Tells all, or what stands under `key`.
pub(crate) fn answer(request: &Request<'_>, params: &Params) -> HttpResponse {
    let mut all = groups(&figures(request));
    all.push(("cmdline", command_line()));
    all.push(("memstats", memory()));
    let text = write(all, &params.key);
    reply::with_type(StatusCode::OK, ContentType::Json.header(), ReplyBody::Whole(text.into()))
}

/// The lines, sorted by name; those of other names than `key` are left out if there is one.
fn write(mut all: Vec<(&'static str, String)>, key: &str) -> String {
    all.sort_unstable();
    let wanted = all.iter().filter(|(name, _)| key.is_empty() || *name == key);
    let lines: Vec<String> = wanted.map(|(name, value)| format!("\"{name}\": {value}")).collect();
    format!("{{\n{}\n}}\n", lines.join(",\n"))
}

fn groups(figures: &[Figure]) -> Vec<(&'static str, String)> {
    GROUPS.iter().map(|group| (group.name, counters(group, figures))).collect()
}

/// `{"name": 1, "other": 0}`.
fn counters(group: &Group, figures: &[Figure]) -> String {
    let value = |counter: &str| {
        let found = figures.iter().find(|(of, name, _)| *of == group.name && *name == counter);
        found.map_or(0, |(_, _, value)| *value)
    };
    let all: Vec<String> = group.counters.iter().map(|name| format!("\"{name}\": {}", value(name))).collect();
    format!("{{{}}}", all.join(", "))
}

/// Everything that is counted here.
fn figures(request: &Request<'_>) -> Vec<Figure> {
    let (vars, totals) = (&request.state.vars, request.member.node.status().totals);
    let database = request.exchange.database.status().unwrap_or_default();
    let written = request.state.write_queue.as_ref().map(|queue| queue.written());
    [http(vars), queue(vars, written), store(vars, &totals), engine(&database)].concat()
}

/// Requests.
fn http(vars: &Vars) -> Vec<Figure> {
    vars.all().into_iter().map(|(name, value)| ("http", name, value)).collect()
}

/// What came into the queue of writes, and what has left it.
fn queue(vars: &Vars, written: Option<&WrittenBatches>) -> Vec<Figure> {
    vec![
        ("queue", "num_flush", written.map_or(0, |written| written.at_once.get())),
        ("queue", "num_timeout", written.map_or(0, |written| written.not_full.get())),
        ("queue", "objects_rx", vars.queued_executions_num_stmts_rx.get()),
        ("queue", "objects_tx", vars.queued_executions_num_stmts_tx.get()),
    ]
}

fn store(vars: &Vars, totals: &Totals) -> Vec<Figure> {
    let of = |name, value| ("store", name, value);
    vec![
        of("num_auto_optimizes", totals.optimizes),
        of("num_auto_optimizes_failed", totals.optimizes_failed),
        of("num_auto_vacuums", totals.vacuums),
        of("num_auto_vacuums_failed", totals.vacuums_failed),
        of("num_backups", vars.backups.get()),
        of("num_boots", totals.boots),
        of("num_loads", totals.loads),
        of("num_snapshots", totals.snapshots),
        of("num_restores_start_skipped", u64::from(totals.started_on_existing)),
        of("num_snapshots_failed", totals.snapshots_failed),
        // Each of them is the whole database, on the disk.
        of("num_snapshots_full", totals.snapshots),
        of("num_snapshot_persists", totals.snapshots),
        of("num_user_snapshots", totals.snapshots_by_request),
    ]
}

/// Batches that the database has run.
fn engine(database: &Status) -> Vec<Figure> {
    vec![("db", "executions", database.batches_written), ("db", "queries", database.batches_read)]
}

/// How the process was started.
fn command_line() -> String {
    let arguments: Vec<String> = std::env::args_os().map(|word| word.to_string_lossy().into_owned()).collect();
    json!(arguments).to_string()
}

/// In bytes, under the names that Go's runtime has for about the same. Names of what this runtime does not have, such as a
/// garbage collector, are there with zeros, because tools read all of them.
fn memory() -> String {
    let (resident, address_space) = process::memory_bytes();
    let figures = [
        ("Alloc", resident),
        ("HeapAlloc", resident),
        ("HeapInuse", resident),
        ("HeapSys", resident),
        ("Sys", address_space),
        ("TotalAlloc", resident),
    ];
    let mut memory: Map<String, Value> = MEMORY.iter().map(|name| ((*name).to_owned(), json!(0))).collect();
    memory.extend(figures.map(|(name, bytes)| (name.to_owned(), json!(bytes))));
    memory.extend(["EnableGC", "DebugGC"].map(|name| (name.to_owned(), json!(false))));
    memory.extend(["PauseEnd", "PauseNs"].map(|name| (name.to_owned(), json!(vec![0; GO_PAUSES]))));
    memory.insert("BySize".to_owned(), json!([]));
    Value::Object(memory).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_group_to_a_line() {
        let all = || vec![("b", "{\"x\": 1}".to_owned()), ("a", "[]".to_owned())];
        assert_eq!(write(all(), ""), "{\n\"a\": [],\n\"b\": {\"x\": 1}\n}\n");
        assert_eq!(write(all(), "b"), "{\n\"b\": {\"x\": 1}\n}\n");
        assert_eq!(write(all(), "c"), "{\n\n}\n");
    }

    #[test]
    fn counters_without_a_figure_are_zero() {
        let group = Group { name: "queue", counters: &["num_flush", "objects_rx"] };
        let figures = [("store", "objects_rx", 1), ("queue", "objects_rx", 2)];
        assert_eq!(counters(&group, &figures), "{\"num_flush\": 0, \"objects_rx\": 2}");
    }

    /// A figure whose name is misspelt would never be shown.
    #[test]
    fn every_figure_has_its_place() {
        let vars = Vars::default();
        let figures =
            [http(&vars), queue(&vars, None), store(&vars, &Totals::default()), engine(&Status::default())].concat();
        for (group, counter, _) in figures {
            let known = GROUPS.iter().any(|it| it.name == group && it.counters.contains(&counter));
            assert!(known, "{group} {counter}");
        }
    }

    #[test]
    fn names_are_sorted() {
        assert!(GROUPS.is_sorted_by_key(|group| group.name));
        assert!(GROUPS.iter().all(|group| group.counters.is_sorted()));
    }

    #[test]
    fn what_was_counted_is_shown() {
        let vars = Vars::default();
        vars.queries.add(3);
        vars.auth_ok.add(7);
        vars.auth_fail.add(1);
        let totals = Totals { snapshots: 4, snapshots_by_request: 1, loads: 2, ..Totals::default() };
        let all = groups(&[http(&vars), store(&vars, &totals)].concat());
        let text = write(all, "");
        let told: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!((&told["http"]["queries"], &told["http"]["auth_ok"]), (&json!(3), &json!(7)));
        assert_eq!(told["http"]["auth_fail"], 1);
        assert_eq!((&told["store"]["num_snapshots"], &told["store"]["num_user_snapshots"]), (&json!(4), &json!(1)));
        assert_eq!(told["store"]["num_loads"], 2);
        assert_eq!(told["uploader"]["num_uploads_ok"], 0);
    }

    #[test]
    fn the_process() {
        let words: Vec<String> = serde_json::from_str(&command_line()).unwrap();
        assert_eq!(words.len(), std::env::args_os().count());
        let memory: Value = serde_json::from_str(&memory()).unwrap();
        assert!(memory["Alloc"].is_u64() && memory["HeapObjects"] == 0);
        assert_eq!(memory.as_object().unwrap().len(), 32);
    }
}
