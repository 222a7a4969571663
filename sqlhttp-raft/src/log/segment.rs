//! The segment to which the log currently appends frames.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::disk::DiskFile;
use super::frame::{self, Frame};
use super::options::LogOptions;
use super::state::{HEADER_BYTES, LogState, encode_header};

/// The maximum number of zeros that are written after the frames at a time, in bytes. Frames then overwrite zeros:
/// syncing overwritten bytes takes less time than syncing a file that grows.
const FILL_BYTES: u64 = 1 << 20;

/// Returns the path of a segment's file.
pub(super) fn segment_path(directory: &Path, number: u64) -> PathBuf {
    directory.join(format!("{number:010}.log"))
}

/// Returns the segment number in the name of a file, or `None` if the name is not that of a segment.
pub(super) fn segment_number(name: &str) -> Option<u64> {
    let number = name.strip_suffix(".log")?;
    if number.len() < 10 { None } else { number.parse().ok() }
}

/// The segment to which the log currently appends frames.
pub(super) struct Segment {
    pub(super) number: u64,
    pub(super) file: Arc<dyn DiskFile>,
    /// The offset in the file at which the next frame is written.
    pub(super) end: u64,
    /// The offset in the file up to which all frames are durable.
    pub(super) durable: u64,
    /// The length of the file, including the zeros after the frames.
    pub(super) filled: u64,
    /// The length of the file is increased to multiples of this number, in bytes; the new part is filled with zeros.
    pub(super) fill_step: u64,
}

/// Returns the number of bytes to whose multiples the file of a segment is filled with zeros.
pub(super) fn fill_step(options: &LogOptions) -> u64 {
    u64::from(options.segment_bytes).clamp(1, FILL_BYTES)
}

impl Segment {
    /// Creates a segment that begins with `state`. The segment is durable when this function returns.
    pub(super) fn create(options: &LogOptions, number: u64, state: &LogState) -> io::Result<Segment> {
        let file = options.disk.create(&segment_path(&options.directory, number))?;
        file.write_all_at(&encode_header(number, state), 0)?;
        let header = HEADER_BYTES as u64;
        let mut segment =
            Segment { number, file, end: header, durable: header, filled: header, fill_step: fill_step(options) };
        segment.fill_zeros_after(header)?;
        segment.file.sync()?;
        options.disk.sync_directory(&options.directory)?;
        Ok(segment)
    }

    /// Writes encoded frames after the last frame. They are durable once [`Segment::sync`] has returned.
    pub(super) fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let end = self.end + bytes.len() as u64;
        if end > self.filled {
            self.fill_zeros_after(end)?;
        }
        self.file.write_all_at(bytes, self.end)?;
        self.end = end;
        Ok(())
    }

    /// Writes frames after the last frame with a single write, and syncs the segment.
    pub(super) fn append_synced(&mut self, frames: &[Frame]) -> io::Result<()> {
        let durable = u32::try_from(self.durable).unwrap_or(u32::MAX);
        let mut bytes = Vec::new();
        for frame in frames {
            frame::encode(&mut bytes, frame, self.number, self.end, durable)?;
        }
        self.append(&bytes)?;
        self.sync()
    }

    /// Writes zeros from offset `end` to the next multiple of `fill_step`. `end` is the end of the frames that are
    /// about to be written, so that no byte is written twice.
    fn fill_zeros_after(&mut self, end: u64) -> io::Result<()> {
        let wanted = end.next_multiple_of(self.fill_step);
        let zeros = vec![0; usize::try_from(wanted - end).unwrap_or(0)];
        self.file.write_all_at(&zeros, end)?;
        self.filled = wanted;
        Ok(())
    }

    pub(super) fn sync(&mut self) -> io::Result<()> {
        self.file.sync()?;
        self.durable = self.end;
        Ok(())
    }
}
