//! Dispatches a request to the endpoint of rqlite's data API that its path names.

use hyper::body::Incoming;
use sqlhttp_rqlite::{Endpoint, Params};

use super::resource::Resource;
use super::{backup, members, queue, readyz, statements, status, verify};
use crate::api::exchange::Exchange;
use crate::http::reply::{EarlyResponse, HttpResponse};

/// Runs the endpoint of a request that has passed all checks.
pub(crate) async fn run(
    exchange: &Exchange<'_>,
    resource: Resource,
    params: Params,
    body: &mut Option<Incoming>,
) -> Result<HttpResponse, EarlyResponse> {
    match resource {
        Resource::Execute if params.queue => queue::answer(exchange, params, body).await,
        Resource::Execute => statements::answer(exchange, Endpoint::Execute, params, body).await,
        Resource::Query => statements::answer(exchange, Endpoint::Query, params, body).await,
        Resource::Request => statements::answer(exchange, Endpoint::Request, params, body).await,
        Resource::Load => statements::answer(exchange, Endpoint::Load, params, body).await,
        Resource::Sql => statements::explain(exchange, params, body).await,
        Resource::Backup => backup::answer(exchange, params).await,
        Resource::Readyz => Ok(readyz::answer(exchange, &params).await),
        Resource::Status => Ok(status::answer(exchange, &params).await),
        Resource::Nodes => Ok(members::nodes(exchange, &params)),
        Resource::Verify => verify::answer(exchange, &params).await,
        Resource::Leader => Ok(members::leader(exchange, &params)),
    }
}
