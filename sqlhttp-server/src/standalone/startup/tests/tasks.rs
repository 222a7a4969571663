//! Tests of what a start runs: init statements, tasks, macros and backups.

use std::sync::Arc;

use super::*;

fn jobs_of(opened: &OpenDatabase) -> Vec<schedule::ScheduledJob> {
    schedule::jobs_of(&opened.config, &opened.database, &opened.last_backup)
}

#[tokio::test]
async fn init_statements_run_once() {
    let dir = StartDir::new().file(
        "x.yaml",
        "initStatements: [\"CREATE TABLE T(a); INSERT INTO T VALUES(1)\", \"INSERT INTO T VALUES(2)\"]\n",
    );
    let result = dir.start(&["--db", "<dir>/x.db"]).await;
    assert_eq!(result.lines().last().unwrap(), "  + 2 init statements performed");
    let service = result.service();
    assert_eq!(count(&service, "SELECT count(*) FROM T").await, Some(2));
    drop(service);
    let result = dir.start(&["--db", "<dir>/x.db"]).await;
    assert_eq!(result.lines().last().unwrap(), "  + Using WAL");
    assert_eq!(count(&result.service(), "SELECT count(*) FROM T").await, Some(2));
}

#[tokio::test]
async fn init_statements_share_one_connection() {
    for statements in [
        &["BEGIN TRANSACTION", "CREATE TABLE T(a)", "INSERT INTO T VALUES(1)", "COMMIT"][..],
        &["begin; CREATE TABLE T(a)", "SAVEPOINT s", "INSERT INTO T VALUES(2)", "ROLLBACK TO s", "END"],
        &["SAVEPOINT s", "CREATE TABLE T(a)", "RELEASE s", "BEGIN IMMEDIATE", "ROLLBACK"],
        &["CREATE TEMP TABLE U(a)", "CREATE TABLE T(a)", "INSERT INTO T SELECT a FROM U"],
        &["VACUUM", "ATTACH ':memory:' AS other", "CREATE TABLE other.U(a)", "CREATE TABLE T(a)", "DETACH other"],
    ] {
        let dir = StartDir::new().file("x.yaml", &format!("initStatements: {statements:?}\n"));
        for arguments in [["--db", "<dir>/x.db"], ["--mem-db", "m:<dir>/x.yaml"]] {
            let result = dir.start(&arguments).await;
            assert_eq!(result.err, Vec::<String>::new(), "{statements:?}");
            assert!(count(&result.service(), "SELECT count(*) FROM T").await.is_some(), "{statements:?}");
        }
    }
}

#[tokio::test]
async fn init_statements_may_be_any_pragma() {
    for pragma in [
        "journal_mode=DELETE",
        "journal_mode = OFF",
        "main.journal_mode(memory)",
        "journal_mode=WAL",
        "locking_mode=EXCLUSIVE",
        "synchronous=NORMAL",
        "foreign_keys=ON",
        "page_size=8192",
        "auto_vacuum=FULL",
        "encoding='UTF-16'",
        "user_version=7",
        "application_id=7",
        "busy_timeout=1000",
        "mmap_size=1048576",
        "cache_size=-100",
        "temp_store=MEMORY",
        "wal_autocheckpoint=100",
        "wal_checkpoint(TRUNCATE)",
        "journal_size_limit=1000",
        "secure_delete=ON",
        "recursive_triggers=ON",
        "trusted_schema=OFF",
        "threads=2",
        "optimize",
        "integrity_check",
    ] {
        let yaml = format!("initStatements: [\"PRAGMA {pragma}\", CREATE TABLE T(a), INSERT INTO T VALUES(1)]\n");
        let dir = StartDir::new().file("x.yaml", &yaml);
        for arguments in [["--db", "<dir>/x.db"], ["--mem-db", "m:<dir>/x.yaml"]] {
            let result = dir.start(&arguments).await;
            assert_eq!(result.err, Vec::<String>::new(), "{pragma}");
            let service = result.service();
            assert_eq!(count(&service, "SELECT count(*) FROM T").await, Some(1), "{pragma}");
            // Readers and the writer still run concurrently, in the journal mode of the configuration.
            let mode = text(&service, "PRAGMA journal_mode").await;
            assert_eq!(mode.as_deref(), Some("wal"), "{pragma}");
            assert_eq!(count(&service, "INSERT INTO T VALUES(2) RETURNING a").await, Some(2), "{pragma}");
            assert_eq!(count(&service, "SELECT count(*) FROM T").await, Some(2), "{pragma}");
        }
    }
}

