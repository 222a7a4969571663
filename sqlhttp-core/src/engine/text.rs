//! Recognises white space in SQL text.

use std::ffi::CStr;

/// Returns whether `rest`, the rest of an SQL text, contains only characters that SQLite treats as white space.
pub(crate) fn is_white(rest: &CStr) -> bool {
    first_byte(rest).is_none()
}

/// Returns the first byte that is not white space; `None` if there is none.
pub(crate) fn first_byte(rest: &CStr) -> Option<u8> {
    rest.to_bytes().iter().copied().find(|byte| !matches!(byte, b'\t'..=b'\r' | b' '))
}
