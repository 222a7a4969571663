//! An open database, and the list of the files that a start created.

use std::path::PathBuf;
use std::sync::Arc;

use sqlhttp_core::Database;

use crate::process::metrics::LastBackup;
use crate::standalone::config::DatabaseConfig;

/// An open database with its settings.
#[derive(Debug, Clone)]
pub struct OpenDatabase {
    /// The settings of the database.
    pub config: Arc<DatabaseConfig>,
    /// The open database.
    pub database: Database,
    /// The time of the last backup of the database.
    pub last_backup: LastBackup,
}

/// The paths of the database files that this start created. If the start fails, it removes them.
#[derive(Debug, Default)]
pub(super) struct CreatedFiles(pub(super) Vec<PathBuf>);
