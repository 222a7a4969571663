//! The move from ws4sqlite to `sqlhttp-standalone`: parses the command line of ws4sqlite, and writes the report.
//! [`parse`] and [`report`] access no files; [`look`] and [`perform`] do.

use std::fs;
use std::path::{Path, PathBuf};

use sqlhttp_text::flag::{FlagKind, Scanned, Value, scan};
use sqlhttp_text::spelling;

use super::companion::{self, Companion};
use super::database::{self, DatabaseError};
use super::report::{CommandLine, Difference, Problem, Report, Step};
use super::words;
use crate::partial_file::with_suffix;

/// The document with the differences.
const DOCUMENT: &str = "docs/differences.md";
const PROGRAM: &str = "sqlhttp-standalone";
/// The name that messages about the command line have in place of a file name.
const COMMAND_LINE: &str = "command line";

/// The flags of ws4sqlite 0.16. All of them are flags of `sqlhttp-standalone` with the same meaning.
const FLAGS: [(&str, FlagKind); 6] = [
    ("db", FlagKind::List),
    ("mem-db", FlagKind::List),
    ("serve-dir", FlagKind::Text),
    ("bind-host", FlagKind::Text),
    ("port", FlagKind::Int),
    ("version", FlagKind::Bool),
];

/// A parsed command line of ws4sqlite.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Command {
    /// The databases in the order in which the servers open them: files first.
    pub(crate) databases: Vec<Database>,
    pub(crate) serve_dir: Option<String>,
    pub(crate) bind_host: Option<String>,
    pub(crate) port: Option<i64>,
    /// The mistakes on the command line.
    pub(crate) problems: Vec<Problem>,
}

/// A database on the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Database {
    /// The id, which is the path of the database in URLs.
    pub(crate) id: String,
    /// The path of the file as typed; `None` for an in-memory database.
    pub(crate) path: Option<String>,
    /// The path of the companion file as typed; `None` if it is not on the command line.
    pub(crate) companion: Option<String>,
}

/// The state of the files that a command line names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Facts {
    /// The facts about the databases, in their order.
    pub(crate) databases: Vec<DatabaseFacts>,
    /// Whether `--serve-dir` names a directory.
    pub(crate) serve_dir_exists: bool,
}

/// The state of a database file and of its companion file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DatabaseFacts {
    pub(crate) file: FileFacts,
    /// The path and the content of the companion file.
    pub(crate) companion: Option<(String, CompanionText)>,
}

/// The state of a database file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum FileFacts {
    /// The database is in memory.
    Memory,
    Missing,
    /// The file exists. Contains its size, and that of the WAL beside it, in bytes.
    Present {
        size: u64,
        wal: Option<u64>,
    },
}

/// The content of a companion file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum CompanionText {
    Missing,
    /// The file cannot be read, for this reason.
    Unreadable(String),
    Text(String),
}

/// Something in use that behaves differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Feature {
    Attach,
    Auth,
    AuthQuery,
    Backup,
    BareIpv6,
    CorsOrigin,
    ErrorCode,
    FileDatabase,
    FixedPragma,
    HarmlessPragma,
    HashedPassword,
    HttpAuth,
    IdsDifferInCase,
    NamedCompanionMissing,
    OneCredential,
    OpenTransaction,
    OriginWithoutScheme,
    RandomPort,
    ReadOnly,
    ReadOnlyBackup,
    ScheduleDescriptor,
    TimeOrRandom,
    TransactionControl,
    UnknownKey,
    UnsafeJournal,
}

impl Feature {
    /// All features.
    #[cfg(test)]
    const ALL: [Feature; 25] = [
        Feature::Attach,
        Feature::Auth,
        Feature::AuthQuery,
        Feature::Backup,
        Feature::BareIpv6,
        Feature::CorsOrigin,
        Feature::ErrorCode,
        Feature::FileDatabase,
        Feature::FixedPragma,
        Feature::HarmlessPragma,
        Feature::HashedPassword,
        Feature::HttpAuth,
        Feature::IdsDifferInCase,
        Feature::NamedCompanionMissing,
        Feature::OneCredential,
        Feature::OpenTransaction,
        Feature::OriginWithoutScheme,
        Feature::RandomPort,
        Feature::ReadOnly,
        Feature::ReadOnlyBackup,
        Feature::ScheduleDescriptor,
        Feature::TimeOrRandom,
        Feature::TransactionControl,
        Feature::UnknownKey,
        Feature::UnsafeJournal,
    ];

