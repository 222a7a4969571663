//! Decoded requests, and their conversion to batches.

use std::sync::Arc;

use sqlhttp_core::{Action, Atomicity, Batch, BindRule, Bindings, Expect, OnError, Step};

use crate::endpoint::Endpoint;
use crate::params::Params;
use crate::pragma;
use crate::reply::Refusal;
use crate::reply_shape::ReplyShape;

/// A statement and the values of its parameters.
#[derive(Debug, Clone, PartialEq)]
pub struct Statement {
    /// The SQL text, which may contain several statements.
    pub sql: Arc<str>,
    /// The values of the parameters.
    pub bindings: Bindings,
}

impl Statement {
    /// A statement without values.
    pub(crate) fn new(sql: &str) -> Statement {
        let bindings = Bindings { entries: Vec::new(), rule: BindRule::Counted };
        Statement { sql: sql.into(), bindings }
    }
}

/// A decoded request.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Call {
    /// The statements in their order, including empty ones.
    pub statements: Vec<Statement>,
}

impl Call {
    /// Converts the call to a batch and the shape of its reply. Statements with an empty text are left out of both.
    ///
    /// # Errors
    /// A top-level error if a statement begins with a refused PRAGMA. None of the statements may run then.
    pub fn into_batch(self, endpoint: Endpoint, params: &Params) -> Result<(Batch, ReplyShape), Refusal> {
        let mut statements = self.statements;
        statements.retain(|statement| !statement.sql.is_empty());
        if statements.iter().any(|statement| pragma::is_refused(&statement.sql)) {
            return Err(Refusal::TopLevel("disallowed pragma".into()));
        }
        let shape = ReplyShape::new(endpoint, params, statements.len());
        let steps = statements.into_iter().map(|statement| step(statement, &shape)).collect();
        let atomicity = if shape.transaction { Atomicity::All } else { Atomicity::Each };
        let batch = Batch { steps, atomicity, timed: params.timings, ..Batch::default() };
        Ok((batch, shape))
    }
}

fn step(statement: Statement, shape: &ReplyShape) -> Step {
    let Statement { sql, bindings } = statement;
    Step {
        action: Action::Run { sql, bindings },
        expect: expect(shape.endpoint),
        on_error: on_error(shape.endpoint, shape.transaction),
    }
}

/// Returns the kind of result that an endpoint expects of a statement.
pub(crate) fn expect(endpoint: Endpoint) -> Expect {
    match endpoint {
        Endpoint::Query => Expect::Rows,
        // The reply contains rows of RETURNING, but not those of a statement that only reads.
        Endpoint::Execute | Endpoint::Load => Expect::Returning,
        Endpoint::Request => Expect::Either,
        Endpoint::Queue | Endpoint::Sql => Expect::Count,
    }
}

/// Returns what the failure of a statement does to the batch. A transaction of queries only gives them a common view of
/// the data, so the other queries run in spite of a failure.
pub(crate) fn on_error(endpoint: Endpoint, transaction: bool) -> OnError {
    if transaction && endpoint == Endpoint::Query { OnError::Continue } else { OnError::Abort }
}
