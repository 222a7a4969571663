//! Records the stack frame from which this thread calls `sqlite3_step`, and the statement.

use std::cell::Cell;

use rusqlite::ffi;

thread_local! {
    /// The address of a local variable of the last caller of `sqlite3_step` on this thread.
    static STEP_FRAME: Cell<usize> = const { Cell::new(0) };
    /// The address of the statement for which `sqlite3_step` was last called by the engine on this thread.
    static STATEMENT: Cell<usize> = const { Cell::new(0) };
}

/// Records the stack frame from which a statement is stepped. `frame` is a local variable of the caller of
/// `sqlite3_step`.
#[inline]
pub(super) fn enter(frame: &u8, statement: *mut ffi::sqlite3_stmt) {
    STEP_FRAME.set(std::ptr::from_ref(std::hint::black_box(frame)).addr());
    STATEMENT.set(statement.addr());
}

/// Returns true if the engine itself runs this statement on this thread, false if a virtual table runs it.
pub(super) fn is_running(statement: *mut ffi::sqlite3_stmt) -> bool {
    STATEMENT.get() == statement.addr()
}

/// The number of bytes on the stack between the frame that called `sqlite3_step` and `here`, a local variable of a
/// function that SQLite calls.
#[inline(always)]
pub(super) fn depth_of(here: &u8) -> usize {
    STEP_FRAME.get().wrapping_sub(std::ptr::from_ref(std::hint::black_box(here)).addr())
}
