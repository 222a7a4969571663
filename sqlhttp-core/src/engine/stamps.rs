//! Makes stamps: the timestamp and random seed that the SQL of a batch sees. This is the only module of the engine that
//! reads the wall clock and generates random seeds.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::model::Stamp;

/// Makes a stamp from the system clock and a unique seed, for a batch that has no stamp.
pub fn new() -> Stamp {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Stamp { unix_ms: i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX), seed: seed() }
}

/// Returns a seed that is unique in this process. The seeds are derived from a start value that is random for each
/// process.
fn seed() -> u64 {
    static STATE: OnceLock<AtomicU64> = OnceLock::new();
    let state = STATE.get_or_init(|| AtomicU64::new(first_seed()));
    // The seeds need to be unique, not random: SQL's `random()` derives a random sequence from the seed.
    mix(state.fetch_add(0x9E37_79B9_7F4A_7C15, Ordering::Relaxed))
}

fn first_seed() -> u64 {
    let mut bytes = [0; 8];
    match getrandom::fill(&mut bytes) {
        Ok(()) => u64::from_le_bytes(bytes),
        // The system has no random source. Use the clock and the process id.
        Err(_) => {
            let nanos = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
            mix(nanos as u64 ^ (u64::from(std::process::id()) << 32))
        }
    }
}

/// The finalizer of MurmurHash3. Inputs that differ in a few bits give outputs that differ in many.
fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 33)).wrapping_mul(0xFF51_AFD7_ED55_8CCD);
    z = (z ^ (z >> 33)).wrapping_mul(0xC4CE_B9FE_1A85_EC53);
    z ^ (z >> 33)
}
