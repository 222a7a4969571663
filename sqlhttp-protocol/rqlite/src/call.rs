//! Decoded requests, and their conversion to batches.

use std::sync::Arc;

use sqlhttp_core::{Action, Atomicity, Batch, BindRule, Bindings, Expect, OnError, Step};

use crate::endpoint::Endpoint;
use crate::params::Params;
use crate::pragma;
use crate::reply::Refusal;
use crate::reply_shape::ReplyShape;

/// An SQL statement of a request, and the values of its parameters.
#[derive(Debug, Clone, PartialEq)]
pub struct Statement {
    /// The SQL text. It may contain several statements separated by `;`.
    pub sql: Arc<str>,
    /// The values of the statement's parameters.
    pub bindings: Bindings,
}

impl Statement {
    /// Creates a statement without parameter values.
    pub(crate) fn new(sql: &str) -> Statement {
        let bindings = Bindings { entries: Vec::new(), rule: BindRule::Counted };
        Statement { sql: sql.into(), bindings }
    }
}

/// The decoded statements of a request.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Call {
    /// The statements of the request, in order. Statements with an empty SQL text are included.
    pub statements: Vec<Statement>,
}

impl Call {
    /// Converts the call to a batch and the shape of its reply. Statements with an empty SQL text are left out of both.
    ///
    /// # Errors
    /// A top-level error if any statement begins with a refused PRAGMA. In that case, no statement of the request may
    /// run.
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

/// Returns the kind of result that the statements of an endpoint must return.
pub(crate) fn expect(endpoint: Endpoint) -> Expect {
    match endpoint {
        Endpoint::Query => Expect::Rows,
        // The reply contains the rows of a RETURNING clause, but not the rows of a statement that only reads.
        Endpoint::Execute | Endpoint::Load => Expect::Returning,
        Endpoint::Request => Expect::Either,
        Endpoint::Queue | Endpoint::Sql => Expect::Count,
    }
}

/// Returns whether the batch continues or is aborted after a failed statement. It continues only in a transaction of
/// `/db/query`: that transaction only gives the queries a consistent snapshot of the data, so the other queries still
/// run.
pub(crate) fn on_error(endpoint: Endpoint, transaction: bool) -> OnError {
    if transaction && endpoint == Endpoint::Query { OnError::Continue } else { OnError::Abort }
}
