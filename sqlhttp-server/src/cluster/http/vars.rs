//! The endpoint `/debug/vars`: collects the counters that [`sqlhttp_rqlite::vars`] encodes.

use hyper::StatusCode;
use sqlhttp_core::Status;
use sqlhttp_raft::Totals;
use sqlhttp_rqlite::vars::{Figure, Vars};
use sqlhttp_rqlite::{ContentType, Params};

use super::request::Request;
use crate::api::rqlite::counters::{Counter, Counters};
use crate::api::rqlite::status::process;
use crate::cluster::context::ForwardedCounters;
use crate::cluster::write_queue::WrittenBatches;
use crate::http::reply::{self, HttpResponse, ReplyBody};

/// Handles `/debug/vars`: returns the whole document, or only the group of counters named `key`.
pub(crate) fn answer(request: &Request<'_>, params: &Params) -> HttpResponse {
    let (resident_bytes, address_space_bytes) = process::memory_bytes();
    let vars = Vars { figures: figures(request), command_line: command_line(), resident_bytes, address_space_bytes };
    let document = vars.encode(&params.key);
    reply::with_type(StatusCode::OK, ContentType::Json.header(), ReplyBody::Whole(document.into()))
}

/// Returns the command line of this process. Bytes that are not UTF-8 are replaced with U+FFFD.
fn command_line() -> Vec<String> {
    std::env::args_os().map(|word| word.to_string_lossy().into_owned()).collect()
}

/// Returns the counters of `/debug/vars`. Those of the node are 0 until it is open.
fn figures(request: &Request<'_>) -> Vec<Figure> {
    let totals = request.cluster.node().map(|node| node.status().totals).unwrap_or_default();
    let counters = &request.context.counters;
    let database = request.exchange.database.status().unwrap_or_default();
    [
        http(counters),
        queue(counters, &request.cluster.written),
        store(counters, &totals),
        members(&totals),
        proxy(&request.cluster.forwarded),
        engine(&database),
    ]
    .concat()
}

/// Returns the counters of HTTP requests.
fn http(counters: &Counters) -> Vec<Figure> {
    counters.all().into_iter().map(|(name, value)| Figure { group: "http", name, value }).collect()
}

/// Returns the counters of the queue of queued writes.
fn queue(counters: &Counters, written: &WrittenBatches) -> Vec<Figure> {
    let of = |name, value| Figure { group: "queue", name, value };
    vec![
        of("num_flush", written.at_once.get()),
        of("num_timeout", written.not_full.get()),
        of("objects_rx", counters.queued_executions_num_stmts_rx.get()),
        of("objects_tx", counters.queued_executions_num_stmts_tx.get()),
    ]
}

/// Returns the counters of the node's maintenance and snapshots.
fn store(counters: &Counters, totals: &Totals) -> Vec<Figure> {
    let of = |name, value| Figure { group: "store", name, value };
    vec![
        of("num_auto_optimizes", totals.optimizes),
        of("num_auto_optimizes_failed", totals.optimizes_failed),
        of("num_auto_vacuums", totals.vacuums),
        of("num_auto_vacuums_failed", totals.vacuums_failed),
        of("num_backups", counters.backups.get()),
        of("num_boots", totals.boots),
        of("num_ignored_joins", totals.joins_unchanged),
        of("num_joins", totals.joins),
        of("num_loads", totals.loads),
        of("num_removed_before_joins", totals.removed_before_joins),
        of("num_restores", totals.snapshots_installed),
        of("nodes_reaped_ok", totals.reaped_voters + totals.reaped_non_voters),
        of("num_snapshots", totals.snapshots),
        of("num_restores_start_skipped", u64::from(totals.started_on_existing)),
        of("num_snapshots_failed", totals.snapshots_failed),
        // Each snapshot is full: it contains the whole database file.
        of("num_snapshots_full", totals.snapshots),
        of("num_snapshot_persists", totals.snapshots),
        of("num_user_snapshots", totals.snapshots_by_request),
    ]
}

/// Returns the counters of the requests of other nodes.
fn members(totals: &Totals) -> Vec<Figure> {
    let of = |name, value| Figure { group: "cluster", name, value };
    vec![of("num_join_req", totals.joins_requested), of("num_client_force_new_conn", totals.reconnects)]
}

/// Returns the counters of requests that this node has forwarded to the leader.
fn proxy(forwarded: &ForwardedCounters) -> Vec<Figure> {
    let of = |name, counter: &Counter| Figure { group: "proxy", name, value: counter.get() };
    vec![
        of("remote_executions", &forwarded.remote_executions),
        of("remote_loads", &forwarded.remote_loads),
        of("remote_remove_node", &forwarded.remote_remove_node),
        of("remote_requests", &forwarded.remote_requests),
        of("remote_stepdowns", &forwarded.remote_stepdowns),
    ]
}

/// Returns the counters of the batches that the database has run.
fn engine(database: &Status) -> Vec<Figure> {
    let of = |name, value| Figure { group: "db", name, value };
    vec![of("executions", database.batches_written), of("queries", database.batches_read)]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Encoding the document would omit a counter with an unknown name.
    #[test]
    fn every_counter_is_known() {
        let counters = Counters::default();
        let figures = [
            http(&counters),
            queue(&counters, &WrittenBatches::default()),
            store(&counters, &Totals::default()),
            members(&Totals::default()),
            proxy(&ForwardedCounters::default()),
            engine(&Status::default()),
        ]
        .concat();
        for figure in figures {
            assert!(figure.is_known(), "{figure:?}");
        }
    }

    #[test]
    fn counters_have_their_values() {
        let counters = Counters::default();
        counters.queries.add(3);
        counters.auth_ok.add(7);
        let mut totals = Totals::default();
        (totals.snapshots, totals.snapshots_by_request) = (4, 1);
        let figures = [http(&counters), store(&counters, &totals)].concat();
        let value = |group, name| {
            figures.iter().find(|figure| (figure.group, figure.name) == (group, name)).map(|figure| figure.value)
        };
        assert_eq!((value("http", "queries"), value("http", "auth_ok")), (Some(3), Some(7)));
        assert_eq!((value("store", "num_snapshots"), value("store", "num_user_snapshots")), (Some(4), Some(1)));
    }

    #[test]
    fn the_command_line_is_that_of_the_process() {
        assert_eq!(command_line().len(), std::env::args_os().count());
    }
}
