//! Where stamps of entries come from: the one place of this crate that looks at a clock and throws dice.

use std::time::{SystemTime, UNIX_EPOCH};

use sqlhttp_core::Stamp;

/// Time and chance for a batch, as of now.
pub(crate) fn new() -> Stamp {
    sqlhttp_core::new_stamp()
}

/// The time for an entry, milliseconds since 1970-01-01 00:00 UTC.
pub(crate) fn now_unix_ms() -> i64 {
    i64::try_from(unix_ms(SystemTime::now())).unwrap_or(i64::MAX)
}

/// Milliseconds since 1970.
pub(crate) fn unix_ms(moment: SystemTime) -> u128 {
    moment.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis()
}
