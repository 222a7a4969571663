//! The memory of request bodies: the budget for all of them together, and the buffer in which a body arrives.

use std::io;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use bytes::{Bytes, BytesMut};
use memmap2::MmapMut;

/// The maximum length of a body that does not count against the budget, in bytes. The buffers of a connection are
/// longer than this.
const UNCOUNTED_MAX: u64 = 64 << 10;

/// The granularity in which memory is claimed, in bytes.
const CLAIM_STEP: u64 = 64 << 10;

/// The minimum length of a body that is stored in an anonymous memory mapping, in bytes. A mapping returns its memory
/// to the system when it is dropped; the allocator may keep it.
const PAGES_MIN: usize = 1 << 20;

/// The memory budget that the bodies of all requests share.
#[derive(Debug)]
pub(crate) struct BodyBudget {
    max: u64,
    claimed: AtomicU64,
}

/// The error that the budget has too few bytes left.
#[derive(Debug)]
pub(crate) struct BudgetExhausted;

impl BodyBudget {
    /// A budget of this many bytes.
    pub(crate) fn new(max: u64) -> Self {
        BodyBudget { max, claimed: AtomicU64::new(0) }
    }

    fn claim(&self, bytes: u64) -> Result<(), BudgetExhausted> {
        let more = |claimed: u64| claimed.checked_add(bytes).filter(|sum| *sum <= self.max);
        self.claimed.fetch_update(Relaxed, Relaxed, more).map(drop).map_err(|_| BudgetExhausted)
    }
}

/// Drop guard: the part of the budget that one request has claimed. Dropping it returns that part to the budget.
#[derive(Debug)]
pub(crate) struct MemoryClaim<'a> {
    budget: &'a BodyBudget,
    bytes: AtomicU64,
}

impl<'a> MemoryClaim<'a> {
    /// A claim of zero bytes.
    pub(crate) fn new(budget: &'a BodyBudget) -> Self {
        MemoryClaim { budget, bytes: AtomicU64::new(0) }
    }

    /// Extends the claim to a body of this length. Only the task of the request calls this, so no two calls are
    /// concurrent.
    pub(crate) fn grow_to(&self, len: u64) -> Result<(), BudgetExhausted> {
        let claimed = self.bytes.load(Relaxed);
        if len <= UNCOUNTED_MAX || len <= claimed {
            return Ok(());
        }
        let wanted = len.next_multiple_of(CLAIM_STEP);
        self.budget.claim(wanted - claimed)?;
        self.bytes.store(wanted, Relaxed);
        Ok(())
    }
}

impl Drop for MemoryClaim<'_> {
    fn drop(&mut self) {
        self.budget.claimed.fetch_sub(self.bytes.load(Relaxed), Relaxed);
    }
}

/// The buffer to which the chunks of a body are appended.
pub(crate) enum BodyBuffer {
    /// A short body, in memory of the allocator.
    Heap(BytesMut),
    /// A long body: an anonymous memory mapping, and the number of bytes that have been written to it.
    Pages(MmapMut, usize),
}

impl BodyBuffer {
    /// An empty buffer that holds `capacity` bytes without another allocation.
    pub(crate) fn with_capacity(capacity: usize) -> Self {
        BodyBuffer::Heap(BytesMut::with_capacity(capacity))
    }

    pub(crate) fn len(&self) -> usize {
        match self {
            BodyBuffer::Heap(bytes) => bytes.len(),
            BodyBuffer::Pages(_, len) => *len,
        }
    }

    /// Appends bytes. `expected` is the final length of the body if it is known, and 0 otherwise. Fails if the system
    /// has no memory for a mapping.
    pub(crate) fn push(&mut self, bytes: &[u8], expected: usize) -> io::Result<()> {
        let len = self.len() + bytes.len();
        match self {
            BodyBuffer::Heap(whole) if len < PAGES_MIN => whole.extend_from_slice(bytes),
            BodyBuffer::Heap(whole) => {
                let mut pages = MmapMut::map_anon(expected.max(2 * len))?;
                pages[..whole.len()].copy_from_slice(whole);
                pages[whole.len()..len].copy_from_slice(bytes);
                *self = BodyBuffer::Pages(pages, len);
            }
            BodyBuffer::Pages(pages, filled) => {
                if len > pages.len() {
                    let mut more = MmapMut::map_anon(2 * len)?;
                    more[..*filled].copy_from_slice(&pages[..*filled]);
                    *pages = more;
                }
                pages[*filled..len].copy_from_slice(bytes);
                *filled = len;
            }
        }
        Ok(())
    }

    /// Converts the buffer to [`Bytes`] without a copy.
    pub(crate) fn freeze(self) -> Bytes {
        match self {
            BodyBuffer::Heap(bytes) => bytes.freeze(),
            BodyBuffer::Pages(pages, len) => Bytes::from_owner(MappedBytes(pages, len)),
        }
    }
}

/// A memory mapping and the number of its bytes that belong to the body.
struct MappedBytes(MmapMut, usize);

impl AsRef<[u8]> for MappedBytes {
    fn as_ref(&self) -> &[u8] {
        &self.0[..self.1]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_consists_of_the_chunks_that_were_pushed() {
        for (expected, pieces) in [(0, 3), (0, 400), (5 << 20, 400), (100, 400)] {
            let mut store = BodyBuffer::with_capacity(10);
            let mut whole = Vec::new();
            for number in 0..pieces {
                let chunk = vec![number as u8; 10_000 + number];
                store.push(&chunk, expected).unwrap();
                whole.extend(chunk);
            }
            assert_eq!(store.len(), whole.len());
            assert!(store.freeze() == whole, "{expected} {pieces}");
        }
    }

    #[test]
    fn dropping_a_claim_returns_it_to_the_budget() {
        let budget = BodyBudget::new(1 << 20);
        let (a, b) = (MemoryClaim::new(&budget), MemoryClaim::new(&budget));
        a.grow_to(UNCOUNTED_MAX).unwrap();
        assert_eq!(budget.claimed.load(Relaxed), 0);
        a.grow_to(600_000).unwrap();
        a.grow_to(700_000).unwrap();
        assert!(b.grow_to(600_000).is_err());
        b.grow_to(200_000).unwrap();
        drop(a);
        b.grow_to(1 << 20).unwrap();
        drop(b);
        assert_eq!(budget.claimed.load(Relaxed), 0);
    }
}
