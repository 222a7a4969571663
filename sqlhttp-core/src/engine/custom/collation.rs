//! Collating sequences that a program defines.

use std::cmp::Ordering;
use std::panic::{AssertUnwindSafe, RefUnwindSafe, UnwindSafe, catch_unwind};
use std::sync::Arc;

use rusqlite::Connection;

type Compare = dyn Fn(&str, &str) -> Ordering + Send + Sync;

/// A collating sequence that a program defines: the order of TEXT values
/// (<https://sqlite.org/datatype3.html#collating_sequences>). It is an element of
/// [`Options::collations`](crate::Options::collations), and statements name it: `ORDER BY name COLLATE german`.
///
/// The closure must define a total order that never changes, because indexes are sorted by it. A database whose schema
/// names a collation cannot be used without it. SQLite calls the closure on the thread that runs the statement, also on
/// that of the caller, so it must be quick. It must not use the database. If it panics, the values are compared by
/// their bytes, and the panic is logged.
#[derive(Clone)]
pub struct Collation {
    name: Arc<str>,
    compare: Arc<Compare>,
}

// A panic of the closure is caught before it reaches the caller of a database.
impl UnwindSafe for Collation {}
impl RefUnwindSafe for Collation {}

impl std::fmt::Debug for Collation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Collation").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Collation {
    /// Defines a collating sequence. `compare` receives invalid UTF-8 with U+FFFD instead of the invalid bytes.
    pub fn new(name: &str, compare: impl Fn(&str, &str) -> Ordering + Send + Sync + 'static) -> Collation {
        Collation { name: name.into(), compare: Arc::new(compare) }
    }

    /// The name of the collating sequence.
    pub fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn register(&self, connection: &Connection) -> rusqlite::Result<()> {
        let (name, compare) = (self.name.clone(), self.compare.clone());
        connection.create_collation(&*self.name, move |one, other| {
            catch_unwind(AssertUnwindSafe(|| compare(one, other))).unwrap_or_else(|_| {
                tracing::error!(collation = &*name, "a collation of the program panicked");
                one.cmp(other)
            })
        })
    }
}