    /// The rows of the document about the feature: the beginning of their first cell, and the difference.
    fn rows(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Feature::Attach => &[("ATTACH, DETACH", "refused with status 400; -allow-attach allows ATTACH")],
            Feature::Auth => &[(
                "failed logins",
                "failed logins are delayed without blocking the database for others; more than thirty that wait \
                 receive 503",
            )],
            Feature::AuthQuery => &[(
                "a login that is checked by a SQL query",
                "the query never sees uncommitted rows; in ws4sqlite it may",
            )],
            Feature::Backup => &[
                ("a missing backup directory", "a missing backup directory is created; ws4sqlite does not start"),
                ("two backups in one minute", "a second backup in one minute gets a suffix; in ws4sqlite it fails"),
                (
                    "rotation of backups",
                    "rotation deletes only the oldest backups; ws4sqlite may delete the newest one, or other files",
                ),
                ("a backup of a damaged database", "a damaged database is not backed up: the task reports an error"),
            ],
            Feature::BareIpv6 => &[("bare `::1`", "an IPv6 address without brackets works")],
            Feature::CorsOrigin => &[(
                "a request that a page of another site",
                "a form or text/plain POST of another site's page is refused with 403, unless corsOrigin allows \
                 its origin",
            )],
            Feature::ErrorCode => &[(
                "`customErrorCode` outside 400 to 599",
                "the server does not start; ws4sqlite sends the status as it is, and 0 as 200",
            )],
            Feature::FileDatabase => &[(
                "the database file is removed or replaced while it is served",
                "if the file is replaced while it is served, writes are refused; in ws4sqlite they are lost",
            )],
            Feature::FixedPragma => &[(
                "`PRAGMA journal_mode`, `PRAGMA locking_mode`",
                "PRAGMA journal_mode and locking_mode have no effect; the key journalMode sets the mode",
            )],
            Feature::HarmlessPragma => {
                &[("`PRAGMA busy_timeout`", "setting PRAGMA busy_timeout or mmap_size has no effect")]
            }
            Feature::HashedPassword => &[(
                "passwords with `hashedPassword`",
                "clients send the password, not the hash, as ws4sqlite itself expects; some of its instructions differ",
            )],
            Feature::HttpAuth => &[(
                "`WWW-Authenticate` on 401",
                "responses with 401 contain WWW-Authenticate, so browsers ask for a password",
            )],
            Feature::IdsDifferInCase => &[(
                "the database id in a path",
                "if ids differ only in case, the one with the exact case takes precedence; in ws4sqlite it is \
                 undefined",
            )],
            Feature::NamedCompanionMissing => &[(
                "a companion file that is named but does not exist",
                "the server does not start; ws4sqlite ignores the missing file and its settings without a message",
            )],
            Feature::OneCredential => &[(
                "the number of credentials in the start-up lines",
                "the start-up line contains '1 credential', in ws4sqlite '1 credentials'",
            )],
            Feature::OpenTransaction => &[(
                "`BEGIN` in `initStatements` or a task without its `COMMIT`",
                "BEGIN without COMMIT is rolled back, and the start or the task fails; in ws4sqlite later requests \
                 fail",
            )],
            Feature::OriginWithoutScheme => {
                &[("`corsOrigin` without a scheme", "an error message and exit status 1; ws4sqlite crashes")]
            }
            Feature::RandomPort => {
                &[("the line `Web Service listening`", "the line 'Web Service listening' contains the actual port")]
            }
            Feature::ReadOnly => &[("`readOnly`", "a client cannot switch it off; in ws4sqlite it can")],
            Feature::ReadOnlyBackup => {
                &[("backups of a read-only database", "backups are complete copies; in ws4sqlite they are empty files")]
            }
            Feature::ScheduleDescriptor => {
                &[("`@daily`", "schedules such as @daily are accepted; ws4sqlite does not start")]
            }
            Feature::TimeOrRandom => &[(
                "time and random values in SQL",
                "all statements of a request see one time and one random seed; in ws4sqlite they differ from call \
                 to call",
            )],
            Feature::TransactionControl => &[(
                "BEGIN, COMMIT, END, ROLLBACK, SAVEPOINT, RELEASE",
                "transaction control is refused anywhere in the SQL text, except BEGIN … COMMIT around a whole script",
            )],
            Feature::UnknownKey => &[(
                "unknown keys in configuration files",
                "the key is unknown to both servers and has no effect; sqlhttp-standalone logs a warning",
            )],
            Feature::UnsafeJournal => &[(
                "`journalMode: MEMORY`, `OFF`",
                "the server does not start, because a crash in this mode can damage the database",
            )],
        }
    }
}

