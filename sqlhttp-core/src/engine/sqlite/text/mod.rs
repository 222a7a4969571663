//! `instr()` and `replace()` in linear time.
//!
//! SQLite's implementations compare the pattern at every position. With a long text and a long pattern that almost
//! matches everywhere this takes minutes, and it cannot be interrupted. The implementations in this module return the
//! same results, and check regularly whether the statement has to end.

use memchr::memmem::Finder;
use rusqlite::Connection;

use super::scalar::{Argument, Buffer, CallError, Caller, FunctionResult, StorageClass, register};

/// A function that returns whether the running statement has to end.
pub(crate) trait Interrupt: Fn() -> bool + Clone + Send + 'static {}

impl<F: Fn() -> bool + Clone + Send + 'static> Interrupt for F {}

/// The number of bytes that a function searches or writes between two calls of the [`Interrupt`] function.
const BYTES_PER_CHECK: usize = 1 << 20;
/// The length, in bytes, from which a text is searched with a prepared [`Finder`]. For a shorter text, preparing one
/// would take longer than the search.
const SHORT_LEN: usize = 64;

/// Registers `instr()` and `replace()` on a connection.
pub(super) fn register_all(connection: &Connection, interrupt: impl Interrupt) -> rusqlite::Result<()> {
    let stopped = interrupt.clone();
    register(connection, c"instr", move |[haystack, needle], _: &Caller| instr(haystack, needle, &stopped))?;
    register(connection, c"replace", move |[text, pattern, replacement], caller: &Caller| {
        replace(text, pattern, replacement, caller, &interrupt)
    })
}

/// The SQL function `instr()`: the position of `needle` in `haystack`, counted from 1; 0 if `needle` does not occur.
/// The position is in bytes if both are BLOBs, otherwise in characters.
fn instr<'a>(
    haystack: Argument<'a>,
    needle: Argument<'a>,
    interrupt: &dyn Fn() -> bool,
) -> Result<FunctionResult<'a>, CallError> {
    let position = match (haystack.storage_class(), needle.storage_class()) {
        (StorageClass::Null, _) | (_, StorageClass::Null) => return Ok(FunctionResult::Null),
        _ if needle.len() == 0 => 1,
        (StorageClass::Blob, StorageClass::Blob) => position_in_bytes(haystack.blob(), needle.blob(), interrupt)?,
        // A BLOB is compared as TEXT, but must stay a BLOB for the rest of the statement, so a copy of it is converted.
        (StorageClass::Blob, _) => {
            let mut haystack = haystack.duplicate().ok_or(CallError::NoMemory)?;
            position_in_text(haystack.text(), needle.text(), interrupt)?
        }
        (_, StorageClass::Blob) => {
            let mut needle = needle.duplicate().ok_or(CallError::NoMemory)?;
            position_in_text(haystack.text(), needle.text(), interrupt)?
        }
        _ => position_in_text(haystack.text(), needle.text(), interrupt)?,
    };
    Ok(FunctionResult::Integer(i64::try_from(position).unwrap_or(i64::MAX)))
}

fn position_in_bytes(haystack: &[u8], needle: &[u8], interrupt: &dyn Fn() -> bool) -> Result<usize, CallError> {
    Ok(first(haystack, needle, interrupt)?.map_or(0, |at| at + 1))
}

fn position_in_text(
    haystack: Option<&[u8]>,
    needle: Option<&[u8]>,
    interrupt: &dyn Fn() -> bool,
) -> Result<usize, CallError> {
    let (Some(haystack), Some(needle)) = (haystack, needle) else { return Err(CallError::NoMemory) };
    if needle.first().is_some_and(continues_character) {
        // Invalid UTF-8. SQLite compares only at the first byte and where a character begins, so such a needle can only
        // match at the beginning.
        return Ok(usize::from(haystack.starts_with(needle)));
    }
    let at = if needle.is_empty() {
        // A BLOB of one byte that became an empty text in its conversion from UTF-16. SQLite then searches for its
        // terminating NUL.
        haystack.iter().position(|byte| *byte == 0).unwrap_or(haystack.len())
    } else {
        let Some(at) = first(haystack, needle, interrupt)? else { return Ok(0) };
        at
    };
    let before = haystack.get(..at).unwrap_or_default();
    let begun = before.iter().filter(|byte| !continues_character(byte)).count();
    // A text that begins in the middle of a character contains one more character.
    Ok(1 + begun + usize::from(before.first().is_some_and(continues_character)))
}

