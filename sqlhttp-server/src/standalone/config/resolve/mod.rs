//! Checks the content of a companion file and converts it to the settings of a database. The functions do not access
//! the file system. If one of them returns an error, the start fails. The error has ws4sqlite's message if ws4sqlite
//! reports the same error.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest, Sha256};
use sqlhttp_core::JournalMode;

use super::companion::{
    Companion, RawAuth, RawBackup, RawCredential, RawExecution, RawMacro, RawStoredStatement, RawTask, RawWebService,
};
use super::error::ConfigError;
use super::{BackupConfig, DirectoryBackupConfig, ExecutionConfig, MacroConfig, TaskConfig};
use crate::api::auth::{AuthConfig, AuthMode, TokenConfig, Users};
use crate::standalone::schedule::Schedule;

const UNAUTHORIZED: u16 = 401;

/// The settings of a task, which may have an error that is reported only when the task runs.
#[derive(Debug, Clone)]
pub(crate) struct ResolvedTask {
    pub(crate) config: TaskConfig,
    /// A description of the schedule in English; `None` if the task has no schedule.
    pub(crate) description: Option<String>,
    /// An error in the backup of a task that runs only at start. The start fails with this error when the task would
    /// run.
    pub(crate) deferred_error: Option<ConfigError>,
}

/// Returns the journal mode that the keys `journalMode` and `disableWALMode` select. `id` is the id of the database.
pub(crate) fn journal_mode(id: &str, companion: &Companion) -> Result<JournalMode, ConfigError> {
    let Some(name) = &companion.journal_mode else {
        return Ok(if companion.disable_wal_mode { JournalMode::Keep } else { JournalMode::Wal });
    };
    let mode = match name.to_ascii_uppercase().as_str() {
        "WAL" => JournalMode::Wal,
        "DELETE" => JournalMode::Delete,
        "TRUNCATE" => JournalMode::Truncate,
        "PERSIST" => JournalMode::Persist,
        _ => {
            let message = format!("for db '{id}', journalMode must be WAL, DELETE, TRUNCATE or PERSIST, not '{name}'");
            let remedy = "write WAL, or leave the key out; without a journal on disk a crash damages the database";
            return Err(ConfigError::new("journalMode", message, remedy));
        }
    };
    if companion.disable_wal_mode && mode == JournalMode::Wal {
        let message = format!("for db '{id}', 'disableWALMode' and 'journalMode: WAL' contradict each other");
        return Err(ConfigError::new("journalMode", message, "remove one of the two keys"));
    }
    Ok(mode)
}

/// Returns the stored statements by id. If several have the same id, the last one is used.
pub(crate) fn stored_statements(
    id: &str,
    statements: &[RawStoredStatement],
) -> Result<HashMap<String, Arc<str>>, ConfigError> {
    let mut stored = HashMap::new();
    for (index, statement) in statements.iter().enumerate() {
        if statement.id.is_empty() || statement.sql.is_empty() {
            let message = format!("no ID or SQL specified for stored statement #{index} in database '{id}'");
            return Err(ConfigError::new(format!("storedStatements[{index}]"), message, "give it an 'id' and a 'sql'"));
        }
        stored.insert(statement.id.clone(), Arc::from(statement.sql.as_str()));
    }
    Ok(stored)
}

/// Returns the users of the database and how they authenticate.
pub(crate) fn auth(id: &str, auth: &RawAuth) -> Result<AuthConfig, ConfigError> {
    let mode = match auth.mode.to_ascii_uppercase().as_str() {
        "HTTP" | "HTTP_BASIC" => AuthMode::Http,
        "INLINE" => AuthMode::Inline,
        _ => {
            let remedy = format!(
                "write HTTP (Basic authentication) or INLINE (in the request's 'credentials'), not '{}'",
                auth.mode
            );
            return Err(ConfigError::new("auth.mode", "Auth Mode must be INLINE or HTTP", remedy));
        }
    };
    let users = match (&auth.by_query, &auth.by_credentials) {
        (Some(sql), None) => by_query(sql)?,
        (None, Some(credentials)) => by_credentials(id, credentials)?,
        (both, _) => {
            let message = "one and only one of 'byQuery' and 'byCredentials' must be specified";
            let remedy = if both.is_some() { "remove one of the two" } else { "add one of the two" };
            return Err(ConfigError::new("auth", message, remedy));
        }
    };
    let error_code = error_code(id, "auth.customErrorCode", auth.error_code)?;
    Ok(AuthConfig { mode, users, error_code })
}

