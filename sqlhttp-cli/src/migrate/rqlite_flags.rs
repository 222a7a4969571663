//! The flags of rqlited v10, and how `sqlhttp-cluster` supports them.

use sqlhttp_text::flag::{FlagKind, Scanned, Value, scan};

/// How `sqlhttp-cluster` supports a flag of rqlited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Support {
    /// The flag is accepted.
    Accepted,
    /// The flag is left out: the first node creates the cluster, and the others join it.
    Formation,
    /// The feature does not exist yet. Any value except the default is refused. Contains the default, and what the user
    /// can do.
    NotYet(&'static str, &'static str),
}

use Support::{Accepted, Formation, NotYet};

const NO_METRICS: &str = "collect the metrics of /metrics instead";

/// The boolean flags.
const SWITCHES: [(&str, Support); 13] = [
    ("version", Accepted),
    ("http-verify-client", Accepted),
    ("node-no-verify", Accepted),
    ("node-verify-client", Accepted),
    ("compress-snap-transport", Accepted),
    ("raft-non-voter", Accepted),
    ("fk", Accepted),
    ("raft-remove-shutdown", Accepted),
    ("raft-cluster-remove-shutdown", Accepted),
    ("raft-shutdown-stepdown", Accepted),
    ("write-queue-tx", Accepted),
    ("otlp-insecure", NotYet("false", NO_METRICS)),
    ("otlp-no-verify", NotYet("false", NO_METRICS)),
];

/// The flags with a value.
const VALUES: [(&str, Support); 55] = [
    ("node-id", Accepted),
    ("http-addr", Accepted),
    ("http-adv-addr", Accepted),
    ("http-allow-origin", Accepted),
    ("auth", Accepted),
    ("http-cert", Accepted),
    ("http-key", Accepted),
    ("http-ca-cert", Accepted),
    ("http-verify-common-name", Accepted),
    ("raft-addr", Accepted),
    ("raft-adv-addr", Accepted),
    ("node-cert", Accepted),
    ("node-key", Accepted),
    ("node-ca-cert", Accepted),
    ("node-verify-server-name", Accepted),
    ("node-verify-common-name", Accepted),
    ("cluster-connect-timeout", Accepted),
    ("join", Formation),
    ("join-attempts", Formation),
    ("join-interval", Formation),
    ("join-as", Formation),
    ("bootstrap-expect", Formation),
    ("bootstrap-expect-timeout", Formation),
    ("disco-mode", Formation),
    ("disco-key", Formation),
    ("disco-config", Formation),
    ("db-max-ro-conns", Accepted),
    ("auto-vacuum-int", Accepted),
    ("auto-optimize-int", Accepted),
    ("extensions-path", NotYet("", "only the extensions that are compiled in can be used")),
    ("raft-log-level", Accepted),
    ("raft-snap", Accepted),
    ("raft-snap-wal-size", Accepted),
    ("raft-snap-int", Accepted),
    ("raft-heartbeat-timeout", Accepted),
    ("raft-election-timeout", Accepted),
    ("raft-leader-lease-timeout", Accepted),
    ("raft-commit-timeout", Accepted),
    ("raft-apply-timeout", Accepted),
    ("raft-reap-node-timeout", Accepted),
    ("raft-reap-read-only-node-timeout", Accepted),
    ("write-queue-capacity", Accepted),
    ("write-queue-batch-size", Accepted),
    ("write-queue-timeout", Accepted),
    ("auto-backup", NotYet("", "run sqlhttp '.backup FILE' regularly, for example with cron")),
    ("auto-restore", NotYet("", "load the backup with POST /boot")),
    ("cdc-config", NotYet("", "there is no replacement yet; wait with the move if you need changes")),
    ("otlp-endpoint", NotYet("", NO_METRICS)),
    ("otlp-interval", NotYet("30s", NO_METRICS)),
    ("otlp-ca-cert", NotYet("", NO_METRICS)),
    ("otlp-cert", NotYet("", NO_METRICS)),
    ("otlp-key", NotYet("", NO_METRICS)),
    ("cpu-profile", Accepted),
    ("mem-profile", Accepted),
    ("trace-profile", Accepted),
];

