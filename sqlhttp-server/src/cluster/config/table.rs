//! The flags: those of rqlited v10, whether what they switch on exists here, and those that only this server has.

use sqlhttp_text::flag::Kind;

/// The program's name, in the version and the usage text.
pub const PROGRAM: &str = "sqlhttp-cluster";

/// A flag.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Flag {
    /// Its name, without dashes.
    pub(crate) name: &'static str,
    /// Another name, under which earlier versions know it; empty for none.
    pub(crate) alias: &'static str,
    /// What it takes.
    pub(crate) kind: Kind,
    /// Its value when it is not given; empty for none.
    pub(crate) default: &'static str,
    /// What becomes of it.
    pub(crate) support: Support,
    /// What it is for.
    pub(crate) help: &'static str,
}

/// What becomes of a flag that is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Support {
    /// rqlited has it, and it works.
    Supported,
    /// rqlited has it; any value but the default asks for what does not exist yet.
    NotYet,
    /// rqlited has it; integers up to this one work, larger ones ask for what does not exist yet.
    UpTo(i64),
    /// rqlited has it; accepted without effect, for this reason.
    Ignored(&'static str),
    /// rqlited does not have it.
    Extension,
}

const fn supported(name: &'static str, kind: Kind, default: &'static str, help: &'static str) -> Flag {
    Flag { name, alias: "", kind, default, support: Support::Supported, help }
}

const fn not_yet(name: &'static str, kind: Kind, default: &'static str, help: &'static str) -> Flag {
    Flag { name, alias: "", kind, default, support: Support::NotYet, help }
}

const fn extension(name: &'static str, kind: Kind, default: &'static str, help: &'static str) -> Flag {
    Flag { name, alias: "", kind, default, support: Support::Extension, help }
}

const fn ignored(name: &'static str, kind: Kind, default: &'static str, why: &'static str, help: &'static str) -> Flag {
    Flag { name, alias: "", kind, default, support: Support::Ignored(why), help }
}

impl Flag {
    const fn also(self, alias: &'static str) -> Flag {
        Flag { alias, ..self }
    }
}

/// Why flags about the traffic between nodes have no effect.
const SINGLE_NODE: &str = "a cluster has one node for now, which talks to no other";

/// Why a profile is not written.
const NO_PROFILE: &str = "this program writes no profiles";

const LOG_LEVELS: Kind = Kind::Choice(&["error", "warn", "info", "debug", "trace"]);

const fn text(name: &'static str, help: &'static str) -> Flag {
    supported(name, Kind::Text, "", help)
}

const fn switch(name: &'static str, help: &'static str) -> Flag {
    supported(name, Kind::Bool, "false", help)
}

const fn duration(name: &'static str, default: &'static str, help: &'static str) -> Flag {
    supported(name, Kind::SignedDuration, default, help)
}

const fn text_not_yet(name: &'static str, help: &'static str) -> Flag {
    not_yet(name, Kind::Text, "", help)
}

const fn switch_not_yet(name: &'static str, help: &'static str) -> Flag {
    not_yet(name, Kind::Bool, "false", help)
}

