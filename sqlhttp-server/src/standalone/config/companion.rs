//! The companion file of a database: a YAML file with its settings. This module reads the values as written; `resolve`
//! checks and interprets them. The file may contain all keys of ws4sqlite, and the keys of sqliterg that ws4sqlite
//! does not have (`journalMode`, `macros`, `backup`, `auth.authErrorCode`).

use super::error::KeyLines;
use super::yaml::{self, Fields, YamlReader};

/// The content of a companion file. A key without a value is treated like an absent key.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Companion {
    pub(crate) auth: Option<RawAuth>,
    pub(crate) read_only: bool,
    pub(crate) cors_origin: Option<String>,
    pub(crate) use_only_stored_statements: bool,
    pub(crate) disable_wal_mode: bool,
    pub(crate) journal_mode: Option<String>,
    pub(crate) allow_attach: Option<bool>,
    pub(crate) stored_statements: Vec<RawStoredStatement>,
    pub(crate) init_statements: Vec<String>,
    pub(crate) scheduled_tasks: Option<Vec<RawTask>>,
    pub(crate) maintenance: Option<RawTask>,
    pub(crate) macros: Vec<RawMacro>,
    pub(crate) backup: Option<RawBackup>,
}

/// The value of the key `auth`.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct RawAuth {
    pub(crate) mode: String,
    pub(crate) error_code: Option<i64>,
    pub(crate) by_query: Option<String>,
    pub(crate) by_credentials: Option<Vec<RawCredential>>,
}

/// An entry of the list `auth.byCredentials`.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct RawCredential {
    pub(crate) user: String,
    pub(crate) password: String,
    pub(crate) hashed_password: String,
}

/// An entry of the list `storedStatements`.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct RawStoredStatement {
    pub(crate) id: String,
    pub(crate) sql: String,
}

/// An entry of the list `scheduledTasks`, or the value of the deprecated key `maintenance`.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct RawTask {
    pub(crate) schedule: Option<String>,
    pub(crate) at_startup: bool,
    pub(crate) do_vacuum: bool,
    pub(crate) do_backup: bool,
    pub(crate) backup_template: String,
    pub(crate) num_files: i64,
    pub(crate) statements: Vec<String>,
}

/// An entry of the list `macros`.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct RawMacro {
    pub(crate) id: String,
    pub(crate) statements: Vec<String>,
    pub(crate) disable_transaction: bool,
    pub(crate) execution: RawExecution,
}

/// The value of the key `backup`.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct RawBackup {
    pub(crate) backup_dir: String,
    pub(crate) num_files: i64,
    pub(crate) execution: RawExecution,
}

/// The value of the key `execution` in a macro or in `backup`.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct RawExecution {
    pub(crate) on_create: bool,
    pub(crate) on_startup: bool,
    /// The time between two runs, in minutes; 0 if the macro or backup does not run periodically.
    pub(crate) period: i64,
    pub(crate) web_service: Option<RawWebService>,
}

/// The value of the key `webService` in an `execution`.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct RawWebService {
    pub(crate) auth_token: Option<String>,
    pub(crate) hashed_auth_token: Option<String>,
    pub(crate) auth_error_code: Option<i64>,
}

/// Parses a companion file. Returns its content, the line of each key, and warnings about unknown keys. The error is a
/// message; it contains all values of a wrong type.
pub(crate) fn parse(source: &str) -> Result<(Companion, KeyLines, Vec<String>), String> {
    let document = yaml::parse(source)?;
    let mut reader = YamlReader::default();
    let mut companion = Companion::default();
    if let Some(mut fields) = reader.fields(&document, "", "main.db") {
        companion = read(&mut reader, &mut fields);
        fields.finish(&mut reader);
    }
    let (warnings, lines) = reader.finish()?;
    Ok((companion, lines, warnings))
}

/// Reads the keys of a companion file from a YAML mapping: the whole companion file, or an entry of `databases` in the
/// `-config` file.
pub(crate) fn read(reader: &mut YamlReader, fields: &mut Fields<'_>) -> Companion {
    Companion {
        auth: fields.map(reader, "auth", read_auth),
        read_only: fields.bool(reader, "readOnly").unwrap_or(false),
        cors_origin: fields.string(reader, "corsOrigin").filter(|value| !value.is_empty()),
        use_only_stored_statements: fields.bool(reader, "useOnlyStoredStatements").unwrap_or(false),
        disable_wal_mode: fields.bool(reader, "disableWALMode").unwrap_or(false),
        journal_mode: fields.string(reader, "journalMode").filter(|value| !value.is_empty()),
        allow_attach: fields.bool(reader, "allowAttach"),
        stored_statements: fields.maps(reader, "storedStatements", read_stored_statement).unwrap_or_default(),
        init_statements: fields.strings(reader, "initStatements").unwrap_or_default(),
        scheduled_tasks: fields.maps(reader, "scheduledTasks", read_task),
        maintenance: fields.map(reader, "maintenance", read_task),
        macros: fields.maps(reader, "macros", read_macro).unwrap_or_default(),
        backup: fields.map(reader, "backup", read_backup),
    }
}

