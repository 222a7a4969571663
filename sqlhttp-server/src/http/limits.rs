//! Limits of connections and requests.

use std::time::Duration;

/// Limits of connections and requests. `None` means that there is no time limit.
#[derive(Debug, Clone)]
pub(crate) struct Limits {
    /// The limits of one request body.
    pub(crate) body: BodyLimits,
    /// The memory for all request bodies together, in bytes. It is raised to the limit of one body if it is lower.
    pub(crate) all_bodies_bytes_max: u64,
    /// The maximum length of the request line and the headers together, in bytes.
    pub(crate) header_bytes_max: usize,
    /// The time that a client may take to send its headers. It is also the time that a connection may be idle.
    pub(crate) header_timeout: Option<Duration>,
    /// The time that a new connection may take to begin its first request.
    pub(crate) first_request_timeout: Option<Duration>,
    /// The number of connections that may be open at once.
    pub(crate) connections_max: usize,
    /// The time that running requests have to end after the stop signal.
    pub(crate) shutdown_timeout: Duration,
    /// The names of the flags that set these limits.
    pub(crate) flags: &'static FlagNames,
}

/// The limits of one request body.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BodyLimits {
    /// The maximum length, in bytes. It applies to the compressed body and to the decompressed body.
    pub(crate) bytes_max: u64,
    /// The time that the client may take to send the body.
    pub(crate) timeout: Option<Duration>,
    /// The names of the flags that set these limits.
    pub(crate) flags: &'static FlagNames,
}

/// The names of a program's flags, for error messages and log lines.
#[derive(Debug)]
pub(crate) struct FlagNames {
    pub(crate) connections: &'static str,
    pub(crate) body: &'static str,
    pub(crate) bodies: &'static str,
    pub(crate) body_timeout: &'static str,
}

/// Reads a duration of zero as "no limit".
pub(crate) fn unless_zero(duration: Duration) -> Option<Duration> {
    Some(duration).filter(|duration| !duration.is_zero())
}
