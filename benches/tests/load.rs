//! Whole runs against a fake server. The report must show each of its faults.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod fake;

use std::sync::Arc;
use std::time::Duration;

use fake::Fault;
use sqlhttp_benches::http::Endpoint;
use sqlhttp_benches::load;
use sqlhttp_benches::options::RunOptions;
use sqlhttp_benches::plan::{Plan, Target};
use sqlhttp_benches::protocol::{Auth, Ws4sqlite};
use sqlhttp_benches::report::Report;
use sqlhttp_benches::schedule::Rate;
use sqlhttp_benches::workload::Workload;

fn plan(fault: Fault, workload: Workload) -> Plan {
    let endpoint = Endpoint { address: fake::start(fault) };
    let target = Target { endpoint, protocol: Arc::new(Ws4sqlite::new("bench", &Auth::None)), auth: Auth::None };
    let options = RunOptions {
        items: fake::ITEMS,
        write_percent: 10,
        threads: 2,
        warmup: Duration::from_millis(50),
        duration: Duration::from_millis(300),
        grace: Duration::from_secs(5),
        seed: 1,
    };
    options.plan(target, workload, 4, vec![std::process::id()])
}

/// The grace for servers that do not answer.
const SHORT_GRACE: Duration = Duration::from_millis(100);

fn run(fault: Fault, workload: Workload) -> Report {
    load::run(plan(fault, workload)).unwrap()
}

#[test]
fn a_good_server_has_a_clean_report() {
    let report = run(Fault::None, Workload::Insert);
    assert!(report.is_clean(), "{report}");
    assert!(report.requests > 0 && report.latency_us.p50 > 0.0 && report.latency_us.p50 <= report.latency_us.max);
    let writes = report.writes.as_ref().unwrap();
    assert!(writes.acknowledged >= report.requests && writes.in_doubt == 0, "{report}");
    assert!(report.server.as_ref().unwrap().rss_bytes > 0);
}

#[test]
fn a_mix_reports_reads_and_writes_separately() {
    let report = load::run(Plan { write_percent: 25, ..plan(Fault::None, Workload::Mixed) }).unwrap();
    assert!(report.is_clean(), "{report}");
    let [reads, writes] = &report.operations[..] else { panic!("{report}") };
    assert_eq!((reads.name, writes.name), ("point", "insert"));
    assert_eq!(reads.requests + writes.requests, report.requests);
    assert!(writes.requests > 0 && writes.requests < reads.requests);
}

#[test]
fn a_lost_row_is_detected() {
    let report = run(Fault::LosesRows, Workload::Insert);
    assert!(!report.is_clean() && !report.writes.as_ref().unwrap().is_consistent(), "{report}");
    assert_eq!(report.errors.total(), 0);
}

#[test]
fn refusals_are_counted_by_status_and_not_as_answers() {
    let report = run(Fault::Overloaded, Workload::Insert);
    let refused = report.errors.status[&503];
    assert_eq!(report.errors.total(), refused);
    let writes = report.writes.as_ref().unwrap();
    assert_eq!((writes.in_doubt, writes.found), (refused, writes.acknowledged));
}

#[test]
fn a_connection_that_is_closed_is_opened_again() {
    let mut plan = plan(Fault::ClosesConnections, Workload::Point);
    plan.connections = 1;
    let report = load::run(plan).unwrap();
    assert!(report.requests > 1 && report.is_clean(), "{report}");
}

#[test]
fn an_answer_without_the_row_is_an_error() {
    let report = run(Fault::FindsNothing, Workload::Point);
    assert_eq!(report.requests, 0, "{report}");
    assert!(report.errors.short > 0);
}

#[test]
fn a_run_on_a_hanging_server_ends_with_the_grace() {
    let plan = Plan { grace: SHORT_GRACE, ..plan(Fault::Hangs, Workload::Insert) };
    let report = load::run(plan).unwrap();
    assert_eq!((report.requests, report.errors.timeout), (0, 4), "{report}");
    assert_eq!(report.writes.unwrap().in_doubt, 4);
}

#[test]
fn an_open_loop_sends_the_requests_that_are_due() {
    let plan = Plan { rate: Rate::new(100.0), ..plan(Fault::None, Workload::Insert) };
    let report = load::run(plan).unwrap();
    let open = report.open_loop.as_ref().unwrap();
    assert_eq!(open.due, 35);
    assert_eq!(report.writes.as_ref().unwrap().acknowledged + open.unsent, open.due, "{report}");
}

#[test]
fn an_open_loop_counts_the_requests_that_a_hanging_server_prevents() {
    let plan = Plan { rate: Rate::new(100.0), ..plan(Fault::Hangs, Workload::Insert) };
    let report = load::run(plan).unwrap();
    let open = report.open_loop.as_ref().unwrap();
    assert_eq!((open.due, open.unsent, report.errors.timeout), (35, 31, 4), "{report}");
    assert!(report.warnings().iter().any(|warning| warning.contains("not sent")));
}

#[test]
fn a_server_that_does_not_listen_is_an_error() {
    let mut plan = plan(Fault::None, Workload::Point);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    plan.target.endpoint.address = listener.local_addr().unwrap();
    drop(listener);
    assert!(load::run(plan).is_err());
}

#[test]
fn a_table_that_is_too_small_is_detected_before_the_run() {
    let small = Plan { items: fake::ITEMS + 1, ..plan(Fault::None, Workload::Point) };
    let error = load::run(small).unwrap_err();
    assert!(error.to_string().contains("--prepare"), "{error}");
}
