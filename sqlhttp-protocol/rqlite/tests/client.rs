//! The client, on a network that the tests simulate.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::HashMap;
use std::sync::Mutex;

use sqlhttp_core::{Batch, Error, Executor as _, Failure, ReadLevel, Step};
use sqlhttp_rqlite::Endpoint;
use sqlhttp_rqlite::client::{
    Client, ClientError, Host, HttpRequest, HttpResponse, Method, RequestBody, ResponseBody, StatementResult,
    Transport, TransportError,
};

/// How a server of the simulated network behaves.
#[derive(Debug, Clone)]
enum Server {
    /// Responds with a status, a value of the header field `location`, and a body.
    Responds(u16, &'static str, &'static str),
    /// Cannot be reached.
    Down,
    /// Closes the connection instead of responding.
    Closes,
}

/// The simulated network: the servers by their addresses, and the requests that they have received.
#[derive(Default, Debug)]
struct Network {
    servers: Mutex<HashMap<String, Server>>,
    received: Mutex<Vec<(String, HttpRequest)>>,
}

struct Body(Vec<Vec<u8>>);

impl ResponseBody for Body {
    async fn chunk(&mut self) -> Result<Option<Vec<u8>>, TransportError> {
        Ok(self.0.pop())
    }
}

impl Transport for &Network {
    type Body = Body;

    async fn send(&self, host: &Host, request: &HttpRequest) -> Result<HttpResponse<Body>, TransportError> {
        let server = self.servers.lock().unwrap().get(&host.to_string()).cloned().unwrap_or(Server::Down);
        if matches!(server, Server::Down) {
            return Err(TransportError::NotSent("refused".into()));
        }
        self.received.lock().unwrap().push((host.to_string(), request.clone()));
        let Server::Responds(status, location, body) = server else {
            return Err(TransportError::Lost("closed".into()));
        };
        let location = Some(location).filter(|location| !location.is_empty());
        let headers = location.map(|location| ("location".to_owned(), location.to_owned())).into_iter().collect();
        let (first, second) = body.as_bytes().split_at(body.len() / 2);
        Ok(HttpResponse::new(status, headers, Body(vec![second.to_vec(), first.to_vec()])))
    }
}

fn bytes(body: &RequestBody) -> &[u8] {
    match body {
        RequestBody::Bytes(bytes) => bytes,
        RequestBody::Source(_) => panic!("the body is not in memory"),
    }
}

impl Network {
    fn set(&self, host: &str, server: Server) {
        self.servers.lock().unwrap().insert(host.to_owned(), server);
    }

    /// Returns the addresses of the servers that have received a request since the last call.
    fn receivers(&self) -> Vec<String> {
        std::mem::take(&mut *self.received.lock().unwrap()).into_iter().map(|(host, _)| host).collect()
    }
}

const CHANGED: Server = Server::Responds(200, "", r#"{"results":[{"rows_affected":1}]}"#);

fn client<'n>(network: &'n Network, hosts: &[&str]) -> Client<&'n Network> {
    let mut hosts = hosts.iter().map(|host| host.parse::<Host>().unwrap());
    Client::new(network, hosts.next().unwrap(), hosts)
}

async fn insert<T: Transport>(client: &Client<T>) -> Result<Vec<StatementResult>, ClientError> {
    let batch = Batch::one(Step::execute("INSERT INTO t VALUES(1)", ()));
    Ok(client.run(Endpoint::Execute, &batch, |_| {}).await?.results)
}

