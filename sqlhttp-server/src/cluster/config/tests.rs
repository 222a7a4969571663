use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use sqlhttp_text::flag::{FlagKind, parse_value};
use tracing::Level;

use super::table::{Support, TABLE};
use super::*;
use crate::process::generate::tests::{assert_complete, assert_offers};
use crate::process::logging::LogFormat;
use crate::process::tls::{PeerTlsOptions, TlsFiles};

fn parse_line(line: &str) -> Result<ClusterConfig, Exit> {
    let words: Vec<OsString> = line.split_whitespace().map(OsString::from).collect();
    parse(&words)
}

fn config(flags: &str) -> ClusterConfig {
    parse_line(&format!("{flags} data")).unwrap_or_else(|exit| panic!("{flags}: {exit:?}"))
}

fn exit(line: &str) -> (u8, String) {
    match parse_line(line) {
        Err(Exit { code, message: ExitMessage::Stderr(text) | ExitMessage::Stdout(text) }) => (code, text),
        other => panic!("{line}: {other:?}"),
    }
}

fn fatal(flags: &str) -> String {
    let (code, text) = exit(&format!("{flags} data"));
    assert_eq!(code, 1, "{flags}");
    text.strip_prefix("fatal: ").unwrap_or_else(|| panic!("{flags}: {text}")).to_owned()
}

#[test]
fn defaults_are_those_of_rqlited() {
    let config = config("");
    assert_eq!(config.data_dir, std::env::current_dir().unwrap().join("data"));
    assert_eq!(config.node_id, "localhost:4002");
    assert_eq!((config.http_addr.as_str(), config.http_adv_addr.as_str()), ("localhost:4001", "localhost:4001"));
    assert_eq!((config.raft_addr.as_str(), config.raft_adv_addr.as_str()), ("localhost:4002", "localhost:4002"));
    assert_eq!((config.auth_file, config.http_tls, config.http_allow_origin), (None, None, None));
    assert_eq!((config.foreign_keys, config.reads_max), (false, Some(256)));
    assert_eq!(config.auto_vacuum_interval, None);
    assert_eq!(config.auto_optimize_interval, Some(Duration::from_secs(24 * 3600)));
    let raft = RaftConfig {
        log_level: Level::WARN,
        snapshot_entries: 8192,
        snapshot_wal_bytes: Some(4 << 20),
        snapshot_interval: Duration::from_secs(10),
        heartbeat_timeout: Duration::from_secs(1),
        election_timeout: Duration::from_secs(1),
        leader_lease_timeout: Duration::from_millis(500),
        commit_timeout: Duration::from_millis(50),
        apply_timeout: Duration::from_secs(10),
        shutdown_on_remove: false,
        leave_on_stop: false,
        step_down_on_stop: true,
        reap_voter_timeout: None,
        reap_read_only_timeout: None,
    };
    assert_eq!(config.raft, raft);
    let queue =
        WriteQueueConfig { capacity: 1024, batch_len: 128, timeout: Duration::from_millis(50), transaction: false };
    assert_eq!(config.write_queue, queue);
}

#[test]
fn defaults_of_further_flags() {
    let config = config("");
    assert_eq!((config.db_name.as_str(), config.http_body_bytes_max), ("main", 64 << 20));
    assert_eq!((config.http_connections_max, config.http_statements_max), (4096, 100_000));
    assert_eq!(config.load_bytes_max, 10 << 30);
    let log = LogConfig { format: LogFormat::Text, level: Level::INFO, requests: false, slow: None };
    assert_eq!((config.log, config.query_timeout, config.value_bytes_max), (log, None, 64 << 20));
    assert_eq!(config.write_steps_max, 3_000_000_000);
    assert_eq!(config.ignored_flags, []);
}

