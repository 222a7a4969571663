//! rqlite's API for one database of the standalone server: `/<id>/db/execute` and the other endpoints.
//!
//! The users, the CORS policy, the limits and the rules of the database apply in the same way as in ws4sqlite's
//! protocol.
//!
//! # Decisions
//!
//! * **Credentials in the body** are not part of rqlite's protocol. Therefore, for a database with authentication mode
//!   `INLINE`, the response is a 401.
//! * **A database that serves only stored statements** has only the endpoint `/readyz`. The other endpoints are
//!   refused: rqlite's protocol cannot call stored statements, and a copy of the file would reveal data that these
//!   statements do not return.

use hyper::body::Incoming;
use hyper::http::request::Parts;
use hyper::{Method, StatusCode};
use sqlhttp_rqlite::Params;

use crate::api::auth::AuthMode;
use crate::api::exchange::{AuthError, Exchange, TOO_MANY_FAILURES};
use crate::api::outcome::log_error;
use crate::api::rqlite::reply::error;
use crate::api::rqlite::resource::Resource;
use crate::api::rqlite::{endpoints, service};
use crate::http::origin::{CROSS_SITE, is_cross_site};
use crate::http::reply::{self, EarlyResponse, HttpResponse};

/// The error message for requests to a database that serves only stored statements.
const ONLY_STORED: &str = "this database serves only stored statements, which this API cannot call";

/// The error message for requests to a database that accepts credentials only in the body, where rqlite's protocol has
/// none.
const ONLY_INLINE: &str = "this database takes credentials only in the body of its own requests";

/// A request to an endpoint of rqlite's API for one database.
pub(crate) struct RqliteRequest<'a> {
    pub(crate) exchange: Exchange<'a>,
    pub(crate) resource: Resource,
}

impl service::Service for RqliteRequest<'_> {
    type Endpoint = Resource;

    fn head(&self) -> &Parts {
        self.exchange.request
    }

    fn refuse_forged(&self) -> Result<(), EarlyResponse> {
        let (head, cors) = (self.exchange.request, self.exchange.database.rules.cors.as_ref());
        let reads = matches!(head.method, Method::GET | Method::HEAD);
        if reads || !is_cross_site(head, |origin| cors.is_some_and(|policy| policy.allows(origin))) {
            return Ok(());
        }
        Err(Box::new(error(StatusCode::FORBIDDEN, CROSS_SITE)))
    }

    /// Returns the endpoint that the route table has found for the path.
    fn endpoint(&self) -> Option<Resource> {
        Some(self.resource)
    }

    async fn authorize(&self, resource: Resource) -> Result<(), EarlyResponse> {
        let Some(auth) = &self.exchange.database.rules.auth else {
            return Ok(());
        };
        if auth.mode == AuthMode::Inline {
            return Err(Box::new(error(StatusCode::UNAUTHORIZED, ONLY_INLINE)));
        }
        self.exchange.authenticate_header(auth).await.map_err(|why| {
            Box::new(match why {
                AuthError::Unauthorized => resource.empty(reply::status_code(auth.error_code)),
                AuthError::Unavailable(source) => {
                    log_error(&source);
                    error(StatusCode::SERVICE_UNAVAILABLE, "credentials cannot be checked")
                }
                AuthError::TooManyFailures => reply::closing(error(StatusCode::SERVICE_UNAVAILABLE, TOO_MANY_FAILURES)),
            })
        })
    }

    fn takes(resource: Resource, method: &Method) -> bool {
        resource.takes(method)
    }

    fn empty(resource: Resource, status: StatusCode) -> HttpResponse {
        resource.empty(status)
    }

    async fn run(
        &self,
        resource: Resource,
        params: Params,
        body: &mut Option<Incoming>,
    ) -> Result<HttpResponse, EarlyResponse> {
        if self.exchange.database.rules.statements.only_stored && resource != Resource::Readyz {
            return Err(Box::new(error(StatusCode::FORBIDDEN, ONLY_STORED)));
        }
        endpoints::run(&self.exchange, resource, params, body).await
    }

    fn takes_credentials(&self) -> bool {
        self.exchange.database.rules.auth.as_ref().is_some_and(|auth| auth.mode == AuthMode::Http)
    }
}
