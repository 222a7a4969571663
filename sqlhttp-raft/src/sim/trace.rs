//! The trace of a simulation: one line per event.

/// A hash of numbers and texts: FNV-1a.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fingerprint(u64);

impl Default for Fingerprint {
    fn default() -> Self {
        Fingerprint(0xCBF2_9CE4_8422_2325)
    }
}

impl Fingerprint {
    pub(super) fn add(&mut self, numbers: &[u64]) {
        numbers.iter().for_each(|number| self.add_bytes(&number.to_le_bytes()));
    }

    pub(super) fn add_bytes(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01B3);
        }
    }

    pub(super) fn value(self) -> u64 {
        self.0
    }
}

/// The lines of a simulation.
#[derive(Debug, Default)]
pub(super) struct Trace {
    pub(super) lines: Vec<String>,
    fingerprint: Fingerprint,
}

impl Trace {
    /// Adds a line about an event at this time, in milliseconds since the beginning of the simulation.
    pub(super) fn add(&mut self, now: u64, event: &str) {
        let line = format!("{:>3}.{:03} {event}", now / 1000, now % 1000);
        self.fingerprint.add_bytes(line.as_bytes());
        self.lines.push(line);
    }

    /// A hash of all lines.
    pub(super) fn fingerprint(&self) -> u64 {
        self.fingerprint.value()
    }
}
