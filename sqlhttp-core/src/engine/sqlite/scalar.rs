//! Scalar SQL functions on SQLite's own values (<https://sqlite.org/appfunc.html>).
//!
//! rusqlite hands a function copies of values by type. Functions that replace built-in ones need SQLite's conversions
//! instead (a number as the text that SQLite prints for it, a text as the number it begins with), so they are registered
//! here.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::NonNull;

use rusqlite::{Connection, ffi};

/// The storage class of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Null,
    Integer,
    Real,
    Text,
    Blob,
}

impl Kind {
    fn of(code: c_int) -> Kind {
        match code {
            ffi::SQLITE_INTEGER => Kind::Integer,
            ffi::SQLITE_FLOAT => Kind::Real,
            ffi::SQLITE_TEXT => Kind::Text,
            ffi::SQLITE_BLOB => Kind::Blob,
            _ => Kind::Null,
        }
    }
}

/// An argument of a function. A conversion consumes it, because a second conversion may move its bytes.
pub(super) struct Argument<'a> {
    value: NonNull<ffi::sqlite3_value>,
    call: PhantomData<&'a ()>,
}

impl<'a> Argument<'a> {
    /// The storage class.
    pub(super) fn kind(&self) -> Kind {
        // SAFETY: SQLite keeps the value alive during the call.
        Kind::of(unsafe { ffi::sqlite3_value_type(self.value.as_ptr()) })
    }

    /// The storage class after a text that looks like a number has become one.
    pub(super) fn numeric_kind(&self) -> Kind {
        // SAFETY: as in `kind`. Bytes of this argument are not borrowed: handing them out consumes it.
        Kind::of(unsafe { ffi::sqlite3_value_numeric_type(self.value.as_ptr()) })
    }

    /// The length in bytes, of a number that of its text.
    pub(super) fn len(&self) -> usize {
        // SAFETY: as in `numeric_kind`.
        usize::try_from(unsafe { ffi::sqlite3_value_bytes(self.value.as_ptr()) }).unwrap_or_default()
    }

    /// The value as an integer.
    pub(super) fn integer(self) -> i64 {
        // SAFETY: as in `numeric_kind`.
        unsafe { ffi::sqlite3_value_int64(self.value.as_ptr()) }
    }

    /// The value as a floating-point number.
    pub(super) fn real(self) -> f64 {
        // SAFETY: as in `numeric_kind`.
        unsafe { ffi::sqlite3_value_double(self.value.as_ptr()) }
    }

    /// The value as UTF-8 text; `None` if it is NULL or memory is short. Turns a BLOB into a text for good.
    pub(super) fn text(self) -> Option<&'a [u8]> {
        // SAFETY: as in `numeric_kind`. The bytes live as long as the call, because this argument is not converted again.
        unsafe { text_of(self.value.as_ptr()) }
    }

    /// The bytes of a BLOB.
    pub(super) fn blob(self) -> &'a [u8] {
        let value = self.value.as_ptr();
        // SAFETY: as in `text`; the length is asked for after the pointer, as SQLite demands.
        unsafe {
            let bytes = ffi::sqlite3_value_blob(value);
            slice(bytes.cast(), ffi::sqlite3_value_bytes(value))
        }
    }

    /// A copy of the value; `None` if memory is short.
    pub(super) fn duplicate(self) -> Option<OwnedValue> {
        // SAFETY: as in `kind`.
        NonNull::new(unsafe { ffi::sqlite3_value_dup(self.value.as_ptr()) }).map(OwnedValue)
    }
}

/// A copy of an argument.
pub(super) struct OwnedValue(NonNull<ffi::sqlite3_value>);

impl OwnedValue {
    /// The value as UTF-8 text; `None` if it is NULL or memory is short.
    pub(super) fn text(&mut self) -> Option<&[u8]> {
        // SAFETY: the value is ours until it is dropped, and is not converted while its bytes are borrowed.
        unsafe { text_of(self.0.as_ptr()) }
    }
}