/// The flags of a node, with their values as text, and its data directory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct NodeFlags {
    flags: Vec<(String, String)>,
    /// The data directory.
    pub(crate) directory: String,
}

impl NodeFlags {
    /// Returns no flags, and this data directory.
    pub(crate) fn new(directory: impl Into<String>) -> NodeFlags {
        NodeFlags { directory: directory.into(), ..NodeFlags::default() }
    }

    /// Parses the command line of rqlited, with the name of the program. The error is the reason why it cannot be used.
    pub(crate) fn parse(line: &[String]) -> Result<NodeFlags, String> {
        let mut flags = NodeFlags::default();
        let arguments = line.get(1..).unwrap_or_default();
        let scanned = scan(arguments, kind_of, |name, value| match value {
            Value::Text(text) => flags.set(name, text),
            Value::Bool(value) => flags.set(name, value.to_string()),
            _ => {}
        });
        match scanned.map_err(|error| error.message)? {
            Scanned::Rest([directory]) => flags.directory = directory.clone(),
            _ => return Err("it does not end with one data directory".to_owned()),
        }
        Ok(flags)
    }

    /// Sets a flag. An earlier value is replaced.
    pub(crate) fn set(&mut self, name: &str, value: impl Into<String>) {
        let value = value.into();
        match self.flags.iter_mut().find(|(known, _)| known == name) {
            Some(flag) => flag.1 = value,
            None => self.flags.push((name.to_owned(), value)),
        }
    }

    /// Returns the value of a flag, unless it is empty.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        let flag = self.flags.iter().find(|(known, _)| known == name);
        flag.map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    }

    /// Returns whether a boolean flag is set.
    pub(crate) fn is_on(&self, name: &str) -> bool {
        self.get(name) == Some("true")
    }

    /// Returns the names of the flags that are supported in this way.
    pub(crate) fn names(&self, wanted: Support) -> impl Iterator<Item = &str> {
        self.flags.iter().map(|(name, _)| name.as_str()).filter(move |name| support(name) == Some(wanted))
    }

    /// Removes the flags for which `leave_out` returns true.
    pub(crate) fn remove(&mut self, leave_out: impl Fn(&str) -> bool) {
        self.flags.retain(|(name, _)| !leave_out(name));
    }

    /// Adds the flags of another node after those of this one.
    pub(crate) fn append(&mut self, other: NodeFlags) {
        self.flags.extend(other.flags);
    }

    /// Returns the flags for features that do not exist yet, with what the user can do.
    pub(crate) fn not_yet(&self) -> Vec<(String, &'static str)> {
        let unsupported = |(name, value): &(String, String)| match support(name) {
            Some(NotYet(default, remedy)) if value != default => Some((name.clone(), remedy)),
            _ => None,
        };
        self.flags.iter().filter_map(unsupported).collect()
    }

    /// Returns the words of the command line of `sqlhttp-cluster`.
    pub(crate) fn words(&self) -> Vec<String> {
        let mut words = vec!["sqlhttp-cluster".to_owned()];
        for (name, value) in &self.flags {
            match (is_switch(name), value.as_str()) {
                (true, "true") => words.push(format!("-{name}")),
                (true, value) => words.push(format!("-{name}={value}")),
                (false, value) => words.extend([format!("-{name}"), value.to_owned()]),
            }
        }
        words.push(self.directory.clone());
        words
    }
}

/// Returns how a flag is supported; `None` if rqlited has no such flag.
pub(crate) fn support(name: &str) -> Option<Support> {
    let known = SWITCHES.iter().chain(&VALUES).find(|(known, _)| *known == name);
    known.map(|(_, support)| *support)
}

fn is_switch(name: &str) -> bool {
    SWITCHES.iter().any(|(known, _)| *known == name)
}