fn read_auth(reader: &mut YamlReader, fields: &mut Fields<'_>) -> RawAuth {
    let custom = fields.int(reader, "customErrorCode");
    RawAuth {
        mode: fields.string(reader, "mode").unwrap_or_default(),
        error_code: custom.or(fields.int(reader, "authErrorCode")),
        by_query: fields.string(reader, "byQuery").filter(|sql| !sql.is_empty()),
        by_credentials: fields.maps(reader, "byCredentials", read_credential),
    }
}

fn read_credential(reader: &mut YamlReader, fields: &mut Fields<'_>) -> RawCredential {
    RawCredential {
        user: fields.string(reader, "user").unwrap_or_default(),
        password: fields.string(reader, "password").unwrap_or_default(),
        hashed_password: fields.string(reader, "hashedPassword").unwrap_or_default(),
    }
}

fn read_stored_statement(reader: &mut YamlReader, fields: &mut Fields<'_>) -> RawStoredStatement {
    RawStoredStatement {
        id: fields.string(reader, "id").unwrap_or_default(),
        sql: fields.string(reader, "sql").unwrap_or_default(),
    }
}

fn read_task(reader: &mut YamlReader, fields: &mut Fields<'_>) -> RawTask {
    RawTask {
        schedule: fields.string(reader, "schedule"),
        at_startup: fields.bool(reader, "atStartup").unwrap_or(false),
        do_vacuum: fields.bool(reader, "doVacuum").unwrap_or(false),
        do_backup: fields.bool(reader, "doBackup").unwrap_or(false),
        backup_template: fields.string(reader, "backupTemplate").unwrap_or_default(),
        num_files: fields.int(reader, "numFiles").unwrap_or(0),
        statements: fields.strings(reader, "statements").unwrap_or_default(),
    }
}

fn read_macro(reader: &mut YamlReader, fields: &mut Fields<'_>) -> RawMacro {
    RawMacro {
        id: fields.string(reader, "id").unwrap_or_default(),
        statements: fields.strings(reader, "statements").unwrap_or_default(),
        disable_transaction: fields.bool(reader, "disableTransaction").unwrap_or(false),
        execution: fields.map(reader, "execution", read_execution).unwrap_or_default(),
    }
}

fn read_backup(reader: &mut YamlReader, fields: &mut Fields<'_>) -> RawBackup {
    RawBackup {
        backup_dir: fields.string(reader, "backupDir").unwrap_or_default(),
        num_files: fields.int(reader, "numFiles").unwrap_or(0),
        execution: fields.map(reader, "execution", read_execution).unwrap_or_default(),
    }
}

fn read_execution(reader: &mut YamlReader, fields: &mut Fields<'_>) -> RawExecution {
    RawExecution {
        on_create: fields.bool(reader, "onCreate").unwrap_or(false),
        on_startup: fields.bool(reader, "onStartup").unwrap_or(false),
        period: fields.int(reader, "period").unwrap_or(0),
        web_service: fields.map(reader, "webService", read_web_service),
    }
}

