//! Plans a start: determines for each database its id, its path, and the content of its companion file. Configuration
//! files are read; no database is opened or created.

use std::io::Read;
use std::path::{Path, PathBuf};

use sqlhttp_core::Location;

use crate::standalone::config::companion::{self, Companion};
use crate::standalone::config::database_path;
use crate::standalone::config::error::{ConfigError, ConfigOrigin};
use crate::standalone::config::file::{ConfigFile, DatabaseEntry};
use crate::standalone::config::flags::Settings;
use crate::standalone::config::resolve::expand_home;

/// The maximum size of a configuration file, in bytes.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// A database that is to be opened, with its configuration.
#[derive(Debug)]
pub(crate) struct DatabasePlan {
    pub(crate) id: String,
    /// The path of the database file as given by the user, with `~` expanded; `:memory:` for an in-memory database.
    pub(crate) path: String,
    pub(crate) in_memory: bool,
    pub(crate) companion: Companion,
    /// The line of the output at start that names the source of the database's configuration.
    pub(crate) origin_line: String,
    /// The file that contains the configuration of the database, for error messages.
    pub(crate) origin: ConfigOrigin,
    /// Warnings about unknown keys, each with the name of the file.
    pub(crate) warnings: Vec<String>,
}

/// Plans all databases: those of `-db`, then those of `-mem-db`, then those of the `-config` file. `home` is the
/// user's home directory.
pub(crate) fn plan_all(settings: &Settings, file: ConfigFile, home: Option<&str>) -> Result<Vec<DatabasePlan>, String> {
    let mut plans = Vec::new();
    for typed in settings.list("db") {
        plans.push(plan_file(&typed, home)?);
    }
    for typed in settings.list("mem-db") {
        plans.push(plan_memory(&typed, home)?);
    }
    for (index, entry) in file.databases.into_iter().enumerate() {
        let origin = ConfigOrigin {
            file: Some(settings.text("config")),
            prefix: format!("databases[{index}]"),
            lines: file.lines.clone(),
        };
        plans.push(plan_entry(entry, origin, home)?);
    }
    Ok(plans)
}

impl DatabasePlan {
    /// Checks that the database has an id and a path. `index` is the number of the database among all databases,
    /// counted from 0.
    pub(crate) fn check(&self, index: usize) -> Result<(), String> {
        if self.id.is_empty() {
            return Err(format!("no id specified for db #{index}."));
        }
        if self.path.is_empty() {
            return Err(format!("no path specified for db '{}'.", self.id));
        }
        Ok(())
    }

    /// Formats an error in the configuration of the database, with its position in the file.
    pub(crate) fn explain(&self, error: ConfigError) -> String {
        self.origin.explain(&error)
    }

    /// Returns the location of the database for the engine.
    pub(crate) fn location(&self) -> Location {
        if self.in_memory { Location::Memory } else { Location::File(PathBuf::from(&self.path)) }
    }

    /// Returns whether the database does not exist yet.
    pub(crate) fn is_new(&self) -> bool {
        self.in_memory || !Path::new(&self.path).is_file()
    }
}

fn plan_file(typed: &str, home: Option<&str>) -> Result<DatabasePlan, String> {
    let (path, explicit) = database_path::split(typed, cfg!(windows));
    let path = expand(path, "database file", home)?;
    let id = database_path::id_of(&path)?;
    // `:memory:` has an empty path, which `check` refuses. The text after the colon is then not the path of a
    // companion file.
    let companion = match explicit.filter(|explicit| !explicit.is_empty() && !path.is_empty()) {
        Some(explicit) => {
            let file = expand(explicit, "companion file", home)?;
            if !is_file(&file) {
                return Err(format!("companion file does not exist: {explicit}"));
            }
            Some(file)
        }
        None => Some(database_path::companion_beside(&path, &id)).filter(|file| !path.is_empty() && is_file(file)),
    };
    with_companion(DatabasePlan::new(id, path, false), companion)
}

fn plan_memory(typed: &str, home: Option<&str>) -> Result<DatabasePlan, String> {
    let (id, explicit) = database_path::split(typed, false);
    let companion = match explicit.filter(|explicit| !explicit.is_empty()) {
        Some(explicit) => {
            let file = expand(explicit, "mem-db yaml file", home)?;
            if !is_file(&file) {
                return Err(format!("mem-db yaml file does not exist\n  {file}, which -mem-db {typed} names"));
            }
            Some(file)
        }
        None => None,
    };
    with_companion(DatabasePlan::new(id.to_owned(), ":memory:".to_owned(), true), companion)
}

fn plan_entry(entry: DatabaseEntry, origin: ConfigOrigin, home: Option<&str>) -> Result<DatabasePlan, String> {
    let path = if entry.in_memory { ":memory:".to_owned() } else { expand(&entry.path, "database file", home)? };
    let id = if entry.id.is_empty() { database_path::id_of(&path)? } else { entry.id };
    let plan = DatabasePlan::new(id, path, entry.in_memory);
    let origin_line = format!("  + Configured in config file: {}", origin.file.as_deref().unwrap_or_default());
    Ok(DatabasePlan { companion: entry.companion, origin_line, origin, ..plan })
}

impl DatabasePlan {
    fn new(id: String, path: String, in_memory: bool) -> Self {
        let origin_line = "  + No valid config file specified, using defaults".to_owned();
        let (companion, origin, warnings) = Default::default();
        DatabasePlan { id, path, in_memory, companion, origin_line, origin, warnings }
    }
}

fn with_companion(plan: DatabasePlan, file: Option<String>) -> Result<DatabasePlan, String> {
    let Some(file) = file else { return Ok(plan) };
    let parsed = companion::parse(&read(&file)?);
    let (companion, lines, warnings) = parsed
        .map_err(|why| format!("in parsing config file: {why}\n  in {file}, the configuration of '{}'", plan.id))?;
    let warnings = warnings.into_iter().map(|warning| format!("in {file}: {warning}")).collect();
    let origin_line = format!("  + Parsed companion config file: {file}");
    let origin = ConfigOrigin { file: Some(file), lines, ..ConfigOrigin::default() };
    Ok(DatabasePlan { companion, warnings, origin_line, origin, ..plan })
}

/// Replaces a leading `~` in a path with the home directory. `label` names the path in the error message.
pub(crate) fn expand(path: &str, label: &str, home: Option<&str>) -> Result<String, String> {
    expand_home(path, home).map_err(|why| format!("in expanding {label} path: {why}"))
}

/// Returns whether the path exists and is not a directory.
pub(crate) fn is_file(path: &str) -> bool {
    std::fs::metadata(path).is_ok_and(|metadata| !metadata.is_dir())
}

/// Reads a configuration file. Returns an error if it cannot be read, is not UTF-8, or is larger than 16 MiB.
pub(crate) fn read(path: &str) -> Result<String, String> {
    let failed = |why: &dyn std::fmt::Display| format!("in reading config file: {path}: {why}");
    let file = std::fs::File::open(path).map_err(|error| failed(&error))?;
    let mut text = String::new();
    file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text).map_err(|error| failed(&error))?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(failed(&"the file is too large"));
    }
    Ok(text)
}
