//! The addresses of servers.

use std::fmt;
use std::str::FromStr;

/// The protocol of the connection to a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Scheme {
    /// HTTP without encryption.
    #[default]
    Http,
    /// HTTP over TLS.
    Https,
}

/// The address of a server. The text form is `scheme://host:port`; the scheme is `http` if it is left out.
///
/// ```
/// use sqlhttp_text::http::Host;
///
/// let host: Host = "localhost:4001".parse().unwrap();
/// assert_eq!(host.to_string(), "http://localhost:4001");
/// assert!("https://name/path".parse::<Host>().is_err());
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Host {
    scheme: Scheme,
    authority: String,
}

/// The error for a text that is not the address of a server.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{text}' is not the address of a server: {reason}")]
pub struct InvalidHost {
    /// The text.
    pub text: String,
    /// The reason why the text is invalid.
    pub reason: &'static str,
}

impl Host {
    /// The protocol of the connection.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// The name or IP address of the server and, if it was given, the port: `localhost:4001`, `[::1]:4001`.
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// Splits an absolute URL into the address of its server, and the path with the query string.
    ///
    /// # Errors
    /// The URL is not absolute, or does not contain the address of a server.
    pub fn split_url(url: &str) -> Result<(Host, &str), InvalidHost> {
        let invalid = |reason| InvalidHost { text: url.to_owned(), reason };
        let begin = url.find("://").ok_or_else(|| invalid("the URL is not absolute"))? + "://".len();
        let end = url[begin..].find(['/', '?', '#']).map_or(url.len(), |length| begin + length);
        let host = url[..end].parse()?;
        let target = url[end..].split('#').next().unwrap_or_default();
        Ok((host, if target.is_empty() { "/" } else { target }))
    }
}

impl Scheme {
    /// The name of the scheme in a URL.
    pub fn as_str(self) -> &'static str {
        match self {
            Scheme::Http => "http",
            Scheme::Https => "https",
        }
    }
}

impl FromStr for Host {
    type Err = InvalidHost;

    fn from_str(text: &str) -> Result<Host, InvalidHost> {
        let invalid = |reason| Err(InvalidHost { text: text.to_owned(), reason });
        let (scheme, authority) = match text.split_once("://") {
            None => (Scheme::Http, text),
            Some(("http", rest)) => (Scheme::Http, rest),
            Some(("https", rest)) => (Scheme::Https, rest),
            Some(_) => return invalid("the scheme is neither http nor https"),
        };
        let authority = authority.strip_suffix('/').unwrap_or(authority);
        if authority.is_empty() {
            return invalid("the name is missing");
        }
        if let Some((_, name)) = authority.rsplit_once('@') {
            // The error does not reveal the password.
            let text = format!("{}://...@{name}", scheme.as_str());
            return Err(InvalidHost { text, reason: "credentials are set separately" });
        }
        if authority.contains(['/', '?', '#', '\\']) {
            return invalid("it contains a path");
        }
        if authority.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return invalid("it contains a space or a control character");
        }
        Ok(Host { scheme, authority: authority.to_owned() })
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme.as_str(), self.authority)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        for (text, shown) in [
            ("localhost:4001", "http://localhost:4001"),
            ("http://localhost:4001/", "http://localhost:4001"),
            ("https://db.example.com", "https://db.example.com"),
            ("[::1]:4001", "http://[::1]:4001"),
        ] {
            assert_eq!(text.parse::<Host>().unwrap().to_string(), shown);
        }
        for (text, reason) in [
            ("", "the name is missing"),
            ("https://", "the name is missing"),
            ("ftp://x", "the scheme is neither"),
            ("user:secret@x", "credentials are set separately"),
            ("https://user:secret@x/db", "credentials are set separately"),
            ("x:1/db", "it contains a path"),
            ("a b", "it contains a space"),
        ] {
            let error = text.parse::<Host>().unwrap_err();
            assert!(error.to_string().contains(reason) && !error.to_string().contains("secret"), "{error}");
        }
    }

    #[test]
    fn a_url_is_split_into_host_and_target() {
        let split = |url| Host::split_url(url).map(|(host, target)| (host.to_string(), target.to_owned()));
        assert_eq!(
            split("http://a:1/db/query?level=weak#x").unwrap(),
            ("http://a:1".into(), "/db/query?level=weak".into())
        );
        assert_eq!(split("https://a").unwrap(), ("https://a".into(), "/".into()));
        assert!(split("/db/query").unwrap_err().to_string().contains("not absolute"));
    }
}
