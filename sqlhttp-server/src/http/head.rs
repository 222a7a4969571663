//! A layer between the socket and hyper for HTTP/1. It detects request heads with both `Content-Length` and
//! `Transfer-Encoding`, which hyper does not report. It also replaces hyper's own error responses, whose body is empty,
//! with responses that have a body.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use hyper::body::{Body, Incoming};
use hyper::header;
use hyper::http::request::Parts;
use memchr::memmem::Finder;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::peer::Peer;

/// The interim response that hyper writes before it reads the body of a request with `Expect: 100-continue`.
const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

const LENGTH: &[u8; 15] = b"content-length:";
const CODING: &[u8; 18] = b"transfer-encoding:";

/// Finds the end of a request head, if its lines end with CR LF.
static END: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("\r\n\r\n"));

/// Returns the reason why a request head is ambiguous; `None` if it is not. From an ambiguous head, a proxy in front of
/// this server could read another host or another end of the body than this server (request smuggling; RFC 9112,
/// section 11.2).
pub(crate) fn ambiguity(head: &Parts, body: Option<&Incoming>, peer: &Peer) -> Option<&'static str> {
    if head.headers.get_all(header::HOST).iter().nth(1).is_some() {
        return Some("too many Host headers");
    }
    // If hyper has determined the length of the body, the request has no Transfer-Encoding.
    if body.is_none_or(|body| body.size_hint().exact().is_some()) {
        return None;
    }
    let mut codings = head.headers.get_all(header::TRANSFER_ENCODING).iter();
    match (codings.next(), codings.next()) {
        (Some(_), None) if peer.is_ambiguous() => Some("both Content-Length and Transfer-Encoding"),
        (Some(coding), None) if coding.as_bytes().eq_ignore_ascii_case(b"chunked") => None,
        // HTTP/2 has no Transfer-Encoding.
        (None, _) => None,
        _ => Some("unsupported transfer encoding"),
    }
}

