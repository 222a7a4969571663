//! Limits on what a statement may do between two looks at SQLite's interrupt flag.

use super::sqlite::program;
use super::statement_info::StatementInfo;

/// The longest value on a caller's own thread, bytes. A function that looks at every byte of it takes microseconds.
pub(crate) const INLINE_VALUE_BYTES_MAX: i32 = 64 << 10;
/// The longest pattern of LIKE and GLOB there, bytes. Matching takes pattern times text in the worst case.
pub(crate) const INLINE_PATTERN_BYTES_MAX: i32 = 64;
/// The longest patterns of LIKE and GLOB elsewhere, and the longest values that each may meet, bytes. The product of the two
/// is the same everywhere: matching takes about three seconds in the worst case.
pub(crate) const PATTERN_LIMITS: [(i32, i32); 4] = [(16, i32::MAX), (64, 16 << 20), (256, 4 << 20), (4096, 256 << 10)];
/// Statements with more work between two looks at the interrupt flag do not run on a caller's own thread: some milliseconds.
pub(crate) const INLINE_WEIGHT_MAX: u32 = 64 * program::PASS;
/// Up to this weight the values of a statement may have any length that the database allows: about three seconds for 64 MiB.
pub(crate) const UNLIMITED_VALUES_WEIGHT: u32 = 32 * program::PASS;
/// The values of heavier statements together have so many bytes at most.
const TOTAL_VALUE_BYTES: u64 = 64 << 20;
/// However heavy a statement is, its values may have so many bytes.
const VALUE_BYTES_MIN: u64 = 1 << 10;

/// The longest values of a statement, bytes, if it needs a limit of its own. SQLite can be interrupted only between two
/// iterations of a loop; so the more a statement does in one, the shorter its values may be.
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
