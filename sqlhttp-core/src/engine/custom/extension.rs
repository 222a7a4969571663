//! Loadable extensions.

use std::path::{Path, PathBuf};

use rusqlite::Connection;

use crate::engine::sqlite::extension;
use crate::model::SqlError;

/// A loadable extension of SQLite, a shared library (<https://sqlite.org/loadext.html>). It is an element of
/// [`Options::extensions`](crate::Options::extensions). Each connection of the database loads it when it is opened.
///
/// The code of an extension runs in the process, with all its rights. Statements cannot load extensions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extension {
    path: PathBuf,
    entry_point: Option<String>,
}

impl Extension {
    /// Names the file of an extension. SQLite adds the usual suffix of shared libraries if there is no such file, and
    /// derives the name of the entry point from that of the file.
    pub fn new(path: impl AsRef<Path>) -> Extension {
        Extension { path: path.as_ref().to_owned(), entry_point: None }
    }

    /// Sets the name of the function that initializes the extension.
    #[must_use]
    pub fn entry_point(mut self, name: &str) -> Extension {
        self.entry_point = Some(name.to_owned());
        self
    }

    pub(super) fn load(&self, connection: &Connection) -> Result<(), SqlError> {
        extension::load(connection, &self.path, self.entry_point.as_deref())
    }
}