#[tokio::test]
async fn an_init_statement_inside_a_transaction_is_named_by_its_number() {
    for (statements, expected) in [
        ("BEGIN, CREATE TABLE T(a), NONSENSE, COMMIT", "in init statement #3 for database 'x': SQL logic error: near"),
        ("BEGIN, CREATE TABLE T(a)", "in init statement #2 for database 'x': SQL logic error: the transaction that"),
        ("COMMIT", "in init statement #1 for database 'x': SQL logic error: cannot commit"),
    ] {
        let dir = StartDir::new().file("x.yaml", &format!("initStatements: [{statements}]\n"));
        let result = dir.start(&["--db", "<dir>/x.db"]).await;
        assert!(result.fatal().starts_with(expected), "{:?}", result.err);
        assert!(!dir.path("x.db").exists());
    }
}

#[tokio::test]
async fn statements_of_a_task_share_one_connection() {
    let yaml = "initStatements: [CREATE TABLE T(a)]\nscheduledTasks:\n  - atStartup: true\n    statements: \
                [BEGIN, INSERT INTO T VALUES(1), NONSENSE, INSERT INTO T VALUES(2), COMMIT, INSERT INTO T VALUES(3), \
                BEGIN, DELETE FROM T, ROLLBACK]\n";
    let result = with_companion(yaml).await;
    assert_eq!(result.err.len(), 1, "{:?}", result.err);
    assert!(result.err[0].contains("sched. task (statement #2): SQL logic error: near"), "{:?}", result.err);
    assert_eq!(count(&result.service(), "SELECT sum(a) FROM T").await, Some(6));
}

#[tokio::test]
async fn a_failing_init_statement_leaves_no_file() {
    let dir = StartDir::new().file("c.yaml", "initStatements: [CREATE TABLE T(a), NONSENSE]\n");
    let result = dir.start(&["--db", "<dir>/x.db:<dir>/c.yaml"]).await;
    assert!(result.fatal().starts_with("in init statement #2 for database 'x': SQL logic error: near"));
    assert_eq!(std::fs::read_dir(dir.0.path()).unwrap().count(), 1);
}

#[tokio::test]
async fn pragmas_of_start_up_tasks_apply_to_requests() {
    let result = with_companion("scheduledTasks: [{atStartup: true, statements: [PRAGMA foreign_keys=ON]}]\n").await;
    assert_eq!(result.err, Vec::<String>::new());
    assert_eq!(count(&result.service(), "PRAGMA foreign_keys").await, Some(1));
}

#[tokio::test]
async fn start_up_tasks_back_up_into_a_directory_that_is_created() {
    let dir = StartDir::new().file(
        "x.yaml",
        "scheduledTasks:\n  - {atStartup: true, doVacuum: true, doBackup: true, backupTemplate: '<dir>/new/x_%s.db', \
         numFiles: 2, statements: [CREATE TABLE IF NOT EXISTS T(a), INSERT INTO T VALUES(1), NONSENSE]}\n",
    );
    for round in 1..=3 {
        let result = dir.start(&["--db", "<dir>/x.db"]).await;
        assert_eq!(result.err.len(), 1, "{:?}", result.err);
        assert!(result.err[0].starts_with("ERR | <ts> | sched. task (statement #2): SQL logic error: near"));
        let service = result.service();
        assert_eq!(count(&service, "SELECT count(*) FROM T").await, Some(round));
        let files = std::fs::read_dir(dir.path("new")).unwrap().count();
        assert_eq!(files, usize::try_from(round).unwrap().min(2));
    }
}

