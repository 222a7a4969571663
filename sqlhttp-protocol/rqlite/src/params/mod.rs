//! The parameters of a request's query string.

mod query_string;

use std::time::Duration;

use query_string::{Pairs, push};
use sqlhttp_core::ReadLevel;
use sqlhttp_text::duration;

use crate::endpoint::Endpoint;
use crate::reply::Refusal;

/// The default time limit for requests to other nodes.
const TIMEOUT: Duration = Duration::from_secs(30);
/// The default of `linearizable_timeout`: how long a read of `/db/query` at level `linearizable` may wait before it
/// begins.
const LINEARIZABLE_WAIT: Duration = Duration::from_secs(10);
/// How long a read at level `linearizable` may wait before it begins, at all endpoints except `/db/query`. The client
/// cannot change this limit. It also applies to `/db/query` if `linearizable_timeout` is 0.
const LINEARIZABLE_WAIT_SHORT: Duration = Duration::from_secs(1);

/// The format of a backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BackupFormat {
    /// The database file, in WAL mode.
    #[default]
    Binary,
    /// SQL text that creates the database.
    Sql,
    /// The database file, in DELETE journal mode.
    Delete,
}

/// The parameters of a query string. Each endpoint uses some of them.
///
/// A flag is set if its name is present, whatever its value: `pretty=false` sets `pretty`. If several parameters have
/// the same name, the first is used. Unknown parameters are ignored, and so are `noparse`, `norwrandom`, `norwtime` and
/// `bypass`, which have an effect only in rqlite. Negative durations count as zero.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Params {
    /// `q`: the SQL text of a GET request. It is not necessarily UTF-8, and it is never empty. `None` if the parameter
    /// is missing.
    pub q: Option<Vec<u8>>,
    /// `pretty`: whether the JSON of the reply is indented.
    pub pretty: bool,
    /// `timings`: whether the reply contains the durations of the request and of each statement.
    pub timings: bool,
    /// `transaction`: whether all statements of the request are one transaction.
    pub transaction: bool,
    /// `queue`: whether the statements are queued and run later.
    pub queue: bool,
    /// `wait`: whether the reply is sent only after the queued statements have run, or after the leadership has been
    /// transferred.
    pub wait: bool,
    /// `timeout`: the time limit for requests to other nodes and for `wait`. The default is 30 s.
    pub timeout: Duration,
    /// Whether the request contained `timeout`. If so, `timeout` is also the time limit for a write.
    pub timeout_given: bool,
    /// `retries`: how many times a failed request to another node is repeated.
    pub retries: u64,
    /// `redirect`: whether a node that is not the leader redirects the client to the leader. Otherwise, the node
    /// forwards the request to the leader.
    pub redirect: bool,
    /// `level`: the consistency level of a read.
    pub level: ReadLevel,
    /// `freshness`: the maximum time since the node's last contact with the leader. `None` (or 0) if there is no limit.
    pub freshness: Option<Duration>,
    /// `freshness_strict`: whether `freshness` also limits the age of the data. Always false if there is no
    /// `freshness`.
    pub freshness_strict: bool,
    /// `linearizable_timeout` as sent by the client; `None` if it is missing. [`Params::linearizable_wait`] returns the
    /// time limit that results.
    pub linearizable_timeout: Option<Duration>,
    /// `db_timeout`: the time limit for running the statements. `None` (or 0) if there is no limit.
    pub db_timeout: Option<Duration>,
    /// `associative`: whether each row is a JSON object rather than an array.
    pub associative: bool,
    /// `blob_array`: whether BLOBs are written as arrays of integers rather than as base64.
    pub blob_array: bool,
    /// `qualify_columns`: whether the name of each column includes the name of its table.
    pub qualify_columns: bool,
    /// `raft_index`: whether the reply contains the index of the request's Raft log entry.
    pub raft_index: bool,
    /// `noleader`: whether the node handles the request even if there is no leader. `/readyz` then checks only that the
    /// node is running, and a backup is a copy of the node's own database.
    pub noleader: bool,
    /// `fmt`: the format of a backup.
    pub backup_format: BackupFormat,
    /// `vacuum`: whether the database is vacuumed for the backup.
    pub vacuum: bool,
    /// `compress`: whether the backup is compressed with gzip.
    pub compress: bool,
    /// `tables`: the tables that a backup as SQL text contains. Empty if it contains all tables.
    pub tables: Vec<String>,
    /// `nonvoters`: whether `/nodes` also lists the nodes that have no vote.
    pub nonvoters: bool,
    /// `ver=2`: whether `/nodes` returns a JSON array rather than an object.
    pub nodes_as_list: bool,
    /// `sync`: whether `/readyz` reports a node as ready only after the node has applied all committed Raft log
    /// entries.
    pub sync: bool,
    /// `deep`: whether `/verify` also checks the integrity of the databases.
    pub deep: bool,
    /// `repair`: whether `/verify` replaces the content of followers that differ from the majority.
    pub repair: bool,
    /// `key`: the requested part of the document of `/status` or `/debug/vars`. Empty for the whole document.
    pub key: String,
    /// `trailing_logs`: the number of Raft log entries that are kept after a snapshot. 0 for the configured number.
    pub trailing_logs: u64,
}

sqlhttp_core::setters! {
    Params {
        q: Option<Vec<u8>>,
        pretty: bool,
        timings: bool,
        transaction: bool,
        queue: bool,
        wait: bool,
        timeout: Duration,
        timeout_given: bool,
        retries: u64,
        redirect: bool,
        level: ReadLevel,
        freshness: Option<Duration>,
        freshness_strict: bool,
        linearizable_timeout: Option<Duration>,
        db_timeout: Option<Duration>,
        associative: bool,
        blob_array: bool,
        qualify_columns: bool,
        raft_index: bool,
        noleader: bool,
        backup_format: BackupFormat,
        vacuum: bool,
        compress: bool,
        tables: Vec<String>,
        nonvoters: bool,
        nodes_as_list: bool,
        sync: bool,
        deep: bool,
        repair: bool,
        key: String,
        trailing_logs: u64,
    }
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
            deep: false,
            repair: false,
            key: String::new(),
            trailing_logs: 0,
        }
    }
}

impl Params {
    /// Parses a query string (the part of a URL after `?`).
    ///
    /// For all methods except OPTIONS, rqlite parses the query string before it examines the path.
    ///
    /// # Errors
    /// Status 400 for the first of these errors, checked in this order: a `;`, an invalid escape, `freshness_strict`
    /// without `freshness`, an invalid duration, an invalid integer, an empty `q`.
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
            deep: pairs.has("deep"),
            repair: pairs.has("repair"),
            key: pairs.text("key").unwrap_or_default(),
            ..Params::default()
        }
    }

    /// Returns how long a read at level `linearizable` may wait until the node has applied all committed Raft log
    /// entries.
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

    fn flags(&self) -> [(&'static str, bool); 18] {
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
            ("deep", self.deep),
            ("repair", self.repair),
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

/// Parses the duration in the parameter `name`. A negative duration counts as zero. Returns `None` if the parameter is
/// missing.
fn duration(pairs: &Pairs, name: &str) -> Result<Option<Duration>, Refusal> {
    let Some(text) = pairs.text(name) else { return Ok(None) };
    let nanoseconds = duration::parse_signed(&text);
    let nanoseconds = nanoseconds.map_err(|_| Refusal::text(400, format!("{name} is not a valid duration")))?;
    Ok(Some(Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(0))))
}

/// Parses the integer in the parameter `name`. A negative integer counts as zero, and so does a missing parameter.
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
