//! A prepared statement that is owned.
//!
//! rusqlite's statements borrow their connection, cannot be kept in a cache of ours, and do not tell where the text of
//! the statement ended. This one does all three.

use std::ffi::{CStr, c_char, c_int};
use std::ptr::{NonNull, null};

use rusqlite::{Connection, ffi};

use super::probe;
use crate::model::{SqlError, Value, ValueRef};

/// A prepared statement.
///
/// It must be used only while no other thread uses its connection; `Session` owns both and sees to that. If it should
/// outlive its connection, SQLite refuses to close the connection (`sqlite3_close` returns SQLITE_BUSY and frees
/// nothing), so even then no pointer dangles.
#[derive(Debug)]
pub(crate) struct Statement {
    pointer: NonNull<ffi::sqlite3_stmt>,
}

// SAFETY: a statement may be used from any thread, one at a time (the library is compiled with SQLITE_THREADSAFE=1, the
// connection opened with SQLITE_OPEN_NOMUTEX). All methods that change it take `&mut self`, and the session that owns it
// and its connection moves as one.
unsafe impl Send for Statement {}

/// An instruction of a statement's bytecode, as EXPLAIN shows it (<https://sqlite.org/opcode.html>).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Instruction<'s> {
    pub(crate) opcode: &'s str,
    pub(crate) p2: i32,
    /// Empty if there is none.
    pub(crate) p4: &'s str,
}

/// What [`Statement::prepare`] found at the beginning of a text.
pub(crate) struct Prepared {
    /// The statement; `None` if there was only white space or a comment.
    pub(crate) statement: Option<Statement>,
    /// How many bytes of the text it took.
    pub(crate) consumed: usize,
}