#[test]
fn given_flags_are_resolved() {
    let network = config("-http-addr 0.0.0.0:1 -http-adv-addr h:1 -raft-addr [::]:2 -raft-adv-addr=h:2 -auth a.json");
    assert_eq!((network.http_adv_addr.as_str(), network.raft_adv_addr.as_str()), ("h:1", "h:2"));
    assert_eq!((network.node_id.as_str(), network.auth_file), ("h:2", Some("a.json".into())));
    let all = config("-http-addr :1 -http-adv-addr h:1 -raft-addr :2 -raft-adv-addr h:2");
    assert_eq!((all.http_addr.as_str(), all.raft_addr.as_str()), (":1", ":2"));
    let tls = config("-node-id n -http-cert c -http-key k -http-verify-client -http-verify-common-name cn");
    assert_eq!((tls.node_id.as_str(), tls.http_tls), ("n", Some(TlsFiles { cert: "c".into(), key: "k".into() })));
    assert_eq!((tls.http_verify_client, tls.http_verify_common_name), (true, Some("cn".to_owned())));
    let sizes = config("-http-max-body 1KiB -http-max-conns 2 -http-max-statements 3 -db-name x -log-json");
    assert_eq!((sizes.http_body_bytes_max, sizes.http_connections_max, sizes.http_statements_max), (1024, 2, 3));
    assert_eq!((sizes.db_name.as_str(), sizes.log.format), ("x", LogFormat::Json));
    let shared = config("-max-body 1KiB -max-connections 2 -max-statements 3 -db-name x -log-format json");
    assert_eq!(shared, sizes, "the names that both programs share, and those of earlier versions");
    assert_eq!(config("-write-steps-max 0").write_steps_max, 0);
    assert_eq!(config("-max-load 20GiB").load_bytes_max, 20 << 30);
    let limits = config("-query-timeout 3s -max-value-bytes 1MiB -log-slow 250ms -log-requests -log-level debug");
    assert_eq!((limits.query_timeout, limits.value_bytes_max), (Some(Duration::from_secs(3)), 1 << 20));
    let log = LogConfig {
        format: LogFormat::Text,
        level: Level::DEBUG,
        requests: true,
        slow: Some(Duration::from_millis(250)),
    };
    assert_eq!(limits.log, log);
    let raft = config("-raft-log-level debug -raft-snap 0x10 -raft-snap-wal-size 0 -raft-reap-node-timeout 48h").raft;
    assert_eq!((raft.log_level, raft.snapshot_entries, raft.snapshot_wal_bytes), (Level::DEBUG, 16, None));
    assert_eq!(raft.reap_voter_timeout, Some(Duration::from_secs(48 * 3600)));
    assert_eq!(config("-raft-leader-lease-timeout 1s").raft.leader_lease_timeout, Duration::from_secs(1));
    assert_eq!(config("-db-max-ro-conns 0 -auto-vacuum-int 1h -auto-optimize-int 0h").reads_max, None);
    assert_eq!(config("-http-addr localhost:http").http_addr, "localhost:http");
}

#[test]
fn the_traffic_between_nodes_is_encrypted_with_a_certificate() {
    assert_eq!(config("").node_tls, None);
    let given = config(
        "-node-cert c -node-key k -node-ca-cert ca -node-verify-client -node-verify-server-name s \
         -node-verify-common-name cn",
    );
    let tls = PeerTlsOptions {
        files: TlsFiles { cert: "c".into(), key: "k".into() },
        ca: Some("ca".into()),
        no_verify: false,
        verify_client: true,
        server_name: Some("s".to_owned()),
        common_name: Some("cn".to_owned()),
    };
    assert_eq!((given.node_tls, given.ignored_flags), (Some(tls), Vec::new()));
    let idle = config("-node-no-verify -node-verify-client").ignored_flags;
    assert_eq!(idle.iter().map(|(name, _)| *name).collect::<Vec<_>>(), ["node-no-verify", "node-verify-client"]);
}

