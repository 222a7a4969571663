//! The parameters in the query string: all of them, typed.

mod query_string;

use std::time::Duration;

use sqlhttp_core::ReadLevel;
use sqlhttp_text::duration;

use crate::endpoint::Endpoint;
use crate::reply::Refusal;
use query_string::{Pairs, push};

/// How long other nodes are waited for, unless the client says otherwise.
const TIMEOUT: Duration = Duration::from_secs(30);
/// How long `/db/query` waits at level `linearizable`, unless the client says otherwise.
const LINEARIZABLE_WAIT: Duration = Duration::from_secs(10);
/// How long `/db/request` waits at level `linearizable`, whatever the client says.
const LINEARIZABLE_WAIT_SHORT: Duration = Duration::from_secs(1);

/// What a backup is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BackupFormat {
    /// The database file, in WAL mode.
    #[default]
    Binary,
    /// The SQL text that rebuilds the database.
    Sql,
    /// The database file, in DELETE mode.
    Delete,
}

/// All parameters a client can give in the query string. Which of them an endpoint honours is the endpoint's affair.
///
/// Flags count by their presence: `pretty=false` is `pretty`. Of several parameters with one name the first counts.
/// Unknown ones are ignored, and so are those that have lost their meaning (`noparse`, `norwrandom`, `norwtime`,
/// `bypass`). Durations below zero are zero.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Params {
    /// `q`: the SQL text of a GET, as the client sent it; not always UTF-8. Never empty.
    pub q: Option<Vec<u8>>,
    /// `pretty`: JSON with line breaks and indentation.
    pub pretty: bool,
    /// `timings`: tell how long things took.
    pub timings: bool,
    /// `transaction`: all statements or none.
    pub transaction: bool,
    /// `queue`: queue the statements and answer at once.
    pub queue: bool,
    /// `wait`: answer only when the queued statements were executed, or the leadership was transferred.
    pub wait: bool,
    /// `timeout`: how long other nodes are waited for, and how long `wait` waits. 30 s unless given.
    pub timeout: Duration,
    /// `timeout` was given, so the caller of a write waits for no longer.
    pub timeout_given: bool,
    /// `retries`: how often talking to another node is tried again.
    pub retries: u64,
    /// `redirect`: point the client to the leader rather than forward the request.
    pub redirect: bool,
    /// `level`: how fresh a read must be.
    pub level: ReadLevel,
    /// `freshness`: how long ago the leader must have been heard of. `None` (or 0) for any time.
    pub freshness: Option<Duration>,
    /// `freshness_strict`: measure the age of the data, too. Always false without `freshness`.
    pub freshness_strict: bool,
    /// `linearizable_timeout`, as given; see [`Params::linearizable_wait`].
    pub linearizable_timeout: Option<Duration>,
    /// `db_timeout`: how long the statements may take. `None` (or 0) for any time.
    pub db_timeout: Option<Duration>,
    /// `associative`: rows as objects.
    pub associative: bool,
    /// `blob_array`: BLOBs as arrays of integers.
    pub blob_array: bool,
    /// `qualify_columns`: column names with the name of their table.
    pub qualify_columns: bool,
    /// `raft_index`: tell the index of the log entry.
    pub raft_index: bool,
    /// `noleader`: do not look for a leader.
    pub noleader: bool,
    /// `fmt`: the format of a backup.
    pub backup_format: BackupFormat,
    /// `vacuum`: a vacuumed backup.
    pub vacuum: bool,
    /// `compress`: a gzipped backup.
    pub compress: bool,
    /// `tables`: the tables of a backup as SQL text; empty for all.
    pub tables: Vec<String>,
    /// `nonvoters`: list nodes that do not vote, too.
    pub nonvoters: bool,
    /// `ver=2`: the nodes as a list.
    pub nodes_as_list: bool,
    /// `sync`: ready only when everything committed is applied.
    pub sync: bool,
    /// `key`: the part of the status that is asked for; empty for all.
    pub key: String,
    /// `trailing_logs`: how many log entries a snapshot keeps; 0 for the configured number.
    pub trailing_logs: u64,
}

