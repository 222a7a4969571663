//! The stack frame from which this thread steps a statement.

use std::cell::Cell;

use rusqlite::ffi;

thread_local! {
    /// The address of a local variable of the last caller of `sqlite3_step` on this thread.
    static STEP_FRAME: Cell<usize> = const { Cell::new(0) };
    /// The address of the statement that this caller stepped.
    static STATEMENT: Cell<usize> = const { Cell::new(0) };
}

/// Records the stack frame from which a statement is stepped. `frame` is a local variable of the caller of
/// `sqlite3_step`.
pub(super) fn enter(frame: &u8, statement: *mut ffi::sqlite3_stmt) {
    STEP_FRAME.set(std::ptr::from_ref(std::hint::black_box(frame)).addr());
    STATEMENT.set(statement.addr());
}

/// Whether this is the last statement that was stepped on this thread by the engine, and not one that a virtual table
/// runs.
pub(super) fn is_running(statement: *mut ffi::sqlite3_stmt) -> bool {
    STATEMENT.get() == statement.addr()
}

/// The number of bytes on the stack between the stepping frame and `here`, a local variable of a function that SQLite
/// calls.
#[inline(always)]
pub(super) fn depth_of(here: &u8) -> usize {
    STEP_FRAME.get().wrapping_sub(std::ptr::from_ref(std::hint::black_box(here)).addr())
}
