//! Checks the values of the flags and converts them to the settings of the server and the engine.

use std::path::PathBuf;

use super::flags::Settings;
use super::resolve::expand_home;
use super::{EngineConfig, ServerConfig};
use crate::process::flags::{hosts, memory_bytes_max, value_bytes_max};
use crate::process::logging::LogFormat;
use crate::process::tls::TlsFiles;

/// The minimum value of `-max-header`, in bytes. hyper does not support a smaller read buffer.
const HEADER_BYTES_MIN: u64 = 8 << 10;

/// Returns the settings of the process and its listeners. If it returns an error, the start fails with that message.
pub(crate) fn server(settings: &Settings, home: Option<&str>) -> Result<ServerConfig, String> {
    let log_format = if settings.text("log-format") == "json" { LogFormat::Json } else { LogFormat::Text };
    Ok(ServerConfig {
        bind_host: settings.text("bind-host"),
        port: port(settings.int("port"))?,
        allowed_hosts: hosts(&settings.text("allowed-hosts")),
        serve_dir: path(settings, "serve-dir", "directory to serve", home)?,
        index_file: settings.text("index-file"),
        body_bytes_max: at_least(settings, "max-body", 1)?,
        all_bodies_bytes_max: settings.count("max-bodies"),
        header_bytes_max: usize_of(at_least(settings, "max-header", HEADER_BYTES_MIN)?),
        connections_max: usize_of(at_least(settings, "max-connections", 1)?),
        items_max: usize_of(at_least(settings, "max-statements", 1)?),
        query_timeout: Some(settings.duration("query-timeout")).filter(|limit| !limit.is_zero()),
        write_timeout: Some(settings.duration("write-timeout")).filter(|limit| !limit.is_zero()),
        check_interval: settings.duration("check-interval"),
        shutdown_timeout: settings.duration("shutdown-timeout"),
        header_timeout: settings.duration("header-timeout"),
        first_request_timeout: settings.duration("first-request-timeout"),
        body_timeout: settings.duration("body-timeout"),
        metrics_addr: settings.text_opt("metrics-addr"),
        tls: tls(settings, home)?,
        log_format,
        log_level: settings.text("log-level"),
        log_requests: settings.bool("log-requests"),
        log_slow: Some(settings.duration("log-slow")).filter(|limit| !limit.is_zero()),
    })
}

/// Returns the settings of the engine that apply to all databases. If it returns an error, the start fails with that
/// message.
pub(crate) fn engine(settings: &Settings) -> Result<EngineConfig, String> {
    let some = |count: u64| Some(count).filter(|count| *count > 0);
    Ok(EngineConfig {
        allow_attach: settings.bool("allow-attach"),
        busy_timeout: settings.duration("busy-timeout"),
        read_threads: some(settings.count("read-threads")).map(usize_of),
        rows_max: some(settings.count("max-rows")),
        value_bytes_max: value_bytes_max(settings.count("max-value-bytes"))?,
        memory_bytes_max: memory_bytes_max(settings.count("max-statement-memory"))?,
    })
}

/// Checks a port number. The error has the text of Go's `net.Listen`.
pub(crate) fn port(port: i64) -> Result<u16, String> {
    u16::try_from(port).map_err(|_| format!("failed to listen: listen tcp: address {port}: invalid port"))
}

fn path(settings: &Settings, flag: &str, label: &str, home: Option<&str>) -> Result<Option<PathBuf>, String> {
    let Some(typed) = settings.text_opt(flag) else {
        return Ok(None);
    };
    let expanded = expand_home(&typed, home).map_err(|why| format!("in expanding {label} path: {why}"))?;
    Ok(Some(PathBuf::from(expanded)))
}

fn tls(settings: &Settings, home: Option<&str>) -> Result<Option<TlsFiles>, String> {
    let cert = path(settings, "tls-cert", "certificate", home)?;
    let key = path(settings, "tls-key", "private key", home)?;
    match (cert, key) {
        (Some(cert), Some(key)) => Ok(Some(TlsFiles { cert, key })),
        (None, None) => Ok(None),
        _ => Err("-tls-cert and -tls-key must be given together".to_owned()),
    }
}

fn at_least(settings: &Settings, flag: &str, min: u64) -> Result<u64, String> {
    let count = settings.count(flag);
    if count < min { Err(format!("-{flag} must be at least {min}")) } else { Ok(count) }
}

fn usize_of(count: u64) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::flags::{CommandLine, parse};
    use super::*;

    fn settings(line: &str) -> Settings {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        match parse(&words) {
            Ok(CommandLine::Run { settings, .. }) => settings,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn defaults_are_resolved() {
        let server = server(&settings(""), None).unwrap();
        assert_eq!((server.bind_host.as_str(), server.port), ("0.0.0.0", 12321));
        assert_eq!(server.body_bytes_max, 64 << 20);
        assert_eq!((server.query_timeout, server.write_timeout), (None, Some(Duration::from_secs(60))));
        assert_eq!((server.log_format, server.log_level.as_str()), (LogFormat::Text, "warn"));
        assert_eq!((server.serve_dir, server.tls, server.metrics_addr), (None, None, None));
        let engine = engine(&settings("")).unwrap();
        assert_eq!((engine.read_threads, engine.rows_max), (None, None));
        assert_eq!(engine.busy_timeout, Duration::from_secs(5));
    }

    #[test]
    fn given_values_are_resolved() {
        let line =
            "-serve-dir ~/w -tls-cert c -tls-key k -query-timeout 5s -header-timeout 0 -max-rows 7 -read-threads 3";
        let server = server(&settings(line), Some("/h")).unwrap();
        assert_eq!(server.serve_dir, Some("/h/w".into()));
        assert_eq!(server.tls, Some(TlsFiles { cert: "c".into(), key: "k".into() }));
        assert_eq!(server.query_timeout, Some(Duration::from_secs(5)));
        assert_eq!(server.header_timeout, Duration::ZERO);
        let engine = engine(&settings(line)).unwrap();
        assert_eq!((engine.read_threads, engine.rows_max), (Some(3), Some(7)));
    }

    #[test]
    fn the_size_of_values_is_limited_to_that_of_sqlite() {
        assert_eq!(engine(&settings("")).unwrap().value_bytes_max, 64 << 20);
        assert_eq!(engine(&settings("-max-value-bytes 1000000000")).unwrap().value_bytes_max, 1_000_000_000);
        for size in ["0", "64", "1G"] {
            let error = engine(&settings(&format!("-max-value-bytes {size}"))).unwrap_err();
            assert_eq!(error, "-max-value-bytes must be between 65536 and 1000000000", "{size}");
        }
    }

    #[test]
    fn impossible_settings_are_refused() {
        let cases = [
            ("-port 70000", "failed to listen: listen tcp: address 70000: invalid port"),
            ("-port -1", "failed to listen: listen tcp: address -1: invalid port"),
            ("-tls-cert c", "-tls-cert and -tls-key must be given together"),
            ("-max-header 1K", "-max-header must be at least 8192"),
            ("-max-connections 0", "-max-connections must be at least 1"),
            ("-serve-dir ~root", "in expanding directory to serve path: cannot expand user-specific home dir"),
        ];
        for (line, message) in cases {
            assert_eq!(server(&settings(line), Some("/h")).unwrap_err(), message, "{line}");
        }
    }
}