impl Statement {
    /// Prepares the first statement of a text. `keep` tells SQLite that it will be used for long.
    pub(crate) fn prepare(connection: &Connection, sql: &CStr, keep: bool) -> Result<Prepared, SqlError> {
        // With its NUL counted, SQLite need not copy it.
        let Ok(len) = c_int::try_from(sql.to_bytes_with_nul().len()) else {
            return Err(probe::error_of_code(ffi::SQLITE_TOOBIG, None));
        };
        let flags = if keep { ffi::SQLITE_PREPARE_PERSISTENT } else { 0 };
        let mut pointer = std::ptr::null_mut();
        let mut tail: *const c_char = null();
        let start = sql.as_ptr();
        // SAFETY: the text is `len` bytes long with its NUL and lives until this returns; SQLite copies what it keeps. Both
        // out-parameters are ours.
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

    /// Runs to the next row: `Ok(true)` if there is one, `Ok(false)` at the end, SQLite's code otherwise.
    ///
    /// Not inlined, so that the distance to the frames of SQLite is the same for every caller ([`super::steps`]).
    #[inline(never)]
    pub(crate) fn step(&mut self) -> Result<bool, c_int> {
        let frame = 0;
        super::steps::enter(&frame, self.raw());
        // SAFETY: the statement is valid until it is dropped.
        match unsafe { ffi::sqlite3_step(self.raw()) } {
            ffi::SQLITE_ROW => Ok(true),
            ffi::SQLITE_DONE => Ok(false),
            code => Err(code),
        }
    }

    /// Ends a run, so that the statement can run again, and forgets the bound values.
    pub(crate) fn reset(&mut self) {
        // SAFETY: the statement is valid until it is dropped. The code that reset returns is that of the last step,
        // which step has returned already.
        unsafe {
            ffi::sqlite3_reset(self.raw());
            ffi::sqlite3_clear_bindings(self.raw());
        }
    }

    /// Ends a run, so that the statement can run again with the same values.
    pub(crate) fn rewind(&mut self) {
        // SAFETY: the statement is valid until it is dropped. The code that reset returns is that of the last step.
        unsafe { ffi::sqlite3_reset(self.raw()) };
    }

    /// How many parameters it has: the largest number of one.
    pub(crate) fn parameter_count(&self) -> usize {
        // SAFETY: the statement is valid until it is dropped.
        usize::try_from(unsafe { ffi::sqlite3_bind_parameter_count(self.raw()) }).unwrap_or(0)
    }

    /// The name of a parameter (from 1) with its prefix; `None` for `?`.
    pub(crate) fn parameter_name(&self, index: usize) -> Option<Box<str>> {
        let index = c_int::try_from(index).ok()?;
        // SAFETY: any index may be asked for; the name lives as long as the statement and is copied at once.
        unsafe { owned_text(ffi::sqlite3_bind_parameter_name(self.raw(), index)) }
    }

    /// Binds a value to a parameter (from 1). SQLite keeps a copy.
    pub(crate) fn bind(&mut self, index: usize, value: &Value) -> Result<(), c_int> {
        let index = c_int::try_from(index).map_err(|_| ffi::SQLITE_RANGE)?;
        let raw = self.raw();
        // SAFETY: the statement is valid; any index may be tried. Pointers come with their length and live until the
        // call returns; SQLITE_TRANSIENT makes SQLite copy what they point to. An empty slice's pointer is not null, so
        // an empty text or blob does not become NULL.
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

    /// How many columns its result has; 0 if it yields none.
    pub(crate) fn column_count(&self) -> usize {
        // SAFETY: the statement is valid until it is dropped.
        usize::try_from(unsafe { ffi::sqlite3_column_count(self.raw()) }).unwrap_or(0)
    }

    /// The name of a column (from 0).
    pub(crate) fn column_name(&self, column: usize) -> Option<Box<str>> {
        // SAFETY: any column may be asked for; the text is copied before the next call.
        unsafe { owned_text(ffi::sqlite3_column_name(self.raw(), c_int::try_from(column).ok()?)) }
    }

    /// The declared type of the table's column that a column (from 0) comes straight from.
    pub(crate) fn column_decl_type(&self, column: usize) -> Option<Box<str>> {
        // SAFETY: any column may be asked for; the text is copied before the next call.
        unsafe { owned_text(ffi::sqlite3_column_decltype(self.raw(), c_int::try_from(column).ok()?)) }
    }

    /// The table that a column (from 0) comes straight from.
    pub(crate) fn column_table(&self, column: usize) -> Option<Box<str>> {
        // SAFETY: any column may be asked for; the text is copied before the next call.
        unsafe { owned_text(ffi::sqlite3_column_table_name(self.raw(), c_int::try_from(column).ok()?)) }
    }

    /// The value of a column (from 0) of the current row. It borrows from the statement: the next step ends it. `None` if
    /// SQLite has no memory for it (a text in another encoding, or a BLOB of zeros, which it has not written out yet).
    #[inline]
    pub(crate) fn value(&self, column: usize) -> Option<ValueRef<'_>> {
        let Ok(column) = c_int::try_from(column) else {
            return Some(ValueRef::Null);
        };
        // SAFETY: any column may be asked for (SQLite answers NULL for one that is not there). The pointers stay valid
        // until the next step or reset, which need `&mut self`. `bytes` is asked after `text`, so it is the length of
        // the UTF-8 form. The unprotected value is used on the thread that owns the connection only.
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

    /// Whether it leaves the database file as it is (<https://sqlite.org/c3ref/stmt_readonly.html>; beware: BEGIN,
    /// ATTACH and others count as read-only).
    pub(crate) fn readonly(&self) -> bool {
        // SAFETY: the statement is valid until it is dropped.
        unsafe { ffi::sqlite3_stmt_readonly(self.raw()) != 0 }
    }

    /// Whether it is an EXPLAIN or EXPLAIN QUERY PLAN.
    pub(crate) fn is_explain(&self) -> bool {
        // SAFETY: the statement is valid until it is dropped.
        unsafe { ffi::sqlite3_stmt_isexplain(self.raw()) != 0 }
    }

    /// Lists its instructions, those of its triggers included. It must not be an EXPLAIN, and must not have begun to run.
    /// SQLite takes a statement that changes rows for one that has changed none: `changes()` is 0 afterwards.
    ///
    /// # Errors
    /// SQLite's code: it has no memory, or was interrupted.
    pub(crate) fn each_instruction(&mut self, each: impl FnMut(Instruction<'_>)) -> Result<(), c_int> {
        self.explain(true)?;
        let listed = self.list(each);
        self.rewind();
        self.explain(false).and(listed)
    }

    fn explain(&mut self, on: bool) -> Result<(), c_int> {
        // SAFETY: the statement is valid until it is dropped.
        match unsafe { ffi::sqlite3_stmt_explain(self.raw(), c_int::from(on)) } {
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

    /// About how many bytes of memory it takes.
    pub(crate) fn memory_used(&self) -> i32 {
        // SAFETY: the statement is valid until it is dropped.
        unsafe { ffi::sqlite3_stmt_status(self.raw(), ffi::SQLITE_STMTSTATUS_MEMUSED, 0) }
    }

    /// Sets the statement's counter of virtual-machine steps to 0.
    pub(crate) fn forget_steps(&mut self) {
        // SAFETY: the statement is valid until it is dropped.
        unsafe { ffi::sqlite3_stmt_status(self.raw(), ffi::SQLITE_STMTSTATUS_VM_STEP, 1) };
    }

    /// How often SQLite has prepared it again by itself, after the schema changed.
    pub(crate) fn reprepare_count(&self) -> i32 {
        // SAFETY: the statement is valid until it is dropped.
        unsafe { ffi::sqlite3_stmt_status(self.raw(), ffi::SQLITE_STMTSTATUS_REPREPARE, 0) }
    }
}

impl Drop for Statement {
    fn drop(&mut self) {
        // SAFETY: the statement is valid, and nobody can use it after this.
        unsafe { ffi::sqlite3_finalize(self.raw()) };
    }
}

/// # Safety
/// `pointer` is null, or `len` bytes from it on are valid for `'a`.
#[inline]
unsafe fn slice<'a>(pointer: *const u8, len: c_int) -> &'a [u8] {
    match usize::try_from(len) {
        // SAFETY: the caller's promise.
        Ok(len) if len > 0 && !pointer.is_null() => unsafe { std::slice::from_raw_parts(pointer, len) },
        _ => &[],
    }
}

/// # Safety
/// `pointer` is null or points to a NUL-terminated string that lives until this returns.
unsafe fn owned_text(pointer: *const c_char) -> Option<Box<str>> {
    if pointer.is_null() {
        return None;
    }
    // SAFETY: the caller's promise.
    Some(unsafe { CStr::from_ptr(pointer) }.to_string_lossy().into())
}