fn kind_of(name: &str) -> Option<FlagKind> {
    support(name)?;
    // Values are copied as they are written, so they are read as text.
    Some(if is_switch(name) { FlagKind::Bool } else { FlagKind::Text })
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::*;

    fn words(line: &str) -> Vec<String> {
        line.split(' ').map(str::to_owned).collect()
    }

    /// Parses a command line with the parser of `sqlhttp-cluster`. The error is its message.
    fn accepted(words: &[String]) -> Result<(), String> {
        let arguments: Vec<OsString> = words[1..].iter().map(OsString::from).collect();
        let parsed = sqlhttp_server::cluster::config::parse(&arguments);
        parsed.map(drop).map_err(|exit| format!("{:?}", exit.message))
    }

    /// A value that rqlited accepts.
    fn example(name: &str) -> &'static str {
        match name {
            "raft-log-level" => "INFO",
            "http-addr" | "http-adv-addr" | "raft-addr" | "raft-adv-addr" => "localhost:7001",
            "join" | "otlp-endpoint" => "other:4002",
            _ if name.ends_with("-timeout") || name.ends_with("-int") || name.ends_with("-interval") => "500ms",
            "join-attempts" | "db-max-ro-conns" | "raft-snap" | "raft-snap-wal-size" => "7",
            "write-queue-capacity" | "write-queue-batch-size" | "bootstrap-expect" => "7",
            "disco-mode" => "dns",
            "extensions-path" => "/",
            _ => "x",
        }
    }

    /// Flags that are valid only with others.
    fn with_others(name: &str) -> NodeFlags {
        let mut flags = NodeFlags::new("data");
        flags.set(name, if is_switch(name) { "true" } else { example(name) });
        for prefix in ["http", "node"] {
            if name == format!("{prefix}-cert") || name == format!("{prefix}-key") || name == "node-ca-cert" {
                flags.set(&format!("{prefix}-cert"), "x");
                flags.set(&format!("{prefix}-key"), "x");
            }
            if name == format!("{prefix}-verify-common-name") {
                flags.set(&format!("{prefix}-verify-client"), "true");
            }
        }
        if name == "disco-mode" {
            flags.set("bootstrap-expect", "3");
        }
        flags
    }

    #[test]
    fn the_new_server_accepts_each_flag_that_is_not_left_out() {
        for (name, support) in SWITCHES.iter().chain(&VALUES).filter(|(name, _)| *name != "version") {
            let accepted = accepted(&with_others(name).words());
            assert_eq!(accepted.is_err(), matches!(support, NotYet(..)), "-{name}: {accepted:?}");
        }
        assert_eq!(SWITCHES.len() + VALUES.len(), 68, "rqlited v10 has 68 flags");
    }

    #[test]
    fn a_command_line_is_parsed_and_written() {
        let line = "./rqlited -node-id n1 --http-addr=127.0.0.1:1 -fk -raft-shutdown-stepdown=0 -raft-snap 1 -raft-snap 4096 data";
        let flags = NodeFlags::parse(&words(line)).unwrap();
        assert_eq!((flags.get("node-id"), flags.is_on("fk"), flags.directory.as_str()), (Some("n1"), true, "data"));
        let expected =
            "sqlhttp-cluster -node-id n1 -http-addr 127.0.0.1:1 -fk -raft-shutdown-stepdown=false -raft-snap 4096 data";
        assert_eq!(flags.words(), words(expected));
        assert_eq!(accepted(&flags.words()), Ok(()));
    }

    #[test]
    fn a_command_line_that_is_not_that_of_rqlited_cannot_be_used() {
        for (line, reason) in [
            ("test-program --nocapture", "flag provided but not defined: -nocapture"),
            ("rqlited -fk", "it does not end with one data directory"),
            ("rqlited -h", "it does not end with one data directory"),
            ("rqlited data more", "it does not end with one data directory"),
            ("rqlited", "it does not end with one data directory"),
        ] {
            assert_eq!(NodeFlags::parse(&words(line)), Err(reason.to_owned()), "{line}");
        }
    }

    #[test]
    fn flags_for_missing_features_are_found() {
        let line = "rqlited -auto-backup b.json -otlp-interval 30s -otlp-insecure -auto-restore= data";
        let names: Vec<String> =
            NodeFlags::parse(&words(line)).unwrap().not_yet().into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["auto-backup", "otlp-insecure"]);
    }
}
