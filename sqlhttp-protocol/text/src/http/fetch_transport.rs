//! A transport that sends requests with `fetch()`, for WebAssembly.

use std::future::Future;
use std::io::Read as _;
use std::time::Duration;

use js_sys::{Array, Function, Promise, Reflect, Uint8Array};
use send_wrapper::SendWrapper;
use wasm_bindgen::{JsCast as _, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::{AbortController, Headers, ReadableStreamDefaultReader, RequestInit, RequestRedirect, Response};

use super::host::Host;
use super::transport::{HttpRequest, HttpResponse, RequestBody, ResponseBody, Transport, TransportError};

/// A transport that sends requests with `fetch()` (<https://fetch.spec.whatwg.org>), in a browser, a worker or Node.js.
///
/// * `fetch()` does not report whether a request was sent. So each failure of a connection is
///   [`TransportError::Lost`]: the request is not sent to another host, but the next request is if the header of the
///   response has not arrived.
/// * Redirects are not followed, because `fetch()` does not show them. They fail with [`TransportError::Lost`].
/// * In a browser, the server must allow the origin of the page (`corsOrigin`, on a node `-http-allow-origin`). Only
///   the header fields that the server exposes to the page are part of the response.
/// * [`Transport::time_until`] returns `None`, because [`std::time::Instant`] has no clock in WebAssembly. So
///   [`HttpRequest::deadline`] has no effect, unlike [`HttpRequest::time_limit`].
/// * The body of a request is held in memory.
/// * Requests and responses must stay on the thread that has created them. To use or drop them on another thread is a
///   panic.
///
/// ```
/// use sqlhttp_text::http::{FetchTransport, HttpRequest, Method, ResponseBody as _, Transport as _, TransportError};
///
/// async fn is_ready() -> Result<bool, TransportError> {
///     let Ok(host) = "https://db.example.com".parse() else { return Ok(false) };
///     let response = FetchTransport::new().send(&host, &HttpRequest::new(Method::Get, "/readyz")).await?;
///     Ok(response.status == 200)
/// }
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct FetchTransport {
    timeout: Option<Duration>,
}

/// The body of a response to `fetch()`. If it is dropped before its end, the connection is closed.
#[derive(Debug)]
pub struct FetchBody {
    /// `None` for a response without a body.
    reader: Option<SendWrapper<ReadableStreamDefaultReader>>,
    _request: SendWrapper<AbortOnDrop>,
}

/// Aborts a request when it is dropped. This has no effect after the end of the response.
#[derive(Debug)]
struct AbortOnDrop(AbortController);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl FetchTransport {
    /// Creates a transport.
    pub fn new() -> FetchTransport {
        FetchTransport::default()
    }

    /// Sets the maximum time from sending a request until the header of the response has arrived, up to 24 days. By
    /// default there is no limit. The limit does not apply to a request
    /// [without a time limit](HttpRequest::without_time_limit).
    #[must_use]
    pub fn with_timeout(self, timeout: Duration) -> FetchTransport {
        FetchTransport { timeout: Some(timeout) }
    }
}

impl Transport for FetchTransport {
    type Body = FetchBody;

    fn send(
        &self,
        host: &Host,
        request: &HttpRequest,
    ) -> impl Future<Output = Result<HttpResponse<FetchBody>, TransportError>> + Send {
        let timeout = self.timeout.filter(|_| !request.unlimited_time);
        let limit = [timeout, request.time_limit].into_iter().flatten().min();
        SendWrapper::new(send(host, request, limit))
    }
}

impl ResponseBody for FetchBody {
    fn chunk(&mut self) -> impl Future<Output = Result<Option<Vec<u8>>, TransportError>> + Send {
        let reader = self.reader.as_deref();
        SendWrapper::new(async move {
            let Some(reader) = reader else { return Ok(None) };
            read(reader).await.map_err(|error| TransportError::Lost(text(&error)))
        })
    }
}

async fn send(
    host: &Host,
    request: &HttpRequest,
    limit: Option<Duration>,
) -> Result<HttpResponse<FetchBody>, TransportError> {
    let not_sent = |error: JsValue| TransportError::NotSent(text(&error));
    let lost = |error: JsValue| TransportError::Lost(text(&error));
    let aborting = AbortOnDrop(AbortController::new().map_err(not_sent)?);
    let options = options(request, &aborting.0)?;
    let url = format!("{host}{}", request.target);
    let timer = limit.map(Timer::start).transpose().map_err(not_sent)?;
    let mut waiting = call("fetch", &[&url.into(), &options]).map_err(not_sent)?;
    if let Some(timer) = &timer {
        waiting = Promise::race(&Array::of2(&waiting, &timer.elapsed)).into();
    }
    let sent = JsFuture::from(waiting.unchecked_into::<Promise>()).await;
    drop(timer);
    let sent = sent.map_err(lost)?;
    let Ok(response) = sent.dyn_into::<Response>() else {
        return Err(TransportError::Lost(format!("no response within {:?}", limit.unwrap_or_default())));
    };
    let headers = headers(&response.headers()).map_err(lost)?;
    let reader = response.body().map(|body| ReadableStreamDefaultReader::new(&body)).transpose().map_err(lost)?;
    let body = FetchBody { reader: reader.map(SendWrapper::new), _request: SendWrapper::new(aborting) };
    Ok(HttpResponse { status: response.status(), headers, body })
}

/// The second argument of `fetch()`.
fn options(request: &HttpRequest, aborting: &AbortController) -> Result<JsValue, TransportError> {
    let not_sent = |error: JsValue| TransportError::NotSent(text(&error));
    let headers = Headers::new().map_err(not_sent)?;
    for (name, value) in &request.headers {
        headers.append(name, value).map_err(not_sent)?;
    }
    let options = RequestInit::new();
    options.set_method(request.method.as_str());
    options.set_headers(&headers);
    options.set_signal(Some(&aborting.signal()));
    // A browser would repeat a POST as a GET.
    options.set_redirect(RequestRedirect::Error);
    match &request.body {
        RequestBody::Bytes(bytes) if bytes.is_empty() => {}
        RequestBody::Bytes(bytes) => options.set_body(&Uint8Array::from(&bytes[..])),
        RequestBody::Source(source) => {
            let mut bytes = Vec::new();
            let read = source.open().and_then(|open| open.take(source.length()).read_to_end(&mut bytes));
            read.map_err(|error| TransportError::Body(error.to_string()))?;
            options.set_body(&Uint8Array::from(&bytes[..]));
        }
    }
    Ok(options.into())
}

/// Calls a function of the global object, which a window, a worker and Node.js have.
fn call(name: &str, arguments: &[&JsValue]) -> Result<JsValue, JsValue> {
    let global: JsValue = js_sys::global().into();
    let function: Function = Reflect::get(&global, &name.into())?.dyn_into()?;
    let list = Array::new();
    for argument in arguments {
        list.push(argument);
    }
    function.apply(&global, &list)
}

/// A timer. Dropping it stops it: a timer that runs would hold its objects, and would keep Node.js from ending.
struct Timer {
    /// A promise that is resolved to `undefined` at the end of the time.
    elapsed: Promise,
    /// The result of `setTimeout()`: a number, or an object in Node.js.
    id: JsValue,
}

impl Timer {
    fn start(time: Duration) -> Result<Timer, JsValue> {
        let mut started = Ok(JsValue::UNDEFINED);
        let elapsed = Promise::new(&mut |resolve, _| {
            started = call("setTimeout", &[&resolve, &JsValue::from_f64(milliseconds(time))]);
        });
        Ok(Timer { elapsed, id: started? })
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        // Only a global object without this function fails. The timer then ends by itself.
        let _ = call("clearTimeout", &[&self.id]);
    }
}

/// The argument of `setTimeout()`, at most 2^31 - 1, which is 24 days: a longer timer ends at once
/// (<https://developer.mozilla.org/docs/Web/API/Window/setTimeout#maximum_delay_value>).
fn milliseconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1000.0).min(f64::from(i32::MAX))
}

