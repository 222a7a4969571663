//! Serialization of rows. Serialized rows may come from another machine, so deserialization checks them.

use std::fmt;
use std::sync::Arc;

use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serializer};

use super::{BLOB, Block, Column, INTEGER, NULL, REAL, Rows, TEXT};
use crate::model::Changed;

/// Serializes a tape as one string of bytes. The implementation for `Vec<u8>` serializes each byte separately.
pub(super) fn serialize_tape<S: Serializer>(tape: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_bytes(tape)
}

/// [`Rows`] whose blocks may have another number of columns.
#[derive(Deserialize)]
pub(super) struct UncheckedRows {
    columns: Arc<[Column]>,
    blocks: Vec<Block>,
    changed: Changed,
}

impl TryFrom<UncheckedRows> for Rows {
    type Error = &'static str;

    fn try_from(UncheckedRows { columns, blocks, changed }: UncheckedRows) -> Result<Self, Self::Error> {
        if blocks.iter().any(|block| block.columns != columns.len()) {
            return Err("a block has another number of columns than its result");
        }
        Ok(Rows { columns, blocks, changed })
    }
}

/// A [`Block`] whose tape may be malformed.
#[derive(Deserialize)]
pub(super) struct UncheckedBlock {
    #[serde(deserialize_with = "deserialize_tape")]
    tape: Vec<u8>,
    rows: usize,
    columns: usize,
}

impl TryFrom<UncheckedBlock> for Block {
    type Error = &'static str;

    fn try_from(UncheckedBlock { tape, rows, columns }: UncheckedBlock) -> Result<Self, Self::Error> {
        // Without this rule, a few bytes could claim any number of rows.
        if columns == 0 && rows > 0 {
            return Err("a block without columns has rows");
        }
        let values = count_values(&tape).ok_or("a block has a malformed value")?;
        if rows.checked_mul(columns) != Some(values) {
            return Err("a block has another number of values than rows times columns");
        }
        Ok(Block { tape, rows, columns })
    }
}

/// Returns the number of values on a tape; `None` if the tape does not consist of whole, valid values.
fn count_values(mut tape: &[u8]) -> Option<usize> {
    let mut count = 0;
    while let Some((tag, rest)) = tape.split_first() {
        tape = match *tag {
            NULL => rest,
            INTEGER => rest.split_first_chunk::<8>()?.1,
            REAL => {
                let (real, rest) = rest.split_first_chunk()?;
                // SQLite has no NaN, and the protocols cannot express it.
                (!f64::from_le_bytes(*real).is_nan()).then_some(rest)?
            }
            TEXT | BLOB => {
                let (len, rest) = rest.split_first_chunk()?;
                rest.get(usize::try_from(u32::from_le_bytes(*len)).ok()?..)?
            }
            _ => return None,
        };
        count += 1;
    }
    Some(count)
}

fn deserialize_tape<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    struct Tape;
    impl Visitor<'_> for Tape {
        type Value = Vec<u8>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("bytes")
        }

        fn visit_bytes<E: Error>(self, tape: &[u8]) -> Result<Vec<u8>, E> {
            Ok(tape.to_vec())
        }

        fn visit_byte_buf<E: Error>(self, tape: Vec<u8>) -> Result<Vec<u8>, E> {
            Ok(tape)
        }
    }
    deserializer.deserialize_byte_buf(Tape)
}