#[tokio::test]
async fn the_directory_of_a_scheduled_backup_is_created_at_start() {
    let yaml = "scheduledTasks:\n  - {schedule: '0 0 * * *', doBackup: true, backupTemplate: '<dir>/a/b/x%s.db', numFiles: 1}\n";
    let dir = StartDir::new().file("c.yaml", yaml).file("plain", "");
    drop(dir.start(&["--mem-db", "m:<dir>/c.yaml"]).await.service());
    assert!(dir.path("a/b").is_dir());
    let dir = dir.file("c.yaml", &yaml.replace("/a/b/", "/plain/b/"));
    let result = dir.start(&["--mem-db", "m:<dir>/c.yaml"]).await;
    assert!(result.fatal().starts_with("the backup directory must exist"), "{}", result.fatal());
}

#[tokio::test]
async fn a_new_read_only_database_is_backed_up() {
    let yaml = "readOnly: true\nscheduledTasks:\n  - {atStartup: true, doBackup: true, backupTemplate: \
                '<dir>/bk/r_%s.db', numFiles: 1}\n";
    let dir = StartDir::new().file("c.yaml", yaml);
    let result = dir.start(&["--db", "<dir>/r.db:<dir>/c.yaml"]).await;
    assert_eq!(result.err, Vec::<String>::new());
    assert_eq!(result.lines().last().unwrap(), "  + Task 0 scheduled at startup");
    let _service = result.service();
    let copy = std::fs::read_dir(dir.path("bk")).unwrap().next().unwrap().unwrap().path();
    let backup = StartDir::new();
    std::fs::copy(&copy, backup.path("r.db")).unwrap();
    let service = backup.start(&["--db", "<dir>/r.db"]).await.service();
    assert_eq!(count(&service, "SELECT count(*) FROM sqlite_schema").await, Some(0));
}

#[tokio::test]
async fn macros_run_at_creation_and_at_start() {
    let yaml = "
readOnly: true
storedStatements: [{id: S, sql: INSERT INTO T VALUES('started')}]
macros:
  - {id: CREATE, statements: [CREATE TABLE T(a), CREATE INDEX I ON T(a)], execution: {onCreate: true}}
  - {id: START, statements: [^S], execution: {onStartup: true}}
  - {id: LATER, statements: [^S], disableTransaction: true, execution: {period: 1}}
";
    let dir = StartDir::new().file("x.yaml", yaml);
    let result = dir.start(&["--db", "<dir>/x.db"]).await;
    let expected = ["  + Macro 'CREATE' performed", "  + Macro 'START' performed", "  + 3 macros configured"];
    assert_eq!(result.lines()[result.lines().len() - 3..], expected);
    drop(result.service());
    let result = dir.start(&["--db", "<dir>/x.db"]).await;
    let service = result.service();
    assert_eq!(count(&service, "SELECT count(*) FROM T").await, Some(2));
    assert_eq!(jobs_of(&service.databases[0]).len(), 1);
    let macros = &service.databases[0].config.macros;
    let refused = schedule::run_macro(&service.databases[0].database, &macros[1]).await.unwrap_err();
    assert!(refused.to_string().contains("readonly"), "{refused}");
}

#[tokio::test]
async fn macros_count_rows_and_are_atomic_by_default() {
    let yaml = "
initStatements: [CREATE TABLE T(a UNIQUE)]
macros:
  - {id: COUNT, statements: ['INSERT INTO T VALUES(1),(2)', DELETE FROM T]}
  - {id: ALL, statements: [INSERT INTO T VALUES(3), INSERT INTO T VALUES(3)]}
  - {id: EACH, disableTransaction: true, statements: [VACUUM, INSERT INTO T VALUES(3), INSERT INTO T VALUES(3)]}
";
    let service = with_companion(yaml).await.service();
    let OpenDatabase { config, database, .. } = service.databases[0].clone();
    assert_eq!(schedule::run_macro(&database, &config.macros[0]).await.unwrap(), [2, 2]);
    let message = "constraint failed: UNIQUE constraint failed: T.a (2067)";
    for (index, failing, remaining) in [(1, 1, 0), (2, 2, 1)] {
        let error = schedule::run_macro(&database, &config.macros[index]).await.unwrap_err();
        assert!(
            matches!(&error, schedule::MacroError::Statement(at, why) if *at == failing && why == message),
            "{error}"
        );
        assert_eq!(count(&service, "SELECT count(*) FROM T").await, Some(remaining));
    }
}

