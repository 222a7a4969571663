//! Scalar SQL functions that operate on SQLite's own values (<https://sqlite.org/appfunc.html>).
//!
//! rusqlite passes the arguments of a function as Rust values by storage class. A function that replaces a built-in one
//! must use SQLite's conversions instead: a number becomes the text that SQLite prints for it; a TEXT value becomes the
//! number at its beginning. So this module registers such functions with SQLite directly.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::NonNull;

use rusqlite::{Connection, ffi};

/// The storage class of a value (<https://sqlite.org/datatype3.html>).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StorageClass {
    Null,
    Integer,
    Real,
    Text,
    Blob,
}

impl StorageClass {
    fn of(code: c_int) -> StorageClass {
        match code {
            ffi::SQLITE_INTEGER => StorageClass::Integer,
            ffi::SQLITE_FLOAT => StorageClass::Real,
            ffi::SQLITE_TEXT => StorageClass::Text,
            ffi::SQLITE_BLOB => StorageClass::Blob,
            _ => StorageClass::Null,
        }
    }
}

/// An argument of an SQL function. Methods that return or convert the content consume the `Argument`, because a second
/// conversion could move the bytes that the first one returned.
pub(super) struct Argument<'a> {
    value: NonNull<ffi::sqlite3_value>,
    call: PhantomData<&'a ()>,
}

impl<'a> Argument<'a> {
    /// The storage class of the argument.
    pub(super) fn storage_class(&self) -> StorageClass {
        // SAFETY: SQLite keeps the value alive during the call.
        StorageClass::of(unsafe { ffi::sqlite3_value_type(self.value.as_ptr()) })
    }

    /// The storage class of the argument, after a TEXT value that looks like a number has been converted to that number
    /// (<https://sqlite.org/c3ref/value_blob.html>).
    pub(super) fn numeric_storage_class(&self) -> StorageClass {
        // SAFETY: SQLite keeps the value alive during the call. The conversion cannot move borrowed bytes, because
        // lending them consumes the argument.
        StorageClass::of(unsafe { ffi::sqlite3_value_numeric_type(self.value.as_ptr()) })
    }

    /// The length of the argument in bytes; for a number, the length of its text.
    pub(super) fn len(&self) -> usize {
        // SAFETY: as in `numeric_storage_class`.
        usize::try_from(unsafe { ffi::sqlite3_value_bytes(self.value.as_ptr()) }).unwrap_or_default()
    }

    /// The argument, converted to an integer.
    pub(super) fn integer(self) -> i64 {
        // SAFETY: as in `numeric_storage_class`.
        unsafe { ffi::sqlite3_value_int64(self.value.as_ptr()) }
    }

    /// The argument, converted to a floating-point number.
    pub(super) fn real(self) -> f64 {
        // SAFETY: as in `numeric_storage_class`.
        unsafe { ffi::sqlite3_value_double(self.value.as_ptr()) }
    }

    /// The argument, converted to UTF-8 text; `None` if it is NULL or SQLite has no memory. A BLOB argument stays
    /// converted to TEXT for the rest of the statement.
    pub(super) fn text(self) -> Option<&'a [u8]> {
        // SAFETY: as in `numeric_storage_class`. The bytes live as long as the call, because this argument is not
        // converted again.
        unsafe { text_of(self.value.as_ptr()) }
    }

    /// The bytes of a BLOB argument.
    pub(super) fn blob(self) -> &'a [u8] {
        let value = self.value.as_ptr();
        // SAFETY: as in `text`. The length is read after the pointer, as SQLite requires.
        unsafe {
            let bytes = ffi::sqlite3_value_blob(value);
            slice(bytes.cast(), ffi::sqlite3_value_bytes(value))
        }
    }

    /// Copies the argument; `None` if SQLite has no memory.
    pub(super) fn duplicate(self) -> Option<OwnedValue> {
        // SAFETY: SQLite keeps the value alive during the call.
        NonNull::new(unsafe { ffi::sqlite3_value_dup(self.value.as_ptr()) }).map(OwnedValue)
    }
}

/// An owned copy of an argument (`sqlite3_value_dup`).
pub(super) struct OwnedValue(NonNull<ffi::sqlite3_value>);

impl OwnedValue {
    /// The copied value, converted to UTF-8 text; `None` if it is NULL or SQLite has no memory.
    pub(super) fn text(&mut self) -> Option<&[u8]> {
        // SAFETY: this type owns the value until it is dropped. The bytes borrow it mutably, so it is not converted
        // again meanwhile.
        unsafe { text_of(self.0.as_ptr()) }
    }
}

impl Drop for OwnedValue {
    fn drop(&mut self) {
        // SAFETY: the value was returned by `sqlite3_value_dup` and is freed once.
        unsafe { ffi::sqlite3_value_free(self.0.as_ptr()) }
    }
}

