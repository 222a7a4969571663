//! The client, on a network that the tests simulate.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use sqlhttp_core::{
    Action, Atomicity, Backend as _, Batch, Bindings, CallOptions, Deadline, Ending, Error, Executor as _, Expect,
    Failure, ReadLevel, Step, StepOutcome, Value, named_params, params,
};
use sqlhttp_ws4sqlite::Refusal;
use sqlhttp_ws4sqlite::client::{
    AuthMode, Client, ClientError, Host, HttpRequest, HttpResponse, ItemResult, Method, RequestBody, ResponseBody,
    SendError, Transport, TransportError,
};

/// How a server of the simulated network behaves.
#[derive(Debug, Clone)]
enum Server {
    /// Responds with a status and a body.
    Responds(u16, &'static str),
    /// Cannot be reached.
    Down,
    /// Closes the connection instead of responding.
    Closes,
    /// Closes the connection after a part of the response.
    ClosesLate(&'static str),
}

/// The simulated network: the servers by their addresses, and the requests that they have received.
#[derive(Debug, Default)]
struct Network {
    servers: Mutex<HashMap<String, Server>>,
    received: Mutex<Vec<(String, HttpRequest)>>,
    now: Option<Instant>,
}

/// The chunks of a body, the last one first. `Err` is a closed connection.
struct Body(Vec<Result<Vec<u8>, TransportError>>);

impl ResponseBody for Body {
    async fn chunk(&mut self) -> Result<Option<Vec<u8>>, TransportError> {
        self.0.pop().transpose()
    }
}

fn closed() -> TransportError {
    TransportError::Lost("closed".into())
}

impl Transport for &'static Network {
    type Body = Body;

    async fn send(&self, host: &Host, request: &HttpRequest) -> Result<HttpResponse<Body>, TransportError> {
        let server = self.servers.lock().unwrap().get(&host.to_string()).cloned().unwrap_or(Server::Down);
        if matches!(server, Server::Down) {
            return Err(TransportError::NotSent("refused".into()));
        }
        self.received.lock().unwrap().push((host.to_string(), request.clone()));
        let (status, body) = match server {
            Server::Responds(status, body) => {
                let (first, second) = body.as_bytes().split_at(body.len() / 2);
                (status, Body(vec![Ok(second.to_vec()), Ok(first.to_vec())]))
            }
            Server::ClosesLate(body) => (200, Body(vec![Err(closed()), Ok(body.into())])),
            Server::Down | Server::Closes => return Err(closed()),
        };
        Ok(HttpResponse::new(status, Vec::new(), body))
    }

    fn time_until(&self, moment: Instant) -> Option<Duration> {
        self.now.map(|now| moment.saturating_duration_since(now))
    }
}

impl Network {
    /// Creates a network with one server. It is leaked, because a client as a backend must own its transport.
    fn of(server: Server) -> &'static Network {
        let network: &Network = Box::leak(Box::default());
        network.set("http://a", server);
        network
    }

    fn set(&self, host: &str, server: Server) {
        self.servers.lock().unwrap().insert(host.to_owned(), server);
    }

    /// Returns the addresses of the servers that have received a request since the last call, and the requests.
    fn received(&self) -> Vec<(String, HttpRequest)> {
        std::mem::take(&mut *self.received.lock().unwrap())
    }

    fn body(&self) -> String {
        let [(_, request)] = &self.received()[..] else { panic!("not one request") };
        let RequestBody::Bytes(bytes) = &request.body else { panic!("the body is not in memory") };
        String::from_utf8(bytes.clone()).unwrap()
    }
}