/// Parses a command line of ws4sqlite, with or without the name of the program.
pub(crate) fn parse(line: &[String]) -> Command {
    let line = match line {
        [program, rest @ ..] if !program.starts_with('-') => rest,
        line => line,
    };
    let mut command = Command::default();
    let mut databases: [Vec<Database>; 2] = Default::default();
    for (name, value) in flags_of(line, &mut command.problems) {
        match (name.as_str(), value) {
            ("db", Value::Text(typed)) => databases[0].extend(command.file_database(&typed)),
            ("mem-db", Value::Text(typed)) => databases[1].extend(command.memory_database(&typed)),
            ("serve-dir", Value::Text(path)) => command.serve_dir = Some(path).filter(|path| !path.is_empty()),
            ("bind-host", Value::Text(host)) => command.bind_host = Some(host),
            ("port", Value::Int(port)) => command.port = Some(port),
            _ => {}
        }
    }
    command.databases = databases.into_iter().flatten().collect();
    command.check();
    command
}

/// Returns the flags of a command line with their values. A word with a mistake becomes a problem and is left out.
fn flags_of(line: &[String], problems: &mut Vec<Problem>) -> Vec<(String, Value)> {
    let mut words = line.to_vec();
    loop {
        let mut found = Vec::new();
        let kind_of = |name: &str| FLAGS.iter().find(|(known, _)| *known == name).map(|(_, kind)| *kind);
        let scanned = scan(&words, kind_of, |name, value| found.push((name.to_owned(), value)));
        let error = match scanned {
            Ok(Scanned::Rest(ignored)) => {
                problems.extend(ignored.first().map(|word| stray_word(word)));
                return found;
            }
            Ok(Scanned::Help) => return found,
            Err(error) => error,
        };
        let Some(at) = words.iter().position(|word| is_flag(word, &error.name)) else { return found };
        problems.push(flag_problem(&error.name, &error.message));
        words.remove(at);
        // The word after an unknown flag is probably its value.
        if words.get(at).is_some_and(|word| !word.starts_with('-')) {
            words.remove(at);
        }
    }
}

/// Returns whether a word is the flag with this name, or has an invalid syntax if the name is empty.
fn is_flag(word: &str, name: &str) -> bool {
    let typed = word.strip_prefix("--").or_else(|| word.strip_prefix('-'));
    typed.is_some_and(|typed| match name {
        "" => typed.starts_with(['-', '=']),
        name => typed.split('=').next() == Some(name),
    })
}

fn flag_problem(name: &str, message: &str) -> Problem {
    let key = if name.is_empty() { String::new() } else { format!("--{name}") };
    let nearest = spelling::nearest(name, FLAGS.iter().map(|(known, _)| *known));
    let remedy = match nearest {
        Some(known) if known != name => format!("the flag is left out; did you mean --{known}?"),
        _ => "the flag is left out; correct it, or remove it".to_owned(),
    };
    Problem::new(COMMAND_LINE, key, message, remedy)
}

fn stray_word(word: &str) -> Problem {
    let message = "this word is no flag, so ws4sqlite ignores it and all flags after it";
    Problem::new(COMMAND_LINE, word, message, "remove the word, or write the missing flag before it")
}

impl Command {
    fn file_database(&mut self, typed: &str) -> Option<Database> {
        let (path, companion) = split(typed);
        match id_of(path) {
            Some(id) => Some(Database { id, path: Some(path.to_owned()), companion }),
            None => {
                let message = format!("'{typed}' contains no file name");
                self.problems.push(Problem::new(COMMAND_LINE, "--db", message, "write the path of the database file"));
                None
            }
        }
    }

