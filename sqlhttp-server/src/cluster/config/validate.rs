//! Checks the values of the flags as rqlited does before it starts, with its error texts. Only the check of SQLite
//! extensions reads the file system.

use std::path::Path;

use super::address::{is_port_number, is_unspecified, split_host_port};
use super::flag_values::FlagValues;
use crate::process::flags::{memory_bytes_max, value_bytes_max};

type Check = fn(&FlagValues) -> Result<(), String>;

/// All checks. The first check that fails determines the error, so their order matters.
const CHECKS: [Check; 16] = [
    extensions_exist,
    certificates_are_complete,
    node_authority_has_a_certificate,
    common_names_are_checked,
    addresses_differ,
    http_addresses_are_valid,
    raft_addresses_are_valid,
    bootstrapping_node_is_voter,
    join_addresses_are_valid,
    cdc_node_is_voter,
    otlp_has_an_endpoint,
    otlp_is_valid,
    discovery_is_valid,
    reap_timeouts_are_positive,
    nothing_is_negative,
    own_flags_are_valid,
];

/// Runs all checks. Returns the error of the first one that fails.
pub(crate) fn validate(flags: &FlagValues) -> Result<(), String> {
    CHECKS.iter().try_for_each(|check| check(flags))
}

/// Returns the advertised address of a service, `http` or `raft`: the value of `-<service>-adv-addr`, or the address
/// that the service binds if that flag is not given.
pub(crate) fn advertised_address(flags: &FlagValues, service: &str) -> String {
    flags.text_opt(&format!("{service}-adv-addr")).unwrap_or_else(|| flags.text(&format!("{service}-addr")))
}

fn ensure(holds: bool, message: impl Into<String>) -> Result<(), String> {
    if holds { Ok(()) } else { Err(message.into()) }
}

fn extensions_exist(flags: &FlagValues) -> Result<(), String> {
    let paths = flags.text_opt("extensions-path").unwrap_or_default();
    let missing = paths.split(',').find(|path| !paths.is_empty() && !Path::new(path).exists());
    missing.map_or(Ok(()), |path| Err(format!("extension path does not exist: {path}")))
}

fn certificates_are_complete(flags: &FlagValues) -> Result<(), String> {
    ["http", "node", "otlp"].iter().try_for_each(|service| {
        let (cert, key) = (format!("{service}-cert"), format!("{service}-key"));
        ensure(
            flags.text_opt(&cert).is_some() == flags.text_opt(&key).is_some(),
            format!("either both -{cert} and -{key} must be set, or neither"),
        )
    })
}

/// Rejects an authority without a certificate. rqlited fails later, with an error that does not name the flag.
fn node_authority_has_a_certificate(flags: &FlagValues) -> Result<(), String> {
    let complete = flags.text_opt("node-ca-cert").is_none() || flags.text_opt("node-cert").is_some();
    ensure(complete, "-node-ca-cert requires -node-cert and -node-key")
}

fn common_names_are_checked(flags: &FlagValues) -> Result<(), String> {
    ["http", "node"].iter().try_for_each(|service| {
        let (name, verify) = (format!("{service}-verify-common-name"), format!("{service}-verify-client"));
        ensure(flags.text_opt(&name).is_none() || flags.bool(&verify), format!("-{name} requires -{verify}"))
    })
}

fn addresses_differ(flags: &FlagValues) -> Result<(), String> {
    ensure(flags.text("http-addr") != flags.text("raft-addr"), "HTTP and Raft addresses must differ")?;
    let differ = advertised_address(flags, "http") != advertised_address(flags, "raft");
    ensure(differ, "advertised HTTP and Raft addresses must differ")
}

fn http_addresses_are_valid(flags: &FlagValues) -> Result<(), String> {
    let (bound, advertised) = (flags.text("http-addr"), advertised_address(flags, "http"));
    let plain = !has_protocol(&bound) && !has_protocol(&advertised);
    ensure(plain, "HTTP options should not include protocol (http:// or https://)")?;
    ensure(split_host_port(&bound).is_some(), "HTTP bind address not valid")?;
    let (host, _) = split_host_port(&advertised).ok_or("HTTP advertised HTTP address not valid")?;
    is_routable(host, "HTTP", "http")
}

fn has_protocol(address: &str) -> bool {
    let lower = address.to_ascii_lowercase();
    lower.starts_with("http://") || lower.starts_with("https://")
}

fn raft_addresses_are_valid(flags: &FlagValues) -> Result<(), String> {
    let (bound, advertised) = (flags.text("raft-addr"), advertised_address(flags, "raft"));
    let (_, port) = split_host_port(&bound).ok_or("raft bind address not valid")?;
    ensure(is_port_number(port), "raft bind port not valid")?;
    let (host, port) = split_host_port(&advertised).ok_or("raft advertised address not valid")?;
    is_routable(host, "Raft", "raft")?;
    ensure(is_port_number(port), "raft advertised port is not valid")
}

fn is_routable(host: &str, label: &str, service: &str) -> Result<(), String> {
    ensure(
        !is_unspecified(host),
        format!(
            "advertised {label} address is not routable ({host}), specify it via -{service}-addr or -{service}-adv-addr"
        ),
    )
}

