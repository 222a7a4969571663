//! The id of a request, which is written to log lines and to the header `X-Request-Id`.

use std::fmt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use hyper::header::{HeaderMap, HeaderName, HeaderValue};

/// The header that contains the id of a request, both in requests and in responses.
pub(crate) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The maximum length of a request id that is accepted from a client, in bytes. If the id is longer, the server
/// generates another one.
const LEN_MAX: usize = 128;

/// The id of a request in log lines and in the header `X-Request-Id`.
#[derive(Debug, Clone)]
pub(crate) enum RequestId {
    /// The id that the client or a proxy has sent in `X-Request-Id`.
    FromClient(HeaderValue),
    /// The number that this process has assigned to the request, because the client has sent no acceptable id.
    Generated(u64),
}

impl RequestId {
    /// Returns the id that the client has sent if it is acceptable. Otherwise generates an id with the next number.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        match headers.get(X_REQUEST_ID) {
            Some(value) if is_acceptable(value.as_bytes()) => RequestId::FromClient(value.clone()),
            _ => {
                static NEXT: AtomicU64 = AtomicU64::new(1);
                RequestId::Generated(NEXT.fetch_add(1, Ordering::Relaxed))
            }
        }
    }

    /// Returns whether the client has sent this id, rather than this process having generated it.
    pub(crate) fn is_from_client(&self) -> bool {
        matches!(self, RequestId::FromClient(_))
    }

    /// Returns the id as the value of a header.
    pub(crate) fn header(&self) -> Option<HeaderValue> {
        match self {
            RequestId::FromClient(value) => Some(value.clone()),
            RequestId::Generated(_) => HeaderValue::try_from(self.to_string()).ok(),
        }
    }
}

/// Returns whether an id from a client can be written unchanged to log lines and to a header: it has only visible ASCII
/// characters, at least one, and at most `LEN_MAX`.
fn is_acceptable(value: &[u8]) -> bool {
    !value.is_empty() && value.len() <= LEN_MAX && value.iter().all(u8::is_ascii_graphic)
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RequestId::FromClient(value) => f.write_str(value.to_str().unwrap_or_default()),
            RequestId::Generated(number) => write!(f, "{:x}-{number:x}", process_start()),
        }
    }
}

/// Returns the time at which the process started, in seconds since the Unix epoch. It is part of each generated request
/// id, so that the ids of successive processes differ.
fn process_start() -> u64 {
    static START: OnceLock<u64> = OnceLock::new();
    *START.get_or_init(|| SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(value: &str) -> RequestId {
        RequestId::of(&HeaderMap::from_iter([(X_REQUEST_ID, HeaderValue::from_str(value).unwrap())]))
    }

    #[test]
    fn acceptable_ids_of_clients_are_kept() {
        assert_eq!(of("abc-123").to_string(), "abc-123");
        assert!(of("abc-123").is_from_client());
    }

    #[test]
    fn other_ids_are_replaced() {
        for value in ["", "two words", "tab\there", &"x".repeat(LEN_MAX + 1)] {
            assert!(!of(value).is_from_client(), "{value}");
        }
        assert_ne!(RequestId::of(&HeaderMap::new()).to_string(), RequestId::of(&HeaderMap::new()).to_string());
        assert_eq!(of("").header().unwrap().as_bytes().iter().filter(|byte| **byte == b'-').count(), 1);
    }
}
