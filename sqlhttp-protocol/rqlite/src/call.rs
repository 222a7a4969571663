//! Requests that were understood, on their way to becoming batches.

use std::sync::Arc;

use sqlhttp_core::{Action, Atomicity, Batch, BindRule, Bindings, Expect, OnError, Step};

use crate::endpoint::Endpoint;
use crate::params::Params;
use crate::pragma;
use crate::reply::Refusal;
use crate::reply_shape::ReplyShape;

/// A statement and its values.
#[derive(Debug, Clone, PartialEq)]
pub struct Statement {
    /// The text: one SQL statement or several.
    pub sql: Arc<str>,
    /// The values for its parameters.
    pub bindings: Bindings,
}

impl Statement {
    /// A statement without values.
    pub(crate) fn new(sql: &str) -> Statement {
        let bindings = Bindings { entries: Vec::new(), rule: BindRule::Counted };
        Statement { sql: sql.into(), bindings }
    }
}

/// A request that was understood: its statements, in order.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Call {
    /// The statements, also empty ones.
    pub statements: Vec<Statement>,
}

impl Call {
    /// The batch to run, and what the encoder has to remember. A statement whose text is empty becomes no step and
    /// gets no result.
    ///
    /// # Errors
    /// A top-level error if a statement begins with a PRAGMA that is refused. Nothing must run then.
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

/// What an endpoint wants to be told of a statement.
pub(crate) fn expect(endpoint: Endpoint) -> Expect {
    match endpoint {
        Endpoint::Query => Expect::Rows,
        // Rows of a statement that only reads are not shown, but RETURNING is.
        Endpoint::Execute | Endpoint::Load => Expect::Returning,
        Endpoint::Request => Expect::Either,
        Endpoint::Queue | Endpoint::Sql => Expect::Count,
    }
}

/// A transaction of queries is one view of the data, but a failure among them touches no other.
pub(crate) fn on_error(endpoint: Endpoint, transaction: bool) -> OnError {
    if transaction && endpoint == Endpoint::Query { OnError::Continue } else { OnError::Abort }
}
