//! Checks of the values of the flags that both programs have.

/// The allowed values of the flag `-max-value-bytes`. The upper bound is SQLite's default of `SQLITE_MAX_LENGTH`
/// (<https://sqlite.org/limits.html>).
const VALUE_BYTES: std::ops::RangeInclusive<u64> = 64 << 10..=1_000_000_000;

/// Checks the value of the flag `-max-value-bytes`. Returns it if it is allowed, and an error message otherwise.
pub(crate) fn value_bytes_max(bytes: u64) -> Result<u64, String> {
    if VALUE_BYTES.contains(&bytes) {
        return Ok(bytes);
    }
    Err(format!("-max-value-bytes must be between {} and {}", VALUE_BYTES.start(), VALUE_BYTES.end()))
}

/// The minimum value of the flag `-max-statement-memory`, in bytes. With less memory, SQLite cannot read a schema.
const MEMORY_BYTES_MIN: u64 = 1 << 20;

/// Checks the value of the flag `-max-statement-memory`. Returns it if it is allowed, and an error message otherwise.
pub(crate) fn memory_bytes_max(bytes: u64) -> Result<u64, String> {
    if bytes >= MEMORY_BYTES_MIN {
        return Ok(bytes);
    }
    Err(format!("-max-statement-memory must be at least {MEMORY_BYTES_MIN}"))
}

/// Parses a comma-separated list of hosts. Empty elements are skipped.
pub(crate) fn hosts(list: &str) -> Vec<String> {
    list.split(',').map(str::trim).filter(|host| !host.is_empty()).map(str::to_owned).collect()
}
