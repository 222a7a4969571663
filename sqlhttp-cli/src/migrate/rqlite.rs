//! The move from rqlite to `sqlhttp-cluster`: writes the report on a running node. [`report`] works on the documents of
//! the node; [`read_documents`] and [`download`] send the requests.

use std::path::Path;

use serde_json::{Map, Value};
use sqlhttp_core::{Batch, ReadLevel, Step as SqlStep, Value as SqlValue};
use sqlhttp_rqlite::client::{
    Client, ClientError, Host, HttpRequest, HttpResponse, Method, Scheme, StatementResult, Transport,
};
use sqlhttp_rqlite::{Endpoint, Params};

use super::database::{self, DatabaseError, SCHEMA_SQL};
use super::frozen::{self, SchemaObject};
use super::report::{CommandLine, Difference, Problem, Report, Step};
use super::rqlite_flags::{NodeFlags, Support, support};
use super::words;
use crate::shell::{self, ShellError};

/// The document with the differences.
const DOCUMENT: &str = "docs/differences-rqlite.md";
/// The name of the downloaded database.
const BACKUP: &str = "rqlite.db";

/// The documents of a running node.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Documents {
    pub(crate) status: Value,
    /// The members of the cluster by id.
    pub(crate) nodes: Map<String, Value>,
    /// `/debug/vars`, or the reason why it cannot be read.
    pub(crate) vars: Result<Value, String>,
    /// The schema, or the reason why it cannot be read.
    pub(crate) schema: Result<Vec<SchemaObject>, String>,
}

/// How the shell reaches the old node, for the commands of the report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OldNode {
    pub(crate) host: Host,
    /// The directory of the backup, if one was downloaded.
    pub(crate) directory: Option<String>,
}

