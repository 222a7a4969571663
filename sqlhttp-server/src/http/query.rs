//! Parsing of query strings.

use std::borrow::Cow;

use sqlhttp_text::form;

/// Returns the value of the first query parameter named `name`; `None` if there is none. Percent-encoded bytes are
/// decoded, and `+` becomes a space.
pub(crate) fn query_parameter<'q>(query: Option<&'q str>, name: &str) -> Option<Cow<'q, str>> {
    query?.split('&').find_map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (key == name).then(|| lossy(form::decode(value.as_bytes())))
    })
}

/// Converts bytes to text. Invalid UTF-8 is replaced with U+FFFD.
fn lossy(bytes: Cow<'_, [u8]>) -> Cow<'_, str> {
    match bytes {
        Cow::Borrowed(bytes) => String::from_utf8_lossy(bytes),
        Cow::Owned(bytes) => Cow::Owned(String::from_utf8_lossy(&bytes).into_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn query_parameters() {
        assert_eq!(query_parameter(Some("a=1&token=x%20y+z"), "token").as_deref(), Some("x y z"));
        assert_eq!(query_parameter(Some("token"), "token").as_deref(), Some(""));
        assert_eq!(query_parameter(Some("tokens=1"), "token"), None);
        assert_eq!(query_parameter(None, "token"), None);
    }
}
