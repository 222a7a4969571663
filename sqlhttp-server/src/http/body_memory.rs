//! The memory of request bodies: how much all of them may take together, and where long ones lie.

use std::io;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use bytes::{Bytes, BytesMut};
use memmap2::MmapMut;

/// Bodies up to this length are not counted, in bytes: the buffers of connections are longer.
const UNCOUNTED_MAX: u64 = 64 << 10;

/// Memory is claimed in steps of this many bytes.
const CLAIM_STEP: u64 = 64 << 10;

/// From this length on, in bytes, a body lies in pages of its own. They go back to the system as soon as it is dropped,
/// which the allocator does not promise.
const PAGES_MIN: usize = 1 << 20;

/// How many bytes the bodies of all requests may take together.
#[derive(Debug)]
pub(crate) struct BodyBudget {
    max: u64,
    claimed: AtomicU64,
}

/// There is not enough left.
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

/// The part of the budget that one request has claimed. Dropping it gives it back.
#[derive(Debug)]
pub(crate) struct MemoryClaim<'a> {
    budget: &'a BodyBudget,
    bytes: AtomicU64,
}

impl<'a> MemoryClaim<'a> {
    /// Nothing yet.
    pub(crate) fn new(budget: &'a BodyBudget) -> Self {
        MemoryClaim { budget, bytes: AtomicU64::new(0) }
    }

    /// Claims the memory of a body of this length. Only the request's own task calls this.
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

/// A body while it arrives.
pub(crate) enum BodyBuffer {
    /// A short one.
    Heap(BytesMut),
    /// A long one: pages, of which the first bytes are filled.
    Pages(MmapMut, usize),
}

impl BodyBuffer {
    /// Room for so many bytes without another allocation.
    pub(crate) fn with_capacity(capacity: usize) -> Self {
        BodyBuffer::Heap(BytesMut::with_capacity(capacity))
    }

    pub(crate) fn len(&self) -> usize {
        match self {
            BodyBuffer::Heap(bytes) => bytes.len(),
            BodyBuffer::Pages(_, len) => *len,
        }
    }

    /// Appends bytes. `expected` is the length that the body will have, if that is known. The error is that the system has
    /// no memory.
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

    /// The whole body.
    pub(crate) fn freeze(self) -> Bytes {
        match self {
            BodyBuffer::Heap(bytes) => bytes.freeze(),
            BodyBuffer::Pages(pages, len) => Bytes::from_owner(MappedBytes(pages, len)),
        }
    }
}

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
    fn bodies_are_what_was_pushed() {
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
    fn a_budget_is_given_back() {
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