    fn memory_database(&mut self, typed: &str) -> Option<Database> {
        let (id, companion) = split(typed);
        if id.is_empty() {
            let message = format!("'{typed}' contains no id");
            self.problems.push(Problem::new(COMMAND_LINE, "--mem-db", message, "write the id before the colon"));
            return None;
        }
        Some(Database { id: id.to_owned(), path: None, companion })
    }

    /// Finds mistakes that concern several flags.
    fn check(&mut self) {
        for (index, database) in self.databases.iter().enumerate() {
            if self.databases[..index].iter().any(|earlier| earlier.id == database.id) {
                let message = format!("two databases have the id '{}'", database.id);
                self.problems.push(Problem::new(COMMAND_LINE, "--db", message, "rename a file, or remove a flag"));
            }
        }
        if self.databases.is_empty() && self.serve_dir.is_none() {
            let message = "there is no database and no directory to serve";
            self.problems.push(Problem::new(COMMAND_LINE, "--db", message, "name the database files with --db"));
        }
    }

    /// Returns the command line of `sqlhttp-standalone` with these databases.
    fn words(&self, databases: &[Database]) -> Vec<String> {
        let mut words = vec![PROGRAM.to_owned()];
        let mut add = |name: &str, value: String| words.extend([format!("--{name}"), value]);
        for database in databases {
            let flag = if database.path.is_some() { "db" } else { "mem-db" };
            let name = database.path.as_ref().unwrap_or(&database.id);
            add(flag, database.companion.as_ref().map_or(name.clone(), |companion| format!("{name}:{companion}")));
        }
        if let Some(host) = &self.bind_host {
            add("bind-host", host.clone());
        }
        if let Some(port) = self.port {
            add("port", port.to_string());
        }
        if let Some(directory) = &self.serve_dir {
            add("serve-dir", directory.clone());
        }
        words
    }
}

impl Database {
    /// The file or the id, for messages.
    fn name(&self) -> &str {
        self.path.as_deref().unwrap_or(&self.id)
    }

    /// The path of the companion file: the one on the command line, or `<id>.yaml` beside the database file.
    fn companion_path(&self) -> Option<String> {
        let beside = |path: &String| Path::new(path).with_file_name(format!("{}.yaml", self.id)).display().to_string();
        self.companion.clone().or_else(|| self.path.as_ref().map(beside))
    }
}

/// Splits `PATH:YAML` at the first colon.
fn split(typed: &str) -> (&str, Option<String>) {
    match typed.trim().split_once(':') {
        Some((path, companion)) => (path, Some(companion.to_owned())),
        None => (typed.trim(), None),
    }
}

/// Returns the id of a database file: its name without the last extension.
fn id_of(path: &str) -> Option<String> {
    let name = path.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
    let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
    (!stem.is_empty()).then(|| stem.to_owned())
}

/// Returns a path with the home directory in place of `~`.
fn expanded(path: &str) -> PathBuf {
    let home = || std::env::var_os("HOME").map(PathBuf::from);
    match path.strip_prefix('~') {
        Some("") => home().unwrap_or_else(|| PathBuf::from(path)),
        Some(rest) if rest.starts_with('/') => {
            home().map_or_else(|| PathBuf::from(path), |home| home.join(rest.trim_start_matches('/')))
        }
        _ => PathBuf::from(path),
    }
}

/// Looks at the files of a command line.
pub(crate) fn look(command: &Command) -> Facts {
    let databases = command.databases.iter().map(|database| DatabaseFacts {
        file: database.path.as_ref().map_or(FileFacts::Memory, |path| look_at_file(&expanded(path))),
        companion: database.companion_path().map(|path| (path.clone(), read_companion(&expanded(&path)))),
    });
    let is_directory = |path: &String| expanded(path).is_dir();
    Facts { databases: databases.collect(), serve_dir_exists: command.serve_dir.as_ref().is_some_and(is_directory) }
}

fn look_at_file(path: &Path) -> FileFacts {
    let size = |path: &Path| fs::metadata(path).ok().filter(fs::Metadata::is_file).map(|metadata| metadata.len());
    match size(path) {
        None => FileFacts::Missing,
        Some(bytes) => FileFacts::Present { size: bytes, wal: size(&with_suffix(path, "-wal")) },
    }
}

