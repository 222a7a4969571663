//! A transport that sends requests with hyper.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Either, Full};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::{CaptureConnection, HttpConnector, capture_connection};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::crypto::aws_lc_rs;
use rustls::{ClientConfig, RootCertStore};

use super::host::Host;
use super::source_body::{SourceBody, SourceError};
use super::transport::{HttpRequest, HttpResponse, RequestBody, ResponseBody, Transport, TransportError};

/// The time limit for opening a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The time without data after which the operating system sends keepalive probes. It closes the connection if the
/// server does not respond to them.
const KEEPALIVE: Duration = Duration::from_secs(30);
/// The time after which an idle connection is closed. It is shorter than that of the servers, so that a request is not
/// sent on a connection that the server is closing.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// A transport that sends requests with hyper, over HTTP/1.1. Connections are kept open and used again. Needs a tokio
/// runtime. Clones share the connections.
///
/// If the time for a request is limited, the connection must be open after half of the time that is left. Otherwise the
/// request fails with [`TransportError::NotSent`], so that a client can try another server in the rest.
///
/// ```no_run
/// use sqlhttp_text::http::{HttpRequest, HyperTransport, Method, ResponseBody as _, Transport as _};
///
/// # async fn ask() -> Result<(), Box<dyn std::error::Error>> {
/// let transport = HyperTransport::with_system_roots()?;
/// let request = HttpRequest::new(Method::Get, "/readyz");
/// let mut response = transport.send(&"localhost:4001".parse()?, &request).await?;
/// while let Some(chunk) = response.body.chunk().await? {
///     print!("{}", String::from_utf8_lossy(&chunk));
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct HyperTransport {
    client: HttpClient,
    tls: ClientConfig,
    timeout: Option<Duration>,
}

type HttpClient = legacy::Client<HttpsConnector<HttpConnector>, Either<Full<Bytes>, SourceBody>>;

impl HyperTransport {
    /// Creates a transport that trusts the certificates that the operating system trusts.
    ///
    /// # Errors
    /// The TLS library does not support its default protocol versions.
    pub fn with_system_roots() -> Result<HyperTransport, rustls::Error> {
        let mut roots = RootCertStore::empty();
        // Certificates that cannot be read are not trusted. Without any, connections over TLS fail, and others do not.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
        Ok(HyperTransport::new(builder.with_root_certificates(roots).with_no_client_auth()))
    }

    /// Creates a transport. `tls` is the configuration of connections over TLS.
    pub fn new(tls: ClientConfig) -> HyperTransport {
        let client = HyperTransport::client(tls.clone(), CONNECT_TIMEOUT);
        HyperTransport { client, tls, timeout: None }
    }

    fn client(mut tls: ClientConfig, connect_timeout: Duration) -> HttpClient {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(connect_timeout));
        tcp.set_keepalive(Some(KEEPALIVE));
        tcp.set_keepalive_interval(Some(KEEPALIVE));
        // The connector sets the protocols itself.
        tls.alpn_protocols.clear();
        let connector =
            HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1().wrap_connector(tcp);
        legacy::Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .build(connector)
    }

    /// Sets the maximum time from sending a request until the header of the response has arrived. By default there is
    /// no limit, because the time for running a statement has none. The limit does not apply to a request
    /// [without a time limit](HttpRequest::without_time_limit).
    #[must_use]
    pub fn with_timeout(self, timeout: Duration) -> HyperTransport {
        // A server that cannot be reached is found before the limit, so that another one can be tried.
        let connect_timeout = CONNECT_TIMEOUT.min(timeout / 2);
        let client = HyperTransport::client(self.tls.clone(), connect_timeout);
        HyperTransport { client, timeout: Some(timeout), ..self }
    }
}

impl Transport for HyperTransport {
    type Body = Incoming;

    fn time_until(&self, moment: Instant) -> Option<Duration> {
        Some(moment.saturating_duration_since(tokio::time::Instant::now().into_std()))
    }