fn headers(headers: &Headers) -> Result<Vec<(String, String)>, JsValue> {
    let mut list = Vec::new();
    for entry in headers.entries() {
        let entry: Array = entry?.unchecked_into();
        // `fetch()` returns the names in lower case.
        if let (Some(name), Some(value)) = (entry.get(0).as_string(), entry.get(1).as_string()) {
            list.push((name, value));
        }
    }
    Ok(list)
}

/// Reads the next chunk; `None` at the end.
async fn read(reader: &ReadableStreamDefaultReader) -> Result<Option<Vec<u8>>, JsValue> {
    let chunk = JsFuture::from(reader.read()).await?;
    if Reflect::get(&chunk, &"done".into())?.is_truthy() {
        return Ok(None);
    }
    Ok(Some(Uint8Array::new(&Reflect::get(&chunk, &"value".into())?).to_vec()))
}

/// The text of an exception.
fn text(error: &JsValue) -> String {
    let message = || Reflect::get(error, &"message".into()).ok()?.as_string();
    message().or_else(|| error.as_string()).unwrap_or_else(|| format!("{error:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[allow(clippy::float_cmp)] // The numbers have no rounding error.
    fn a_timer_does_not_end_at_once_if_its_time_is_long() {
        assert_eq!(milliseconds(Duration::from_millis(1500)), 1500.0);
        for time in [Duration::from_secs(1 << 31), Duration::MAX] {
            assert_eq!(milliseconds(time), f64::from(i32::MAX));
        }
    }
}
