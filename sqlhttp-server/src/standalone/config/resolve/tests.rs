use super::*;
use crate::standalone::config::companion;

fn companion(source: &str) -> Companion {
    companion::parse(source).unwrap().0
}

fn auth_of(source: &str) -> Result<AuthConfig, String> {
    auth("m", companion(source).auth.as_ref().unwrap()).map_err(|error| error.message)
}

fn task_of(source: &str) -> Result<ResolvedTask, String> {
    let companion = companion(&format!("scheduledTasks:\n  - {{{source}}}\n"));
    let tasks = companion.scheduled_tasks.unwrap();
    task(0, "scheduledTasks[0]", &tasks[0], Some("/home/u")).map_err(|error| error.message)
}

const PASSWORD: [u8; 32] = [
    0x5e, 0x88, 0x48, 0x98, 0xda, 0x28, 0x04, 0x71, 0x51, 0xd0, 0xe5, 0x6f, 0x8d, 0xc6, 0x29, 0x27, 0x73, 0x60, 0x3d,
    0x0d, 0x6a, 0xab, 0xbd, 0xd6, 0x2a, 0x11, 0xef, 0x72, 0x1d, 0x15, 0x42, 0xd8,
];

#[test]
fn plain_and_hashed_passwords_are_equivalent() {
    let auth = auth_of(
        "auth:\n  mode: Http\n  byCredentials:\n    - {user: user1, password: password}\n    - {user: user2, \
         hashedPassword: 5E884898da28047151d0e56f8dc6292773603d0d6aabbdd62a11ef721d1542d8}\n    - {user: user1, \
         password: password}\n",
    )
    .unwrap();
    assert_eq!((auth.mode, auth.error_code), (AuthMode::Http, 401));
    let Users::ByCredentials(users) = auth.users else { panic!() };
    assert_eq!(users, HashMap::from([("user1".to_owned(), PASSWORD), ("user2".to_owned(), PASSWORD)]));
}

#[test]
fn auth_modes_of_both_originals_are_known() {
    for (mode, expected) in [("http", AuthMode::Http), ("HTTP_BASIC", AuthMode::Http), ("inline", AuthMode::Inline)] {
        let auth = auth_of(&format!("auth: {{mode: {mode}, byCredentials: []}}")).unwrap();
        assert_eq!(auth.mode, expected);
    }
}

#[test]
fn auth_errors_are_those_of_ws4sqlite() {
    let exclusive = "one and only one of 'byQuery' and 'byCredentials' must be specified";
    let passwords = "one and only one of 'password' and 'hashedPassword' must be specified";
    let hash = "for db 'm', hashedPassword doesn't seem to be SHA256/hex.";
    let cases = [
        ("{}", "Auth Mode must be INLINE or HTTP"),
        ("{mode: basic}", "Auth Mode must be INLINE or HTTP"),
        ("{mode: HTTP}", exclusive),
        ("{mode: HTTP, byQuery: 'SELECT :user, :password', byCredentials: []}", exclusive),
        ("{mode: HTTP, byQuery: SELECT 1}", "byQuery: sql must include :user and :password named parameters"),
        ("{mode: HTTP, byCredentials: [{password: a}]}", "no user for credential"),
        ("{mode: HTTP, byCredentials: [{user: a}]}", passwords),
        ("{mode: HTTP, byCredentials: [{user: a, password: b, hashedPassword: cc}]}", passwords),
        ("{mode: HTTP, byCredentials: [{user: a, hashedPassword: cc}]}", hash),
        (
            "{mode: HTTP, byCredentials: [], customErrorCode: 42}",
            "for db 'm', the error code for Unauthorized must be between 400 and 599, not 42",
        ),
    ];
    for (source, message) in cases {
        assert_eq!(auth_of(&format!("auth: {source}\n")).unwrap_err(), message, "{source}");
    }
    let not_hex = format!("auth: {{mode: HTTP, byCredentials: [{{user: a, hashedPassword: {}}}]}}", "é".repeat(32));
    assert_eq!(auth_of(&not_hex).unwrap_err(), hash);
}

#[test]
fn a_custom_error_code_is_used() {
    assert_eq!(auth_of("auth: {mode: HTTP, byCredentials: [], customErrorCode: 499}").unwrap().error_code, 499);
}

#[test]
fn stored_statements_must_be_complete_and_the_last_wins() {
    let stored = |source: &str| stored_statements("m", &companion(source).stored_statements);
    let twice = stored("storedStatements: [{id: A, sql: SELECT 1}, {id: A, sql: SELECT 2}]").unwrap();
    assert_eq!(twice, HashMap::from([("A".to_owned(), Arc::from("SELECT 2"))]));
    let missing = "no ID or SQL specified for stored statement #0 in database 'm'";
    assert_eq!(stored("storedStatements: [{id: A}]").unwrap_err().message, missing);
    assert_eq!(stored("storedStatements: [{sql: A}]").unwrap_err().message, missing);
}

#[test]
fn journal_modes_are_checked() {
    let mode = |source: &str| journal_mode("m", &companion(source));
    assert_eq!(mode(""), Ok(JournalMode::Wal));
    assert_eq!(mode("disableWALMode: true"), Ok(JournalMode::Keep));
    assert_eq!(mode("journalMode: delete"), Ok(JournalMode::Delete));
    assert_eq!(mode("journalMode: PERSIST\ndisableWALMode: true"), Ok(JournalMode::Persist));
    assert!(mode("journalMode: OFF").unwrap_err().message.contains("not 'OFF'"));
    assert!(mode("journalMode: WAL\ndisableWALMode: true").is_err());
}