fn by_query(sql: &str) -> Result<Users, ConfigError> {
    if sql.contains(":user") && sql.contains(":password") {
        return Ok(Users::ByQuery(sql.into()));
    }
    let message = "byQuery: sql must include :user and :password named parameters";
    Err(ConfigError::new("auth.byQuery", message, "select a row for the :user with the :password"))
}

fn by_credentials(id: &str, credentials: &[RawCredential]) -> Result<Users, ConfigError> {
    let mut users = HashMap::new();
    for (index, credential) in credentials.iter().enumerate() {
        let key = format!("auth.byCredentials[{index}]");
        if credential.user.is_empty() {
            return Err(ConfigError::new(key, "no user for credential", "give it a 'user'"));
        }
        let hash = match (credential.password.as_str(), credential.hashed_password.as_str()) {
            (password, "") if !password.is_empty() => Sha256::digest(password).into(),
            ("", hashed) if !hashed.is_empty() => sha256_from_hex(hashed).ok_or_else(|| {
                let message = format!("for db '{id}', hashedPassword doesn't seem to be SHA256/hex.");
                ConfigError::new(format!("{key}.hashedPassword"), message, HASH_REMEDY)
            })?,
            _ => {
                let message = "one and only one of 'password' and 'hashedPassword' must be specified";
                let remedy = format!("user '{}' needs one of the two", credential.user);
                return Err(ConfigError::new(key, message, remedy));
            }
        };
        users.insert(credential.user.clone(), hash);
    }
    Ok(Users::ByCredentials(users))
}

/// The remedy for a password hash or token hash that is not written as the hexadecimal digits of a SHA-256.
const HASH_REMEDY: &str =
    "write the 64 hexadecimal digits of the SHA-256, as `printf %s PASSWORD | sha256sum` prints them";

fn sha256_from_hex(text: &str) -> Option<[u8; 32]> {
    let mut hash = [0; 32];
    if text.len() != 2 * hash.len() || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    for (byte, index) in hash.iter_mut().zip((0..).step_by(2)) {
        *byte = u8::from_str_radix(&text[index..index + 2], 16).ok()?;
    }
    Some(hash)
}

fn error_code(id: &str, key: &str, code: Option<i64>) -> Result<u16, ConfigError> {
    let Some(code) = code else { return Ok(UNAUTHORIZED) };
    let status = u16::try_from(code).ok().filter(|code| (400..=599).contains(code));
    status.ok_or_else(|| {
        let message = format!("for db '{id}', the error code for Unauthorized must be between 400 and 599, not {code}");
        ConfigError::new(key, message, "write the status of an HTTP error, or leave the key out for 401")
    })
}

/// Returns the tasks of `scheduledTasks` and `false`. If the file has the deprecated key `maintenance` instead,
/// returns its task and `true`.
pub(crate) fn raw_tasks<'c>(id: &str, companion: &'c Companion) -> Result<(&'c [RawTask], bool), ConfigError> {
    match (&companion.maintenance, &companion.scheduled_tasks) {
        (Some(_), Some(_)) => {
            let message = format!(
                "in {id}: it's not possible to use both old maintenance and new scheduledTasks together. Move the \
                 maintenance task in the latter."
            );
            Err(ConfigError::new("maintenance", message, "make it an entry of 'scheduledTasks'"))
        }
        (Some(task), None) => Ok((std::slice::from_ref(task), true)),
        (None, tasks) => Ok((tasks.as_deref().unwrap_or_default(), false)),
    }
}

