//! Limits of the memory that the requests of other nodes occupy together.

use std::io;
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A number of bytes that requests share. Clones share the bytes. A request takes its bytes before its body is read,
/// and returns them when it has been handled. A request for which too few bytes are left waits, so that its connection
/// is not read meanwhile.
#[derive(Debug, Clone)]
pub(super) struct Budget {
    bytes: u32,
    left: Arc<Semaphore>,
}

/// The bytes that a request has taken from a [`Budget`]. They are returned on drop.
pub(super) type Taken = OwnedSemaphorePermit;

impl Budget {
    /// Creates a budget of this number of bytes.
    pub(super) fn new(bytes: usize) -> Budget {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        Budget { bytes, left: Arc::new(Semaphore::new(bytes as usize)) }
    }

    /// Takes the bytes of a request, and waits until they are left. A request that is longer than the budget takes all
    /// of it: it is read when no other is in flight. Returns no error, because the semaphore is never closed.
    pub(super) async fn take(&self, len: usize) -> io::Result<Taken> {
        let bytes = u32::try_from(len).unwrap_or(u32::MAX).min(self.bytes);
        self.left.clone().acquire_many_owned(bytes).await.map_err(io::Error::other)
    }
}

/// The budgets that all connections for a purpose share. Connections for short messages have none in common: no peer
/// can delay the heartbeats and votes of another one.
#[derive(Debug, Clone)]
pub(super) struct Budgets {
    pub(super) appends: Budget,
    pub(super) forwards: Budget,
    pub(super) snapshots: Budget,
}

impl Budgets {
    /// The bytes of entries that leaders have sent and this node has not written to its Raft log. A leader sends up to
    /// 8 MiB ahead, or one longer entry.
    const APPENDS: usize = 256 << 20;
    /// The bytes of requests that clients have sent to other nodes. The request body of a client has at most 64 MiB by
    /// default.
    const FORWARDS: usize = 256 << 20;
    /// The bytes of chunks of snapshots and uploads.
    const SNAPSHOTS: usize = 64 << 20;
}

impl Default for Budgets {
    fn default() -> Budgets {
        let (appends, forwards) = (Budget::new(Budgets::APPENDS), Budget::new(Budgets::FORWARDS));
        Budgets { appends, forwards, snapshots: Budget::new(Budgets::SNAPSHOTS) }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use futures_util::FutureExt as _;

    use super::*;

    #[test]
    fn requests_wait_until_bytes_are_left() {
        let budget = Budget::new(10);
        let taken = |len| budget.take(len).now_or_never().map(Result::unwrap);
        let (first, second) = (taken(6).unwrap(), taken(4).unwrap());
        assert!(taken(1).is_none());
        drop(second);
        let rest = taken(4).unwrap();
        // A request that is longer than the budget waits for all of it.
        assert!(taken(100).is_none());
        drop((first, rest));
        let all = taken(100).unwrap();
        assert!(taken(1).is_none());
        drop(all);
        assert!(taken(10).is_some());
    }
}
