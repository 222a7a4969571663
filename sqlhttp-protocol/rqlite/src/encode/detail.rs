//! What the encoder needs to know about a statement besides its outcome.

use sqlhttp_core::{Columns, StepInfo};

use crate::endpoint::Endpoint;
use crate::reply_shape::ReplyShape;

/// The facts about a step, and the shape of the reply that its result is a part of.
#[derive(Debug, Clone, Copy)]
pub(super) struct Detail<'s> {
    pub(super) info: StepInfo,
    pub(super) shape: &'s ReplyShape,
}

impl Detail<'_> {
    /// Whether the result has the form of a query's, even if it has no rows.
    pub(super) fn is_query(self) -> bool {
        match self.shape.endpoint {
            Endpoint::Query => true,
            Endpoint::Request => self.info.reads,
            Endpoint::Execute | Endpoint::Load | Endpoint::Queue | Endpoint::Sql => false,
        }
    }

    /// Whether the result contains the step's rows.
    pub(super) fn shows_rows(self, columns: &Columns) -> bool {
        let returns = matches!(self.shape.endpoint, Endpoint::Execute | Endpoint::Load | Endpoint::Request);
        self.is_query() || returns && self.info.returning && !columns.is_empty()
    }
}
