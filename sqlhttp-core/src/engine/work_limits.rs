//! Limits on the work that a statement can do between two checks of SQLite's interrupt flag.
//!
//! SQLite cannot be interrupted inside a function, or between two iterations of a loop of its bytecode. [`program`]
//! estimates that work as the *weight* of a statement; here, longer values are forbidden to heavier statements.

use super::sqlite::program;
use super::statement_info::StatementInfo;

/// The largest value on a caller's own thread, in bytes. A function that reads every byte of it takes microseconds.
pub(crate) const INLINE_VALUE_BYTES_MAX: i32 = 64 << 10;
/// The longest pattern of LIKE and GLOB on a caller's own thread, in bytes. In the worst case matching takes time
/// proportional to the product of pattern and text length.
pub(crate) const INLINE_PATTERN_BYTES_MAX: i32 = 64;
/// The longest patterns of LIKE and GLOB on other threads, each with the longest value for which it is allowed, in
/// bytes. The product of both is the same in all tiers: matching takes about three seconds in the worst case.
pub(crate) const PATTERN_LIMITS: [(i32, i32); 4] = [(16, i32::MAX), (64, 16 << 20), (256, 4 << 20), (4096, 256 << 10)];
/// The largest weight of a statement on a caller's own thread: some milliseconds.
pub(crate) const INLINE_WEIGHT_MAX: u32 = 64 * program::PASS;
/// Up to this weight the values of a statement have no limit of their own: about three seconds for values of 64 MiB.
pub(crate) const UNLIMITED_VALUES_WEIGHT: u32 = 32 * program::PASS;
/// The most bytes that the values of a heavier statement may have together.
const TOTAL_VALUE_BYTES: u64 = 64 << 20;
/// The smallest limit for a value, in bytes, however heavy the statement is.
const VALUE_BYTES_MIN: u64 = 1 << 10;

/// Returns the largest value for a statement, in bytes, if it needs a limit of its own. SQLite can be interrupted only
/// between two iterations of a loop, so the limit is inversely proportional to the work in one iteration.
pub(crate) fn value_limit(info: &StatementInfo, weight: u32) -> Option<i32> {
    let by_weight = (weight > UNLIMITED_VALUES_WEIGHT).then(|| {
        let bytes = TOTAL_VALUE_BYTES * u64::from(UNLIMITED_VALUES_WEIGHT) / u64::from(weight);
        i32::try_from(bytes.max(VALUE_BYTES_MIN)).unwrap_or(i32::MAX)
    });
    match (info.value_bytes_max, by_weight) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}
