//! The endpoint `/metrics`.

use hyper::StatusCode;

use super::context::AppContext;
use crate::http::reply::{self, HttpResponse, ReplyBody};

/// The media type of the OpenMetrics text format.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Builds the response with all metrics of the server, in the OpenMetrics text format.
pub(crate) fn answer(context: &AppContext) -> HttpResponse {
    match context.transport.metrics.encode() {
        Ok(text) => reply::with_type(StatusCode::OK, OPEN_METRICS, ReplyBody::Whole(text.into())),
        Err(_) => reply::text(StatusCode::INTERNAL_SERVER_ERROR, "metrics cannot be encoded"),
    }
}
