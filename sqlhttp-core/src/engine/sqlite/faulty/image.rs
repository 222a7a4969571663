//! The content of a file on a simulated disk, before and after a power cut.

use crate::engine::sqlite::clock::split_mix_64;

/// The sector size of a simulated disk, in bytes. A sector is written completely or not at all; SQLite does not depend
/// on that (<https://sqlite.org/atomiccommit.html#hardware_assumptions>).
const SECTOR_LEN: usize = 512;

/// The effect of a power cut on unsynced data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// All unsynced changes are lost.
    Unsynced,
    /// Some unsynced changes survive, chosen at random for each file: none of them, all of them, a number of the
    /// earliest changed sectors, or arbitrary changed sectors. If the file has grown, the new sectors that were not
    /// written contain zeros or garbage.
    Torn,
    /// No change is lost, as if only the process had been killed.
    Nothing,
}

/// A random number generator: the same seed yields the same numbers.
#[derive(Debug, Default)]
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Random(seed)
    }

    pub(super) fn bits(&mut self) -> u64 {
        split_mix_64(&mut self.0)
    }

    /// Returns a random number from 0 to `limit`, inclusive.
    pub(super) fn up_to(&mut self, limit: usize) -> usize {
        (self.bits() % (limit as u64 + 1)) as usize
    }

    pub(super) fn coin(&mut self) -> bool {
        self.bits() & 1 == 1
    }
}

/// A change of a file's content that is not durable yet.
#[derive(Debug)]
enum Change {
    Write { offset: usize, bytes: Vec<u8> },
    Truncate(usize),
}

/// The content of a file: as the process sees it, and as it is on disk.
#[derive(Debug, Default)]
pub(super) struct Image {
    live: Vec<u8>,
    durable: Vec<u8>,
    unsynced: Vec<Change>,
}

