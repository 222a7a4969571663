//! Reads a companion file of ws4sqlite, as far as the report needs it: which features of the file behave differently,
//! which values are refused, and which keys are unknown.

use serde_json::{Map, Value};
use serde_saphyr::DuplicateKeyPolicy;
use sqlhttp_text::spelling;

use super::ws4sqlite::Feature;
use crate::sql::{Kind, Token, words};

/// The content of a companion file, as far as the report needs it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Companion {
    /// The keys whose features behave differently.
    pub(crate) uses: Vec<(String, Feature)>,
    /// The values that are refused.
    pub(crate) mistakes: Vec<Mistake>,
    /// The unknown keys, and the known key with the closest name.
    pub(crate) unknown: Vec<(String, Option<String>)>,
    /// The templates of backups with a relative path. They are relative to the working directory of the server.
    pub(crate) relative_backups: Vec<String>,
}

/// A value that is refused.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Mistake {
    pub(crate) key: String,
    pub(crate) message: String,
    pub(crate) remedy: &'static str,
}

const TOP_KEYS: [&str; 13] = [
    "auth",
    "readOnly",
    "corsOrigin",
    "useOnlyStoredStatements",
    "disableWALMode",
    "journalMode",
    "allowAttach",
    "storedStatements",
    "initStatements",
    "scheduledTasks",
    "maintenance",
    "macros",
    "backup",
];
const AUTH_KEYS: [&str; 5] = ["mode", "customErrorCode", "authErrorCode", "byQuery", "byCredentials"];
const CREDENTIAL_KEYS: [&str; 3] = ["user", "password", "hashedPassword"];
const STORED_KEYS: [&str; 2] = ["id", "sql"];
const TASK_KEYS: [&str; 7] =
    ["schedule", "atStartup", "doVacuum", "doBackup", "backupTemplate", "numFiles", "statements"];

/// Reads the content of a companion file. The error is the message for a text that is not YAML.
pub(crate) fn read(source: &str) -> Result<Companion, String> {
    let options = serde_saphyr::options! { duplicate_keys: DuplicateKeyPolicy::LastWins, with_snippet: false };
    let mut reader = source.as_bytes();
    let first = serde_saphyr::read_with_options::<_, Value>(&mut reader, options).next();
    let document = first.unwrap_or(Ok(Value::Null)).map_err(|error| error.render())?;
    let mut companion = Companion::default();
    match document {
        Value::Null => {}
        Value::Object(map) => companion.read_map(&map),
        _ => companion.mistake("", "the file contains no keys", "write the keys as 'name: value'"),
    }
    Ok(companion)
}

impl Companion {
    fn add(&mut self, key: &str, feature: Feature) {
        self.uses.push((key.to_owned(), feature));
    }

    fn mistake(&mut self, key: &str, message: impl Into<String>, remedy: &'static str) {
        self.mistakes.push(Mistake { key: key.to_owned(), message: message.into(), remedy });
    }

    fn read_map(&mut self, map: &Map<String, Value>) {
        self.check_keys("", map, &TOP_KEYS);
        self.read_auth(map);
        let read_only = self.flag(map, "readOnly");
        if read_only {
            self.add("readOnly", Feature::ReadOnly);
        }
        for key in ["useOnlyStoredStatements", "disableWALMode"] {
            self.flag(map, key);
        }
        self.read_cors_origin(map);
        self.read_journal_mode(map);
        self.read_stored_statements(map);
        let statements = self.texts("initStatements", map.get("initStatements"));
        self.read_scripts("initStatements", &statements);
        let tasks = self.maps("scheduledTasks", map.get("scheduledTasks"));
        for (key, task) in &tasks {
            self.read_task(key, task, read_only);
        }
        if let Some(task) = self.map("maintenance", map.get("maintenance")) {
            self.read_task("maintenance", task, read_only);
        }
    }

