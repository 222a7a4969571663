//! Requests that a page of another site makes a browser send (cross-site request forgery, DNS rebinding). Pure.
//!
//! Before most requests of a page to another site a browser asks the server with a preflight, which only CORS settings
//! answer in the affirmative. Some requests it sends without asking: GET and HEAD, and POST with no content type or with
//! one that a form can have. The page cannot read the answer, but the request is carried out. Such a request is refused
//! where it would have an effect, unless it comes from this site or from one that the CORS settings allow.
//!
//! Programs send neither `Sec-Fetch-Site` nor `Origin`, so they are never refused.

use hyper::Method;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::http::request::Parts;

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// The content types that a form can have.
const FORM_TYPES: [&str; 3] = ["application/x-www-form-urlencoded", "multipart/form-data", "text/plain"];

/// The text of a refusal of [`is_cross_site`].
pub(crate) const CROSS_SITE: &str =
    "cross-site request refused: send it with Content-Type: application/json, or allow its origin";

/// The text of a refusal of [`AllowedHosts`].
pub(crate) const HOST_NOT_ALLOWED: &str = "the Host of this request is not among those of -http-allowed-hosts";

/// Whether a page of another site may have sent this request without a preflight. `allows` decides about the value of
/// `Origin`; a request may come without one.
pub(crate) fn is_cross_site(request: &Parts, allows: impl FnOnce(Option<&HeaderValue>) -> bool) -> bool {
    needs_no_preflight(request) && has_foreign_origin(request) && !allows(request.headers.get(header::ORIGIN))
}

fn needs_no_preflight(request: &Parts) -> bool {
    if !matches!(request.method, Method::GET | Method::HEAD | Method::POST) {
        return false;
    }
    let Some(value) = request.headers.get(header::CONTENT_TYPE) else {
        return true;
    };
    let value = value.as_bytes();
    // Most programs send this, and it takes one comparison.
    if value == b"application/json" {
        return false;
    }
    let essence = value.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
    essence.is_empty() || FORM_TYPES.iter().any(|known| essence.eq_ignore_ascii_case(known.as_bytes()))
}

/// Browsers send `Sec-Fetch-Site` over HTTPS and to the machine they run on, and `Origin` with every POST. A site has all ports
/// of a host and all its subdomains (`same-site`); only `same-origin` means this server. `none` is a request of the user.
fn has_foreign_origin(request: &Parts) -> bool {
    if let Some(site) = request.headers.get(SEC_FETCH_SITE) {
        return ![&b"same-origin"[..], b"none"].iter().any(|own| site.as_bytes().eq_ignore_ascii_case(own));
    }
    request.headers.get(header::ORIGIN).is_some_and(|origin| !is_same_origin(origin, request))
}

/// Whether an origin is the one that the request was sent to. The scheme is not compared: a proxy may have taken HTTPS off.
fn is_same_origin(origin: &HeaderValue, request: &Parts) -> bool {
    // `null` has no scheme.
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

/// The names under which the client knows this server. (A page cannot send `X-Forwarded-Host` without a preflight.)
fn hosts(request: &Parts) -> impl Iterator<Item = &str> {
    let forwarded = text(&request.headers, X_FORWARDED_HOST).and_then(|hosts| hosts.split(',').next());
    host(request).into_iter().chain(forwarded.map(str::trim))
}

/// The value of `Host`, or its counterpart in HTTP/2.
fn host(request: &Parts) -> Option<&str> {
    request.uri.authority().map(|authority| authority.as_str()).or_else(|| text(&request.headers, header::HOST))
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

/// The hosts that requests may name. With another one, a page whose name was made to lead here (DNS rebinding) counts as
/// a page of this site.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AllowedHosts(Vec<String>);

impl AllowedHosts {
    /// Hosts with or without ports; without one, every port is allowed. `None` if there are none: then every host is.
    pub(crate) fn new(hosts: &[String]) -> Option<AllowedHosts> {
        (!hosts.is_empty()).then(|| AllowedHosts(hosts.iter().map(|host| normalized(host)).collect()))
    }

    /// Whether a request may be answered. One that names no host comes from no browser.
    pub(crate) fn allow(&self, request: &Parts) -> bool {
        let Some(host) = host(request) else { return true };
        let host = normalized(host);
        self.0.iter().any(|allowed| *allowed == host || allowed == without_port(&host))
    }
}

fn normalized(host: &str) -> String {
    host.trim().to_ascii_lowercase()
}

/// The host alone; an IPv6 address keeps its brackets.
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
    fn requests_of_programs_pass() {
        assert!(!cross_site("POST", &[("host", "a")]));
        assert!(!cross_site("POST", &[("host", "a"), ("content-type", "text/plain")]));
        assert!(!cross_site("GET", &[("host", "a"), ("sec-fetch-site", "none")]));
    }

    #[test]
    fn what_a_form_can_send_is_refused_from_elsewhere() {
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
    fn origins_of_this_site() {
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
        // The browser's own judgement counts more than a comparison of names.
        assert!(!cross_site("POST", &[("host", "a"), ("origin", "null"), ("sec-fetch-site", "same-origin")]));
        assert!(cross_site("POST", &[("host", "a"), ("origin", "http://a"), ("sec-fetch-site", "cross-site")]));
    }

    #[test]
    fn cors_settings_are_asked() {
        let request = request("POST", &[("host", "a"), ("origin", "http://b")]);
        assert!(!is_cross_site(&request, |origin| origin.unwrap() == "http://b"));
    }

    #[test]
    fn hosts_that_are_allowed() {
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