    async fn send(&self, host: &Host, request: &HttpRequest) -> Result<HttpResponse<Incoming>, TransportError> {
        let timeout = self.timeout.filter(|_| !request.unlimited_time);
        let left = request.deadline.and_then(|deadline| self.time_until(deadline));
        let limit = [timeout, request.time_limit, left].into_iter().flatten().min();
        if limit.is_some_and(|limit| limit.is_zero()) {
            return Err(TransportError::NotSent("the time limit has passed".to_owned()));
        }
        let not_sent = |error: &dyn std::error::Error| TransportError::NotSent(with_causes(error));
        let mut builder =
            hyper::Request::builder().method(request.method.as_str()).uri(format!("{host}{}", request.target));
        for (name, value) in &request.headers {
            builder = builder.header(*name, value);
        }
        let body = match &request.body {
            RequestBody::Bytes(bytes) => Either::Left(Full::new(Bytes::copy_from_slice(bytes))),
            RequestBody::Source(source) => {
                let opened = source.open().map_err(|error| TransportError::Body(error.to_string()))?;
                Either::Right(SourceBody::new(opened, source.length()))
            }
        };
        let mut sent = builder.body(body).map_err(|error| not_sent(&error))?;
        let connection = capture_connection(&mut sent);
        let sending = self.client.request(sent);
        let sent = match limit {
            None => sending.await,
            Some(limit) => within(limit, &connection, sending).await?,
        };
        let response = sent.map_err(|error| {
            if error.is_connect() {
                not_sent(&error)
            } else if is_body_error(&error) {
                TransportError::Body(with_causes(&error))
            } else {
                TransportError::Lost(with_causes(&error))
            }
        })?;
        let headers = response.headers().iter().filter_map(|(name, value)| {
            let value = std::str::from_utf8(value.as_bytes()).ok()?;
            Some((name.as_str().to_owned(), value.to_owned()))
        });
        let headers = headers.collect();
        Ok(HttpResponse { status: response.status().as_u16(), headers, body: response.into_body() })
    }
}

impl ResponseBody for Incoming {
    async fn chunk(&mut self) -> Result<Option<Vec<u8>>, TransportError> {
        // Frames that are not data are trailers, which no server sends.
        while let Some(frame) = self.frame().await {
            let frame = frame.map_err(|error| TransportError::Lost(with_causes(&error)))?;
            if let Ok(data) = frame.into_data() {
                return Ok(Some(data.into()));
            }
        }
        Ok(None)
    }
}

/// Waits for the header of the response until the limit has passed. Half of the time must suffice for the connection.
async fn within<F: Future>(
    limit: Duration,
    connection: &CaptureConnection,
    sending: F,
) -> Result<F::Output, TransportError> {
    let mut sending = pin!(sending);
    let to_connect = limit / 2;
    if let Ok(sent) = tokio::time::timeout(to_connect, sending.as_mut()).await {
        return Ok(sent);
    }
    // hyper sets the connection before it sends the first byte.
    if connection.connection_metadata().is_none() {
        return Err(TransportError::NotSent(format!("no connection within {to_connect:?}")));
    }
    let lost = |_| TransportError::Lost(format!("no response within {limit:?}"));
    tokio::time::timeout(limit.saturating_sub(to_connect), sending).await.map_err(lost)
}

/// Whether the body of the request could not be read. The server has then received a part of the request, and does not
/// carry it out. After other errors that hyper attributes to its user, such as the end of the runtime, it may do so.
fn is_body_error(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut causes = std::iter::successors(Some(error), |error| error.source());
    causes.any(|cause| cause.is::<SourceError>())
}

/// Returns the message of an error and of its causes. The errors of hyper alone do not contain the reason.
fn with_causes(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    let messages: Vec<String> = causes.map(ToString::to_string).collect();
    messages.join(": ")
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, clippy::disallowed_types)] // The tests contain the server.
mod tests {
    use std::future::poll_fn;
    use std::io::{self, BufRead as _, BufReader, Cursor, Read as _, Write as _};
    use std::net::{TcpListener, TcpStream};
    use std::pin::{Pin, pin};

    use tokio::runtime::{Builder, Runtime};
    use tokio::sync::oneshot;

    use super::*;
    use crate::http::{BodySource, Hosts, Method, SendError};

    fn runtime() -> Runtime {
        Builder::new_current_thread().enable_all().build().unwrap()
    }

    fn transport() -> HyperTransport {
        HyperTransport::with_system_roots().unwrap()
    }

    /// Starts a server that passes its first connection to `serve`.
    fn server(serve: impl FnOnce(BufReader<TcpStream>) + Send + 'static) -> Host {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let host = format!("http://{}", listener.local_addr().unwrap());
        std::thread::spawn(move || serve(BufReader::new(listener.accept().unwrap().0)));
        host.parse().unwrap()
    }

