//! The receivers of committed changes.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use super::Change;
use super::stream::{Changes, Waiting};

type Hook = Arc<dyn Fn(&[Change]) + Send + Sync>;

/// The receivers of the committed changes of a database.
#[derive(Default)]
pub(crate) struct Listeners {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    hooks: Vec<(u64, Hook)>,
    streams: Vec<Weak<Waiting>>,
    next_id: u64,
    /// Whether the writer's connection has to collect changes.
    collects: bool,
    closed: bool,
}

impl std::fmt::Debug for Listeners {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Listeners").finish_non_exhaustive()
    }
}

/// A hook that is called after each commit: see [`Database::on_commit`](crate::Database::on_commit). The hook is
/// removed when this value is dropped.
#[must_use = "the hook is removed when this value is dropped"]
#[derive(Debug)]
pub struct CommitHook {
    listeners: Arc<Listeners>,
    id: u64,
}

impl Drop for CommitHook {
    fn drop(&mut self) {
        let removed = self.listeners.with(|state| {
            let index = state.hooks.iter().position(|(id, _)| *id == self.id)?;
            Some(state.hooks.swap_remove(index))
        });
        // Not under the lock: the closure may own the last handle of the database, or another hook.
        drop(removed);
    }
}

impl Listeners {
    fn with<T>(&self, f: impl FnOnce(&mut State) -> T) -> T {
        f(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Returns whether the writer's connection has to collect changes.
    pub(crate) fn are_collecting(&self) -> bool {
        self.with(|state| state.collects)
    }

    /// Adds a hook. Calls `retire_writer` if the writer needs another connection, which collects changes.
    pub(crate) fn add_hook(self: &Arc<Self>, hook: Hook, retire_writer: impl FnOnce()) -> CommitHook {
        let id = self.with(|state| {
            state.next_id += 1;
            state.hooks.push((state.next_id, hook));
            state.begin_collecting(retire_writer);
            state.next_id
        });
        CommitHook { listeners: self.clone(), id }
    }

    /// Adds a stream. Calls `retire_writer` if the writer needs another connection, which collects changes.
    pub(crate) fn add_stream(&self, retire_writer: impl FnOnce()) -> Changes {
        let waiting = Arc::<Waiting>::default();
        self.with(|state| {
            state.forget_dropped_streams();
            state.streams.push(Arc::downgrade(&waiting));
            if state.closed {
                waiting.close();
            }
            state.begin_collecting(retire_writer);
        });
        Changes::new(waiting)
    }

    /// Passes the changes of a transaction to all receivers. Returns whether there are any; if not, the writer's next
    /// connection does not collect changes.
    pub(crate) fn publish(&self, changes: &[Change]) -> bool {
        let (hooks, streams) = self.with(|state| {
            state.forget_dropped_streams();
            state.collects &= !state.hooks.is_empty() || !state.streams.is_empty();
            (state.hooks.clone(), state.streams.clone())
        });
        for (_, hook) in &hooks {
            // The transaction is committed, whatever the hook does.
            if catch_unwind(AssertUnwindSafe(|| hook(changes))).is_err() {
                tracing::error!("a commit hook of the program panicked");
            }
        }
        streams.iter().filter_map(Weak::upgrade).for_each(|stream| stream.push(changes));
        !hooks.is_empty() || !streams.is_empty()
    }

    /// Removes all hooks, and ends all streams.
    pub(crate) fn close(&self) {
        let (hooks, streams) = self.with(|state| {
            state.closed = true;
            (std::mem::take(&mut state.hooks), std::mem::take(&mut state.streams))
        });
        // Not under the lock, as in `CommitHook::drop`.
        drop(hooks);
        streams.iter().filter_map(Weak::upgrade).for_each(|stream| stream.close());
    }
}

impl State {
    /// Under the lock, so that no other listener returns before the connection is retired.
    fn begin_collecting(&mut self, retire_writer: impl FnOnce()) {
        if !std::mem::replace(&mut self.collects, true) {
            retire_writer();
        }
    }

    fn forget_dropped_streams(&mut self) {
        self.streams.retain(|stream| stream.strong_count() > 0);
    }
}
