//! An open database, and the files that a start created.

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
    /// The database.
    pub database: Database,
    /// The time of its last backup.
    pub last_backup: LastBackup,
}

/// The database files that this start created, which a failed start removes.
#[derive(Debug, Default)]
pub(super) struct CreatedFiles(pub(super) Vec<PathBuf>);