/// The position of the first occurrence of `needle` in `haystack`, in bytes, counted from 0; `None` if `needle` does
/// not occur.
fn first(haystack: &[u8], needle: &[u8], interrupt: &dyn Fn() -> bool) -> Result<Option<usize>, CallError> {
    if haystack.len() < SHORT_LEN {
        return Ok(memchr::memmem::find(haystack, needle));
    }
    find(haystack, 0, &Finder::new(needle), &mut Meter::new(interrupt))
}

/// Returns whether a byte is a continuation byte of UTF-8.
fn continues_character(byte: &u8) -> bool {
    byte & 0xC0 == 0x80
}

/// The SQL function `replace()`: returns `text` with every occurrence of `pattern` replaced with `replacement`.
fn replace<'a>(
    text: Argument<'a>,
    pattern: Argument<'a>,
    replacement: Argument<'a>,
    caller: &Caller,
    interrupt: &dyn Fn() -> bool,
) -> Result<FunctionResult<'a>, CallError> {
    let Some(text) = text.text() else { return Ok(FunctionResult::Null) };
    let Some(pattern) = pattern.text() else { return Ok(FunctionResult::Null) };
    // SQLite treats a pattern that begins with NUL as empty, and then ignores the replacement.
    if pattern.first().is_none_or(|byte| *byte == 0) {
        return Ok(FunctionResult::Text(text));
    }
    let Some(replacement) = replacement.text() else { return Ok(FunctionResult::Null) };
    let len_max = caller.len_max();
    // SQLite includes the terminating NUL in this comparison.
    if text.len() >= len_max {
        return Err(CallError::TooBig);
    }
    let replaced = replace_all(text, pattern, replacement, len_max, interrupt)?;
    Ok(replaced.map_or(FunctionResult::Text(text), FunctionResult::OwnedText))
}

/// Replaces every occurrence of the pattern in `text`. Returns `None` if the pattern does not occur.
fn replace_all(
    text: &[u8],
    pattern: &[u8],
    replacement: &[u8],
    len_max: usize,
    interrupt: &dyn Fn() -> bool,
) -> Result<Option<Buffer>, CallError> {
    let mut meter = Meter::new(interrupt);
    let finder = Finder::new(pattern);
    let Some(mut at) = find(text, 0, &finder, &mut meter)? else { return Ok(None) };
    let mut output = Buffer::with_capacity(text.len())?;
    // The length of the result if the pattern does not occur again.
    let mut len = text.len();
    let mut taken = 0;
    loop {
        len = (len - pattern.len()).saturating_add(replacement.len());
        if replacement.len() > pattern.len() && len > len_max {
            return Err(CallError::TooBig);
        }
        output.push(text.get(taken..at).unwrap_or_default())?;
        output.push(replacement)?;
        meter.spend(replacement.len())?;
        taken = at + pattern.len();
        match find(text, taken, &finder, &mut meter)? {
            Some(next) => at = next,
            None => break,
        }
    }
    output.push(text.get(taken..).unwrap_or_default())?;
    Ok(Some(output))
}

/// Returns the position of the first occurrence of the needle at or after `from`; `None` if there is none. The text is
/// searched in pieces, between which the meter may interrupt. Consecutive pieces overlap by less than the length of the
/// needle, and each is at least as long as the needle, so no byte is searched more than twice.
fn find(
    haystack: &[u8],
    mut from: usize,
    finder: &Finder<'_>,
    meter: &mut Meter<'_>,
) -> Result<Option<usize>, CallError> {
    let needle_len = finder.needle().len();
    let step = BYTES_PER_CHECK.max(needle_len);
    loop {
        let end = haystack.len().min(from + step + needle_len - 1);
        let piece = haystack.get(from..end).unwrap_or_default();
        if let Some(at) = finder.find(piece) {
            meter.spend(at + needle_len)?;
            return Ok(Some(from + at));
        }
        if end == haystack.len() {
            return Ok(None);
        }
        meter.spend(step)?;
        from += step;
    }
}

/// Counts the bytes that a function reads and writes, and calls the [`Interrupt`] function after every
/// [`BYTES_PER_CHECK`] bytes.
pub(super) struct Meter<'a> {
    interrupt: &'a dyn Fn() -> bool,
    bytes: usize,
}

impl<'a> Meter<'a> {
    pub(super) fn new(interrupt: &'a dyn Fn() -> bool) -> Self {
        Meter { interrupt, bytes: 0 }
    }

    /// Adds bytes that were read or written to the count. Fails if the [`Interrupt`] function was called and the
    /// statement has to end.
    pub(super) fn spend(&mut self, bytes: usize) -> Result<(), CallError> {
        self.bytes = self.bytes.saturating_add(bytes);
        if self.bytes < BYTES_PER_CHECK {
            return Ok(());
        }
        self.bytes = 0;
        if (self.interrupt)() { Err(CallError::Interrupted) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests;
