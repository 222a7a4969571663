//! A VFS that takes the current time from the stamp of the batch that runs on the calling thread.
//!
//! SQLite gets the time for `now` from its VFS (`xCurrentTimeInt64`), for `now` in statements, DEFAULT clauses,
//! triggers and views. Because this method is replaced, the same batch computes the same values each time it runs, and
//! its SQL text need not be changed. All other methods are those of the original VFS, so file access is not slower.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::ffi::{CStr, CString, c_int};
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use rusqlite::ffi;

use super::{full, local_time};
use crate::engine::time_zone::TimeZone;
use crate::model::Stamp;

/// Milliseconds from the Julian epoch (noon, 24 November 4714 BC) to the Unix epoch
/// (<https://sqlite.org/c3ref/vfs.html>).
const UNIX_EPOCH_JULIAN_MS: i64 = 210_866_760_000_000;

thread_local! {
    /// The current time for the batch that runs on this thread, in milliseconds since the Unix epoch. `None` outside a
    /// batch, where the system clock is used.
    static UNIX_MS: Cell<Option<i64>> = const { Cell::new(None) };
    /// The state of this thread's random number generator, which `random()` and `randomblob()` use.
    static RANDOM_STATE: Cell<u64> = const { Cell::new(0) };
    /// The random seed of the batch that runs on this thread.
    static SEED: Cell<u64> = const { Cell::new(0) };
}

/// A guard that makes SQLite on this thread take the time and random numbers from a stamp, and use a time zone for
/// local times. Dropping the guard restores the previous time, random numbers and time zone.
pub(crate) struct Stamped {
    outer: (Option<i64>, u64, u64),
    outer_zone: TimeZone,
}

impl Stamped {
    pub(crate) fn new(stamp: Stamp, zone: TimeZone) -> Self {
        let outer = (UNIX_MS.replace(Some(stamp.unix_ms)), RANDOM_STATE.replace(stamp.seed), SEED.replace(stamp.seed));
        Stamped { outer, outer_zone: local_time::replace_zone(zone) }
    }
}

impl Drop for Stamped {
    fn drop(&mut self) {
        UNIX_MS.set(self.outer.0);
        RANDOM_STATE.set(self.outer.1);
        SEED.set(self.outer.2);
        local_time::replace_zone(self.outer_zone);
    }
}

/// Restarts the random number generator for a step of the batch, with a seed that depends only on the stamp and the
/// step's index. The random numbers of a step are therefore the same if the batch is resumed at that step.
pub(crate) fn begin_step(index: usize) {
    let seed = SEED.get();
    RANDOM_STATE.set(seed.wrapping_add((index as u64).wrapping_mul(0xD1B5_4A32_D192_ED03)));
}

/// Returns the next 64 bits of this thread's random number generator.
pub(crate) fn next_random() -> u64 {
    RANDOM_STATE.with(|state| {
        let mut next = state.get();
        let bits = split_mix_64(&mut next);
        state.set(next);
        bits
    })
}

/// Advances `state` and returns the next number of the random number generator SplitMix64 (Steele, Lea, Flood: "Fast
/// Splittable Pseudorandom Number Generators", 2014).
pub(super) fn split_mix_64(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// Returns the name of a copy of the VFS `base` (the default VFS if `None`) that uses the clock of this module. The
/// first call for each `base` registers the copy. Returns `None` if `base` does not exist or SQLite cannot register the
/// copy.
pub(crate) fn vfs_name(base: Option<&str>) -> Option<&'static CStr> {
    static CLOCKS: Mutex<BTreeMap<Option<String>, &'static CStr>> = Mutex::new(BTreeMap::new());
    let mut clocks = CLOCKS.lock().unwrap_or_else(PoisonError::into_inner);
    let base = base.map(str::to_owned);
    if let Some(name) = clocks.get(&base) {
        return Some(name);
    }
    let name = register(base.as_deref())?;
    clocks.insert(base, name);
    Some(name)
}

/// Registers a copy of a VFS that uses the clock of this module, and returns the name of the copy.
fn register(base: Option<&str>) -> Option<&'static CStr> {
    let name = CString::new(base.map_or("sqlhttp".to_owned(), |base| format!("sqlhttp+{base}"))).ok()?;
    let base = base.map(CString::new).transpose().ok()?;
    // SAFETY: `sqlite3_initialize` may be called at any time from any thread. `sqlite3_vfs_find` returns null or a VFS
    // that stays registered, as `Options::vfs` requires. SQLite changes no field of a registered VFS but `pNext`, which
    // the copy does not use. The copy and its name are leaked (once for each base), so they outlive every connection,
    // as `sqlite3_vfs_register` requires. The copy keeps `pAppData`, where the methods of the original VFS expect their
    // data.
    unsafe {
        if ffi::sqlite3_initialize() != ffi::SQLITE_OK {
            return None;
        }
        let found = ffi::sqlite3_vfs_find(base.as_deref().map_or(std::ptr::null(), CStr::as_ptr));
        if found.is_null() {
            return None;
        }
        let name: &'static CStr = Box::leak(name.into_boxed_c_str());
        let mut copy = *found;
        copy.zName = name.as_ptr();
        copy.pNext = std::ptr::null_mut();
        install(&mut copy);
        (ffi::sqlite3_vfs_register(full::install(Box::leak(Box::new(copy))), 0) == ffi::SQLITE_OK).then_some(name)
    }
}

/// Makes a VFS use the clock of this module.
pub(super) fn install(vfs: &mut ffi::sqlite3_vfs) {
    vfs.xCurrentTime = Some(current_time);
    vfs.xCurrentTimeInt64 = Some(current_time_int64);
}

fn julian_ms() -> i64 {
    let unix_ms = UNIX_MS.get().unwrap_or_else(system_unix_ms);
    unix_ms.saturating_add(UNIX_EPOCH_JULIAN_MS)
}

fn system_unix_ms() -> i64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX)
}

unsafe extern "C" fn current_time_int64(_vfs: *mut ffi::sqlite3_vfs, out: *mut ffi::sqlite3_int64) -> c_int {
    // SAFETY: SQLite passes a valid pointer for the result.
    unsafe { *out = julian_ms() };
    ffi::SQLITE_OK
}

unsafe extern "C" fn current_time(_vfs: *mut ffi::sqlite3_vfs, out: *mut f64) -> c_int {
    // SAFETY: SQLite passes a valid pointer for the result.
    unsafe { *out = julian_ms() as f64 / 86_400_000.0 };
    ffi::SQLITE_OK
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_vfs_is_registered_once_with_this_clock() {
        let names = [None, Some("memdb")].map(|base| (vfs_name(base), vfs_name(base)));
        assert!(names.iter().all(|(first, second)| first.is_some() && first == second));
        assert_ne!(names[0].0, names[1].0);
    }

    #[test]
    fn an_unknown_or_invalid_vfs_name_is_refused() {
        assert_eq!(vfs_name(Some("not registered")), None);
        assert_eq!(vfs_name(Some("not\0a name")), None);
    }
}