/// Returns a value as UTF-8 text; `None` if it is NULL or SQLite has no memory.
///
/// # Safety
/// `value` is valid. For `'a` it is not freed, and not converted to anything but UTF-8 text.
unsafe fn text_of<'a>(value: *mut ffi::sqlite3_value) -> Option<&'a [u8]> {
    // SAFETY: the caller guarantees that the value is valid. The length is read after the pointer, as SQLite requires.
    unsafe {
        let bytes = ffi::sqlite3_value_text(value);
        (!bytes.is_null()).then(|| slice(bytes, ffi::sqlite3_value_bytes(value)))
    }
}

/// Returns the bytes as a slice; empty if the pointer is null or the length is not positive.
///
/// # Safety
/// `bytes` is null or points to `len` bytes that are valid and unchanged for `'a`, or `len` is not positive.
unsafe fn slice<'a>(bytes: *const u8, len: c_int) -> &'a [u8] {
    match usize::try_from(len) {
        // SAFETY: the pointer is not null here, and the caller guarantees that the bytes are valid.
        Ok(len) if len > 0 && !bytes.is_null() => unsafe { std::slice::from_raw_parts(bytes, len) },
        _ => &[],
    }
}

/// The result of an SQL function.
pub(super) enum FunctionResult<'a> {
    Null,
    Integer(i64),
    /// A floating-point number. SQLite converts NaN to NULL.
    Real(f64),
    /// UTF-8 text, which SQLite copies.
    Text(&'a [u8]),
    /// UTF-8 text, which SQLite takes over without a copy.
    OwnedText(Buffer),
    OwnedBlob(Buffer),
}

/// The error of a call of an SQL function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CallError {
    /// The result would be longer than `SQLITE_LIMIT_LENGTH` (<https://sqlite.org/c3ref/c_limit_attached.html>).
    TooBig,
    NoMemory,
    Interrupted,
}

/// A byte buffer in SQLite's memory, which SQLite can take over as a value without a copy.
pub(super) struct Buffer {
    bytes: *mut u8,
    len: usize,
    capacity: usize,
}

impl Buffer {
    /// Allocates a buffer for `capacity` bytes.
    pub(super) fn with_capacity(capacity: usize) -> Result<Buffer, CallError> {
        let mut buffer = Buffer { bytes: std::ptr::null_mut(), len: 0, capacity: 0 };
        buffer.grow(capacity.max(1))?;
        Ok(buffer)
    }

    /// Appends bytes. Fails if SQLite has no memory.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<(), CallError> {
        let needed = self.len.saturating_add(bytes.len());
        if needed > self.capacity {
            self.grow(needed.max(self.capacity.saturating_mul(2)))?;
        }
        // SAFETY: `grow` has made room for `bytes` after `len`. The source cannot overlap the buffer, because no
        // reference to the buffer's memory is ever handed out.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), self.bytes.add(self.len), bytes.len()) };
        self.len = needed;
        Ok(())
    }

    fn grow(&mut self, capacity: usize) -> Result<(), CallError> {
        // SAFETY: `bytes` is null or was returned by this function. If SQLite has no memory, the old block stays valid.
        let grown = unsafe { ffi::sqlite3_realloc64(self.bytes.cast(), capacity as u64) };
        if grown.is_null() {
            return Err(CallError::NoMemory);
        }
        (self.bytes, self.capacity) = (grown.cast(), capacity);
        Ok(())
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        // SAFETY: `bytes` is null or was returned by `sqlite3_realloc64`, and is freed only here.
        unsafe { ffi::sqlite3_free(self.bytes.cast()) }
    }
}

/// A call of an SQL function. Gives access to the limits of the connection that runs the statement.
pub(super) struct Caller(*mut ffi::sqlite3_context);

impl Caller {
    /// The maximum length of a TEXT or BLOB value on the connection, in bytes.
    pub(super) fn len_max(&self) -> usize {
        // SAFETY: SQLite keeps the context alive during the call. With a negative number, `sqlite3_limit` only returns
        // the limit.
        let limit = unsafe { ffi::sqlite3_limit(ffi::sqlite3_context_db_handle(self.0), ffi::SQLITE_LIMIT_LENGTH, -1) };
        usize::try_from(limit).unwrap_or_default()
    }
}

/// The flags with which all functions are registered (<https://sqlite.org/c3ref/c_deterministic.html>). The functions
/// are deterministic and innocuous, so indexes, generated columns, views and triggers may use them like the built-in
/// functions.
const FLAGS: c_int = ffi::SQLITE_UTF8 | ffi::SQLITE_DETERMINISTIC | ffi::SQLITE_INNOCUOUS;

/// Registers an SQL function with `N` arguments. It replaces the built-in function with the same name and number of
/// arguments.
pub(super) fn register<const N: usize, F>(connection: &Connection, name: &CStr, function: F) -> rusqlite::Result<()>
where
    F: for<'a> Fn([Argument<'a>; N], &Caller) -> Result<FunctionResult<'a>, CallError> + Send + 'static,
{
    let function = Box::into_raw(Box::new(function));
    // SAFETY: the handle is valid as long as the connection lives, and SQLite copies the name. SQLite owns `function`
    // from now on: it passes the pointer to `call`, and to `free` once, also if the registration fails.
    let code = unsafe {
        ffi::sqlite3_create_function_v2(
            connection.handle(),
            name.as_ptr(),
            N as c_int,
            FLAGS,
            function.cast(),
            Some(call::<N, F>),
            None,
            None,
            Some(free::<F>),
        )
    };
    if code == ffi::SQLITE_OK {
        return Ok(());
    }
    Err(rusqlite::Error::SqliteFailure(ffi::Error::new(code), None))
}

