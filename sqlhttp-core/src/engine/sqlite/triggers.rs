//! Ends statements whose triggers fire each other without end.
//!
//! The programs of triggers contain no loop, so SQLite looks at its interrupt flag and calls the progress handler only after
//! all of them, although two INSERTs in each of thirty triggers come to a thousand million rows. SQLite tells its trace
//! callback of each program that begins (<https://sqlite.org/c3ref/c_trace.html>). The callback cannot end the statement
//! itself; it forbids triggers to fire any deeper, and the next one that fires fails.

use std::ffi::{c_int, c_uint, c_void};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rusqlite::limits::Limit;
use rusqlite::{Connection, ffi};

use super::steps;

/// Watches the programs of a connection's triggers. It must be dropped after the connection.
pub(crate) struct Triggers {
    hook: Box<Hook>,
    /// How deep triggers may fire each other.
    depth: c_int,
}

struct Hook {
    /// A program of a trigger begins. Answers whether the statement has to end.
    begins: Box<dyn Fn() -> bool + Send>,
    /// The statement has to end.
    stopped: Arc<AtomicBool>,
}

impl std::fmt::Debug for Triggers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Triggers").field("depth", &self.depth).finish_non_exhaustive()
    }
}

impl Triggers {
    /// Asks `begins` before each program of a trigger whether the statement has to end.
    ///
    /// # Errors
    /// SQLite takes no callback.
    pub(crate) fn watch(
        connection: &Connection,
        begins: impl Fn() -> bool + Send + 'static,
    ) -> rusqlite::Result<Triggers> {
        let depth = connection.limit(Limit::SQLITE_LIMIT_TRIGGER_DEPTH)?;
        let hook = Box::new(Hook { begins: Box::new(begins), stopped: Arc::default() });
        let context = std::ptr::from_ref(&*hook).cast_mut().cast();
        // SAFETY: the connection is open. The context lives in the box, which the caller drops after the connection; moving
        // the box does not move what it holds.
        let code = unsafe {
            ffi::sqlite3_trace_v2(connection.handle(), ffi::SQLITE_TRACE_STMT, Some(program_begins), context)
        };
        match code {
            ffi::SQLITE_OK => Ok(Triggers { hook, depth }),
            code => Err(rusqlite::Error::SqliteFailure(ffi::Error::new(code), None)),
        }
    }

    /// Whether triggers were forbidden to fire, which is why the statement failed.
    pub(crate) fn are_stopped(&self) -> bool {
        self.hook.stopped.load(Ordering::Relaxed)
    }

    /// Allows triggers again, after the statement.
    ///
    /// # Errors
    /// The limit cannot be set.
    pub(crate) fn allow(&self, connection: &Connection) -> rusqlite::Result<()> {
        if self.hook.stopped.swap(false, Ordering::Relaxed) {
            connection.set_limit(Limit::SQLITE_LIMIT_TRIGGER_DEPTH, self.depth)?;
        }
        Ok(())
    }
}

unsafe extern "C" fn program_begins(
    _: c_uint,
    context: *mut c_void,
    statement: *mut c_void,
    text: *mut c_void,
) -> c_int {
    let statement = statement.cast::<ffi::sqlite3_stmt>();
    let text = text.cast::<u8>();
    // SAFETY: SQLite gives the text of the statement that begins, or a comment with the name of the trigger. It ends in a NUL,
    // so the second byte is there if the first is not the end.
    let is_comment = !text.is_null() && unsafe { *text == b'-' && *text.add(1) == b'-' };
    #[cfg(feature = "fault-injection")]
    if !is_comment && !text.is_null() {
        // SAFETY: SQLite gives a statement that begins, and its text.
        unsafe { super::observer::statement_begins(statement, text.cast()) };
    }
    // Virtual tables run statements of their own.
    if !is_comment || !steps::is_running(statement) {
        return 0;
    }
    // SAFETY: the context is the hook that `Triggers::watch` has given with this callback, and outlives the connection.
    let hook = unsafe { &*context.cast::<Hook>() };
    if (hook.begins)() {
        hook.stopped.store(true, Ordering::Relaxed);
        // SAFETY: the statement runs, so it and its connection are valid. Setting a limit changes a number that SQLite reads
        // when the next trigger fires.
        unsafe { ffi::sqlite3_limit(ffi::sqlite3_db_handle(statement), ffi::SQLITE_LIMIT_TRIGGER_DEPTH, 0) };
    }
    0
}
