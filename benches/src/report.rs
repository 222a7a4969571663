//! The report of a run, as JSON and as text. A successful response has status 200 and a body of about the expected
//! length.

use std::fmt;

use serde::Serialize;

use crate::histogram::{Histogram, LatencySummary};
use crate::tally::{ErrorCounts, Tally};
use crate::workload::{OperationKind, Workload};

/// The results of a run. The fields are those of the JSON report.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// The workload that was run.
    pub workload: Workload,
    /// The name of the protocol in which requests were sent.
    pub protocol: String,
    /// The number of connections over which requests were sent all the time.
    pub connections: usize,
    /// The number of threads among which the connections were divided.
    pub threads: usize,
    /// The length of the warm-up before the measured time, in seconds.
    pub warmup_s: f64,
    /// The length of the measured time, in seconds.
    pub duration_s: f64,
    /// The number of successful responses that arrived within the measured time.
    pub requests: u64,
    /// The number of successful responses per second within the measured time.
    pub requests_per_second: f64,
    /// The number of bytes per second in the bodies of these responses.
    pub body_bytes_per_second: f64,
    /// The latencies in microseconds. They are those of successful responses to requests that began within the measured
    /// time. In an open loop, a latency is counted from the time when the request was due.
    pub latency_us: LatencySummary,
    /// The results of each kind of operation. Empty if the workload has only one kind.
    pub operations: Vec<OperationReport>,
    /// The failed requests of the whole run, including the warm-up.
    pub errors: ErrorCounts,
    /// How closely the run followed the schedule of an open loop. `None` for a closed loop.
    pub open_loop: Option<OpenLoopReport>,
    /// The resource usage of the server. `None` if no process id is known.
    pub server: Option<ServerReport>,
    /// The resource usage of the load generator, which is this process.
    pub client: ClientReport,
    /// The load on the machine that neither the server nor the generator caused.
    pub machine: MachineReport,
    /// The check of the rows that the run wrote. `None` if the workload does not write.
    pub writes: Option<WritesReport>,
}

/// The results of one kind of operation in a run.
#[derive(Debug, Clone, Serialize)]
pub struct OperationReport {
    /// The name of the kind of operation.
    pub name: &'static str,
    /// The number of successful responses that arrived within the measured time.
    pub requests: u64,
    /// The latencies of this kind of operation, as in [`Report::latency_us`].
    pub latency_us: LatencySummary,
}

/// How closely the run followed the schedule of an open loop.
#[derive(Debug, Clone, Serialize)]
pub struct OpenLoopReport {
    /// The rate at which requests were due, in requests per second.
    pub rate: f64,
    /// The number of requests that were due, including the warm-up.
    pub due: u64,
    /// The number of requests that were due but not sent, because all connections were busy until the end. If it is not
    /// 0, the reported latencies are too low, because the latencies of these requests would have been the highest.
    pub unsent: u64,
    /// How late the generator's timer released requests, in microseconds. This lag is part of the latencies, but is not
    /// caused by the server.
    pub generator_lag_us: LatencySummary,
}

/// The resource usage of the server in a run; that of all nodes together if the server is a cluster.
#[derive(Debug, Clone, Serialize)]
pub struct ServerReport {
    /// The process ids of the server, or of the nodes of a cluster.
    pub pids: Vec<u32>,
    /// The processor time of the server within the measured time, in seconds.
    pub cpu_s: f64,
    /// The processor time of the server per successful response, in microseconds.
    pub cpu_us_per_request: f64,
    /// The resident memory of the server at the end of the measured time, in bytes.
    pub rss_bytes: u64,
    /// The peak of the server's resident memory within the measured time, in bytes. The memory is sampled, so short
    /// peaks may be missed.
    pub rss_window_peak_bytes: u64,
    /// The peak of the server's resident memory since its process started, in bytes.
    pub rss_peak_bytes: u64,
    /// The number of the server's threads at the end of the measured time.
    pub threads: u64,
}

/// The resource usage of the generator in a run.
#[derive(Debug, Clone, Serialize)]
pub struct ClientReport {
    /// The processor time of the generator within the measured time, in seconds.
    pub cpu_s: f64,
    /// The processor time of the generator per successful response, in microseconds.
    pub cpu_us_per_request: f64,
}

/// The load within the measured time that neither the server nor the generator caused.
#[derive(Debug, Clone, Serialize)]
pub struct MachineReport {
    /// The number of cores of the machine.
    pub cores: usize,
    /// The share of the processor time of all cores (0 to 1) that other programs used. `None` if the server's process
    /// id is not known.
    pub other_share: Option<f64>,
    /// The share of the processor time of all cores (0 to 1) that the hypervisor gave to other machines.
    pub stolen_share: f64,
    /// The load average of the last minute, read before the run. `None` if it could not be read.
    pub load_average: Option<f64>,
}

/// The comparison of the rows that the run added to `load_inserts` with those that the server acknowledged.
#[derive(Debug, Clone, Serialize)]
pub struct WritesReport {
    /// The number of rows that the server acknowledged.
    pub acknowledged: u64,
    /// The number of rows that were sent but not acknowledged.
    pub in_doubt: u64,
    /// The number of rows that the run added to the table.
    pub found: u64,
}

impl WritesReport {
    /// Returns whether the run added at least the acknowledged rows to the table, and at most all rows that were sent.
    pub fn is_consistent(&self) -> bool {
        (self.acknowledged..=self.acknowledged + self.in_doubt).contains(&self.found)
    }
}

impl Report {
    /// Returns whether every request got a successful response, and whether the rows in the table are consistent with
    /// the acknowledged ones.
    pub fn is_clean(&self) -> bool {
        self.errors.total() == 0 && self.writes.as_ref().is_none_or(WritesReport::is_consistent)
    }

    /// Returns warnings about circumstances that make the figures unreliable, one text for each.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if let Some(share) = self.machine.other_share.filter(|share| *share > 0.05) {
            warnings.push(format!("other programs used {:.0} % of the machine", share * 100.0));
        }
        if self.machine.stolen_share > 0.02 {
            warnings.push(format!(
                "the hypervisor gave {:.0} % of the machine to other machines",
                self.machine.stolen_share * 100.0
            ));
        }
        if let Some(open) = self.open_loop.as_ref().filter(|open| open.unsent > 0) {
            warnings.push(format!("{} of {} requests were not sent: the latencies are too low", open.unsent, open.due));
        }
        if let Some(server) = self.server.as_ref().filter(|server| server.cpu_s < self.client.cpu_s) {
            let (client, server) = (self.client.cpu_s, server.cpu_s);
            warnings.push(format!(
                "the generator used more processor time ({client:.2} s) than the server ({server:.2} s)"
            ));
        }
        warnings
    }
}

/// Returns the latencies of all operations together, and the results of each kind of operation. The latter are empty if
/// the workload has only one kind.
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
            writeln!(
                f,
                "{now:.1} MiB at the end, {window:.1} peak in the run, {ever:.1} peak since its start, {} threads",
                server.threads
            )?;
        }
        writeln!(f, "  generator   {:.1} µs CPU per request", self.client.cpu_us_per_request)?;
        if let Some(writes) = &self.writes {
            let verdict = if writes.is_consistent() { "consistent" } else { "NOT CONSISTENT" };
            writeln!(
                f,
                "  rows        {} acknowledged, {} in doubt, {} found: {verdict}",
                writes.acknowledged, writes.in_doubt, writes.found
            )?;
        }
        writeln!(f, "  errors      {}", ErrorList(&self.errors))?;
        self.warnings().iter().try_for_each(|warning| writeln!(f, "  warning     {warning}"))
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