unsafe extern "C" fn free<F>(function: *mut c_void) {
    // SAFETY: SQLite passes the pointer from `register`, which is a `Box<F>`, once.
    drop(unsafe { Box::from_raw(function.cast::<F>()) });
}

unsafe extern "C" fn call<const N: usize, F>(
    context: *mut ffi::sqlite3_context,
    count: c_int,
    values: *mut *mut ffi::sqlite3_value,
) where
    F: for<'a> Fn([Argument<'a>; N], &Caller) -> Result<FunctionResult<'a>, CallError>,
{
    // SAFETY: `sqlite3_user_data` returns the pointer from `register`. SQLite frees it only when the function can no
    // longer be called.
    let function = unsafe { &*ffi::sqlite3_user_data(context).cast::<F>() };
    // A panic is a bug in this crate and must not unwind through SQLite's stack frames.
    let result = catch_unwind(AssertUnwindSafe(|| {
        // SAFETY: SQLite passes `count` valid and distinct values, which stay alive until `call` returns.
        let arguments = unsafe { arguments::<N>(count, values) }?;
        Some(function(arguments, &Caller(context)))
    }));
    match result {
        Ok(Some(Ok(result))) => set(context, result),
        Ok(Some(Err(error))) => set_error(context, error),
        // SAFETY: the context is valid during the call.
        _ => unsafe { ffi::sqlite3_result_error_code(context, ffi::SQLITE_INTERNAL) },
    }
}

/// Converts SQLite's array of arguments; `None` if their number is not `N`.
///
/// # Safety
/// `values` points to `count` valid values that live for `'a`.
unsafe fn arguments<'a, const N: usize>(
    count: c_int,
    values: *mut *mut ffi::sqlite3_value,
) -> Option<[Argument<'a>; N]> {
    if usize::try_from(count) != Ok(N) {
        return None;
    }
    if N == 0 {
        return std::iter::empty().collect::<Vec<_>>().try_into().ok();
    }
    // SAFETY: the caller guarantees that there are `count` values, and `count` is `N` here.
    let values: &[*mut ffi::sqlite3_value; N] = unsafe { &*values.cast() };
    let mut missing = false;
    let arguments = values.map(|value| {
        missing |= value.is_null();
        Argument { value: NonNull::new(value).unwrap_or(NonNull::dangling()), call: PhantomData }
    });
    (!missing).then_some(arguments)
}

fn set(context: *mut ffi::sqlite3_context, result: FunctionResult<'_>) {
    // SAFETY: the context is valid during the call. SQLite copies a borrowed text. SQLite takes over a buffer and frees
    // it with `sqlite3_free`, which matches its allocation; `forget` prevents `Buffer` from freeing it again.
    unsafe {
        match result {
            FunctionResult::Null => ffi::sqlite3_result_null(context),
            FunctionResult::Integer(integer) => ffi::sqlite3_result_int64(context, integer),
            FunctionResult::Real(real) => ffi::sqlite3_result_double(context, real),
            FunctionResult::Text(text) => set_text(context, text.as_ptr().cast(), text.len(), ffi::SQLITE_TRANSIENT()),
            FunctionResult::OwnedText(buffer) => {
                set_text(context, buffer.bytes.cast(), buffer.len, Some(ffi::sqlite3_free));
                std::mem::forget(buffer);
            }
            FunctionResult::OwnedBlob(buffer) => {
                let (bytes, len) = (buffer.bytes.cast(), buffer.len as u64);
                ffi::sqlite3_result_blob64(context, bytes, len, Some(ffi::sqlite3_free));
                std::mem::forget(buffer);
            }
        }
    }
}

/// Sets UTF-8 text as the result of the SQL function.
///
/// # Safety
/// `context` is valid, `text` points to `len` bytes, and `destructor` is the function that frees them (or tells SQLite
/// to copy them).
unsafe fn set_text(
    context: *mut ffi::sqlite3_context,
    text: *const c_char,
    len: usize,
    destructor: ffi::sqlite3_destructor_type,
) {
    // SAFETY: guaranteed by the caller.
    unsafe { ffi::sqlite3_result_text64(context, text, len as u64, destructor, ffi::SQLITE_UTF8 as u8) }
}

fn set_error(context: *mut ffi::sqlite3_context, error: CallError) {
    // SAFETY: the context is valid during the call.
    unsafe {
        match error {
            CallError::TooBig => ffi::sqlite3_result_error_toobig(context),
            CallError::NoMemory => ffi::sqlite3_result_error_nomem(context),
            CallError::Interrupted => ffi::sqlite3_result_error_code(context, ffi::SQLITE_INTERRUPT),
        }
    }
}