fn read_web_service(reader: &mut YamlReader, fields: &mut Fields<'_>) -> RawWebService {
    RawWebService {
        auth_token: fields.string(reader, "authToken"),
        hashed_auth_token: fields.string(reader, "hashedAuthToken"),
        auth_error_code: fields.int(reader, "authErrorCode"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn companion(source: &str) -> Companion {
        let (companion, _, warnings) = parse(source).unwrap();
        assert_eq!(warnings, Vec::<String>::new());
        companion
    }

    #[test]
    fn an_empty_file_has_all_defaults() {
        for source in ["", "# nothing\n", "auth:\n", "auth: ~\nscheduledTasks:\n"] {
            assert_eq!(companion(source), Companion::default(), "{source:?}");
        }
    }

    #[test]
    fn an_empty_auth_is_not_an_absent_one() {
        assert_eq!(companion("auth: {}\n").auth, Some(RawAuth::default()));
    }

    #[test]
    fn scalars_are_strings_as_they_are_written() {
        let auth = companion(
            "auth:\n  mode: HTTP\n  customErrorCode: 499\n  byCredentials:\n    - {user: a, password: 1234}\n    \
             - {user: yes, password: 0x1F}\n    - {user: 007, hashedPassword: 1e3}\n",
        )
        .auth
        .unwrap();
        let found: Vec<_> = auth.by_credentials.unwrap();
        let texts: Vec<_> =
            found.iter().map(|c| (c.user.as_str(), c.password.as_str(), c.hashed_password.as_str())).collect();
        assert_eq!(texts, [("a", "1234", ""), ("yes", "0x1F", ""), ("007", "", "1e3")]);
        assert_eq!(auth.error_code, Some(499));
    }

    #[test]
    fn every_key_of_ws4sqlite_is_known() {
        let source = "
readOnly: yes
corsOrigin: '*'
useOnlyStoredStatements: on
disableWALMode: true
storedStatements: [{id: a, sql: SELECT 1}]
initStatements: [CREATE TABLE T(a)]
auth: {mode: INLINE, byQuery: 'SELECT :user, :password'}
scheduledTasks:
  - {schedule: '0 0 * * *', atStartup: true, doVacuum: true, doBackup: true, backupTemplate: b_%s.db, numFiles: 3,
     statements: [SELECT 1, SELECT 2]}
maintenance: {schedule: '@daily'}
";
        let found = companion(source);
        assert!(found.read_only && found.use_only_stored_statements && found.disable_wal_mode);
        assert_eq!(found.cors_origin.as_deref(), Some("*"));
        assert_eq!(found.stored_statements, [RawStoredStatement { id: "a".into(), sql: "SELECT 1".into() }]);
        assert_eq!(found.init_statements, ["CREATE TABLE T(a)"]);
        assert_eq!(found.auth.unwrap().by_query.as_deref(), Some("SELECT :user, :password"));
        let task = &found.scheduled_tasks.unwrap()[0];
        assert_eq!(task.schedule.as_deref(), Some("0 0 * * *"));
        assert!(task.at_startup && task.do_vacuum && task.do_backup);
        assert_eq!((task.backup_template.as_str(), task.num_files), ("b_%s.db", 3));
        assert_eq!(task.statements, ["SELECT 1", "SELECT 2"]);
        assert_eq!(found.maintenance.unwrap().schedule.as_deref(), Some("@daily"));
    }

    #[test]
    fn every_key_of_sqliterg_is_known() {
        let source = "
journalMode: DELETE
auth: {mode: HTTP_BASIC, authErrorCode: 499, byCredentials: []}
macros:
  - id: M
    statements: [DELETE FROM T, ^S]
    disableTransaction: true
    execution: {onCreate: true, onStartup: true, period: 5, webService: {authToken: t, authErrorCode: 403}}
backup:
  backupDir: b
  numFiles: 2
  execution: {webService: {hashedAuthToken: ab}}
";
        let found = companion(source);
        assert_eq!(found.journal_mode.as_deref(), Some("DELETE"));
        assert_eq!(found.auth.unwrap().error_code, Some(499));
        let one = &found.macros[0];
        assert_eq!((one.id.as_str(), one.disable_transaction, one.execution.period), ("M", true, 5));
        assert!(one.execution.on_create && one.execution.on_startup);
        let web = one.execution.web_service.as_ref().unwrap();
        assert_eq!((web.auth_token.as_deref(), web.auth_error_code), (Some("t"), Some(403)));
        let backup = found.backup.unwrap();
        assert_eq!((backup.backup_dir.as_str(), backup.num_files), ("b", 2));
        assert_eq!(backup.execution.web_service.unwrap().hashed_auth_token.as_deref(), Some("ab"));
    }

    #[test]
    fn unknown_keys_are_warned_about() {
        let (found, _, warnings) = parse("readonly: true\nscheduledTasks:\n  - doBakup: true\n").unwrap();
        assert!(!found.read_only);
        let expected = [
            "unknown key 'scheduledTasks[0].doBakup' is ignored, did you mean 'scheduledTasks[0].doBackup'?",
            "unknown key 'readonly' is ignored, did you mean 'readOnly'?",
        ];
        assert_eq!(warnings, expected);
    }

    #[test]
    fn wrong_types_are_refused_with_the_messages_of_yaml_v2() {
        let cases = [
            (
                "readOnly: abc\n",
                "yaml: unmarshal errors:\n  line 1: cannot unmarshal !!str `abc` into bool\n  keys: readOnly",
            ),
            (
                "readOnly: 1\n",
                "yaml: unmarshal errors:\n  line 1: cannot unmarshal !!int `1` into bool\n  keys: readOnly",
            ),
            ("- a\n", "yaml: unmarshal errors:\n  line 1: cannot unmarshal !!seq into main.db"),
            (
                "initStatements: \"CREATE TABLE T(a)\"\n",
                "yaml: unmarshal errors:\n  line 1: cannot unmarshal !!str `CREATE ...` into []string\n  keys: initStatements",
            ),
        ];
        for (source, message) in cases {
            assert_eq!(parse(source).unwrap_err(), message, "{source:?}");
        }
        assert!(parse("auth: // ...\n").is_err());
        assert!(parse("\tbad: 1\n").is_err());
    }
}
