//! `trim()`, `ltrim()` and `rtrim()` with a set of characters, in linear time.
//!
//! SQLite's implementations compare each character with the whole set. With a long text and a long set this takes
//! minutes, and it cannot be interrupted. The implementations in this module return the same results.

use std::collections::HashMap;
use std::ffi::CStr;

use rusqlite::Connection;

use super::scalar::{Argument, CallError, Caller, FunctionResult, register};
use super::text::{Interrupt, Meter};

/// The maximum number of characters in a set that are compared one by one, which is faster than a hash lookup for so
/// few.
const COMPARED_MAX: usize = 16;

/// The maximum number of different characters in a set. Unicode has fewer; only invalid UTF-8 can have more.
const DISTINCT_MAX: usize = 0x11_0000;

/// The ends of a text from which characters are removed.
#[derive(Clone, Copy)]
struct Ends {
    left: bool,
    right: bool,
}

/// Registers `trim()`, `ltrim()` and `rtrim()` with two arguments. With one argument, SQLite's own implementations are
/// used, because they only remove spaces.
pub(super) fn register_all(connection: &Connection, interrupt: impl Interrupt) -> rusqlite::Result<()> {
    let functions: [(&CStr, Ends); 3] = [
        (c"trim", Ends { left: true, right: true }),
        (c"ltrim", Ends { left: true, right: false }),
        (c"rtrim", Ends { left: false, right: true }),
    ];
    for (name, ends) in functions {
        let interrupt = interrupt.clone();
        register(connection, name, move |[text, set], _: &Caller| trim(text, set, ends, &interrupt))?;
    }
    Ok(())
}

fn trim<'a>(
    text: Argument<'a>,
    set: Argument<'a>,
    ends: Ends,
    interrupt: &dyn Fn() -> bool,
) -> Result<FunctionResult<'a>, CallError> {
    let (Some(text), Some(set)) = (text.text(), set.text()) else { return Ok(FunctionResult::Null) };
    let mut meter = Meter::new(interrupt);
    let set = Set::new(set, &mut meter)?;
    let mut rest = text;
    while ends.left
        && let Some(len) = set.find(|len| rest.get(..len), &mut meter)?
    {
        rest = rest.get(len..).unwrap_or_default();
    }
    while ends.right
        && let Some(len) = set.find(|len| rest.get(rest.len().checked_sub(len)?..), &mut meter)?
    {
        rest = rest.get(..rest.len() - len).unwrap_or_default();
    }
    Ok(FunctionResult::Text(rest))
}

/// The set of characters to remove from a text. With invalid UTF-8, one character may be a prefix of another; the one
/// that occurs first in the set is then used, as in SQLite.
struct Set<'a> {
    /// All characters of the set, in order; empty if there are more than [`COMPARED_MAX`].
    characters: Vec<&'a [u8]>,
    /// The position of each character's first occurrence in the set; empty if the set has at most [`COMPARED_MAX`]
    /// characters.
    positions: HashMap<&'a [u8], usize>,
    /// The distinct lengths of the characters, in bytes; empty if the set has at most [`COMPARED_MAX`] characters.
    lens: Vec<usize>,
}

impl<'a> Set<'a> {
    fn new(set: &'a [u8], meter: &mut Meter<'_>) -> Result<Self, CallError> {
        let characters: Vec<&[u8]> = Characters(set).take(COMPARED_MAX + 1).collect();
        let (mut positions, mut lens) = (HashMap::new(), Vec::new());
        if characters.len() <= COMPARED_MAX {
            return Ok(Set { characters, positions, lens });
        }
        for (position, character) in Characters(set).enumerate() {
            meter.spend(character.len())?;
            positions.entry(character).or_insert(position);
            if positions.len() > DISTINCT_MAX {
                return Err(CallError::TooBig);
            }
        }
        lens.extend(positions.keys().map(|character: &&[u8]| character.len()));
        lens.sort_unstable();
        lens.dedup();
        Ok(Set { characters: Vec::new(), positions, lens })
    }

    /// Returns the length of the first character of the set that matches, in bytes; `None` if no character matches.
    /// `at` returns that many bytes from one end of the text.
    fn find<'t>(
        &self,
        at: impl Fn(usize) -> Option<&'t [u8]>,
        meter: &mut Meter<'_>,
    ) -> Result<Option<usize>, CallError> {
        if self.positions.is_empty() {
            meter.spend(self.characters.len())?;
            let is_there = |character: &&&[u8]| at(character.len()) == Some(**character);
            return Ok(self.characters.iter().find(is_there).map(|character| character.len()));
        }
        meter.spend(self.lens.iter().sum())?;
        let found = self.lens.iter().filter_map(|len| Some((*self.positions.get(at(*len)?)?, *len)));
        Ok(found.min().map(|(_, len)| len))
    }
}

/// Iterates over the characters of a text like SQLite: up to the first NUL, each with its continuation bytes.
struct Characters<'a>(&'a [u8]);

impl<'a> Iterator for Characters<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let first = *self.0.first().filter(|byte| **byte != 0)?;
        let rest = self.0.iter().skip(1);
        let continued = if first >= 0xC0 { rest.take_while(|byte| **byte & 0xC0 == 0x80).count() } else { 0 };
        let (character, rest) = self.0.split_at(1 + continued);
        self.0 = rest;
        Some(character)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_set_is_interrupted_while_it_is_read() {
        let long = vec![b'a'; 8 << 20];
        let stop = || true;
        assert!(matches!(Set::new(&long, &mut Meter::new(&stop)), Err(CallError::Interrupted)));
        let go_on = || false;
        let set = Set::new(&long, &mut Meter::new(&go_on)).map(|set| (set.characters.len(), set.positions.len()));
        assert!(matches!(set, Ok((0, 1))));
    }

    #[test]
    fn a_set_with_more_characters_than_unicode_has_is_too_big() {
        // Invalid UTF-8: each character is a lead byte and three continuation bytes.
        let count = u32::try_from(DISTINCT_MAX).unwrap_or(u32::MAX) + 1;
        let character = |n: u32| {
            [0xC0 | (n >> 18) as u8, 0x80 | (n >> 12) as u8 & 63, 0x80 | (n >> 6) as u8 & 63, 0x80 | n as u8 & 63]
        };
        let set: Vec<u8> = (0..count).flat_map(character).collect();
        let go_on = || false;
        assert!(matches!(Set::new(&set, &mut Meter::new(&go_on)), Err(CallError::TooBig)));
        assert!(Set::new(&set[4..], &mut Meter::new(&go_on)).is_ok());
    }
}