#[test]
fn the_formation_of_a_cluster_is_configured() {
    let defaults = FormationConfig {
        join: Vec::new(),
        join_attempts: 5,
        join_interval: Duration::from_secs(3),
        join_as: None,
        bootstrap_expect: 0,
        bootstrap_expect_timeout: Duration::from_secs(120),
        discovery: None,
        non_voter: false,
    };
    assert_eq!(config("").formation, defaults);
    let given = config(
        "-join a:1,b:2 -join-attempts 7 -join-interval 1s -join-as u -bootstrap-expect 3 -bootstrap-expect-timeout 9s",
    );
    let wanted = FormationConfig {
        join: vec!["a:1".to_owned(), "b:2".to_owned()],
        join_attempts: 7,
        join_interval: Duration::from_secs(1),
        join_as: Some("u".to_owned()),
        bootstrap_expect: 3,
        bootstrap_expect_timeout: Duration::from_secs(9),
        ..defaults.clone()
    };
    assert_eq!(given.formation, wanted);
    let replica = config("-raft-non-voter -disco-mode dns -disco-config {}").formation;
    let discovery = Some(DiscoveryConfig { mode: DiscoveryMode::Dns, settings: Some("{}".to_owned()) });
    assert_eq!(replica, FormationConfig { non_voter: true, discovery, ..defaults.clone() });
    let services = config("-raft-non-voter -disco-mode dns-srv").formation;
    let discovery = Some(DiscoveryConfig { mode: DiscoveryMode::DnsSrv, settings: None });
    assert_eq!(services, FormationConfig { non_voter: true, discovery, ..defaults.clone() });
    let least = config("-join-attempts 0 -bootstrap-expect -1").formation;
    assert_eq!((least.join_attempts, least.bootstrap_expect), (1, 0));
    let raft = config("-raft-cluster-remove-shutdown -raft-shutdown-stepdown=false").raft;
    assert_eq!((raft.leave_on_stop, raft.step_down_on_stop), (true, false));
}

#[test]
fn zero_timeouts_are_the_defaults_of_raft() {
    let raft = config("-raft-heartbeat-timeout 0s -raft-election-timeout 0s -raft-leader-lease-timeout 0s").raft;
    assert_eq!(raft, config("").raft);
    assert_eq!(raft.check_timeouts(), Ok(()));
    assert_eq!(config("-raft-heartbeat-timeout 500ms").raft.check_timeouts(), Ok(()));
    assert!(config("-raft-heartbeat-timeout 499ms").raft.check_timeouts().is_err());
    assert_eq!(config("-raft-heartbeat-timeout 2s -raft-election-timeout 2s").raft.check_timeouts(), Ok(()));
    let why =
        "creating the raft system failed: ElectionTimeout (1s) must be equal or greater than Heartbeat Timeout (2s)";
    assert_eq!(config("-raft-heartbeat-timeout 2s").raft.check_timeouts().unwrap_err(), why);
}

#[test]
fn the_queue_holds_at_least_one_write() {
    let queue = config("-write-queue-capacity 0 -write-queue-batch-size -3").write_queue;
    assert_eq!((queue.capacity, queue.batch_len), (1, 1));
}

#[test]
fn the_data_directory_is_absolute_and_clean() {
    assert_eq!(parse_line("/a/./b/../c//d/").unwrap().data_dir, PathBuf::from("/a/c/d"));
    assert_eq!(parse_line("/../a").unwrap().data_dir, PathBuf::from("/a"));
}

#[test]
fn flags_have_the_syntax_of_go() {
    for flags in ["-fk", "--fk", "-fk=T", "-fk=false -fk", "--fk=1 --"] {
        assert!(config(flags).foreign_keys, "{flags}");
    }
    for flags in ["-exit-on-failure=false", "--exit-on-failure=F", "-exit-on-failure=0"] {
        assert!(!config(flags).exit_on_failure, "{flags}");
    }
    for flags in ["-raft-snap 1024", "-raft-snap=1_024", "--raft-snap 0b10000000000", "-raft-snap 7 -raft-snap 0o2000"]
    {
        assert_eq!(config(flags).raft.snapshot_entries, 1024, "{flags}");
    }
    assert_eq!(config("-raft-snap-int 1m30s").raft.snapshot_interval, Duration::from_secs(90));
    assert_eq!(config("-raft-snap 18446744073709551615").raft.snapshot_entries, u64::MAX);
}

