//! The memory of request bodies: the budget that all bodies share, and the buffer in which one body arrives.

use std::io;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use bytes::{Bytes, BytesMut};
use memmap2::MmapMut;

/// The maximum length, in bytes, of a body that is not counted against the memory budget of all bodies. The buffers
/// that each connection has anyway are longer than this.
const UNCOUNTED_MAX: u64 = 64 << 10;

/// The granularity, in bytes, in which requests claim memory from the budget of all bodies.
const CLAIM_STEP: u64 = 64 << 10;

/// The minimum length, in bytes, from which a body is stored in an anonymous memory mapping. A mapping returns its
/// memory to the system when it is dropped, whereas the allocator may keep freed memory.
const PAGES_MIN: usize = 1 << 20;

/// The memory budget that the bodies of all requests share. A body that exceeds it is refused.
#[derive(Debug)]
pub(crate) struct BodyBudget {
    max: u64,
    claimed: AtomicU64,
}

/// The error that the memory budget of all bodies has too few bytes left.
#[derive(Debug)]
pub(crate) struct BudgetExhausted;

impl BodyBudget {
    /// Creates a budget of `max` bytes.
    pub(crate) fn new(max: u64) -> Self {
        BodyBudget { max, claimed: AtomicU64::new(0) }
    }

    fn claim(&self, bytes: u64) -> Result<(), BudgetExhausted> {
        let more = |claimed: u64| claimed.checked_add(bytes).filter(|sum| *sum <= self.max);
        self.claimed.fetch_update(Relaxed, Relaxed, more).map(drop).map_err(|_| BudgetExhausted)
    }
}

/// Drop guard: the part of the memory budget that one request has claimed. Dropping the guard returns that part to the
/// budget.
#[derive(Debug)]
pub(crate) struct MemoryClaim<'a> {
    budget: &'a BodyBudget,
    bytes: AtomicU64,
}

impl<'a> MemoryClaim<'a> {
    /// Creates a claim of zero bytes.
    pub(crate) fn new(budget: &'a BodyBudget) -> Self {
        MemoryClaim { budget, bytes: AtomicU64::new(0) }
    }

    /// Extends the claim so that it covers a body of `len` bytes. Fails if the budget has too few bytes left. Only the
    /// task of the request calls this, so no two calls on one claim are concurrent.
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

/// The buffer to which the chunks of a request body are appended.
pub(crate) enum BodyBuffer {
    /// A short body, in memory from the allocator.
    Heap(BytesMut),
    /// A long body, in an anonymous memory mapping. The number is the count of bytes that have been written to the
    /// mapping.
    Pages(MmapMut, usize),
}

impl BodyBuffer {
    /// Creates an empty buffer that can hold `capacity` bytes without another allocation.
    pub(crate) fn with_capacity(capacity: usize) -> Self {
        BodyBuffer::Heap(BytesMut::with_capacity(capacity))
    }

    pub(crate) fn len(&self) -> usize {
        match self {
            BodyBuffer::Heap(bytes) => bytes.len(),
            BodyBuffer::Pages(_, len) => *len,
        }
    }

    /// Appends bytes to the body. `expected` is the final length of the body if it is known, and 0 otherwise. Fails if
    /// the system cannot provide the memory for a mapping.
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

/// A memory mapping, and the number of its bytes that belong to the body.
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
