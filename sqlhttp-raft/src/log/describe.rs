//! Describes writes to the files of the log, for simulations that cut the power at a chosen operation.

use std::path::Path;

use super::frame::{self, Frame};
use super::segment::segment_number;
use super::state::HEADER_BYTES;

/// Returns the kinds of the frames that a write to a segment contains, without repetition. Returns an empty list for
/// other files.
pub(crate) fn frames(path: &str, offset: u64, bytes: &[u8]) -> Vec<&'static str> {
    let name = Path::new(path).file_name().unwrap_or_default().to_string_lossy().into_owned();
    let Some(number) = segment_number(&name) else { return Vec::new() };
    let mut at = if offset == 0 { HEADER_BYTES } else { 0 };
    let mut kinds = Vec::new();
    while let Some(found) = frame::decode_at(bytes, number, offset, at) {
        at += found.len();
        let kind = match frame::parse(&found) {
            Ok(Frame::Entry(_)) => "append",
            Ok(Frame::Truncate(_)) => "truncate",
            Ok(Frame::Purge(_)) => "purge",
            Ok(Frame::Vote(_)) => "vote",
            Ok(Frame::Committed(_)) => "committed",
            Ok(Frame::SegmentEnd) => "end",
            Err(_) => "malformed",
        };
        if !kinds.contains(&kind) {
            kinds.push(kind);
        }
    }
    kinds
}
