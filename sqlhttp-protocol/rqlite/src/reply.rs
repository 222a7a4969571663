//! What goes back to the client: replies, and refusals that become replies.

use std::borrow::Cow;

use crate::{json, pretty};

/// The type of a reply's body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContentType {
    /// JSON.
    Json,
    /// Plain text: readiness, and what `/db/load` answers (JSON that the original does not call so).
    Text,
    /// Plain text that tells an error.
    Error,
}

impl ContentType {
    /// The value of the header `Content-Type`.
    pub fn header(self) -> &'static str {
        match self {
            ContentType::Json => "application/json; charset=utf-8",
            ContentType::Text | ContentType::Error => "text/plain; charset=utf-8",
        }
    }

    /// Whether the header `X-Content-Type-Options: nosniff` belongs to it.
    pub fn nosniff(self) -> bool {
        self == ContentType::Error
    }
}

/// An answer.
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
    /// An error told in plain text: the text and a line feed.
    pub fn error(status: u16, text: &str) -> Reply {
        Reply { status, content_type: ContentType::Error, body: format!("{text}\n").into_bytes() }
    }

    /// JSON, written compactly, with status 200. `indented`: spread over lines first.
    pub(crate) fn json(compact: Vec<u8>, indented: bool) -> Reply {
        Reply {
            status: 200,
            content_type: ContentType::Json,
            body: if indented { pretty::indent(&compact) } else { compact },
        }
    }
}

/// A request that is answered before anything of it ran.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Told in plain text.
    #[error("{text}")]
    Text {
        /// The HTTP status.
        status: u16,
        /// The text, without the line feed that ends it on the wire.
        text: Cow<'static, str>,
    },
    /// Told as a reply with status 200 that holds no results, but this error.
    #[error("{0}")]
    TopLevel(Cow<'static, str>),
}

impl Refusal {
    /// Told in plain text.
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

    /// The answer. `pretty`: whether the client asked for indentation. (For [`Endpoint::Load`](crate::Endpoint::Load),
    /// which calls its answers otherwise, the type is to be replaced unless it is [`ContentType::Error`].)
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
