//! Notices panics of the tasks of simulated nodes. Tokio catches them, so that the rest of the process goes on.

use std::cell::RefCell;
use std::panic::{set_hook, take_hook};
use std::sync::Once;

thread_local! {
    static LAST: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Begins to notice panics on all simulated machines. Other panics are reported as before.
pub(super) fn watch() {
    static WATCHED: Once = Once::new();
    WATCHED.call_once(|| {
        let report = take_hook();
        set_hook(Box::new(move |panic| match super::machine() {
            Some(_) => LAST.set(Some(panic.to_string())),
            None => report(panic),
        }));
    });
}

/// Returns the message of the last panic on a machine of this thread's simulation since the last call.
pub(super) fn take() -> Option<String> {
    LAST.take()
}
