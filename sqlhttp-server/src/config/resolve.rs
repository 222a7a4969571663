//! From what a companion file says to what it means. Everything here is pure; an error is the text that ends the
//! start, in the words of ws4sqlite where it has some.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest, Sha256};
use sqlhttp_core::JournalMode;

use super::companion::{Auth, Backup, Companion, Credential, Execution, Macro, StoredStatement, Task, WebService};
use super::{AuthConfig, AuthMode, BackupConfig, DirectoryBackupConfig, ExecutionConfig, MacroConfig, TaskConfig};
use super::{Users, WebServiceConfig};
use crate::schedule::Schedule;

const UNAUTHORIZED: u16 = 401;

/// A task, and what is wrong with its backup if that is not known before it runs.
#[derive(Debug, Clone)]
pub(crate) struct ResolvedTask {
    pub(crate) config: TaskConfig,
    /// The schedule for people.
    pub(crate) description: Option<String>,
    /// A task that only runs at start is looked at when it runs; that is when this ends the start.
    pub(crate) late_error: Option<String>,
}

/// The journal mode that `journalMode` and `disableWALMode` ask for.
pub(crate) fn journal_mode(id: &str, companion: &Companion) -> Result<JournalMode, String> {
    let Some(name) = &companion.journal_mode else {
        return Ok(if companion.disable_wal_mode { JournalMode::Keep } else { JournalMode::Wal });
    };
    let mode = match name.to_ascii_uppercase().as_str() {
        "WAL" => JournalMode::Wal,
        "DELETE" => JournalMode::Delete,
        "TRUNCATE" => JournalMode::Truncate,
        "PERSIST" => JournalMode::Persist,
        _ => {
            return Err(format!("for db '{id}', journalMode must be WAL, DELETE, TRUNCATE or PERSIST, not '{name}'"));
        }
    };
    if companion.disable_wal_mode && mode == JournalMode::Wal {
        return Err(format!("for db '{id}', 'disableWALMode' and 'journalMode: WAL' contradict each other"));
    }
    Ok(mode)
}

/// Stored statements by id; the last of several with the same id counts.
pub(crate) fn stored_statements(id: &str, statements: &[StoredStatement]) -> Result<HashMap<String, Arc<str>>, String> {
    let mut stored = HashMap::new();
    for (index, statement) in statements.iter().enumerate() {
        if statement.id.is_empty() || statement.sql.is_empty() {
            return Err(format!("no ID or SQL specified for stored statement #{index} in database '{id}'"));
        }
        stored.insert(statement.id.clone(), Arc::from(statement.sql.as_str()));
    }
    Ok(stored)
}

/// Who may use the database.
pub(crate) fn auth(id: &str, auth: &Auth) -> Result<AuthConfig, String> {
    let mode = match auth.mode.to_ascii_uppercase().as_str() {
        "HTTP" | "HTTP_BASIC" => AuthMode::Http,
        "INLINE" => AuthMode::Inline,
        _ => return Err("Auth Mode must be INLINE or HTTP".to_owned()),
    };
    let users = match (&auth.by_query, &auth.by_credentials) {
        (Some(sql), None) => by_query(sql)?,
        (None, Some(credentials)) => by_credentials(id, credentials)?,
        _ => return Err("one and only one of 'byQuery' and 'byCredentials' must be specified".to_owned()),
    };
    let error_code = error_code(id, auth.error_code)?;
    Ok(AuthConfig { mode, users, error_code })
}

fn by_query(sql: &str) -> Result<Users, String> {
    if sql.contains(":user") && sql.contains(":password") {
        Ok(Users::ByQuery(sql.into()))
    } else {
        Err("byQuery: sql must include :user and :password named parameters".to_owned())
    }
}

fn by_credentials(id: &str, credentials: &[Credential]) -> Result<Users, String> {
    let mut users = HashMap::new();
    for credential in credentials {
        if credential.user.is_empty() {
            return Err("no user for credential".to_owned());
        }
        let hash = match (credential.password.as_str(), credential.hashed_password.as_str()) {
            ("", "") => None,
            (password, "") => Some(Sha256::digest(password).into()),
            ("", hashed) => Some(
                sha256_from_hex(hashed)
                    .ok_or_else(|| format!("for db '{id}', hashedPassword doesn't seem to be SHA256/hex."))?,
            ),
            _ => None,
        };
        let hash = hash.ok_or("one and only one of 'password' and 'hashedPassword' must be specified")?;
        users.insert(credential.user.clone(), hash);
    }
    Ok(Users::ByCredentials(users))
}

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

fn error_code(id: &str, code: Option<i64>) -> Result<u16, String> {
    let Some(code) = code else { return Ok(UNAUTHORIZED) };
    let status = u16::try_from(code).ok().filter(|code| (400..=599).contains(code));
    status.ok_or_else(|| {
        format!("for db '{id}', the error code for Unauthorized must be between 400 and 599, not {code}")
    })
}

/// The tasks as written, `maintenance` among them; `true` if that is where they come from.
pub(crate) fn written_tasks<'c>(id: &str, companion: &'c Companion) -> Result<(&'c [Task], bool), String> {
    match (&companion.maintenance, &companion.scheduled_tasks) {
        (Some(_), Some(_)) => Err(format!(
            "in {id}: it's not possible to use both old maintenance and new scheduledTasks together. Move the \
             maintenance task in the latter."
        )),
        (Some(task), None) => Ok((std::slice::from_ref(task), true)),
        (None, tasks) => Ok((tasks.as_deref().unwrap_or_default(), false)),
    }
}

