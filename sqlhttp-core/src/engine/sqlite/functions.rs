//! The SQL functions that the engine registers on its connections.
//!
//! * Functions that answer from the stamp, or from what this batch alone has done: `random()`, `randomblob()`,
//!   `changes()`, `total_changes()`.
//! * Functions whose results must be the same bits wherever SQLite was built ([`math`]).
//! * Functions that must end in time and must be interruptible ([`text`], [`trim`], [`unhex`]).

use rusqlite::Connection;
use rusqlite::functions::{Context, FunctionFlags};
use rusqlite::types::ValueRef;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

pub(crate) use super::text::Interrupt;
use super::{clock, math, text, trim, unhex};

/// What `changes()` and `total_changes()` count from, so that a batch does not see its neighbours' work.
#[derive(Debug, Clone, Default)]
pub(crate) struct ChangeBaseline(Arc<AtomicU64>);

impl ChangeBaseline {
    /// From here on.
    pub(crate) fn set(&self, connection: &Connection) {
        self.0.store(connection.total_changes(), Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Registers all functions on a connection that runs statements of clients. `interrupt` is asked about once for each
/// MiB of work whether the running statement has to end.
pub(crate) fn register(
    connection: &Connection,
    baseline: &ChangeBaseline,
    interrupt: impl Interrupt,
) -> rusqlite::Result<()> {
    register_deterministic(connection, interrupt)?;
    register_stamped(connection, baseline)
}

/// Registers the functions that a schema can depend on (in indexes, generated columns and constraints). Every connection
/// to a database of ours needs them, copies included.
pub(crate) fn register_deterministic(connection: &Connection, interrupt: impl Interrupt) -> rusqlite::Result<()> {
    math::register_all(connection)?;
    text::register_all(connection, interrupt.clone())?;
    trim::register_all(connection, interrupt.clone())?;
    unhex::register_all(connection, interrupt)
}

fn register_stamped(connection: &Connection, baseline: &ChangeBaseline) -> rusqlite::Result<()> {
    // Not deterministic (each call answers anew) but harmless, so views and triggers may use them as they may the
    // built-in ones.
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
    // SQLite: "If N is less than 1 then a 1-byte random blob is returned."
    let len = usize::try_from(wanted.max(1)).unwrap_or(1);
    let mut blob = Vec::with_capacity(len.next_multiple_of(8));
    while blob.len() < len {
        blob.extend_from_slice(&clock::next_random().to_le_bytes());
    }
    blob.truncate(len);
    Ok(blob)
}

/// The longest value that the connection allows at the moment, bytes.
fn longest_value(context: &Context<'_>) -> rusqlite::Result<i64> {
    // SAFETY: the connection is only asked for a limit, and the reference does not leave this function.
    let connection = unsafe { context.get_connection() }?;
    Ok(i64::from(connection.limit(rusqlite::limits::Limit::SQLITE_LIMIT_LENGTH)?))
}

/// What `sqlite3_value_int64` makes of a value.
fn as_integer(value: ValueRef<'_>) -> i64 {
    match value {
        ValueRef::Null => 0,
        ValueRef::Integer(i) => i,
        ValueRef::Real(r) => r as i64,
        ValueRef::Text(text) | ValueRef::Blob(text) => leading_integer(text),
    }
}

/// The integer that a text begins with, 0 if none.
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

/// `sqlite3_changes()` keeps the count of the last statement, also when that belonged to another batch. If nothing has
/// been changed since this batch began, the answer is 0, as on a fresh connection.
fn changes(context: &Context<'_>, since: &ChangeBaseline) -> rusqlite::Result<i64> {
    let (total, last) = connection_counts(context)?;
    Ok(if total == since.get() { 0 } else { i64::try_from(last).unwrap_or(i64::MAX) })
}

/// `sqlite3_total_changes64` and `sqlite3_changes64`.
fn connection_counts(context: &Context<'_>) -> rusqlite::Result<(u64, u64)> {
    // SAFETY: the connection is only asked for two numbers, and the reference does not leave this function.
    let connection = unsafe { context.get_connection() }?;
    Ok((connection.total_changes(), connection.changes()))
}
