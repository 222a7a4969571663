//! The start of the server, from the command line to open databases. The steps and their output are those of
//! ws4sqlite:
//!
//! 1. prints the banner, and converts the flags, the environment and the `-config` file to settings;
//! 2. `plan`: finds each database and reads its companion file (no database is opened yet);
//! 3. `launch`: for one database after the other, prints its settings, opens and initialises it, and checks its rules;
//! 4. runs the tasks that are configured to run at start, of all databases.
//!
//! If the command line contains `-generate`, the start only prints a man page or a completion script.
//!
//! A start that fails removes the database files that it created (see `CreatedFiles` in `open_database`). All output
//! is written to a [`Console`].

mod console;
mod launch;
mod open_database;
mod plan;

use std::collections::HashMap;
use std::ffi::OsString;
use std::io;

use chrono::Local;
pub use console::Console;
use launch::LaunchedDatabase;
use open_database::CreatedFiles;
pub use open_database::OpenDatabase;
use plan::DatabasePlan;

use super::config::flags::{self, CommandLine, FlagError, PROGRAM, Settings};
use super::config::{EngineConfig, ServerConfig, file, settings};
use super::{messages, schedule};

/// The command-line arguments and the environment variables of a process.
#[derive(Clone, Default)]
pub struct Invocation {
    /// The command-line arguments, without the name of the program.
    pub arguments: Vec<OsString>,
    /// The environment variables by name.
    pub environment: HashMap<String, String>,
}

/// The outcome of starting the server.
#[derive(Debug)]
pub enum StartOutcome {
    /// The start succeeded: the databases are open and can be served.
    Serve(Box<StartedService>),
    /// The process must end with this exit status. The reason has already been printed.
    Exit(u8),
}

/// The open databases and the settings of a server that has been started.
#[derive(Debug)]
pub struct StartedService {
    /// The settings of the process and its listeners.
    pub server: ServerConfig,
    /// The databases, in the order in which they were given.
    pub databases: Vec<OpenDatabase>,
    created: CreatedFiles,
}

/// The reason for which a start ends without a server.
enum StartError {
    /// The start failed with this message, which is logged as `FATAL`. The exit status is 1.
    Fatal(String),
    /// The command line or the environment is invalid. The exit status is 2.
    Usage(FlagError),
    /// The command line requests the usage text. The exit status is 0.
    Help,
    /// The command line contains `-version`, and the banner with the version has been printed. The exit status is 0.
    Done,
}

impl From<String> for StartError {
    fn from(message: String) -> Self {
        StartError::Fatal(message)
    }
}

/// The environment is omitted, because it may contain secrets.
impl std::fmt::Debug for Invocation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Invocation").field("arguments", &self.arguments).finish_non_exhaustive()
    }
}

impl Invocation {
    /// Returns the arguments and the environment of this process. Environment variables that are not UTF-8 are
    /// ignored.
    pub fn of_process() -> Self {
        let utf8 = |(name, value): (OsString, OsString)| Some((name.into_string().ok()?, value.into_string().ok()?));
        Invocation {
            arguments: std::env::args_os().skip(1).collect(),
            environment: std::env::vars_os().filter_map(utf8).collect(),
        }
    }

    fn arguments(&self) -> Result<Vec<String>, StartError> {
        let text = |word: &OsString| {
            word.clone()
                .into_string()
                .map_err(|word| format!("argument is not valid UTF-8: {}", word.to_string_lossy()))
                .map_err(|message| StartError::Usage(FlagError::new("", message)))
        };
        self.arguments.iter().map(text).collect()
    }

    fn home(&self) -> Option<&str> {
        let variable = if cfg!(windows) { "USERPROFILE" } else { "HOME" };
        self.environment.get(variable).map(String::as_str).filter(|home| !home.is_empty())
    }
}

