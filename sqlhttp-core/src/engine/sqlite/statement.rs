//! A prepared statement that does not borrow its connection.
//!
//! rusqlite's statements borrow their connection, cannot be kept in a cache outside it, and do not report where the
//! statement ends in the SQL text. [`Statement`] has none of these limitations.

use std::ffi::{CStr, c_char, c_int};
use std::ptr::{NonNull, null};

use rusqlite::{Connection, ffi};

use super::probe;
use crate::model::{SqlError, Value, ValueRef};

/// A prepared statement (<https://sqlite.org/c3ref/stmt.html>).
///
/// A statement must be used only while no other thread uses its connection. `Session` owns both and guarantees that. If
/// the statement outlived its connection, SQLite would refuse to close the connection (`sqlite3_close` returns
/// SQLITE_BUSY and frees nothing, <https://sqlite.org/c3ref/close.html>), so the pointer would not dangle even then.
#[derive(Debug)]
pub(crate) struct Statement {
    pointer: NonNull<ffi::sqlite3_stmt>,
}

// SAFETY: a statement may be used by any thread, one at a time: the library is compiled with SQLITE_THREADSAFE=1, and
// the connection is opened with SQLITE_OPEN_NOMUTEX (<https://sqlite.org/threadsafe.html>). The type is not `Sync`, so
// only one thread at a time has access to the statement, and `Session` moves to another thread only together with its
// connection.
unsafe impl Send for Statement {}

/// An instruction of a statement's bytecode, as EXPLAIN shows it (<https://sqlite.org/opcode.html>).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Instruction<'s> {
    pub(crate) opcode: &'s str,
    pub(crate) p2: i32,
    /// The operand P4; empty if the instruction has none.
    pub(crate) p4: &'s str,
}

/// The result of [`Statement::prepare`].
pub(crate) struct Prepared {
    /// The prepared statement; `None` if the SQL text contains only white space or comments up to `consumed`.
    pub(crate) statement: Option<Statement>,
    /// The length of the part of the SQL text that belongs to the statement, in bytes.
    pub(crate) consumed: usize,
}

impl Statement {
    /// Prepares the first statement of an SQL text. If `keep` is true, SQLite expects that the statement will be kept
    /// and used many times (`SQLITE_PREPARE_PERSISTENT`, <https://sqlite.org/c3ref/c_prepare_dont_log.html>).
    pub(crate) fn prepare(connection: &Connection, sql: &CStr, keep: bool) -> Result<Prepared, SqlError> {
        // SQLite copies the text unless the length includes the NUL.
        let Ok(len) = c_int::try_from(sql.to_bytes_with_nul().len()) else {
            return Err(probe::error_of_code(ffi::SQLITE_TOOBIG, None));
        };
        let flags = if keep { ffi::SQLITE_PREPARE_PERSISTENT } else { 0 };
        let mut pointer = std::ptr::null_mut();
        let mut tail: *const c_char = null();
        let start = sql.as_ptr();
        // SAFETY: the text is `len` bytes long with its NUL and lives until the call returns; SQLite copies what it
        // keeps. Both out-parameters are local variables.
        let code =
            unsafe { ffi::sqlite3_prepare_v3(connection.handle(), start, len, flags, &raw mut pointer, &raw mut tail) };
        if code != ffi::SQLITE_OK {
            return Err(probe::last_error(connection, code));
        }
        let all = sql.count_bytes();
        let consumed = if tail.is_null() { all } else { (tail as usize).saturating_sub(start as usize) };
        let statement = NonNull::new(pointer).map(|pointer| Statement { pointer });
        Ok(Prepared { statement, consumed: consumed.min(all) })
    }

    fn raw(&self) -> *mut ffi::sqlite3_stmt {
        self.pointer.as_ptr()
    }

