//! Makes one run: opens the connections, sends requests over them, samples the resource usage, and builds the report.

use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender, SyncSender};
use std::thread::{self, ScopedJoinHandle};
use std::time::{Duration, Instant};

use crate::Error;
use crate::histogram::Histogram;
use crate::pacer::Pacer;
use crate::plan::{Plan, Timeline};
use crate::procfs::{self, MachineUsage, ProcessUsage};
use crate::report::{self, ClientReport, MachineReport, OpenLoopReport, Report, ServerReport, WritesReport};
use crate::setup::BlockingClient;
use crate::tally::Tally;
use crate::worker::Worker;
use crate::workload::OperationKind;

/// The interval at which the resident memory of the server is sampled.
const SAMPLE_INTERVAL: Duration = Duration::from_millis(100);

/// The resource usage at one moment. Processor times are totals since the start of the process or the machine.
#[derive(Debug, Clone, Copy)]
struct UsageSample {
    server: Option<ProcessUsage>,
    generator: Duration,
    machine: MachineUsage,
}

/// The resource usage within the measured time.
#[derive(Debug)]
struct MeasuredUsage {
    before: UsageSample,
    after: UsageSample,
    rss_peak_bytes: u64,
}

/// Makes one run. The tables must have been created and filled. Blocks during the warm-up and the measured time, and
/// then until the last response, for at most the grace.
pub fn run(plan: Plan) -> Result<Report, Error> {
    plan.check()?;
    let plan = Arc::new(plan);
    let load_average = procfs::load_average();
    let mut client = BlockingClient::open(&plan.target)?;
    let body_len_min = client.probe(plan.workload, plan.items)?;
    let writes = plan.workload.kinds().iter().any(|kind| kind.rows_written() > 0);
    let rows_before = if writes { client.count_inserts()? } else { 0 };

    let pacer = plan.schedule().map(|schedule| Arc::new(Pacer::new(schedule)));
    let (tally, usage, lag) = run_workers(&plan, pacer.clone(), body_len_min)?;

    // A new connection is opened, because the server may have closed the first one, which was idle during the run.
    let rows_after = if writes { BlockingClient::open(&plan.target)?.count_inserts()? } else { 0 };
    let found = rows_after.saturating_sub(rows_before);
    let writes =
        writes.then_some(WritesReport { acknowledged: tally.rows_acknowledged, in_doubt: tally.rows_in_doubt, found });
    let open_loop = pacer.zip(plan.rate).map(|(pacer, rate)| OpenLoopReport {
        rate: rate.per_second(),
        due: pacer.len(),
        unsent: pacer.unsent(),
        generator_lag_us: lag.summary(),
    });
    Ok(Report { open_loop, writes, ..build_report(&plan, &tally, &usage, load_average) })
}

/// Runs all threads of a run. Returns the counts of all connections, the resource usage within the measured time, and
/// the lag of the pacer (empty in a closed loop).
fn run_workers(
    plan: &Arc<Plan>,
    pacer: Option<Arc<Pacer>>,
    body_len_min: [u64; OperationKind::ALL.len()],
) -> Result<(Tally, MeasuredUsage, Histogram), Error> {
    thread::scope(|scope| {
        let threads = plan.threads.clamp(1, plan.connections.max(1));
        let (ready_sender, ready) = mpsc::channel();
        let mut starts: Vec<SyncSender<Timeline>> = Vec::new();
        let mut workers: Vec<ScopedJoinHandle<'_, Option<Tally>>> = Vec::new();
        for thread in 0..threads {
            let (start_sender, start) = mpsc::sync_channel(1);
            starts.push(start_sender);
            let (ready, pacer) = (ready_sender.clone(), pacer.clone());
            let numbers = connection_range(plan.connections, threads, thread);
            workers.push(scope.spawn(move || run_worker(plan, pacer, body_len_min, numbers, ready, &start)));
        }
        drop(ready_sender);
        // If a thread cannot connect, this line returns and drops the senders. The other threads then end, too.
        for _ in 0..threads {
            ready.recv().unwrap_or_else(|_| Err(thread_panicked()))?;
        }
        let timeline = plan.timeline(Instant::now());
        for start in &starts {
            start.send(timeline).map_err(|_| thread_panicked())?;
        }
        let pacing = pacer.as_ref().map(|pacer| scope.spawn(move || pacer.run(timeline.start, timeline.window_end)));
        let usage = sample_usage(&plan.pids, &timeline);
        let mut tally = Tally::default();
        for worker in workers {
            tally.merge(&worker.join().ok().flatten().ok_or_else(thread_panicked)?);
        }
        let lag = pacing.map(|pacing| pacing.join().map_err(|_| thread_panicked())).transpose()?;
        Ok((tally, usage?, lag.unwrap_or_default()))
    })
}

fn thread_panicked() -> Error {
    Error::Server("a thread of the generator panicked".into())
}

/// Returns the connections that belong to one thread: the number of the first one, and how many there are.
fn connection_range(connections: usize, threads: usize, thread: usize) -> (usize, usize) {
    let (each, more) = (connections / threads, connections % threads);
    (thread * each + thread.min(more), each + usize::from(thread < more))
}

