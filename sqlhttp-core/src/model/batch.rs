//! A request to a database: a [`Batch`] of [`Step`]s.

use std::sync::Arc;

use super::{Changed, Ending, Failure, Outcome, Params, Rows, Stamp, StepInfo, StepOutcome, Value};

/// A list of steps (SQL texts with values) that one caller submits together.
#[derive(Debug, Clone, PartialEq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Batch {
    /// The steps of the batch, run in this order.
    pub steps: Vec<Step>,
    /// The effect of a failing step on the other steps.
    pub atomicity: Atomicity,
    /// The timestamp and the random seed of this batch. If it is `None`, the database chooses one.
    pub stamp: Option<Stamp>,
    /// Whether to measure how long each step runs.
    pub timed: bool,
    /// How the batch treats a `PRAGMA foreign_keys` that cannot take effect.
    #[cfg_attr(feature = "serde", serde(skip))]
    pub settings: Settings,
}

/// How a batch treats a `PRAGMA foreign_keys` that cannot take effect.
///
/// The pragma cannot take effect inside a transaction of several steps, or in a batch that has no other statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Settings {
    /// The batch fails before any of it runs.
    #[default]
    Refuse,
    /// The pragma is ignored, as SQLite ignores it inside a transaction
    /// (<https://sqlite.org/pragma.html#pragma_foreign_keys>).
    Ignore,
}

/// The effect of a failing step on the other steps of its batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Atomicity {
    /// All steps are one transaction. A step that fails with [`OnError::Abort`] rolls back the steps before it, and the
    /// steps after it do not run.
    #[default]
    All,
    /// Each step is a transaction of its own. If the step fails, the other steps are not affected.
    Each,
}

/// The reaction to the failure of one step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum OnError {
    /// End the batch; with [`Atomicity::All`], also roll it back.
    #[default]
    Abort,
    /// Roll back this step only and continue with the next one.
    Continue,
}

/// The kind of result that a step returns. New variants are added after the last one, because the type is serialized
/// (see [`Outcome`](super::Outcome)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Expect {
    /// The rows of the last statement of the step. A statement without result columns yields [`super::Rows`] without
    /// columns.
    #[default]
    Rows,
    /// The number of changed rows. Rows that the statement returns are discarded.
    Count,
    /// The rows if the statement has result columns, otherwise the number of changed rows.
    Either,
    /// The rows if the statement writes and has result columns (a RETURNING clause,
    /// <https://sqlite.org/lang_returning.html>), otherwise the number of changed rows.
    Returning,
    /// As [`Expect::Count`]. The step fails with [`Failure::UnexpectedRows`] unless it changes this number of rows.
    ExactCount(u64),
    /// As [`Expect::Rows`]. The step fails with [`Failure::UnexpectedRows`] unless it returns this number of rows.
    ExactRows(u64),
}

/// One step of a batch: SQL text, run once, or once for each of several sets of values.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Step {
    /// The SQL to run.
    pub action: Action,
    /// The kind of result to return.
    pub expect: Expect,
    /// The effect on the batch if this step fails.
    pub on_error: OnError,
}

/// The SQL that a step runs.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Action {
    /// SQL text with one or several statements, run in order. With [`BindRule::Strict`], the same values are bound to
    /// every statement. With [`BindRule::Counted`], each statement takes its values after those of the statements
    /// before it.
    Run {
        /// The SQL text that the step runs.
        sql: Arc<str>,
        /// The values for the parameters of the SQL text.
        bindings: Bindings,
    },
    /// The same SQL text, run once for each set of values, up to the first failure.
    RunEach {
        /// The SQL text that the step runs.
        sql: Arc<str>,
        /// One set of values for each run of the SQL text. An `Err` stands for a set that could not be decoded; the
        /// step fails with this [`Failure`] when it reaches that run.
        bindings: Vec<Result<Bindings, Failure>>,
    },
    /// A step that fails without running SQL, for example because a query or statement of the request is malformed. The
    /// step fails only after the steps before it have run, because an earlier step may fail first.
    Fail(Failure),
}

