//! The facts about a statement that its encoded result depends on, besides its outcome.

use sqlhttp_core::{Columns, StepInfo};

use crate::endpoint::Endpoint;
use crate::reply_shape::ReplyShape;

/// The facts about a statement, and the shape of the reply that contains the result of the statement.
#[derive(Debug, Clone, Copy)]
pub(super) struct Detail<'s> {
    pub(super) info: StepInfo,
    pub(super) shape: &'s ReplyShape,
}

impl Detail<'_> {
    /// Returns whether the result has the form of a query's result, even if it has no rows.
    pub(super) fn is_query(self) -> bool {
        match self.shape.endpoint {
            Endpoint::Query => true,
            Endpoint::Request => self.info.reads,
            Endpoint::Execute | Endpoint::Load | Endpoint::Queue | Endpoint::Sql => false,
        }
    }

    /// Returns whether the result contains the rows that the statement returned.
    pub(super) fn shows_rows(self, columns: &Columns) -> bool {
        let returns = matches!(self.shape.endpoint, Endpoint::Execute | Endpoint::Load | Endpoint::Request);
        self.is_query() || returns && self.info.returning && !columns.is_empty()
    }
}
