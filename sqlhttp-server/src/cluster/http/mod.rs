//! All of rqlite's HTTP API, as a node of a cluster serves it.
//!
//! The order of the checks is rqlite's, and clients depend on it: the headers that every answer has; OPTIONS, whatever
//! the path; the query string, whatever the path; the path; the permission; the method; the body.

mod boot;
mod console;
mod licenses;
mod members;
mod route;
mod snapshots;
mod status;
mod vars;

use hyper::body::Incoming;
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Method, StatusCode, Version};
use sqlhttp_rqlite::{Params, VERSION};

use self::route::{Place, place};
use super::auth::{Access, BasicCredentials, Permission};
use super::member::Member;
use crate::api::context::State;
use crate::api::exchange::{Exchange, TOO_MANY_FAILURES};
use crate::api::penalty::Crowded;
use crate::api::rqlite::{X_RQLITE_VERSION, error, refused};
use crate::http::origin::{FORGED, is_forged};
use crate::http::peer::Peer;
use crate::http::reply::{self, HttpResponse, Rejection, ReplyBody};

/// The index of the only database that a node has.
pub(crate) const DATABASE: usize = 0;

/// One request to a node.
struct Request<'a> {
    state: &'a State,
    member: &'a Member,
    exchange: Exchange<'a>,
    head: &'a Parts,
}

/// Answers a request to a node.
pub(crate) async fn answer(
    state: &State,
    member: &Member,
    peer: &Peer,
    head: &Parts,
    body: &mut Option<Incoming>,
) -> HttpResponse {
    if let Some(refusal) = breach(head) {
        return refusal;
    }
    let exchange = Exchange::new(state, DATABASE, head, peer);
    let request = Request { state, member, exchange, head };
    let mut response = request.carry_out(body).await.unwrap_or_else(|rejection| *rejection);
    add_headers(member, response.headers_mut());
    response
}

/// What Go's server refuses before anybody looks at the request, in its words.
fn breach(head: &Parts) -> Option<HttpResponse> {
    if head.version > Version::HTTP_11 {
        return None;
    }
    if head.version == Version::HTTP_11 && !head.headers.contains_key(header::HOST) && head.method != Method::CONNECT {
        let text = "400 Bad Request: missing required Host header";
        return Some(reply::closing(reply::text(StatusCode::BAD_REQUEST, text)));
    }
    let expected = head.headers.get(header::EXPECT)?.as_bytes();
    let known = expected.split(|byte| *byte == b',').any(|it| it.trim_ascii().eq_ignore_ascii_case(b"100-continue"));
    let unknown = !known && !expected.is_empty();
    unknown.then(|| reply::closing(reply::empty(StatusCode::EXPECTATION_FAILED)))
}

