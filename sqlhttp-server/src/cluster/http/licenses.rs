//! The endpoint `/licenses`: the licenses of this program.

use hyper::StatusCode;
use sqlhttp_rqlite::ContentType;

use crate::http::reply::{self, HttpResponse, ReplyBody};

const TEXT: &str = concat!(
    "sqlhttp is dual-licensed under the MIT License and the Apache License 2.0.\n\n",
    "MIT License\n\n",
    include_str!("../../../LICENSE-MIT"),
    "\n\nApache License, Version 2.0\n\n",
    include_str!("../../../LICENSE-APACHE"),
    "\n\nSQLite is in the public domain: https://sqlite.org/copyright.html\n",
);

/// Handles `/licenses`: returns the texts of the licenses.
pub(crate) fn answer() -> HttpResponse {
    reply::with_type(StatusCode::OK, ContentType::Text.header(), ReplyBody::Whole(TEXT.into()))
}