#[test]
fn an_invalid_flag_is_reported_in_three_lines() {
    let cases = [
        ("-x", "flag provided but not defined: -x"),
        ("-on-disk-path=x", "flag provided but not defined: -on-disk-path"),
        ("-raft-timeout 1s", "flag provided but not defined: -raft-timeout"),
        ("---fk", "bad flag syntax: ---fk"),
        ("-join-attempts x", "invalid value \"x\" for flag -join-attempts: parse error"),
        ("-raft-snap -1", "invalid value \"-1\" for flag -raft-snap: parse error"),
        (
            "-raft-snap 18446744073709551616",
            "invalid value \"18446744073709551616\" for flag -raft-snap: value out of range",
        ),
        ("-raft-snap-int 5", "invalid value \"5\" for flag -raft-snap-int: parse error"),
        ("-fk=maybe", "invalid boolean value \"maybe\" for -fk: parse error"),
        ("-generate elvish", "invalid value \"elvish\" for flag -generate: must be one of man, bash, zsh, fish"),
        ("-http-max-body 1x", "invalid value \"1x\" for flag -http-max-body: parse error"),
    ];
    for (flags, message) in cases {
        let (code, text) = exit(&format!("{flags} data"));
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!((code, lines[0]), (2, message), "{flags}");
        assert!(lines.len() <= 3, "{text}");
        assert_eq!(lines.last(), Some(&"'sqlhttp-cluster -help' lists all flags."), "{flags}");
    }
    assert_eq!(exit("-node-idd x data").1.lines().nth(1), Some("Did you mean -node-id?"));
    assert_eq!(exit("-http-max-bdy 1 data").1.lines().nth(1), Some("Did you mean -http-max-body?"));
    let about = "-join-attempts int: How often to try the addresses of -join (default 5)";
    assert_eq!(exit("-join-attempts x data").1.lines().nth(1), Some(about));
    assert!(exit("-node-id").1.starts_with("flag needs an argument: -node-id\n"));
}

#[test]
fn help_and_version_need_no_directory() {
    for line in ["-h", "--help", "-fk -h", "-h -bogus"] {
        assert_eq!(exit(line), (0, usage::usage().trim_end().to_owned()), "{line}");
    }
    for line in ["-version", "--version=true", "-version -http-addr x", "-version a b"] {
        assert_eq!(exit(line), (0, usage::version()), "{line}");
    }
    assert_eq!(exit("-version -bogus").0, 2);
}

#[test]
fn generated_texts_need_no_directory() {
    let script = usage::generated("bash").unwrap();
    for line in ["-generate bash", "--generate=bash -http-addr x", "-generate man -generate bash a b"] {
        assert_eq!(exit(line), (0, script.clone()), "{line}");
    }
    assert_eq!(exit("-generate bash -bogus").0, 2);
    assert_eq!(exit("-generate bash -h"), exit("-h"));
}

#[test]
fn every_flag_is_in_the_generated_texts() {
    let names: Vec<&str> = TABLE.iter().map(|flag| flag.name).collect();
    assert_complete(&names, |kind| exit(&format!("-generate {kind}")).1);
}

#[test]
fn a_generated_script_offers_the_values_in_the_table() {
    let script = usage::generated("zsh").unwrap();
    for (flag, candidates) in [
        ("auth", "file:_files"),
        ("extensions-path", "directory:_files -/"),
        ("disco-mode", "word:(dns dns-srv)"),
        ("raft-log-level", "word:(ERROR WARN INFO DEBUG)"),
        ("log-format", "word:(text json)"),
        ("max-body", "size:"),
    ] {
        assert_offers(&script, flag, candidates);
    }
}