impl Default for Params {
    fn default() -> Self {
        Params {
            q: None,
            pretty: false,
            timings: false,
            transaction: false,
            queue: false,
            wait: false,
            timeout: TIMEOUT,
            timeout_given: false,
            retries: 0,
            redirect: false,
            level: ReadLevel::Weak,
            freshness: None,
            freshness_strict: false,
            linearizable_timeout: None,
            db_timeout: None,
            associative: false,
            blob_array: false,
            qualify_columns: false,
            raft_index: false,
            noleader: false,
            backup_format: BackupFormat::Binary,
            vacuum: false,
            compress: false,
            tables: Vec::new(),
            nonvoters: false,
            nodes_as_list: false,
            sync: false,
            key: String::new(),
            trailing_logs: 0,
        }
    }
}

impl Params {
    /// Reads a query string (what follows the `?` of a URL). This comes before anything else, for any path and any
    /// method but OPTIONS.
    ///
    /// # Errors
    /// Status 400 for the first fault, in this order: `;`, a bad escape, `freshness_strict` without `freshness`,
    /// what is no duration, what is no integer, an empty `q`.
    pub fn parse(query: &str) -> Result<Params, Refusal> {
        if query.is_empty() {
            return Ok(Params::default());
        }
        let pairs = Pairs::parse(query)?;
        if pairs.has("freshness_strict") && !pairs.has("freshness") {
            return Err(Refusal::text(400, "freshness_strict requires freshness"));
        }
        let timeout = duration(&pairs, "timeout")?;
        let freshness = duration(&pairs, "freshness")?.filter(|age| !age.is_zero());
        let db_timeout = duration(&pairs, "db_timeout")?.filter(|limit| !limit.is_zero());
        let linearizable_timeout = duration(&pairs, "linearizable_timeout")?;
        let retries = integer(&pairs, "retries")?;
        let trailing_logs = integer(&pairs, "trailing_logs")?;
        let q = pairs.get("q").map(<[u8]>::to_vec);
        if q.as_ref().is_some_and(Vec::is_empty) {
            return Err(Refusal::text(400, "query parameter not set"));
        }
        let freshness_strict = freshness.is_some() && pairs.has("freshness_strict");
        Ok(Params {
            q,
            timeout: timeout.unwrap_or(TIMEOUT),
            timeout_given: timeout.is_some(),
            retries,
            freshness,
            freshness_strict,
            linearizable_timeout,
            db_timeout,
            trailing_logs,
            ..Params::infallible(&pairs)
        })
    }

    /// The parameters of which every value is good.
    fn infallible(pairs: &Pairs) -> Params {
        Params {
            pretty: pairs.has("pretty"),
            timings: pairs.has("timings"),
            transaction: pairs.has("transaction"),
            queue: pairs.has("queue"),
            wait: pairs.has("wait"),
            redirect: pairs.has("redirect"),
            level: level(&pairs.text("level").unwrap_or_default()),
            associative: pairs.has("associative"),
            blob_array: pairs.has("blob_array"),
            qualify_columns: pairs.has("qualify_columns"),
            raft_index: pairs.has("raft_index"),
            noleader: pairs.has("noleader"),
            backup_format: backup_format(&pairs.text("fmt").unwrap_or_default()),
            vacuum: pairs.has("vacuum"),
            compress: pairs.has("compress"),
            tables: tables(&pairs.text("tables").unwrap_or_default()),
            nonvoters: pairs.has("nonvoters"),
            nodes_as_list: pairs.get("ver") == Some(b"2"),
            sync: pairs.has("sync"),
            key: pairs.text("key").unwrap_or_default(),
            ..Params::default()
        }
    }

    /// How long a read at level `linearizable` waits for what was committed to be applied.
    pub fn linearizable_wait(&self, endpoint: Endpoint) -> Duration {
        match self.linearizable_timeout {
            _ if endpoint != Endpoint::Query => LINEARIZABLE_WAIT_SHORT,
            None => LINEARIZABLE_WAIT,
            Some(Duration::ZERO) => LINEARIZABLE_WAIT_SHORT,
            Some(wait) => wait,
        }
    }