/// The byte stream of an HTTP/1 connection, between the socket and hyper. It scans the request heads that hyper reads
/// and replaces the error responses that hyper generates itself.
pub(crate) struct Http1Stream<S> {
    inner: S,
    peer: Arc<Peer>,
    scan: FramingScanner,
    /// Whether hyper has written any byte of a response since the latest request head began.
    is_answered: bool,
    /// For a status such as `400 Bad Request`, returns the media type and the body of the response that replaces
    /// hyper's.
    refusal_body: fn(&str) -> (&'static str, String),
    /// The unsent rest of a response that replaces hyper's; empty if there is none.
    refusal: Bytes,
}

impl<S> Http1Stream<S> {
    /// Wraps a socket. `refusal_body` returns the media type and the body of an error response for a status such as
    /// `400 Bad Request`.
    pub(crate) fn new(inner: S, peer: Arc<Peer>, refusal_body: fn(&str) -> (&'static str, String)) -> Self {
        Http1Stream {
            inner,
            peer,
            scan: FramingScanner::default(),
            is_answered: false,
            refusal_body,
            refusal: Bytes::new(),
        }
    }

    /// Scans received bytes. The first bytes that arrive after a response begin a new head.
    fn received(&mut self, bytes: &[u8]) {
        // A pipelined request, which arrives while the previous request runs, does not start a new scan.
        if self.is_answered && !self.peer.has_running_request() {
            self.is_answered = false;
            self.scan = FramingScanner::default();
            self.peer.begin_head();
        }
        if self.scan.is_ambiguous_after(bytes) {
            self.peer.set_ambiguous();
        }
    }

    /// Returns whether `bytes`, which hyper is writing, are an error response to a head that has not reached a handler.
    /// If they are, stores the response that replaces them in `refusal`.
    fn is_replaced(&mut self, bytes: &[u8]) -> bool {
        if bytes == CONTINUE {
            return false;
        }
        let is_first = !std::mem::replace(&mut self.is_answered, true);
        if !is_first || self.peer.is_handled() {
            return false;
        }
        let Some(status) = refused_status(bytes) else { return false };
        let (media_type, body) = (self.refusal_body)(status);
        let length = body.len();
        self.refusal = Bytes::from(format!(
            "HTTP/1.1 {status}\r\nContent-Type: {media_type}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
        ));
        // hyper will not read the bytes that the client may still be sending.
        self.peer.expect_unread_bytes();
        true
    }
}

/// Returns the status of a response if hyper generated it as an error response: 400, 414 or 431 with an empty body.
/// `None` for any other response.
fn refused_status(answer: &[u8]) -> Option<&str> {
    let head = std::str::from_utf8(answer).ok()?;
    let status = head.strip_prefix("HTTP/1.1 ")?.split("\r\n").next()?;
    let is_hypers = ["400 ", "414 ", "431 "].iter().any(|code| status.starts_with(code));
    (is_hypers && head.contains("content-length: 0\r\n") && head.ends_with("\r\n\r\n")).then_some(status)
}

impl<S: AsyncWrite + Unpin> Http1Stream<S> {
    /// Sends the unsent rest of `refusal`, the response that replaces hyper's.
    fn poll_refusal(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.refusal.is_empty() {
            let written = ready!(Pin::new(&mut self.inner).poll_write(cx, &self.refusal))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.refusal.advance(written);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Http1Stream<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.inner).poll_read(cx, buffer);
        let bytes = &buffer.filled()[before..];
        if !bytes.is_empty() {
            self.received(bytes);
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Http1Stream<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_refusal(cx))?;
        if self.is_replaced(bytes) {
            return Poll::Ready(Ok(bytes.len()));
        }
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_refusal(cx))?;
        // hyper writes an error response and `100 Continue` each as a single slice.
        let first = slices.iter().find(|slice| !slice.is_empty()).map_or(&[][..], |slice| slice);
        if self.is_replaced(first) {
            return Poll::Ready(Ok(first.len()));
        }
        Pin::new(&mut self.inner).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_refusal(cx))?;
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_refusal(cx))?;
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

/// Searches a request head for `Content-Length` and `Transfer-Encoding` while the head arrives. (If both are present,
/// hyper passes on only the header that it uses.)
///
/// The head of a pipelined request, which was sent before the previous response, is not scanned. If such a head has
/// both headers, hyper closes the connection after the request.
#[derive(Default)]
struct FramingScanner {
    /// The first bytes of a header line whose end has not arrived yet. `len` is the number of these bytes.
    line: [u8; CODING.len()],
    len: usize,
    has_line: bool,
    has_length: bool,
    has_coding: bool,
    is_over: bool,
}

impl FramingScanner {
    /// Scans the next bytes of the head. Returns whether both headers have been found up to now.
    fn is_ambiguous_after(&mut self, mut bytes: &[u8]) -> bool {
        if self.is_over || self.is_whole_head_without_coding(bytes) {
            self.is_over = true;
            return self.has_length && self.has_coding;
        }
        while !self.is_over && !bytes.is_empty() {
            let Some(end) = memchr::memchr(b'\n', bytes) else {
                self.keep(bytes);
                break;
            };
            if self.len == 0 {
                self.take_line(&bytes[..end]);
            } else {
                self.keep(&bytes[..end]);
                let (line, len) = (self.line, std::mem::take(&mut self.len));
                self.take_line(&line[..len]);
            }
            bytes = &bytes[end + 1..];
        }
        self.has_length && self.has_coding
    }

    /// Fast path: returns whether a whole head is contained in these bytes and the bytes of [`CODING`] do not occur in
    /// it. This is true for almost every request. Other heads are scanned line by line.
    fn is_whole_head_without_coding(&self, bytes: &[u8]) -> bool {
        let begins = !self.has_line && self.len == 0 && bytes.first().is_some_and(u8::is_ascii_graphic);
        begins && END.find(bytes).is_some_and(|end| !names_coding(&bytes[..end]))
    }

    /// Appends bytes to `line`. Bytes that do not fit are dropped, because only the name of a header is compared.
    fn keep(&mut self, bytes: &[u8]) {
        let len = bytes.len().min(self.line.len() - self.len);
        self.line[self.len..self.len + len].copy_from_slice(&bytes[..len]);
        self.len += len;
    }