    fn read_auth(&mut self, map: &Map<String, Value>) {
        let Some(auth) = self.map("auth", map.get("auth")) else { return };
        self.check_keys("auth.", auth, &AUTH_KEYS);
        self.add("auth", Feature::Auth);
        match text(auth.get("mode")).unwrap_or_default().to_ascii_uppercase().as_str() {
            "HTTP" | "HTTP_BASIC" => self.add("auth.mode", Feature::HttpAuth),
            "INLINE" => {}
            _ => self.mistake("auth.mode", "the mode must be HTTP or INLINE", "write one of the two"),
        }
        if auth.get("byQuery").is_some_and(|value| !value.is_null()) {
            self.add("auth.byQuery", Feature::AuthQuery);
        }
        let code = auth.get("customErrorCode").and_then(Value::as_i64);
        if code.is_some_and(|code| !(400..=599).contains(&code)) {
            self.add("auth.customErrorCode", Feature::ErrorCode);
            let message = "the server does not start with a status outside 400 to 599";
            self.mistake("auth.customErrorCode", message, "write the status of an HTTP error, or leave the key out");
        }
        let credentials = self.maps("auth.byCredentials", auth.get("byCredentials"));
        if credentials.len() == 1 {
            self.add("auth.byCredentials", Feature::OneCredential);
        }
        for (key, credential) in &credentials {
            self.check_keys(&format!("{key}."), credential, &CREDENTIAL_KEYS);
            if credential.get("hashedPassword").is_some_and(|value| !value.is_null()) {
                self.add(&format!("{key}.hashedPassword"), Feature::HashedPassword);
            }
        }
    }

    fn read_cors_origin(&mut self, map: &Map<String, Value>) {
        let Some(origins) = text(map.get("corsOrigin")).filter(|origins| !origins.is_empty()) else { return };
        self.add("corsOrigin", Feature::CorsOrigin);
        if origins != "*" && origins.split(',').any(|origin| !origin.contains("://")) {
            self.add("corsOrigin", Feature::OriginWithoutScheme);
            let message = "the server does not start with an origin without a scheme";
            self.mistake("corsOrigin", message, "write origins like https://example.com");
        }
    }

    fn read_journal_mode(&mut self, map: &Map<String, Value>) {
        let mode = text(map.get("journalMode")).unwrap_or_default().to_ascii_uppercase();
        if !mode.is_empty() && !["WAL", "DELETE", "TRUNCATE", "PERSIST"].contains(&mode.as_str()) {
            self.add("journalMode", Feature::UnsafeJournal);
            let message = format!("the server does not start with the journal mode {mode}");
            self.mistake("journalMode", message, "write WAL, or leave the key out");
        }
    }

    fn read_stored_statements(&mut self, map: &Map<String, Value>) {
        for (key, statement) in &self.maps("storedStatements", map.get("storedStatements")) {
            self.check_keys(&format!("{key}."), statement, &STORED_KEYS);
            let sql = text(statement.get("sql")).unwrap_or_default();
            self.read_client_sql(&format!("{key}.sql"), &sql);
        }
    }

    /// Reads SQL that clients execute.
    fn read_client_sql(&mut self, key: &str, sql: &str) {
        const CONTROL: [&str; 6] = ["BEGIN", "COMMIT", "END", "ROLLBACK", "SAVEPOINT", "RELEASE"];
        let tokens = words(sql);
        let first_words = first_words(&tokens);
        let begins = |words: &[&str]| first_words.iter().any(|it| words.iter().any(|word| it.is(word)));
        if begins(&CONTROL) {
            self.add(key, Feature::TransactionControl);
        }
        if begins(&["ATTACH", "DETACH"]) || tokens.windows(2).any(|pair| pair[0].is("VACUUM") && pair[1].is("INTO")) {
            self.add(key, Feature::Attach);
        }
        if sets_pragma(&tokens, &["busy_timeout", "mmap_size"]) {
            self.add(key, Feature::HarmlessPragma);
        }
        self.read_times(key, &tokens);
    }

