//! The parameters of a run.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::Error;
use crate::http::Endpoint;
use crate::protocol::{Auth, Protocol};
use crate::schedule::{Rate, Schedule};
use crate::workload::Workload;

/// The maximum number of connections of a run.
pub const CONNECTIONS_MAX: u64 = 10_000;
/// The maximum number of rows in `load_items`, the table that is read.
pub const ITEMS_MAX: u64 = 100_000_000;
/// The maximum of each of the three times of a run: warm-up, measured time and grace.
pub const TIME_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// The server that is measured, and how requests are sent to it.
#[derive(Debug, Clone)]
pub struct Target {
    /// The address of the server.
    pub endpoint: Endpoint,
    /// The protocol in which requests are encoded.
    pub protocol: Arc<dyn Protocol>,
    /// The credentials that are sent with each request.
    pub auth: Auth,
}

/// The parameters of one run of one workload.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The server that is measured.
    pub target: Target,
    /// The workload that is run.
    pub workload: Workload,
    /// The percentage of inserts in the mixed workload, from 0 to 100.
    pub write_percent: u8,
    /// The number of rows in `load_items`, the table that is read.
    pub items: u64,
    /// The number of connections over which requests are sent all the time.
    pub connections: usize,
    /// The number of threads among which the connections are divided.
    pub threads: usize,
    /// The time before the measured time, in which requests are sent in the same way.
    pub warmup: Duration,
    /// The measured time.
    pub duration: Duration,
    /// The maximum time to wait for outstanding responses after the measured time.
    pub grace: Duration,
    /// The rate of an open loop: requests are due at this rate, however fast the server responds. `None` for a closed
    /// loop, in which each connection sends its next request when it has received the response to the previous one.
    pub rate: Option<Rate>,
    /// The process ids of the server, or of the nodes of a cluster. Empty if their processor time and memory are not
    /// measured.
    pub pids: Vec<u32>,
    /// The seed of the random numbers. The seed of a connection is the sum of this one and the number of the
    /// connection.
    pub seed: u64,
}

/// The times at which the phases of a run begin and end.
#[derive(Debug, Clone, Copy)]
pub struct Timeline {
    /// The time of the first request, when the warm-up begins.
    pub start: Instant,
    /// The time when the measured time begins.
    pub window_start: Instant,
    /// The time when the measured time ends. No request is sent after it.
    pub window_end: Instant,
    /// The time when the grace ends. Requests that have no response by then are counted as timeouts.
    pub give_up: Instant,
}

impl Plan {
    /// Returns an error if the protocol does not support the workload.
    pub fn check(&self) -> Result<(), Error> {
        if self.workload == Workload::Queued && !self.target.protocol.has_queued_writes() {
            return Err(Error::Usage(format!("the protocol {} has no queued writes", self.target.protocol.name())));
        }
        Ok(())
    }

    /// Returns the schedule of an open loop, including the warm-up. `None` for a closed loop.
    pub fn schedule(&self) -> Option<Schedule> {
        self.rate.map(|rate| Schedule::new(rate, self.warmup + self.duration))
    }

    /// Returns the timeline of a run whose first request is sent at `start`.
    pub fn timeline(&self, start: Instant) -> Timeline {
        let window_start = start + self.warmup;
        let window_end = window_start + self.duration;
        Timeline { start, window_start, window_end, give_up: window_end + self.grace }
    }
}

impl Timeline {
    /// Returns whether `moment` is within the measured time.
    pub fn in_window(&self, moment: Instant) -> bool {
        self.window_start <= moment && moment < self.window_end
    }
}
