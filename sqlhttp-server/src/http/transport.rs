//! The state that all connections share: limits, counters, the memory budget, the allowed hosts and the stop flag.

use std::sync::atomic::{AtomicBool, Ordering};

use super::body_memory::BodyBudget;
use super::limits::Limits;
use super::origin::AllowedHosts;
use crate::process::metrics::Metrics;

/// The state that all connections share. Only the counters, the memory budget and the stop flag change.
#[derive(Debug)]
pub(crate) struct Transport {
    pub(crate) limits: Limits,
    pub(crate) metrics: Metrics,
    /// The memory budget that the bodies of all requests share.
    pub(crate) body_budget: BodyBudget,
    /// The hosts that a request may name. `None` allows every host.
    pub(crate) allowed_hosts: Option<AllowedHosts>,
    stopping: AtomicBool,
}

impl Transport {
    /// Creates the state of a server whose stop flag is not set.
    pub(crate) fn new(limits: Limits, metrics: Metrics, allowed_hosts: &[String]) -> Transport {
        Transport {
            body_budget: BodyBudget::new(limits.all_bodies_bytes_max.max(limits.body.bytes_max)),
            allowed_hosts: AllowedHosts::new(allowed_hosts),
            limits,
            metrics,
            stopping: AtomicBool::new(false),
        }
    }

    /// Sets the stop flag. From then the health check fails, so that load balancers send no new requests.
    pub(crate) fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    /// Returns whether the stop flag is set.
    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }
}
