//! The list of all flags: those of rqlited v10, each with whether this program supports it, and flags that rqlited
//! does not have.

use sqlhttp_text::flag::FlagKind;

use crate::process::generate::{self, Candidates};

/// The name of this program in the version and the usage text.
pub const PROGRAM: &str = "sqlhttp-cluster";

/// A flag of the command line.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Flag {
    /// The name of the flag, without dashes.
    pub(crate) name: &'static str,
    /// The name of the flag in earlier versions of this program, which is still accepted; empty if the name has not
    /// changed.
    pub(crate) alias: &'static str,
    /// The type of the flag's value.
    pub(crate) kind: FlagKind,
    /// The default value of the flag, as on the command line; empty if there is none.
    pub(crate) default: &'static str,
    /// Whether this program supports the flag.
    pub(crate) support: Support,
    /// The description of the flag in the usage text.
    pub(crate) help: &'static str,
    /// The values that a shell offers for the flag. Those of [`Support::Only`] take precedence.
    pub(crate) candidates: Candidates,
}

/// Whether this program supports a flag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Support {
    /// A flag of rqlited that is supported.
    Supported,
    /// A flag of rqlited for a feature that this program does not have yet. Any value except the default is rejected.
    NotYet,
    /// A flag of rqlited of which this program supports only some values. Any other value except the default is
    /// rejected.
    Only {
        /// The values that are supported.
        values: &'static [&'static str],
        /// The alternative that the error message suggests.
        remedy: &'static str,
    },
    /// A flag of rqlited that is accepted but has no effect, for this reason.
    Ignored(&'static str),
    /// A flag that rqlited does not have.
    Extension,
}

const fn supported(name: &'static str, kind: FlagKind, default: &'static str, help: &'static str) -> Flag {
    Flag { name, alias: "", kind, default, support: Support::Supported, help, candidates: Candidates::None }
}

const fn not_yet(name: &'static str, kind: FlagKind, default: &'static str, help: &'static str) -> Flag {
    Flag { name, alias: "", kind, default, support: Support::NotYet, help, candidates: Candidates::None }
}

const fn extension(name: &'static str, kind: FlagKind, default: &'static str, help: &'static str) -> Flag {
    Flag { name, alias: "", kind, default, support: Support::Extension, help, candidates: Candidates::None }
}

const fn ignored(
    name: &'static str,
    kind: FlagKind,
    default: &'static str,
    why: &'static str,
    help: &'static str,
) -> Flag {
    Flag { name, alias: "", kind, default, support: Support::Ignored(why), help, candidates: Candidates::None }
}

impl Flag {
    const fn also(self, alias: &'static str) -> Flag {
        Flag { alias, ..self }
    }

    const fn offers(self, candidates: Candidates) -> Flag {
        Flag { candidates, ..self }
    }
}

/// The reason for which flags about profiles have no effect, for the usage text and the log.
const NO_PROFILE: &str = "this program writes no profiles";

const LOG_LEVELS: FlagKind = FlagKind::Choice(&["error", "warn", "info", "debug", "trace"]);

const fn text(name: &'static str, help: &'static str) -> Flag {
    supported(name, FlagKind::Text, "", help)
}

const fn switch(name: &'static str, help: &'static str) -> Flag {
    supported(name, FlagKind::Bool, "false", help)
}

const fn duration(name: &'static str, default: &'static str, help: &'static str) -> Flag {
    supported(name, FlagKind::SignedDuration, default, help)
}

const fn file(name: &'static str, help: &'static str) -> Flag {
    text(name, help).offers(Candidates::Files)
}

const fn file_not_yet(name: &'static str, help: &'static str) -> Flag {
    text_not_yet(name, help).offers(Candidates::Files)
}

const fn profile(name: &'static str, help: &'static str) -> Flag {
    ignored(name, FlagKind::Text, "", NO_PROFILE, help).offers(Candidates::Files)
}

const fn text_not_yet(name: &'static str, help: &'static str) -> Flag {
    not_yet(name, FlagKind::Text, "", help)
}

const fn switch_not_yet(name: &'static str, help: &'static str) -> Flag {
    not_yet(name, FlagKind::Bool, "false", help)
}