fn read_companion(path: &Path) -> CompanionText {
    match fs::read_to_string(path) {
        Ok(text) => CompanionText::Text(text),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => CompanionText::Missing,
        Err(error) => CompanionText::Unreadable(error.to_string()),
    }
}

/// Returns the report on a command line and its files.
pub(crate) fn report(command: &Command, facts: &Facts) -> Report {
    let mut report = Report { document: DOCUMENT, problems: command.problems.clone(), ..Report::default() };
    if !command.databases.is_empty() || command.serve_dir.is_some() {
        let label = String::new();
        report.command_lines.push(CommandLine { label, words: command.words(&command.databases) });
    }
    report_flags(command, facts, &mut report);
    for (database, facts) in command.databases.iter().zip(&facts.databases) {
        report_file(database, &facts.file, &mut report);
        if let Some((path, text)) = &facts.companion {
            report_companion(database, path, text, &mut report);
        }
    }
    if command.databases.iter().any(|database| database.path.is_some()) {
        report.files.push("Both servers must not run on the same file at the same time.".to_owned());
    }
    report.steps = steps();
    report
}

fn report_flags(command: &Command, facts: &Facts, report: &mut Report) {
    if command.databases.iter().any(|database| database.path.is_some()) {
        report.uses("--db", Feature::FileDatabase);
    }
    let host = command.bind_host.as_deref().unwrap_or_default();
    if host.contains(':') && !host.starts_with('[') {
        report.uses("--bind-host", Feature::BareIpv6);
    }
    if command.port == Some(0) {
        report.uses("--port", Feature::RandomPort);
    }
    let folded: Vec<String> = command.databases.iter().map(|database| database.id.to_lowercase()).collect();
    let ids = command.databases.iter().map(|database| &database.id);
    for (index, id) in ids.enumerate() {
        let earlier = folded[..index].iter().position(|other| *other == folded[index]);
        if earlier.is_some_and(|at| command.databases[at].id != *id) {
            report.uses(&format!("id {id}"), Feature::IdsDifferInCase);
        }
    }
    if let Some(directory) = command.serve_dir.as_ref().filter(|_| !facts.serve_dir_exists) {
        let remedy = "create the directory, or remove the flag";
        report.problems.push(Problem::new(directory, "--serve-dir", "the directory does not exist", remedy));
    }
}

fn report_file(database: &Database, facts: &FileFacts, report: &mut Report) {
    let name = database.name();
    match facts {
        FileFacts::Memory => report.files.push(format!("{name}: in memory, so there is no file to move")),
        FileFacts::Missing => {
            report.files.push(format!("{name}: does not exist"));
            let message = "the file does not exist; both servers would create an empty database";
            let remedy = "run this command in the working directory of ws4sqlite, or correct the path";
            report.problems.push(Problem::new(name, "--db", message, remedy));
        }
        FileFacts::Present { size, wal } => {
            let wal = match wal {
                None => "no WAL beside it".to_owned(),
                Some(wal) => {
                    format!("{name}-wal beside it has {wal} bytes: ws4sqlite runs, or has not closed the database")
                }
            };
            report.files.push(format!("{name}: {size} bytes, {wal}"));
        }
    }
}

fn report_companion(database: &Database, path: &str, text: &CompanionText, report: &mut Report) {
    match text {
        CompanionText::Missing if database.companion.is_some() => {
            let remedy = "create the file, or remove its name from the command line";
            report.problems.push(Problem::new(path, "", "the file does not exist", remedy));
            // ws4sqlite itself refuses this for an in-memory database.
            if database.path.is_some() {
                report.uses(path, Feature::NamedCompanionMissing);
            }
        }
        CompanionText::Missing => {}
        CompanionText::Unreadable(why) => {
            report.problems.push(Problem::new(path, "", why, "make it a file that you can read"));
        }
        CompanionText::Text(text) => match companion::read(text) {
            Ok(companion) => report_keys(path, companion, report),
            Err(why) => {
                let message = format!("this is not YAML: {}", why.replace('\n', " "));
                report.problems.push(Problem::new(path, "", message, "correct the line"));
            }
        },
    }
}

