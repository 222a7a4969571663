//! Replies to clients, and refusals of requests.

use std::borrow::Cow;

use crate::{json, pretty};

/// The type of a reply's body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContentType {
    /// JSON.
    Json,
    /// Plain text: readiness, and the replies of `/db/load` (JSON, to which rqlite gives this type).
    Text,
    /// An error in plain text.
    Error,
}

impl ContentType {
    /// Returns the value of the header `Content-Type`.
    pub fn header(self) -> &'static str {
        match self {
            ContentType::Json => "application/json; charset=utf-8",
            ContentType::Text | ContentType::Error => "text/plain; charset=utf-8",
        }
    }

    /// Whether the response has the header `X-Content-Type-Options: nosniff`.
    pub fn nosniff(self) -> bool {
        self == ContentType::Error
    }
}

/// A reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The HTTP status.
    pub status: u16,
    /// The type of the body.
    pub content_type: ContentType,
    /// The body.
    pub body: Vec<u8>,
}

impl Reply {
    /// Creates an error in plain text: the text and a line feed.
    pub fn error(status: u16, text: &str) -> Reply {
        Reply { status, content_type: ContentType::Error, body: format!("{text}\n").into_bytes() }
    }

    /// Creates a reply of compact JSON with status 200. `indented`: whether the JSON is indented first.
    pub(crate) fn json(compact: Vec<u8>, indented: bool) -> Reply {
        Reply {
            status: 200,
            content_type: ContentType::Json,
            body: if indented { pretty::indent(&compact) } else { compact },
        }
    }
}

/// The refusal of a request before any of its statements ran.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A refusal in plain text.
    #[error("{text}")]
    Text {
        /// The HTTP status.
        status: u16,
        /// The text, without the line feed that ends it on the wire.
        text: Cow<'static, str>,
    },
    /// A refusal as a reply with status 200 that contains this error and no results.
    #[error("{0}")]
    TopLevel(Cow<'static, str>),
}

impl Refusal {
    /// Creates a refusal in plain text.
    pub fn text(status: u16, text: impl Into<Cow<'static, str>>) -> Refusal {
        Refusal::Text { status, text: text.into() }
    }

    /// The refusal of a body that is not JSON.
    pub(crate) fn invalid_json() -> Refusal {
        Refusal::text(400, "invalid JSON body")
    }

    /// The refusal of an empty list of statements.
    pub(crate) fn no_statements() -> Refusal {
        Refusal::text(400, "no statements")
    }

    /// Converts the refusal to a reply. `pretty`: whether the client asked for indentation.
    ///
    /// The replies of [`Endpoint::Load`](crate::Endpoint::Load) have another content type. Its callers have to replace
    /// the type, unless it is [`ContentType::Error`].
    pub fn into_reply(self, pretty: bool) -> Reply {
        match self {
            Refusal::Text { status, text } => Reply::error(status, &text),
            Refusal::TopLevel(error) => {
                let mut out = b"{\"results\":[],\"error\":".to_vec();
                json::write_string(&mut out, &error);
                out.push(b'}');
                Reply::json(out, pretty)
            }
        }
    }
}
