//! What the encoder has to remember of a call.

/// How a call wants to be answered. Made by [`crate::Call::into_batch`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplyShape {
    /// Rows as arrays rather than objects.
    pub(crate) list: bool,
    /// One for each step.
    pub(crate) items: Vec<ItemShape>,
    /// An item fails for certain and takes the transaction with it, so no result is ever shown.
    pub(crate) fails: bool,
}

/// How an item wants to be answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ItemShape {
    pub(crate) kind: Kind,
    pub(crate) no_fail: bool,
    /// The item's own text begins with BEGIN.
    pub(crate) says_begin: bool,
}

/// Whether an item was given as `query` or as `statement`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Query,
    Statement,
}

impl ReplyShape {
    /// The shape of an item. There is one for each step of the batch, so the stand-in is never seen.
    pub(crate) fn item(&self, index: usize) -> ItemShape {
        let stranger = ItemShape { kind: Kind::Statement, no_fail: false, says_begin: false };
        self.items.get(index).copied().unwrap_or(stranger)
    }
}
