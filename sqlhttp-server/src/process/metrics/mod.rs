//! The metrics of the server, in Prometheus's text format.
//!
//! Counting takes no lock: every series is created at the start of the server, and a request only adds to atomics. The
//! values that come from the status of a database are read when the metrics are requested.

pub(crate) mod files;
mod last_backup;
pub(crate) mod process;
pub(crate) mod sql;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;
use sqlhttp_core::{Location, Status};

use self::files::CertificateCollector;
pub use self::last_backup::LastBackup;
use self::process::ProcessCollector;
pub(crate) use self::sql::{InterruptReason, SqlCounters};

/// The prefix of the names of all metrics of this program.
const PREFIX: &str = "sqlhttp";

/// A function that returns the current status of a database.
pub type StatusFn = Arc<dyn Fn() -> Status + Send + Sync>;

/// The upper bounds of the buckets of latency histograms, in microseconds.
const BUCKETS_US: [u64; 17] = [
    50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000,
    5_000_000, 10_000_000,
];

/// All metrics of the server.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    databases: Arc<[DatabaseMetrics]>,
    pub(crate) requests_in_flight: Gauge,
    pub(crate) connections: Gauge,
    pub(crate) connections_refused: Counter,
    pub(crate) received_bytes: Counter,
    pub(crate) sent_bytes: Counter,
}

/// A database that has its own metrics.
pub(crate) struct ObservedDatabase {
    pub(crate) id: String,
    /// The function that returns the status of the database; `None` if its backend has no status.
    pub(crate) status: Option<StatusFn>,
    pub(crate) location: Location,
    /// The time of the last backup of the database.
    pub(crate) last_backup: LastBackup,
    /// The counters of the SQL that requests to the database execute.
    pub(crate) sql: Arc<SqlCounters>,
}

/// The counters of the requests to one database, or of the requests that are for no database.
pub(crate) struct DatabaseMetrics {
    /// The database of these counters; `None` if they are for the requests that are for no database.
    observed: Option<ObservedDatabase>,
    by_class: [AtomicU64; CLASSES.len()],
    latency: LatencyHistogram,
    pub(crate) auth_failures: AtomicU64,
}

/// The classes of HTTP status codes.
const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// A histogram of durations. Each duration is counted in one bucket: the lowest whose upper bound is not below it. The
/// last bucket has no upper bound.
#[derive(Debug, Default)]
pub(crate) struct LatencyHistogram {
    buckets: [AtomicU64; BUCKETS_US.len() + 1],
    sum_us: AtomicU64,
}

impl Metrics {
    /// Creates the metrics of `databases`; the index of a database in this list identifies it later. `certificate` is
    /// the PEM file of the server's certificate, if it has one.
    pub(crate) fn new(databases: Vec<ObservedDatabase>, certificate: Option<PathBuf>) -> Self {
        let databases = databases.into_iter().map(Some).chain([None]).map(DatabaseMetrics::new);
        let mut metrics = Metrics {
            registry: Registry::default(),
            databases: databases.collect(),
            requests_in_flight: Gauge::default(),
            connections: Gauge::default(),
            connections_refused: Counter::default(),
            received_bytes: Counter::default(),
            sent_bytes: Counter::default(),
        };
        metrics.register(certificate);
        metrics
    }

    fn register(&mut self, certificate: Option<PathBuf>) {
        self.registry.register_collector(Box::new(ProcessCollector));
        let registry = self.registry.sub_registry_with_prefix(PREFIX);
        let versions = vec![
            ("version", env!("CARGO_PKG_VERSION").to_owned()),
            ("sqlite_version", sqlhttp_core::sqlite_version().to_owned()),
        ];
        registry.register("build", "The versions of this program and of its SQLite", Info::new(versions));
        registry.register("requests_in_flight", "Requests being answered", self.requests_in_flight.clone());
        registry.register("connections", "Connections open", self.connections.clone());
        let refused = self.connections_refused.clone();
        registry.register("connections_refused", "Connections refused because too many were open", refused);
        registry.register("received_bytes", "Bytes received from clients", self.received_bytes.clone());
        registry.register("sent_bytes", "Bytes sent to clients", self.sent_bytes.clone());
        registry.register_collector(Box::new(DatabaseCollector(Arc::clone(&self.databases))));
        if let Some(file) = certificate {
            registry.register_collector(Box::new(CertificateCollector(file)));
        }
    }

