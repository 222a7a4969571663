//! Log lines on standard error. The text format is the one of ws4sqlite: `ERR | 2026/01/31 12:00:00 | what happened`.

use std::fmt::{self, Write};

use chrono::Local;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, Writer};
use tracing_subscriber::fmt::{FmtContext, FormattedFields};
use tracing_subscriber::registry::LookupSpan;

/// The format of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// Each line is text in the format of ws4sqlite.
    #[default]
    Text,
    /// Each line is a JSON object.
    Json,
}

/// The reason why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum LoggingError {
    /// The log level is none of error, warn, info, debug and trace.
    #[error("log level '{0}': it must be error, warn, info, debug or trace")]
    Level(String),
    /// The process already has a global log subscriber.
    #[error("the log has been set up already")]
    AlreadyInitialized,
}

/// The tracing target of the spans of requests. It is a prefix of [`REQUEST_LOG`].
pub(crate) const REQUEST_SPAN: &str = "sqlhttp_server::request";

/// The tracing target of log lines about requests.
pub(crate) const REQUEST_LOG: &str = "sqlhttp_server::request::log";

/// The tracing target of log lines about slow SQL.
pub(crate) const SLOW_LOG: &str = "sqlhttp_server::slow";

/// The kinds of log lines about requests that are written at every log level.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RequestLines {
    /// Whether a line is written for each request. If the request was refused, the line contains the reason.
    pub all: bool,
    /// Whether lines about slow SQL are written.
    pub slow: bool,
}

/// Starts logging to standard error for the whole process. `level` applies to the crates of this program. For the
/// libraries, only warnings and errors are logged, unless `level` is `trace` (everything is logged) or `error` (only
/// errors are).
pub fn init(format: LogFormat, level: &str, requests: RequestLines) -> Result<(), LoggingError> {
    let level: Level = level.parse().map_err(|_| LoggingError::Level(level.to_owned()))?;
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter(level, requests)).with_writer(std::io::stderr);
    let set = match format {
        LogFormat::Text => tracing::subscriber::set_global_default(subscriber.event_format(TextFormat).finish()),
        // Without the list of spans, the span of the request is written only once, as the field `span`.
        LogFormat::Json => tracing::subscriber::set_global_default(
            subscriber.json().flatten_event(true).with_span_list(false).finish(),
        ),
    };
    set.map_err(|_| LoggingError::AlreadyInitialized)
}

fn filter(level: Level, requests: RequestLines) -> EnvFilter {
    let word = level.as_str().to_ascii_lowercase();
    let others = if word == "trace" || word == "error" { word.as_str() } else { "warn" };
    let mut directives = format!("{others},sqlhttp_core={word},sqlhttp_server={word},sqlhttp_standalone={word}");
    if level < Level::INFO && (requests.all || requests.slow) {
        // The span is also enabled if only slow SQL is logged, because lines about slow SQL contain the fields of the
        // span.
        let lines = if requests.all { "info" } else { "warn" };
        directives += &format!(",{REQUEST_SPAN}=info,{REQUEST_LOG}={lines},{SLOW_LOG}=warn");
    }
    EnvFilter::new(directives)
}

/// Returns the beginning of `text`: at most `bytes_max` bytes, cut at a character boundary.
pub(crate) fn shortened(text: &str, bytes_max: usize) -> &str {
    let boundary = (0..=bytes_max.min(text.len())).rev().find(|&at| text.is_char_boundary(at));
    &text[..boundary.unwrap_or(0)]
}

/// The text format of log lines: `LEVEL | time | message name=value …`
struct TextFormat;

impl<S, N> FormatEvent<S, N> for TextFormat
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let label = label(*event.metadata().level());
        write!(writer, "{label} | {} |", Local::now().format("%Y/%m/%d %H:%M:%S"))?;
        write_fields(&mut writer, event)?;
        write_spans(&mut writer, context)?;
        writeln!(writer)
    }
}

/// Writes the message and the fields of a log event, each after a space.
pub(crate) fn write_fields(writer: &mut Writer<'_>, event: &Event<'_>) -> fmt::Result {
    let mut line = FieldWriter { writer: EscapeControls(writer), result: Ok(()) };
    event.record(&mut line);
    line.result
}

/// Writes the fields of the spans in which a log event occurred. They identify the request.
pub(crate) fn write_spans<S, N>(writer: &mut Writer<'_>, context: &FmtContext<'_, S, N>) -> fmt::Result
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    for span in context.event_scope().into_iter().flatten() {
        if let Some(fields) = span.extensions().get::<FormattedFields<N>>().filter(|fields| !fields.is_empty()) {
            write!(EscapeControls(&mut *writer), " {fields}")?;
        }
    }
    Ok(())
}