    /// Checks a complete line of the head for the two headers.
    #[inline]
    fn take_line(&mut self, line: &[u8]) {
        match line {
            // Empty lines before the head are skipped.
            b"" | b"\r" => self.is_over = self.has_line,
            [b'c' | b'C', ..] => self.has_length = self.has_length || begins_with(line, LENGTH),
            [b't' | b'T', ..] => self.has_coding = self.has_coding || begins_with(line, CODING),
            _ => {}
        }
        self.has_line = self.has_line || !line.trim_ascii().is_empty();
    }
}

/// Returns whether the bytes of [`CODING`] occur anywhere in a head. The search looks for the letter `f`, because of
/// the letters in [`CODING`] it is the one that is rare in heads.
fn names_coding(head: &[u8]) -> bool {
    const BEFORE_F: usize = 5;
    memchr::memchr2_iter(b'f', b'F', head).any(|f| {
        let name = f.checked_sub(BEFORE_F).and_then(|start| head[start..].first_chunk());
        name.is_some_and(|name: &[u8; CODING.len()]| name.eq_ignore_ascii_case(CODING))
    })
}

/// Returns whether a header line begins with `name`, which includes the colon. The colon is compared first, because few
/// other headers have a name of the same length.
#[inline]
fn begins_with<const N: usize>(line: &[u8], name: &[u8; N]) -> bool {
    line.first_chunk::<N>().is_some_and(|start| start[N - 1] == b':' && start.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_ambiguous(pieces: &[&str]) -> bool {
        let mut scan = FramingScanner::default();
        pieces.iter().fold(false, |_, piece| scan.is_ambiguous_after(piece.as_bytes()))
    }

    #[test]
    fn heads_that_arrive_in_several_chunks_are_scanned() {
        let both = "\r\nPOST / HTTP/1.1\r\nHost: a\r\ncontent-LENGTH: 5\r\nTransfer-Encoding: chunked\r\n\r\n";
        let body = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nContent-Length: 5\r\n";
        for at in 0..both.len() {
            assert!(is_ambiguous(&[&both[..at], &both[at..]]), "{at}");
        }
        for at in 0..body.len() {
            assert!(!is_ambiguous(&[&body[..at], &body[at..]]), "{at}");
        }
        let pieces: Vec<_> = (0..both.len()).map(|at| &both[at..=at]).collect();
        assert!(is_ambiguous(&pieces));
        assert!(!is_ambiguous(&["POST / HTTP/1.1\nTransfer-Encoding: chunked\nX-Content-Length: 5\n\n"]));
    }

    /// Both headers are found in either order. A head without `Transfer-Encoding` takes the fast path, and the bytes
    /// after the end of a head are not scanned.
    #[test]
    fn both_headers_are_found_in_any_order() {
        let line = "POST /ff HTTP/1.1\r\nX-Transfer: f\r\n";
        let (length, coding) = ("content-length: 5\r\n", "TRANSFER-encoding: chunked\r\n");
        for head in [[line, length, coding, "\r\n"], [line, coding, length, "\r\n"], ["f\n", length, coding, "\r\n"]] {
            assert!(is_ambiguous(&[&head.concat()]), "{head:?}");
        }
        let both = [length, coding, "\r\n"].concat();
        for head in [[line, "\r\n"].concat(), [line, length, "\r\n"].concat(), [line, "\n", length].concat()] {
            assert!(!is_ambiguous(&[&head, &both]), "{head:?}");
            assert!(!is_ambiguous(&[&[&head, &both[..]].concat()]), "{head:?}");
        }
        // Empty lines before the head, and a head that arrives in two chunks.
        assert!(is_ambiguous(&["\r\n\r\n", line, &both]));
        assert!(is_ambiguous(&[line, &both]));
    }

    #[test]
    fn error_responses_of_hyper_are_recognised() {
        let refusal = b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\ndate: x\r\n\r\n";
        assert_eq!(refused_status(refusal), Some("431 Request Header Fields Too Large"));
        assert_eq!(refused_status(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"), None);
        assert_eq!(refused_status(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 2\r\n\r\nno"), None);
    }
}