    /// Registers a collector. The names of its metrics get the prefix of this program's metrics.
    pub(crate) fn register_collector(&mut self, collector: Box<dyn Collector>) {
        self.registry.sub_registry_with_prefix(PREFIX).register_collector(collector);
    }

    /// Returns the number of databases that have metrics.
    pub(crate) fn databases_len(&self) -> usize {
        self.databases.len() - 1
    }

    /// Returns the counters of the database with this index. For `None`, returns the counters of the requests that are
    /// for no database.
    pub(crate) fn database(&self, index: Option<usize>) -> &DatabaseMetrics {
        let others = self.databases.len() - 1;
        &self.databases[index.unwrap_or(others).min(others)]
    }

    /// Encodes all metrics in Prometheus's text format.
    pub(crate) fn encode(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

impl DatabaseMetrics {
    fn new(observed: Option<ObservedDatabase>) -> Self {
        let (by_class, latency, auth_failures) = Default::default();
        DatabaseMetrics { observed, by_class, latency, auth_failures }
    }

    /// Returns the metric label that contains the id of the database. `None` for the counters of the requests that are
    /// for no database.
    fn label(&self) -> Option<(&'static str, &str)> {
        self.observed.as_ref().map(|observed| ("database", observed.id.as_str()))
    }

    /// Counts a response by its status, and records the time from the head of the request to the head of the response.
    pub(crate) fn count_answer(&self, status: u16, took: Duration) {
        let class = usize::from(status / 100).clamp(1, CLASSES.len()) - 1;
        self.by_class[class].fetch_add(1, Ordering::Relaxed);
        self.latency.observe(took);
    }
}

impl fmt::Debug for DatabaseMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DatabaseMetrics").field("label", &self.label()).finish_non_exhaustive()
    }
}

impl LatencyHistogram {
    pub(crate) fn observe(&self, took: Duration) {
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bucket = BUCKETS_US.partition_point(|bound| *bound < us);
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        self.sum_us.fetch_add(us, Ordering::Relaxed);
    }

    pub(crate) fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        let bounds = BUCKETS_US.iter().map(|us| seconds(*us)).chain([f64::INFINITY]);
        let counts = self.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed));
        let buckets: Vec<(f64, u64)> = bounds.zip(counts).collect();
        let count = buckets.iter().map(|(_, count)| count).sum();
        encoder.encode_histogram::<NoLabelSet>(seconds(self.sum_us.load(Ordering::Relaxed)), count, &buckets, None)
    }
}

fn seconds(us: u64) -> f64 {
    Duration::from_micros(us).as_secs_f64()
}

/// The Prometheus collector of the metrics that exist for each database.
#[derive(Debug)]
struct DatabaseCollector(Arc<[DatabaseMetrics]>);

impl Collector for DatabaseCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        self.encode_requests(&mut encoder)?;
        self.encode_latency(&mut encoder)?;
        self.encode_auth_failures(&mut encoder)?;
        self.encode_statuses(&mut encoder)?;
        self.encode_files(&mut encoder)?;
        sql::encode(self.observed().map(|it| (it.id.as_str(), &*it.sql)), &mut encoder)
    }
}

impl DatabaseCollector {
    /// Returns all databases that have metrics. The entry for requests that are for no database is left out.
    fn observed(&self) -> impl Iterator<Item = &ObservedDatabase> + Clone {
        self.0.iter().filter_map(|database| database.observed.as_ref())
    }

