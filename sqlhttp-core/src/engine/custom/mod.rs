//! What a program adds to SQLite: functions, collations and extensions. Each connection of the database registers them.

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

/// Loads the extensions of `options`, and registers its functions and collations. Every connection to the database
/// needs them, including connections to copies of it: indexes, generated columns and constraints may use them.
pub(crate) fn register(connection: &Connection, options: &Options) -> Result<(), SqlError> {
    options.extensions.iter().try_for_each(|extension| extension.load(connection))?;
    options.functions.iter().try_for_each(|function| function.register(connection)).map_err(sql_error)?;
    options.collations.iter().try_for_each(|collation| collation.register(connection)).map_err(sql_error)
}

/// The functions whose run time the engine does not know. A statement that calls one does not run on its caller's
/// thread, which may be that of an async runtime.
#[derive(Debug, Clone, Default)]
pub(crate) struct UnknownFunctions {
    names: Vec<String>,
    /// Whether any function may be one of them: those of extensions have unknown names.
    all: bool,
}

impl UnknownFunctions {
    pub(crate) fn new(options: &Options) -> UnknownFunctions {
        let names = options.functions.iter().map(|function| function.name().to_owned()).collect();
        UnknownFunctions { names, all: !options.extensions.is_empty() }
    }

    pub(crate) fn contains(&self, name: &str) -> bool {
        self.all || self.names.iter().any(|known| known.eq_ignore_ascii_case(name))
    }
}
