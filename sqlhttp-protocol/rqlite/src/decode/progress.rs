//! The state of decoding a list of statements.

use std::cell::{Cell, RefCell};

use crate::reply::Refusal;

/// The maximum number of values that the statements of a request may have together. A value takes at least two bytes in
/// the body, and fifty bytes of memory.
pub const VALUES_MAX: usize = 1 << 22;

/// The state that the visitors of one document share.
#[derive(Default)]
pub(super) struct Progress {
    /// The reason why the document is refused. The errors of serde cannot carry it.
    refusal: RefCell<Option<Refusal>>,
    values: Cell<usize>,
}

impl Progress {
    /// Takes the reason why the document is refused. `None` if a visitor has not refused it.
    pub(super) fn refusal(&self) -> Option<Refusal> {
        self.refusal.take()
    }

    /// Keeps the reason, and returns an error that ends the decoding.
    pub(super) fn refuse<E: serde::de::Error>(&self, refusal: Refusal) -> E {
        self.refusal.replace(Some(refusal));
        E::custom("refused")
    }

    /// Counts a value. Fails if there are more than [`VALUES_MAX`].
    pub(super) fn count_value(&self) -> Result<(), Refusal> {
        self.values.set(self.values.get() + 1);
        if self.values.get() > VALUES_MAX {
            return Err(Refusal::text(413, "too many parameters"));
        }
        Ok(())
    }
}