fn report_keys(path: &str, companion: Companion, report: &mut Report) {
    for (key, feature) in companion.uses {
        report.uses(&format!("{path}: {key}"), feature);
    }
    for (key, nearest) in companion.unknown {
        let hint = nearest.map_or(String::new(), |known| format!(" (did you mean {known}?)"));
        report.uses(&format!("{path}: {key}{hint}"), Feature::UnknownKey);
    }
    for mistake in companion.mistakes {
        report.problems.push(Problem::new(path, mistake.key, mistake.message, mistake.remedy));
    }
    for template in companion.relative_backups {
        report.files.push(format!("{template}: backups, relative to the working directory of the server"));
    }
}

impl Report {
    /// Adds the differences of a feature in use.
    fn uses(&mut self, used: &str, feature: Feature) {
        for (topic, text) in feature.rows() {
            self.add_difference(Difference { used: used.to_owned(), topic, text: (*text).to_owned() });
        }
    }
}

fn steps() -> Vec<Step> {
    vec![
        Step::new("Stop ws4sqlite.", []),
        Step::new("To keep its files as they are, copy them: --perform --to DIR before the '--' of this command.", []),
        Step::new("Start sqlhttp-standalone with the command line above, in the working directory of ws4sqlite.", []),
    ]
}

/// Copies the databases and the companion files into a directory, and adds the results to the report.
pub(crate) fn perform(command: &Command, facts: &Facts, directory: &Path, report: &mut Report) {
    let shown = directory.display().to_string();
    if shown.contains(':') {
        let remedy = "choose another directory";
        report.problems.push(Problem::new(&shown, "--to", "ws4sqlite's syntax allows no colon in a path", remedy));
        return;
    }
    if let Err(error) = fs::create_dir_all(directory) {
        let remedy = "choose a directory in which you can write";
        report.problems.push(Problem::new(&shown, "--to", error.to_string(), remedy));
        return;
    }
    for line in &mut report.command_lines {
        line.label = "for the files where they are".to_owned();
    }
    let mut copies = Vec::new();
    for (database, facts) in command.databases.iter().zip(&facts.databases) {
        copies.extend(copy(database, facts, directory, report));
    }
    if copies.len() == command.databases.len() {
        let label = format!("for the copies in {}", words::quote(&shown));
        report.command_lines.push(CommandLine { label, words: command.words(&copies) });
    }
    report.steps = vec![
        Step::new(
            "If ws4sqlite runs, stop it, and copy again into another directory: its later writes are not copied.",
            [],
        ),
        Step::new("Start sqlhttp-standalone with the command line for the copies, in the same working directory.", []),
    ];
}

/// Copies the files of a database. Returns the database of the copies, or `None` if a copy has failed.
fn copy(database: &Database, facts: &DatabaseFacts, directory: &Path, report: &mut Report) -> Option<Database> {
    let mut copied = database.clone();
    copied.companion = None;
    if let Some(path) = &database.path {
        if facts.file == FileFacts::Missing {
            // The missing file is a problem already.
            return None;
        }
        let source = expanded(path);
        let target = directory.join(source.file_name()?);
        match database::copy(&source, &target) {
            Ok(size) => report.files.push(format!("{}: a copy of {path}, {size} bytes, checked", target.display())),
            Err(error) => {
                report.problems.push(copy_problem(path, &target, &error));
                return None;
            }
        }
        copied.path = Some(target.display().to_string());
    }
    let Some((path, CompanionText::Text(_))) = &facts.companion else { return Some(copied) };
    let target = directory.join(format!("{}.yaml", database.id.replace('/', "_")));
    if let Err(error) = copy_new(&expanded(path), &target) {
        report.problems.push(copy_problem(path, &target, &error));
        return None;
    }
    report.files.push(format!("{}: a copy of {path}", target.display()));
    // The companion file of a database file is found by its name.
    copied.companion = database.path.is_none().then(|| target.display().to_string());
    Some(copied)
}

fn copy_new(source: &Path, target: &Path) -> Result<(), DatabaseError> {
    if target.exists() {
        return Err(DatabaseError::Exists);
    }
    fs::copy(source, target)?;
    Ok(())
}

