//! The clocks and the random numbers of a node. In a simulation (feature `sim`) they are those of the simulated
//! machine.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use sqlhttp_core::Stamp;

/// Returns the current time of the monotonic clock. Tokio's timers use the same clock, which a simulation controls.
pub(crate) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// Returns the current time of the system clock.
pub(crate) fn system_time() -> SystemTime {
    #[cfg(feature = "sim")]
    if let Some(machine) = crate::sim::machine() {
        return machine.system_time();
    }
    SystemTime::now()
}

/// Returns the current time of the system clock, in milliseconds since 1970-01-01 00:00 UTC.
pub(crate) fn unix_ms() -> i64 {
    let since_1970 = system_time().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since_1970.as_millis()).unwrap_or(i64::MAX)
}

/// Returns the time of the system clock, and a random number that is unique in this process.
pub(crate) fn new_stamp() -> Stamp {
    #[cfg(feature = "sim")]
    if let Some(machine) = crate::sim::machine() {
        return Stamp { unix_ms: unix_ms(), seed: machine.random() };
    }
    sqlhttp_core::new_stamp()
}
