//! Encodes an outcome that arrives in parts, while the batch is running.

use sqlhttp_core::{Error, Part};

use super::encoder::Encoder;
use super::error::EncodeError;
use crate::messages;
use crate::pretty::Indenter;
use crate::reply_shape::{ReplyShape, Trailer};

/// The maximum size, in bytes, of the compact JSON of a result that is held back. A larger result is indented and
/// passed on as it arrives. While a result is held back, the error of a statement that fails can still replace its
/// rows.
const PRETTY_HELD: usize = 256 << 10;

/// Encodes an outcome part by part. The memory that the encoder uses does not grow with the number of rows.
#[derive(Debug)]
pub struct PartEncoder {
    shape: ReplyShape,
    encoder: Encoder,
    indenter: Indenter,
    /// The compact JSON that is held back: it has not been indented yet.
    compact: Vec<u8>,
}

impl PartEncoder {
    /// Creates the encoder for one reply.
    pub fn new(shape: ReplyShape) -> Self {
        PartEncoder { shape, encoder: Encoder::default(), indenter: Indenter::default(), compact: Vec::new() }
    }

    /// Encodes the next part of the outcome and appends it to `out`. After each call, the caller may send the content
    /// of `out` and empty it. `trailer` has an effect only with [`Part::End`].
    ///
    /// A statement may fail after its first rows. If the caller has taken nothing out of `out` since the result of this
    /// statement began, the error replaces the rows. Otherwise the error follows the rows.
    ///
    /// # Errors
    /// [`EncodeError`] if the reply cannot be completed. No call may follow.
    pub fn part(&mut self, part: Part, trailer: &Trailer, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        let PartEncoder { shape, encoder, .. } = self;
        if !shape.pretty {
            return encoder.part(part, trailer, shape, out);
        }
        encoder.part(part, trailer, shape, &mut self.compact)?;
        if !encoder.is_open() || self.compact.len() >= PRETTY_HELD {
            self.indent(out);
        }
        Ok(())
    }

    /// Ends the reply before its last part, because the database cannot continue. The error becomes the result of each
    /// statement that has no result yet. If rows of a statement have already been sent, the error follows them. No call
    /// may follow.
    pub fn end_early(&mut self, error: &Error, trailer: &Trailer, out: &mut Vec<u8>) {
        let PartEncoder { shape, encoder, .. } = self;
        // The engine sends only the results of reads in parts.
        let text = messages::error_text(error, true);
        if !shape.pretty {
            return encoder.end_early(&text, trailer, shape, out);
        }
        encoder.end_early(&text, trailer, shape, &mut self.compact);
        self.indent(out);
    }

    fn indent(&mut self, out: &mut Vec<u8>) {
        self.indenter.write(out, &self.compact);
        self.compact.clear();
    }
}
