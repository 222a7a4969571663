//! The limits that apply to connections and requests.

use std::time::Duration;

/// The limits that apply to connections and requests. `None` in a field of type `Option<Duration>` means no time limit.
#[derive(Debug, Clone)]
pub(crate) struct Limits {
    /// The limits of each request body.
    pub(crate) body: BodyLimits,
    /// The memory that the bodies of all requests may use together, in bytes. If this is lower than the maximum length
    /// of one body, that length is used instead.
    pub(crate) all_bodies_bytes_max: u64,
    /// The maximum length of the request line and the headers together, in bytes.
    pub(crate) header_bytes_max: usize,
    /// The maximum time that a client may take to send the headers of a request. It is also the maximum time that a
    /// connection may be idle. After that, the connection is closed.
    pub(crate) header_timeout: Option<Duration>,
    /// The maximum time that a new connection may take to begin its first request. After that, the connection is
    /// closed.
    pub(crate) first_request_timeout: Option<Duration>,
    /// The maximum number of connections that may be open at the same time.
    pub(crate) connections_max: usize,
    /// The time that running requests may continue after the stop signal. Then they are cancelled.
    pub(crate) shutdown_timeout: Duration,
    /// The names of the flags that set these limits.
    pub(crate) flags: &'static FlagNames,
}

/// The limits of each request body.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BodyLimits {
    /// The maximum length of a request body, in bytes. It applies both before and after decompression.
    pub(crate) bytes_max: u64,
    /// The maximum time that the client may take to send the body; `None` for no limit.
    pub(crate) timeout: Option<Duration>,
    /// The names of the flags that set these limits, for error messages.
    pub(crate) flags: &'static FlagNames,
}

/// The names of the flags of a program that set the limits, for error messages and log lines.
#[derive(Debug)]
pub(crate) struct FlagNames {
    pub(crate) connections: &'static str,
    pub(crate) body: &'static str,
    pub(crate) bodies: &'static str,
    pub(crate) body_timeout: &'static str,
}

/// Converts a configured duration to a limit: zero means no limit (`None`).
pub(crate) fn unless_zero(duration: Duration) -> Option<Duration> {
    Some(duration).filter(|duration| !duration.is_zero())
}