impl Drop for OwnedValue {
    fn drop(&mut self) {
        // SAFETY: the value came from `sqlite3_value_dup` and is freed once.
        unsafe { ffi::sqlite3_value_free(self.0.as_ptr()) }
    }
}

/// # Safety
/// `value` is valid, and for `'a` neither freed nor converted to anything but UTF-8 text.
unsafe fn text_of<'a>(value: *mut ffi::sqlite3_value) -> Option<&'a [u8]> {
    // SAFETY: the caller's promise; the length is asked for after the pointer, as SQLite demands.
    unsafe {
        let bytes = ffi::sqlite3_value_text(value);
        (!bytes.is_null()).then(|| slice(bytes, ffi::sqlite3_value_bytes(value)))
    }
}

/// # Safety
/// `bytes` points to `len` bytes that stay as they are for `'a`, or is null, or `len` is not above 0.
unsafe fn slice<'a>(bytes: *const u8, len: c_int) -> &'a [u8] {
    match usize::try_from(len) {
        // SAFETY: the caller's promise.
        Ok(len) if len > 0 && !bytes.is_null() => unsafe { std::slice::from_raw_parts(bytes, len) },
        _ => &[],
    }
}

/// The result of a function.
pub(super) enum Answer<'a> {
    Null,
    Integer(i64),
    /// Becomes NULL if it is not a number.
    Real(f64),
    /// UTF-8.
    Text(&'a [u8]),
    /// UTF-8.
    OwnedText(Buffer),
    OwnedBlob(Buffer),
}

/// Why a function has no result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CallError {
    /// The result would be longer than SQLITE_LIMIT_LENGTH.
    TooBig,
    NoMemory,
    Interrupted,
}

/// Bytes in SQLite's own memory, which it can keep as a value without a copy.
pub(super) struct Buffer {
    bytes: *mut u8,
    len: usize,
    capacity: usize,
}

impl Buffer {
    /// Room for so many bytes.
    pub(super) fn with_capacity(capacity: usize) -> Result<Buffer, CallError> {
        let mut buffer = Buffer { bytes: std::ptr::null_mut(), len: 0, capacity: 0 };
        buffer.grow(capacity.max(1))?;
        Ok(buffer)
    }

    /// Appends bytes.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<(), CallError> {
        let needed = self.len.saturating_add(bytes.len());
        if needed > self.capacity {
            self.grow(needed.max(self.capacity.saturating_mul(2)))?;
        }
        // SAFETY: there is room for `bytes` behind `len`, and `bytes` cannot be part of memory that only this owns.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), self.bytes.add(self.len), bytes.len()) };
        self.len = needed;
        Ok(())
    }

    fn grow(&mut self, capacity: usize) -> Result<(), CallError> {
        // SAFETY: `bytes` is null or came from here; SQLite leaves it as it is if there is no memory.
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
        // SAFETY: `bytes` is null or came from `sqlite3_realloc64`, and nothing else frees it.
        unsafe { ffi::sqlite3_free(self.bytes.cast()) }
    }
}

/// The connection that calls a function.
pub(super) struct Caller(*mut ffi::sqlite3_context);

impl Caller {
    /// How long a text or BLOB may be, bytes.
    pub(super) fn len_max(&self) -> usize {
        // SAFETY: SQLite keeps the context alive during the call; a negative limit only asks.
        let limit = unsafe { ffi::sqlite3_limit(ffi::sqlite3_context_db_handle(self.0), ffi::SQLITE_LIMIT_LENGTH, -1) };
        usize::try_from(limit).unwrap_or_default()
    }
}

/// What a function may be used for. All of ours are deterministic and innocuous, so indexes, generated columns, views and
/// triggers may use them as they may the built-in ones.
const FLAGS: c_int = ffi::SQLITE_UTF8 | ffi::SQLITE_DETERMINISTIC | ffi::SQLITE_INNOCUOUS;

