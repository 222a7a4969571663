//! Limits the work that a statement can do between two checks of SQLite's interrupt flag.
//!
//! SQLite cannot be interrupted inside a function, or between two iterations of a loop of its bytecode. [`program`]
//! estimates the work in between as the *weight* of a statement. This module limits the size of values: the heavier the
//! statement, the shorter its values must be.

use super::sqlite::program;
use super::statement_info::StatementInfo;

/// The maximum size of a value in a statement that runs on its caller's thread, in bytes. A function that reads every
/// byte of such a value takes microseconds.
pub(crate) const INLINE_VALUE_BYTES_MAX: i32 = 64 << 10;
/// The maximum length of a pattern of LIKE and GLOB in a statement that runs on its caller's thread, in bytes. In the
/// worst case matching takes time proportional to the product of the lengths of pattern and value.
pub(crate) const INLINE_PATTERN_BYTES_MAX: i32 = 64;
/// Pairs of limits for LIKE and GLOB on all threads but callers' threads, in bytes: the maximum length of a pattern,
/// and the maximum size of values when the pattern is that long. In all pairs but the first the product is the same:
/// matching takes about three seconds in the worst case.
pub(crate) const PATTERN_LIMITS: [(i32, i32); 4] = [(16, i32::MAX), (64, 16 << 20), (256, 4 << 20), (4096, 256 << 10)];
/// The maximum weight of a statement that runs on its caller's thread: some milliseconds.
pub(crate) const INLINE_WEIGHT_MAX: u32 = 64 * program::PASS;
/// The maximum weight of a statement that needs no value limit of its own: it takes about three seconds with values of
/// 64 MiB.
pub(crate) const UNLIMITED_VALUES_WEIGHT: u32 = 32 * program::PASS;
/// The dividend of the value limit of heavier statements: a statement whose weight is n times
/// [`UNLIMITED_VALUES_WEIGHT`] may have values of this size divided by n, in bytes.
const TOTAL_VALUE_BYTES: u64 = 64 << 20;
/// The minimum value limit, in bytes. No statement gets a lower one, however heavy it is.
const VALUE_BYTES_MIN: u64 = 1 << 10;

/// Returns the maximum size of a value in a statement of this weight, in bytes; `None` if the statement needs no limit
/// of its own. SQLite can be interrupted only between two iterations of a loop, so the limit is inversely proportional
/// to the work in one iteration.
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
