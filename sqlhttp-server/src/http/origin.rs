//! Protection against cross-site request forgery and DNS rebinding, where a page of another site makes a browser send
//! requests to this server. All functions are pure.
//!
//! Before most requests from a page to another origin, a browser sends a CORS preflight. It sends the request itself
//! only if the CORS settings of the server allow the page's origin. Some requests are sent without a preflight: GET,
//! HEAD, and POST without a content type or with the content type of a form. The page cannot read the response to such
//! a request, but the server executes it. So the programs refuse such a request if it would have an effect, unless it
//! comes from the server's own origin or from an origin that the CORS settings allow.
//!
//! Clients other than browsers usually send neither `Sec-Fetch-Site` nor `Origin`. A request without both headers is
//! never refused.

use hyper::Method;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::http::request::Parts;

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// The content types that a browser can send for an HTML form.
const FORM_TYPES: [&str; 3] = ["application/x-www-form-urlencoded", "multipart/form-data", "text/plain"];

/// The error message for a request that is refused because of [`is_cross_site`].
pub(crate) const CROSS_SITE: &str =
    "cross-site request refused: send it with Content-Type: application/json, or allow its origin";

/// The error message for a request that [`AllowedHosts`] refuses.
pub(crate) const HOST_NOT_ALLOWED: &str = "the Host of this request is not among those of -http-allowed-hosts";

/// Returns whether a web page can have sent this request although its origin is neither the server's own nor allowed by
/// the CORS settings. That is possible only for requests that a browser sends without a CORS preflight. `allows`
/// returns whether the CORS settings allow a value of `Origin`; its argument is `None` if the request has no such
/// header.
pub(crate) fn is_cross_site(request: &Parts, allows: impl FnOnce(Option<&HeaderValue>) -> bool) -> bool {
    needs_no_preflight(request) && has_foreign_origin(request) && !allows(request.headers.get(header::ORIGIN))
}

/// Returns whether a browser would send this request to another origin without a CORS preflight.
fn needs_no_preflight(request: &Parts) -> bool {
    if !matches!(request.method, Method::GET | Method::HEAD | Method::POST) {
        return false;
    }
    let Some(value) = request.headers.get(header::CONTENT_TYPE) else {
        return true;
    };
    let value = value.as_bytes();
    // Fast path: most clients send exactly this value.
    if value == b"application/json" {
        return false;
    }
    let essence = value.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
    essence.is_empty() || FORM_TYPES.iter().any(|known| essence.eq_ignore_ascii_case(known.as_bytes()))
}

/// Returns whether the headers show that a page of another origin has sent this request.
///
/// Browsers send `Sec-Fetch-Site` over HTTPS and to localhost, and `Origin` with every POST. Of the values of
/// `Sec-Fetch-Site`, only `same-origin` means a page of this server, because `same-site` includes all ports and
/// subdomains of a host. `none` means that the user has started the request, for example from the address bar.
fn has_foreign_origin(request: &Parts) -> bool {
    if let Some(site) = request.headers.get(SEC_FETCH_SITE) {
        return ![&b"same-origin"[..], b"none"].iter().any(|own| site.as_bytes().eq_ignore_ascii_case(own));
    }
    request.headers.get(header::ORIGIN).is_some_and(|origin| !is_same_origin(origin, request))
}

/// Returns whether an origin has the same host and port as the request's target. The schemes are not compared, because
/// a proxy may terminate TLS.
fn is_same_origin(origin: &HeaderValue, request: &Parts) -> bool {
    // The origin `null` has no scheme.
    let Some((scheme, host)) = origin.to_str().ok().and_then(|origin| origin.split_once("://")) else {
        return false;
    };
    let default_port = match scheme {
        "http" => ":80",
        "https" => ":443",
        _ => "",
    };
    let bare = |host: &str| host.strip_suffix(default_port).unwrap_or(host).to_ascii_lowercase();
    let origin = bare(host);
    hosts(request).any(|host| bare(host) == origin)
}

/// Returns the host names under which the client addresses this server: the host of the request, and the first host in
/// `X-Forwarded-Host`. (A page cannot send `X-Forwarded-Host` without a preflight.)
fn hosts(request: &Parts) -> impl Iterator<Item = &str> {
    let forwarded = text(&request.headers, X_FORWARDED_HOST).and_then(|hosts| hosts.split(',').next());
    host(request).into_iter().chain(forwarded.map(str::trim))
}

