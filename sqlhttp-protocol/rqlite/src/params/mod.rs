//! The parameters of the query string.

mod query_string;

use std::time::Duration;

use sqlhttp_core::ReadLevel;
use sqlhttp_text::duration;

use crate::endpoint::Endpoint;
use crate::reply::Refusal;
use query_string::{Pairs, push};

/// The default time limit for requests to other nodes.
const TIMEOUT: Duration = Duration::from_secs(30);
/// The default time limit for a read of `/db/query` at level `linearizable` to begin.
const LINEARIZABLE_WAIT: Duration = Duration::from_secs(10);
/// The time limit for a read of `/db/request` at level `linearizable` to begin. It cannot be changed.
const LINEARIZABLE_WAIT_SHORT: Duration = Duration::from_secs(1);

/// The format of a backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BackupFormat {
    /// The database file in WAL mode.
    #[default]
    Binary,
    /// SQL text that creates the database.
    Sql,
    /// The database file in DELETE mode.
    Delete,
}

/// The parameters of a query string. Each endpoint uses some of them.
///
/// A flag is set if its name is present, whatever its value: `pretty=false` sets `pretty`. Of several parameters with
/// the same name, the first is used. Unknown parameters are ignored, and so are those without an effect here
/// (`noparse`, `norwrandom`, `norwtime`, `bypass`). Negative durations count as zero.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Params {
    /// `q`: the SQL text of a GET, which is not always UTF-8. It is never empty.
    pub q: Option<Vec<u8>>,
    /// `pretty`: whether the JSON of the reply is indented.
    pub pretty: bool,
    /// `timings`: whether the reply contains durations.
    pub timings: bool,
    /// `transaction`: whether all statements are one transaction.
    pub transaction: bool,
    /// `queue`: whether the statements are queued.
    pub queue: bool,
    /// `wait`: whether the reply is sent after the queued statements were executed, or after the leadership was
    /// transferred.
    pub wait: bool,
    /// `timeout`: the time limit for requests to other nodes and for `wait`. The default is 30 s.
    pub timeout: Duration,
    /// Whether `timeout` was given. Only then is it a time limit for a write as well.
    pub timeout_given: bool,
    /// `retries`: how often a failed request to another node is repeated.
    pub retries: u64,
    /// `redirect`: whether the client is redirected to the leader. Otherwise the request is forwarded.
    pub redirect: bool,
    /// `level`: the consistency of a read.
    pub level: ReadLevel,
    /// `freshness`: the maximum time since the last contact with the leader. `None` (or 0) for no limit.
    pub freshness: Option<Duration>,
    /// `freshness_strict`: whether `freshness` limits the age of the data, too. Always false without `freshness`.
    pub freshness_strict: bool,
    /// `linearizable_timeout` as given. [`Params::linearizable_wait`] returns the time limit.
    pub linearizable_timeout: Option<Duration>,
    /// `db_timeout`: the time limit for running the statements. `None` (or 0) for no limit.
    pub db_timeout: Option<Duration>,
    /// `associative`: whether rows are objects.
    pub associative: bool,
    /// `blob_array`: whether BLOBs are arrays of integers.
    pub blob_array: bool,
    /// `qualify_columns`: whether the names of columns contain the names of their tables.
    pub qualify_columns: bool,
    /// `raft_index`: whether the reply contains the index of the log entry.
    pub raft_index: bool,
    /// `noleader`: whether the request is answered without a leader. `/readyz` then checks only that the node runs, and
    /// a backup is a copy of the node's own database.
    pub noleader: bool,
    /// `fmt`: the format of a backup.
    pub backup_format: BackupFormat,
    /// `vacuum`: whether the backup is vacuumed.
    pub vacuum: bool,
    /// `compress`: whether the backup is compressed with gzip.
    pub compress: bool,
    /// `tables`: the tables of a backup as SQL text. Empty for all tables.
    pub tables: Vec<String>,
    /// `nonvoters`: whether nodes that do not vote are listed, too.
    pub nonvoters: bool,
    /// `ver=2`: whether nodes are a list rather than an object.
    pub nodes_as_list: bool,
    /// `sync`: whether a node is ready only after it has applied all committed entries.
    pub sync: bool,
    /// `key`: the requested part of `/status` or `/debug/vars`. Empty for the whole document.
    pub key: String,
    /// `trailing_logs`: the number of log entries that are kept behind a snapshot. 0 for the configured number.
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
    /// Parses a query string (the part of a URL after `?`).
    ///
    /// rqlite parses it before it looks at the path, for all methods except OPTIONS.
    ///
    /// # Errors
    /// Status 400 for the first error in this order: `;`, a bad escape, `freshness_strict` without `freshness`, an
    /// invalid duration, an invalid integer, an empty `q`.
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

    /// Parses the parameters for which every value is valid.
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

    /// Returns the time limit for committed entries to be applied before a read at level `linearizable`.
    pub fn linearizable_wait(&self, endpoint: Endpoint) -> Duration {
        match self.linearizable_timeout {
            _ if endpoint != Endpoint::Query => LINEARIZABLE_WAIT_SHORT,
            None => LINEARIZABLE_WAIT,
            Some(Duration::ZERO) => LINEARIZABLE_WAIT_SHORT,
            Some(wait) => wait,
        }
    }

    /// Formats the parameters as a query string. Parameters with their default values are left out.
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

/// Parses a duration. A negative one counts as zero.
fn duration(pairs: &Pairs, name: &str) -> Result<Option<Duration>, Refusal> {
    let Some(text) = pairs.text(name) else { return Ok(None) };
    let nanoseconds = duration::parse_signed(&text);
    let nanoseconds = nanoseconds.map_err(|_| Refusal::text(400, format!("{name} is not a valid duration")))?;
    Ok(Some(Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(0))))
}

/// Parses an integer. A negative one counts as zero.
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