/// Reads the configuration and opens the databases, which is everything before the port is bound. If this fails, the
/// error has been printed when the function returns.
pub async fn start(invocation: &Invocation, console: &mut Console<'_>) -> StartOutcome {
    if let Some(text) = generated(invocation) {
        console.print(&text);
        return StartOutcome::Exit(0);
    }
    console.print(&banner());
    sqlhttp_core::missing_features().iter().for_each(|feature| console.log("WARN", &feature.to_string()));
    let mut created = CreatedFiles::default();
    let mut launched = Vec::new();
    let stop = match start_all(invocation, console, &mut launched, &mut created).await {
        Ok(server) => {
            let databases = launched.into_iter().map(|one| one.opened).collect();
            return StartOutcome::Serve(Box::new(StartedService { server, databases, created }));
        }
        Err(stop) => stop,
    };
    undo(launched.into_iter().map(|one| one.opened), created).await;
    StartOutcome::Exit(match stop {
        StartError::Fatal(message) => {
            console.fatal(&message);
            1
        }
        StartError::Usage(error) => {
            let _ = writeln!(console.err, "{}", flags::explain(&error));
            2
        }
        StartError::Help => {
            let _ = write!(console.err, "{}", flags::usage());
            0
        }
        StartError::Done => 0,
    })
}

impl StartedService {
    /// Closes the databases and removes the files that the start created. Called if the server cannot serve after all,
    /// for example because its port is in use.
    pub async fn abandon(self) {
        undo(self.databases.into_iter(), self.created).await;
    }
}

async fn undo(databases: impl Iterator<Item = OpenDatabase>, created: CreatedFiles) {
    for opened in databases {
        // The start has failed already. An error of the last checkpoint would hide the reason.
        let _ = opened.database.close().await;
    }
    for path in created.0 {
        for suffix in ["", "-wal", "-shm", "-journal"] {
            let mut name = path.clone().into_os_string();
            name.push(suffix);
            let _ = std::fs::remove_file(name);
        }
    }
}

async fn start_all(
    invocation: &Invocation,
    console: &mut Console<'_>,
    launched: &mut Vec<LaunchedDatabase>,
    created: &mut CreatedFiles,
) -> Result<ServerConfig, StartError> {
    let home = invocation.home();
    let mut settings = read_flags(invocation, console)?;
    let mut config_file = read_config_file(&settings, home, console)?;
    settings = settings.or(std::mem::take(&mut config_file.settings));
    let server = settings::server(&settings, home)?;
    let engine = settings::engine(&settings)?;
    let plans = plan::plan_all(&settings, config_file, home)?;
    if plans.is_empty() && server.serve_dir.is_none() {
        return Err(StartError::Fatal("no database and no dir to serve specified".to_owned()));
    }
    check_serve_dir(&server, &settings.text("serve-dir"))?;
    launch_all(plans, &engine, home, console, launched, created).await?;
    if let Some(dir) = &server.serve_dir {
        console.print(&format!("- Serving directory '{}'", dir.display()));
    }
    run_startup_tasks(launched, console).await?;
    Ok(server)
}

/// Returns the text that `-generate` requests. `None` if the command line does not contain this flag, or contains a
/// mistake or `-help`.
fn generated(invocation: &Invocation) -> Option<String> {
    match flags::parse(&invocation.arguments().ok()?).ok()? {
        CommandLine::Run { settings, .. } => flags::generated(&settings),
        CommandLine::Help => None,
    }
}

fn banner() -> String {
    format!("{PROGRAM} v{}, based on sqlite v{}", env!("CARGO_PKG_VERSION"), sqlhttp_core::sqlite_version())
}

fn read_flags(invocation: &Invocation, console: &mut Console<'_>) -> Result<Settings, StartError> {
    let (typed, ignored) = match flags::parse(&invocation.arguments()?).map_err(StartError::Usage)? {
        CommandLine::Help => return Err(StartError::Help),
        CommandLine::Run { settings, ignored } => (settings, ignored),
    };
    if typed.bool("version") {
        return Err(StartError::Done);
    }
    // If no flag precedes the ignored words, there is nothing to serve. The start then fails with an error about that,
    // which is sufficient.
    if !ignored.is_empty() && !typed.is_empty() {
        console
            .log("WARN", &format!("ignored, because flags end at the first word that is none: {}", ignored.join(" ")));
    }
    let environment =
        Settings::from_env(|name| invocation.environment.get(name).cloned()).map_err(StartError::Usage)?;
    Ok(typed.or(environment))
}

