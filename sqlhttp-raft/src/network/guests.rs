//! The connections of peers that are not known to be members of this node's cluster.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::task::AbortHandle;

/// The connections that have not completed their hello, or whose hello names no common cluster. If there are too many,
/// the oldest one is closed, so that strangers cannot keep a member from connecting.
pub(super) struct Guests {
    connections_max: usize,
    connections: Mutex<Connections>,
}

#[derive(Default)]
struct Connections {
    next: u64,
    tasks: BTreeMap<u64, AbortHandle>,
}

/// A connection counts as a guest until this is dropped.
pub(super) struct GuestPass {
    guests: Arc<Guests>,
    id: u64,
}

impl Guests {
    pub(super) fn new(connections_max: usize) -> Arc<Guests> {
        Arc::new(Guests { connections_max, connections: Mutex::default() })
    }

    fn lock(&self) -> MutexGuard<'_, Connections> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Serves a connection in a task. Closes the oldest guest if there are too many.
    pub(super) fn admit<F>(self: &Arc<Self>, serve: impl FnOnce(GuestPass) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let oldest = {
            // The lock is held until the task is registered. Its pass, which removes it, waits for the lock.
            let mut connections = self.lock();
            let id = connections.next;
            connections.next += 1;
            let task = tokio::spawn(serve(GuestPass { guests: self.clone(), id }));
            connections.tasks.insert(id, task.abort_handle());
            let is_full = connections.tasks.len() > self.connections_max;
            if is_full { connections.tasks.pop_first() } else { None }
        };
        if let Some((_, oldest)) = oldest {
            oldest.abort();
        }
    }
}

impl Drop for GuestPass {
    fn drop(&mut self) {
        self.guests.lock().tasks.remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn the_oldest_guest_makes_room() {
        let guests = Guests::new(2);
        let admit = || {
            let (open, closed) = oneshot::channel::<()>();
            guests.admit(|pass| async move {
                let _held = (pass, open);
                std::future::pending().await
            });
            closed
        };
        let (first, mut second) = (admit(), admit());
        let (sender, member) = oneshot::channel();
        guests.admit(|pass| async move {
            // This peer has become a member.
            drop(pass);
            sender.send(()).unwrap();
        });
        assert!(first.await.is_err(), "the oldest connection is closed");
        member.await.unwrap();
        let _third = admit();
        assert!(second.try_recv().is_err_and(|error| error == oneshot::error::TryRecvError::Empty));
        assert_eq!(guests.lock().tasks.len(), 2);
    }
}
