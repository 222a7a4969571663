//! The setting `corsOrigin` of a database: the origins whose pages may read responses.
//!
//! As in ws4sqlite, a request from an origin that is not allowed is executed like any other. But its response lacks the
//! header that allows the page to read it, so the browser does not pass it to the page. CORS is not access control.
//! (Cross-site requests that a browser sends without a preflight are refused by `http::origin`.)

use hyper::header::{self, HeaderMap, HeaderValue};

/// The origins that the setting `corsOrigin` allows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CorsPolicy {
    any: bool,
    origins: Vec<OriginPattern>,
}

/// An allowed origin in the setting `corsOrigin`, in lower case.
#[derive(Debug, Clone, PartialEq, Eq)]
enum OriginPattern {
    /// Exactly this origin is allowed.
    Exact(String),
    /// All subdomains of a domain are allowed. `scheme` includes `://`, and `domain` begins with a dot.
    Subdomain { scheme: String, domain: String },
}

/// The reason why a value of the setting `corsOrigin` is invalid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CorsError {
    /// An element of the list is not of the form `scheme://host[:port]`.
    #[error("corsOrigin: '{0}' is not an origin; write it like 'https://example.com'")]
    NotAnOrigin(String),
    /// `*` is combined with other origins.
    #[error("corsOrigin: '*' allows every origin and cannot be combined with others")]
    AnyAndOthers,
}

impl CorsPolicy {
    /// Parses a value of the setting `corsOrigin`: either `*`, or one or more origins, separated by commas. The first
    /// label of a host may be `*`.
    pub(crate) fn parse(value: &str) -> Result<CorsPolicy, CorsError> {
        let items: Vec<&str> = value.split(',').map(str::trim).collect();
        if items == ["*"] {
            return Ok(CorsPolicy { any: true, origins: Vec::new() });
        }
        if items.contains(&"*") {
            return Err(CorsError::AnyAndOthers);
        }
        let origins = items.into_iter().map(OriginPattern::parse).collect::<Result<_, _>>()?;
        Ok(CorsPolicy { any: false, origins })
    }

    /// Adds the CORS headers to the response to a request from this origin.
    pub(crate) fn add_headers(&self, origin: Option<&HeaderValue>, headers: &mut HeaderMap) {
        if !self.any {
            headers.append(header::VARY, HeaderValue::from_static("Origin"));
        }
        if let Some(allowed) = origin.and_then(|origin| self.allowed(origin)) {
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, allowed);
        }
    }

    /// Adds the CORS headers to the response to a preflight request.
    pub(crate) fn add_preflight_headers(&self, request: &HeaderMap, headers: &mut HeaderMap) {
        let origin = request.get(header::ORIGIN);
        if let Some(allowed) = origin.and_then(|origin| self.allowed(origin)) {
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, allowed);
        }
        headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("POST,OPTIONS"));
        if let Some(wanted) = request.get(header::ACCESS_CONTROL_REQUEST_HEADERS) {
            headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, wanted.clone());
        }
        let vary = "Access-Control-Request-Method, Access-Control-Request-Headers, Origin";
        headers.insert(header::VARY, HeaderValue::from_static(vary));
    }

    /// Returns whether pages of this origin are allowed. A request without an origin is allowed only by `*`.
    pub(crate) fn allows(&self, origin: Option<&HeaderValue>) -> bool {
        self.any || origin.is_some_and(|origin| self.allowed(origin).is_some())
    }

    /// Returns the value of `Access-Control-Allow-Origin` in the response to this origin; `None` if the origin is not
    /// allowed.
    fn allowed(&self, origin: &HeaderValue) -> Option<HeaderValue> {
        if self.any {
            return Some(HeaderValue::from_static("*"));
        }
        let origin = origin.to_str().ok()?.to_ascii_lowercase();
        let known = self.origins.iter().any(|pattern| pattern.matches(&origin));
        known.then(|| HeaderValue::from_str(&origin).ok()).flatten()
    }
}

/// Returns whether an OPTIONS request is a CORS preflight, which a browser sends before a request to another origin.
pub(crate) fn is_preflight(headers: &HeaderMap) -> bool {
    headers.contains_key(header::ORIGIN) && headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
}

