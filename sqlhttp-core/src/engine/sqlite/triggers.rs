//! Stops statements whose triggers fire each other too often.
//!
//! Trigger programs contain no loop, so SQLite checks its interrupt flag and calls the progress handler only after all
//! of them have run, although thirty triggers with two INSERTs each can insert a billion rows. SQLite calls its trace
//! callback at the start of each trigger program (<https://sqlite.org/c3ref/c_trace.html>). The callback cannot stop
//! the statement, but it can lower the limit for the depth of triggers to 0, so that the next trigger that fires fails.
//!
//! The same callback records whether a statement has begun to run.

use std::ffi::{c_int, c_uint, c_void};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rusqlite::limits::Limit;
use rusqlite::{Connection, ffi};

use super::step_frame;

/// Watches the trigger programs that run on a connection. A `Triggers` must be dropped after its connection.
pub(crate) struct Triggers {
    hook: Box<Hook>,
    /// The connection's usual limit for the depth of triggers (`SQLITE_LIMIT_TRIGGER_DEPTH`).
    depth: c_int,
}

struct Hook {
    /// Called when a trigger program starts. Returns whether the statement has to end.
    begins: Box<dyn Fn() -> bool + Send>,
    /// Whether triggers fail at the moment, because the running statement has to end.
    stopped: Arc<AtomicBool>,
    /// Whether a statement has begun to run since [`Triggers::forget_statements`].
    statement_began: AtomicBool,
}

impl std::fmt::Debug for Triggers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Triggers").field("depth", &self.depth).finish_non_exhaustive()
    }
}

impl Triggers {
    /// From now on `begins` is called before each trigger program of the connection. If it returns true, the next
    /// trigger that fires fails, and with it the statement.
    ///
    /// # Errors
    /// SQLite's error, if SQLite does not accept the callback.
    pub(crate) fn watch(
        connection: &Connection,
        begins: impl Fn() -> bool + Send + 'static,
    ) -> rusqlite::Result<Triggers> {
        let depth = connection.limit(Limit::SQLITE_LIMIT_TRIGGER_DEPTH)?;
        let hook = Box::new(Hook {
            begins: Box::new(begins),
            stopped: Arc::default(),
            statement_began: AtomicBool::default(),
        });
        let context = std::ptr::from_ref(&*hook).cast_mut().cast();
        // SAFETY: the connection is open. The context is on the heap, in a box that the caller drops after the
        // connection; moving the box does not move its content.
        let code = unsafe {
            ffi::sqlite3_trace_v2(connection.handle(), ffi::SQLITE_TRACE_STMT, Some(program_begins), context)
        };
        match code {
            ffi::SQLITE_OK => Ok(Triggers { hook, depth }),
            code => Err(rusqlite::Error::SqliteFailure(ffi::Error::new(code), None)),
        }
    }

    /// Clears the result of [`Triggers::statement_began`].
    pub(crate) fn forget_statements(&self) {
        self.hook.statement_began.store(false, Ordering::Relaxed);
    }

    /// Returns whether a statement has begun to run on the connection since [`Triggers::forget_statements`].
    pub(crate) fn statement_began(&self) -> bool {
        self.hook.statement_began.load(Ordering::Relaxed)
    }

    /// Whether the running statement has been stopped by making its triggers fail.
    pub(crate) fn are_stopped(&self) -> bool {
        self.hook.stopped.load(Ordering::Relaxed)
    }

    /// Permits triggers again after the statement has ended.
    ///
    /// # Errors
    /// SQLite's error, if the limit cannot be set.
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
    // SAFETY: SQLite passes a NUL-terminated text: the SQL of the statement that starts, or a comment with the name of
    // the trigger. The second byte is read only if the first is not the NUL.
    let is_comment = !text.is_null() && unsafe { *text == b'-' && *text.add(1) == b'-' };
    #[cfg(feature = "fault-injection")]
    if !is_comment && !text.is_null() {
        // SAFETY: SQLite passes the statement that starts, and its NUL-terminated text.
        unsafe { super::observer::statement_begins(statement, text.cast()) };
    }
    // SAFETY: the context is the hook that `Triggers::watch` registered with this callback; it is dropped after the
    // connection.
    let hook = unsafe { &*context.cast::<Hook>() };
    if !is_comment {
        hook.statement_began.store(true, Ordering::Relaxed);
    }
    // The triggers of statements that a virtual table runs are not examined.
    if !is_comment || !step_frame::is_running(statement) {
        return 0;
    }
    if (hook.begins)() {
        hook.stopped.store(true, Ordering::Relaxed);
        // SAFETY: the statement is running, so it and its connection are valid. Setting the limit only changes a
        // number, which SQLite reads when the next trigger fires.
        unsafe { ffi::sqlite3_limit(ffi::sqlite3_db_handle(statement), ffi::SQLITE_LIMIT_TRIGGER_DEPTH, 0) };
    }
    0
}