    pub(crate) fn encode_requests(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Requests answered, by database (none for paths that are no database's) and class of status";
        let mut family = encoder.encode_descriptor("requests", help, None, MetricType::Counter)?;
        for database in self.0.iter() {
            for (class, count) in CLASSES.iter().zip(&database.by_class) {
                let count = count.load(Ordering::Relaxed);
                // The class 1xx is shown only after such a status has occurred. The other classes are always shown.
                if count > 0 || *class != "1xx" {
                    let labels: Vec<_> = database.label().into_iter().chain([("status", *class)]).collect();
                    family.encode_family(&labels)?.encode_counter::<NoLabelSet, u64, f64>(&count, None)?;
                }
            }
        }
        Ok(())
    }

    pub(crate) fn encode_latency(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Time from the head of the request to the head of the answer, seconds";
        let mut family = encoder.encode_descriptor("request_duration_seconds", help, None, MetricType::Histogram)?;
        for database in self.0.iter() {
            let labels: Vec<_> = database.label().into_iter().collect();
            database.latency.encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }

    pub(crate) fn encode_auth_failures(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Requests refused because of missing or wrong credentials or tokens";
        let mut family = encoder.encode_descriptor("auth_failures", help, None, MetricType::Counter)?;
        for (database, label) in self.0.iter().filter_map(|it| Some((it, it.label()?))) {
            let count = database.auth_failures.load(Ordering::Relaxed);
            let labels = [label];
            family.encode_family(&labels)?.encode_counter::<NoLabelSet, u64, f64>(&count, None)?;
        }
        Ok(())
    }

    pub(crate) fn encode_statuses(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let statuses: Vec<(&str, Status)> =
            self.observed().filter_map(|it| Some((it.id.as_str(), it.status.as_ref()?()))).collect();
        for (name, help, metric_type, read) in SERIES {
            let mut family = encoder.encode_descriptor(name, help, None, *metric_type)?;
            for (id, status) in &statuses {
                let labels = [("database", *id)];
                let mut metric = family.encode_family(&labels)?;
                match metric_type {
                    MetricType::Counter => metric.encode_counter::<NoLabelSet, u64, f64>(&read(status), None)?,
                    _ => metric.encode_gauge(&read(status))?,
                }
            }
        }
        Ok(())
    }
}

impl DatabaseCollector {
    pub(crate) fn encode_files(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Bytes free on the file system of the database";
        let mut family = encoder.encode_descriptor("disk_free_bytes", help, None, MetricType::Gauge)?;
        for (it, bytes) in self.observed().filter_map(|it| Some((it, files::free_bytes(&it.location)?))) {
            family.encode_family(&[("database", it.id.as_str())])?.encode_gauge(&bytes)?;
        }
        let help = "Last successful backup since the start, seconds since the Unix epoch";
        let name = "last_backup_timestamp_seconds";
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (it, seconds) in self.observed().filter_map(|it| Some((it, it.last_backup.seconds()?))) {
            family.encode_family(&[("database", it.id.as_str())])?.encode_gauge(&seconds)?;
        }
        Ok(())
    }
}

/// A metric: its name, its help text, its type, and the function that returns its value from the status of a database.
type Series = (&'static str, &'static str, MetricType, fn(&Status) -> u64);

/// The metrics whose values are read from the status of a database.
const SERIES: &[Series] = &[
    ("write_queue_length", "Batches that wait for the writer", MetricType::Gauge, |s| s.write_queue_len as u64),
    ("read_queue_length", "Batches that wait for a reader", MetricType::Gauge, |s| s.read_queue_len as u64),
    ("batches_written", "Batches the writer has finished", MetricType::Counter, |s| s.batches_written),
    ("groups_committed", "Transactions committed for them", MetricType::Counter, |s| s.groups_committed),
    ("batches_read", "Batches the readers have finished", MetricType::Counter, |s| s.batches_read),
    ("file_size_bytes", "Size of the database file", MetricType::Gauge, |s| s.file_bytes),
    ("wal_size_bytes", "Size of the write-ahead log", MetricType::Gauge, |s| s.wal_bytes),
    ("poisoned", "1 if the database takes no more writes", MetricType::Gauge, |s| u64::from(s.poisoned.is_some())),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn observed(id: &str, location: Location, status: Option<StatusFn>) -> ObservedDatabase {
        let (last_backup, sql) = Default::default();
        ObservedDatabase { id: id.to_owned(), status, location, last_backup, sql }
    }

    fn metrics() -> Metrics {
        let status: StatusFn = Arc::new(|| {
            let mut status = Status::default();
            (status.wal_bytes, status.batches_written) = (4096, 7);
            status
        });
        let file = Location::File(std::env::temp_dir().join("a.db"));
        let (a, b) = (observed("a", file, Some(status)), observed("b", Location::Memory, None));
        a.last_backup.record();
        a.sql.rows_returned(3);
        b.sql.request_failed(&sqlhttp_core::Error::Closed);
        Metrics::new(vec![a, b], None)
    }

    #[test]
    fn all_series_are_encoded() {
        let metrics = metrics();
        metrics.database(Some(0)).count_answer(200, Duration::from_millis(2));
        metrics.database(Some(0)).count_answer(200, Duration::from_secs(60));
        metrics.database(Some(1)).count_answer(503, Duration::ZERO);
        metrics.database(None).count_answer(404, Duration::ZERO);
        metrics.database(Some(1)).auth_failures.fetch_add(1, Ordering::Relaxed);
        metrics.connections.inc();
        let text = metrics.encode().unwrap();
        for line in [
            r#"sqlhttp_requests_total{database="a",status="2xx"} 2"#,
            r#"sqlhttp_requests_total{database="b",status="5xx"} 1"#,
            r#"sqlhttp_requests_total{status="4xx"} 1"#,
            r#"sqlhttp_rows_returned_total{database="a"} 3"#,
            r#"sqlhttp_sql_errors_total{database="a"} 0"#,
            r#"sqlhttp_server_failures_total{database="b",reason="closed"} 1"#,
            r#"sqlhttp_sql_interrupted_total{database="b",reason="timeout"} 0"#,
            r#"sqlhttp_request_duration_seconds_count{database="a"} 2"#,
            r#"sqlhttp_request_duration_seconds_bucket{le="0.001",database="a"} 0"#,
            r#"sqlhttp_request_duration_seconds_bucket{le="0.0025",database="a"} 1"#,
            r#"sqlhttp_request_duration_seconds_bucket{le="+Inf",database="a"} 2"#,
            r#"sqlhttp_auth_failures_total{database="b"} 1"#,
            "sqlhttp_connections 1",
            r#"sqlhttp_wal_size_bytes{database="a"} 4096"#,
            r#"sqlhttp_batches_written_total{database="a"} 7"#,
            r#"sqlhttp_poisoned{database="a"} 0"#,
        ] {
            assert!(text.lines().any(|encoded| encoded == line), "{line} is missing in\n{text}");
        }
        for part in [
            "sqlhttp_build_info{version=",
            r#"sqlhttp_disk_free_bytes{database="a"} "#,
            r#"sqlhttp_last_backup_timestamp_seconds{database="a"} "#,
        ] {
            assert!(text.contains(part), "{part} is missing in\n{text}");
        }
        for part in [
            r#"sqlhttp_poisoned{database="b"}"#,
            r#"sqlhttp_disk_free_bytes{database="b"}"#,
            r#"sqlhttp_last_backup_timestamp_seconds{database="b"}"#,
            "=\"\"",
        ] {
            assert!(!text.contains(part), "{part} is in\n{text}");
        }
    }

    #[test]
    fn the_upper_bound_belongs_to_its_bucket() {
        let latency = LatencyHistogram::default();
        latency.observe(Duration::from_micros(100));
        latency.observe(Duration::from_micros(101));
        assert_eq!(latency.buckets[1].load(Ordering::Relaxed), 1);
        assert_eq!(latency.buckets[2].load(Ordering::Relaxed), 1);
    }
}