impl OriginPattern {
    fn parse(item: &str) -> Result<OriginPattern, CorsError> {
        let wrong = || CorsError::NotAnOrigin(item.to_owned());
        let origin = item.strip_suffix('/').unwrap_or(item).to_ascii_lowercase();
        let (scheme, host) = origin.split_once("://").ok_or_else(wrong)?;
        let domain = host.strip_prefix("*.");
        if !is_scheme(scheme) || !is_host(domain.unwrap_or(host)) {
            return Err(wrong());
        }
        Ok(match domain {
            Some(domain) => OriginPattern::Subdomain { scheme: format!("{scheme}://"), domain: format!(".{domain}") },
            None => OriginPattern::Exact(origin),
        })
    }

    fn matches(&self, origin: &str) -> bool {
        match self {
            OriginPattern::Exact(allowed) => allowed == origin,
            OriginPattern::Subdomain { scheme, domain } => {
                let between = origin.strip_prefix(scheme.as_str()).and_then(|rest| rest.strip_suffix(domain.as_str()));
                between.is_some_and(|label| !label.is_empty() && is_host(label) && !label.contains(':'))
            }
        }
    }
}

fn is_scheme(scheme: &str) -> bool {
    scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
}

/// Returns whether a string can be a host with an optional port. The check is incomplete, but harmless: an invalid host
/// that passes it never equals an origin that a browser sends.
fn is_host(host: &str) -> bool {
    !host.is_empty() && host.chars().all(|c| c.is_ascii_alphanumeric() || "-._:[]".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(policy: &str, origin: &str) -> Option<String> {
        let policy = CorsPolicy::parse(policy).unwrap();
        let origin = HeaderValue::from_str(origin).unwrap();
        policy.allowed(&origin).map(|value| value.to_str().unwrap().to_owned())
    }

    #[test]
    fn origins() {
        assert_eq!(allowed("*", "https://a.com").as_deref(), Some("*"));
        assert_eq!(allowed("https://a.com", "https://a.com").as_deref(), Some("https://a.com"));
        assert_eq!(allowed("https://A.com/", "HTTPS://a.COM").as_deref(), Some("https://a.com"));
        assert_eq!(allowed("https://a.com", "http://a.com"), None);
        assert_eq!(allowed("https://a.com", "https://a.com.evil.com"), None);
        assert_eq!(
            allowed("https://a.com, http://b.com:8080", "http://b.com:8080").as_deref(),
            Some("http://b.com:8080")
        );
        assert_eq!(allowed("https://a.com", "null"), None);
        assert!(CorsPolicy::parse("*").unwrap().allows(None));
        assert!(!CorsPolicy::parse("https://a.com").unwrap().allows(None));
    }

    #[test]
    fn subdomains() {
        let policy = "https://*.b.com";
        assert!(allowed(policy, "https://x.b.com").is_some());
        assert!(allowed(policy, "https://x.y.b.com").is_some());
        for origin in
            ["https://b.com", "https://.b.com", "http://x.b.com", "https://xb.com", "https://evil.com/x.b.com"]
        {
            assert_eq!(allowed(policy, origin), None, "{origin}");
        }
        assert_eq!(allowed(policy, "https://evil.com:1.b.com"), None);
    }

    #[test]
    fn invalid_values() {
        for value in
            ["a.com", "", "https://", "://a.com", "https://a.com,", "https://a.com/path", "https://*", "https://a b"]
        {
            assert!(matches!(CorsPolicy::parse(value), Err(CorsError::NotAnOrigin(_))), "{value}");
        }
        assert_eq!(CorsPolicy::parse("*,https://a.com"), Err(CorsError::AnyAndOthers));
    }

    #[test]
    fn vary_is_set_unless_every_origin_is_allowed() {
        let mut headers = HeaderMap::new();
        CorsPolicy::parse("https://a.com").unwrap().add_headers(None, &mut headers);
        assert_eq!(headers.get(header::VARY).unwrap(), "Origin");
        let mut headers = HeaderMap::new();
        CorsPolicy::parse("*").unwrap().add_headers(None, &mut headers);
        assert!(headers.is_empty());
    }
}