fn client(network: &'static Network, hosts: &[&str]) -> Client<&'static Network> {
    let mut hosts = hosts.iter().map(|host| host.parse::<Host>().unwrap());
    Client::new(network, hosts.next().unwrap(), hosts, "my db")
}

/// A client of one server that always responds in the same way.
fn served(status: u16, body: &'static str) -> Client<&'static Network> {
    client(Network::of(Server::Responds(status, body)), &["a"])
}

const UPDATED: Server = Server::Responds(200, r#"{"results":[{"success":true,"rowsUpdated":3}]}"#);

#[tokio::test]
async fn a_request_contains_path_level_and_credentials() {
    let network = Network::of(UPDATED);
    let db = client(network, &["a"]).with_credentials(AuthMode::Http, "joe", "a:b");
    let changed = db.execute("DELETE FROM t WHERE a < ?", params![7]).await.unwrap();
    assert_eq!((changed.rows, changed.last_insert_id), (3, None));
    let (_, request) = network.received().remove(0);
    assert_eq!((request.method, request.target.as_str(), request.deadline), (Method::Post, "/my%20db", None));
    let headers = [("content-type", "application/json".to_owned()), ("authorization", "Basic am9lOmE6Yg==".into())];
    assert_eq!(request.headers, headers);
    let shown =
        format!("{:?}", client(Network::of(Server::Down), &["a"]).with_credentials(AuthMode::Http, "joe", "a:b"));
    assert!(shown.contains("joe") && !shown.contains("a:b"), "{shown}");

    let db = client(network, &["a"]).with_credentials(AuthMode::Inline, "joe", "x");
    db.with(CallOptions::new().level(ReadLevel::Linearizable)).execute("DELETE FROM t", ()).await.unwrap();
    let (_, request) = network.received.lock().unwrap().last().cloned().unwrap();
    assert_eq!((request.target.as_str(), request.headers.len()), ("/my%20db?level=linearizable", 1));
    let credentials = r#"{"resultFormat":"list","credentials":{"user":"joe","password":"x"},"transaction":["#;
    assert!(network.body().starts_with(credentials));
}

#[tokio::test]
async fn parameters_and_expectations_are_adapted_to_the_protocol() {
    let network = Network::of(Server::Responds(200, r#"{"results":[{"success":true,"resultSetList":[]}]}"#));
    let db = client(network, &["a"]);
    db.query("SELECT :a", named_params! { ":a": 1.0 }).await.unwrap();
    assert_eq!(network.body(), r#"{"resultFormat":"list","transaction":[{"query":"SELECT :a","values":{"a":1.0}}]}"#);
    let step = Step { expect: Expect::Either, ..Step::execute("DELETE FROM t", ()) };
    let batch = Batch { atomicity: Atomicity::Each, ..Batch::one(step) };
    let outcome = db.request(batch, ReadLevel::Weak, Deadline::NEVER).await.unwrap().whole().await.unwrap();
    assert!(matches!(&outcome.steps[..], [StepOutcome::Rows(rows)] if rows.columns.is_empty()));
    let sent = r#"{"resultFormat":"list","transaction":[{"query":"DELETE FROM t","noFail":true}]}"#;
    assert_eq!(network.body(), sent);
}

#[tokio::test]
async fn rows_are_read_as_the_types_that_are_asked_for() {
    let body = r#"{"results":[{"success":true,"resultHeaders":["id","name","price","x"],
        "resultSetList":[[1,"a\"]]",2,null],[2,"é",0.5,"AP8="]]}]}"#;
    let rows: Vec<(u8, String, f64, Option<String>)> = served(200, body).query_all("q", ()).await.unwrap();
    assert_eq!(rows, [(1, "a\"]]".to_owned(), 2.0, None), (2, "é".to_owned(), 0.5, Some("AP8=".to_owned()))]);
    let mut stream = served(200, body).query_stream::<(i64, Value, f64, Value)>("q", ()).await.unwrap();
    assert_eq!(stream.next().await.unwrap().unwrap().0, 1);
    assert_eq!(stream.next().await.unwrap().unwrap().0, 2);
    assert!(stream.next().await.is_none());
    // A BLOB is TEXT in the reply.
    let blob = r#"{"results":[{"success":true,"resultHeaders":["x"],"resultSetList":[["AP8="]]}]}"#;
    let error = served(200, blob).query_one::<Vec<u8>>("q", ()).await.unwrap_err();
    assert!(matches!(error, Error::Row(_)), "{error:?}");
}

#[tokio::test]
async fn a_batch_has_the_result_of_each_step() {
    let db = served(
        200,
        r#"{"results":[{"success":true,"rowsUpdated":1},{"success":false,"error":"Missing named argument \"x\""},
            {"resultHeaders":["n"],"resultSetList":[[7]],"success":true},{"success":true,"rowsUpdatedBatch":[1,2]}]}"#,
    );
    let step = |sql| Step::execute(sql, ());
    let steps = vec![step("a"), step("b").or_continue(), Step::query("c", ()), step("d")];
    let results = db.batch(steps).await.unwrap();
    let [StepOutcome::Changed(_), failed, StepOutcome::Rows(rows), each] = &results[..] else { panic!("{results:?}") };
    assert_eq!(*failed, StepOutcome::Failed(Failure::MissingNamed("x".into())));
    assert_eq!(rows.read_one::<i64>().unwrap(), 7);
    assert_eq!(each.changed().rows, 3);
}

#[tokio::test]
async fn a_failed_step_ends_its_batch() {
    let body = r#"{"reqIdx":1,"error":"constraint failed: UNIQUE constraint failed: t.a (2067)"}"#;
    let db = served(500, body);
    let steps = || vec![Step::query("a", ()), Step::execute("b", ()), Step::execute("c", ())];
    let error = db.batch(steps()).await.unwrap_err();
    assert!(error.is_unique() && matches!(error, Error::Failed { step: Some(1), .. }), "{error:?}");
    assert_eq!(error.to_string(), "step 2: UNIQUE constraint failed: t.a");
    let answer = db.request(Batch::transaction(steps()), ReadLevel::Weak, Deadline::NEVER).await.unwrap();
    let outcome = answer.whole().await.unwrap();
    assert_eq!((outcome.ending, outcome.steps.len(), outcome.info.len()), (Ending::Aborted(1), 2, 2));
    let error = served(500, r#"{"reqIdx":0,"error":"SQL logic error: no such column: x (1)"}"#);
    let error = error.query_one::<i64>("SELECT x", ()).await.unwrap_err();
    assert!(matches!(error, Error::Failed { step: None, .. }) && error.to_string() == "no such column: x", "{error:?}");
    // A deferred constraint fails at the end of the transaction.
    let error = served(500, r#"{"reqIdx":-1,"error":"constraint failed: FOREIGN KEY constraint failed (787)"}"#);
    assert!(error.execute("a", ()).await.unwrap_err().is_foreign_key());
}

#[tokio::test]
async fn what_needs_no_server_is_not_sent() {
    let network = Network::of(Server::Closes);
    let db = client(network, &["a"]);
    assert!(db.batch(Vec::new()).await.unwrap().is_empty());
    let error = db.execute("INSERT INTO t VALUES (?)", [u64::MAX]).await.unwrap_err();
    assert!(matches!(error.failure(), Some(Failure::BadParameter { .. })), "{error:?}");
    let unreadable = Failure::Protocol { status: 400, message: "x".into() };
    let sets = vec![Ok(Bindings::none()), Err(unreadable.clone())];
    let action = Action::RunEach { sql: "DELETE FROM t".into(), bindings: sets };
    let each = Step { action, ..Step::execute("", ()) };
    let error = db.batch(vec![Step::execute("DELETE FROM t", ()), each]).await.unwrap_err();
    assert!(matches!(&error, Error::Failed { step: Some(1), failure } if *failure == unreadable), "{error:?}");
    for step in [
        Step::execute("INSERT INTO t VALUES (?)", [vec![1_u8]]),
        Step::execute("DELETE FROM t", ()).expect_changed(1),
        Step::execute("#id", ()),
    ] {
        assert!(matches!(db.batch(vec![step]).await, Err(Error::Unsupported(_))));
    }
    let read = db.read_batch(Batch::one(Step::query("q", ())), ReadLevel::Weak, Deadline::NEVER).await;
    assert!(matches!(read, Err(Error::Unsupported(_))));
    assert!(network.received().is_empty());
}

#[tokio::test]
#[allow(clippy::disallowed_methods)] // The clock of the simulated network does not run, but it needs a beginning.
async fn the_deadline_of_a_call_is_that_of_the_request() {
    let now = Instant::now();
    let network: &'static Network = Box::leak(Box::new(Network { now: Some(now), ..Network::default() }));
    network.set("http://a", UPDATED);
    let db = client(network, &["a"]);
    let limited = |at| CallOptions::new().deadline(Deadline::at(at));
    let limit = Duration::from_secs(2);
    db.with(limited(now + limit)).execute("a", ()).await.unwrap();
    assert_eq!(network.received()[0].1.deadline, Some(now + limit));
    assert!(matches!(db.with(limited(now)).execute("a", ()).await, Err(Error::Timeout)));
    assert!(network.received().is_empty());
}

#[tokio::test]
async fn the_next_host_receives_only_requests_that_were_not_sent() {
    let network = Network::of(Server::Down);
    network.set("http://b", UPDATED);
    let db = client(network, &["a", "b"]);
    db.execute("a", ()).await.unwrap();
    assert_eq!((db.host().to_string().as_str(), network.received().len()), ("http://b", 1));
    network.set("http://b", Server::Closes);
    network.set("http://a", UPDATED);
    let error = db.execute("a", ()).await.unwrap_err();
    assert!(matches!(&error, Error::ConnectionLost(why) if why.contains("http://b")), "{error:?}");
    assert_eq!(network.received().len(), 1);
    // The next request is sent to another host.
    db.execute("a", ()).await.unwrap();
    assert_eq!(network.received()[0].0, "http://a");
    network.set("http://a", Server::Down);
    network.set("http://b", Server::Down);
    let error = db.execute("a", ()).await.unwrap_err();
    assert!(error.retry() && error.to_string().contains("http://a: refused; http://b: refused"), "{error}");
}

#[tokio::test]
async fn a_response_that_ends_early_leaves_the_outcome_open() {
    let begin = r#"{"results":[{"success":true,"resultHeaders":["a"],"resultSetList":[[1],[2],[3"#;
    let db = client(Network::of(Server::ClosesLate(begin)), &["a"]);
    let mut rows = db.query_stream::<i64>("q", ()).await.unwrap();
    assert_eq!((rows.next().await.unwrap().unwrap(), rows.next().await.unwrap().unwrap()), (1, 2));
    assert!(matches!(rows.next().await, Some(Err(Error::ConnectionLost(_)))));
    assert!(rows.next().await.is_none());
    let surplus = r#"{"results":[{"success":true,"rowsUpdated":1},{"success":true,"rowsUpdated":2}]}"#;
    for (status, body) in [
        (200, begin),
        (200, r#"{"results":[]}"#),
        (200, surplus),
        (200, "x"),
        (502, "Bad Gateway"),
        (500, ""),
        // A proxy may send this after it has sent the request to the server.
        (503, "Service Unavailable"),
        (503, "leader not found"),
    ] {
        let error = served(status, body).query("q", ()).await.unwrap_err();
        assert!(matches!(error, Error::ConnectionLost(_)), "{body}: {error:?}");
    }
}

#[tokio::test]
async fn a_row_or_a_response_that_is_too_long_is_refused() {
    let body =
        r#"{"results":[{"success":true,"resultHeaders":["a"],"resultSetList":[["0123456789"],["0123456789"]]}]}"#;
    let error = served(200, body).with_response_limit(9).query_all::<String>("q", ()).await.unwrap_err();
    assert!(matches!(&error, Error::ConnectionLost(why) if why.contains("longer than 9 bytes")), "{error:?}");
    // The limit of a stream applies to a row and to the members of a result.
    assert_eq!(served(200, body).with_response_limit(80).query_all::<String>("q", ()).await.unwrap().len(), 2);
    let error = served(200, body).with_response_limit(80).run(Batch::one(Step::query("q", ()))).await.unwrap_err();
    assert_eq!(error, ClientError::Http(SendError::TooLong(80)));
}

#[tokio::test]
async fn a_whole_reply_contains_the_results_and_the_refusal() {
    let batch = || Batch::one(Step::execute("q", ()));
    let results = client(Network::of(UPDATED), &["a"]).run(batch()).await.unwrap();
    assert_eq!(results, [ItemResult::Updated(3)]);
    let error = served(500, r#"{"reqIdx":0,"error":"no"}"#).run(batch()).await.unwrap_err();
    assert_eq!(error.to_string(), "no");
    let error = served(401, "Unauthorized").execute("q", ()).await.unwrap_err();
    assert!(matches!(error, Error::Unauthorized));
    let error = served(503, r#"{"reqIdx":-1,"error":"leader not found"}"#).execute("q", ()).await.unwrap_err();
    assert!(matches!(error, Error::NoLeader));
    let overloaded = r#"{"reqIdx":-1,"error":"the database is overloaded: x"}"#;
    let error = served(503, overloaded).execute("q", ()).await.unwrap_err();
    assert!(matches!(error, Error::Unavailable(_)));
}

#[tokio::test]
async fn a_long_error_message_is_a_failure_of_its_step() {
    // SQLite quotes a token of the statement in its message.
    let body = |length| {
        let message = format!("SQL logic error: near \"{}\": syntax error (1)", "\u{1f600}".repeat(length));
        let body = String::from_utf8(Refusal { status: 500, req_idx: 0, error: message }.body()).unwrap();
        &*Box::leak(body.into_boxed_str())
    };
    let error = served(500, body(100_000)).execute("q", ()).await.unwrap_err();
    assert_eq!(error.sql_error().map(|error| error.code), Some(1));
    for limit in 1000..1010 {
        let error = served(500, body(1000)).with_response_limit(limit).execute("q", ()).await.unwrap_err();
        let Error::Failed { failure: Failure::Protocol { status: 500, message }, .. } = error else {
            panic!("{error:?}")
        };
        assert!(
            message.starts_with("SQL logic error: near \"\u{1f600}") && message.ends_with('\u{1f600}'),
            "{message}"
        );
    }
}