#[test]
fn the_version_has_the_format_of_rqlited() {
    let version = usage::version();
    let words: Vec<&str> = version.split(' ').collect();
    assert_eq!((words[0], words[1]), ("sqlhttp-cluster", concat!("v", env!("CARGO_PKG_VERSION"))));
    assert_eq!(words[4..6], ["rustc", &format!("sqlite{}", sqlhttp_core::sqlite_version())]);
    assert!(version.ends_with(" (commit unknown, compiler rustc)"), "{version}");
}

#[test]
fn an_empty_command_line_is_reported_as_a_log_line() {
    let exit = parse(&[]).unwrap_err();
    let text = "failed to parse command-line flags: missing required argument: DataPath";
    assert_eq!(exit, Exit { code: 1, message: ExitMessage::LogLine(text.to_owned()) });
    let mut written = Vec::new();
    let mut out = Vec::new();
    exit.write(&mut out, &mut written).unwrap();
    assert!(out.is_empty());
    let written = String::from_utf8(written).unwrap();
    assert!(written.starts_with("[rqlited] ") && written.ends_with(&format!(" {text}\n")), "{written}");
}

#[test]
fn exactly_one_directory_is_required() {
    let required = (1, "fatal: data directory path is required".to_owned());
    assert_eq!(exit("-fk"), required);
    assert_eq!(exit("--"), required);
    let empty = parse(&[OsString::new()]).unwrap_err();
    assert_eq!((empty.code, empty.message), (1, ExitMessage::Stderr(required.1)));
    assert_eq!(exit("d extra"), (1, "arguments after data directory (d) are not accepted ([extra])".to_owned()));
    assert_eq!(exit("d -fk x"), (1, "arguments after data directory (d) are not accepted ([-fk x])".to_owned()));
}

#[cfg(unix)]
#[test]
fn arguments_that_are_not_utf8_are_refused() {
    use std::os::unix::ffi::OsStringExt;
    let exit = parse(&[OsString::from_vec(vec![b'd', 0xff])]).unwrap_err();
    assert_eq!(exit.code, 2);
}

#[test]
fn the_checks_of_rqlited_are_made() {
    let both = |service: &str| format!("either both -{service}-cert and -{service}-key must be set, or neither");
    let cases = [
        ("-extensions-path ./none.so", "extension path does not exist: ./none.so"),
        ("-http-cert c", &both("http")),
        ("-node-key k", &both("node")),
        ("-node-ca-cert c", "-node-ca-cert requires -node-cert and -node-key"),
        ("-otlp-endpoint h:1 -otlp-cert c", &both("otlp")),
        ("-http-verify-common-name x", "-http-verify-common-name requires -http-verify-client"),
        ("-node-verify-common-name x", "-node-verify-common-name requires -node-verify-client"),
        ("-http-addr localhost:4002", "HTTP and Raft addresses must differ"),
        ("-http-adv-addr h:1 -raft-adv-addr h:1", "advertised HTTP and Raft addresses must differ"),
        ("-http-addr http://localhost:1", "HTTP options should not include protocol (http:// or https://)"),
        ("-http-adv-addr HTTPS://h:1", "HTTP options should not include protocol (http:// or https://)"),
        ("-http-addr localhost", "HTTP bind address not valid"),
        ("-http-addr=", "HTTP bind address not valid"),
        ("-http-adv-addr localhost", "HTTP advertised HTTP address not valid"),
        (
            "-http-addr 0.0.0.0:4001",
            "advertised HTTP address is not routable (0.0.0.0), specify it via -http-addr or -http-adv-addr",
        ),
        (
            "-raft-addr [::]:4002",
            "advertised Raft address is not routable (::), specify it via -raft-addr or -raft-adv-addr",
        ),
        ("-raft-addr localhost", "raft bind address not valid"),
        ("-raft-addr localhost:x", "raft bind port not valid"),
        ("-raft-adv-addr h", "raft advertised address not valid"),
        ("-raft-adv-addr h:x", "raft advertised port is not valid"),
        ("-bootstrap-expect 3 -raft-non-voter", "bootstrapping only applicable to voting nodes"),
        ("-join a:1,b", "b is an invalid join address"),
        ("-join a:1,localhost:4002", "node cannot join with itself unless bootstrapping"),
        ("-raft-adv-addr h:2 -join h:2", "node cannot join with itself unless bootstrapping"),
        ("-join a:1 -auto-restore r", "auto-restoring cannot be used when joining a cluster"),
        ("-join a:1 -disco-mode dns", "disco mode cannot be used when also explicitly joining a cluster"),
        ("-raft-non-voter -cdc-config stdout", "CDC cannot be enabled on non-voting nodes"),
        ("-otlp-interval 5s", "OTLP options require -otlp-endpoint"),
        ("-otlp-no-verify", "OTLP options require -otlp-endpoint"),
        ("-otlp-endpoint http://h:1", "-otlp-endpoint must not include a protocol scheme"),
        ("-otlp-endpoint h", "-otlp-endpoint is not a valid address"),
        ("-otlp-endpoint h:1 -otlp-interval -1s", "-otlp-interval must be greater than zero"),
        (
            "-otlp-endpoint h:1 -otlp-insecure -otlp-ca-cert c",
            "-otlp-insecure cannot be used with other OTLP TLS options",
        ),
        ("-disco-mode x", "disco mode must be one of consul-kv, etcd-kv, dns, or dns-srv"),
        ("-disco-mode consul-kv -bootstrap-expect 3", "bootstrapping not applicable when using consul-kv"),
        ("-disco-mode dns-srv", "bootstrap-expect value required when using dns-srv with a voting node"),
        ("-raft-reap-node-timeout 0", "-raft-reap-node-timeout must be greater than 0"),
        ("-raft-reap-read-only-node-timeout -1h", "-raft-reap-read-only-node-timeout must be greater than 0"),
    ];
    for (flags, message) in cases {
        assert_eq!(fatal(flags), message, "{flags}");
    }
}

