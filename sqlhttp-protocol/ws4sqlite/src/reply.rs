//! Replies to clients, and refusals of requests.

use crate::json;

/// The refusal of a request, or its failure as a whole. It becomes a reply with an error object.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{error}")]
pub struct Refusal {
    /// The HTTP status.
    pub status: u16,
    /// The index of the item that caused the error, counted from 0; -1 for the request as a whole.
    pub req_idx: i64,
    /// The error text.
    pub error: String,
}

/// A reply: a status and a JSON body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The HTTP status.
    pub status: u16,
    /// The body, of type `application/json`.
    pub body: Vec<u8>,
}

impl Refusal {
    /// Creates a refusal of the request as a whole.
    pub fn whole(status: u16, error: impl Into<String>) -> Self {
        Refusal { status, req_idx: -1, error: error.into() }
    }

    /// Creates the refusal of a body that cannot be decoded.
    pub(crate) fn unparsable(reason: &str) -> Self {
        Refusal::whole(400, format!("in parsing body: {reason}"))
    }

    /// Encodes the error object: `{"reqIdx":…,"error":"…"}`.
    pub fn body(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.error.len() + 32);
        out.extend_from_slice(b"{\"reqIdx\":");
        out.extend_from_slice(itoa::Buffer::new().format(self.req_idx).as_bytes());
        out.extend_from_slice(b",\"error\":");
        json::write_string(&mut out, &self.error);
        out.push(b'}');
        out
    }
}

impl From<Refusal> for Reply {
    fn from(refusal: Refusal) -> Self {
        Reply { status: refusal.status, body: refusal.body() }
    }
}

/// Returns the text with its first letter in upper case, if that is an ASCII letter. The errors of HTTP and of items
/// with `noFail` are written in this way; all other errors are written unchanged.
pub fn capitalized(text: &str) -> String {
    let mut text = text.to_owned();
    if let Some(first) = text.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_ascii_first_letter_is_capitalized() {
        for (text, want) in [("abc", "Abc"), ("ABC", "ABC"), ("école", "école"), ("", ""), ("1a", "1a"), (" a", " a")]
        {
            assert_eq!(capitalized(text), want);
        }
    }

    #[test]
    fn error_object() {
        let refusal = Refusal { status: 500, req_idx: 3, error: "near \"<\": \u{1}".into() };
        assert_eq!(refusal.body(), br#"{"reqIdx":3,"error":"near \"<\": \u0001"}"#);
        assert_eq!(Refusal::whole(400, "x").body(), br#"{"reqIdx":-1,"error":"x"}"#);
    }
}