    fn read_head(connection: &mut BufReader<TcpStream>) {
        let mut line = String::new();
        while connection.read_line(&mut line).unwrap() > "\r\n".len() {
            line.clear();
        }
    }

    /// A source that contains fewer bytes than its length says.
    struct TooShort;

    impl BodySource for TooShort {
        fn length(&self) -> u64 {
            10
        }

        fn open(&self) -> io::Result<Box<dyn io::Read + Send>> {
            Ok(Box::new(Cursor::new(b"abc")))
        }
    }

    #[test]
    fn a_body_that_cannot_be_read_is_reported() {
        let host = server(|mut connection| drop(connection.read_to_end(&mut Vec::new())));
        let source: Arc<dyn BodySource> = Arc::new(TooShort);
        let request = HttpRequest::new(Method::Post, "/").with_body("text/plain", source);
        let error = runtime().block_on(transport().send(&host, &request)).unwrap_err();
        assert!(matches!(&error, TransportError::Body(why) if why.contains("shorter")), "{error}");
    }

    #[test]
    fn the_end_of_the_runtime_leaves_the_outcome_open() {
        let (received, mut wait) = oneshot::channel();
        let host = server(|mut connection| {
            read_head(&mut connection);
            received.send(()).unwrap();
            let _ = connection.read(&mut [0]);
        });
        let (transport, request) = (transport(), HttpRequest::new(Method::Post, "/"));
        let mut sending = pin!(transport.send(&host, &request));
        // The task of the connection belongs to this runtime.
        runtime().block_on(poll_fn(|cx| {
            assert!(sending.as_mut().poll(cx).is_pending());
            Pin::new(&mut wait).poll(cx).map(drop)
        }));
        let error = runtime().block_on(sending).unwrap_err();
        assert!(matches!(error, TransportError::Lost(_)), "{error}");
    }

    /// A server that accepts connections over TCP, but does not continue with the TLS handshake.
    fn silent() -> (TcpListener, Host) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let host = format!("https://{}", listener.local_addr().unwrap());
        (listener, host.parse().unwrap())
    }

    #[test]
    fn a_host_whose_connection_does_not_open_leaves_time_for_the_next_one() {
        let (_listener, first) = silent();
        let second = server(|mut connection| {
            read_head(&mut connection);
            connection.get_mut().write_all(b"HTTP/1.1 204 No Content\r\n\r\n").unwrap();
        });
        let hosts = Hosts::new(first, [second.clone()]);
        let request = HttpRequest::new(Method::Post, "/").with_deadline(Instant::now() + Duration::from_secs(2));
        let transport = transport();
        let (host, response) = runtime().block_on(hosts.send(&transport, &request)).unwrap();
        assert_eq!((host, response.status), (&second, 204));
    }

    #[test]
    fn a_request_that_was_not_sent_in_time_has_no_effect() {
        let (listener, first) = silent();
        let hosts = Hosts::new(first.clone(), [first]);
        let transport = transport();
        let limited = |time| HttpRequest::new(Method::Post, "/").with_deadline(Instant::now() + time);
        let send = |time| runtime().block_on(hosts.send(&transport, &limited(time))).map(drop);
        let Err(SendError::Unreachable(errors)) = send(Duration::ZERO) else { panic!("the request was sent") };
        assert!(errors.len() == 2 && errors.iter().all(|(_, why)| why == "the time limit has passed"), "{errors:?}");
        listener.set_nonblocking(true).unwrap();
        assert_eq!(listener.accept().unwrap_err().kind(), io::ErrorKind::WouldBlock);
        let error = send(Duration::from_millis(100)).unwrap_err();
        assert!(matches!(error, SendError::Unreachable(_)), "{error}");
    }

    #[test]
    fn a_request_without_a_response_in_time_leaves_the_outcome_open() {
        let host = server(|mut connection| drop(connection.read_to_end(&mut Vec::new())));
        let request = HttpRequest::new(Method::Post, "/").with_time_limit(Duration::from_secs(1));
        let error = runtime().block_on(transport().send(&host, &request)).unwrap_err();
        assert!(matches!(error, TransportError::Lost(_)), "{error}");
    }
}
