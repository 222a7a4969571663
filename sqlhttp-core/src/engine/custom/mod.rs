//! Functions, collations and extensions that a program adds to SQLite. Each connection of the database registers them.

mod aggregate;
mod arguments;
mod collation;
mod extension;
mod function;

pub use aggregate::Aggregate;
pub use arguments::{Arguments, FunctionError};
pub use collation::Collation;
pub use extension::Extension;
pub use function::{Arity, Function};

use rusqlite::Connection;

use super::error::sql_error;
use super::options::Options;
use crate::model::SqlError;

/// Loads the extensions of `options`. Must be called before the engine's own hooks are set, because the code of an
/// extension runs SQL, and may set hooks.
pub(crate) fn load_extensions(connection: &Connection, options: &Options) -> Result<(), SqlError> {
    options.extensions.iter().try_for_each(|extension| extension.load(connection))
}

/// Registers the functions and collations of `options`.
pub(crate) fn register(connection: &Connection, options: &Options) -> Result<(), SqlError> {
    options.functions.iter().try_for_each(|function| function.register(connection)).map_err(sql_error)?;
    options.collations.iter().try_for_each(|collation| collation.register(connection)).map_err(sql_error)
}

/// Loads and registers everything that the program adds to SQLite. This is for connections to copies of the database,
/// whose indexes, generated columns and constraints may use it.
pub(crate) fn register_all(connection: &Connection, options: &Options) -> Result<(), SqlError> {
    load_extensions(connection, options)?;
    register(connection, options)
}

/// Returns whether statements may call code of the program whose run time is unknown. They must not run on their
/// callers' threads then, which may be those of an async runtime: SQLite calls functions also while it prepares a
/// statement, and an extension may contain virtual tables.
pub(crate) fn may_block(options: &Options) -> bool {
    !options.functions.is_empty() || !options.extensions.is_empty()
}
