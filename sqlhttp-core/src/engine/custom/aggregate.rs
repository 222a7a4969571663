//! Aggregate functions that a program defines.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use rusqlite::functions::Context;
use rusqlite::types::ToSqlOutput;

use super::arguments::{Arguments, FunctionError, failed, result_value};
use super::function::{Body, Registration};
use crate::model::IntoValue;

/// The state of an aggregate function for a group of rows: see [`Function::aggregate`](crate::Function::aggregate).
///
/// ```
/// use sqlhttp_core::{Aggregate, Arguments, Function, FunctionError};
///
/// struct Product(f64);
///
/// impl Aggregate for Product {
///     type Output = f64;
///
///     fn step(&mut self, arguments: &Arguments<'_>) -> Result<(), FunctionError> {
///         self.0 *= arguments.get::<f64>(0)?;
///         Ok(())
///     }
///
///     fn finish(self) -> Result<f64, FunctionError> {
///         Ok(self.0)
///     }
/// }
///
/// let product = Function::aggregate("product", 1, || Product(1.0));
/// ```
pub trait Aggregate: Send + 'static {
    /// The type of the result.
    type Output: IntoValue + 'static;

    /// Adds a row of the group.
    ///
    /// # Errors
    /// The statement fails with the text of the error.
    fn step(&mut self, arguments: &Arguments<'_>) -> Result<(), FunctionError>;

    /// Returns the result of the group, which may be empty. It is not called after a step that has failed.
    ///
    /// # Errors
    /// The statement fails with the text of the error.
    fn finish(self) -> Result<Self::Output, FunctionError>;
}

/// The code of an aggregate function: the closure that creates the state of a group.
pub(super) struct AggregateBody<F>(pub(super) F);

impl<A, F> Body for AggregateBody<F>
where
    A: Aggregate,
    F: Fn() -> A + Send + Sync + 'static,
{
    fn register(self: Arc<Self>, to: &Registration<'_>) -> rusqlite::Result<()> {
        to.connection.create_aggregate_function(to.name, to.arity, to.flags, Shared(self))
    }
}

struct Shared<F>(Arc<AggregateBody<F>>);

/// The state of a group. SQLite finishes a group also after an error.
struct Group<A> {
    state: A,
    /// Whether a step has failed or panicked. The state is not used any more then.
    failed: bool,
}

impl<A, F> rusqlite::functions::Aggregate<AssertUnwindSafe<Group<A>>, ToSqlOutput<'static>> for Shared<F>
where
    A: Aggregate,
    F: Fn() -> A + Send + Sync + 'static,
{
    fn init(&self, _context: &mut Context<'_>) -> rusqlite::Result<AssertUnwindSafe<Group<A>>> {
        Ok(AssertUnwindSafe(Group { state: self.0.0(), failed: false }))
    }

    fn step(&self, context: &mut Context<'_>, group: &mut AssertUnwindSafe<Group<A>>) -> rusqlite::Result<()> {
        group.0.failed = true;
        group.0.state.step(&Arguments::new(context)).map_err(failed)?;
        group.0.failed = false;
        Ok(())
    }

    fn finalize(
        &self,
        _context: &mut Context<'_>,
        group: Option<AssertUnwindSafe<Group<A>>>,
    ) -> rusqlite::Result<ToSqlOutput<'static>> {
        let state = match group {
            // The statement has failed with the error of the step.
            Some(AssertUnwindSafe(Group { failed: true, .. })) => return result_value(None::<i64>),
            Some(AssertUnwindSafe(group)) => group.state,
            None => self.0.0(),
        };
        result_value(state.finish().map_err(failed)?)
    }
}