/// Returns the settings of one task. `index` is the number of the task, `key` its key in the file, and `home` the
/// user's home directory.
pub(crate) fn task(index: usize, key: &str, task: &RawTask, home: Option<&str>) -> Result<ResolvedTask, ConfigError> {
    if task.schedule.is_none() && !task.at_startup {
        let message = format!("error: task {index} must be scheduled or atStartup");
        return Err(ConfigError::new(key, message, "add 'schedule: \"0 0 * * *\"' or 'atStartup: true'"));
    }
    let backup = if task.do_backup { task_backup(key, task, home).map(Some) } else { Ok(None) };
    let (backup, deferred_error) = match backup {
        Ok(backup) => (backup, None),
        Err(error) if task.schedule.is_none() => (None, Some(error)),
        Err(error) => return Err(error),
    };
    let description = match &task.schedule {
        Some(text) => Some(Schedule::parse(text).map_err(|why| schedule_error(key, text, why))?.describe()),
        None => None,
    };
    let config = TaskConfig {
        schedule: task.schedule.clone(),
        at_startup: task.at_startup,
        vacuum: task.do_vacuum,
        backup,
        statements: task.statements.clone(),
    };
    Ok(ResolvedTask { config, description, deferred_error })
}

fn schedule_error(key: &str, text: &str, why: String) -> ConfigError {
    let remedy = format!(
        "'{text}' is no schedule; write five fields (minute hour day month weekday, Sunday is 0), as \"0 4 * * 1-5\", or \
         @daily, @hourly, @every 15m"
    );
    ConfigError::new(format!("{key}.schedule"), why, remedy)
}

fn task_backup(key: &str, task: &RawTask, home: Option<&str>) -> Result<BackupConfig, ConfigError> {
    let config_error = |message: String| {
        let remedy = "write the path of the backup files with %s where the time goes in the name, as backups/db_%s.db";
        ConfigError::new(format!("{key}.backupTemplate"), message, remedy)
    };
    if task.backup_template.is_empty() {
        return Err(config_error("the backup template must have a value".to_owned()));
    }
    let template = expand_home(&task.backup_template, home)
        .map_err(|why| config_error(format!("in expanding bkp template path: {why}")))?;
    let (dir, name) = template.rsplit_once('/').unwrap_or(("", &template));
    if name.matches('%').count() != 1 || !name.contains("%s") {
        return Err(config_error("the backup file name must contain a single '%s' and no other '%'".to_owned()));
    }
    if dir.contains('%') {
        return Err(config_error("the backup file dir must not contain a '%'".to_owned()));
    }
    let files_max = files_max(&format!("{key}.numFiles"), task.num_files)?;
    Ok(BackupConfig { template, files_max })
}

fn files_max(key: &str, num_files: i64) -> Result<usize, ConfigError> {
    let count = usize::try_from(num_files).ok().filter(|count| *count > 0);
    let message = "the number of backup files to keep must be at least 1";
    count.ok_or_else(|| ConfigError::new(key, message, "write how many to keep; older ones are removed"))
}

/// Returns the macros. References to stored statements (`^id`, `#id`) are replaced with their SQL.
pub(crate) fn macros(
    id: &str,
    macros: &[RawMacro],
    stored: &HashMap<String, Arc<str>>,
) -> Result<Vec<MacroConfig>, ConfigError> {
    let mut resolved: Vec<MacroConfig> = Vec::new();
    for (index, raw) in macros.iter().enumerate() {
        let config = one_macro(id, index, raw, stored)?;
        if resolved.iter().any(|earlier| earlier.id == config.id) {
            let message = format!("for db '{id}', there are several macros with the id '{}'", config.id);
            return Err(ConfigError::new(format!("macros[{index}].id"), message, "give it another id"));
        }
        resolved.push(config);
    }
    Ok(resolved)
}