/// All flags; those of rqlited first.
pub(crate) const TABLE: &[Flag] = &[
    switch("version", "Print the version and exit"),
    text(
        "node-id",
        "Name of this node, unlike that of any other in the cluster; the advertised Raft address if not set",
    ),
    supported("http-addr", Kind::Text, "localhost:4001", "Address (host:port) where the HTTP API listens"),
    text("http-adv-addr", "Address of the HTTP API that others are told, if not that of -http-addr"),
    text("http-allow-origin", "Value of the header Access-Control-Allow-Origin"),
    text("auth", "JSON file of users and their permissions"),
    text("http-cert", "Serve HTTPS with this certificate chain, a PEM file"),
    text("http-key", "The private key of -http-cert, a PEM file"),
    text(
        "http-ca-cert",
        "Check clients' certificates against this authority, a PEM file; else against those of the host",
    ),
    switch("http-verify-client", "Let in only clients with a valid certificate"),
    text("http-verify-common-name", "Let in only clients whose certificate has this Common Name"),
    supported("raft-addr", Kind::Text, "localhost:4002", "Address (host:port) where other nodes reach this one"),
    text("raft-adv-addr", "Address that other nodes are told, if not that of -raft-addr"),
    ignored(
        "node-cert",
        Kind::Text,
        "",
        SINGLE_NODE,
        "Encrypt what nodes send each other with this certificate chain, a PEM file",
    ),
    ignored("node-key", Kind::Text, "", SINGLE_NODE, "The private key of -node-cert, a PEM file"),
    text_not_yet("node-ca-cert", "Check other nodes' certificates against this authority, a PEM file"),
    ignored(
        "node-no-verify",
        Kind::Bool,
        "false",
        SINGLE_NODE,
        "Do not check the certificates of the nodes that are called",
    ),
    switch_not_yet("node-verify-client", "Let in only nodes with a valid certificate"),
    text_not_yet("node-verify-server-name", "Host name that the certificates of the nodes that are called must have"),
    text_not_yet("node-verify-common-name", "Let in only nodes whose certificate has this Common Name"),
    duration("cluster-connect-timeout", "30s", "How long to wait for a connection to another node"),
    ignored(
        "compress-snap-transport",
        Kind::Bool,
        "false",
        SINGLE_NODE,
        "Compress the snapshots that nodes send each other",
    ),
    text_not_yet("join", "Comma-separated Raft addresses (host:port) of nodes whose cluster to join"),
    supported("join-attempts", Kind::Int, "5", "How often to try the addresses of -join"),
    duration("join-interval", "3s", "How long to wait between two attempts to join"),
    text("join-as", "User of the -auth file as whom this node joins"),
    Flag {
        name: "bootstrap-expect",
        alias: "",
        kind: Kind::Int,
        default: "0",
        support: Support::UpTo(1),
        help: "How many nodes make a new cluster",
    },
    duration("bootstrap-expect-timeout", "2m", "How long the making of a new cluster may take"),
    text_not_yet("disco-mode", "Find the cluster with consul-kv, etcd-kv, dns or dns-srv"),
    ignored("disco-key", Kind::Text, "rqlite", SINGLE_NODE, "Prefix of the keys in the discovery service"),
    text_not_yet("disco-config", "Settings of the discovery service: JSON, or the path of a JSON file"),
    switch_not_yet("raft-non-voter", "Be a read replica"),
    switch("fk", "Enforce foreign keys"),
    supported("db-max-ro-conns", Kind::Int, "256", "How many reads may run at once; 0 is no limit"),
    duration("auto-vacuum-int", "0s", "How often to run VACUUM; 0 is never"),
    duration("auto-optimize-int", "24h", "How often to run PRAGMA optimize; 0h is never"),
    ignored(
        EXTENSIONS_PATH,
        Kind::Text,
        "",
        "the directory holds no extensions",
        "Comma-separated paths of SQLite extensions: files, directories or archives; only empty directories as yet",
    ),
    supported("raft-log-level", Kind::Text, "WARN", "The least level that Raft logs: ERROR, WARN, INFO or DEBUG"),
    supported("raft-snap", Kind::Uint, "8192", "Log entries since the last snapshot that call for the next"),
    supported("raft-snap-wal-size", Kind::Uint, "4194304", "Bytes in SQLite's WAL that call for a snapshot; 0 is none"),
    duration("raft-snap-int", "10s", "How often to see whether it is time for a snapshot"),
    duration("raft-heartbeat-timeout", "1s", "How long a follower does without its leader before it calls an election"),
    duration("raft-election-timeout", "1s", "How long a candidate waits before it calls another election"),
    duration("raft-leader-lease-timeout", "0s", "How long a leader leads without hearing of a majority; 0s is 500ms"),
    duration("raft-commit-timeout", "50ms", "How long a leader waits before it tells followers what is committed"),
    duration("raft-apply-timeout", "10s", "How long a write may wait to enter the log"),
    switch("raft-remove-shutdown", "Stop Raft when this node is removed from the cluster"),
    switch("raft-cluster-remove-shutdown", "Leave the cluster when this node is stopped"),
    supported("raft-shutdown-stepdown", Kind::Bool, "true", "Hand the leadership over before stopping"),
    duration("raft-reap-node-timeout", "0s", "Remove a voting node that was not reached for so long"),
    duration("raft-reap-read-only-node-timeout", "0s", "Remove a read replica that was not reached for so long"),
    supported("write-queue-capacity", Kind::Int, "1024", "How many queued writes may wait"),
    supported("write-queue-batch-size", Kind::Int, "128", "How many queued writes are written together"),
    duration("write-queue-timeout", "50ms", "How long a queued write waits for others"),
    switch("write-queue-tx", "Write queued writes that are written together in one transaction"),
    text_not_yet("auto-backup", "JSON file that says where to upload backups"),
    text_not_yet("auto-restore", "JSON file that says where to download the database from"),
    text_not_yet("cdc-config", "Where to send changes: stdout, a URL, or the path of a JSON file"),
    text_not_yet("otlp-endpoint", "Address (host:port) of the OTLP collector that metrics are sent to"),
    not_yet("otlp-interval", Kind::SignedDuration, "30s", "How often metrics are sent"),
    switch_not_yet("otlp-insecure", "Send metrics without TLS"),
    switch_not_yet("otlp-no-verify", "Do not check the collector's certificate"),
    text_not_yet("otlp-ca-cert", "Check the collector's certificate against this authority, a PEM file"),
    text_not_yet("otlp-cert", "Certificate to show to the collector, a PEM file"),
    text_not_yet("otlp-key", "The private key of -otlp-cert, a PEM file"),
    ignored("cpu-profile", Kind::Text, "", NO_PROFILE, "File for a CPU profile"),
    ignored("mem-profile", Kind::Text, "", NO_PROFILE, "File for a memory profile"),
    ignored("trace-profile", Kind::Text, "", NO_PROFILE, "File for an execution trace"),
    extension("db-name", Kind::Text, "main", "Name of the database in ws4sqlite's API: POST /<name>"),
    extension("allowed-hosts", Kind::Text, "", "Comma-separated hosts that requests may name; empty is every host")
        .also("http-allowed-hosts"),
    extension(
        "body-timeout",
        Kind::SignedDuration,
        "5m",
        "How long a client may take to send a request's body, but for /boot; 0s is no limit",
    )
    .also("http-body-timeout"),
    extension("check-interval", Kind::Duration, "24h", "How often the database is checked for damage; 0 is never"),
    extension(
        "exit-on-failure",
        Kind::Bool,
        "true",
        "End the process when the node has stopped by itself, so that a supervisor starts it again",
    ),
    extension(
        "first-request-timeout",
        Kind::SignedDuration,
        "10s",
        "How long a new HTTP connection may be without a request; 0s is 2m",
    )
    .also("http-first-request-timeout"),
    extension("log-format", Kind::Choice(&["text", "json"]), "text", "How log lines look"),
    extension("log-json", Kind::Bool, "false", "Write log lines as JSON, as -log-format json does"),
    extension("log-level", LOG_LEVELS, "info", "The least level that is logged; for Raft see -raft-log-level"),
    extension("log-requests", Kind::Bool, "false", "Log a line for each request, and why it was refused"),
    extension(
        "log-slow",
        Kind::Duration,
        "0s",
        "Log requests whose SQL takes longer than this, with the first KiB of the SQL; 0 logs none",
    ),
    extension(
        "max-bodies",
        Kind::Size,
        "512MiB",
        "Memory for all request bodies together; one of -max-body always fits",
    )
    .also("http-max-bodies"),
    extension("max-body", Kind::Size, "64MiB", "Largest request body, also after decompression").also("http-max-body"),
    extension("max-connections", Kind::Count, "4096", "HTTP connections open at once").also("http-max-conns"),
    extension("max-statement-memory", Kind::Size, "512MiB", "Memory that SQLite may use for one request"),
    extension("max-statements", Kind::Count, "100000", "Statements in one request").also("http-max-statements"),
    extension("max-value-bytes", Kind::Size, "64MiB", "Largest text or BLOB, and largest row"),
    extension(
        "query-timeout",
        Kind::Duration,
        "0s",
        "How long a read may run that asks for no db_timeout; 0 is no limit",
    ),
    extension(
        "write-steps-max",
        Kind::Count,
        "20000000000",
        "Steps of SQLite that a write may take, about 50,000 for a millisecond; 0 is no limit",
    ),
];

/// The flag that takes paths of extensions.
pub(crate) const EXTENSIONS_PATH: &str = "extensions-path";

/// The flag of this name.
pub(crate) fn find(name: &str) -> Option<&'static Flag> {
    TABLE.iter().find(|flag| flag.name == name || (!name.is_empty() && flag.alias == name))
}