#[test]
fn tasks_need_a_schedule_or_at_startup() {
    assert_eq!(task_of("doVacuum: true").unwrap_err(), "error: task 0 must be scheduled or atStartup");
    assert_eq!(task_of("schedule: '', doVacuum: true").unwrap_err(), "empty spec string");
    assert_eq!(task_of("schedule: '0 0 * * 7'").unwrap_err(), "end of range (7) above maximum (6): 7");
    assert_eq!(task_of("schedule: '0 0 * * *'").unwrap().description.as_deref(), Some("at 12:00 am"));
    assert_eq!(task_of("atStartup: true").unwrap().description, None);
}

#[test]
fn backups_of_scheduled_tasks_are_checked_at_once() {
    let cases = [
        ("", "the backup template must have a value"),
        ("backupTemplate: x.db", "the backup file name must contain a single '%s' and no other '%'"),
        ("backupTemplate: x%s%s.db", "the backup file name must contain a single '%s' and no other '%'"),
        ("backupTemplate: x%d.db", "the backup file name must contain a single '%s' and no other '%'"),
        ("backupTemplate: b%k/x%s.db, numFiles: 1", "the backup file dir must not contain a '%'"),
        ("backupTemplate: b/x%s.db", "the number of backup files to keep must be at least 1"),
        ("backupTemplate: ~x/x%s.db", "in expanding bkp template path: cannot expand user-specific home dir"),
    ];
    for (source, message) in cases {
        let found = task_of(&format!("schedule: '@daily', doBackup: true, {source}"));
        assert_eq!(found.unwrap_err(), message, "{source}");
        let late = task_of(&format!("atStartup: true, doBackup: true, {source}")).unwrap();
        assert_eq!(late.deferred_error.map(|error| error.message).as_deref(), Some(message), "{source}");
    }
}

#[test]
fn a_backup_template_may_begin_at_home() {
    let found = task_of("schedule: '@daily', doBackup: true, backupTemplate: ~/b/x_%s.db, numFiles: 3").unwrap();
    assert_eq!(found.config.backup, Some(BackupConfig { template: "/home/u/b/x_%s.db".into(), files_max: 3 }));
}

#[test]
fn maintenance_is_a_deprecated_task() {
    let old = companion("maintenance: {atStartup: true}");
    let (tasks, deprecated) = raw_tasks("m", &old).unwrap();
    assert!(deprecated && tasks.len() == 1 && tasks[0].at_startup);
    let both = companion("maintenance: {atStartup: true}\nscheduledTasks: []\n");
    assert!(
        raw_tasks("m", &both).unwrap_err().message.starts_with("in m: it's not possible to use both old maintenance")
    );
    assert!(raw_tasks("m", &companion("")).unwrap().0.is_empty());
}

#[test]
fn references_of_macros_are_replaced() {
    let stored = HashMap::from([("S".to_owned(), Arc::from("SELECT 1"))]);
    let resolve = |source: &str| macros("m", &companion(source).macros, &stored);
    let found = resolve("macros: [{id: A, statements: [DELETE FROM T, ^S, '#S'], execution: {period: 2}}]").unwrap();
    assert_eq!(found[0].statements, ["DELETE FROM T", "SELECT 1", "SELECT 1"]);
    assert_eq!(found[0].execution.period, Some(Duration::from_secs(120)));
    for wrong in [
        "macros: [{id: A}]",
        "macros: [{statements: [x]}]",
        "macros: [{id: A, statements: [^none]}]",
        "macros: [{id: A, statements: [x]}, {id: A, statements: [x]}]",
        "macros: [{id: A, statements: [x], execution: {period: -1}}]",
        "macros: [{id: A, statements: [x], execution: {webService: {authErrorCode: 200}}}]",
        "macros: [{id: A, statements: [x], execution: {webService: {authToken: a, hashedAuthToken: b}}}]",
        "macros: [{id: A, statements: [x], execution: {webService: {hashedAuthToken: b}}}]",
    ] {
        assert!(resolve(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn tokens_are_kept_as_hashes() {
    let source =
        "backup: {backupDir: ~/b, numFiles: 2, execution: {onStartup: true, webService: {authToken: password}}}";
    let found = directory_backup("m", &companion(source).backup.unwrap(), Some("/h")).unwrap();
    assert_eq!((found.dir.to_str(), found.files_max), (Some("/h/b"), 2));
    let web = found.execution.web_service.unwrap();
    assert_eq!((web.token_sha256, web.error_code), (Some(PASSWORD), 401));
    assert!(directory_backup("m", &companion("backup: {numFiles: 1}").backup.unwrap(), None).is_err());
    assert!(directory_backup("m", &companion("backup: {backupDir: b}").backup.unwrap(), None).is_err());
}

#[test]
fn a_tilde_is_the_home_directory() {
    assert_eq!(expand_home("~", Some("/h")), Ok("/h".into()));
    assert_eq!(expand_home("~/x", Some("/h")), Ok("/h/x".into()));
    assert_eq!(expand_home("a~/x", Some("/h")), Ok("a~/x".into()));
    assert_eq!(expand_home("~root/x", Some("/h")), Err("cannot expand user-specific home dir"));
    assert!(expand_home("~", None).is_err());
}
