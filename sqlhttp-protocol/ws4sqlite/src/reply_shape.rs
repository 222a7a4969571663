//! The facts about a call that the encoder needs.

/// The form of the reply that a call asks for. [`crate::Call::into_batch`] returns it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplyShape {
    /// Whether rows are arrays rather than objects.
    pub(crate) list: bool,
    /// The shapes of the items, one for each step.
    pub(crate) items: Vec<ItemShape>,
    /// Whether an item is known to fail and to roll the transaction back, so that the reply contains no results.
    pub(crate) fails: bool,
}

/// The form of the result that an item asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ItemShape {
    pub(crate) kind: Kind,
    pub(crate) no_fail: bool,
    /// Whether the item's own text begins with BEGIN.
    pub(crate) says_begin: bool,
}

/// Whether an item was given as `query` or as `statement`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Query,
    Statement,
}

impl ReplyShape {
    /// Returns the shape of an item. Each step of the batch has one, so the default is never used.
    pub(crate) fn item(&self, index: usize) -> ItemShape {
        let default = ItemShape { kind: Kind::Statement, no_fail: false, says_begin: false };
        self.items.get(index).copied().unwrap_or(default)
    }
}
