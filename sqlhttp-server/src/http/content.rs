//! What the headers of a request say about its body and about the answer it can take. Pure.

use hyper::header::{self, HeaderMap};

/// How a request body is to be understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BodyFormat {
    /// JSON.
    Json,
    /// A form; also what curl says of any body unless it is told better.
    Form,
    /// Nothing that a transaction can be sent as.
    Unsupported,
}

/// A way to compress a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ContentCoding {
    /// gzip (RFC 1952).
    Gzip,
    /// `deflate` in HTTP's sense: zlib (RFC 1950).
    Deflate,
    /// Brotli (RFC 7932).
    Brotli,
}

impl BodyFormat {
    /// What the `Content-Type` header says. A body without one is taken for JSON.
    pub(crate) fn of(headers: &HeaderMap) -> BodyFormat {
        let Some(value) = headers.get(header::CONTENT_TYPE) else {
            return BodyFormat::Json;
        };
        let value = value.as_bytes();
        // Most programs send this, and it takes one comparison.
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
    /// How the request's body is compressed. One that this server does not know is taken for none, as in the original.
    pub(crate) fn of(headers: &HeaderMap) -> Option<ContentCoding> {
        ContentCoding::named(headers.get(header::CONTENT_ENCODING)?.to_str().ok()?.trim())
    }

    /// How the answer may be compressed: of what the client rates highest, what costs the server least.
    pub(crate) fn accepted(headers: &HeaderMap) -> Option<ContentCoding> {
        let accepted = headers.get(header::ACCEPT_ENCODING)?.to_str().ok()?;
        let offers = accepted.split(',').filter_map(AcceptedCoding::parse);
        let best = offers.filter(|offer| offer.weight > 0).min_by_key(|offer| (1000 - offer.weight, offer.rank()))?;
        best.coding
    }

    /// Its name in `Content-Encoding`.
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

/// One element of `Accept-Encoding`.
struct AcceptedCoding {
    /// `None` is `identity`.
    coding: Option<ContentCoding>,
    /// The quality value, in thousandths.
    weight: u16,
}

impl AcceptedCoding {
    /// `None` for a coding that this server does not have, `*` among them.
    fn parse(element: &str) -> Option<AcceptedCoding> {
        let mut parts = element.split(';');
        let name = parts.next()?.trim();
        let coding = if name.eq_ignore_ascii_case("identity") { None } else { Some(ContentCoding::named(name)?) };
        let weight = parts.find_map(|parameter| parameter.trim().strip_prefix("q=")?.trim().parse::<f32>().ok());
        Some(AcceptedCoding { coding, weight: (weight.unwrap_or(1.0).clamp(0.0, 1.0) * 1000.0) as u16 })
    }

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
    fn kinds() {
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
