//! A database that is open.

use std::path::PathBuf;
use std::sync::Arc;

use sqlhttp_core::Database;

use crate::process::metrics::LastBackup;
use crate::standalone::config::DatabaseConfig;

/// A database that is open.
#[derive(Debug, Clone)]
pub struct OpenDatabase {
    /// What its companion file says.
    pub config: Arc<DatabaseConfig>,
    /// The database.
    pub database: Database,
    /// When it was backed up.
    pub last_backup: LastBackup,
}

/// The database files that this start created.
#[derive(Debug, Default)]
pub(super) struct CreatedFiles(pub(super) Vec<PathBuf>);
