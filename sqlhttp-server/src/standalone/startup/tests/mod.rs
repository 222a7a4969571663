use super::*;

mod tasks;
use tempfile::TempDir;

/// A temporary directory for the files of a start. `<dir>` in arguments, files and expected lines is replaced with the
/// path of this directory.
struct StartDir(TempDir);

/// The outcome of a start, and the lines that it wrote to standard output and standard error.
struct StartResult {
    start: StartOutcome,
    out: Vec<String>,
    err: Vec<String>,
}

impl StartDir {
    fn new() -> Self {
        StartDir(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.0.path().join(name)
    }

    fn file(self, name: &str, content: &str) -> Self {
        std::fs::write(self.path(name), content.replace("<dir>", self.dir())).unwrap();
        self
    }

    fn dir(&self) -> &str {
        self.0.path().to_str().unwrap()
    }

    async fn start(&self, arguments: &[&str]) -> StartResult {
        self.start_with(arguments, &[]).await
    }

    async fn start_with(&self, arguments: &[&str], environment: &[(&str, &str)]) -> StartResult {
        let invocation = Invocation {
            arguments: arguments.iter().map(|word| word.replace("<dir>", self.dir()).into()).collect(),
            environment: environment.iter().map(|(k, v)| ((*k).to_owned(), v.replace("<dir>", self.dir()))).collect(),
        };
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let start = start(&invocation, &mut Console { out: &mut out, err: &mut err }).await;
        StartResult { start, out: self.lines(&out), err: self.lines(&err) }
    }

    /// Returns the lines of an output, with the path of the directory and the timestamps masked.
    fn lines(&self, bytes: &[u8]) -> Vec<String> {
        let mask = |line: &str| match line.split(" | ").collect::<Vec<_>>()[..] {
            [level, _, ref rest @ ..] if !rest.is_empty() => format!("{level} | <ts> | {}", rest.join(" | ")),
            _ => line.to_owned(),
        };
        let text = String::from_utf8(bytes.to_vec()).unwrap().replace(self.dir(), "<dir>");
        text.lines().map(mask).collect()
    }
}

impl StartResult {
    fn service(self) -> StartedService {
        match self.start {
            StartOutcome::Serve(service) => *service,
            StartOutcome::Exit(status) => panic!("exit {status}: {:?}", self.err),
        }
    }

    /// Returns the first line of the message with which the start failed.
    fn fatal(&self) -> &str {
        assert!(matches!(self.start, StartOutcome::Exit(1)), "{:?}", self.start);
        let line = self.err.iter().find_map(|line| line.strip_prefix("FATAL | <ts> | "));
        line.unwrap_or_else(|| panic!("{:?}", self.err))
    }

    /// Returns the line with the position of the error in the file and the remedy.
    fn error_location(&self) -> &str {
        assert!(matches!(self.start, StartOutcome::Exit(1)), "{:?}", self.start);
        self.err.last().unwrap().strip_prefix("  in ").unwrap_or_else(|| panic!("{:?}", self.err))
    }

