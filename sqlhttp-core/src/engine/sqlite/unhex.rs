//! `unhex()` with a set of characters to ignore, in linear time.
//!
//! SQLite's implementation compares each such character with the whole set. With a long text and a long set this takes
//! minutes, and it cannot be interrupted. The implementation in this module returns the same results.

use std::collections::HashSet;

use rusqlite::Connection;

use super::scalar::{Argument, Buffer, CallError, Caller, FunctionResult, register};
use super::text::{Interrupt, Meter};

/// Registers `unhex()` with two arguments. With one argument, SQLite's own implementation is used, because it takes
/// linear time.
pub(super) fn register_all(connection: &Connection, interrupt: impl Interrupt) -> rusqlite::Result<()> {
    register(connection, c"unhex", move |[text, ignored], caller: &Caller| unhex(text, ignored, caller, &interrupt))
}

fn unhex<'a>(
    text: Argument<'a>,
    ignored: Argument<'a>,
    caller: &Caller,
    interrupt: &dyn Fn() -> bool,
) -> Result<FunctionResult<'a>, CallError> {
    let (Some(mut text), Some(mut ignored)) = (text.text(), ignored.text()) else { return Ok(FunctionResult::Null) };
    let decoded_max = text.len() / 2 + 1;
    if decoded_max > caller.len_max() {
        return Err(CallError::TooBig);
    }
    let mut meter = Meter::new(interrupt);
    let mut set = HashSet::new();
    while let Some(character) = next_character(&mut ignored) {
        set.insert(character);
        meter.spend(1)?;
    }
    let mut output = Buffer::with_capacity(decoded_max)?;
    // SQLite reads the text up to the first NUL.
    while let Some(first) = text.first().filter(|byte| **byte != 0) {
        meter.spend(1)?;
        let Some(high) = digit(*first) else {
            match next_character(&mut text) {
                Some(character) if set.contains(&character) => continue,
                _ => return Ok(FunctionResult::Null),
            }
        };
        // The two digits of a byte must be adjacent.
        let Some(low) = text.get(1).and_then(|byte| digit(*byte)) else { return Ok(FunctionResult::Null) };
        output.push(&[high << 4 | low])?;
        text = text.get(2..).unwrap_or_default();
    }
    Ok(FunctionResult::OwnedBlob(output))
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

/// Removes the first character of a text and returns its code point. For invalid UTF-8, returns the same number as
/// SQLite does.
fn next_character(text: &mut &[u8]) -> Option<u32> {
    let (first, rest) = text.split_first()?;
    *text = rest;
    let mut character = match *first {
        byte @ 0xC0..=0xDF => u32::from(byte & 0x1F),
        byte @ 0xE0..=0xEF => u32::from(byte & 0x0F),
        byte @ 0xF0..=0xF7 => u32::from(byte & 0x07),
        byte @ 0xF8..=0xFB => u32::from(byte & 0x03),
        byte @ 0xFC..=0xFD => u32::from(byte & 0x01),
        0xFE..=0xFF => 0,
        byte => return Some(u32::from(byte)),
    };
    while let Some((byte, rest)) = text.split_first().filter(|(byte, _)| **byte & 0xC0 == 0x80) {
        character = (character << 6).wrapping_add(u32::from(byte & 0x3F));
        *text = rest;
    }
    let is_valid = character >= 0x80 && character & 0xFFFF_F800 != 0xD800;
    Some(if is_valid { character } else { 0xFFFD })
}
