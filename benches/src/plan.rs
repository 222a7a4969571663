//! What a run does: a value that is complete before anything happens.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::Error;
use crate::http::Endpoint;
use crate::protocol::{Auth, Protocol};
use crate::schedule::{Rate, Schedule};
use crate::workload::Workload;

/// The most connections a run opens.
pub const CONNECTIONS_MAX: u64 = 10_000;
/// The most rows the table that is read may have.
pub const ITEMS_MAX: u64 = 100_000_000;
/// The longest a run may take, warm-up and measurement each.
pub const TIME_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// The server that is asked, and how.
#[derive(Debug, Clone)]
pub struct Target {
    /// Where it listens.
    pub endpoint: Endpoint,
    /// What it speaks.
    pub protocol: Arc<dyn Protocol>,
    /// Who asks.
    pub auth: Auth,
}

/// One run of one workload.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The server.
    pub target: Target,
    /// What to ask of it.
    pub workload: Workload,
    /// The share of inserts in the mixed workload, 0 to 100.
    pub write_percent: u8,
    /// How many rows `load_items` has.
    pub items: u64,
    /// How many connections are kept busy.
    pub connections: usize,
    /// How many threads keep them busy.
    pub threads: usize,
    /// How long the server is kept busy before the measurement begins.
    pub warmup: Duration,
    /// How long is measured.
    pub duration: Duration,
    /// How long to wait after the end for answers that are still due.
    pub grace: Duration,
    /// Open loop: so many requests per second, whatever the server does. `None`: each connection sends its next request
    /// when it has the answer to the last one.
    pub rate: Option<Rate>,
    /// The server's process, if its processor time and memory are to be measured.
    pub pid: Option<u32>,
    /// Where the random numbers begin.
    pub seed: u64,
}

/// The moments of a run.
#[derive(Debug, Clone, Copy)]
pub struct Timeline {
    /// The first request.
    pub start: Instant,
    /// The measurement begins.
    pub window_start: Instant,
    /// The measurement ends, and no request is begun any more.
    pub window_end: Instant,
    /// Nobody waits for an answer any more.
    pub give_up: Instant,
}

impl Plan {
    /// Refuses a workload that the protocol does not have.
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

    /// The moments of a run that begins at `start`.
    pub fn timeline(&self, start: Instant) -> Timeline {
        let window_start = start + self.warmup;
        let window_end = window_start + self.duration;
        Timeline { start, window_start, window_end, give_up: window_end + self.grace }
    }
}

impl Timeline {
    /// Whether a moment lies in the measured time.
    pub fn in_window(&self, moment: Instant) -> bool {
        self.window_start <= moment && moment < self.window_end
    }
}
