//! Launches one database: prints its settings, opens and initialises it, and checks its rules. Each step prints lines,
//! and the order of the lines is that of ws4sqlite.

use std::fs::{self, OpenOptions};
use std::path::Path;
use std::sync::Arc;

use sqlhttp_core::{Database, JournalMode, Location, Options};

use super::console::Console;
use super::open_database::{CreatedFiles, OpenDatabase};
use super::plan::DatabasePlan;
use crate::api::auth::{AuthConfig, Users};
use crate::api::ws4sqlite::CorsPolicy;
use crate::process::metrics::LastBackup;
use crate::process::scratch;
use crate::standalone::config::error::ConfigError;
use crate::standalone::config::resolve::{self, ResolvedTask};
use crate::standalone::config::{
    BackupConfig, DatabaseConfig, DirectoryBackupConfig, EngineConfig, ExecutionConfig, MacroConfig, TaskConfig,
    database_path,
};
use crate::standalone::{messages, schedule};

/// An open database, and the values that later steps of the start require.
pub(crate) struct LaunchedDatabase {
    pub(crate) opened: OpenDatabase,
    /// For each task, an error in its configuration; `None` if it has none. The start fails with that error when the
    /// task would run.
    pub(crate) deferred_errors: Vec<Option<String>>,
    /// Whether the database did not exist before this start.
    is_new: bool,
}

impl LaunchedDatabase {
    /// Returns whether a macro or backup with this `execution` runs at this start.
    pub(crate) fn is_due(&self, execution: &ExecutionConfig) -> bool {
        is_due(execution, self.is_new)
    }
}

fn is_due(execution: &ExecutionConfig, is_new: bool) -> bool {
    execution.on_startup || (execution.on_create && is_new)
}

/// Prints, opens, initialises and checks a database. `home` is the user's home directory. The file of a new database
/// is added to `created`.
///
/// # Errors
/// The message with which the start fails.
pub(crate) async fn launch(
    plan: DatabasePlan,
    engine: &EngineConfig,
    home: Option<&str>,
    console: &mut Console<'_>,
    created: &mut CreatedFiles,
) -> Result<LaunchedDatabase, String> {
    let journal_mode = resolve::journal_mode(&plan.id, &plan.companion).map_err(|it| plan.explain(it))?;
    let is_new = plan.is_new();
    print_heading(&plan, journal_mode, is_new, console)?;
    let stored = stored_statements(&plan, console)?;
    let macros = resolve::macros(&plan.id, &plan.companion.macros, &stored).map_err(|it| plan.explain(it))?;
    let mut config = config_before_open(&plan, journal_mode, engine);
    config.stored_statements = stored;
    config.macros = macros;
    let database = open(&config, engine, is_new, created, console).await?;
    let mut deferred_errors = Vec::new();
    let checked = check_rules(&plan, &mut config, &mut deferred_errors, home, console);
    if let Err(error) = checked {
        // The caller closes only the databases that this function has returned.
        let _ = database.close().await;
        return Err(plan.explain(error));
    }
    let opened = OpenDatabase { config: Arc::new(config), database, last_backup: LastBackup::default() };
    Ok(LaunchedDatabase { opened, deferred_errors, is_new })
}

fn print_heading(
    plan: &DatabasePlan,
    journal_mode: JournalMode,
    is_new: bool,
    console: &mut Console<'_>,
) -> Result<(), String> {
    let companion = &plan.companion;
    let connection = database_path::connection_string(&plan.path, companion.read_only, journal_mode);
    console.print(&format!("- Serving database '{}' from {connection}", plan.id));
    console.print(&plan.origin_line);
    plan.warnings.iter().for_each(|warning| console.log("WARN", warning));
    if is_new && !plan.in_memory {
        console.print("  + File not present, it will be created");
    }
    if is_new && companion.read_only && !companion.init_statements.is_empty() {
        let message = format!("'{}': a new db cannot be read only and have init statement", plan.id);
        let remedy = "remove the key, or create the database before it is served read-only";
        return Err(plan.explain(ConfigError::new("initStatements", message, remedy)));
    }
    if journal_mode == JournalMode::Wal {
        console.print("  + Using WAL");
    }
    if companion.read_only {
        console.print("  + Read only");
    }
    Ok(())
}

type StoredStatements = std::collections::HashMap<String, Arc<str>>;

fn stored_statements(plan: &DatabasePlan, console: &mut Console<'_>) -> Result<StoredStatements, String> {
    let only = plan.companion.use_only_stored_statements;
    if only {
        console.print("  + Strictly using only stored statements");
    }
    let stored =
        resolve::stored_statements(&plan.id, &plan.companion.stored_statements).map_err(|it| plan.explain(it))?;
    if !stored.is_empty() {
        console.print(&format!("  + With {} stored statements", stored.len()));
    } else if only {
        let message = format!("for db '{}', specified to use only stored statements but no one is provided", plan.id);
        return Err(plan.explain(ConfigError::new("useOnlyStoredStatements", message, "add 'storedStatements'")));
    }
    Ok(stored)
}