    /// Returns the lines on standard output that follow the banner.
    fn lines(&self) -> &[String] {
        assert!(self.out[0].starts_with("sqlhttp-standalone v"), "{:?}", self.out);
        &self.out[1..]
    }
}

/// Starts a server with an in-memory database whose companion file has this content.
async fn with_companion(yaml: &str) -> StartResult {
    let dir = StartDir::new().file("c.yaml", yaml);
    dir.start(&["--mem-db", "m:<dir>/c.yaml"]).await
}

const SERVING: &str = "- Serving database 'm' from :memory:?_pragma=journal_mode(WAL)";
const PARSED: &str = "  + Parsed companion config file: <dir>/c.yaml";

async fn count(service: &StartedService, sql: &str) -> Option<i64> {
    let rows = rows(service, sql).await;
    rows.iter().next().and_then(|row| row.get(0)?.as_integer())
}

async fn text(service: &StartedService, sql: &str) -> Option<String> {
    let rows = rows(service, sql).await;
    rows.iter().next().and_then(|row| Some(row.get(0)?.as_text()?.into_owned()))
}

async fn rows(service: &StartedService, sql: &str) -> sqlhttp_core::Rows {
    use sqlhttp_core::{Batch, Step, StepOutcome};
    let outcome = service.databases[0].database.run(Batch::one(Step::query(sql, ()))).await.unwrap();
    match outcome.steps.into_iter().next() {
        Some(StepOutcome::Rows(rows)) => rows,
        other => panic!("{sql}: {other:?}"),
    }
}

#[tokio::test]
async fn version_and_help_exit_with_status_0() {
    let dir = StartDir::new();
    for arguments in [["--version"], ["-version=true"]] {
        let result = dir.start(&arguments).await;
        assert!(matches!(result.start, StartOutcome::Exit(0)) && result.lines().is_empty() && result.err.is_empty());
    }
    let result = dir.start(&["--help"]).await;
    assert!(matches!(result.start, StartOutcome::Exit(0)) && result.lines().is_empty());
    assert_eq!(result.err[0], "Usage of sqlhttp-standalone:");
}

#[tokio::test]
async fn a_generated_text_is_the_only_output() {
    for arguments in [&["--generate", "man"][..], &["-serve-dir=<dir>/none", "-generate=bash", "x"]] {
        let result = StartDir::new().start(arguments).await;
        assert!(matches!(result.start, StartOutcome::Exit(0)) && result.err.is_empty(), "{:?}", result.err);
        assert!(result.out.len() > 50 && !result.out[0].starts_with("sqlhttp-standalone v"), "{:?}", result.out);
    }
}

#[tokio::test]
async fn a_wrong_flag_ends_with_three_lines() {
    let help = "'sqlhttp-standalone -help' lists all flags.";
    for (words, expected) in [
        (&["--prot", "80"][..], &["flag provided but not defined: -prot", "Did you mean -port?", help][..]),
        (&["--xyzzyxyzzy"], &["flag provided but not defined: -xyzzyxyzzy", help]),
        (
            &["--port", "http"],
            &[
                "invalid value \"http\" for flag -port: parse error",
                "-port int: Port for the web service (default 12321)",
                help,
            ],
        ),
        (
            &["--generate", "powershell"],
            &[
                "invalid value \"powershell\" for flag -generate: must be one of man, bash, zsh, fish",
                "-generate man|bash|zsh|fish: Print the man page or the completion script of a shell, and exit",
                help,
            ],
        ),
    ] {
        let result = StartDir::new().start(words).await;
        assert!(matches!(result.start, StartOutcome::Exit(2)) && result.lines().is_empty());
        assert_eq!(result.err, expected);
    }
    let result = StartDir::new().start_with(&["--mem-db", "m"], &[("SQLHTTP_PORT", "http")]).await;
    assert!(matches!(result.start, StartOutcome::Exit(2)));
    assert_eq!(result.err[0], "invalid value \"http\" for SQLHTTP_PORT: parse error");
    assert_eq!(result.err.len(), 3, "{:?}", result.err);
}

#[tokio::test]
async fn there_must_be_something_to_serve() {
    for arguments in [&["foo", "--db", "x.db"][..], &[]] {
        let result = StartDir::new().start(arguments).await;
        assert_eq!(result.fatal(), "no database and no dir to serve specified");
        assert_eq!(result.err.len(), 1);
    }
}

#[tokio::test]
async fn words_after_the_flags_are_warned_about() {
    let dir = StartDir::new();
    let result = dir.start(&["--mem-db", "m", "foo", "--port", "1"]).await;
    let expected = "WARN | <ts> | ignored, because flags end at the first word that is none: foo --port 1";
    assert_eq!(result.err, [expected]);
    assert_eq!(result.service().server.port, 12321);
}

#[tokio::test]
async fn a_missing_file_is_created_and_an_existing_one_is_opened() {
    let dir = StartDir::new();
    let lines = [
        "- Serving database 'selfhost' from <dir>/selfhost.db?_pragma=journal_mode(WAL)",
        "  + No valid config file specified, using defaults",
        "  + File not present, it will be created",
        "  + Using WAL",
    ];
    let result = dir.start(&["-db=<dir>/selfhost.db"]).await;
    assert_eq!(result.lines(), lines);
    drop(result.service());
    assert!(dir.path("selfhost.db").is_file());
    let result = dir.start(&["--db", " <dir>/selfhost.db "]).await;
    assert_eq!(result.lines(), [lines[0], lines[1], lines[3]]);
}

#[tokio::test]
async fn a_companion_is_found_beside_the_database() {
    let yaml = "auth:\n  mode: HTTP\n  byCredentials:\n    - user: user1\n      password: password\n";
    let dir = StartDir::new().file("selfhost.db", "").file("selfhost.yaml", yaml);
    let result = dir.start(&["--db", "<dir>/./selfhost.db"]).await;
    let expected = [
        "- Serving database 'selfhost' from <dir>/./selfhost.db?_pragma=journal_mode(WAL)",
        "  + Parsed companion config file: <dir>/selfhost.yaml",
        "  + Using WAL",
        "  + Authentication enabled, with 1 credential",
    ];
    assert_eq!(result.lines(), expected);
}

#[tokio::test]
async fn databases_that_cannot_be_named_are_refused() {
    let cases = [
        (["--db", ".db"], "base filename cannot be empty"),
        (["--db", ""], "no path specified for db '.'."),
        (["--db", ":memory:"], "no path specified for db '.'."),
        (["--mem-db", ""], "no id specified for db #0."),
        (["--mem-db", "m:nope.yaml"], "mem-db yaml file does not exist"),
        (["--db", "<dir>/x.db:typo.yaml"], "companion file does not exist: typo.yaml"),
        (["--db", "<dir>/x.db:<dir>"], "companion file does not exist: <dir>"),
        (["--db", "~root/x.db"], "in expanding database file path: cannot expand user-specific home dir"),
        (["--serve-dir", "nope"], "directory to serve does not exist: nope"),
        (["--config", "nope.yaml"], "config file does not exist: nope.yaml"),
    ];
    for (arguments, message) in cases {
        let dir = StartDir::new();
        let result = dir.start(&arguments).await;
        assert_eq!(result.fatal(), message, "{arguments:?}");
        assert_eq!(result.lines(), Vec::<String>::new(), "{arguments:?}");
        assert_eq!(std::fs::read_dir(dir.0.path()).unwrap().count(), 0, "{arguments:?}");
    }
}

#[tokio::test]
async fn an_id_is_served_once_and_a_failed_start_removes_its_files() {
    let dir = StartDir::new();
    let result = dir.start(&["--db", "<dir>/x.db", "--db", "<dir>/x.sqlite"]).await;
    assert_eq!(result.fatal(), "id 'x' already specified.");
    assert_eq!(result.lines().len(), 4);
    assert_eq!(std::fs::read_dir(dir.0.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn files_that_existed_are_never_removed() {
    let dir = StartDir::new().file("old.db", "");
    let result = dir.start(&["--db", "<dir>/old.db", "--db", "<dir>/new.db", "--mem-db", "new"]).await;
    assert_eq!(result.fatal(), "id 'new' already specified.");
    assert!(dir.path("old.db").exists() && !dir.path("new.db").exists());
}

#[tokio::test]
async fn an_abandoned_service_leaves_nothing_behind() {
    let dir = StartDir::new();
    let service = dir.start(&["--db", "<dir>/x.db"]).await.service();
    service.abandon().await;
    assert_eq!(std::fs::read_dir(dir.0.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn file_databases_are_opened_before_in_memory_ones() {
    let dir = StartDir::new();
    let service = dir.start(&["--mem-db", "m", "--db", "<dir>/f.db"]).await.service();
    let ids: Vec<&str> = service.databases.iter().map(|opened| opened.config.id.as_str()).collect();
    assert_eq!(ids, ["f", "m"]);
}

#[tokio::test]
async fn a_directory_alone_can_be_served() {
    let dir = StartDir::new();
    let result = dir.start_with(&["--serve-dir", "~"], &[("HOME", "<dir>")]).await;
    assert_eq!(result.lines(), ["- Serving directory '<dir>'"]);
    assert_eq!(result.service().server.serve_dir.as_deref(), Some(dir.0.path()));
}

#[tokio::test]
async fn databases_that_cannot_be_opened_end_the_start() {
    let garbage = "This is no database, however long one looks at it. ".repeat(100);
    let dir = StartDir::new().file("n.db", &garbage);
    let result = dir.start(&["--db", "<dir>/n.db"]).await;
    assert_eq!(result.fatal(), "accessing the database 'n': file is not a database (26)");
    assert_eq!(result.lines().last().unwrap(), "  + Using WAL");
    assert_eq!(std::fs::read_to_string(dir.path("n.db")).unwrap(), garbage);
    let result = dir.start(&["--db", "<dir>/none/x.db"]).await;
    assert_eq!(result.fatal(), "accessing the database 'x': unable to open database file (14)");
    assert_eq!(result.lines().len(), 4);
}

#[tokio::test]
async fn paths_may_contain_special_characters() {
    let dir = StartDir::new();
    for name in ["what?.db", "数据.db", "a b#c%20.db"] {
        drop(dir.start(&["--db", &format!("<dir>/{name}")]).await.service());
        assert!(dir.path(name).is_file(), "{name}");
    }
}

#[tokio::test]
async fn companions_that_cannot_be_read_end_the_start() {
    let cases = [
        ("readOnly: abc\n", "  line 1: cannot unmarshal !!str `abc` into bool", "readOnly"),
        ("auth: {mode: [1]}\n", "  line 1: cannot unmarshal !!seq into string", "auth.mode"),
        (
            "scheduledTasks: [{atStartup: 1}]\n",
            "  line 1: cannot unmarshal !!int `1` into bool",
            "scheduledTasks[0].atStartup",
        ),
        ("storedStatements: [1]\n", "  line 1: cannot unmarshal !!int `1` into map", "storedStatements[0]"),
    ];
    for (yaml, second, key) in cases {
        let keys = format!("  keys: {key}");
        let result = with_companion(yaml).await;
        let file = "  in <dir>/c.yaml, the configuration of 'm'";
        let first = "FATAL | <ts> | in parsing config file: yaml: unmarshal errors:";
        assert_eq!(result.err, [first, second, &keys, file]);
        assert!(result.lines().is_empty());
    }
    assert!(with_companion("\tbad: 1\n").await.fatal().starts_with("in parsing config file: yaml: "));
}

#[tokio::test]
async fn wrong_rules_end_the_start_after_the_lines_before_them() {
    let cases: [(&str, &[&str], &str); 10] = [
        ("auth: {}\n", &[], "Auth Mode must be INLINE or HTTP"),
        (
            "useOnlyStoredStatements: true\n",
            &["  + Strictly using only stored statements"],
            "for db 'm', specified to use only stored statements but no one is provided",
        ),
        ("storedStatements:\n  - id: A\n", &[], "no ID or SQL specified for stored statement #0 in database 'm'"),
        (
            "initStatements: [\"CREATE TABLE T(a)\",\"CREATE TABLE T(a)\"]\n",
            &[],
            "in init statement #2 for database 'm': SQL logic error: table T already exists (1)",
        ),
        ("scheduledTasks: [{schedule: '0 0 * * 7'}]\n", &[], "end of range (7) above maximum (6): 7"),
        ("scheduledTasks: [{schedule: ''}]\n", &[], "empty spec string"),
        ("scheduledTasks: [{doVacuum: yes}]\n", &[], "error: task 0 must be scheduled or atStartup"),
        ("scheduledTasks: [{schedule: '@daily', doBackup: true}]\n", &[], "the backup template must have a value"),
        (
            "scheduledTasks: [{atStartup: true, doBackup: true}]\n",
            &["  + Task 0 scheduled at startup"],
            "the backup template must have a value",
        ),
        (
            "maintenance: {atStartup: true}\nscheduledTasks: [{atStartup: true}]\n",
            &[],
            "in m: it's not possible to use both old maintenance and new scheduledTasks together. Move the \
             maintenance task in the latter.",
        ),
    ];
    for (yaml, lines, message) in cases {
        let result = with_companion(yaml).await;
        assert_eq!(result.fatal(), message, "{yaml}");
        let expected: Vec<&str> = [SERVING, PARSED, "  + Using WAL"].iter().chain(lines).copied().collect();
        assert_eq!(result.lines(), expected, "{yaml}");
    }
}

#[tokio::test]
async fn errors_contain_file_line_key_and_remedy() {
    let cases = [
        ("readOnly: no\nauth:\n  mode: basic\n", "line 3, auth.mode: write HTTP (Basic"),
        ("auth:\n  mode: HTTP\n", "line 2, auth: add one of the two"),
        (
            "auth:\n  mode: HTTP\n  byCredentials:\n    - {user: a, password: b}\n    - {user: c}\n",
            "line 5, auth.byCredentials[1]: user 'c' needs one of the two",
        ),
        (
            "auth: {mode: HTTP, byCredentials: [{user: a, hashedPassword: cc}]}\n",
            "line 1, auth.byCredentials[0].hashedPassword: write the 64 hexadecimal digits",
        ),
        (
            "scheduledTasks:\n  - atStartup: true\n  - schedule: '0 0 * * 7'\n",
            "line 3, scheduledTasks[1].schedule: '0 0 * * 7' is no schedule; write five fields",
        ),
        ("scheduledTasks:\n  - doVacuum: true\n", "line 2, scheduledTasks[0]: add 'schedule: "),
        (
            "maintenance:\n  schedule: '@daily'\n  doBackup: true\n",
            "line 2, maintenance.backupTemplate: write the path of the backup files with %s",
        ),
        (
            "scheduledTasks:\n  - schedule: '@daily'\n    doBackup: true\n    backupTemplate: b_%s.db\n    numFiles: 0\n",
            "line 5, scheduledTasks[0].numFiles: write how many",
        ),
        (
            "scheduledTasks:\n  - atStartup: true\n    doBackup: true\n",
            "line 2, scheduledTasks[0].backupTemplate: write",
        ),
        ("journalMode: OFF\n", "line 1, journalMode: write WAL"),
        ("corsOrigin: a.com\n", "line 1, corsOrigin: write origins with their scheme"),
        ("useOnlyStoredStatements: true\n", "line 1, useOnlyStoredStatements: add 'storedStatements'"),
        ("macros:\n  - id: m\n    statements: ['^none']\n", "line 3, macros[0].statements: add it"),
        ("backup:\n  numFiles: 1\n", "line 2, backup.backupDir: write the directory"),
    ];
    for (yaml, expected) in cases {
        let result = with_companion(yaml).await;
        let location = result.error_location().strip_prefix("<dir>/c.yaml, ").unwrap();
        assert!(location.starts_with(expected), "{yaml}: {:?}", result.err);
    }
    let dir = StartDir::new()
        .file("all.yaml", "databases:\n  - {id: a, inMemory: true}\n  - id: b\n    inMemory: true\n    auth: {}\n");
    let result = dir.start(&["--config", "<dir>/all.yaml"]).await;
    assert!(
        result.error_location().starts_with("<dir>/all.yaml, line 5, databases[1].auth.mode: write HTTP"),
        "{:?}",
        result.err
    );
}

#[tokio::test]
async fn a_new_database_cannot_be_read_only_and_initialised() {
    let result = with_companion("readOnly: true\ninitStatements: [\"CREATE TABLE T(a)\"]\n").await;
    assert_eq!(result.fatal(), "'m': a new db cannot be read only and have init statement");
    let serving = "- Serving database 'm' from :memory:?_pragma=query_only(true)&_pragma=journal_mode(WAL)";
    assert_eq!(result.lines(), [serving, PARSED]);
}

#[tokio::test]
async fn all_lines_are_in_the_order_of_ws4sqlite() {
    let yaml = "readOnly: true\nuseOnlyStoredStatements: true\nstoredStatements: [{id: a, sql: select 1}]\ncorsOrigin: \
                \"*\"\nauth: {mode: inline, byCredentials: [{user: u, password: p}], customErrorCode: \
                499}\nscheduledTasks: [{schedule: \"0 0 * * *\", atStartup: true, statements: [SELECT 1]}]\n";
    let result = with_companion(yaml).await;
    let expected = [
        "- Serving database 'm' from :memory:?_pragma=query_only(true)&_pragma=journal_mode(WAL)",
        PARSED,
        "  + Using WAL",
        "  + Read only",
        "  + Strictly using only stored statements",
        "  + With 1 stored statements",
        "  + Authentication enabled, with 1 credential",
        "  + Custom code for Unauthorized: 499",
        "  + Task 0 scheduled at 12:00 am",
        "  + Task 0 scheduled at startup",
        "  + CORS Origin set to *",
    ];
    assert_eq!(result.lines(), expected);
    assert_eq!(result.err, Vec::<String>::new());
}

#[tokio::test]
async fn maintenance_is_deprecated() {
    let result = with_companion("maintenance:\n  schedule: \"0 0 * * *\"\n  doVacuum: true\n").await;
    let warning = "WARN | <ts> | in m: \"maintenance\" node is deprecated, move it to \"scheduledTasks\"";
    assert_eq!(result.lines()[3..], [warning, "  + Task 0 scheduled at 12:00 am"]);
}

#[tokio::test]
async fn unknown_keys_are_warned_about() {
    let result = with_companion("schedTasks:\n  - atStartup: true\n").await;
    let warning = "WARN | <ts> | in <dir>/c.yaml: unknown key 'schedTasks' is ignored, did you mean 'scheduledTasks'?";
    assert_eq!(result.err, [warning]);
    assert!(result.service().databases[0].config.tasks.is_empty());
}

#[tokio::test]
async fn a_wrong_cors_origin_ends_the_start() {
    let result = with_companion("corsOrigin: a.com\n").await;
    assert!(result.fatal().contains("a.com"), "{}", result.fatal());
    assert_eq!(result.lines().last().unwrap(), "  + CORS Origin set to a.com");
}

#[tokio::test]
async fn one_file_lists_several_databases() {
    let yaml = "
server: {port: 1, bind-host: '::1', max-rows: 5, bogus: 1}
databases:
  - {path: '<dir>/a.db', initStatements: [CREATE TABLE T(a)]}
  - {id: mem, inMemory: true, readOnly: true}
";
    let dir = StartDir::new().file("all.yaml", yaml);
    let result = dir.start_with(&["--config", "<dir>/all.yaml", "--mem-db", "m"], &[("SQLHTTP_PORT", "2")]).await;
    let expected = [
        "- Serving database 'm' from :memory:?_pragma=journal_mode(WAL)",
        "  + No valid config file specified, using defaults",
        "  + Using WAL",
        "- Serving database 'a' from <dir>/a.db?_pragma=journal_mode(WAL)",
        "  + Configured in config file: <dir>/all.yaml",
        "  + File not present, it will be created",
        "  + Using WAL",
        "  + 1 init statements performed",
        "- Serving database 'mem' from :memory:?_pragma=query_only(true)&_pragma=journal_mode(WAL)",
        "  + Configured in config file: <dir>/all.yaml",
        "  + Using WAL",
        "  + Read only",
    ];
    assert_eq!(result.lines(), expected);
    assert_eq!(result.err, ["WARN | <ts> | in <dir>/all.yaml: unknown key 'server.bogus' is ignored"]);
    let service = result.service();
    assert_eq!((service.server.port, bind_host(&service.server)), (2, "::1"));
}

#[test]
fn addresses_are_written_with_brackets_where_needed() {
    assert_eq!(messages::address("0.0.0.0", 12321), "0.0.0.0:12321");
    assert_eq!(messages::address("::1", 1), "[::1]:1");
    assert_eq!(messages::address("[::1]", 1), "[::1]:1");
    let busy = io::Error::from(io::ErrorKind::AddrInUse);
    let expected = "failed to listen: listen tcp 127.0.0.1:1: bind: address already in use";
    assert_eq!(listen_failure("127.0.0.1", 1, &busy), expected);
}

#[test]
fn the_listening_line_is_the_last() {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    Console { out: &mut out, err: &mut err }.listening("::1", 80);
    assert_eq!(String::from_utf8(out).unwrap(), "- Web Service listening on [::1]:80\n");
}

#[cfg(unix)]
#[tokio::test]
async fn arguments_must_be_utf8() {
    use std::os::unix::ffi::OsStringExt;
    let invocation = Invocation { arguments: vec![OsString::from_vec(vec![0xff])], environment: HashMap::new() };
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let ended = start(&invocation, &mut Console { out: &mut out, err: &mut err }).await;
    assert!(matches!(ended, StartOutcome::Exit(2)));
}
