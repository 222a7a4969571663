//! What a run has shown, for programs (JSON) and for people.

use std::fmt;

use serde::Serialize;

use crate::histogram::{Histogram, LatencySummary};
use crate::tally::{ErrorCounts, Tally};
use crate::workload::{OperationKind, Workload};

/// What a run has shown.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// What was asked.
    pub workload: Workload,
    /// In which protocol.
    pub protocol: String,
    /// How many connections were kept busy.
    pub connections: usize,
    /// By how many threads.
    pub threads: usize,
    /// Before the measurement, seconds.
    pub warmup_s: f64,
    /// The measurement, seconds.
    pub duration_s: f64,
    /// Good answers that came in the measured time.
    pub requests: u64,
    /// The same per second.
    pub requests_per_second: f64,
    /// Bytes of their bodies per second.
    pub body_bytes_per_second: f64,
    /// How long good answers took whose requests began in the measured time; in an open loop, counted from when the
    /// request was due. Microseconds.
    pub latency_us: LatencySummary,
    /// The same for each kind of operation, if there is more than one.
    pub operations: Vec<OperationReport>,
    /// What went wrong, over the whole run.
    pub errors: ErrorCounts,
    /// For an open loop.
    pub open_loop: Option<OpenLoopReport>,
    /// What it cost the server, if its process is known.
    pub server: Option<ServerReport>,
    /// What it cost the generator.
    pub client: ClientReport,
    /// What else the machine did.
    pub machine: MachineReport,
    /// Whether what was acknowledged is there, if the workload writes.
    pub writes: Option<WritesReport>,
}

/// One kind of operation.
#[derive(Debug, Clone, Serialize)]
pub struct OperationReport {
    /// Its name.
    pub name: &'static str,
    /// Good answers that came in the measured time.
    pub requests: u64,
    /// As [`Report::latency_us`].
    pub latency_us: LatencySummary,
}

/// How well the schedule of an open loop was kept.
#[derive(Debug, Clone, Serialize)]
pub struct OpenLoopReport {
    /// Requests per second that should be sent.
    pub rate: f64,
    /// Requests that were due, warm-up included.
    pub due: u64,
    /// Requests that were never sent, because all connections were busy until the end. If there are any, the latencies
    /// are too good: these would have been the worst.
    pub unsent: u64,
    /// How late the generator's own clock woke up: the part of the latencies that is not the server's. Microseconds.
    pub generator_lag_us: LatencySummary,
}

/// What a run cost the server.
#[derive(Debug, Clone, Serialize)]
pub struct ServerReport {
    /// Its process.
    pub pid: u32,
    /// Processor time in the measured time, seconds.
    pub cpu_s: f64,
    /// The same per good answer, microseconds.
    pub cpu_us_per_request: f64,
    /// Resident memory at the end, bytes.
    pub rss_bytes: u64,
    /// The most resident memory seen in the measured time, bytes.
    pub rss_window_peak_bytes: u64,
    /// The most resident memory since the process began, bytes.
    pub rss_peak_bytes: u64,
    /// How many threads it has at the end.
    pub threads: u64,
}

/// What a run cost the generator.
#[derive(Debug, Clone, Serialize)]
pub struct ClientReport {
    /// Processor time in the measured time, seconds.
    pub cpu_s: f64,
    /// The same per good answer, microseconds.
    pub cpu_us_per_request: f64,
}

/// What else the machine did in the measured time.
#[derive(Debug, Clone, Serialize)]
pub struct MachineReport {
    /// How many cores there are.
    pub cores: usize,
    /// The share of all cores that was busy with neither generator nor server (0 to 1); only if the server is known.
    pub other_share: Option<f64>,
    /// The share of all cores that the hypervisor gave to others (0 to 1).
    pub stolen_share: f64,
    /// The load average of the last minute, before the run.
    pub load_average: Option<f64>,
}

/// Whether what was acknowledged is there.
#[derive(Debug, Clone, Serialize)]
pub struct WritesReport {
    /// Rows that the server said it had inserted.
    pub acknowledged: u64,
    /// Rows that were sent and never acknowledged.
    pub in_doubt: u64,
    /// Rows that are there after the run and were not before.
    pub found: u64,
}

impl WritesReport {
    /// Whether there are as many rows as there must and can be.
    pub fn is_consistent(&self) -> bool {
        (self.acknowledged..=self.acknowledged + self.in_doubt).contains(&self.found)
    }
}

impl Report {
    /// Whether every request was answered well and every acknowledged row is there.
    pub fn is_clean(&self) -> bool {
        self.errors.total() == 0 && self.writes.as_ref().is_none_or(WritesReport::is_consistent)
    }

