//! The process metrics that are standard in Prometheus client libraries, under the names that dashboards expect
//! (<https://prometheus.io/docs/instrumenting/writing_clientlibs/#process-metrics>). They exist only on Linux.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

/// The Prometheus collector of the metrics about this process.
#[derive(Debug)]
pub(crate) struct ProcessCollector;

/// The statistics about this process that Linux reports.
#[derive(Debug, PartialEq)]
struct ProcessStats {
    cpu_seconds: f64,
    resident_bytes: u64,
    start_seconds: f64,
}

impl Collector for ProcessCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let Some(stats) = read_stats() else { return Ok(()) };
        let help = "Processor time, user and system, seconds";
        let mut cpu = encoder.encode_descriptor("process_cpu_seconds", help, None, MetricType::Counter)?;
        cpu.encode_counter::<NoLabelSet, f64, f64>(&stats.cpu_seconds, None)?;
        let help = "Resident memory, bytes";
        encoder
            .encode_descriptor("process_resident_memory_bytes", help, None, MetricType::Gauge)?
            .encode_gauge(&stats.resident_bytes)?;
        let help = "Start of the process, seconds since the Unix epoch";
        encoder
            .encode_descriptor("process_start_time_seconds", help, None, MetricType::Gauge)?
            .encode_gauge(&stats.start_seconds)?;
        let help = "Open file descriptors";
        encoder.encode_descriptor("process_open_fds", help, None, MetricType::Gauge)?.encode_gauge(&open_files())?;
        let help = "File descriptors that the process may have open at once";
        encoder.encode_descriptor("process_max_fds", help, None, MetricType::Gauge)?.encode_gauge(&max_files())
    }
}

fn read_stats() -> Option<ProcessStats> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    let system = std::fs::read_to_string("/proc/stat").ok()?;
    parse(&stat, &system, ticks_per_second(), page_bytes())
}

/// Parses the content of `/proc/self/stat` (`stat`) and the boot time in `/proc/stat` (`system`); see proc(5). Returns
/// `None` if either has an unexpected format.
fn parse(stat: &str, system: &str, ticks_per_second: f64, page_bytes: u64) -> Option<ProcessStats> {
    // Field 2, the name of the program, is in parentheses and may contain any character. Field 3, the state, follows
    // the last closing parenthesis.
    let words: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let field = |number: usize| words.get(number - 3)?.parse::<u64>().ok();
    let seconds = |ticks: u64| ticks as f64 / ticks_per_second;
    let boot: u64 = system.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()?;
    Some(ProcessStats {
        cpu_seconds: seconds(field(14)? + field(15)?),
        resident_bytes: field(24)?.saturating_mul(page_bytes),
        start_seconds: boot as f64 + seconds(field(22)?),
    })
}

#[cfg(unix)]
fn ticks_per_second() -> f64 {
    rustix::param::clock_ticks_per_second() as f64
}

#[cfg(unix)]
fn page_bytes() -> u64 {
    rustix::param::page_size() as u64
}

#[cfg(unix)]
fn max_files() -> u64 {
    // `u64::MAX` means that there is no limit.
    rustix::process::getrlimit(rustix::process::Resource::Nofile).current.unwrap_or(u64::MAX)
}

#[cfg(not(unix))]
fn ticks_per_second() -> f64 {
    1.0
}

#[cfg(not(unix))]
fn page_bytes() -> u64 {
    0
}

#[cfg(not(unix))]
fn max_files() -> u64 {
    0
}

fn open_files() -> u64 {
    // One of the descriptors is the one of the directory itself while it is being read.
    std::fs::read_dir("/proc/self/fd").map_or(0, |entries| entries.count().saturating_sub(1) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_statistics_of_a_process_are_parsed() {
        let stat =
            "42 (a) b) S 1 42 42 0 -1 4194560 100 0 0 0 150 50 0 0 20 0 9 0 1000 4096000 300 18446744073709551615";
        let system = "cpu  1 2 3\nbtime 1700000000\nprocesses 7\n";
        let expected = ProcessStats { cpu_seconds: 2.0, resident_bytes: 300 * 4096, start_seconds: 1_700_000_010.0 };
        assert_eq!(parse(stat, system, 100.0, 4096), Some(expected));
        assert_eq!(parse("42 (a) S 1", system, 100.0, 4096), None);
        assert_eq!(parse(stat, "", 100.0, 4096), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_has_statistics() {
        let stats = read_stats().unwrap();
        assert!(stats.resident_bytes > 0 && stats.start_seconds > 1e9);
        assert!((3..=max_files()).contains(&open_files()));
    }
}
