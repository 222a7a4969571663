//! SQL functions that a program defines.

use std::ffi::c_int;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::Arc;

use rusqlite::Connection;
use rusqlite::functions::FunctionFlags;

use super::aggregate::{Aggregate, AggregateBody};
use super::arguments::{Arguments, FunctionError, failed, result_value};
use crate::model::IntoValue;

/// The number of arguments of an SQL function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Arity {
    /// This number of arguments.
    Exactly(u8),
    /// Any number of arguments.
    Any,
}

impl From<u8> for Arity {
    fn from(count: u8) -> Arity {
        Arity::Exactly(count)
    }
}

/// An SQL function that a program defines (<https://sqlite.org/appfunc.html>). It is an element of
/// [`Options::functions`](crate::Options::functions). It replaces the built-in function with the same name and number
/// of arguments.
///
/// SQLite calls the function on the thread that runs the statement: a reader thread or the writer thread. A call cannot
/// be interrupted, and on the writer thread all other writes wait for it, so the function should be quick. It must not
/// use the database. A panic is caught, and the statement fails.
///
/// The engine may run a write several times until it is committed (after a conflict with other writes of its group), so
/// a function with an effect outside of the database may be called more often than the statement says. A database with
/// functions runs no statement on the thread of the caller, which makes short reads slower.
///
/// Like most built-in functions, it can be used in views, triggers, DEFAULT clauses and CHECK constraints.
/// [`deterministic`](Function::deterministic) also allows it in indexes and generated columns, and
/// [`direct_only`](Function::direct_only) allows it in statements only. A function that replaces a built-in one, such
/// as `like`, is also used by the engine itself.
///
/// ```
/// use sqlhttp_core::{Database, Error, Executor as _, Function, Options};
///
/// fn slug(title: &str) -> String {
///     title.split_whitespace().map(str::to_lowercase).collect::<Vec<_>>().join("-")
/// }
///
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let slug = Function::scalar("slug", 1, |arguments| Ok(slug(arguments.get(0)?))).deterministic();
/// let db = Database::open_in_memory(Options::new().function(slug))?;
/// assert_eq!(db.query_one::<String>("SELECT slug('Hello  World')", ()).await?, "hello-world");
/// # Ok::<(), Error>(())
/// # }).unwrap();
/// ```
#[derive(Clone)]
pub struct Function {
    name: Arc<str>,
    arity: Arity,
    flags: FunctionFlags,
    body: Arc<dyn Body>,
}

/// A connection with which a function is registered, and the properties of the function there.
pub(super) struct Registration<'a> {
    pub(super) connection: &'a Connection,
    pub(super) name: &'a str,
    /// The number of arguments; -1 for any number.
    pub(super) arity: c_int,
    pub(super) flags: FunctionFlags,
}

/// The code of a function.
pub(super) trait Body: Send + Sync {
    /// Registers the code with a connection.
    fn register(self: Arc<Self>, to: &Registration<'_>) -> rusqlite::Result<()>;
}

// A panic of the closure is caught before it reaches the caller of a database.
impl UnwindSafe for Function {}
impl RefUnwindSafe for Function {}

impl std::fmt::Debug for Function {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Function").field("name", &self.name).field("arity", &self.arity).finish_non_exhaustive()
    }
}

impl Function {
    /// Defines a function that returns a value for each call. [`Arguments::get`] converts the arguments, and
    /// [`IntoValue`] the result.
    pub fn scalar<R, F>(name: &str, arity: impl Into<Arity>, body: F) -> Function
    where
        R: IntoValue + 'static,
        F: Fn(&Arguments<'_>) -> Result<R, FunctionError> + Send + Sync + 'static,
    {
        Function::new(name, arity.into(), Arc::new(ScalarBody(body)))
    }

    /// Defines a function that returns a value for a group of rows. `start` creates the state of a group.
    pub fn aggregate<A, F>(name: &str, arity: impl Into<Arity>, start: F) -> Function
    where
        A: Aggregate,
        F: Fn() -> A + Send + Sync + 'static,
    {
        Function::new(name, arity.into(), Arc::new(AggregateBody(start)))
    }

    fn new(name: &str, arity: Arity, body: Arc<dyn Body>) -> Function {
        // Innocuous functions can be used in schemas that are not trusted, too.
        let flags = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_INNOCUOUS;
        Function { name: name.into(), arity, flags, body }
    }

    /// Declares that the function returns the same result for the same arguments, always and on every machine. SQLite
    /// then calls it less often, and indexes and generated columns may use it
    /// (<https://sqlite.org/deterministic.html>). Such a database cannot be written without the function.
    #[must_use]
    pub fn deterministic(mut self) -> Function {
        self.flags |= FunctionFlags::SQLITE_DETERMINISTIC;
        self
    }

    /// Allows calls in statements only, not in views, triggers or other parts of the schema. This is for functions that
    /// have an effect outside of the database or return secrets: a database file from elsewhere cannot call them
    /// (<https://sqlite.org/c3ref/c_deterministic.html#sqlitedirectonly>).
    #[must_use]
    pub fn direct_only(mut self) -> Function {
        self.flags |= FunctionFlags::SQLITE_DIRECTONLY;
        self.flags -= FunctionFlags::SQLITE_INNOCUOUS;
        self
    }

    /// The name of the function.
    pub fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn register(&self, connection: &Connection) -> rusqlite::Result<()> {
        let arity = match self.arity {
            Arity::Exactly(count) => c_int::from(count),
            Arity::Any => -1,
        };
        self.body.clone().register(&Registration { connection, name: &self.name, arity, flags: self.flags })
    }
}

struct ScalarBody<F>(F);

impl<R, F> Body for ScalarBody<F>
where
    R: IntoValue + 'static,
    F: Fn(&Arguments<'_>) -> Result<R, FunctionError> + Send + Sync + 'static,
{
    fn register(self: Arc<Self>, to: &Registration<'_>) -> rusqlite::Result<()> {
        to.connection.create_scalar_function(to.name, to.arity, to.flags, move |context| {
            result_value((self.0)(&Arguments::new(context)).map_err(failed)?)
        })
    }
}