    /// What makes the figures doubtful, in words.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if let Some(share) = self.machine.other_share.filter(|share| *share > 0.05) {
            warnings.push(format!("other programs took {:.0} % of the machine", share * 100.0));
        }
        if self.machine.stolen_share > 0.02 {
            warnings.push(format!(
                "the hypervisor gave {:.0} % of the machine to others",
                self.machine.stolen_share * 100.0
            ));
        }
        if let Some(open) = self.open_loop.as_ref().filter(|open| open.unsent > 0) {
            warnings.push(format!("{} of {} requests were never sent: latencies are too good", open.unsent, open.due));
        }
        if let Some(server) = self.server.as_ref().filter(|server| server.cpu_s < self.client.cpu_s) {
            let (client, server) = (self.client.cpu_s, server.cpu_s);
            warnings.push(format!(
                "the generator took more processor time ({client:.2} s) than the server ({server:.2} s)"
            ));
        }
        warnings
    }
}

/// The figures of each kind of operation, and of all together.
pub fn latencies(tally: &Tally, workload: Workload) -> (LatencySummary, Vec<OperationReport>) {
    let mut all = Histogram::new();
    tally.latencies.iter().for_each(|histogram| all.merge(histogram));
    let report = |kind: &OperationKind| OperationReport {
        name: kind.name(),
        requests: tally.answered[kind.index()],
        latency_us: tally.latencies[kind.index()].summary(),
    };
    let kinds = workload.kinds();
    let operations = if kinds.len() > 1 { kinds.iter().map(report).collect() } else { Vec::new() };
    (all.summary(), operations)
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind =
            self.open_loop.as_ref().map_or("closed loop".into(), |open| format!("open loop, {} per second", open.rate));
        writeln!(
            f,
            "{} over {}, {} connections, {kind}, {} s",
            self.workload, self.protocol, self.connections, self.duration_s
        )?;
        writeln!(f, "  throughput  {:.0} requests/s ({} answered)", self.requests_per_second, self.requests)?;
        writeln!(f, "  latency     {}", Micros(&self.latency_us))?;
        for operation in &self.operations {
            writeln!(
                f,
                "  {:<10}  {} ({} answered)",
                operation.name,
                Micros(&operation.latency_us),
                operation.requests
            )?;
        }
        if let Some(open) = &self.open_loop {
            writeln!(
                f,
                "  schedule    {} due, {} unsent; generator late by {}",
                open.due,
                open.unsent,
                Micros(&open.generator_lag_us)
            )?;
        }
        if let Some(server) = &self.server {
            let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
            let [now, window, ever] = [server.rss_bytes, server.rss_window_peak_bytes, server.rss_peak_bytes].map(mib);
            write!(f, "  server      {:.1} µs CPU per request, ", server.cpu_us_per_request)?;
            writeln!(f, "{now:.1} MiB now, {window:.1} in the run, {ever:.1} ever, {} threads", server.threads)?;
        }
        writeln!(f, "  generator   {:.1} µs CPU per request", self.client.cpu_us_per_request)?;
        if let Some(writes) = &self.writes {
            let verdict = if writes.is_consistent() { "all there" } else { "NOT what was acknowledged" };
            writeln!(
                f,
                "  rows        {} acknowledged, {} in doubt, {} found: {verdict}",
                writes.acknowledged, writes.in_doubt, writes.found
            )?;
        }
        writeln!(f, "  errors      {}", ErrorList(&self.errors))?;
        self.warnings().iter().try_for_each(|warning| writeln!(f, "  doubtful:   {warning}"))
    }
}

struct Micros<'a>(&'a LatencySummary);

impl fmt::Display for Micros<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let LatencySummary { p50, p90, p99, p999, max, .. } = self.0;
        write!(f, "p50 {p50:.0} µs, p90 {p90:.0}, p99 {p99:.0}, p99.9 {p999:.0}, max {max:.0}")
    }
}

struct ErrorList<'a>(&'a ErrorCounts);

impl fmt::Display for ErrorList<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ErrorCounts { status, short, connect, broken, malformed, timeout } = self.0;
        let named = [
            ("short", short),
            ("connect", connect),
            ("broken", broken),
            ("malformed", malformed),
            ("timeout", timeout),
        ];
        let by_status = status.iter().map(|(status, count)| format!("{count} × status {status}"));
        let others = named.iter().filter(|(_, count)| **count > 0).map(|(name, count)| format!("{count} × {name}"));
        let all: Vec<String> = by_status.chain(others).collect();
        f.write_str(if all.is_empty() { "none" } else { "" })?;
        f.write_str(&all.join(", "))
    }
}
