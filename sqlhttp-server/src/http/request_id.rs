//! The name of a request in log lines and for the client.

use std::fmt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use hyper::header::{HeaderMap, HeaderName, HeaderValue};

/// The header it travels in.
pub(crate) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// A longer one is not taken over from the client.
const LEN_MAX: usize = 128;

/// The name of a request.
#[derive(Debug, Clone)]
pub(crate) enum RequestId {
    /// As the client (or a proxy) named it.
    FromClient(HeaderValue),
    /// As we number them.
    Generated(u64),
}

impl RequestId {
    /// What the client says, if that is sane, or else the next number.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        match headers.get(X_REQUEST_ID) {
            Some(value) if is_acceptable(value.as_bytes()) => RequestId::FromClient(value.clone()),
            _ => {
                static NEXT: AtomicU64 = AtomicU64::new(1);
                RequestId::Generated(NEXT.fetch_add(1, Ordering::Relaxed))
            }
        }
    }

    /// Whether the client has chosen it.
    pub(crate) fn is_from_client(&self) -> bool {
        matches!(self, RequestId::FromClient(_))
    }

    /// As a header.
    pub(crate) fn header(&self) -> Option<HeaderValue> {
        match self {
            RequestId::FromClient(value) => Some(value.clone()),
            RequestId::Generated(_) => HeaderValue::try_from(self.to_string()).ok(),
        }
    }
}

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

/// Seconds; keeps the numbers of this process apart from those of the one before it.
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
    fn sane_ones_are_kept() {
        assert_eq!(of("abc-123").to_string(), "abc-123");
        assert!(of("abc-123").is_from_client());
    }

    #[test]
    fn others_are_replaced() {
        for value in ["", "two words", "tab\there", &"x".repeat(LEN_MAX + 1)] {
            assert!(!of(value).is_from_client(), "{value}");
        }
        assert_ne!(RequestId::of(&HeaderMap::new()).to_string(), RequestId::of(&HeaderMap::new()).to_string());
        assert_eq!(of("").header().unwrap().as_bytes().iter().filter(|byte| **byte == b'-').count(), 1);
    }
}