#[test]
fn invalid_values_are_refused() {
    let cases = [
        ("-raft-apply-timeout -1s", "-raft-apply-timeout must not be negative"),
        ("-raft-log-level loud", "-raft-log-level must be one of ERROR, WARN, INFO, or DEBUG"),
        ("-http-max-body 0", "-max-body must be at least 1"),
        ("-max-load 0", "-max-load must be at least 1"),
        ("-max-connections 0", "-max-connections must be at least 1"),
        ("-http-max-statements 0", "-max-statements must be at least 1"),
        ("-max-statement-memory 1KiB", "-max-statement-memory must be at least 1048576"),
        ("-max-value-bytes 1KiB", "-max-value-bytes must be between 65536 and 1000000000"),
        ("-db-name=", "-db-name \"\" cannot be the name of a database"),
        ("-db-name a/b", "-db-name \"a/b\" cannot be the name of a database"),
        ("-db-name Status", "-db-name \"Status\" cannot be the name of a database"),
    ];
    for (flags, message) in cases {
        assert_eq!(fatal(flags), message, "{flags}");
    }
}

/// Returns a command line that is valid and enables the feature to which the flag `name` belongs.
fn enabling(name: &str) -> String {
    match name {
        "otlp-endpoint" => "-otlp-endpoint h:1".to_owned(),
        "otlp-interval" => "-otlp-endpoint h:1 -otlp-interval 1s".to_owned(),
        "otlp-cert" | "otlp-key" => "-otlp-endpoint h:1 -otlp-cert c -otlp-key k".to_owned(),
        "otlp-ca-cert" => "-otlp-endpoint h:1 -otlp-ca-cert c".to_owned(),
        "otlp-insecure" | "otlp-no-verify" => format!("-otlp-endpoint h:1 -{name}"),
        name => match table::find(name).unwrap().kind {
            FlagKind::Bool => format!("-{name}"),
            _ => format!("-{name} x"),
        },
    }
}