fn read_config_file(
    settings: &Settings,
    home: Option<&str>,
    console: &mut Console<'_>,
) -> Result<file::ConfigFile, StartError> {
    let Some(typed) = settings.text_opt("config") else {
        return Ok(file::ConfigFile::default());
    };
    let path = plan::expand(&typed, "config file", home)?;
    if !plan::is_file(&path) {
        return Err(StartError::Fatal(format!("config file does not exist: {typed}")));
    }
    let parsed =
        file::parse(&plan::read(&path)?).map_err(|why| format!("in parsing config file: {why}\n  in {path}"))?;
    for warning in &parsed.warnings {
        console.log("WARN", &format!("in {path}: {warning}"));
    }
    Ok(parsed)
}

fn check_serve_dir(server: &ServerConfig, typed: &str) -> Result<(), StartError> {
    match &server.serve_dir {
        Some(dir) if !dir.is_dir() => Err(StartError::Fatal(format!("directory to serve does not exist: {typed}"))),
        _ => Ok(()),
    }
}

async fn launch_all(
    plans: Vec<DatabasePlan>,
    engine: &EngineConfig,
    home: Option<&str>,
    console: &mut Console<'_>,
    launched: &mut Vec<LaunchedDatabase>,
    created: &mut CreatedFiles,
) -> Result<(), StartError> {
    for (index, plan) in plans.into_iter().enumerate() {
        plan.check(index)?;
        if launched.iter().any(|earlier| earlier.opened.config.id == plan.id) {
            return Err(StartError::Fatal(format!("id '{}' already specified.", plan.id)));
        }
        launched.push(launch::launch(plan, engine, home, console, created).await?);
    }
    Ok(())
}

/// Runs the tasks and backups that must run before the port is opened, in the order of the configuration. Failures are
/// logged. Only an error in the configuration of a task makes the start fail.
async fn run_startup_tasks(launched: &[LaunchedDatabase], console: &mut Console<'_>) -> Result<(), StartError> {
    for one in launched {
        let OpenDatabase { config, database, last_backup } = &one.opened;
        let tasks = config.tasks.iter().zip(&one.deferred_errors).enumerate();
        for (index, (task, deferred_error)) in tasks.filter(|(_, (task, _))| task.at_startup) {
            if let Some(error) = deferred_error {
                return Err(StartError::Fatal(error.clone()));
            }
            for failure in schedule::run_task(database, (&config.id, index), task, last_backup, Local::now()).await {
                console.log("ERR", &failure);
            }
        }
        if let Some(backup) = config.backup.as_ref().filter(|backup| one.is_due(&backup.execution)) {
            let result = schedule::run_directory_backup(database, config, backup, last_backup, Local::now()).await;
            if let Err(error) = result {
                console.log("ERR", &format!("in database '{}', backup: {error}", config.id));
            }
        }
    }
    Ok(())
}

/// Returns the host to bind in a form that can be resolved: without the brackets of an IPv6 address, and `0.0.0.0` for
/// an empty host.
pub fn bind_host(config: &ServerConfig) -> &str {
    let host = config.bind_host.trim();
    let host = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    if host.is_empty() { "0.0.0.0" } else { host }
}

/// Returns the message for a port that cannot be bound, in ws4sqlite's wording.
pub fn listen_failure(host: &str, port: u16, error: &io::Error) -> String {
    let why = match error.kind() {
        io::ErrorKind::AddrInUse => "bind: address already in use".to_owned(),
        io::ErrorKind::AddrNotAvailable => "bind: cannot assign requested address".to_owned(),
        io::ErrorKind::PermissionDenied => "bind: permission denied".to_owned(),
        _ => error.to_string(),
    };
    format!("failed to listen: listen tcp {}: {why}", messages::address(host, port))
}

#[cfg(test)]
mod tests;