fn label(level: Level) -> &'static str {
    match level {
        Level::ERROR => "ERR",
        Level::WARN => "WARN",
        Level::INFO => "INFO",
        Level::DEBUG => "DEBUG",
        Level::TRACE => "TRACE",
    }
}

/// Writes the fields of a log event, each after a space.
struct FieldWriter<W> {
    writer: EscapeControls<W>,
    result: fmt::Result,
}

impl<W: Write> Visit for FieldWriter<W> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if self.result.is_ok() {
            self.result = match field.name() {
                "message" => write!(self.writer, " {value:?}"),
                name => write!(self.writer, " {name}={value:?}"),
            };
        }
    }
}

/// A writer that escapes control characters, so that text from a client cannot inject a log line.
struct EscapeControls<W>(W);

impl<W: Write> Write for EscapeControls<W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for piece in text.split_inclusive(char::is_control) {
            match piece.char_indices().next_back() {
                Some((at, last)) if last.is_control() => write!(self.0, "{}{}", &piece[..at], last.escape_default())?,
                _ => self.0.write_str(piece)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
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

    fn captured(log: impl FnOnce()) -> String {
        let captured = Captured::default();
        let writer = captured.clone();
        let subscriber =
            tracing_subscriber::fmt().event_format(TextFormat).with_writer(move || writer.clone()).finish();
        tracing::subscriber::with_default(subscriber, log);
        let bytes = captured.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn lines_have_the_format_of_ws4sqlite() {
        let line = captured(|| tracing::error!("credentials not valid for user '{}'", "gigi"));
        let parts: Vec<_> = line.split(" | ").collect();
        assert_eq!((parts[0], parts[2]), ("ERR", "credentials not valid for user 'gigi'\n"));
        assert!(chrono::NaiveDateTime::parse_from_str(parts[1], "%Y/%m/%d %H:%M:%S").is_ok());
    }

    #[test]
    fn fields_follow_the_message() {
        let line = captured(|| tracing::info!(status = 200, path = %"/t", "request"));
        assert!(line.ends_with(" | request status=200 path=/t\n"), "{line}");
    }

    #[test]
    fn lines_contain_the_fields_of_their_request() {
        let line =
            captured(|| tracing::info_span!("request", id = 7, path = "/t").in_scope(|| tracing::info!("answered")));
        assert!(line.ends_with(" | answered id=7 path=\"/t\"\n"), "{line}");
    }

    #[test]
    fn control_characters_are_escaped() {
        let line = captured(|| tracing::warn!("user '{}'", "x\nERR | forged\u{1b}[2J"));
        assert_eq!(line.lines().count(), 1);
        assert!(line.ends_with("user 'x\\nERR | forged\\u{1b}[2J'\n"), "{line}");
    }

    #[test]
    fn levels() {
        let none = RequestLines::default();
        assert!(filter(Level::DEBUG, none).to_string().contains("sqlhttp_server=debug"));
        assert!(matches!(init(LogFormat::Text, "loud", none), Err(LoggingError::Level(_))));
    }

    /// Returns what is logged at this level: the span of a request, the line about a request, and a line about slow
    /// SQL.
    fn written(level: Level, all: bool, slow: bool) -> (bool, bool, bool) {
        let filter = filter(level, RequestLines { all, slow });
        let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::sink).finish();
        tracing::subscriber::with_default(subscriber, || {
            (
                !tracing::info_span!(target: REQUEST_SPAN, "request").is_disabled(),
                tracing::enabled!(target: REQUEST_LOG, Level::INFO),
                tracing::enabled!(target: SLOW_LOG, Level::WARN),
            )
        })
    }

    #[test]
    fn lines_about_requests_are_independent_of_the_level() {
        assert_eq!(written(Level::WARN, false, false), (false, false, true));
        assert_eq!(written(Level::WARN, true, false), (true, true, true));
        assert_eq!(written(Level::ERROR, true, true), (true, true, true));
        assert_eq!(written(Level::WARN, false, true), (true, false, true));
        assert_eq!(written(Level::INFO, false, false), (true, true, true));
    }

    #[test]
    fn texts_are_truncated_between_characters() {
        assert_eq!(shortened("abc", 5), "abc");
        assert_eq!(shortened("aéé", 4), "aé");
    }
}