impl Image {
    /// Creates the image of a file whose content is durable.
    pub(super) fn durable(content: Vec<u8>) -> Self {
        Image { live: content.clone(), durable: content, unsynced: Vec::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.live.len()
    }

    /// Reads the file from `offset` into `buffer`. If the file ends before `buffer` is full, fills the rest with zeros.
    /// Returns the number of bytes that were read.
    pub(super) fn read(&self, offset: usize, buffer: &mut [u8]) -> usize {
        let available = self.live.get(offset..).unwrap_or_default();
        let len = available.len().min(buffer.len());
        buffer[..len].copy_from_slice(&available[..len]);
        buffer[len..].fill(0);
        len
    }

    /// Writes bytes at `offset`. If `recorded` is false, the process sees the change, but it never becomes durable.
    pub(super) fn write(&mut self, offset: usize, bytes: &[u8], recorded: bool) {
        let change = Change::Write { offset, bytes: bytes.to_vec() };
        self.change(change, recorded);
    }

    /// Sets the length of the file. If `recorded` is false, the process sees the change, but it never becomes durable.
    pub(super) fn truncate(&mut self, len: usize, recorded: bool) {
        self.change(Change::Truncate(len), recorded);
    }

    fn change(&mut self, change: Change, recorded: bool) {
        apply(&mut self.live, &change, 0);
        if recorded {
            self.unsynced.push(change);
        }
    }

    pub(super) fn sync(&mut self) {
        for change in self.unsynced.drain(..) {
            apply(&mut self.durable, &change, 0);
        }
    }

    /// Simulates a failing sync: a random part of the unsynced changes becomes durable. The other changes are lost: the
    /// operating system considers them written, so a later successful sync does not write them again.
    pub(super) fn fail_to_sync(&mut self, random: &mut Random) {
        let unsynced = std::mem::take(&mut self.unsynced);
        apply_some(&mut self.durable, unsynced, random);
    }

    /// Returns the content that the file has after a power cut.
    pub(super) fn after_power_cut(mut self, loss: Loss, random: &mut Random) -> Vec<u8> {
        match loss {
            Loss::Unsynced => {}
            Loss::Torn => apply_some(&mut self.durable, self.unsynced, random),
            Loss::Nothing => self.sync(),
        }
        self.durable
    }
}

/// Applies a change to the content of a file. If a write begins after the end of the content, the gap is filled with
/// `filler`.
fn apply(content: &mut Vec<u8>, change: &Change, filler: u8) {
    match change {
        Change::Truncate(len) => content.resize(*len, 0),
        Change::Write { offset, bytes } => {
            let end = offset + bytes.len();
            if content.len() < end {
                content.resize(end, filler);
            }
            content[*offset..end].copy_from_slice(bytes);
        }
    }
}

/// Splits the changes into parts of one sector each, and applies a random selection of the parts.
fn apply_some(content: &mut Vec<u8>, changes: Vec<Change>, random: &mut Random) {
    let pieces: Vec<Change> = changes.into_iter().flat_map(sectors).collect();
    let filler = if random.coin() { 0 } else { 0xA5 };
    let (first, eighths) = match random.up_to(3) {
        0 => (0, 0),
        1 => (pieces.len(), 0),
        2 => (random.up_to(pieces.len()), 0),
        _ => (0, 1 + random.up_to(6)),
    };
    for (index, piece) in pieces.iter().enumerate() {
        if index < first || random.up_to(7) < eighths {
            apply(content, piece, filler);
        }
    }
}

/// Splits a change into parts that each affect one sector.
fn sectors(change: Change) -> Vec<Change> {
    let (mut offset, bytes) = match change {
        Change::Write { offset, bytes } => (offset, bytes),
        truncate @ Change::Truncate(_) => return vec![truncate],
    };
    let mut rest = bytes.as_slice();
    let mut pieces = Vec::with_capacity(rest.len() / SECTOR_LEN + 1);
    while !rest.is_empty() {
        let (piece, tail) = rest.split_at(rest.len().min(SECTOR_LEN - offset % SECTOR_LEN));
        pieces.push(Change::Write { offset, bytes: piece.to_vec() });
        offset += piece.len();
        rest = tail;
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    fn survivors(loss: Loss, seed: u64) -> Vec<u8> {
        let mut image = Image::durable(vec![1; 1024]);
        image.write(0, &[2; 1024], true);
        image.sync();
        image.write(100, &[3; 1500], true);
        image.after_power_cut(loss, &mut Random::new(seed))
    }

    #[test]
    fn only_synced_changes_survive_a_power_cut() {
        assert_eq!(survivors(Loss::Unsynced, 0), vec![2; 1024]);
    }

    #[test]
    fn a_torn_write_leaves_whole_sectors_of_the_old_or_the_new_content() {
        let mut seen_mixed = false;
        for seed in 0..200 {
            let found = survivors(Loss::Torn, seed);
            assert_eq!(found[..100], [2; 100], "seed {seed}");
            for sector in [100..512, 512..1024] {
                let new = found[sector.start] == 3;
                assert!(found[sector].iter().all(|byte| *byte == if new { 3 } else { 2 }), "seed {seed}");
            }
            seen_mixed |= found[100] != found[512];
        }
        assert!(seen_mixed);
    }

    #[test]
    fn a_later_sync_does_not_write_what_a_failed_sync_has_lost() {
        let lost = (0..100).any(|seed| {
            let mut image = Image::default();
            image.write(0, &[1; 4096], true);
            image.fail_to_sync(&mut Random::new(seed));
            image.sync();
            image.after_power_cut(Loss::Unsynced, &mut Random::new(0)) != [1; 4096]
        });
        assert!(lost);
    }

    #[test]
    fn reads_after_the_end_return_zeros() {
        let mut buffer = [9; 8];
        assert_eq!(Image::durable(vec![7; 4]).read(2, &mut buffer), 2);
        assert_eq!(buffer, [7, 7, 0, 0, 0, 0, 0, 0]);
        assert_eq!(Image::default().read(100, &mut buffer), 0);
    }
}