    /// Runs the statement to its next row. Returns `Ok(true)` if there is a row, `Ok(false)` at the end, and SQLite's
    /// result code on failure.
    ///
    /// Never inlined, so that the distance to SQLite's stack frames is the same for all callers (see [`super::steps`]).
    #[inline(never)]
    pub(crate) fn step(&mut self) -> Result<bool, c_int> {
        let frame = 0;
        super::step_frame::enter(&frame, self.raw());
        // SAFETY: the statement is valid until it is dropped.
        match unsafe { ffi::sqlite3_step(self.raw()) } {
            ffi::SQLITE_ROW => Ok(true),
            ffi::SQLITE_DONE => Ok(false),
            code => Err(code),
        }
    }

    /// Ends the current run, so that the statement can run again, and clears its bindings.
    pub(crate) fn reset(&mut self) {
        // SAFETY: the statement is valid until it is dropped. `sqlite3_reset` returns the result code of the last step
        // again, so it can be ignored.
        unsafe {
            ffi::sqlite3_reset(self.raw());
            ffi::sqlite3_clear_bindings(self.raw());
        }
    }

    /// Ends the current run, so that the statement can run again with the same bindings.
    pub(crate) fn rewind(&mut self) {
        // SAFETY: the statement is valid until it is dropped. `sqlite3_reset` returns the result code of the last step
        // again.
        unsafe { ffi::sqlite3_reset(self.raw()) };
    }

    /// The number of parameters of the statement, which is the largest parameter number
    /// (<https://sqlite.org/c3ref/bind_parameter_count.html>).
    pub(crate) fn parameter_count(&self) -> usize {
        // SAFETY: the statement is valid until it is dropped.
        usize::try_from(unsafe { ffi::sqlite3_bind_parameter_count(self.raw()) }).unwrap_or(0)
    }

    /// The name of a parameter with its prefix; `None` for `?`. `index` is counted from 1.
    pub(crate) fn parameter_name(&self, index: usize) -> Option<Box<str>> {
        let index = c_int::try_from(index).ok()?;
        // SAFETY: SQLite accepts any index. The name lives as long as the statement and is copied at once.
        unsafe { owned_text(ffi::sqlite3_bind_parameter_name(self.raw(), index)) }
    }

    /// Binds a value to a parameter, counted from 1. SQLite keeps a copy of the value.
    pub(crate) fn bind(&mut self, index: usize, value: &Value) -> Result<(), c_int> {
        let index = c_int::try_from(index).map_err(|_| ffi::SQLITE_RANGE)?;
        let raw = self.raw();
        // SAFETY: the statement is valid, and SQLite accepts any index. The pointers are valid for the given lengths
        // until the call returns; with SQLITE_TRANSIENT, SQLite copies the bytes. The pointer of an empty slice is not
        // null, so an empty text or BLOB does not become NULL.
        let code = unsafe {
            match value {
                Value::Null => ffi::sqlite3_bind_null(raw, index),
                Value::Integer(i) => ffi::sqlite3_bind_int64(raw, index, *i),
                Value::Real(r) => ffi::sqlite3_bind_double(raw, index, *r),
                Value::Text(text) => ffi::sqlite3_bind_text64(
                    raw,
                    index,
                    text.as_ptr().cast(),
                    text.len() as u64,
                    ffi::SQLITE_TRANSIENT(),
                    ffi::SQLITE_UTF8 as u8,
                ),
                Value::Blob(bytes) => ffi::sqlite3_bind_blob64(
                    raw,
                    index,
                    bytes.as_ptr().cast(),
                    bytes.len() as u64,
                    ffi::SQLITE_TRANSIENT(),
                ),
            }
        };
        if code == ffi::SQLITE_OK { Ok(()) } else { Err(code) }
    }

    /// The number of result columns; 0 if the statement returns no rows.
    pub(crate) fn column_count(&self) -> usize {
        // SAFETY: the statement is valid until it is dropped.
        usize::try_from(unsafe { ffi::sqlite3_column_count(self.raw()) }).unwrap_or(0)
    }

    /// The name of a result column. `column` is counted from 0. `None` if there is no such column.
    pub(crate) fn column_name(&self, column: usize) -> Option<Box<str>> {
        // SAFETY: SQLite accepts any column. The text is copied before the next call.
        unsafe { owned_text(ffi::sqlite3_column_name(self.raw(), c_int::try_from(column).ok()?)) }
    }

