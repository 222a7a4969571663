//! One file, and what a power cut makes of it.

use crate::engine::sqlite::clock::split_mix_64;

/// Sectors are written or not; they are never torn. SQLite relies on less.
const SECTOR_LEN: usize = 512;

/// What a power cut leaves of that which was not synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// Nothing.
    Unsynced,
    /// What chance decides, for each file on its own: nothing, all, the first so many sectors, or any sectors. Sectors
    /// between them that a file gained but never received hold zeros or rubbish.
    Torn,
}

/// A generator of random numbers whose whole course follows from its seed.
#[derive(Debug, Default)]
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Random(seed)
    }

    pub(super) fn bits(&mut self) -> u64 {
        split_mix_64(&mut self.0)
    }

    /// A number from 0 to `limit`, inclusive.
    pub(super) fn up_to(&mut self, limit: usize) -> usize {
        (self.bits() % (limit as u64 + 1)) as usize
    }

    pub(super) fn coin(&mut self) -> bool {
        self.bits() & 1 == 1
    }
}

/// A change that is not durable yet.
#[derive(Debug)]
enum Change {
    Write { offset: usize, bytes: Vec<u8> },
    Truncate(usize),
}

/// The content of a file: as the process sees it, and as the disk has it.
#[derive(Debug, Default)]
pub(super) struct Image {
    live: Vec<u8>,
    durable: Vec<u8>,
    unsynced: Vec<Change>,
}

impl Image {
    /// A file that is as it is on disk.
    pub(super) fn durable(content: Vec<u8>) -> Self {
        Image { live: content.clone(), durable: content, unsynced: Vec::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.live.len()
    }

    /// Reads as much as there is into the beginning of `buffer`; zeros the rest. Returns how much there was.
    pub(super) fn read(&self, offset: usize, buffer: &mut [u8]) -> usize {
        let there = self.live.get(offset..).unwrap_or_default();
        let len = there.len().min(buffer.len());
        buffer[..len].copy_from_slice(&there[..len]);
        buffer[len..].fill(0);
        len
    }

    /// `recorded`: whether the change is on its way to the disk.
    pub(super) fn write(&mut self, offset: usize, bytes: &[u8], recorded: bool) {
        let change = Change::Write { offset, bytes: bytes.to_vec() };
        self.change(change, recorded);
    }

    /// `recorded`: whether the change is on its way to the disk.
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

    /// A sync that fails: chance decides what reached the disk. The rest never will, for the system counts it as
    /// written; a later sync that succeeds means nothing for it.
    pub(super) fn fail_to_sync(&mut self, random: &mut Random) {
        let unsynced = std::mem::take(&mut self.unsynced);
        apply_some(&mut self.durable, unsynced, random);
    }

    /// What is found after a power cut.
    pub(super) fn after_power_cut(mut self, loss: Loss, random: &mut Random) -> Vec<u8> {
        if loss == Loss::Torn {
            apply_some(&mut self.durable, self.unsynced, random);
        }
        self.durable
    }
}

/// Makes a change. What lies between the old end and a write beyond it becomes `filler`.
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

/// Makes some of the changes, sector by sector.
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

/// A change in pieces that each touch one sector.
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
    fn what_was_synced_survives_and_nothing_else() {
        assert_eq!(survivors(Loss::Unsynced, 0), vec![2; 1024]);
    }

    #[test]
    fn a_torn_write_leaves_whole_sectors_of_the_old_or_the_new() {
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
    fn a_failed_sync_is_not_made_good_by_a_later_one() {
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
    fn reading_beyond_the_end_gives_zeros() {
        let mut buffer = [9; 8];
        assert_eq!(Image::durable(vec![7; 4]).read(2, &mut buffer), 2);
        assert_eq!(buffer, [7, 7, 0, 0, 0, 0, 0, 0]);
        assert_eq!(Image::default().read(100, &mut buffer), 0);
    }
}