/// All flags. The flags of rqlited come first.
pub(crate) const TABLE: &[Flag] = &[
    switch("version", "Print the version and exit"),
    text("node-id", "Unique name of this node in the cluster; the advertised Raft address if not set"),
    supported("http-addr", FlagKind::Text, "localhost:4001", "Address (host:port) where the HTTP API listens"),
    text("http-adv-addr", "Advertised address of the HTTP API; -http-addr if not set"),
    text("http-allow-origin", "Value of the header Access-Control-Allow-Origin"),
    file("auth", "JSON file of users and their permissions"),
    file("http-cert", "Serve HTTPS with this certificate chain, a PEM file"),
    file("http-key", "The private key of -http-cert, a PEM file"),
    file(
        "http-ca-cert",
        "Verify clients' certificates against this authority, a PEM file; against those of the system if not set",
    ),
    switch("http-verify-client", "Require clients to have a valid certificate"),
    text("http-verify-common-name", "Require clients' certificates to have this Common Name"),
    supported("raft-addr", FlagKind::Text, "localhost:4002", "Address (host:port) where other nodes reach this one"),
    text("raft-adv-addr", "Advertised Raft address; -raft-addr if not set"),
    file("node-cert", "Encrypt the traffic between nodes with this certificate chain, a PEM file"),
    file("node-key", "The private key of -node-cert, a PEM file"),
    file("node-ca-cert", "Verify other nodes' certificates against this authority, a PEM file"),
    switch("node-no-verify", "Do not verify other nodes' certificates"),
    switch("node-verify-client", "Require other nodes to have a valid certificate"),
    text("node-verify-server-name", "Host name that other nodes' certificates must have"),
    text("node-verify-common-name", "Require other nodes' certificates to have this Common Name"),
    duration("cluster-connect-timeout", "30s", "Timeout of a connection to another node"),
    ignored(
        "compress-snap-transport",
        FlagKind::Bool,
        "false",
        "snapshots are sent uncompressed",
        "Compress snapshots that are sent between nodes",
    ),
    text("join", "Comma-separated Raft addresses (host:port) of nodes of the cluster to join"),
    supported("join-attempts", FlagKind::Int, "5", "How often to try the addresses of -join"),
    duration("join-interval", "3s", "How long to wait between two attempts to join"),
    text("join-as", "User of the -auth file with whose credentials this node joins"),
    supported("bootstrap-expect", FlagKind::Int, "0", "Number of nodes that form a new cluster"),
    duration("bootstrap-expect-timeout", "2m", "Timeout of the formation of a new cluster"),
    Flag {
        name: "disco-mode",
        alias: "",
        kind: FlagKind::Text,
        default: "",
        support: Support::Only {
            values: &["dns", "dns-srv"],
            remedy: "use dns or dns-srv, or name the other nodes with -join",
        },
        help: "Find the cluster with consul-kv, etcd-kv, dns or dns-srv",
        candidates: Candidates::None,
    },
    ignored(
        "disco-key",
        FlagKind::Text,
        "rqlite",
        "the discovery service DNS has no keys",
        "Prefix of the keys in the discovery service",
    ),
    file("disco-config", "Settings of the discovery service: JSON, or the path of a JSON file"),
    switch("raft-non-voter", "Join as a read replica"),
    switch("fk", "Enforce foreign keys"),
    supported("db-max-ro-conns", FlagKind::Int, "256", "Greatest number of reads that run at once; 0 is no limit"),
    duration("auto-vacuum-int", "0s", "How often to run VACUUM; 0 is never"),
    duration("auto-optimize-int", "24h", "How often to run PRAGMA optimize; 0h is never"),
    ignored(
        EXTENSIONS_PATH,
        FlagKind::Text,
        "",
        "the directory holds no extensions",
        "Comma-separated paths of SQLite extensions: files, directories or archives; for now only empty directories",
    )
    .offers(Candidates::Directories),
    supported(
        "raft-log-level",
        FlagKind::Text,
        "WARN",
        "Least severe level that Raft logs: ERROR, WARN, INFO or DEBUG",
    )
    .offers(Candidates::Words(&["ERROR", "WARN", "INFO", "DEBUG"])),
    supported("raft-snap", FlagKind::Uint, "8192", "Number of log entries after which a snapshot is taken"),
    supported(
        "raft-snap-wal-size",
        FlagKind::Uint,
        "4194304",
        "Size of SQLite's WAL, in bytes, from which a snapshot is taken; 0 is no limit",
    ),
    duration("raft-snap-int", "10s", "How often to check whether a snapshot is due"),
    duration(
        "raft-heartbeat-timeout",
        "1s",
        "Time without contact to the leader after which a follower starts an election",
    ),
    duration(
        "raft-election-timeout",
        "1s",
        "Time after which a candidate starts another election (no effect: only checked and shown)",
    ),
    duration(
        "raft-leader-lease-timeout",
        "0s",
        "Time without contact to a quorum after which a leader steps down; 0s is 500ms (no effect: only checked and shown)",
    ),
    duration(
        "raft-commit-timeout",
        "50ms",
        "Time after which a leader sends the commit index to followers (no effect: only checked and shown)",
    ),
    duration("raft-apply-timeout", "10s", "How long a write may wait until it is appended to the log"),
    switch("raft-remove-shutdown", "Stop Raft when this node is removed from the cluster"),
    switch("raft-cluster-remove-shutdown", "Leave the cluster when this node is stopped"),
    supported("raft-shutdown-stepdown", FlagKind::Bool, "true", "Transfer the leadership before stopping"),
    duration("raft-reap-node-timeout", "0s", "Remove a voting node that was unreachable for this time"),
    duration("raft-reap-read-only-node-timeout", "0s", "Remove a read replica that was unreachable for this time"),
    supported("write-queue-capacity", FlagKind::Int, "1024", "Greatest number of queued writes that wait"),
    supported("write-queue-batch-size", FlagKind::Int, "128", "Greatest number of queued writes in a batch"),
    duration("write-queue-timeout", "50ms", "Greatest time that a queued write waits for others"),
    switch("write-queue-tx", "Write each batch of queued writes in one transaction"),
    file_not_yet("auto-backup", "JSON file with the destination of uploaded backups"),
    file_not_yet("auto-restore", "JSON file with the source of the database to download"),
    file_not_yet("cdc-config", "Destination of captured changes: stdout, a URL, or the path of a JSON file"),
    text_not_yet("otlp-endpoint", "Address (host:port) of the OTLP collector that metrics are sent to"),
    not_yet("otlp-interval", FlagKind::SignedDuration, "30s", "How often metrics are sent"),
    switch_not_yet("otlp-insecure", "Send metrics without TLS"),
    switch_not_yet("otlp-no-verify", "Do not verify the collector's certificate"),
    file_not_yet("otlp-ca-cert", "Verify the collector's certificate against this authority, a PEM file"),
    file_not_yet("otlp-cert", "Client certificate for the collector, a PEM file"),
    file_not_yet("otlp-key", "The private key of -otlp-cert, a PEM file"),
    profile("cpu-profile", "File for a CPU profile"),
    profile("mem-profile", "File for a memory profile"),
    profile("trace-profile", "File for an execution trace"),
    extension("db-name", FlagKind::Text, "main", "Name of the database in ws4sqlite's API: POST /<name>"),
    extension("allowed-hosts", FlagKind::Text, "", "Comma-separated hosts that requests may name; empty is every host")
        .also("http-allowed-hosts"),
    extension(
        "body-timeout",
        FlagKind::SignedDuration,
        "5m",
        "How long a client may take to send a request's body, or a piece of the file of /db/load; not for /boot; \
         0s is no limit",
    )
    .also("http-body-timeout"),
    extension("check-interval", FlagKind::Duration, "24h", "How often the database is checked for damage; 0 is never"),
    extension(
        "exit-on-failure",
        FlagKind::Bool,
        "true",
        "End the process if the node has stopped because of a failure, so that a supervisor restarts it",
    ),
    extension(
        "first-request-timeout",
        FlagKind::SignedDuration,
        "10s",
        "How long a new HTTP connection may remain without a request; 0s is 2m",
    )
    .also("http-first-request-timeout"),
    extension(generate::FLAG, generate::KINDS, "", generate::HELP),
    extension("log-format", FlagKind::Choice(&["text", "json"]), "text", "Format of log lines"),
    extension("log-json", FlagKind::Bool, "false", "Write log lines as JSON, as -log-format json does"),
    extension("log-level", LOG_LEVELS, "info", "Least severe level that is logged; for Raft see -raft-log-level"),
    extension(
        "log-requests",
        FlagKind::Bool,
        "false",
        "Log a line for each request, with the reason if it was refused",
    ),
    extension(
        "log-slow",
        FlagKind::Duration,
        "0s",
        "Log requests whose SQL takes longer than this, with the first KiB of the SQL; 0 logs none",
    ),
    extension(
        "max-bodies",
        FlagKind::Size,
        "512MiB",
        "Memory for all request bodies together; at least that of one body of -max-body",
    )
    .also("http-max-bodies"),
    extension(
        "max-body",
        FlagKind::Size,
        "64MiB",
        "Largest request body, also after decompression, except for the database files of -max-load and /boot",
    )
    .also("http-max-body"),
    extension("max-connections", FlagKind::Count, "4096", "Greatest number of open HTTP connections")
        .also("http-max-conns"),
    extension("max-load", FlagKind::Size, "10GiB", "Largest database file that /db/load accepts"),
    extension("max-statement-memory", FlagKind::Size, "512MiB", "Greatest memory that SQLite uses for one request"),
    extension("max-statements", FlagKind::Count, "100000", "Greatest number of statements in one request")
        .also("http-max-statements"),
    extension("max-value-bytes", FlagKind::Size, "64MiB", "Largest text or BLOB, and largest row"),
    extension("query-timeout", FlagKind::Duration, "0s", "Time limit of a read without db_timeout; 0 is no limit"),
    extension(
        "time-zone",
        FlagKind::Text,
        "UTC",
        "Time zone of 'localtime' in SQL: UTC, or a name such as Europe/Rome; the same on all nodes",
    ),
    extension(
        "write-steps-max",
        FlagKind::Count,
        "3000000000",
        "Greatest number of SQLite's steps in a write, about 50,000 per millisecond; 0 is no limit",
    ),
];

/// The name of the flag with the paths of SQLite extensions.
pub(crate) const EXTENSIONS_PATH: &str = "extensions-path";

/// Returns the flag with this name or alias; `None` if there is none.
pub(crate) fn find(name: &str) -> Option<&'static Flag> {
    TABLE.iter().find(|flag| flag.name == name || (!name.is_empty() && flag.alias == name))
}