    /// The declared type of a result column, counted from 0; `None` if the result column is not directly a column of a
    /// table.
    pub(crate) fn column_decl_type(&self, column: usize) -> Option<Box<str>> {
        // SAFETY: SQLite accepts any column. The text is copied before the next call.
        unsafe { owned_text(ffi::sqlite3_column_decltype(self.raw(), c_int::try_from(column).ok()?)) }
    }

    /// The name of the table of a result column, counted from 0; `None` if the result column is not directly a column
    /// of a table.
    pub(crate) fn column_table(&self, column: usize) -> Option<Box<str>> {
        // SAFETY: SQLite accepts any column. The text is copied before the next call.
        unsafe { owned_text(ffi::sqlite3_column_table_name(self.raw(), c_int::try_from(column).ok()?)) }
    }

    /// The value of a result column, counted from 0, in the current row. The value borrows from the statement and is
    /// valid until the next step. `None` if SQLite has no memory to convert the value: TEXT in another encoding, or a
    /// BLOB of zeros that is stored as a length only.
    ///
    /// Always inlined, because it runs once for each value of a result.
    #[inline(always)]
    pub(crate) fn value(&self, column: usize) -> Option<ValueRef<'_>> {
        let Ok(column) = c_int::try_from(column) else {
            return Some(ValueRef::Null);
        };
        // SAFETY: SQLite accepts any column and returns NULL for one that does not exist. The pointers stay valid until
        // the next step or reset, which need `&mut self`; reading the same value again needs no further conversion,
        // which would move its bytes. The length is read after the pointer, so it is that of the UTF-8 text.
        // `sqlite3_column_value` returns an unprotected value, which may be used because only this thread uses the
        // connection.
        unsafe {
            let value = ffi::sqlite3_column_value(self.raw(), column);
            Some(match ffi::sqlite3_value_type(value) {
                ffi::SQLITE_INTEGER => ValueRef::Integer(ffi::sqlite3_value_int64(value)),
                ffi::SQLITE_FLOAT => ValueRef::Real(ffi::sqlite3_value_double(value)),
                ffi::SQLITE_TEXT => {
                    let text = ffi::sqlite3_value_text(value);
                    if text.is_null() {
                        return None;
                    }
                    ValueRef::Text(slice(text, ffi::sqlite3_value_bytes(value)))
                }
                ffi::SQLITE_BLOB => {
                    let blob = ffi::sqlite3_value_blob(value).cast::<u8>();
                    let len = ffi::sqlite3_value_bytes(value);
                    if blob.is_null() && len > 0 {
                        return None;
                    }
                    ValueRef::Blob(slice(blob, len))
                }
                _ => ValueRef::Null,
            })
        }
    }

    /// Returns true if the statement does not directly change the database file
    /// (<https://sqlite.org/c3ref/stmt_readonly.html>). BEGIN, ATTACH and some others count as read-only.
    pub(crate) fn readonly(&self) -> bool {
        // SAFETY: the statement is valid until it is dropped.
        unsafe { ffi::sqlite3_stmt_readonly(self.raw()) != 0 }
    }

    /// Whether the statement is an EXPLAIN or EXPLAIN QUERY PLAN.
    pub(crate) fn is_explain(&self) -> bool {
        // SAFETY: the statement is valid until it is dropped.
        unsafe { ffi::sqlite3_stmt_isexplain(self.raw()) != 0 }
    }

    /// Calls `each` with every instruction of the statement, including those of its triggers. The statement must not be
    /// an EXPLAIN. For a statement that changes rows, this call counts as an execution without changes: `changes()` is
    /// 0 afterwards.
    ///
    /// The listed statement is prepared from the SQL text again. SQLite lists a statement without checking whether the
    /// schema was freed and loaded again since the statement was prepared, and the instructions then contain pointers
    /// to tables that no longer exist. Parameters have no values in the listed statement.
    ///
    /// # Errors
    /// SQLite's result code, if SQLite has no memory or was interrupted, or if the schema has changed so that the
    /// statement cannot be prepared.
    pub(crate) fn each_instruction(
        &self,
        connection: &Connection,
        each: impl FnMut(Instruction<'_>),
    ) -> Result<(), c_int> {
        let prepared = Statement::prepare(connection, self.sql(), false).map_err(|error| error.code)?;
        let Some(mut fresh) = prepared.statement else { return Ok(()) };
        fresh.explain()?;
        fresh.list(each)
    }

    /// Makes the statement an EXPLAIN of itself (<https://sqlite.org/c3ref/stmt_explain.html>).
    fn explain(&mut self) -> Result<(), c_int> {
        // SAFETY: the statement is valid until it is dropped.
        match unsafe { ffi::sqlite3_stmt_explain(self.raw(), 1) } {
            ffi::SQLITE_OK => Ok(()),
            code => Err(code),
        }
    }

    fn list(&mut self, mut each: impl FnMut(Instruction<'_>)) -> Result<(), c_int> {
        while self.step()? {
            let p2 = match self.value(3) {
                Some(ValueRef::Integer(p2)) => i32::try_from(p2).unwrap_or(0),
                _ => 0,
            };
            each(Instruction { opcode: self.text(1), p2, p4: self.text(5) });
        }
        Ok(())
    }

    fn text(&self, column: usize) -> &str {
        match self.value(column) {
            Some(ValueRef::Text(text)) => std::str::from_utf8(text).unwrap_or_default(),
            _ => "",
        }
    }

    /// The SQL text of the statement.
    pub(crate) fn sql(&self) -> &CStr {
        // SAFETY: the statement is valid until it is dropped. Its text, which ends in a NUL, lives as long.
        unsafe {
            let text = ffi::sqlite3_sql(self.raw());
            if text.is_null() { c"" } else { CStr::from_ptr(text) }
        }
    }

    /// The approximate memory use of the statement, in bytes.
    pub(crate) fn memory_used(&self) -> i32 {
        // SAFETY: the statement is valid until it is dropped.
        unsafe { ffi::sqlite3_stmt_status(self.raw(), ffi::SQLITE_STMTSTATUS_MEMUSED, 0) }
    }

    /// Sets the statement's counter of virtual-machine steps to 0.
    pub(crate) fn forget_steps(&mut self) {
        // SAFETY: the statement is valid until it is dropped.
        unsafe { ffi::sqlite3_stmt_status(self.raw(), ffi::SQLITE_STMTSTATUS_VM_STEP, 1) };
    }

    /// The number of times that SQLite has reprepared the statement because the schema changed
    /// (<https://sqlite.org/c3ref/c_stmtstatus_counter.html>).
    pub(crate) fn reprepare_count(&self) -> i32 {
        // SAFETY: the statement is valid until it is dropped.
        unsafe { ffi::sqlite3_stmt_status(self.raw(), ffi::SQLITE_STMTSTATUS_REPREPARE, 0) }
    }
}

impl Drop for Statement {
    fn drop(&mut self) {
        // SAFETY: the statement is valid, and cannot be used after it is dropped.
        unsafe { ffi::sqlite3_finalize(self.raw()) };
    }
}

/// Returns the bytes as a slice; empty if the pointer is null or the length is not positive.
///
/// # Safety
/// `pointer` is null or points to `len` bytes that are valid and unchanged for `'a`.
#[inline]
unsafe fn slice<'a>(pointer: *const u8, len: c_int) -> &'a [u8] {
    match usize::try_from(len) {
        // SAFETY: the pointer is not null here, and the caller guarantees that the bytes are valid.
        Ok(len) if len > 0 && !pointer.is_null() => unsafe { std::slice::from_raw_parts(pointer, len) },
        _ => &[],
    }
}

/// Copies a C string, with invalid UTF-8 replaced with U+FFFD; `None` for a null pointer.
///
/// # Safety
/// `pointer` is null or points to a NUL-terminated string that lives until this function returns.
unsafe fn owned_text(pointer: *const c_char) -> Option<Box<str>> {
    if pointer.is_null() {
        return None;
    }
    // SAFETY: the pointer is not null here, and the caller guarantees that it points to such a string.
    Some(unsafe { CStr::from_ptr(pointer) }.to_string_lossy().into())
}