/// The body of one worker thread. Opens the connections of the thread, reports the result through `ready`, waits for
/// `start`, and sends the requests of the run. Returns `None` if the run does not take place.
fn run_worker(
    plan: &Arc<Plan>,
    pacer: Option<Arc<Pacer>>,
    body_len_min: [u64; OperationKind::ALL.len()],
    (first, count): (usize, usize),
    ready: Sender<Result<(), Error>>,
    start: &Receiver<Timeline>,
) -> Option<Tally> {
    let worker = match Worker::connect(plan, first, count) {
        Ok(worker) => worker,
        Err(error) => {
            ready.send(Err(error)).ok()?;
            return None;
        }
    };
    ready.send(Ok(())).ok()?;
    // The channel closes when all threads have dropped their senders. So the receiver does not wait for a thread that
    // has panicked.
    drop(ready);
    let timeline = start.recv().ok()?;
    Some(worker.run(plan, pacer, timeline, body_len_min))
}

/// Samples the resource usage from the beginning to the end of the measured time. Blocks until the end.
fn sample_usage(pids: &[u32], timeline: &Timeline) -> Result<MeasuredUsage, Error> {
    sleep_until(timeline.window_start);
    let before = UsageSample::now(pids)?;
    let mut rss_peak_bytes = 0;
    while Instant::now() < timeline.window_end {
        sleep_until(timeline.window_end.min(Instant::now() + SAMPLE_INTERVAL));
        let usage = procfs::total_usage(pids)?;
        rss_peak_bytes = rss_peak_bytes.max(usage.map_or(0, |usage| usage.rss_bytes));
    }
    Ok(MeasuredUsage { before, after: UsageSample::now(pids)?, rss_peak_bytes })
}

fn sleep_until(moment: Instant) {
    thread::sleep(moment.saturating_duration_since(Instant::now()));
}

impl UsageSample {
    fn now(pids: &[u32]) -> Result<Self, Error> {
        let server = procfs::total_usage(pids)?;
        Ok(UsageSample { server, generator: procfs::own_cpu()?, machine: procfs::machine()? })
    }
}

fn build_report(plan: &Plan, tally: &Tally, usage: &MeasuredUsage, load_average: Option<f64>) -> Report {
    let requests: u64 = tally.answered.iter().sum();
    let seconds = plan.duration.as_secs_f64();
    let (latency_us, operations) = report::latencies(tally, plan.workload);
    let cpu = usage.after.generator.saturating_sub(usage.before.generator);
    Report {
        workload: plan.workload,
        protocol: plan.target.protocol.name().to_owned(),
        connections: plan.connections,
        threads: plan.threads.clamp(1, plan.connections.max(1)),
        warmup_s: plan.warmup.as_secs_f64(),
        duration_s: seconds,
        requests,
        requests_per_second: requests as f64 / seconds,
        body_bytes_per_second: tally.bytes as f64 / seconds,
        latency_us,
        operations,
        errors: tally.errors.clone(),
        open_loop: None,
        server: server_report(&plan.pids, usage, requests),
        client: ClientReport { cpu_s: cpu.as_secs_f64(), cpu_us_per_request: micros_each(cpu, requests) },
        machine: machine_report(usage, plan.duration, load_average),
        writes: None,
    }
}

fn server_report(pids: &[u32], usage: &MeasuredUsage, requests: u64) -> Option<ServerReport> {
    let (before, after) = usage.before.server.zip(usage.after.server)?;
    let cpu = after.cpu.saturating_sub(before.cpu);
    Some(ServerReport {
        pids: pids.to_vec(),
        cpu_s: cpu.as_secs_f64(),
        cpu_us_per_request: micros_each(cpu, requests),
        rss_bytes: after.rss_bytes,
        rss_window_peak_bytes: usage.rss_peak_bytes.max(before.rss_bytes).max(after.rss_bytes),
        rss_peak_bytes: after.rss_peak_bytes,
        threads: after.threads,
    })
}

fn machine_report(usage: &MeasuredUsage, duration: Duration, load_average: Option<f64>) -> MachineReport {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let (before, after) = (&usage.before, &usage.after);
    let share = |time: Duration| time.as_secs_f64() / (duration.as_secs_f64() * cores as f64);
    let other_share = before.server.zip(after.server).map(|(server_before, server_after)| {
        let known =
            after.generator.saturating_sub(before.generator) + server_after.cpu.saturating_sub(server_before.cpu);
        share(after.machine.busy.saturating_sub(before.machine.busy).saturating_sub(known))
    });
    let stolen_share = share(after.machine.stolen.saturating_sub(before.machine.stolen));
    MachineReport { cores, other_share, stolen_share, load_average }
}

fn micros_each(time: Duration, count: u64) -> f64 {
    if count == 0 { 0.0 } else { time.as_secs_f64() * 1e6 / count as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_connection_belongs_to_one_thread() {
        for (connections, threads) in [(1, 1), (7, 2), (8, 3), (256, 5)] {
            let shares: Vec<_> = (0..threads).map(|thread| connection_range(connections, threads, thread)).collect();
            let numbers: Vec<_> = shares.iter().flat_map(|(first, count)| *first..first + count).collect();
            assert_eq!(numbers, (0..connections).collect::<Vec<_>>());
        }
    }
}