/// The error of a request to the old node.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("/{resource}: the server responded with {status}: {text}")]
    Status { resource: &'static str, status: u16, text: String },
    #[error("/{resource}: the response is no JSON object: {reason}")]
    Malformed { resource: &'static str, reason: String },
    #[error("{0}")]
    Database(#[from] DatabaseError),
    #[error(transparent)]
    Download(#[from] ShellError),
}

/// The condition under which a difference is reported.
#[derive(Debug, Clone, Copy)]
enum Used {
    Always,
    /// The flag is given.
    Flag(&'static str),
    /// The flag has one of these values.
    Value(&'static str, &'static [&'static str]),
    /// The cluster has several nodes.
    SeveralNodes,
    /// The counter of `/debug/vars` is not zero.
    Counter(&'static str, &'static str),
    /// The schema contains one of these words.
    Schema(&'static [&'static str]),
}

/// The beginning of the first cell of a row in the document, and the difference.
type Row = (Used, &'static str, &'static str);

const TIMES: &str = "-raft-heartbeat-timeout determines all election times; the other timeouts only appear in /status";
const PERIODIC: &str = "the leader runs it for all nodes at the same log index, not each node when it takes a snapshot";
const SNAPSHOTS: &str = "a snapshot copies nothing and stops no writes";
const NO_EFFECT: &str = "accepted without effect; a log message states why";

const ROWS: &[Row] = &[
    (Used::Always, "the data directory", "the Raft log has another format: the new node needs an empty directory"),
    (
        Used::Flag("auth"),
        "the auth file",
        "users inherit nothing from the user before them; unknown permissions are refused",
    ),
    (Used::Flag("auth"), "failed logins", "one response per second for each user and address, and a log message"),
    (
        Used::Flag("http-allow-origin"),
        "a request that a page of another site",
        "a form or text/plain POST of another site's page is refused with 403, unless the flag allows its origin",
    ),
    (
        Used::Flag("http-verify-client"),
        "a client certificate of X.509 version 1",
        "refused, because only version 3 is supported",
    ),
    (Used::Flag("raft-heartbeat-timeout"), "election times", TIMES),
    (Used::Flag("raft-election-timeout"), "election times", TIMES),
    (Used::Flag("raft-leader-lease-timeout"), "election times", TIMES),
    (Used::Flag("raft-commit-timeout"), "election times", TIMES),
    (Used::Flag("auto-vacuum-int"), "periodic VACUUM and `PRAGMA optimize`", PERIODIC),
    (Used::Flag("auto-optimize-int"), "periodic VACUUM and `PRAGMA optimize`", PERIODIC),
    (Used::Flag("raft-snap"), "snapshots", SNAPSHOTS),
    (Used::Flag("raft-snap-int"), "snapshots", SNAPSHOTS),
    (Used::Flag("raft-snap-wal-size"), "snapshots", SNAPSHOTS),
    (
        Used::Flag("raft-remove-shutdown"),
        "`-raft-remove-shutdown`",
        "Raft stops on each removed node, not only on a leader that removes itself",
    ),
    (
        Used::Flag("raft-cluster-remove-shutdown"),
        "`-raft-cluster-remove-shutdown` on the last voter",
        "the last voter stays a member, and its exit status is 0",
    ),
    (Used::Flag("compress-snap-transport"), "`-compress-snap-transport`", NO_EFFECT),
    (Used::Flag("cpu-profile"), "`-compress-snap-transport`", NO_EFFECT),
    (Used::Flag("mem-profile"), "`-compress-snap-transport`", NO_EFFECT),
    (Used::Flag("trace-profile"), "`-compress-snap-transport`", NO_EFFECT),
    (Used::Value("disco-mode", &["consul-kv", "etcd-kv"]), "`-disco-mode`", "only dns and dns-srv are supported"),
    (
        Used::Value("disco-mode", &["dns-srv"]),
        "`-disco-mode dns-srv`",
        "a target without an address is left out, and the others are used",
    ),
    (Used::Flag("fk"), "joining with another `-fk`", "a node without -fk cannot join"),
    (
        Used::SeveralNodes,
        "a read sent to a node that is not the leader",
        "the node that is asked answers itself, after it has applied what the leader has",
    ),
    (
        Used::SeveralNodes,
        "a request while no leader is known",
        "the request waits for a leader for a few seconds; with redirect it fails at once",
    ),
    (
        Used::SeveralNodes,
        "a request whose leader has died",
        "the request waits for the next leader; if it had been sent, its outcome is unknown",
    ),
    (
        Used::SeveralNodes,
        "the id of a node",
        "-node-id is a name: a node with an empty directory is a new node, which replaces the old one",
    ),
    (
        Used::Counter("http", "queued_executions"),
        "queued writes",
        "a queued write is durable when the response is sent",
    ),
    (
        Used::Counter("http", "queued_executions"),
        "a queued write that fails",
        "it fails once and does not block the queue",
    ),
    (
        Used::Counter("http", "loads"),
        "`/db/load` of a database file",
        "the file is stored on disk; a second file waits for the first one",
    ),
    (
        Used::Counter("http", "backups"),
        "backups",
        "a backup does not contain the table in which the node records its index",
    ),
    (
        Used::Counter("sql.processor", "num_rewritten_stmts"),
        "time and random values in SQL",
        "SQL is never rewritten; all nodes compute the same time and random values",
    ),
    (
        Used::Schema(&["DATE", "DATETIME", "TIMESTAMP"]),
        "a TEXT value that is not a date",
        "a TEXT value that is no date is returned as it is, not as 0001-01-01T00:00:00Z",
    ),
    (
        Used::Schema(&["DATE", "DATETIME", "TIMESTAMP"]),
        "integers in DATE, DATETIME, TIMESTAMP columns",
        "an integer outside the years 0 to 9999 is returned as it is",
    ),
    (
        Used::Schema(&["'localtime'", "'utc'"]),
        "the modifiers `'localtime'` and `'utc'`",
        "the time zone is UTC or that of -time-zone, not that of the process",
    ),
];

/// The row about flags for features that do not exist yet.
const NOT_YET_TOPIC: &str = "flags for features that do not exist yet";

/// Returns the report on a node.
pub(crate) fn report(documents: &Documents, old: &OldNode) -> Report {
    let mut report = Report { document: DOCUMENT, ..Report::default() };
    let mut flags = node_flags(documents, &mut report);
    report_differences(&flags, documents, &mut report);
    leave_out(&mut flags, documents, &mut report);
    check_addresses(&flags, &mut report);
    let id = text(&documents.status, "/store/node_id").to_owned();
    let label = first_label(&id, &flags);
    let first = first_node(flags);
    report.command_lines.push(CommandLine { label, words: first.words() });
    for (other, node) in documents.nodes.iter().filter(|(other, _)| **other != id) {
        let label = format!("node {other}, which joins it");
        let words = other_node(&first, other, node, documents, &mut report).words();
        report.command_lines.push(CommandLine { label, words });
    }
    match &documents.schema {
        Ok(schema) => report.frozen = Some(frozen::find(schema)),
        Err(why) => {
            let remedy = "use a user with the permission query";
            report.problems.push(Problem::new("sqlite_master", "", why, remedy));
        }
    }
    report.steps = steps(&first, old, documents.nodes.len(), report.frozen.as_ref().is_some_and(|it| !it.is_empty()));
    report
}

/// Returns the flags of the node: those of its command line or, if that cannot be read, those that `/status` shows.
fn node_flags(documents: &Documents, report: &mut Report) -> NodeFlags {
    let line = documents.vars.as_ref().map_err(String::clone).and_then(|vars| {
        let words: Vec<String> =
            vars["cmdline"].as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect();
        let mut flags = NodeFlags::parse(&words)?;
        // The directory on the command line may be relative to an unknown directory.
        let directory = non_empty(&documents.status, "/store/dir").unwrap_or_else(|| flags.directory.clone());
        if !may_be_same(&flags.directory, &directory) {
            return Err(format!("its data directory {} is not {directory}, that of /status", flags.directory));
        }
        flags.directory = directory;
        Ok(flags)
    });
    line.unwrap_or_else(|why| {
        let remedy = "the command line is derived from /status: compare it with that of rqlited";
        report.problems.push(Problem::new("/debug/vars", "cmdline", format!("cannot be used: {why}"), remedy));
        flags_of_status(&documents.status, report)
    })
}

/// Returns whether a path may be the absolute path of the same directory. Both have the same last segment, unless the
/// path ends with `.` or `..`.
fn may_be_same(path: &str, absolute: &str) -> bool {
    let name = Path::new(path).file_name();
    path.ends_with('.') || name == Path::new(absolute).file_name()
}

/// The flags whose values `/status` contains, and their defaults.
const STATUS_FLAGS: [(&str, &str, &str); 12] = [
    ("/http/allow_origin", "http-allow-origin", ""),
    ("/http/tls/cert_file", "http-cert", ""),
    ("/http/tls/key_file", "http-key", ""),
    ("/http/tls/ca_file", "http-ca-cert", ""),
    ("/http/queue/_default/max_size", "write-queue-capacity", "1024"),
    ("/http/queue/_default/batch_size", "write-queue-batch-size", "128"),
    ("/http/queue/_default/timeout", "write-queue-timeout", "50ms"),
    ("/store/heartbeat_timeout", "raft-heartbeat-timeout", "1s"),
    ("/store/apply_timeout", "raft-apply-timeout", "10s"),
    ("/store/snapshot_threshold", "raft-snap", "8192"),
    ("/store/reap_timeout", "raft-reap-node-timeout", "0s"),
    ("/store/reap_read_only_timeout", "raft-reap-read-only-node-timeout", "0s"),
];

/// The flags that `/status` shows to be in use, without their values: the member, the value in use, and the flags.
const HIDDEN_FLAGS: [(&str, &str, &str); 5] = [
    ("/http/auth", "enabled", "-auth"),
    ("/mux/tls", "enabled", "-node-cert and -node-key"),
    ("/auto_backups/upload_interval", "", "-auto-backup"),
    ("/cdc/enabled", "true", "-cdc-config"),
    ("/store/auto_vacuum/next_vacuum_after", "", "-auto-vacuum-int"),
];

/// Derives the flags of a node from `/status`.
fn flags_of_status(status: &Value, report: &mut Report) -> NodeFlags {
    let mut flags = NodeFlags::new(text(status, "/store/dir"));
    flags.set("node-id", text(status, "/store/node_id"));
    let (bound, advertised) = (text(status, "/http/bind_addr"), text(status, "/cluster/api_addr"));
    flags.set("http-addr", bound);
    if advertised != bound {
        flags.set("http-adv-addr", advertised);
    }
    let raft = text(status, "/store/addr");
    if is_unspecified(host_of(bound)) {
        flags.set("raft-addr", format!("{}:{}", host_of(bound), port_of(raft)));
        flags.set("raft-adv-addr", raft);
    } else {
        flags.set("raft-addr", raft);
    }
    for (pointer, flag, default) in STATUS_FLAGS {
        if let Some(value) = non_empty(status, pointer).filter(|value| value != default) {
            flags.set(flag, value);
        }
    }
    for (pointer, value, flag) in
        [("/store/db_conf/fk_constraints", true, "fk"), ("/store/raft/voter", false, "raft-non-voter")]
    {
        if status.pointer(pointer).and_then(Value::as_bool) == Some(value) {
            flags.set(flag, "true");
        }
    }
    if text(status, "/http/tls/client_auth") == "RequireAndVerifyClientCert" {
        flags.set("http-verify-client", "true");
    }
    for (pointer, in_use, hidden) in HIDDEN_FLAGS {
        if non_empty(status, pointer).is_some_and(|value| in_use.is_empty() || value == in_use) {
            let message = format!("{hidden} is in use, but its value is not in /status");
            report.problems.push(Problem::new(
                "/status",
                pointer,
                message,
                "copy the flag from the command line of rqlited",
            ));
        }
    }
    flags
}

fn report_differences(flags: &NodeFlags, documents: &Documents, report: &mut Report) {
    for (used, topic, difference) in ROWS {
        if let Some(used) = used.find(flags, documents) {
            report.add_difference(Difference { used, topic, text: (*difference).to_owned() });
        }
    }
}

impl Used {
    /// Returns what is in use; `None` if nothing is.
    fn find(self, flags: &NodeFlags, documents: &Documents) -> Option<String> {
        match self {
            Used::Always => Some(flags.directory.clone()),
            Used::Flag(name) => flags.get(name).filter(|value| *value != "false").map(|_| format!("-{name}")),
            Used::Value(name, values) => {
                let value = flags.get(name).filter(|value| values.contains(value))?;
                Some(format!("-{name} {value}"))
            }
            Used::SeveralNodes => {
                let count = documents.nodes.len();
                (count > 1).then(|| format!("{count} nodes"))
            }
            Used::Counter(map, name) => {
                let vars = documents.vars.as_ref().ok()?;
                let count = vars[map][name].as_u64().filter(|count| *count > 0)?;
                Some(format!("{map}.{name} is {count}"))
            }
            Used::Schema(wanted) => {
                let schema = documents.schema.as_ref().ok()?;
                let object = schema.iter().find(|object| contains(&object.sql, wanted))?;
                Some(format!("{} {}", object.kind, object.name))
            }
        }
    }
}

/// Returns whether SQL text contains one of these tokens.
fn contains(sql: &str, wanted: &[&str]) -> bool {
    let tokens = crate::sql::words(sql);
    // A function such as date() is no type.
    let is_call = |index: usize| tokens.get(index + 1).is_some_and(|next| next.is("("));
    let mut indexed = tokens.iter().enumerate();
    indexed.any(|(index, token)| wanted.iter().any(|it| token.text.eq_ignore_ascii_case(it)) && !is_call(index))
}

/// Removes the flags for features that do not exist yet, and reports them.
fn leave_out(flags: &mut NodeFlags, documents: &Documents, report: &mut Report) {
    let has_extensions = documents.status.pointer("/extensions/names").and_then(Value::as_array);
    let has_extensions = has_extensions.is_none_or(|names| !names.is_empty());
    for (name, remedy) in flags.not_yet() {
        let used = format!("-{name}");
        let text = "not supported yet: sqlhttp-cluster refuses to start with this flag".to_owned();
        report.add_difference(Difference { used: used.clone(), topic: NOT_YET_TOPIC, text });
        // A directory without extensions is no feature that is lost.
        if name != "extensions-path" || has_extensions {
            report.problems.push(Problem::new(
                "/debug/vars",
                used,
                "the flag is not supported yet and left out",
                remedy,
            ));
        }
        flags.remove(|other| other == name);
    }
    let level = flags.get("raft-log-level").unwrap_or("WARN").to_ascii_uppercase();
    if !["ERROR", "WARN", "INFO", "DEBUG"].contains(&level.as_str()) {
        let message = format!("the level {level} is unknown and left out");
        let remedy = "write ERROR, WARN, INFO or DEBUG";
        report.problems.push(Problem::new("/debug/vars", "-raft-log-level", message, remedy));
        flags.remove(|name| name == "raft-log-level");
    }
}

fn check_addresses(flags: &NodeFlags, report: &mut Report) {
    for service in ["http", "raft"] {
        let address = flags.get(&format!("{service}-addr")).unwrap_or("localhost");
        let advertised = format!("{service}-adv-addr");
        if host_of(address).is_empty() && flags.get(&advertised).is_none() {
            let message = format!("-{service}-addr {address} has no host, so the new node requires -{advertised}");
            let remedy = "add the flag with an address that the other nodes can reach";
            report.problems.push(Problem::new("/debug/vars", format!("-{service}-addr"), message, remedy));
        }
    }
    if flags.is_on("raft-non-voter") {
        let remedy = "connect to a voting node with -H";
        let message = "this node is a read replica, which cannot create a cluster";
        report.problems.push(Problem::new("/status", "store.raft.voter", message, remedy));
    }
}

/// Returns the label of the node that creates the new cluster. It names the flags that are left out.
fn first_label(id: &str, flags: &NodeFlags) -> String {
    // Discovery with Consul and etcd is not supported.
    let discovers = flags.get("disco-mode").is_some_and(|mode| mode.starts_with("dns"));
    let usable = |name: &&str| discovers || !name.starts_with("disco-");
    let left_out: Vec<String> = flags.names(Support::Formation).filter(usable).map(|name| format!("-{name}")).collect();
    if left_out.is_empty() {
        return format!("node {id}, which creates the cluster");
    }
    let left_out = left_out.join(" and ");
    format!("node {id}, which creates the cluster; {left_out} may be used again when the other nodes have joined")
}

/// Returns the flags of the node that creates the new cluster: without those that form a cluster, and with an empty
/// directory.
fn first_node(mut flags: NodeFlags) -> NodeFlags {
    flags.remove(|name| support(name) == Some(Support::Formation));
    flags.directory = format!("{}-sqlhttp", flags.directory.trim_end_matches('/'));
    flags
}

/// Returns the flags of another node, which joins the first one.
fn other_node(first: &NodeFlags, id: &str, node: &Value, documents: &Documents, report: &mut Report) -> NodeFlags {
    let mut flags = first.clone();
    flags.remove(|name| ["node-id", "raft-non-voter"].contains(&name));
    let raft = node["addr"].as_str().unwrap_or_default();
    let api = node["api_addr"].as_str().unwrap_or_default();
    let api = api.split_once("://").map_or(api, |(_, address)| address);
    let guessed = format!("{}:{}", host_of(raft), port_of(first.get("http-addr").unwrap_or("localhost:4001")));
    if api.is_empty() {
        let message = format!("the node is not reachable, so its HTTP address {guessed} is a guess");
        report.problems.push(Problem::new("/nodes", id, message, "start the node, or correct -http-addr"));
    }
    let first_raft = text(&documents.status, "/store/addr");
    if host_of(raft) == host_of(first_raft) {
        flags.directory = format!("{}-{}", flags.directory, id.replace(['/', ':'], "_"));
    }
    let mut ordered = NodeFlags::new(flags.directory.clone());
    ordered.set("node-id", id);
    set_address(&mut ordered, first, "http", if api.is_empty() { &guessed } else { api });
    set_address(&mut ordered, first, "raft", raft);
    ordered.set("join", first_raft);
    if node["voter"] == false {
        ordered.set("raft-non-voter", "true");
    }
    flags.remove(|name| ordered.get(name).is_some() || name.ends_with("-adv-addr"));
    ordered.append(flags);
    ordered
}

/// Sets the address of a service of another node. It listens on all interfaces if the first node does.
fn set_address(flags: &mut NodeFlags, first: &NodeFlags, service: &str, advertised: &str) {
    let name = format!("{service}-addr");
    let bound = first.get(&name).unwrap_or_default();
    let host = host_of(bound);
    if !bound.is_empty() && (host.is_empty() || is_unspecified(host)) {
        flags.set(&name, format!("{host}:{}", port_of(advertised)));
        flags.set(&format!("{service}-adv-addr"), advertised);
    } else {
        flags.set(&name, advertised);
    }
}

fn text<'v>(document: &'v Value, pointer: &str) -> &'v str {
    document.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// Returns a scalar of a document as text, unless it is empty.
fn non_empty(document: &Value, pointer: &str) -> Option<String> {
    let text = match document.pointer(pointer)? {
        Value::String(text) => text.clone(),
        value @ (Value::Number(_) | Value::Bool(_)) => value.to_string(),
        _ => return None,
    };
    (!text.is_empty()).then_some(text)
}

fn host_of(address: &str) -> &str {
    address.rsplit_once(':').map_or(address, |(host, _)| host)
}

fn port_of(address: &str) -> &str {
    address.rsplit_once(':').map_or("", |(_, port)| port)
}

fn is_unspecified(host: &str) -> bool {
    ["0.0.0.0", "[::]", "::"].contains(&host)
}

/// Returns the steps of the move.
fn steps(first: &NodeFlags, old: &OldNode, nodes: usize, frozen: bool) -> Vec<Step> {
    let new = first.get("http-adv-addr").or(first.get("http-addr")).unwrap_or("localhost:4001");
    let scheme = if first.get("http-cert").is_some() { Scheme::Https } else { Scheme::Http };
    let user = if first.get("auth").is_some() { " -u NAME" } else { "" };
    let [from, to] = [shell(old.host.scheme(), old.host.authority()), shell(scheme, new)];
    let directory = words::quote(old.directory.as_deref().unwrap_or("DIR"));
    let mut steps = vec![Step::new("Stop the writes of all clients.", [])];
    let backup = format!("{from}{user} migrate from-rqlite --perform --to {directory}");
    steps.push(match old.directory {
        None => Step::new("Download a backup and check it.", [backup]),
        Some(_) => {
            Step::new("If clients have written since the backup, download another one into another directory.", [])
        }
    });
    steps.push(Step::new("Stop rqlited on all nodes. Start the first node with its command line above, alone.", []));
    let place = old.directory.as_deref().unwrap_or("DIR");
    let command = |command: String| format!("{to}{user} {}", words::quote(&command));
    let [boot, restore] = ["boot", "restore"].map(|name| command(format!(".{name} {place}/{BACKUP}")));
    let load = "Load the backup with one of these commands: .boot only while the node is alone, a file of any size; \
                .restore at any time, a file of up to 10 GiB (-max-load).";
    steps.push(Step::new(load, [boot, restore]));
    if nodes > 1 {
        steps.push(Step::new("Start the other nodes with their command lines above. They receive the database.", []));
    }
    let copy = command(format!(".backup {place}/new.db"));
    let hashes = [BACKUP, "new.db"].map(|name| format!("sqlite3 {directory}/{name} .sha3sum"));
    let compare = std::iter::once(copy).chain(hashes);
    steps.push(Step::new("Compare the databases. Both hashes must be the same:", compare));
    if frozen {
        steps.push(Step::new("Correct the frozen defaults on the new server.", []));
    }
    steps
}

/// Returns the beginning of a command line of the shell for a server.
fn shell(scheme: Scheme, address: &str) -> String {
    let scheme = if scheme == Scheme::Https { " -s https" } else { "" };
    let host = host_of(address).trim_start_matches('[').trim_end_matches(']');
    format!("sqlhttp{scheme} -H {} -p {}", words::quote(host), words::quote(port_of(address)))
}

/// Reads the documents of a node.
pub(crate) async fn read_documents<T: Transport>(client: &Client<T>) -> Result<Documents, ReadError> {
    let status = object(client, "status", &Params::default()).await?;
    let nodes = object(client, "nodes", &Params::default().nonvoters(true)).await?;
    let vars = object(client, "debug/vars", &Params::default()).await;
    let schema = read_schema(client).await;
    Ok(Documents {
        status: Value::Object(status),
        nodes,
        vars: vars.map(Value::Object).map_err(|error| error.to_string()),
        schema,
    })
}

async fn object<T: Transport>(
    client: &Client<T>,
    resource: &'static str,
    params: &Params,
) -> Result<Map<String, Value>, ReadError> {
    let request = HttpRequest::new(Method::Get, client.target(resource, params));
    let HttpResponse { status, body, .. } = client.send_whole(request).await?;
    succeeded(resource, status, &body)?;
    serde_json::from_slice(&body).map_err(|error| ReadError::Malformed { resource, reason: error.to_string() })
}

fn succeeded(resource: &'static str, status: u16, body: &[u8]) -> Result<(), ReadError> {
    match status {
        200 => Ok(()),
        401 => Err(ReadError::Status { resource, status, text: "unauthorized; give a user with --user".to_owned() }),
        _ => {
            let text = String::from_utf8_lossy(body).trim_end().to_owned();
            Err(ReadError::Status { resource, status, text })
        }
    }
}

/// Reads the schema at the level `strong`, so that it contains all acknowledged writes.
async fn read_schema<T: Transport>(client: &Client<T>) -> Result<Vec<SchemaObject>, String> {
    let batch = Batch::one(SqlStep::query(SCHEMA_SQL, ()));
    let strong = |params: &mut Params| params.level = ReadLevel::Strong;
    let response = client.run(Endpoint::Query, &batch, strong).await.map_err(|error| error.to_string())?;
    match response.results.into_iter().next() {
        Some(StatementResult::Rows(rows)) => Ok(rows.rows.into_iter().filter_map(schema_object).collect()),
        Some(StatementResult::Failed(message)) => Err(message),
        _ => Err("the response contains no rows".to_owned()),
    }
}

fn schema_object(row: Vec<SqlValue>) -> Option<SchemaObject> {
    let texts = row.into_iter().map(|value| match value {
        SqlValue::Text(text) => Some(text.to_string()),
        _ => None,
    });
    let texts: Vec<String> = texts.collect::<Option<_>>()?;
    let [kind, name, table, sql] = <[String; 4]>::try_from(texts).ok()?;
    Some(SchemaObject { kind, name, table, sql })
}

/// Downloads a backup into a directory and checks it. Returns the size of the file in bytes, and the schema in it. If
/// the download fails, no file remains.
pub(crate) async fn download<T: Transport>(
    client: &Client<T>,
    directory: &Path,
) -> Result<(u64, Vec<SchemaObject>), ReadError> {
    let target = directory.join(BACKUP);
    if target.exists() {
        return Err(DatabaseError::Exists.into());
    }
    std::fs::create_dir_all(directory).map_err(DatabaseError::Io)?;
    let received = shell::download(client, &target, Params::default()).await?;
    if let Some(partial) = received.partial() {
        database::check(partial)?;
    }
    received.commit()?;
    let size = std::fs::metadata(&target).map_err(DatabaseError::Io)?.len();
    Ok((size, database::schema_of(&target)?))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::report::assert_rows_exist;
    use super::*;

    /// `/status` of a node of rqlited v10.3.0-dev, without the members that the report does not use.
    fn status() -> Value {
        json!({
            "cluster": {"addr": "db1:4002", "api_addr": "db1:4001", "https": "false"},
            "extensions": {"dir": "/var/lib/rqlite/extensions", "names": []},
            "http": {
                "auth": "disabled", "bind_addr": "10.0.0.1:4001", "tls": {"enabled": "false"},
                "queue": {"_default": {"batch_size": 128, "max_size": 1024, "sequence_number": 0, "timeout": "50ms"}},
            },
            "mux": {"addr": "db1:4002", "timeout": "30s", "tls": "disabled"},
            "store": {
                "addr": "db1:4002", "apply_timeout": "10s", "cdc": {"enabled": false, "registered": false},
                "db_conf": {"fk_constraints": true}, "dir": "/var/lib/rqlite", "heartbeat_timeout": "1s",
                "node_id": "n1", "raft": {"state": "Leader", "voter": true}, "reap_read_only_timeout": "0s",
                "reap_timeout": "1h0m0s", "snapshot_interval": "10s", "snapshot_threshold": 4096,
            },
        })
    }

    fn node(id: &str, host: &str, voter: bool) -> (String, Value) {
        let addresses = (format!("http://{host}:4001"), format!("{host}:4002"));
        (
            id.to_owned(),
            json!({"id": id, "api_addr": addresses.0, "addr": addresses.1, "voter": voter, "reachable": true}),
        )
    }

    fn documents(cmdline: &str) -> Documents {
        let words: Vec<&str> = cmdline.split(' ').collect();
        Documents {
            status: status(),
            nodes: [node("n1", "db1", true)].into_iter().collect(),
            vars: Ok(json!({"cmdline": words, "http": {"queued_executions": 0}})),
            schema: Ok(Vec::new()),
        }
    }

    fn old() -> OldNode {
        OldNode { host: "http://db1:4001".parse().unwrap(), directory: None }
    }

    fn lines(report: &Report) -> Vec<String> {
        report.command_lines.iter().map(|line| words::line(&line.words)).collect()
    }

    fn problems(report: &Report) -> Vec<String> {
        report.problems.iter().map(ToString::to_string).collect()
    }

    /// Checks that `sqlhttp-cluster` accepts all command lines of a report.
    fn assert_accepted(report: &Report) {
        for line in &report.command_lines {
            let arguments: Vec<_> = line.words[1..].iter().map(std::ffi::OsString::from).collect();
            let parsed = sqlhttp_server::cluster::config::parse(&arguments);
            assert!(parsed.is_ok(), "{:?}: {:?}", line.words, parsed.err().map(|exit| exit.message));
        }
    }

    #[test]
    fn each_difference_has_its_row_in_the_document() {
        assert_rows_exist(DOCUMENT, ROWS.iter().map(|(_, topic, _)| *topic).chain([NOT_YET_TOPIC]));
        assert!(ROWS.iter().all(|(_, _, text)| text.chars().count() <= 110));
        for (used, ..) in ROWS {
            if let Used::Flag(name) = used {
                assert!(support(name).is_some(), "{name}");
            }
        }
    }

    #[test]
    fn one_node() {
        let report =
            report(&documents("./rqlited -node-id n1 -http-addr db1:4001 -raft-addr db1:4002 -fk rqlite"), &old());
        let expected =
            "sqlhttp-cluster -node-id n1 -http-addr db1:4001 -raft-addr db1:4002 -fk /var/lib/rqlite-sqlhttp";
        assert_eq!(lines(&report), [expected]);
        assert_accepted(&report);
        assert_eq!(problems(&report), Vec::<String>::new());
        let used: Vec<_> = report.differences.iter().map(|it| (it.used.as_str(), it.topic)).collect();
        assert_eq!(used, [("/var/lib/rqlite", "the data directory"), ("-fk", "joining with another `-fk`")]);
        assert_eq!(report.frozen, Some(Vec::new()));
        assert_eq!(report.steps.len(), 5);
        assert_eq!(report.exit_status(), 0);
    }

    #[test]
    fn the_other_nodes_join_the_first_one() {
        let mut documents = documents(
            "rqlited -node-id n1 -http-addr 0.0.0.0:4001 -http-adv-addr db1:4001 -raft-addr 0.0.0.0:4002 -raft-adv-addr \
             db1:4002 -bootstrap-expect 3 -join db1:4002,db2:4002 -auth a.json /var/lib/rqlite/",
        );
        documents.nodes.extend([node("n2", "db2", true), node("n3", "db1", false)]);
        let report = report(&documents, &old());
        let common = "-auth a.json /var/lib/rqlite-sqlhttp";
        assert_eq!(
            lines(&report),
            [
                format!(
                    "sqlhttp-cluster -node-id n1 -http-addr 0.0.0.0:4001 -http-adv-addr db1:4001 -raft-addr 0.0.0.0:4002 \
                     -raft-adv-addr db1:4002 {common}"
                ),
                format!(
                    "sqlhttp-cluster -node-id n2 -http-addr 0.0.0.0:4001 -http-adv-addr db2:4001 -raft-addr 0.0.0.0:4002 \
                     -raft-adv-addr db2:4002 -join db1:4002 {common}"
                ),
                format!(
                    "sqlhttp-cluster -node-id n3 -http-addr 0.0.0.0:4001 -http-adv-addr db1:4001 -raft-addr 0.0.0.0:4002 \
                     -raft-adv-addr db1:4002 -join db1:4002 -raft-non-voter {common}-n3"
                ),
            ]
        );
        let label = "node n1, which creates the cluster; -bootstrap-expect and -join may be used again when the other \
                     nodes have joined";
        assert_eq!(report.command_lines[0].label, label);
        assert_accepted(&Report { command_lines: report.command_lines[..2].to_vec(), ..Report::default() });
        let topics: Vec<_> = report.differences.iter().map(|it| it.topic).collect();
        assert!(topics.contains(&"the id of a node") && topics.contains(&"the auth file"), "{topics:?}");
        let boot = &report.steps[3].commands[0];
        assert_eq!(boot, "sqlhttp -H db1 -p 4001 -u NAME '.boot DIR/rqlite.db'");
    }

    #[test]
    fn flags_that_are_not_supported_are_problems() {
        let line = "rqlited -auto-backup b.json -cdc-config stdout -extensions-path /e -raft-log-level TRACE \
                    -compress-snap-transport -disco-mode etcd-kv -http-addr :4001 rqlite";
        let mut documents = documents(line);
        let first = report(&documents, &old());
        let keys: Vec<_> = first.problems.iter().map(|problem| problem.key.as_str()).collect();
        assert_eq!(keys, ["-auto-backup", "-cdc-config", "-raft-log-level", "-http-addr"]);
        assert_eq!(
            lines(&first),
            ["sqlhttp-cluster -compress-snap-transport -http-addr :4001 /var/lib/rqlite-sqlhttp"]
        );
        let used: Vec<_> = first.differences.iter().map(|it| it.used.as_str()).collect();
        let expected = [
            "/var/lib/rqlite",
            "-compress-snap-transport",
            "-disco-mode etcd-kv",
            "-auto-backup",
            "-cdc-config",
            "-extensions-path",
        ];
        assert_eq!(used, expected);
        assert_eq!(first.exit_status(), 1);
        assert_eq!(first.command_lines[0].label, "node n1, which creates the cluster");
        documents.status["extensions"]["names"] = json!(["sqlean.so"]);
        assert_eq!(report(&documents, &old()).problems[2].key, "-extensions-path");
    }

    #[test]
    fn without_the_command_line_the_flags_are_derived_from_the_status() {
        let mut documents = documents("test-program a_test");
        let message = "cannot be used: its data directory a_test is not /var/lib/rqlite, that of /status";
        assert_eq!(report(&documents, &old()).problems[0].message, message);
        documents.vars = Ok(json!({"cmdline": ["test-program", "--nocapture"]}));
        let first = report(&documents, &old());
        let expected = "sqlhttp-cluster -node-id n1 -http-addr 10.0.0.1:4001 -http-adv-addr db1:4001 -raft-addr db1:4002 \
                        -raft-snap 4096 -raft-reap-node-timeout 1h0m0s -fk /var/lib/rqlite-sqlhttp";
        assert_eq!(lines(&first), [expected]);
        assert_accepted(&first);
        assert_eq!(
            problems(&first),
            ["/debug/vars: cmdline: cannot be used: flag provided but not defined: -nocapture; the command line is \
              derived from /status: compare it with that of rqlited"]
        );
        documents.vars = Err("/debug/vars: the server responded with 401: unauthorized".to_owned());
        documents.status["http"]["auth"] = json!("enabled");
        documents.status["http"]["bind_addr"] = json!("0.0.0.0:4001");
        documents.status["http"]["tls"] = json!({
            "enabled": "true", "cert_file": "c.pem", "key_file": "k.pem", "ca_file": "",
            "client_auth": "RequireAndVerifyClientCert",
        });
        let second = report(&documents, &old());
        let keys: Vec<_> = second.problems.iter().map(|problem| problem.key.as_str()).collect();
        assert_eq!(keys, ["cmdline", "/http/auth"]);
        let line = &lines(&second)[0];
        assert!(
            line.contains("-raft-addr 0.0.0.0:4002 -raft-adv-addr db1:4002 -http-cert c.pem -http-key k.pem"),
            "{line}"
        );
        assert!(line.contains("-http-verify-client"), "{line}");
        assert_accepted(&second);
        assert!(second.steps[3].commands[0].starts_with("sqlhttp -s https -H db1 -p 4001 "), "{:?}", second.steps);
    }

    #[test]
    fn counters_and_the_schema_show_what_is_used() {
        let mut documents = documents("rqlited .");
        documents.vars = Ok(json!({
            "cmdline": ["rqlited", "."], "http": {"queued_executions": 4, "loads": 0, "backups": 1},
            "sql.processor": {"num_rewritten_stmts": 13},
        }));
        let table = |sql: &str| {
            let [kind, name, table, sql] = ["table", "t", "t", sql].map(str::to_owned);
            SchemaObject { kind, name, table, sql }
        };
        documents.schema = Ok(vec![table("CREATE TABLE t(a DEFAULT (date('now','localtime')), b TEXT)")]);
        let used = |documents: &Documents| -> Vec<String> {
            report(documents, &old()).differences.into_iter().skip(1).map(|it| it.used).collect()
        };
        let counters = ["http.queued_executions is 4", "http.queued_executions is 4", "http.backups is 1"];
        let counters: Vec<&str> = counters.into_iter().chain(["sql.processor.num_rewritten_stmts is 13"]).collect();
        assert_eq!(used(&documents), [&counters[..], &["table t"]].concat());
        documents.schema = Ok(vec![table("CREATE TABLE t(a DATETIME, b TEXT)")]);
        assert_eq!(used(&documents), [&counters[..], &["table t", "table t"]].concat());
    }

    #[test]
    fn a_read_replica_and_an_unreachable_node_are_problems() {
        let mut documents = documents("rqlited -node-id n1 -raft-non-voter -join db2:4002 rqlite");
        documents
            .nodes
            .extend([("n2".to_owned(), json!({"id": "n2", "addr": "db2:4002", "voter": true, "error": "x"}))]);
        documents.schema = Err("unauthorized".to_owned());
        let report = report(&documents, &old());
        let places: Vec<_> = report.problems.iter().map(|it| (it.file.as_str(), it.key.as_str())).collect();
        assert_eq!(places, [("/status", "store.raft.voter"), ("/nodes", "n2"), ("sqlite_master", "")]);
        assert!(
            lines(&report)[1].starts_with("sqlhttp-cluster -node-id n2 -http-addr db2:4001 -raft-addr db2:4002 -join")
        );
        assert_eq!(report.frozen, None);
    }

    #[test]
    fn addresses_of_ipv6_are_split() {
        assert_eq!(shell(Scheme::Https, "[::1]:4001"), "sqlhttp -s https -H ::1 -p 4001");
        assert_eq!(shell(Scheme::Http, "db1:4001"), "sqlhttp -H db1 -p 4001");
    }
}