    /// The query string that says the same; empty if all parameters have their defaults.
    pub fn to_query(&self) -> String {
        let mut query = String::new();
        for (name, set) in self.flags() {
            if set {
                push(&mut query, name, b"");
            }
        }
        for (name, value) in self.values() {
            if let Some(value) = value {
                push(&mut query, name, &value);
            }
        }
        query
    }

    fn flags(&self) -> [(&'static str, bool); 16] {
        [
            ("pretty", self.pretty),
            ("timings", self.timings),
            ("transaction", self.transaction),
            ("queue", self.queue),
            ("wait", self.wait),
            ("redirect", self.redirect),
            ("freshness_strict", self.freshness_strict && self.freshness.is_some()),
            ("associative", self.associative),
            ("blob_array", self.blob_array),
            ("qualify_columns", self.qualify_columns),
            ("raft_index", self.raft_index),
            ("noleader", self.noleader),
            ("vacuum", self.vacuum),
            ("compress", self.compress),
            ("nonvoters", self.nonvoters),
            ("sync", self.sync),
        ]
    }

    fn values(&self) -> [(&'static str, Option<Vec<u8>>); 12] {
        let time = |limit: Option<Duration>| limit.map(|limit| duration::format(limit).into_bytes());
        let number = |number: u64| (number != 0).then(|| number.to_string().into_bytes());
        let level = match self.level {
            ReadLevel::Weak => None,
            ReadLevel::None => Some("none"),
            ReadLevel::Strong => Some("strong"),
            ReadLevel::Linearizable => Some("linearizable"),
            ReadLevel::Auto => Some("auto"),
        };
        let format = match self.backup_format {
            BackupFormat::Binary => None,
            BackupFormat::Sql => Some("sql"),
            BackupFormat::Delete => Some("delete"),
        };
        [
            ("level", level.map(Into::into)),
            ("timeout", time((self.timeout_given || self.timeout != TIMEOUT).then_some(self.timeout))),
            ("freshness", time(self.freshness)),
            ("linearizable_timeout", time(self.linearizable_timeout)),
            ("db_timeout", time(self.db_timeout)),
            ("retries", number(self.retries)),
            ("trailing_logs", number(self.trailing_logs)),
            ("fmt", format.map(Into::into)),
            ("tables", (!self.tables.is_empty()).then(|| self.tables.join(",").into_bytes())),
            ("ver", self.nodes_as_list.then(|| b"2".to_vec())),
            ("key", (!self.key.is_empty()).then(|| self.key.clone().into_bytes())),
            ("q", self.q.clone()),
        ]
    }
}

/// Reads a duration. A negative one counts as zero.
fn duration(pairs: &Pairs, name: &str) -> Result<Option<Duration>, Refusal> {
    let Some(text) = pairs.text(name) else { return Ok(None) };
    let nanoseconds = duration::parse_signed(&text);
    let nanoseconds = nanoseconds.map_err(|_| Refusal::text(400, format!("{name} is not a valid duration")))?;
    Ok(Some(Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(0))))
}

/// A number below zero is zero.
fn integer(pairs: &Pairs, name: &str) -> Result<u64, Refusal> {
    let Some(text) = pairs.text(name) else { return Ok(0) };
    let number: Result<i64, _> = text.parse();
    let number = number.map_err(|_| Refusal::text(400, format!("{name} is not a valid integer")))?;
    Ok(u64::try_from(number).unwrap_or(0))
}

fn level(text: &str) -> ReadLevel {
    match text.to_ascii_lowercase().as_str() {
        "none" => ReadLevel::None,
        "strong" => ReadLevel::Strong,
        "linearizable" => ReadLevel::Linearizable,
        "auto" => ReadLevel::Auto,
        _ => ReadLevel::Weak,
    }
}

fn backup_format(text: &str) -> BackupFormat {
    match text.to_ascii_lowercase().as_str() {
        "sql" => BackupFormat::Sql,
        "delete" => BackupFormat::Delete,
        _ => BackupFormat::Binary,
    }
}

fn tables(text: &str) -> Vec<String> {
    let names = text.split(',').map(str::trim).filter(|name| !name.is_empty());
    names.map(str::to_owned).collect()
}