fn bootstrapping_node_is_voter(flags: &FlagValues) -> Result<(), String> {
    let votes = flags.int("bootstrap-expect") <= 0 || !flags.bool("raft-non-voter");
    ensure(votes, "bootstrapping only applicable to voting nodes")
}

fn join_addresses_are_valid(flags: &FlagValues) -> Result<(), String> {
    let Some(addresses) = flags.text_opt("join") else {
        return Ok(());
    };
    let ours = [flags.text("raft-addr"), advertised_address(flags, "raft")];
    let bootstraps = flags.int("bootstrap-expect") != 0;
    for address in addresses.split(',') {
        ensure(split_host_port(address).is_some(), format!("{address} is an invalid join address"))?;
        let other = bootstraps || ours.iter().all(|own| own != address);
        ensure(other, "node cannot join with itself unless bootstrapping")?;
    }
    let restores = !bootstraps && flags.text_opt("auto-restore").is_some();
    ensure(!restores, "auto-restoring cannot be used when joining a cluster")?;
    let discovers = flags.text_opt("disco-mode").is_some();
    ensure(!discovers, "disco mode cannot be used when also explicitly joining a cluster")
}

fn cdc_node_is_voter(flags: &FlagValues) -> Result<(), String> {
    let votes = flags.text_opt("cdc-config").is_none() || !flags.bool("raft-non-voter");
    ensure(votes, "CDC cannot be enabled on non-voting nodes")
}

const OTLP_TLS: [&str; 4] = ["otlp-no-verify", "otlp-ca-cert", "otlp-cert", "otlp-key"];

fn otlp_has_an_endpoint(flags: &FlagValues) -> Result<(), String> {
    let options = ["otlp-interval", "otlp-insecure"].iter().chain(&OTLP_TLS).any(|name| flags.is_changed(name));
    ensure(flags.text_opt("otlp-endpoint").is_some() || !options, "OTLP options require -otlp-endpoint")
}

fn otlp_is_valid(flags: &FlagValues) -> Result<(), String> {
    let Some(endpoint) = flags.text_opt("otlp-endpoint") else {
        return Ok(());
    };
    ensure(!endpoint.contains("://"), "-otlp-endpoint must not include a protocol scheme")?;
    ensure(split_host_port(&endpoint).is_some(), "-otlp-endpoint is not a valid address")?;
    ensure(!flags.duration("otlp-interval").is_zero(), "-otlp-interval must be greater than zero")?;
    let tls = OTLP_TLS.iter().any(|name| flags.is_changed(name));
    ensure(!(flags.bool("otlp-insecure") && tls), "-otlp-insecure cannot be used with other OTLP TLS options")
}

fn discovery_is_valid(flags: &FlagValues) -> Result<(), String> {
    let mode = flags.text("disco-mode");
    let expected = flags.int("bootstrap-expect");
    match mode.as_str() {
        "" => Ok(()),
        "consul-kv" | "etcd-kv" => ensure(expected <= 0, format!("bootstrapping not applicable when using {mode}")),
        "dns" | "dns-srv" => ensure(
            expected != 0 || flags.bool("raft-non-voter"),
            format!("bootstrap-expect value required when using {mode} with a voting node"),
        ),
        _ => Err("disco mode must be one of consul-kv, etcd-kv, dns, or dns-srv".to_owned()),
    }
}

fn reap_timeouts_are_positive(flags: &FlagValues) -> Result<(), String> {
    ["raft-reap-node-timeout", "raft-reap-read-only-node-timeout"].iter().try_for_each(|name| {
        let holds = !flags.is_given(name) || !flags.duration(name).is_zero();
        ensure(holds, format!("-{name} must be greater than 0"))
    })
}

/// Rejects negative durations. rqlited accepts them and misbehaves.
fn nothing_is_negative(flags: &FlagValues) -> Result<(), String> {
    let negative = flags.first_negative_duration();
    negative.map_or(Ok(()), |name| Err(format!("-{name} must not be negative")))
}

/// The first segments of the paths of rqlite's API. A database with such a name would be unreachable, because its path
/// would be that of an endpoint.
const RESERVED: [&str; 15] = [
    "boot", "console", "db", "debug", "healthz", "leader", "licenses", "metrics", "nodes", "readyz", "reap", "remove",
    "snapshot", "status", "verify",
];

fn own_flags_are_valid(flags: &FlagValues) -> Result<(), String> {
    let name = flags.text("db-name");
    let usable = !name.is_empty() && !name.contains('/') && !RESERVED.contains(&name.to_lowercase().as_str());
    ensure(usable, format!("-db-name {name:?} cannot be the name of a database"))?;
    ["max-body", "max-connections", "max-load", "max-statements"]
        .iter()
        .try_for_each(|name| ensure(flags.count(name) > 0, format!("-{name} must be at least 1")))?;
    memory_bytes_max(flags.count("max-statement-memory"))?;
    value_bytes_max(flags.count("max-value-bytes")).map(drop)
}