#[tokio::test]
async fn a_failing_macro_at_start_leaves_no_file() {
    let dir =
        StartDir::new().file("c.yaml", "macros: [{id: M, statements: [NONSENSE], execution: {onCreate: true}}]\n");
    let result = dir.start(&["--db", "<dir>/x.db:<dir>/c.yaml"]).await;
    assert!(result.fatal().starts_with("in macro 'M' for database 'x': statement #0: SQL logic error: near"));
    assert!(!dir.path("x.db").exists());
}

#[tokio::test]
async fn directory_backups_are_made_and_not_twice_a_minute() {
    let yaml = "backup: {backupDir: '<dir>/b', numFiles: 2, execution: {onCreate: true}}\n";
    let dir = StartDir::new().file("c.yaml", yaml);
    let result = dir.start(&["--db", "<dir>/x.db:<dir>/c.yaml"]).await;
    assert_eq!(result.err, Vec::<String>::new());
    assert_eq!(result.lines().last().unwrap(), "  + Backup configured into '<dir>/b'");
    let service = result.service();
    assert_eq!(std::fs::read_dir(dir.path("b")).unwrap().count(), 1);
    let OpenDatabase { config, database, last_backup } = service.databases[0].clone();
    assert!(last_backup.seconds().is_some(), "the backup at creation");
    let then = chrono::TimeZone::with_ymd_and_hms(&Local, 2020, 1, 2, 3, 4, 0).unwrap();
    let backup = config.backup.clone().unwrap();
    let path = schedule::run_directory_backup(&database, &config, &backup, &last_backup, then).await.unwrap();
    assert_eq!(path, dir.path("b/x_20200102-0304.db"));
    let again = schedule::run_directory_backup(&database, &config, &backup, &last_backup, then).await.unwrap_err();
    assert!(
        matches!(again, schedule::DirectoryBackupError::Exists(_)) && again.to_string().ends_with("already exists")
    );
}

#[tokio::test]
async fn a_backup_directory_must_not_be_that_of_the_database() {
    let dir = StartDir::new().file("c.yaml", "backup: {backupDir: '<dir>', numFiles: 2}\n");
    let result = dir.start(&["--db", "<dir>/x.db:<dir>/c.yaml"]).await;
    assert_eq!(result.fatal(), "for db 'x', the backup directory must not be that of the database");
}

#[tokio::test]
async fn a_failed_vacuum_prevents_the_backup_but_not_the_statements() {
    let yaml = "readOnly: true\nscheduledTasks:\n  - {atStartup: true, doVacuum: true, doBackup: true, backupTemplate: \
                '<dir>/bk/r_%s.db', numFiles: 1, statements: [SELECT 1, CREATE TABLE T(a)]}\n";
    let dir = StartDir::new().file("c.yaml", yaml);
    let result = dir.start(&["--db", "<dir>/r.db:<dir>/c.yaml"]).await;
    let readonly = "attempt to write a readonly database (8)";
    let expected = ["(vacuum)", "(statement #1)"]
        .map(|step| format!("ERR | <ts> | sched. task {step}: {readonly} [task 0 of database 'r']"));
    assert_eq!(result.err, expected);
    assert!(!dir.path("bk").exists());
}

#[tokio::test]
async fn scheduled_tasks_become_jobs() {
    let yaml = "
initStatements: [CREATE TABLE T(a)]
scheduledTasks:
  - {schedule: '@every 1s', statements: [INSERT INTO T VALUES(1)]}
  - {atStartup: true}
  - {schedule: '0 0 30 2 *', statements: [INSERT INTO T VALUES(2)]}
macros:
  - {id: NEVER, statements: [INSERT INTO T VALUES(3)]}
";
    let service = with_companion(yaml).await.service();
    let jobs = jobs_of(&service.databases[0]);
    assert_eq!(jobs.len(), 2);
    let stop = tokio_util::sync::CancellationToken::new();
    let running =
        schedule::run(jobs, Arc::new(schedule::SystemClock), Arc::new(|line: &str| panic!("{line}")), stop.clone());
    let running = tokio::spawn(running);
    while count(&service, "SELECT count(*) FROM T WHERE a = 1").await == Some(0) {
        tokio::task::yield_now().await;
    }
    stop.cancel();
    running.await.unwrap();
    assert_eq!(count(&service, "SELECT count(*) FROM T WHERE a <> 1").await, Some(0));
}
