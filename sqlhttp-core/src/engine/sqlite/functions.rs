//! The SQL functions that the engine registers on its connections.
//!
//! * Functions whose results depend only on the stamp of the batch, or only on the changes that the batch has made:
//!   `random()`, `randomblob()`, `changes()`, `total_changes()`.
//! * Functions whose results must have the same bits on every platform ([`math`]).
//! * Functions that must run in linear time and be interruptible ([`text`], [`trim`], [`unhex`]).

use rusqlite::Connection;
use rusqlite::functions::{Context, FunctionFlags};
use rusqlite::types::ValueRef;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

pub(crate) use super::text::Interrupt;
use super::{clock, math, text, trim, unhex};

/// The value of the connection's change counter at the start of a batch. `changes()` and `total_changes()` subtract it,
/// so that they do not include the changes of other batches.
#[derive(Debug, Clone, Default)]
pub(crate) struct ChangeBaseline(Arc<AtomicU64>);

impl ChangeBaseline {
    /// Records the current value of the connection's change counter. Called at the start of a batch.
    pub(crate) fn set(&self, connection: &Connection) {
        self.0.store(connection.total_changes(), Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Registers all functions on a connection that runs statements of clients. The functions call `interrupt` after each
/// MiB that they process; if it returns true, the statement is interrupted.
pub(crate) fn register(
    connection: &Connection,
    baseline: &ChangeBaseline,
    interrupt: impl Interrupt,
) -> rusqlite::Result<()> {
    register_deterministic(connection, interrupt)?;
    register_stamped(connection, baseline)
}

/// Registers the deterministic functions, which a schema can use in indexes, generated columns and constraints. Every
/// connection to a database of this engine must have them, including connections to copies of the database.
pub(crate) fn register_deterministic(connection: &Connection, interrupt: impl Interrupt) -> rusqlite::Result<()> {
    math::register_all(connection)?;
    text::register_all(connection, interrupt.clone())?;
    trim::register_all(connection, interrupt.clone())?;
    unhex::register_all(connection, interrupt)
}

fn register_stamped(connection: &Connection, baseline: &ChangeBaseline) -> rusqlite::Result<()> {
    // `random()` and `randomblob()` are not deterministic (each call returns another value), but innocuous
    // (<https://sqlite.org/c3ref/c_deterministic.html>), so views and triggers may use them like the built-in
    // functions.
    let flags = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_INNOCUOUS;
    connection.create_scalar_function("random", 0, flags, |_| Ok(clock::next_random().cast_signed()))?;
    connection.create_scalar_function("randomblob", 1, flags, randomblob)?;
    let since = baseline.clone();
    connection.create_scalar_function("total_changes", 0, flags, move |context| total_changes(context, &since))?;
    let since = baseline.clone();
    connection.create_scalar_function("changes", 0, flags, move |context| changes(context, &since))
}

fn randomblob(context: &Context<'_>) -> rusqlite::Result<Vec<u8>> {
    let wanted = as_integer(context.get_raw(0));
    if wanted > longest_value(context)? {
        let too_big = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_TOOBIG);
        return Err(rusqlite::Error::SqliteFailure(too_big, None));
    }
    // From <https://sqlite.org/lang_corefunc.html#randomblob>: "If N is less than 1 then a 1-byte random blob is
    // returned."
    let len = usize::try_from(wanted.max(1)).unwrap_or(1);
    let mut blob = Vec::with_capacity(len.next_multiple_of(8));
    while blob.len() < len {
        blob.extend_from_slice(&clock::next_random().to_le_bytes());
    }
    blob.truncate(len);
    Ok(blob)
}

/// The maximum length of a value on the connection, in bytes.
fn longest_value(context: &Context<'_>) -> rusqlite::Result<i64> {
    // SAFETY: the connection is only used to read a limit, and the reference does not leave this function.
    let connection = unsafe { context.get_connection() }?;
    Ok(i64::from(connection.limit(rusqlite::limits::Limit::SQLITE_LIMIT_LENGTH)?))
}

/// Converts a value to an integer as `sqlite3_value_int64` does.
fn as_integer(value: ValueRef<'_>) -> i64 {
    match value {
        ValueRef::Null => 0,
        ValueRef::Integer(i) => i,
        ValueRef::Real(r) => r as i64,
        ValueRef::Text(text) | ValueRef::Blob(text) => leading_integer(text),
    }
}

/// The integer at the beginning of a TEXT value; 0 if it does not begin with one.
fn leading_integer(text: &[u8]) -> i64 {
    let text = text.trim_ascii_start();
    let (sign, digits) = match text.split_first() {
        Some((b'-', digits)) => (-1, digits),
        Some((b'+', digits)) => (1, digits),
        _ => (1, text),
    };
    let digits = digits.iter().take_while(|byte| byte.is_ascii_digit());
    digits.fold(0_i64, |sum, digit| sum.saturating_mul(10).saturating_add(i64::from(digit - b'0'))).saturating_mul(sign)
}

fn total_changes(context: &Context<'_>, since: &ChangeBaseline) -> rusqlite::Result<i64> {
    let total = connection_counts(context)?.0;
    Ok(i64::try_from(total.saturating_sub(since.get())).unwrap_or(i64::MAX))
}

/// The SQL function `changes()`: the number of rows that the last writing statement of the current batch changed.
/// `sqlite3_changes()` would also count a statement of another batch. If the current batch has not changed anything
/// yet, the result is 0, as on a new connection.
fn changes(context: &Context<'_>, since: &ChangeBaseline) -> rusqlite::Result<i64> {
    let (total, last) = connection_counts(context)?;
    Ok(if total == since.get() { 0 } else { i64::try_from(last).unwrap_or(i64::MAX) })
}

/// Returns the results of `sqlite3_total_changes64` and `sqlite3_changes64` for the connection.
fn connection_counts(context: &Context<'_>) -> rusqlite::Result<(u64, u64)> {
    // SAFETY: the connection is only used to read two counters, and the reference does not leave this function.
    let connection = unsafe { context.get_connection() }?;
    Ok((connection.total_changes(), connection.changes()))
}