/// A task. `home` is the user's home directory.
pub(crate) fn task(index: usize, task: &Task, home: Option<&str>) -> Result<ResolvedTask, String> {
    if task.schedule.is_none() && !task.at_startup {
        return Err(format!("error: task {index} must be scheduled or atStartup"));
    }
    let backup = if task.do_backup { task_backup(task, home).map(Some) } else { Ok(None) };
    let (backup, late_error) = match backup {
        Ok(backup) => (backup, None),
        Err(error) if task.schedule.is_none() => (None, Some(error)),
        Err(error) => return Err(error),
    };
    let description = match &task.schedule {
        Some(text) => Some(Schedule::parse(text)?.describe()),
        None => None,
    };
    let config = TaskConfig {
        schedule: task.schedule.clone(),
        at_startup: task.at_startup,
        vacuum: task.do_vacuum,
        backup,
        statements: task.statements.clone(),
    };
    Ok(ResolvedTask { config, description, late_error })
}

fn task_backup(task: &Task, home: Option<&str>) -> Result<BackupConfig, String> {
    if task.backup_template.is_empty() {
        return Err("the backup template must have a value".to_owned());
    }
    let template =
        expand_home(&task.backup_template, home).map_err(|why| format!("in expanding bkp template path: {why}"))?;
    let (dir, name) = template.rsplit_once('/').unwrap_or(("", &template));
    if name.matches('%').count() != 1 || !name.contains("%s") {
        return Err("the backup file name must contain a single '%s' and no other '%'".to_owned());
    }
    if dir.contains('%') {
        return Err("the backup file dir must not contain a '%'".to_owned());
    }
    let files_max = files_max(task.num_files)?;
    Ok(BackupConfig { template, files_max })
}

fn files_max(num_files: i64) -> Result<usize, String> {
    let count = usize::try_from(num_files).ok().filter(|count| *count > 0);
    count.ok_or_else(|| "the number of backup files to keep must be at least 1".to_owned())
}

/// The macros, with their references to stored statements (`^id`, `#id`) replaced.
pub(crate) fn macros(
    id: &str,
    macros: &[Macro],
    stored: &HashMap<String, Arc<str>>,
) -> Result<Vec<MacroConfig>, String> {
    let mut resolved: Vec<MacroConfig> = Vec::new();
    for (index, written) in macros.iter().enumerate() {
        let config = one_macro(id, index, written, stored)?;
        if resolved.iter().any(|earlier| earlier.id == config.id) {
            return Err(format!("for db '{id}', there are several macros with the id '{}'", config.id));
        }
        resolved.push(config);
    }
    Ok(resolved)
}

fn one_macro(
    db: &str,
    index: usize,
    written: &Macro,
    stored: &HashMap<String, Arc<str>>,
) -> Result<MacroConfig, String> {
    if written.id.is_empty() || written.statements.is_empty() {
        return Err(format!("no ID or statements specified for macro #{index} in database '{db}'"));
    }
    let resolve = |statement: &String| match statement.strip_prefix(['^', '#']) {
        None => Ok(statement.clone()),
        Some(reference) => stored.get(reference).map(|sql| sql.to_string()).ok_or_else(|| {
            format!("for db '{db}', macro '{}' refers to an unknown stored statement '{reference}'", written.id)
        }),
    };
    Ok(MacroConfig {
        id: written.id.clone(),
        statements: written.statements.iter().map(resolve).collect::<Result<_, String>>()?,
        disable_transaction: written.disable_transaction,
        execution: execution(db, &format!("macro '{}'", written.id), &written.execution)?,
    })
}

/// The backup into a directory. Whether the directory exists, the start-up looks.
pub(crate) fn directory_backup(id: &str, backup: &Backup, home: Option<&str>) -> Result<DirectoryBackupConfig, String> {
    if backup.backup_dir.is_empty() {
        return Err(format!("for db '{id}', 'backup.backupDir' must have a value"));
    }
    let dir =
        expand_home(&backup.backup_dir, home).map_err(|why| format!("in expanding backup directory path: {why}"))?;
    Ok(DirectoryBackupConfig {
        dir: PathBuf::from(dir),
        files_max: files_max(backup.num_files)?,
        execution: execution(id, "backup", &backup.execution)?,
    })
}

fn execution(db: &str, what: &str, written: &Execution) -> Result<ExecutionConfig, String> {
    let minutes =
        u64::try_from(written.period).map_err(|_| format!("for db '{db}', {what}: 'period' must not be negative"))?;
    let period = (minutes > 0).then(|| Duration::from_secs(minutes.saturating_mul(60)));
    let web_service = written.web_service.as_ref().map(|web| web_service(db, what, web)).transpose()?;
    Ok(ExecutionConfig { on_create: written.on_create, on_startup: written.on_startup, period, web_service })
}

fn web_service(db: &str, what: &str, written: &WebService) -> Result<WebServiceConfig, String> {
    let token_sha256 = match (&written.auth_token, &written.hashed_auth_token) {
        (None, None) => None,
        (Some(token), None) => Some(Sha256::digest(token).into()),
        (None, Some(hash)) => Some(
            sha256_from_hex(hash)
                .ok_or_else(|| format!("for db '{db}', {what}: hashedAuthToken doesn't seem to be SHA256/hex."))?,
        ),
        (Some(_), Some(_)) => {
            return Err(format!(
                "for db '{db}', {what}: only one of 'authToken' and 'hashedAuthToken' may be specified"
            ));
        }
    };
    Ok(WebServiceConfig { token_sha256, error_code: error_code(db, written.auth_error_code)? })
}

/// Replaces a leading `~` by the home directory.
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