fn copy_problem(source: &str, target: &Path, error: &DatabaseError) -> Problem {
    let remedy = match error {
        DatabaseError::Exists => "choose an empty directory with --to",
        DatabaseError::Locked | DatabaseError::Changed => "stop ws4sqlite and copy again",
        DatabaseError::Damaged(_) => "repair the database with the .recover command of the sqlite3 shell",
        DatabaseError::Io(_) | DatabaseError::Sqlite(_) => "correct the cause and copy again",
    };
    Problem::new(source, "", format!("cannot be copied to {}: {error}", target.display()), remedy)
}

#[cfg(test)]
mod tests {
    use super::super::report::assert_rows_exist;
    use super::*;

    fn parsed(line: &str) -> Command {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        parse(&words)
    }

    fn file(id: &str, path: &str, companion: Option<&str>) -> Database {
        Database { id: id.to_owned(), path: Some(path.to_owned()), companion: companion.map(str::to_owned) }
    }

    /// The facts of files that exist, without companion files.
    fn present(command: &Command) -> Facts {
        let facts = |database: &Database| DatabaseFacts {
            file: if database.path.is_some() { FileFacts::Present { size: 1, wal: None } } else { FileFacts::Memory },
            companion: database.companion_path().map(|path| (path, CompanionText::Missing)),
        };
        Facts { databases: command.databases.iter().map(facts).collect(), serve_dir_exists: true }
    }

    fn with_companion(line: &str, text: &str) -> Report {
        let command = parsed(line);
        let mut facts = present(&command);
        for database in &mut facts.databases {
            let text = CompanionText::Text(text.to_owned());
            database.companion = database.companion.take().map(|(path, _)| (path, text.clone()));
        }
        report(&command, &facts)
    }

    #[test]
    fn each_feature_has_its_rows_in_the_document() {
        let rows = || Feature::ALL.into_iter().flat_map(Feature::rows);
        assert_rows_exist(DOCUMENT, rows().map(|(topic, _)| *topic));
        assert!(rows().all(|(_, text)| !text.contains('\n') && text.chars().count() <= 110));
    }

    #[test]
    fn each_flag_is_one_of_the_new_server() {
        let table = sqlhttp_server::standalone::config::flags::TABLE;
        let original: Vec<_> = table.iter().filter(|flag| flag.original).map(|flag| (flag.name, flag.kind)).collect();
        assert_eq!(original.len(), FLAGS.len());
        assert!(original.iter().all(|flag| FLAGS.contains(flag)), "{original:?}");
    }

    #[test]
    fn a_command_line_with_all_flags() {
        let line = "-serve-dir=d --port 0x10 --mem-db m:cfg.yaml --db a.db --db=b/c.sqlite3:/etc/c.yaml -bind-host ::1";
        let command = parsed(&format!("ws4sqlite {line}"));
        assert_eq!(command, parsed(line));
        assert_eq!(command.problems, []);
        assert_eq!(command.databases[..2], [file("a", "a.db", None), file("c", "b/c.sqlite3", Some("/etc/c.yaml"))]);
        let words = command.words(&command.databases);
        let expected = "sqlhttp-standalone --db a.db --db b/c.sqlite3:/etc/c.yaml --mem-db m:cfg.yaml --bind-host ::1 \
                        --port 16 --serve-dir d";
        assert_eq!(words::line(&words), expected);
        let parsed = sqlhttp_server::standalone::config::flags::parse(&words[1..]).unwrap();
        let sqlhttp_server::standalone::config::flags::CommandLine::Run { ignored, .. } = parsed else { panic!() };
        assert_eq!(ignored, Vec::<String>::new());
    }

    #[test]
    fn companion_files_lie_beside_their_database() {
        let paths: Vec<_> = parsed("--db a.db --db d/x.tar.gz --db y --mem-db m --mem-db n:c.yaml")
            .databases
            .iter()
            .map(Database::companion_path)
            .collect();
        let expected = [Some("a.yaml"), Some("d/x.tar.yaml"), Some("y.yaml"), None, Some("c.yaml")];
        assert_eq!(paths, expected.map(|path| path.map(str::to_owned)));
    }

