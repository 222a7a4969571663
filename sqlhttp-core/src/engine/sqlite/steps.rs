//! Counts the steps of SQLite's virtual machine in the same way on every node of a cluster.
//!
//! SQLite calls the progress handler each time the step counter of a statement has grown by a fixed number
//! (<https://sqlite.org/c3ref/progress_handler.html>). Two effects would make the calls differ between nodes. First,
//! the counter of a cached statement continues from its last execution; the engine sets it to 0 before each execution
//! ([`Statement::forget_steps`]). Second, virtual tables such as FTS5 run statements of their own, and the number of
//! these statements depends on the caches of the virtual table. Such a statement runs inside the statement of the
//! client (the outermost one), so SQLite calls the handler from a greater stack depth. Therefore only calls from the
//! depth of the outermost statement are counted.

use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};

use rusqlite::Connection;

use super::statement::Statement;
use super::step_frame;
use crate::model::SqlError;

thread_local! {
    /// The stack depth of the last call of the progress handler, in bytes below the frame that called `sqlite3_step`.
    static LAST_DEPTH: Cell<usize> = const { Cell::new(0) };
}

/// The stack depth at which SQLite calls the progress handler for the outermost statement, in bytes below the frame
/// that called `sqlite3_step`; 0 until [`calibrate`] has measured it.
static OUTERMOST: AtomicUsize = AtomicUsize::new(0);

/// A query for [`calibrate`]. It runs long enough for several calls of the progress handler, and uses no virtual table.
const CALIBRATION: &std::ffi::CStr =
    c"WITH RECURSIVE c(x) AS (VALUES(1) UNION ALL SELECT x + 1 FROM c LIMIT 2000) SELECT count(*) FROM c";

/// Returns whether SQLite has called the progress handler for the outermost statement, and not for one that a virtual
/// table runs. Must be called by the handler itself.
#[inline(never)]
pub(crate) fn is_outermost() -> bool {
    let here = 0_u8;
    let depth = step_frame::depth_of(&here);
    LAST_DEPTH.set(depth);
    depth == OUTERMOST.load(Ordering::Relaxed)
}

/// Measures the stack depth at which SQLite calls the progress handler for the outermost statement, once per process.
/// The connection's progress handler must be installed.
///
/// # Errors
/// SQLite's error, if the query for the measurement fails.
pub(crate) fn calibrate(connection: &Connection) -> Result<(), SqlError> {
    if OUTERMOST.load(Ordering::Relaxed) != 0 {
        return Ok(());
    }
    let Some(mut statement) = Statement::prepare(connection, CALIBRATION, false)?.statement else { return Ok(()) };
    LAST_DEPTH.set(0);
    while statement.step().map_err(|code| super::probe::last_error(connection, code))? {}
    OUTERMOST.store(LAST_DEPTH.get(), Ordering::Relaxed);
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::sync::Arc;
    use std::sync::atomic::AtomicU64;

    use super::*;

    /// Returns the number of calls of the progress handler for the outermost statement, and the number of all its
    /// calls.
    fn count(connection: &Connection, sql: &std::ffi::CStr, calls: &Arc<[AtomicU64; 2]>) -> (u64, u64) {
        calls.iter().for_each(|count| count.store(0, Ordering::Relaxed));
        let mut statement = Statement::prepare(connection, sql, false).unwrap().statement.unwrap();
        statement.forget_steps();
        while statement.step().unwrap() {}
        (calls[0].load(Ordering::Relaxed), calls[1].load(Ordering::Relaxed))
    }

    fn counting() -> (Connection, Arc<[AtomicU64; 2]>) {
        let mut connection = Connection::open_in_memory().unwrap();
        let calls = Arc::new([AtomicU64::new(0), AtomicU64::new(0)]);
        let counted = calls.clone();
        let handler = move || {
            counted[0].fetch_add(u64::from(is_outermost()), Ordering::Relaxed);
            counted[1].fetch_add(1, Ordering::Relaxed);
            false
        };
        connection.progress_handler(100, Some(handler)).unwrap();
        (connection, calls)
    }

    /// The depth differs between builds of the handler, so this test calibrates with its own handler.
    #[test]
    fn steps_of_statements_that_virtual_tables_run_are_not_counted() {
        let (connection, calls) = counting();
        let mut statement = Statement::prepare(&connection, CALIBRATION, false).unwrap().statement.unwrap();
        while statement.step().unwrap() {}
        let before = OUTERMOST.swap(LAST_DEPTH.get(), Ordering::Relaxed);
        let (outermost, all) = count(&connection, CALIBRATION, &calls);
        assert!(outermost > 10 && outermost == all, "{outermost} of {all}");
        let fill = "CREATE VIRTUAL TABLE f USING fts5(t); \
                    INSERT INTO f WITH RECURSIVE c(x) AS (VALUES(1) UNION ALL SELECT x + 1 FROM c LIMIT 3000) \
                    SELECT 'word' || x || ' common' FROM c";
        connection.execute_batch(fill).unwrap();
        let search = c"SELECT count(*) FROM f WHERE f MATCH 'common' AND t LIKE '%9%'";
        let (outermost, all) = count(&connection, search, &calls);
        OUTERMOST.store(before, Ordering::Relaxed);
        assert!(outermost > 10 && outermost < all, "{outermost} of {all}");
    }
}