/// The values for the parameters of a statement (<https://sqlite.org/lang_expr.html#varparam>).
#[derive(Debug, Clone, PartialEq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Bindings {
    /// The values in the order given by the caller, with the names given by the caller.
    pub entries: Vec<Binding>,
    /// The rule by which values are assigned to parameters.
    pub rule: BindRule,
}

/// A value for a parameter, and the name of the parameter if the value binds by name.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Binding {
    /// The name of the parameter; the prefix `:`, `@` or `$` is optional. `None` binds by position.
    pub name: Option<Box<str>>,
    /// The value to bind.
    pub value: Value,
}

/// The rule by which values are assigned to parameters, and the treatment of a parameter without a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum BindRule {
    /// Every parameter must have a value; surplus values are ignored. A parameter `?` takes the value at its position,
    /// `?NNN` and `$NNN` the value at position `NNN`, and `:name`, `@name` and `$name` the value of that name.
    #[default]
    Strict,
    /// There must be at least as many values as parameters; surplus values are ignored.
    ///
    /// If no value has a name, the values bind in order, regardless of the parameters' names. Otherwise an unnamed
    /// value binds to the parameter with the same position, a named value binds to all parameters of that name, and a
    /// parameter without a value is NULL. If the SQL text has several statements, each takes as many values as it has
    /// parameters, and the next statement takes the values after them.
    Counted,
    /// As [`BindRule::Strict`], but a surplus value fails with [`Failure::SurplusValue`]: one that no statement of the
    /// SQL text has a parameter for.
    Exact,
}

impl Batch {
    /// Creates a batch that runs these steps as one transaction.
    pub fn transaction(steps: Vec<Step>) -> Self {
        Batch { steps, ..Batch::default() }
    }

    /// Creates a batch of one step.
    pub fn one(step: Step) -> Self {
        Batch::transaction(vec![step])
    }

    /// Returns the index and the failure of the first step that is known to fail and to roll the batch back: an
    /// [`Action::Fail`], or an [`Action::RunEach`] with a set of values that could not be decoded. `None` if there is
    /// no such step, or if the steps are not one transaction.
    ///
    /// Such a batch has no effect, so the client of a server need not send it. If it runs, a step before this one may
    /// fail first.
    pub fn known_failure(&self) -> Option<(usize, &Failure)> {
        fn failure(step: &Step) -> Option<&Failure> {
            match &step.action {
                Action::Run { .. } => None,
                Action::RunEach { bindings, .. } => bindings.iter().find_map(|set| set.as_ref().err()),
                Action::Fail(failure) => Some(failure),
            }
        }
        let aborts = |step: &Step| self.atomicity == Atomicity::All && step.on_error == OnError::Abort;
        let mut steps = self.steps.iter().enumerate();
        steps.find_map(|(index, step)| Some((index, failure(step).filter(|_| aborts(step))?)))
    }

    /// Returns the outcome of this batch if it was rolled back because a step has failed. The results of the steps
    /// before it are empty. `step` is the index of the failed step.
    pub fn rolled_back(&self, step: usize, failure: Failure) -> Outcome {
        let empty = |step: &Step| match step.expect {
            _ if matches!(step.action, Action::RunEach { .. }) => StepOutcome::ChangedEach(Vec::new()),
            Expect::Count | Expect::ExactCount(_) => StepOutcome::Changed(Changed::default()),
            Expect::Rows | Expect::Either | Expect::Returning | Expect::ExactRows(_) => {
                let columns = Arc::from([]);
                StepOutcome::Rows(Rows { columns, blocks: Vec::new(), changed: Changed::default() })
            }
        };
        let mut steps: Vec<StepOutcome> = self.steps.iter().take(step).map(empty).collect();
        steps.push(StepOutcome::Failed(failure));
        let info = vec![StepInfo::default(); steps.len()];
        Outcome { steps, info, ending: Ending::Aborted(step), log_index: 0 }
    }
}

impl Step {
    /// Creates a step that returns rows.
    ///
    /// The step fails with [`Failure::BadParameter`] if SQLite has no value for one of the parameters.
    pub fn query(sql: impl Into<Arc<str>>, params: impl Params) -> Self {
        Step::new(sql, params, Expect::Rows)
    }

