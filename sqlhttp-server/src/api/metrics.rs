//! `/metrics`.

use hyper::StatusCode;

use super::context::AppContext;
use crate::http::reply::{self, HttpResponse, ReplyBody};

/// The media type of OpenMetrics.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// All metrics of the server, as Prometheus reads them.
pub(crate) fn answer(context: &AppContext) -> HttpResponse {
    match context.transport.metrics.encode() {
        Ok(text) => reply::with_type(StatusCode::OK, OPEN_METRICS, ReplyBody::Whole(text.into())),
        Err(_) => reply::text(StatusCode::INTERNAL_SERVER_ERROR, "metrics cannot be encoded"),
    }
}