/// Returns the host of a request: the authority in the URI (`:authority` in HTTP/2) if there is one, otherwise the
/// value of `Host`.
fn host(request: &Parts) -> Option<&str> {
    request.uri.authority().map(|authority| authority.as_str()).or_else(|| text(&request.headers, header::HOST))
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

/// The hosts that requests may name. A request that names another host is refused. This prevents DNS rebinding: a
/// foreign domain can resolve to the address of this server, and without this check a page of that domain would count
/// as a page of the same origin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AllowedHosts(Vec<String>);

impl AllowedHosts {
    /// Creates the set of allowed hosts. Each host may have a port. A host without a port is allowed with every port.
    /// Returns `None` if `hosts` is empty, which allows every host.
    pub(crate) fn new(hosts: &[String]) -> Option<AllowedHosts> {
        (!hosts.is_empty()).then(|| AllowedHosts(hosts.iter().map(|host| normalized(host)).collect()))
    }

    /// Returns whether the host of a request is allowed. A request that names no host is allowed, because every request
    /// of a browser names one.
    pub(crate) fn allow(&self, request: &Parts) -> bool {
        let Some(host) = host(request) else { return true };
        let host = normalized(host);
        self.0.iter().any(|allowed| *allowed == host || allowed == without_port(&host))
    }
}

fn normalized(host: &str) -> String {
    host.trim().to_ascii_lowercase()
}

/// Returns a host without its port and without a trailing dot. An IPv6 address keeps its brackets.
fn without_port(host: &str) -> &str {
    let host = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) && !name.ends_with(':') => name,
        _ => host,
    };
    host.strip_suffix('.').unwrap_or(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(method: &str, headers: &[(&str, &str)]) -> Parts {
        let builder = hyper::Request::builder().method(method).uri("/");
        let builder = headers.iter().fold(builder, |builder, (name, value)| builder.header(*name, *value));
        builder.body(()).unwrap().into_parts().0
    }

    fn cross_site(method: &str, headers: &[(&str, &str)]) -> bool {
        is_cross_site(&request(method, headers), |_| false)
    }

    #[test]
    fn requests_without_origin_headers_are_not_cross_site() {
        assert!(!cross_site("POST", &[("host", "a")]));
        assert!(!cross_site("POST", &[("host", "a"), ("content-type", "text/plain")]));
        assert!(!cross_site("GET", &[("host", "a"), ("sec-fetch-site", "none")]));
    }

    #[test]
    fn requests_that_a_form_of_another_origin_can_send_are_cross_site() {
        let types =
            ["application/x-www-form-urlencoded", "TEXT/plain; charset=utf-8", "multipart/form-data;boundary=x", ""];
        for value in types {
            for from in [
                ("origin", "http://evil"),
                ("origin", "null"),
                ("sec-fetch-site", "cross-site"),
                ("sec-fetch-site", "same-site"),
            ] {
                assert!(cross_site("POST", &[("host", "a"), ("content-type", value), from]), "{value} {from:?}");
                assert!(cross_site("GET", &[("host", "a"), from]), "{from:?}");
            }
        }
        for value in ["application/json", "application/octet-stream", "text/plain,application/json"] {
            assert!(
                !cross_site("POST", &[("host", "a"), ("content-type", value), ("origin", "http://evil")]),
                "{value}"
            );
        }
        assert!(!cross_site("DELETE", &[("host", "a"), ("origin", "http://evil")]));
    }

    #[test]
    fn origins_are_compared_with_the_host() {
        let from = |origin: &str, host: &str| cross_site("POST", &[("host", host), ("origin", origin)]);
        for (origin, host) in [
            ("http://localhost:4001", "localhost:4001"),
            ("http://DB.example", "db.example:80"),
            ("https://db.example:443", "db.example"),
            ("https://db.example", "DB.example"),
            ("http://[::1]:4001", "[::1]:4001"),
        ] {
            assert!(!from(origin, host), "{origin} {host}");
        }
        for (origin, host) in [
            ("http://localhost:3000", "localhost:4001"),
            ("http://db.example.evil", "db.example"),
            ("http://db.example:8080", "db.example:80"),
            ("null", "null"),
        ] {
            assert!(from(origin, host), "{origin} {host}");
        }
        let proxied =
            [("host", "10.0.0.1:4001"), ("x-forwarded-host", "db.example, proxy"), ("origin", "https://db.example")];
        assert!(!cross_site("POST", &proxied));
        // `Sec-Fetch-Site` takes precedence over the comparison of hosts.
        assert!(!cross_site("POST", &[("host", "a"), ("origin", "null"), ("sec-fetch-site", "same-origin")]));
        assert!(cross_site("POST", &[("host", "a"), ("origin", "http://a"), ("sec-fetch-site", "cross-site")]));
    }

    #[test]
    fn origins_that_cors_allows_are_not_cross_site() {
        let request = request("POST", &[("host", "a"), ("origin", "http://b")]);
        assert!(!is_cross_site(&request, |origin| origin.unwrap() == "http://b"));
    }

    #[test]
    fn hosts_are_compared_with_the_allowed_ones() {
        let list = ["db.example", "LOCALHOST:4001", "[::1]"].map(str::to_owned);
        let hosts = AllowedHosts::new(&list).unwrap();
        let allows = |host: &str| hosts.allow(&request("GET", &[("host", host)]));
        for host in ["db.example", "DB.example:80", "db.example.", "localhost:4001", "[::1]", "[::1]:4001"] {
            assert!(allows(host), "{host}");
        }
        for host in ["evil", "localhost", "localhost:4002", "db.example.evil", "", "::1", "[::2]"] {
            assert!(!allows(host), "{host}");
        }
        assert!(hosts.allow(&request("GET", &[])));
        assert_eq!(AllowedHosts::new(&[]), None);
    }
}
