//! Replies to clients, and refusals of requests that do not run.

use std::borrow::Cow;

use crate::{json, pretty};

/// The content type of a reply's body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContentType {
    /// JSON.
    Json,
    /// Plain text. Used for `/readyz`, and for the replies of `/db/load`: those are JSON, but rqlite sends them with
    /// this type.
    Text,
    /// An error message in plain text.
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

    /// Returns whether the response has the header `X-Content-Type-Options: nosniff`.
    pub fn nosniff(self) -> bool {
        self == ContentType::Error
    }
}

/// A reply to a client: the parts of an HTTP response that the protocol determines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The HTTP status of the reply.
    pub status: u16,
    /// The content type of the body.
    pub content_type: ContentType,
    /// The body of the reply.
    pub body: Vec<u8>,
}

impl Reply {
    /// Creates a reply with an error message in plain text. The body is `text` and a line feed.
    pub fn error(status: u16, text: &str) -> Reply {
        Reply { status, content_type: ContentType::Error, body: format!("{text}\n").into_bytes() }
    }

    /// Creates a reply with status 200 from compact JSON. `indented`: whether to indent the JSON.
    pub(crate) fn json(compact: Vec<u8>, indented: bool) -> Reply {
        Reply {
            status: 200,
            content_type: ContentType::Json,
            body: if indented { pretty::indent(&compact) } else { compact },
        }
    }
}

/// The refusal of a request before any of its statements has run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The reply is this text, with this status.
    #[error("{text}")]
    Text {
        /// The HTTP status of the reply.
        status: u16,
        /// The error message, without the line feed that is appended in the reply.
        text: Cow<'static, str>,
    },
    /// The reply has status 200 and a JSON object with this error and no results.
    #[error("{0}")]
    TopLevel(Cow<'static, str>),
}

impl Refusal {
    /// Creates a refusal whose reply is plain text.
    pub fn text(status: u16, text: impl Into<Cow<'static, str>>) -> Refusal {
        Refusal::Text { status, text: text.into() }
    }

    /// Creates the refusal of a body that is not JSON.
    pub(crate) fn invalid_json() -> Refusal {
        Refusal::text(400, "invalid JSON body")
    }

    /// Creates the refusal of an empty list of statements.
    pub(crate) fn no_statements() -> Refusal {
        Refusal::text(400, "no statements")
    }

    /// Converts the refusal to a reply. `pretty`: whether the client asked for indented JSON.
    ///
    /// The replies of [`Endpoint::Load`](crate::Endpoint::Load) have another content type. A caller that serves this
    /// endpoint must replace the reply's content type, unless that is [`ContentType::Error`].
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