    /// Creates a step that returns the number of changed rows.
    ///
    /// The step fails with [`Failure::BadParameter`] if SQLite has no value for one of the parameters.
    pub fn execute(sql: impl Into<Arc<str>>, params: impl Params) -> Self {
        Step::new(sql, params, Expect::Count)
    }

    /// Creates a step that runs no SQL and fails with `failure` after the steps before it have run.
    pub fn fail(failure: Failure) -> Self {
        Step { action: Action::Fail(failure), expect: Expect::Count, on_error: OnError::Abort }
    }

    fn new(sql: impl Into<Arc<str>>, params: impl Params, expect: Expect) -> Self {
        let action = match params.into_bindings() {
            Ok(bindings) => Action::Run { sql: sql.into(), bindings },
            Err(failure) => Action::Fail(failure),
        };
        Step { action, expect, on_error: OnError::Abort }
    }

    /// Lets the batch continue if this step fails ([`OnError::Continue`]).
    #[must_use]
    pub fn or_continue(mut self) -> Self {
        self.on_error = OnError::Continue;
        self
    }

    /// Lets the step fail with [`Failure::UnexpectedRows`] unless it changes this number of rows, each time it runs. In
    /// a batch, a condition of an UPDATE so becomes a condition of the whole transaction, also on a cluster.
    ///
    /// ```
    /// use sqlhttp_core::{Database, Error, Executor as _, Step, params};
    ///
    /// async fn transfer(db: &Database, from: i64, to: i64, amount: u32) -> Result<(), Error> {
    ///     let take = "UPDATE accounts SET balance = balance - ?1 WHERE id = ?2 AND balance >= ?1";
    ///     let give = "UPDATE accounts SET balance = balance + ?1 WHERE id = ?2";
    ///     let steps = vec![
    ///         Step::execute(take, params![amount, from]).expect_changed(1),
    ///         Step::execute(give, params![amount, to]).expect_changed(1),
    ///     ];
    ///     db.batch(steps).await.map(drop)
    /// }
    /// ```
    #[must_use]
    pub fn expect_changed(self, rows: u64) -> Self {
        Step { expect: Expect::ExactCount(rows), ..self }
    }

    /// Lets the step fail with [`Failure::UnexpectedRows`] unless it returns this number of rows.
    #[must_use]
    pub fn expect_rows(self, rows: u64) -> Self {
        Step { expect: Expect::ExactRows(rows), ..self }
    }

    /// The SQL text of the step; `None` for [`Action::Fail`].
    pub fn sql(&self) -> Option<&str> {
        match &self.action {
            Action::Run { sql, .. } | Action::RunEach { sql, .. } => Some(sql),
            Action::Fail(_) => None,
        }
    }
}

impl Bindings {
    /// Creates an empty list of values, for SQL text without parameters.
    pub fn none() -> Self {
        Bindings::default()
    }

    /// Creates a list of values that bind by position, with [`BindRule::Strict`].
    pub fn positional<V: Into<Value>>(values: impl IntoIterator<Item = V>) -> Self {
        let entries = values.into_iter().map(|value| Binding { name: None, value: value.into() }).collect();
        Bindings { entries, rule: BindRule::Strict }
    }

    /// Creates a list of values that bind by name, with [`BindRule::Strict`].
    pub fn named<'a, V: Into<Value>>(values: impl IntoIterator<Item = (&'a str, V)>) -> Self {
        let entry = |(name, value): (&str, V)| Binding { name: Some(name.into()), value: value.into() };
        Bindings { entries: values.into_iter().map(entry).collect(), rule: BindRule::Strict }
    }
}

impl From<()> for Bindings {
    fn from((): ()) -> Self {
        Bindings::none()
    }
}

impl<V: Into<Value>, const N: usize> From<[V; N]> for Bindings {
    fn from(values: [V; N]) -> Self {
        Bindings::positional(values)
    }
}

impl<V: Into<Value>, const N: usize> From<[(&str, V); N]> for Bindings {
    fn from(values: [(&str, V); N]) -> Self {
        Bindings::named(values)
    }
}