impl Request<'_> {
    async fn carry_out(&self, body: &mut Option<Incoming>) -> Result<HttpResponse, Rejection> {
        if self.head.method == Method::OPTIONS {
            return Ok(reply::empty(StatusCode::OK));
        }
        self.refuse_forged()?;
        let params = Params::parse(self.head.uri.query().unwrap_or_default()).map_err(refused)?;
        let Some(place) = place(self.head.uri.path(), &self.member.config.db_name) else {
            return Err(Box::new(reply::empty(StatusCode::NOT_FOUND)));
        };
        self.authorize(place).await?;
        if !place.takes(&self.head.method) {
            return Err(Box::new(place.empty(StatusCode::METHOD_NOT_ALLOWED)));
        }
        self.go(place, params, body).await
    }

    /// No path of a node has an effect with GET or HEAD.
    fn refuse_forged(&self) -> Result<(), Rejection> {
        let reads = matches!(self.head.method, Method::GET | Method::HEAD);
        if reads || !is_forged(self.head, |origin| self.member.allows_origin(origin)) {
            return Ok(());
        }
        let is_ws4sqlite = place(self.head.uri.path(), &self.member.config.db_name) == Some(Place::Ws4sqlite);
        let refuse = if is_ws4sqlite { reply::error } else { error };
        Err(Box::new(refuse(StatusCode::FORBIDDEN, FORGED)))
    }

    async fn go(&self, place: Place, params: Params, body: &mut Option<Incoming>) -> Result<HttpResponse, Rejection> {
        match place {
            Place::Data(resource) => crate::api::rqlite::data(&self.exchange, resource, params, body).await,
            Place::Readyz => Ok(members::readyz(self, &params).await),
            Place::Status => Ok(status::answer(self, &params).await),
            Place::Nodes => Ok(members::nodes(self, &params)),
            Place::Leader if self.head.method == Method::GET => members::leader(self, &params),
            Place::Leader => members::step_down(self, &params, body).await,
            Place::Remove => members::remove(self, &params, body).await,
            Place::Boot => boot::answer(self, body).await,
            Place::Snapshot => Ok(snapshots::take(self, &params).await),
            Place::Reap => Ok(snapshots::reap(self).await),
            Place::Licenses => Ok(licenses::answer()),
            Place::Vars => Ok(vars::answer(self, &params)),
            Place::Metrics => Ok(crate::standalone::monitor::metrics(self.state)),
            Place::Ws4sqlite => Ok(self.exchange.answer(body).await),
            Place::Root => Ok(self.redirect(StatusCode::FOUND)),
            Place::Console => Ok(self.redirect(StatusCode::MOVED_PERMANENTLY)),
            Place::ConsolePage => Ok(console::answer(self.state)),
        }
    }

    async fn authorize(&self, place: Place) -> Result<(), Rejection> {
        let needed = place.permissions();
        if needed.is_empty() {
            return Ok(());
        }
        let access = self.access(needed).await;
        if access == Ok(Access::Granted) {
            self.state.vars.auth_ok.add(1);
            return Ok(());
        }
        self.state.vars.auth_fail.add(1);
        Err(Box::new(match access {
            Ok(Access::Saturated) => error(StatusCode::SERVICE_UNAVAILABLE, "too many passwords are being checked"),
            Ok(_) => place.empty(StatusCode::UNAUTHORIZED),
            Err(Crowded) => reply::closing(error(StatusCode::SERVICE_UNAVAILABLE, TOO_MANY_FAILURES)),
        }))
    }

    /// Checks the credentials in the header. A failed login is logged, and this returns after its delay.
    async fn access(&self, needed: &[Permission]) -> Result<Access, Crowded> {
        let Some(auth) = &self.member.auth else { return Ok(Access::Granted) };
        let header = self.head.headers.get(header::AUTHORIZATION);
        let Some(credentials) = header.and_then(|header| BasicCredentials::from_header(header.as_bytes())) else {
            return Ok(auth.access(None, needed).await);
        };
        let (penalty, address) = (&self.state.penalty, self.exchange.peer.address);
        let key = penalty.key(&credentials.username, address.ip());
        penalty.check(key)?;
        let access = auth.access(Some(&credentials), needed).await;
        if access == Access::Unauthenticated {
            let user = &credentials.username;
            tracing::warn!(target: "http", "failed login of user '{user}' from {address}");
            penalty.wait(key).await?;
        }
        Ok(access)
    }

    fn redirect(&self, status: StatusCode) -> HttpResponse {
        let text = if status == StatusCode::FOUND { "Found" } else { "Moved Permanently" };
        let mut response = if matches!(self.head.method, Method::GET | Method::HEAD) {
            let page = format!("<a href=\"/console/\">{text}</a>.\n\n");
            reply::with_type(status, "text/html; charset=utf-8", ReplyBody::Whole(page.into()))
        } else {
            reply::empty(status)
        };
        response.headers_mut().insert(header::LOCATION, HeaderValue::from_static("/console/"));
        response
    }
}

/// What every answer carries.
fn add_headers(member: &Member, headers: &mut HeaderMap) {
    let mut add = |name, value| headers.insert(name, HeaderValue::from_static(value));
    add(X_RQLITE_VERSION, VERSION);
    add(header::ACCESS_CONTROL_ALLOW_METHODS, "OPTIONS, GET, POST");
    if member.auth.is_some() {
        add(header::ACCESS_CONTROL_ALLOW_HEADERS, "Content-Type, Authorization");
        add(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, "true");
        add(header::WWW_AUTHENTICATE, "Basic realm=\"rqlite\"");
    } else {
        add(header::ACCESS_CONTROL_ALLOW_HEADERS, "Content-Type");
    }
    let origin = member.config.http_allow_origin.as_deref();
    if let Some(Ok(origin)) = origin.map(HeaderValue::from_str) {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    }
}

/// The permissions of places, kept here so that no place can be forgotten.
impl Place {
    fn permissions(self) -> &'static [Permission] {
        use crate::standalone::route::Resource;
        match self {
            Place::Data(Resource::Execute) => &[Permission::Execute],
            Place::Data(Resource::Query | Resource::Sql) => &[Permission::Query],
            Place::Data(Resource::Request) | Place::Ws4sqlite => &[Permission::Query, Permission::Execute],
            Place::Data(Resource::Backup) => &[Permission::Backup],
            Place::Data(Resource::Load) | Place::Boot => &[Permission::Load],
            Place::Data(Resource::Readyz) | Place::Readyz => &[Permission::Ready],
            Place::Data(Resource::Status | Resource::Nodes | Resource::Leader)
            | Place::Status
            | Place::Nodes
            | Place::Licenses
            | Place::Vars
            | Place::Metrics => &[Permission::Status],
            Place::Snapshot | Place::Reap => &[Permission::Snapshot],
            Place::Remove => &[Permission::Remove],
            Place::Leader => &[Permission::LeaderOps],
            Place::Root | Place::Console | Place::ConsolePage => &[],
        }
    }
}