#[tokio::test]
async fn a_request_contains_prefix_parameters_and_credentials() {
    let network = Network::default();
    network.set("http://a", Server::Responds(200, "", r#"{"results":[]}"#));
    let client = client(&network, &["a"]).with_prefix("db1").with_basic_auth("joe", "a:b");
    let batch = Batch::one(Step::query("SELECT 1", ()));
    client.run(Endpoint::Query, &batch, |params| params.level = ReadLevel::None).await.unwrap();
    let (_, request) = network.received.lock().unwrap().remove(0);
    assert_eq!((request.method, request.target.as_str()), (Method::Post, "/db1/db/query?transaction&level=none"));
    assert_eq!(bytes(&request.body), br#"["SELECT 1"]"#);
    let header = |name| request.headers.iter().find(|(found, _)| *found == name).map(|(_, value)| value.as_str());
    assert_eq!(
        (header("content-type"), header("authorization")),
        (Some("application/json"), Some("Basic am9lOmE6Yg=="))
    );
}

#[tokio::test]
async fn the_next_host_receives_the_request_if_one_cannot_be_reached() {
    let network = Network::default();
    network.set("http://b", CHANGED);
    let client = client(&network, &["a", "b"]);
    assert!(matches!(insert(&client).await.unwrap()[..], [StatementResult::Changed(_)]));
    assert_eq!(client.host().to_string(), "http://b");
    // The client stays with the host, although the first one can be reached again.
    network.set("http://a", CHANGED);
    insert(&client).await.unwrap();
    assert_eq!(network.receivers(), ["http://b", "http://b"]);
    network.set("http://b", Server::Down);
    insert(&client).await.unwrap();
    assert_eq!(network.receivers(), ["http://a"]);
}

#[tokio::test]
async fn the_error_of_an_unreachable_cluster_names_each_host() {
    let error = insert(&client(&Network::default(), &["a", "https://b:1"])).await.unwrap_err();
    assert_eq!(error.to_string(), "no host can be reached: http://a: refused; https://b:1: refused");
}

#[tokio::test]
async fn a_request_that_may_have_been_carried_out_is_not_sent_again() {
    let network = Network::default();
    network.set("http://a", Server::Closes);
    network.set("http://b", CHANGED);
    let client = client(&network, &["a", "b"]);
    assert!(matches!(insert(&client).await, Err(ClientError::Lost { host, .. }) if host.to_string() == "http://a"));
    assert_eq!(network.receivers(), ["http://a"]);
    // The next request is sent to another host.
    insert(&client).await.unwrap();
    assert_eq!(network.receivers(), ["http://b"]);
}

#[tokio::test]
async fn a_redirect_leads_to_the_leader_with_the_same_request() {
    let network = Network::default();
    network.set("http://a", Server::Responds(301, "http://leader:4001/db/execute?x", ""));
    network.set("http://leader:4001", CHANGED);
    let client = client(&network, &["a"]).with_basic_auth("u", "p");
    insert(&client).await.unwrap();
    let received = network.received.lock().unwrap();
    let [(_, first), (leader, second)] = &received[..] else { panic!("{} requests", received.len()) };
    assert_eq!((leader.as_str(), second.target.as_str()), ("http://leader:4001", "/db/execute?x"));
    assert_eq!((second.method, &second.headers), (first.method, &first.headers));
    assert_eq!(bytes(&second.body), bytes(&first.body));
}

#[tokio::test]
async fn redirects_that_never_end_or_remove_the_encryption_are_refused() {
    let network = Network::default();
    network.set("http://a", Server::Responds(301, "/db/execute", ""));
    assert_eq!(insert(&client(&network, &["a"])).await, Err(ClientError::TooManyRedirects));
    assert_eq!(network.receivers().len(), 1 + 21);
    network.set("https://b", Server::Responds(301, "http://a/db/execute", ""));
    let error = insert(&client(&network, &["https://b"])).await.unwrap_err();
    assert!(error.to_string().contains("without encryption"), "{error}");
    assert_eq!(network.receivers(), ["https://b"]);
}

#[tokio::test]
async fn errors_of_the_server_and_responses_that_are_too_long() {
    let network = Network::default();
    network.set("http://a", Server::Responds(503, "", "leader not found\n"));
    let error = insert(&client(&network, &["a"])).await.unwrap_err();
    assert_eq!(error.to_string(), "503: leader not found");
    network.set("http://a", CHANGED);
    assert_eq!(insert(&client(&network, &["a"]).with_response_limit(10)).await, Err(ClientError::TooLong(10)));
}

#[tokio::test]
async fn a_batch_that_is_known_to_fail_is_not_sent() {
    let network: &'static Network = Box::leak(Box::default());
    network.set("http://a", CHANGED);
    let db = client(network, &["a"]);
    let error = db.execute("INSERT INTO t VALUES(?)", [u64::MAX]).await.unwrap_err();
    assert!(matches!(error, Error::Failed { step: None, failure: Failure::BadParameter { .. } }), "{error:?}");
    let error = db.query("SELECT ?", [u64::MAX]).await.unwrap_err();
    assert!(matches!(error.failure(), Some(Failure::BadParameter { .. })), "{error:?}");
    let steps = vec![Step::execute("DELETE FROM t", ()), Step::execute("INSERT INTO t VALUES(?)", [u64::MAX])];
    let error = db.batch(steps).await.unwrap_err();
    assert!(matches!(error, Error::Failed { step: Some(1), .. }), "{error:?}");
    assert!(network.receivers().is_empty());
}

#[test]
fn debug_output_contains_no_credentials() {
    let network = Network::default();
    let client = client(&network, &["a"]).with_basic_auth("joe", "a:b");
    let mut request = HttpRequest::new(Method::Get, "/readyz");
    request.headers.push(("authorization", "Basic am9lOmE6Yg==".to_owned()));
    for shown in [format!("{client:?}"), format!("{request:?}")] {
        assert!(shown.contains("authorization") && !shown.contains("am9lOmE6Yg"), "{shown}");
    }
}