/// Returns the settings of a database that can be determined before it is opened. The other settings are empty.
fn config_before_open(plan: &DatabasePlan, journal_mode: JournalMode, engine: &EngineConfig) -> DatabaseConfig {
    let companion = &plan.companion;
    DatabaseConfig {
        id: plan.id.clone(),
        location: plan.location(),
        read_only: companion.read_only,
        journal_mode,
        allow_attach: companion.allow_attach.unwrap_or(engine.allow_attach),
        auth: None,
        cors_origin: companion.cors_origin.clone(),
        stored_statements: StoredStatements::new(),
        only_stored_statements: companion.use_only_stored_statements,
        init_statements: companion.init_statements.clone(),
        tasks: Vec::new(),
        macros: Vec::new(),
        backup: None,
    }
}

/// Opens the database. Then runs the init statements if it is new, and the macros that run at creation or at start.
async fn open(
    config: &DatabaseConfig,
    engine: &EngineConfig,
    is_new: bool,
    created: &mut CreatedFiles,
    console: &mut Console<'_>,
) -> Result<Database, String> {
    create_file(config, is_new, created);
    if let Location::File(path) = &config.location {
        for file in scratch::remove_leftovers(path) {
            console
                .log("WARN", &format!("removed '{}', which an interrupted download or load had left", file.display()));
        }
    }
    let mut options = options(config, engine);
    let macros: Vec<&MacroConfig> = config.macros.iter().filter(|one| is_due(&one.execution, is_new)).collect();
    // Macros may write even if clients may not. Therefore a read-only database with macros is opened for writing
    // first, and then again as read-only. An in-memory database would lose its content, so it is read-only from the
    // beginning.
    let reopen_read_only = config.read_only && !macros.is_empty() && config.location != Location::Memory;
    options.read_only &= !reopen_read_only;
    let mut database = open_with(config, options.clone())?;
    let result = initialise(&database, config, &macros, is_new, console).await;
    if result.is_err() || reopen_read_only {
        let closed = database.close().await;
        result?;
        closed.map_err(|error| messages::database_error(&error))?;
        database = open_with(config, options.read_only(true))?;
    }
    Ok(database)
}

/// Creates an empty database file if the database is new, and adds it to `created`. A start that fails then removes
/// only files that it created itself. Errors are ignored here, because opening the database reports them.
fn create_file(config: &DatabaseConfig, is_new: bool, created: &mut CreatedFiles) {
    let Location::File(path) = &config.location else { return };
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    // These are SQLite's default permissions (SQLITE_DEFAULT_FILE_PERMISSIONS).
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o644);
    if is_new && options.open(path).is_ok() {
        created.0.push(path.clone());
    }
}

fn options(config: &DatabaseConfig, engine: &EngineConfig) -> Options {
    let defaults = Options::default();
    Options::default()
        .read_only(config.read_only)
        .journal_mode(config.journal_mode)
        .allow_attach(config.allow_attach)
        .busy_timeout(engine.busy_timeout)
        .read_threads(engine.read_threads.unwrap_or(defaults.read_threads))
        .rows_max(engine.rows_max)
        .value_bytes_max(engine.value_bytes_max)
        .value_bytes_max_name("-max-value-bytes")
        .memory_bytes_max(engine.memory_bytes_max)
        .memory_bytes_max_name("-max-statement-memory")
}

fn open_with(config: &DatabaseConfig, options: Options) -> Result<Database, String> {
    Database::open(config.location.clone(), options)
        .map_err(|error| format!("accessing the database '{}': {}", config.id, messages::database_error(&error)))
}

async fn initialise(
    database: &Database,
    config: &DatabaseConfig,
    macros: &[&MacroConfig],
    is_new: bool,
    console: &mut Console<'_>,
) -> Result<(), String> {
    if is_new && !config.init_statements.is_empty() {
        let failures = schedule::run_scripts(database, &config.init_statements, false)
            .await
            .map_err(|why| format!("in init statements for database '{}': {why}", config.id))?;
        if let Some((index, why)) = failures.first() {
            return Err(format!("in init statement #{} for database '{}': {why}", index + 1, config.id));
        }
        console.print(&format!("  + {} init statements performed", config.init_statements.len()));
    }
    for one in macros {
        schedule::run_macro_unattended(database, one)
            .await
            .map_err(|why| format!("in macro '{}' for database '{}': {why}", one.id, config.id))?;
        console.print(&format!("  + Macro '{}' performed", one.id));
    }
    Ok(())
}

