//! The state that is kept while a list of statements is decoded.

use std::cell::{Cell, RefCell};

use crate::reply::Refusal;

/// The maximum total number of parameter values in a request; a request with more is refused with status 413. A value
/// takes at least two bytes in the body, but fifty bytes of memory.
pub const VALUES_MAX: usize = 1 << 22;

/// The state that the serde visitors of one request body share.
#[derive(Default)]
pub(super) struct Progress {
    /// The refusal of the request, set by a visitor. It is kept here because an error of serde cannot contain it.
    refusal: RefCell<Option<Refusal>>,
    values: Cell<usize>,
}

impl Progress {
    /// Takes the refusal of the request. `None` if no visitor has refused the request.
    pub(super) fn refusal(&self) -> Option<Refusal> {
        self.refusal.take()
    }

    /// Stores the refusal, and returns a serde error that ends the decoding.
    pub(super) fn refuse<E: serde::de::Error>(&self, refusal: Refusal) -> E {
        self.refusal.replace(Some(refusal));
        E::custom("refused")
    }

    /// Counts a parameter value. Returns a refusal if there are now more than [`VALUES_MAX`].
    pub(super) fn count_value(&self) -> Result<(), Refusal> {
        self.values.set(self.values.get() + 1);
        if self.values.get() > VALUES_MAX {
            return Err(Refusal::text(413, "too many parameters"));
        }
        Ok(())
    }
}