    #[test]
    fn mistakes_on_the_command_line_are_problems() {
        let problems = |line: &str| -> Vec<String> {
            parsed(line).problems.iter().map(|problem| format!("{}: {}", problem.key, problem.message)).collect()
        };
        assert_eq!(problems("--db a.db --prot 1"), ["--prot: flag provided but not defined: -prot"]);
        assert_eq!(
            problems("--bogus x --db a.db --port abc ---y"),
            [
                "--bogus: flag provided but not defined: -bogus",
                "--port: invalid value \"abc\" for flag -port: parse error",
                ": bad flag syntax: ---y",
            ]
        );
        let stray = "this word is no flag, so ws4sqlite ignores it and all flags after it";
        assert_eq!(problems("--db a.db foo --port 1"), [format!("foo: {stray}")]);
        assert_eq!(problems("--db a.db --port"), ["--port: flag needs an argument: -port"]);
        assert_eq!(problems("--db d/a.db --mem-db a"), ["--db: two databases have the id 'a'"]);
        assert_eq!(problems("--db .db --mem-db :x --serve-dir d").len(), 2);
        assert_eq!(problems("--port 1"), ["--db: there is no database and no directory to serve"]);
        assert_eq!(parsed("--bogus x --db a.db").databases, [file("a", "a.db", None)]);
        assert!(parsed("--prot 1 --db a.db").problems[0].remedy.ends_with("did you mean --port?"));
    }

    #[test]
    fn flags_that_behave_differently() {
        let command = parsed("--db a.db --db d/A.db --bind-host ::1 --port 0");
        let used: Vec<_> = report(&command, &present(&command)).differences.into_iter().map(|it| it.used).collect();
        assert_eq!(used, ["--db", "--bind-host", "--port", "id A"]);
        let command = parsed("--mem-db m --bind-host [::1] --port 1 --serve-dir d");
        assert_eq!(report(&command, &present(&command)).differences, []);
    }

    #[test]
    fn keys_that_behave_differently() {
        let report = with_companion("--mem-db m:x.yaml", "readOnly: true\nschedTasks: []\n");
        let lines: Vec<String> = report.differences.iter().map(ToString::to_string).collect();
        assert_eq!(
            lines,
            [
                "x.yaml: readOnly: a client cannot switch it off; in ws4sqlite it can",
                "x.yaml: schedTasks (did you mean scheduledTasks?): the key is unknown to both servers and has no \
                 effect; sqlhttp-standalone logs a warning",
            ]
        );
        assert_eq!(report.exit_status(), 0);
    }

    #[test]
    fn mistakes_in_files_name_the_file_the_key_and_the_remedy() {
        let problems = |report: Report| -> Vec<String> { report.problems.iter().map(ToString::to_string).collect() };
        assert_eq!(
            problems(with_companion("--mem-db m:x.yaml", "readOnly: 1\n")),
            ["x.yaml: readOnly: the value is not a boolean; write true or false, without quotes"]
        );
        let syntax = problems(with_companion("--db a.db", "auth: [\n"));
        assert!(
            syntax[0].starts_with("a.yaml: this is not YAML: ") && syntax[0].ends_with("; correct the line"),
            "{syntax:?}"
        );
        let command = parsed("--db a.db:gone.yaml --db b.db --serve-dir gone");
        let mut facts = present(&command);
        facts.databases[1].file = FileFacts::Missing;
        facts.serve_dir_exists = false;
        let report = report(&command, &facts);
        assert_eq!(report.exit_status(), 1);
        let files: Vec<_> = report.problems.iter().map(|problem| problem.file.as_str()).collect();
        assert_eq!(files, ["gone", "gone.yaml", "b.db"]);
    }

    #[test]
    fn files_are_described() {
        let command = parsed("--db a.db --mem-db m");
        let mut facts = present(&command);
        facts.databases[0].file = FileFacts::Present { size: 8192, wal: Some(4152) };
        let files = report(&command, &facts).files;
        assert_eq!(
            files,
            [
                "a.db: 8192 bytes, a.db-wal beside it has 4152 bytes: ws4sqlite runs, or has not closed the database",
                "m: in memory, so there is no file to move",
                "Both servers must not run on the same file at the same time.",
            ]
        );
    }
}