/// Checks and prints the rules that do not depend on the open database: users, tasks, macros, backups and the CORS
/// origin. Adds them to `config`.
fn check_rules(
    plan: &DatabasePlan,
    config: &mut DatabaseConfig,
    deferred_errors: &mut Vec<Option<String>>,
    home: Option<&str>,
    console: &mut Console<'_>,
) -> Result<(), ConfigError> {
    let companion = &plan.companion;
    if let Some(raw) = &companion.auth {
        let auth = resolve::auth(&plan.id, raw)?;
        print_auth(&auth, raw.error_code.is_some(), console);
        config.auth = Some(auth);
    }
    let (tasks, deprecated) = resolve::raw_tasks(&plan.id, companion)?;
    if deprecated {
        let id = &plan.id;
        let message = format!("in {id}: \"maintenance\" node is deprecated, move it to \"scheduledTasks\"");
        console.print_log("WARN", &message);
    }
    for (index, task) in tasks.iter().enumerate() {
        let key = if deprecated { "maintenance".to_owned() } else { format!("scheduledTasks[{index}]") };
        let task = resolve::task(index, &key, task, home)?;
        prepare_task(&key, &task)?;
        print_task(index, &task, console);
        config.tasks.push(task.config);
        deferred_errors.push(task.deferred_error.map(|error| plan.explain(error)));
    }
    print_macros(&config.macros, console);
    if let Some(raw) = &companion.backup {
        let backup = resolve::directory_backup(&plan.id, raw, home)?;
        check_backup_dir(config, &backup)?;
        console.print(&format!("  + Backup configured into '{}'", backup.dir.display()));
        config.backup = Some(backup);
    }
    if let Some(origin) = &config.cors_origin {
        console.print(&format!("  + CORS Origin set to {origin}"));
        check_cors_origin(origin)?;
    }
    Ok(())
}

fn print_auth(auth: &AuthConfig, custom_code: bool, console: &mut Console<'_>) {
    let how = match &auth.users {
        Users::ByQuery(_) => "query".to_owned(),
        Users::ByCredentials(users) => messages::counted(users.len(), "credential"),
    };
    console.print(&format!("  + Authentication enabled, with {how}"));
    if custom_code {
        console.print(&format!("  + Custom code for Unauthorized: {}", auth.error_code));
    }
}

/// Creates the backup directory of a task with a schedule. If this fails, the start fails, and not only the first run
/// of the task.
fn prepare_task(key: &str, task: &ResolvedTask) -> Result<(), ConfigError> {
    match &task.config {
        TaskConfig { schedule: Some(_), backup: Some(BackupConfig { template, .. }), .. } => {
            create_directory(&format!("{key}.backupTemplate"), &schedule::backup_dir_of(template))
        }
        _ => Ok(()),
    }
}

fn create_directory(key: &str, dir: &Path) -> Result<(), ConfigError> {
    if dir.as_os_str().is_empty() {
        return Ok(());
    }
    fs::create_dir_all(dir).map_err(|error| {
        let dir = dir.display();
        let message = format!("the backup directory must exist, and '{dir}' cannot be created: {error}");
        ConfigError::new(key, message, "write a directory that this process may write to")
    })
}

fn print_task(index: usize, task: &ResolvedTask, console: &mut Console<'_>) {
    if let Some(description) = &task.description {
        console.print(&format!("  + Task {index} scheduled {description}"));
    }
    if task.config.at_startup {
        console.print(&format!("  + Task {index} scheduled at startup"));
    }
}

fn print_macros(macros: &[MacroConfig], console: &mut Console<'_>) {
    if !macros.is_empty() {
        console.print(&format!("  + {} configured", messages::counted(macros.len(), "macro")));
    }
}

fn check_backup_dir(config: &DatabaseConfig, backup: &DirectoryBackupConfig) -> Result<(), ConfigError> {
    create_directory("backup.backupDir", &backup.dir)?;
    let Location::File(path) = &config.location else {
        return Ok(());
    };
    let home = path.canonicalize().ok().and_then(|path| path.parent().map(Path::to_owned));
    if home.is_some() && home == backup.dir.canonicalize().ok() {
        let message = format!("for db '{}', the backup directory must not be that of the database", config.id);
        return Err(ConfigError::new("backup.backupDir", message, "write another directory"));
    }
    Ok(())
}

fn check_cors_origin(origin: &str) -> Result<(), ConfigError> {
    CorsPolicy::parse(origin).map(drop).map_err(|error| {
        ConfigError::new(
            "corsOrigin",
            error.to_string(),
            "write origins with their scheme, as https://example.com, or *",
        )
    })
}