    /// Reads SQL that the server executes at start or by a schedule.
    fn read_scripts(&mut self, key: &str, statements: &[String]) {
        let mut open = false;
        for sql in statements {
            let tokens = words(sql);
            if sets_pragma(&tokens, &["journal_mode", "locking_mode"]) {
                self.add(key, Feature::FixedPragma);
            }
            for word in first_words(&tokens) {
                open = if word.is("BEGIN") { true } else { open && !word.is("COMMIT") && !word.is("END") };
            }
            self.read_times(key, &tokens);
        }
        if open {
            self.add(key, Feature::OpenTransaction);
        }
    }

    fn read_times(&mut self, key: &str, tokens: &[Token<'_>]) {
        if tokens.iter().enumerate().any(|(index, token)| is_time_or_random(token, tokens.get(index + 1))) {
            self.add(key, Feature::TimeOrRandom);
        }
    }

    fn read_task(&mut self, key: &str, task: &Map<String, Value>, read_only: bool) {
        self.check_keys(&format!("{key}."), task, &TASK_KEYS);
        if text(task.get("schedule")).is_some_and(|schedule| schedule.trim_start().starts_with('@')) {
            self.add(&format!("{key}.schedule"), Feature::ScheduleDescriptor);
        }
        for flag in ["atStartup", "doVacuum"] {
            self.flag_at(&format!("{key}.{flag}"), task.get(flag));
        }
        if self.flag_at(&format!("{key}.doBackup"), task.get("doBackup")) {
            self.add(&format!("{key}.doBackup"), Feature::Backup);
            if read_only {
                self.add(&format!("{key}.doBackup"), Feature::ReadOnlyBackup);
            }
            let template = text(task.get("backupTemplate")).unwrap_or_default();
            if !template.is_empty() && !template.starts_with(['/', '~']) {
                self.relative_backups.push(template);
            }
        }
        let statements_key = format!("{key}.statements");
        let statements = self.texts(&statements_key, task.get("statements"));
        self.read_scripts(&statements_key, &statements);
    }

    fn check_keys(&mut self, prefix: &str, map: &Map<String, Value>, known: &[&str]) {
        for key in map.keys().filter(|key| !known.contains(&key.as_str())) {
            let nearest = spelling::nearest(key, known.iter().copied());
            self.unknown.push((format!("{prefix}{key}"), nearest.map(|near| format!("{prefix}{near}"))));
        }
    }

    fn flag(&mut self, map: &Map<String, Value>, key: &str) -> bool {
        self.flag_at(key, map.get(key))
    }

    fn flag_at(&mut self, key: &str, value: Option<&Value>) -> bool {
        match value {
            None | Some(Value::Null) => false,
            Some(Value::Bool(value)) => *value,
            Some(_) => {
                self.mistake(key, "the value is not a boolean", "write true or false, without quotes");
                false
            }
        }
    }

    fn map<'v>(&mut self, key: &str, value: Option<&'v Value>) -> Option<&'v Map<String, Value>> {
        match value {
            None | Some(Value::Null) => None,
            Some(Value::Object(map)) => Some(map),
            Some(_) => {
                self.mistake(key, "the value has no keys", "write 'name: value' lines below it, indented");
                None
            }
        }
    }

    /// Returns the mappings of a list, with their keys.
    fn maps<'v>(&mut self, key: &str, value: Option<&'v Value>) -> Vec<(String, &'v Map<String, Value>)> {
        let items = self.list(key, value);
        let keys = (0..items.len()).map(|index| format!("{key}[{index}]"));
        let maps = keys.zip(items).filter_map(|(key, item)| self.map(&key, Some(item)).map(|map| (key, map)));
        maps.collect()
    }

    fn texts(&mut self, key: &str, value: Option<&Value>) -> Vec<String> {
        self.list(key, value).iter().filter_map(|item| text(Some(item))).collect()
    }

    fn list<'v>(&mut self, key: &str, value: Option<&'v Value>) -> &'v [Value] {
        match value {
            None | Some(Value::Null) => &[],
            Some(Value::Array(items)) => items,
            Some(_) => {
                self.mistake(key, "the value is not a list", "begin each item of the list with '- '");
                &[]
            }
        }
    }
}

