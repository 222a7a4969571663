//! Replies to clients, and refusals of requests.

use crate::json;

/// The refusal of a request, or the failure of the request as a whole. It becomes a reply whose body is a JSON error
/// object.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{error}")]
pub struct Refusal {
    /// The HTTP status of the reply.
    pub status: u16,
    /// The index of the query or statement that caused the error, counted from 0. -1 if the error concerns the request
    /// as a whole.
    pub req_idx: i64,
    /// The error message.
    pub error: String,
}

/// A reply to a client: an HTTP status and a JSON body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The HTTP status of the reply.
    pub status: u16,
    /// The body of the reply. Its content type is `application/json`.
    pub body: Vec<u8>,
}

impl Refusal {
    /// Creates the refusal of a request as a whole, with the index -1.
    pub fn whole(status: u16, error: impl Into<String>) -> Self {
        Refusal { status, req_idx: -1, error: error.into() }
    }

    /// Creates the refusal of a body that could not be decoded.
    pub(crate) fn unparsable(reason: &str) -> Self {
        Refusal::whole(400, format!("in parsing body: {reason}"))
    }

    /// Encodes the refusal as a JSON error object: `{"reqIdx":…,"error":"…"}`.
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

/// Returns `text` with its first letter in upper case, if that is an ASCII letter. This is used for error messages of
/// the HTTP layer and for queries and statements with `noFail`. All other error messages are written unchanged.
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
