//! The parameters of a run.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::Error;
use crate::http::Endpoint;
use crate::protocol::{Auth, Protocol};
use crate::schedule::{Rate, Schedule};
use crate::workload::Workload;

/// The highest number of connections of a run.
pub const CONNECTIONS_MAX: u64 = 10_000;
/// The highest number of rows in the table that is read.
pub const ITEMS_MAX: u64 = 100_000_000;
/// The limit of each of the times of a run: warm-up, measurement and grace.
pub const TIME_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// A server, and how to send requests to it.
#[derive(Debug, Clone)]
pub struct Target {
    /// The address of the server.
    pub endpoint: Endpoint,
    /// The protocol of the requests.
    pub protocol: Arc<dyn Protocol>,
    /// The credentials of the requests.
    pub auth: Auth,
}

/// One run of one workload.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The server.
    pub target: Target,
    /// The workload.
    pub workload: Workload,
    /// The share of inserts in the mixed workload, 0 to 100.
    pub write_percent: u8,
    /// The number of rows in `load_items`.
    pub items: u64,
    /// The number of connections that are kept busy.
    pub connections: usize,
    /// The number of threads among which the connections are divided.
    pub threads: usize,
    /// The time before the measurement, in which the load is the same.
    pub warmup: Duration,
    /// The measured time.
    pub duration: Duration,
    /// The longest wait for outstanding answers after the measured time.
    pub grace: Duration,
    /// The rate of an open loop: requests are due at this rate, however fast the server answers. `None` is a closed
    /// loop: each connection sends its next request when it has received the answer to the previous one.
    pub rate: Option<Rate>,
    /// The id of the server's process, if its processor time and memory are to be measured.
    pub pid: Option<u32>,
    /// The seed of the random numbers. Each connection adds its own number to it.
    pub seed: u64,
}

/// The times at which the parts of a run begin and end.
#[derive(Debug, Clone, Copy)]
pub struct Timeline {
    /// The warm-up begins with the first request.
    pub start: Instant,
    /// The measurement begins.
    pub window_start: Instant,
    /// The measurement ends. No request begins later.
    pub window_end: Instant,
    /// The grace ends. Requests without an answer are counted as timeouts.
    pub give_up: Instant,
}

impl Plan {
    /// Returns an error if the protocol does not have the workload.
    pub fn check(&self) -> Result<(), Error> {
        if self.workload == Workload::Queued && !self.target.protocol.has_queued_writes() {
            return Err(Error::Usage(format!("the protocol {} has no queued writes", self.target.protocol.name())));
        }
        Ok(())
    }

    /// The schedule of an open loop, warm-up included; `None` for a closed loop.
    pub fn schedule(&self) -> Option<Schedule> {
        self.rate.map(|rate| Schedule::new(rate, self.warmup + self.duration))
    }

    /// The timeline of a run that begins at `start`.
    pub fn timeline(&self, start: Instant) -> Timeline {
        let window_start = start + self.warmup;
        let window_end = window_start + self.duration;
        Timeline { start, window_start, window_end, give_up: window_end + self.grace }
    }
}

impl Timeline {
    /// Whether `moment` is within the measured time.
    pub fn in_window(&self, moment: Instant) -> bool {
        self.window_start <= moment && moment < self.window_end
    }
}
