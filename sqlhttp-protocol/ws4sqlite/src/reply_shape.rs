//! The facts about a call that its reply depends on, besides the outcome of the batch. An item is a query or statement
//! of the call.

/// The form of the reply that a call asks for. Returned by [`crate::Call::into_batch`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplyShape {
    /// Whether each row is a JSON array rather than an object.
    pub(crate) list: bool,
    /// The forms of the results, one for each step of the batch.
    pub(crate) items: Vec<ItemShape>,
    /// Whether an item is known to fail and to roll the transaction back. If so, the reply contains an error and no
    /// results.
    pub(crate) fails: bool,
}

/// The form of the result of one query or statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ItemShape {
    pub(crate) kind: ItemKind,
    pub(crate) no_fail: bool,
    /// Whether the SQL text, as sent by the client, begins with BEGIN.
    pub(crate) says_begin: bool,
}

/// Whether the client sent the JSON member `query` or `statement`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ItemKind {
    Query,
    Statement,
}

impl ReplyShape {
    /// Returns the form of the result of the step at `index`. Each step of the batch has one, so the default is never
    /// used.
    pub(crate) fn item(&self, index: usize) -> ItemShape {
        let default = ItemShape { kind: ItemKind::Statement, no_fail: false, says_begin: false };
        self.items.get(index).copied().unwrap_or(default)
    }
}
