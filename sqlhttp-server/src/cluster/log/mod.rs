//! Log lines on standard error: `[component] 2026/01/31 12:00:00 message`. The format is that of rqlited, because
//! users search for its log lines. The component is the target of the `tracing` event, as in `target: "store"`.

use std::fmt;

use chrono::Local;
use tracing::level_filters::LevelFilter;
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{FilterFn, filter_fn};
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, Writer};
use tracing_subscriber::fmt::{FmtContext, MakeWriter};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;

use super::config::LogConfig;
use crate::process::logging::{
    LogFormat, LoggingError, REQUEST_LOG, REQUEST_SPAN, SLOW_LOG, write_fields, write_spans,
};

/// The component of log lines about the process. Events of this project's crates that name no component get it.
pub const PROCESS: &str = "rqlited";

/// The component of log lines about Raft.
pub const RAFT: &str = "raft";

/// The prefix of the target of an event that comes from this project's crates and names no component.
const OWN_CRATES: &str = "sqlhttp";

/// The prefix of the targets of the Raft library's events.
const RAFT_CRATE: &str = "openraft";

/// Starts logging to standard error, for the whole process. `raft_level` is the least severe level of Raft's log
/// messages that is written.
pub fn init(config: &LogConfig, raft_level: Level) -> Result<(), LoggingError> {
    let subscriber = subscriber(config, raft_level, std::io::stderr);
    tracing::subscriber::set_global_default(subscriber).map_err(|_| LoggingError::AlreadyInitialized)
}

/// Formats a log line with the current time, without the line feed.
pub fn line(component: &str, text: &str) -> String {
    format!("[{component}] {} {text}", Local::now().format(TIME))
}

const TIME: &str = "%Y/%m/%d %H:%M:%S";

fn subscriber<W>(config: &LogConfig, raft_level: Level, writer: W) -> impl Subscriber + Send + Sync
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let layer = tracing_subscriber::fmt::layer().with_writer(writer);
    let layer = match config.format {
        LogFormat::Text => layer.event_format(TextFormat).boxed(),
        // The JSON format writes the span of the request as `span`, and not in a list of spans as well.
        LogFormat::Json => layer.json().flatten_event(true).with_span_list(false).boxed(),
    };
    tracing_subscriber::registry().with(layer.with_filter(filter(Levels::new(config, raft_level))))
}

/// The least severe level of log messages that is written, for each origin of messages.
#[derive(Debug, Clone, Copy)]
struct Levels {
    /// The log level for the server's messages that the other fields do not cover.
    own: Level,
    /// The log level for Raft messages.
    raft: Level,
    /// The log level for messages of the modules that handle HTTP requests.
    http: Level,
    /// The log level for the lines that are written for each request.
    requests: Level,
    /// The log level for the `tracing` spans of requests. Lines about slow SQL contain the span too, so it may be
    /// enabled when the lines for each request are not.
    request_spans: Level,
}

impl Levels {
    fn new(config: &LogConfig, raft: Level) -> Self {
        let own = config.level;
        // At DEBUG and TRACE, the lines for each request are always logged; otherwise only with `-log-requests`.
        let quiet = if own > Level::INFO { own } else { own.min(Level::WARN) };
        let loud = own.max(Level::INFO);
        Levels {
            own,
            raft,
            http: quiet,
            requests: if config.requests { loud } else { quiet },
            request_spans: if config.requests || config.slow.is_some() { loud } else { quiet },
        }
    }

    /// Returns the least severe level that is written for events with this target.
    fn of(&self, target: &str) -> Level {
        match Origin::of(target) {
            _ if target == REQUEST_SPAN => self.request_spans,
            _ if target == REQUEST_LOG => self.requests,
            _ if target == SLOW_LOG => Level::WARN,
            _ if HTTP_MODULES.iter().any(|module| target.starts_with(module)) => self.http,
            Origin::Raft => self.raft,
            Origin::Component(_) => self.own,
            Origin::Library(_) => self.own.min(Level::WARN),
        }
    }
}

fn filter(levels: Levels) -> FilterFn<impl Fn(&Metadata<'_>) -> bool> {
    let max_level = levels.raft.max(levels.request_spans).max(levels.own).max(Level::WARN);
    filter_fn(move |metadata| *metadata.level() <= levels.of(metadata.target()))
        .with_max_level_hint(LevelFilter::from_level(max_level))
}

/// The part of the program from which an event comes.
#[derive(Debug, PartialEq, Eq)]
enum Origin<'a> {
    /// Raft: the Raft crate of this project, or the Raft library.
    Raft,
    /// The server, with the component that appears in the log line.
    Component(&'a str),
    /// Another library, with the name of its crate.
    Library(&'a str),
}

/// The modules that handle HTTP requests.
const HTTP_MODULES: [&str; 4] = [
    "sqlhttp_server::http",
    "sqlhttp_server::api",
    "sqlhttp_server::cluster::http",
    "sqlhttp_server::cluster::write_queue",
];

/// The components that appear in rqlited's log lines.
const COMPONENTS: [&str; 17] = [
    "cdc-service",
    "cert-reloader",
    "cluster",
    "cluster-bootstrap",
    "cluster-join",
    "cluster-remove",
    "disco",
    "disco-dns",
    "disco-dnssrv",
    "downloader",
    "http",
    "mux",
    "otlp-metrics",
    PROCESS,
    "snapshot-store",
    "store",
    "uploader",
];

impl<'a> Origin<'a> {
    fn of(target: &'a str) -> Self {
        let root = target.split("::").next().unwrap_or(target);
        if root == RAFT || root.starts_with(RAFT_CRATE) {
            Origin::Raft
        } else if root.starts_with(OWN_CRATES) {
            Origin::Component(PROCESS)
        } else if COMPONENTS.contains(&target) {
            Origin::Component(target)
        } else {
            Origin::Library(root)
        }
    }

    fn component(&self) -> &'a str {
        match self {
            Origin::Raft => RAFT,
            Origin::Component(name) | Origin::Library(name) => name,
        }
    }
}

/// The text format of log lines: `[component] time message name=value …`. In lines about Raft, the level precedes the
/// message.
struct TextFormat;

impl<S, N> FormatEvent<S, N> for TextFormat
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let origin = Origin::of(event.metadata().target());
        write!(writer, "[{}] {}", origin.component(), Local::now().format(TIME))?;
        if origin == Origin::Raft {
            write!(writer, " [{}]", event.metadata().level())?;
        }
        write_fields(&mut writer, event)?;
        // The spans of the Raft library are omitted, because they contain the whole state of Raft.
        if origin != Origin::Raft {
            write_spans(&mut writer, context)?;
        }
        writeln!(writer)
    }
}

#[cfg(test)]
mod tests;
