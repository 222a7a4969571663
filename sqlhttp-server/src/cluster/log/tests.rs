use std::io;
use std::sync::{Arc, Mutex};

use super::*;

#[derive(Clone, Default)]
struct Captured(Arc<Mutex<Vec<u8>>>);

impl io::Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Returns the default settings of log messages.
fn config(format: LogFormat) -> LogConfig {
    LogConfig { format, level: Level::INFO, requests: false, slow: None }
}

fn captured(config: &LogConfig, raft_level: Level, log: impl FnOnce()) -> String {
    let captured = Captured::default();
    let writer = captured.clone();
    let subscriber = subscriber(config, raft_level, move || writer.clone());
    tracing::subscriber::with_default(subscriber, log);
    let bytes = captured.0.lock().unwrap().clone();
    String::from_utf8(bytes).unwrap()
}

/// Returns the lines that `log` writes, without their times.
fn texts(raft_level: Level, log: impl FnOnce()) -> Vec<String> {
    texts_with(&config(LogFormat::Text), raft_level, log)
}

fn texts_with(config: &LogConfig, raft_level: Level, log: impl FnOnce()) -> Vec<String> {
    let text = captured(config, raft_level, log);
    let timeless = |line: &str| {
        let (component, rest) = line.split_once("] ").unwrap();
        let (time, text) = rest.split_at(TIME_LEN);
        assert!(chrono::NaiveDateTime::parse_from_str(time, TIME).is_ok(), "{line}");
        format!("{component}]{text}")
    };
    text.lines().map(timeless).collect()
}

const TIME_LEN: usize = "2026/01/31 12:00:00".len();

#[test]
fn lines_name_their_component() {
    let lines = texts(Level::WARN, || {
        tracing::info!(target: "store", "opening store with node ID {}", 1);
        tracing::info!("node HTTP API available");
        tracing::error!(target: "sqlhttp_raft::log", at = 7, "stopped");
        tracing::warn!(target: "hyper::proto", "slow");
    });
    let expected = [
        "[store] opening store with node ID 1",
        "[rqlited] node HTTP API available",
        "[rqlited] stopped at=7",
        "[hyper] slow",
    ];
    assert_eq!(lines, expected);
}

#[test]
fn lines_of_raft_contain_their_level() {
    let lines = texts(Level::DEBUG, || {
        tracing::warn!(target: "raft", "heartbeat timeout");
        tracing::error!(target: "openraft::core::raft_core", "no quorum");
        tracing::debug!(target: "openraft_rt", "tick");
    });
    assert_eq!(lines, ["[raft] [WARN] heartbeat timeout", "[raft] [ERROR] no quorum", "[raft] [DEBUG] tick"]);
}

#[test]
fn raft_has_a_level_of_its_own() {
    for (raft_level, count) in [(Level::ERROR, 1), (Level::WARN, 2), (Level::INFO, 3), (Level::DEBUG, 4)] {
        let lines = texts(raft_level, || {
            tracing::error!(target: "raft", "x");
            tracing::warn!(target: "raft", "x");
            tracing::info!(target: "openraft::engine", "x");
            tracing::debug!(target: "openraft::engine", "x");
        });
        assert_eq!(lines.len(), count, "{raft_level}");
    }
}

#[test]
fn the_level_of_raft_does_not_apply_to_others() {
    let log = || {
        tracing::info!(target: "http", "logged");
        tracing::debug!(target: "store", "not logged");
        tracing::info!(target: "rustls::conn", "not logged");
    };
    assert_eq!(texts(Level::DEBUG, log), ["[http] logged"]);
    assert_eq!(texts(Level::ERROR, log), ["[http] logged"]);
}

#[test]
fn lines_about_requests_are_optional() {
    let log = || {
        let span = tracing::info_span!(target: REQUEST_SPAN, "request", id = 7);
        span.in_scope(|| {
            tracing::info!(target: REQUEST_LOG, "answered");
            tracing::debug!(target: REQUEST_LOG, "odd");
            tracing::warn!(target: SLOW_LOG, "slow SQL");
            tracing::info!(target: "sqlhttp_server::http::listen", "x");
        });
    };
    let quiet = config(LogFormat::Text);
    assert_eq!(texts_with(&quiet, Level::WARN, log), ["[rqlited] slow SQL"]);
    let slow = LogConfig { slow: Some(std::time::Duration::from_secs(1)), ..quiet.clone() };
    assert_eq!(texts_with(&slow, Level::WARN, log), ["[rqlited] slow SQL id=7"]);
    let all = LogConfig { requests: true, level: Level::ERROR, ..quiet.clone() };
    assert_eq!(texts_with(&all, Level::WARN, log), ["[rqlited] answered id=7", "[rqlited] slow SQL id=7"]);
    let everything = LogConfig { level: Level::DEBUG, ..quiet };
    assert_eq!(texts_with(&everything, Level::WARN, log).len(), 4);
}

#[test]
fn the_log_level_applies_to_the_server() {
    for (level, count) in [(Level::ERROR, 1), (Level::WARN, 2), (Level::INFO, 3), (Level::DEBUG, 4)] {
        let lines = texts_with(&LogConfig { level, ..config(LogFormat::Text) }, Level::WARN, || {
            tracing::error!(target: "store", "x");
            tracing::warn!(target: "store", "x");
            tracing::info!(target: "store", "x");
            tracing::debug!(target: "store", "x");
        });
        assert_eq!(lines.len(), count, "{level}");
    }
}

#[test]
fn line_feeds_are_escaped() {
    let lines = texts(Level::WARN, || tracing::warn!("user '{}'", "x\n[rqlited] forged"));
    assert_eq!(lines, ["[rqlited] user 'x\\n[rqlited] forged'"]);
}

#[test]
fn lines_may_be_json() {
    let text =
        captured(&config(LogFormat::Json), Level::WARN, || tracing::info!(target: "store", index = 3, "applied"));
    let line: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!((&line["target"], &line["message"], &line["index"]), (&"store".into(), &"applied".into(), &3.into()));
}

#[test]
fn lines_without_an_event() {
    let line = line("mux", "mux serving");
    assert!(line.starts_with("[mux] ") && line.ends_with(" mux serving"), "{line}");
    assert_eq!(line.len(), "[mux] ".len() + TIME_LEN + " mux serving".len());
}
