//! The Basic authentication scheme (RFC 7617).

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use hyper::HeaderMap;
use hyper::header::AUTHORIZATION;

/// The base64 decoder for Basic credentials: standard alphabet. Padding is optional, because some HTTP clients omit it.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The user name and the password of a request with Basic authentication.
#[derive(Clone, PartialEq, Eq)]
pub struct BasicCredentials {
    /// The user name.
    pub username: String,
    /// The password, in plain text.
    pub password: String,
}

impl BasicCredentials {
    /// Returns the credentials in the header `Authorization`; `None` if there are none.
    pub(crate) fn of(headers: &HeaderMap) -> Option<Self> {
        Self::from_header(headers.get(AUTHORIZATION)?.as_bytes())
    }

    /// Reads the value of an `Authorization` header. Returns `None` if its scheme is not Basic or the credentials
    /// cannot be decoded.
    pub fn from_header(header: &[u8]) -> Option<Self> {
        const SCHEME: &[u8] = b"basic ";
        let (scheme, encoded) = header.split_at_checked(SCHEME.len())?;
        if !scheme.eq_ignore_ascii_case(SCHEME) {
            return None;
        }
        let decoded = BASE64.decode(encoded).ok()?;
        let decoded = String::from_utf8_lossy(&decoded);
        let (username, password) = decoded.split_once(':')?;
        Some(BasicCredentials { username: username.to_owned(), password: password.to_owned() })
    }
}

/// The output contains the user name and omits the password.
impl std::fmt::Debug for BasicCredentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BasicCredentials").field("username", &self.username).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user_and_password(header: &str) -> Option<(String, String)> {
        BasicCredentials::from_header(header.as_bytes()).map(|found| (found.username, found.password))
    }

    #[test]
    fn authorization_headers_are_parsed() {
        let known = Some(("user1".to_owned(), "password".to_owned()));
        for header in ["Basic dXNlcjE6cGFzc3dvcmQ=", "basic dXNlcjE6cGFzc3dvcmQ=", "BASIC dXNlcjE6cGFzc3dvcmQ"] {
            assert_eq!(user_and_password(header), known, "{header}");
        }
        for header in
            ["", "Basic", "Basic ", "Bearer abc", "Basic  dXNlcjE6cGFzc3dvcmQ=", "Basic dXNlcjE=", "Basic %%%"]
        {
            assert_eq!(user_and_password(header), None, "{header}");
        }
        assert_eq!(user_and_password("Basic YTpiOmM="), Some(("a".into(), "b:c".into())));
        assert_eq!(user_and_password("Basic Og=="), Some((String::new(), String::new())));
        assert_eq!(user_and_password("Basic w7w6w6Q="), Some(("ü".into(), "ä".into())));
    }
}
