//! Where stamps come from: the one place in the engine that looks at a clock and throws dice.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::model::Stamp;

/// A stamp for a batch that has none: the time of the system's clock, and a seed that no other stamp has.
pub fn new() -> Stamp {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Stamp { unix_ms: i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX), seed: seed() }
}

/// A seed that no other batch of this process has, from a start that no other process has.
fn seed() -> u64 {
    static STATE: OnceLock<AtomicU64> = OnceLock::new();
    let state = STATE.get_or_init(|| AtomicU64::new(first_seed()));
    // The mixing that makes it chance happens where it is used.
    mix(state.fetch_add(0x9E37_79B9_7F4A_7C15, Ordering::Relaxed))
}

fn first_seed() -> u64 {
    let mut bytes = [0; 8];
    match getrandom::fill(&mut bytes) {
        Ok(()) => u64::from_le_bytes(bytes),
        // No source of chance in this system: the clock and the process must do.
        Err(_) => {
            let nanos = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
            mix(nanos as u64 ^ (u64::from(std::process::id()) << 32))
        }
    }
}

/// The finalizer of MurmurHash3, so that neighbouring seeds have nothing in common.
fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 33)).wrapping_mul(0xFF51_AFD7_ED55_8CCD);
    z = (z ^ (z >> 33)).wrapping_mul(0xC4CE_B9FE_1A85_EC53);
    z ^ (z >> 33)
}
