//! What is asked of a database.

use std::sync::Arc;

use super::{Failure, Stamp, Value};

/// A list of steps that one caller asks for together.
#[derive(Debug, Clone, PartialEq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Batch {
    /// What to do, in this order.
    pub steps: Vec<Step>,
    /// What a failure does to the other steps.
    pub atomicity: Atomicity,
    /// Time and chance as this batch sees them. The database chooses a stamp for a batch that has none.
    pub stamp: Option<Stamp>,
    /// Tell how long each step ran.
    pub timed: bool,
    /// The effect of a setting that cannot take effect: an error, or none.
    #[cfg_attr(feature = "serde", serde(skip))]
    pub settings: Settings,
}

/// How a batch treats a `PRAGMA foreign_keys` that cannot take effect: one in a transaction of several steps, and one
/// without any other statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Settings {
    /// The batch fails before any of it runs.
    #[default]
    Refuse,
    /// The setting is ignored, as SQLite ignores it inside a transaction
    /// (<https://sqlite.org/pragma.html#pragma_foreign_keys>).
    Ignore,
}

/// What a failing step does to the steps around it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Atomicity {
    /// All steps are one transaction. A step that fails with [`OnError::Abort`] undoes everything before it and
    /// leaves the steps after it undone.
    #[default]
    All,
    /// Each step stands alone: it takes effect or fails without touching the others.
    Each,
}

/// What to do when a step fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum OnError {
    /// Give up the batch (with [`Atomicity::All`]: undo it).
    #[default]
    Abort,
    /// Undo this step alone and go on.
    Continue,
}

/// What the caller wants to be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Expect {
    /// The rows of the (last) statement. One that yields no columns gives rows without columns.
    #[default]
    Rows,
    /// How many rows it changed. Rows it yields are not kept.
    Count,
    /// Rows if the statement yields columns, else the count.
    Either,
    /// Rows if the statement writes and yields columns (RETURNING), else the count.
    Returning,
}

/// One step of a batch: some SQL, run once, or once for each of several sets of values.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Step {
    /// What to run.
    pub action: Action,
    /// What to tell.
    pub expect: Expect,
    /// What its failure means for the batch.
    pub on_error: OnError,
}

/// What a step runs.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Action {
    /// SQL text: one statement or several, run in order, each bound anew with the same values.
    Run {
        /// The text.
        sql: Arc<str>,
        /// The values for its parameters.
        bindings: Bindings,
    },
    /// The same text once for each set of values, ending at the first failure.
    RunEach {
        /// The text.
        sql: Arc<str>,
        /// One set of values for each run. A set that could not be understood is a failure when its turn comes.
        bindings: Vec<Result<Bindings, Failure>>,
    },
    /// A step that is known to fail before SQLite sees it (a malformed item). It fails when its turn comes, so that
    /// earlier steps can fail first.
    Fail(Failure),
}

/// The values for the parameters of a statement.
#[derive(Debug, Clone, PartialEq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Bindings {
    /// The values in the order the caller gave them, with names where he named them.
    pub entries: Vec<Binding>,
    /// How values find their parameters.
    pub rule: BindRule,
}

/// One value, and the name it was given under.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Binding {
    /// The parameter's name; a leading `:`, `@` or `$` is optional. `None` binds by position.
    pub name: Option<Box<str>>,
    /// The value.
    pub value: Value,
}

/// How values find their parameters, and what happens to a parameter without one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum BindRule {
    /// Every parameter must find a value; superfluous values are ignored. `?` and `?NNN` take the value at their
    /// position, and so does `$NNN`; `:name`, `@name` and `$name` take the value of that name.
    #[default]
    Strict,
    /// There must be at least as many values as parameters. If no value is named, they bind in order, whatever the
    /// parameters are called; otherwise an unnamed value binds to the parameter at its place in the list, a named
    /// one to all parameters of its name, and a parameter that finds none is NULL. Of several statements in one text,
    /// each takes the values that the ones before it have left over.
    Counted,
}

impl Batch {
    /// A transaction of these steps.
    pub fn transaction(steps: Vec<Step>) -> Self {
        Batch { steps, ..Batch::default() }
    }

    /// One step.
    pub fn one(step: Step) -> Self {
        Batch::transaction(vec![step])
    }
}

impl Step {
    /// SQL whose rows are wanted.
    pub fn query(sql: impl Into<Arc<str>>, bindings: impl Into<Bindings>) -> Self {
        Step::new(sql, bindings, Expect::Rows)
    }

    /// SQL whose effect is wanted.
    pub fn execute(sql: impl Into<Arc<str>>, bindings: impl Into<Bindings>) -> Self {
        Step::new(sql, bindings, Expect::Count)
    }

    /// A step that fails when its turn comes.
    pub fn fail(failure: Failure) -> Self {
        Step { action: Action::Fail(failure), expect: Expect::Count, on_error: OnError::Abort }
    }

    fn new(sql: impl Into<Arc<str>>, bindings: impl Into<Bindings>, expect: Expect) -> Self {
        let action = Action::Run { sql: sql.into(), bindings: bindings.into() };
        Step { action, expect, on_error: OnError::Abort }
    }

    /// The same step, but the batch goes on when it fails.
    pub fn or_continue(mut self) -> Self {
        self.on_error = OnError::Continue;
        self
    }

    /// The SQL text, if the step runs any.
    pub fn sql(&self) -> Option<&str> {
        match &self.action {
            Action::Run { sql, .. } | Action::RunEach { sql, .. } => Some(sql),
            Action::Fail(_) => None,
        }
    }
}

impl Bindings {
    /// No values.
    pub fn none() -> Self {
        Bindings::default()
    }

    /// Values by position.
    pub fn positional<V: Into<Value>>(values: impl IntoIterator<Item = V>) -> Self {
        let entries = values.into_iter().map(|value| Binding { name: None, value: value.into() }).collect();
        Bindings { entries, rule: BindRule::Strict }
    }

    /// Values by name.
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