#[test]
fn unsupported_features_are_refused() {
    for flag in TABLE.iter().filter(|flag| flag.support == Support::NotYet) {
        let flags = enabling(flag.name);
        // If a feature requires several flags, the error names the first of them.
        let named = fatal(&flags);
        let named = named.strip_prefix('-').and_then(|rest| rest.strip_suffix(" is not supported yet"));
        let named = named.unwrap_or_else(|| panic!("{flags}: {named:?}"));
        assert!(flags.split(' ').any(|word| word.strip_prefix('-') == Some(named)), "{flags}: {named}");
    }
    for mode in ["consul-kv", "etcd-kv"] {
        let remedy = "use dns or dns-srv, or name the other nodes with -join";
        assert_eq!(fatal(&format!("-disco-mode {mode}")), format!("-disco-mode {mode} is not supported yet: {remedy}"));
    }
}

#[test]
fn flags_that_enable_no_unsupported_feature_are_accepted() {
    for flags in [
        "-join= -join-attempts 2 -join-interval 1s -join-as u",
        "-bootstrap-expect 1 -bootstrap-expect-timeout 5s",
        "-join http://nonsense -raft-non-voter",
        "-disco-mode dns -bootstrap-expect 3",
        "-disco-mode dns-srv -bootstrap-expect 3",
        "-raft-non-voter=false -node-no-verify=false -compress-snap-transport=false",
        "-disco-key rqlite -disco-mode= -auto-backup= -extensions-path=",
        "-raft-reap-read-only-node-timeout 30m -cluster-connect-timeout 1s",
    ] {
        config(flags);
    }
}

#[test]
fn flags_without_effect_are_accepted_and_named() {
    let empty = tempfile::tempdir().unwrap();
    std::fs::write(empty.path().join(".hidden"), "").unwrap();
    let path = empty.path().display();
    let idle = config(&format!(
        "-disco-key k -cpu-profile c -mem-profile m -trace-profile t -node-no-verify -compress-snap-transport \
         -extensions-path {path}"
    ))
    .ignored_flags;
    let names: Vec<&str> = idle.iter().map(|(name, _)| *name).collect();
    let expected = [
        "node-no-verify",
        "compress-snap-transport",
        "disco-key",
        "extensions-path",
        "cpu-profile",
        "mem-profile",
        "trace-profile",
    ];
    assert_eq!(names, expected);
    std::fs::write(empty.path().join("x.so"), "").unwrap();
    for paths in [format!("{path}"), format!("{path}/x.so"), format!("{path},{path}")] {
        assert_eq!(fatal(&format!("-extensions-path {paths}")), "-extensions-path is not supported yet");
    }
}

#[test]
fn validation_comes_before_support() {
    assert_eq!(fatal("-join a:1 -http-cert c"), "either both -http-cert and -http-key must be set, or neither");
}

#[test]
fn the_table_is_complete() {
    let rqlite = TABLE.iter().filter(|flag| flag.support != Support::Extension);
    assert_eq!(rqlite.count(), 68);
    for flag in TABLE {
        let has_no_default = flag.default.is_empty() && matches!(flag.kind, FlagKind::Choice(_));
        assert!(has_no_default || parse_value(flag.kind, flag.default).is_ok(), "{}", flag.name);
        assert!(!flag.help.is_empty(), "{}", flag.name);
        let names = TABLE.iter().flat_map(|other| [other.name, other.alias]);
        assert_eq!(names.filter(|name| *name == flag.name).count(), 1, "{}", flag.name);
    }
}

#[test]
fn the_usage_has_gos_layout() {
    let usage = usage::usage();
    assert!(usage.contains("\nUsage: sqlhttp-cluster [flags] <data directory>\n  -auth string\n    \t"), "{usage}");
    assert!(usage.contains("  -fk\n    \tEnforce foreign keys\n"), "{usage}");
    assert!(usage.contains("(default \"localhost:4001\")\n") && usage.contains("(default true)\n"), "{usage}");
    let (theirs, ours) = usage.split_once("\nFlags that rqlited does not have:\n").unwrap();
    for flag in TABLE {
        let section = if flag.support == Support::Extension { ours } else { theirs };
        assert!(section.lines().any(|line| line.split_whitespace().next() == Some(&format!("-{}", flag.name))));
    }
}