/// Registers a function of `N` arguments. One that is built in under the same name is replaced.
pub(super) fn register<const N: usize, F>(connection: &Connection, name: &CStr, function: F) -> rusqlite::Result<()>
where
    F: for<'a> Fn([Argument<'a>; N], &Caller) -> Result<Answer<'a>, CallError> + Send + 'static,
{
    let function = Box::into_raw(Box::new(function));
    // SAFETY: the handle is valid as long as the connection lives, and the name is copied. `function` belongs to SQLite from
    // here on, which passes it to `call` and frees it once with `free`, also if it refuses.
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
    // SAFETY: SQLite passes what `register` gave it, once.
    drop(unsafe { Box::from_raw(function.cast::<F>()) });
}

unsafe extern "C" fn call<const N: usize, F>(
    context: *mut ffi::sqlite3_context,
    count: c_int,
    values: *mut *mut ffi::sqlite3_value,
) where
    F: for<'a> Fn([Argument<'a>; N], &Caller) -> Result<Answer<'a>, CallError>,
{
    // SAFETY: SQLite passes the pointer that `register` gave it, and calls no function after it has freed it.
    let function = unsafe { &*ffi::sqlite3_user_data(context).cast::<F>() };
    // A panic is a bug of ours, and must not cross SQLite's frames.
    let result = catch_unwind(AssertUnwindSafe(|| {
        // SAFETY: SQLite passes `count` valid values, all alive and distinct until this returns.
        let arguments = unsafe { arguments::<N>(count, values) }?;
        Some(function(arguments, &Caller(context)))
    }));
    match result {
        Ok(Some(Ok(answer))) => set(context, answer),
        Ok(Some(Err(error))) => set_error(context, error),
        // SAFETY: the context is SQLite's; the text is copied.
        _ => unsafe { ffi::sqlite3_result_error_code(context, ffi::SQLITE_INTERNAL) },
    }
}

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
    // SAFETY: the caller's promise.
    let values: &[*mut ffi::sqlite3_value; N] = unsafe { &*values.cast() };
    let mut missing = false;
    let arguments = values.map(|value| {
        missing |= value.is_null();
        Argument { value: NonNull::new(value).unwrap_or(NonNull::dangling()), call: PhantomData }
    });
    (!missing).then_some(arguments)
}

fn set(context: *mut ffi::sqlite3_context, answer: Answer<'_>) {
    // SAFETY: the context is SQLite's and alive. A borrowed text is copied; a buffer passes to SQLite, which frees it
    // with the function that belongs to its memory, and `forget` keeps `Buffer` from freeing it, too.
    unsafe {
        match answer {
            Answer::Null => ffi::sqlite3_result_null(context),
            Answer::Integer(integer) => ffi::sqlite3_result_int64(context, integer),
            Answer::Real(real) => ffi::sqlite3_result_double(context, real),
            Answer::Text(text) => set_text(context, text.as_ptr().cast(), text.len(), ffi::SQLITE_TRANSIENT()),
            Answer::OwnedText(buffer) => {
                set_text(context, buffer.bytes.cast(), buffer.len, Some(ffi::sqlite3_free));
                std::mem::forget(buffer);
            }
            Answer::OwnedBlob(buffer) => {
                let (bytes, len) = (buffer.bytes.cast(), buffer.len as u64);
                ffi::sqlite3_result_blob64(context, bytes, len, Some(ffi::sqlite3_free));
                std::mem::forget(buffer);
            }
        }
    }
}

/// # Safety
/// `context` is valid; `text` has `len` bytes, and `destructor` is right for it.
unsafe fn set_text(
    context: *mut ffi::sqlite3_context,
    text: *const c_char,
    len: usize,
    destructor: ffi::sqlite3_destructor_type,
) {
    // SAFETY: the caller's promise.
    unsafe { ffi::sqlite3_result_text64(context, text, len as u64, destructor, ffi::SQLITE_UTF8 as u8) }
}

fn set_error(context: *mut ffi::sqlite3_context, error: CallError) {
    // SAFETY: the context is SQLite's and alive.
    unsafe {
        match error {
            CallError::TooBig => ffi::sqlite3_result_error_toobig(context),
            CallError::NoMemory => ffi::sqlite3_result_error_nomem(context),
            CallError::Interrupted => ffi::sqlite3_result_error_code(context, ffi::SQLITE_INTERRUPT),
        }
    }
}
