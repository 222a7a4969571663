//! Functions that read from the headers of a request the format of its body, the compression of its body, and the
//! compression that the client accepts for the response. All of them are pure.

use hyper::header::{self, HeaderMap};

/// The format of a request body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BodyFormat {
    /// The body is JSON.
    Json,
    /// The body is an HTML form. curl sends this content type with any body unless `-H` sets another one.
    Form,
    /// The body has any other format. The server cannot read a transaction from it.
    Unsupported,
}

/// A content coding of HTTP (RFC 9110, section 8.4.1): a compression format of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ContentCoding {
    /// The coding `gzip` (RFC 1952).
    Gzip,
    /// The coding `deflate`, which in HTTP is the zlib format (RFC 1950).
    Deflate,
    /// The coding `br`: Brotli (RFC 7932).
    Brotli,
}

impl BodyFormat {
    /// Returns the format that the header `Content-Type` states. A request without that header counts as JSON.
    pub(crate) fn of(headers: &HeaderMap) -> BodyFormat {
        let Some(value) = headers.get(header::CONTENT_TYPE) else {
            return BodyFormat::Json;
        };
        let value = value.as_bytes();
        // Fast path: most clients send exactly this value.
        if value == b"application/json" {
            return BodyFormat::Json;
        }
        let end = value.iter().position(|byte| *byte == b';').unwrap_or(value.len());
        let media_type = value[..end].trim_ascii();
        let ends_in_json =
            media_type.len().checked_sub(4).is_some_and(|at| media_type[at..].eq_ignore_ascii_case(b"json"));
        if media_type.is_empty() || ends_in_json {
            BodyFormat::Json
        } else if media_type.eq_ignore_ascii_case(b"application/x-www-form-urlencoded") {
            BodyFormat::Form
        } else {
            BodyFormat::Unsupported
        }
    }
}

impl ContentCoding {
    /// Returns the content coding of a request's body. `None` if the body is not compressed or the coding is unknown.
    /// As in ws4sqlite, a body with an unknown coding is read as if it were not compressed.
    pub(crate) fn of(headers: &HeaderMap) -> Option<ContentCoding> {
        ContentCoding::named(headers.get(header::CONTENT_ENCODING)?.to_str().ok()?.trim())
    }

    /// Returns the content coding for the response: of the codings with the highest quality value in `Accept-Encoding`,
    /// the one that costs the server least. `None` if the response should not be compressed.
    pub(crate) fn accepted(headers: &HeaderMap) -> Option<ContentCoding> {
        let accepted = headers.get(header::ACCEPT_ENCODING)?.to_str().ok()?;
        let offers = accepted.split(',').filter_map(AcceptedCoding::parse);
        let best = offers.filter(|offer| offer.weight > 0).min_by_key(|offer| (1000 - offer.weight, offer.rank()))?;
        best.coding
    }

    /// The name of the content coding, as `Content-Encoding` spells it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            ContentCoding::Gzip => "gzip",
            ContentCoding::Deflate => "deflate",
            ContentCoding::Brotli => "br",
        }
    }

    fn named(name: &str) -> Option<ContentCoding> {
        let known = [
            ("gzip", ContentCoding::Gzip),
            ("x-gzip", ContentCoding::Gzip),
            ("br", ContentCoding::Brotli),
            ("deflate", ContentCoding::Deflate),
        ];
        known.into_iter().find(|(known, _)| name.eq_ignore_ascii_case(known)).map(|(_, coding)| coding)
    }
}

/// One element of the header `Accept-Encoding`.
struct AcceptedCoding {
    /// The content coding; `None` for `identity`, which means no compression.
    coding: Option<ContentCoding>,
    /// The quality value of the element, in thousandths.
    weight: u16,
}

impl AcceptedCoding {
    /// Parses one element of `Accept-Encoding`. Returns `None` for `*` and for a content coding that this server does
    /// not support.
    fn parse(element: &str) -> Option<AcceptedCoding> {
        let mut parts = element.split(';');
        let name = parts.next()?.trim();
        let coding = if name.eq_ignore_ascii_case("identity") { None } else { Some(ContentCoding::named(name)?) };
        let weight = parts.find_map(|parameter| parameter.trim().strip_prefix("q=")?.trim().parse::<f32>().ok());
        Some(AcceptedCoding { coding, weight: (weight.unwrap_or(1.0).clamp(0.0, 1.0) * 1000.0) as u16 })
    }

    /// The order of preference among content codings with the same quality value: the one with the lowest rank costs
    /// the server least.
    fn rank(&self) -> u8 {
        match self.coding {
            Some(ContentCoding::Gzip) => 0,
            Some(ContentCoding::Brotli) => 1,
            Some(ContentCoding::Deflate) => 2,
            None => 3,
        }
    }
}

#[cfg(test)]
mod tests {
    use hyper::header::{HeaderName, HeaderValue};

    use super::*;

    fn with(name: HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_str(value).unwrap())])
    }

    #[test]
    fn body_formats() {
        let json = [
            "application/json",
            "APPLICATION/JSON; charset=utf-8",
            "text/json",
            "application/vnd.api+json",
            "xjson",
            "",
        ];
        for value in json {
            assert_eq!(BodyFormat::of(&with(header::CONTENT_TYPE, value)), BodyFormat::Json, "{value}");
        }
        assert_eq!(BodyFormat::of(&HeaderMap::new()), BodyFormat::Json);
        for value in ["application/x-www-form-urlencoded", "Application/X-WWW-Form-Urlencoded;charset=utf-8"] {
            assert_eq!(BodyFormat::of(&with(header::CONTENT_TYPE, value)), BodyFormat::Form, "{value}");
        }
        for value in
            ["text/plain", "text/html", "multipart/form-data; boundary=x", "text/xml", "application/jsonx", "son"]
        {
            assert_eq!(BodyFormat::of(&with(header::CONTENT_TYPE, value)), BodyFormat::Unsupported, "{value}");
        }
    }

    #[test]
    fn codings_of_requests() {
        let of = |value: &str| ContentCoding::of(&with(header::CONTENT_ENCODING, value));
        assert_eq!(of("gzip"), Some(ContentCoding::Gzip));
        assert_eq!(of("GZIP"), Some(ContentCoding::Gzip));
        assert_eq!(of("deflate"), Some(ContentCoding::Deflate));
        assert_eq!(of(" br "), Some(ContentCoding::Brotli));
        assert_eq!(of("identity"), None);
        assert_eq!(of("zstd"), None);
    }

    #[test]
    fn accepted_codings() {
        let accepted = |value: &str| ContentCoding::accepted(&with(header::ACCEPT_ENCODING, value));
        assert_eq!(accepted("gzip, deflate, br"), Some(ContentCoding::Gzip));
        assert_eq!(accepted("br, deflate"), Some(ContentCoding::Brotli));
        assert_eq!(accepted("deflate"), Some(ContentCoding::Deflate));
        assert_eq!(accepted("gzip;q=0.5, br;q=1.0"), Some(ContentCoding::Brotli));
        assert_eq!(accepted("gzip;q=0"), None);
        assert_eq!(accepted("identity, gzip;q=0.5"), None);
        assert_eq!(accepted("*"), None);
        assert_eq!(accepted("zstd"), None);
        assert_eq!(accepted("gzip; q = x"), Some(ContentCoding::Gzip));
        assert_eq!(ContentCoding::accepted(&HeaderMap::new()), None);
    }
}