fn one_macro(
    db: &str,
    index: usize,
    raw: &RawMacro,
    stored: &HashMap<String, Arc<str>>,
) -> Result<MacroConfig, ConfigError> {
    let key = format!("macros[{index}]");
    if raw.id.is_empty() || raw.statements.is_empty() {
        let message = format!("no ID or statements specified for macro #{index} in database '{db}'");
        return Err(ConfigError::new(key, message, "give it an 'id' and 'statements'"));
    }
    let resolve = |statement: &String| match statement.strip_prefix(['^', '#']) {
        None => Ok(statement.clone()),
        Some(reference) => stored.get(reference).map(|sql| sql.to_string()).ok_or_else(|| {
            let id = &raw.id;
            let message = format!("for db '{db}', macro '{id}' refers to an unknown stored statement '{reference}'");
            ConfigError::new(format!("{key}.statements"), message, "add it to 'storedStatements'")
        }),
    };
    Ok(MacroConfig {
        id: raw.id.clone(),
        statements: raw.statements.iter().map(resolve).collect::<Result<_, ConfigError>>()?,
        disable_transaction: raw.disable_transaction,
        execution: execution(db, &key, &format!("macro '{}'", raw.id), &raw.execution)?,
    })
}

/// Returns the settings of the backups into a directory. Whether the directory can be used is checked later in the
/// start.
pub(crate) fn directory_backup(
    id: &str,
    backup: &RawBackup,
    home: Option<&str>,
) -> Result<DirectoryBackupConfig, ConfigError> {
    let config_error =
        |message: String| ConfigError::new("backup.backupDir", message, "write the directory for the backups");
    if backup.backup_dir.is_empty() {
        return Err(config_error(format!("for db '{id}', 'backup.backupDir' must have a value")));
    }
    let dir = expand_home(&backup.backup_dir, home)
        .map_err(|why| config_error(format!("in expanding backup directory path: {why}")))?;
    Ok(DirectoryBackupConfig {
        dir: PathBuf::from(dir),
        files_max: files_max("backup.numFiles", backup.num_files)?,
        execution: execution(id, "backup", "backup", &backup.execution)?,
    })
}

fn execution(db: &str, key: &str, what: &str, raw: &RawExecution) -> Result<ExecutionConfig, ConfigError> {
    let minutes = u64::try_from(raw.period).map_err(|_| {
        let message = format!("for db '{db}', {what}: 'period' must not be negative");
        ConfigError::new(format!("{key}.execution.period"), message, "write a number of minutes; 0 is never")
    })?;
    let period = (minutes > 0).then(|| Duration::from_secs(minutes.saturating_mul(60)));
    let key = format!("{key}.execution.webService");
    let web_service = raw.web_service.as_ref().map(|web| web_service(db, &key, what, web)).transpose()?;
    Ok(ExecutionConfig { on_create: raw.on_create, on_startup: raw.on_startup, period, web_service })
}

fn web_service(db: &str, key: &str, what: &str, raw: &RawWebService) -> Result<TokenConfig, ConfigError> {
    let token_sha256 = match (&raw.auth_token, &raw.hashed_auth_token) {
        (None, None) => None,
        (Some(token), None) => Some(Sha256::digest(token).into()),
        (None, Some(hash)) => Some(sha256_from_hex(hash).ok_or_else(|| {
            let message = format!("for db '{db}', {what}: hashedAuthToken doesn't seem to be SHA256/hex.");
            ConfigError::new(format!("{key}.hashedAuthToken"), message, HASH_REMEDY)
        })?),
        (Some(_), Some(_)) => {
            let message =
                format!("for db '{db}', {what}: only one of 'authToken' and 'hashedAuthToken' may be specified");
            return Err(ConfigError::new(key, message, "remove one of the two"));
        }
    };
    let error_code = error_code(db, &format!("{key}.authErrorCode"), raw.auth_error_code)?;
    Ok(TokenConfig { token_sha256, error_code })
}

/// Replaces a leading `~` with the home directory. Returns an error for `~user`, or if `home` is `None`.
pub(crate) fn expand_home(path: &str, home: Option<&str>) -> Result<String, &'static str> {
    let Some(rest) = path.strip_prefix('~') else {
        return Ok(path.to_owned());
    };
    if !rest.is_empty() && !rest.starts_with('/') {
        return Err("cannot expand user-specific home dir");
    }
    let home = home.ok_or("the home directory is not known")?;
    Ok(format!("{home}{rest}"))
}

#[cfg(test)]
mod tests;