/// Returns a scalar as text.
fn text(value: Option<&Value>) -> Option<String> {
    match value? {
        Value::String(text) => Some(text.clone()),
        Value::Bool(value) => Some(value.to_string()),
        Value::Number(number) => Some(number.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// Returns the first token of each statement. The statements of a trigger count, too.
fn first_words<'t, 's>(tokens: &'t [Token<'s>]) -> Vec<&'t Token<'s>> {
    let begins = |index: usize| index.checked_sub(1).is_none_or(|at| tokens[at].is(";"));
    tokens.iter().enumerate().filter(|(index, _)| begins(*index)).map(|(_, token)| token).collect()
}

fn sets_pragma(tokens: &[Token<'_>], names: &[&str]) -> bool {
    let named = |token: &Token<'_>| names.iter().any(|name| token.is(name));
    tokens.iter().enumerate().any(|(index, token)| {
        // The name may follow the name of a database: PRAGMA main.journal_mode.
        token.is("PRAGMA") && tokens.iter().skip(index + 1).take(3).any(named)
    })
}

fn is_time_or_random(token: &Token<'_>, next: Option<&Token<'_>>) -> bool {
    const KEYWORDS: [&str; 3] = ["CURRENT_TIMESTAMP", "CURRENT_DATE", "CURRENT_TIME"];
    const FUNCTIONS: [&str; 2] = ["random", "randomblob"];
    let is_now = token.kind == Kind::Text && token.unquoted().eq_ignore_ascii_case("now");
    let is_call = next.is_some_and(|it| it.is("("));
    is_now || KEYWORDS.iter().any(|it| token.is(it)) || (is_call && FUNCTIONS.iter().any(|it| token.is(it)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uses(source: &str) -> Vec<(String, Feature)> {
        let companion = read(source).unwrap();
        assert_eq!(companion.mistakes, [], "{source}");
        assert_eq!(companion.unknown, [], "{source}");
        companion.uses
    }

    fn assert_uses(source: &str, expected: &[(&str, Feature)]) {
        let expected: Vec<_> = expected.iter().map(|(key, feature)| ((*key).to_owned(), *feature)).collect();
        assert_eq!(uses(source), expected, "{source}");
    }

    #[test]
    fn files_without_differences() {
        for source in ["", "# nothing\n", "auth:\n", "disableWALMode: yes\nuseOnlyStoredStatements: on\n"] {
            assert_uses(source, &[]);
        }
        assert_uses("initStatements: [CREATE TABLE T(a)]\nstoredStatements: [{id: a, sql: SELECT 1}]\n", &[]);
        assert_uses("maintenance: {schedule: '0 0 * * *', doVacuum: true, statements: [BEGIN, COMMIT]}\n", &[]);
    }

    #[test]
    fn users() {
        let source = "auth:\n  mode: http\n  customErrorCode: 499\n  byCredentials:\n    - {user: a, password: 1}\n    \
                      - {user: b, hashedPassword: b133}\n";
        let expected = [
            ("auth", Feature::Auth),
            ("auth.mode", Feature::HttpAuth),
            ("auth.byCredentials[1].hashedPassword", Feature::HashedPassword),
        ];
        assert_uses(source, &expected);
        let inline = "auth: {mode: INLINE, byQuery: 'SELECT :user, :password'}";
        assert_uses(inline, &[("auth", Feature::Auth), ("auth.byQuery", Feature::AuthQuery)]);
        let one = "auth: {mode: INLINE, byCredentials: [{user: a, password: b}]}";
        assert_uses(one, &[("auth", Feature::Auth), ("auth.byCredentials", Feature::OneCredential)]);
    }

    #[test]
    fn tasks_and_statements() {
        let source = "
readOnly: true
corsOrigin: '*'
storedStatements:
  - {id: a, sql: 'BEGIN; SELECT 1'}
  - {id: b, sql: \"ATTACH 'x' AS x\"}
  - {id: c, sql: PRAGMA busy_timeout=5}
  - {id: d, sql: SELECT random()}
initStatements: [PRAGMA journal_mode=DELETE, BEGIN, \"INSERT INTO t VALUES(datetime('now'))\"]
scheduledTasks:
  - {schedule: '@daily', doBackup: true, backupTemplate: b/a_%s.db, numFiles: 2}
  - {atStartup: true, doBackup: true, backupTemplate: /b/a_%s.db, numFiles: 2, statements: [SELECT CURRENT_DATE]}
";
        let expected = [
            ("readOnly", Feature::ReadOnly),
            ("corsOrigin", Feature::CorsOrigin),
            ("storedStatements[0].sql", Feature::TransactionControl),
            ("storedStatements[1].sql", Feature::Attach),
            ("storedStatements[2].sql", Feature::HarmlessPragma),
            ("storedStatements[3].sql", Feature::TimeOrRandom),
            ("initStatements", Feature::FixedPragma),
            ("initStatements", Feature::TimeOrRandom),
            ("initStatements", Feature::OpenTransaction),
            ("scheduledTasks[0].schedule", Feature::ScheduleDescriptor),
            ("scheduledTasks[0].doBackup", Feature::Backup),
            ("scheduledTasks[0].doBackup", Feature::ReadOnlyBackup),
            ("scheduledTasks[1].doBackup", Feature::Backup),
            ("scheduledTasks[1].doBackup", Feature::ReadOnlyBackup),
            ("scheduledTasks[1].statements", Feature::TimeOrRandom),
        ];
        assert_uses(source, &expected);
        assert_eq!(read(source).unwrap().relative_backups, ["b/a_%s.db"]);
    }

    #[test]
    fn values_that_the_new_server_refuses() {
        let keys = |source: &str| -> Vec<String> {
            read(source).unwrap().mistakes.into_iter().map(|mistake| mistake.key).collect()
        };
        assert_eq!(keys("auth: {mode: HTTP, customErrorCode: 0}\n"), ["auth.customErrorCode"]);
        assert_eq!(keys("auth: {}\n"), ["auth.mode"]);
        assert_eq!(keys("auth: yes\nreadOnly: 1\n"), ["auth", "readOnly"]);
        assert_eq!(keys("corsOrigin: 'https://a.com, b.com'\njournalMode: 'OFF'\n"), ["corsOrigin", "journalMode"]);
        assert_eq!(
            keys("initStatements: SELECT 1\nscheduledTasks: [x]\n"),
            ["scheduledTasks[0]", "initStatements"].iter().rev().map(|key| (*key).to_owned()).collect::<Vec<_>>()
        );
        assert_eq!(keys("- a\n"), [""]);
    }

    #[test]
    fn unknown_keys_have_the_closest_known_one() {
        let source = "schedTasks: []\nscheduledTasks: [{doBakup: true}]\nauth: {mode: INLINE, x: 1}\n";
        let mut unknown = read(source).unwrap().unknown;
        unknown.sort();
        let expected = [
            ("auth.x", None),
            ("schedTasks", Some("scheduledTasks")),
            ("scheduledTasks[0].doBakup", Some("scheduledTasks[0].doBackup")),
        ];
        let expected: Vec<_> =
            expected.iter().map(|(key, near)| ((*key).to_owned(), near.map(str::to_owned))).collect();
        assert_eq!(unknown, expected);
    }

    #[test]
    fn a_text_that_is_no_yaml_is_an_error_with_its_line() {
        let error = read("readOnly: true\nauth: [\n").unwrap_err();
        assert!(error.contains("line"), "{error}");
    }
}
