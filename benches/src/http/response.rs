//! An incremental parser of HTTP/1.x responses that does not store response bodies.

use memchr::memmem;

/// The maximum length of the status line and the headers together, and of a trailer line, in bytes.
const HEAD_LEN_MAX: usize = 64 << 10;
/// The maximum length of a line that contains the size of a chunk, in bytes.
const CHUNK_LINE_LEN_MAX: usize = 1 << 10;

/// The received bytes are not an HTTP/1.x response. The text is the reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed response: {0}")]
pub struct Malformed(pub &'static str);

/// A complete HTTP response, without its body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Response {
    /// The status code of the response.
    pub status: u16,
    /// The length of the response body in bytes, without the framing of chunks.
    pub body_len: u64,
    /// Whether another request can be sent on the connection.
    pub keep_alive: bool,
}

/// The result of [`ResponseParser::feed`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// All bytes were consumed, and the response is not complete yet.
    More,
    /// The response is complete.
    Done {
        /// The complete response.
        response: Response,
        /// How many of the bytes that this call of [`ResponseParser::feed`] has taken belong to the response. The
        /// others belong to the next response.
        consumed: usize,
    },
}

/// Parses the responses on one connection, one after the other.
#[derive(Debug, Default)]
pub struct ResponseParser {
    state: ParseState,
    line: Vec<u8>,
    response: Option<Response>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum ParseState {
    #[default]
    Head,
    Fixed(u64),
    UntilClose,
    ChunkSize,
    ChunkData(u64),
    ChunkEnd,
    Trailers,
    Done,
}

#[derive(Debug, PartialEq, Eq)]
struct Head {
    status: u16,
    framing: Framing,
    keep_alive: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Framing {
    Length(u64),
    Chunked,
    UntilClose,
}

impl ResponseParser {
    /// Parses the next bytes that were received on the connection. If `body` is given, the bytes of the response body
    /// are appended to it.
    ///
    /// After [`Progress::Done`], the next call begins to parse the next response. After an error, the parser must not
    /// be used again.
    pub fn feed(&mut self, bytes: &[u8], mut body: Option<&mut Vec<u8>>) -> Result<Progress, Malformed> {
        let mut rest = bytes;
        loop {
            if self.state == ParseState::Done {
                return self.finish(bytes.len() - rest.len());
            }
            if rest.is_empty() {
                return Ok(Progress::More);
            }
            rest = match self.state {
                ParseState::Head => self.read_head(rest)?,
                ParseState::Fixed(left) | ParseState::ChunkData(left) => {
                    self.read_body(rest, left, body.as_deref_mut())
                }
                ParseState::UntilClose => self.read_body(rest, u64::MAX, body.as_deref_mut()),
                ParseState::ChunkSize => self.read_chunk_size(rest)?,
                ParseState::ChunkEnd => self.read_chunk_end(rest)?,
                ParseState::Trailers => self.read_trailers(rest)?,
                ParseState::Done => rest,
            };
        }
    }

    /// Handles the closing of the connection by the server. If the response has neither a length nor chunks, it is
    /// complete and is returned. Otherwise this is an error.
    pub fn close(&mut self) -> Result<Response, Malformed> {
        match (self.state, self.response.take()) {
            (ParseState::UntilClose, Some(response)) => {
                *self = ResponseParser::default();
                Ok(response)
            }
            _ => Err(Malformed("the connection was closed before the end")),
        }
    }

    fn finish(&mut self, consumed: usize) -> Result<Progress, Malformed> {
        self.state = ParseState::Head;
        let response = self.response.take().ok_or(Malformed("no status"))?;
        Ok(Progress::Done { response, consumed })
    }

    /// Appends bytes to `line` up to and including `end`. Returns the bytes that follow `end`, or `None` if `end` has
    /// not been received yet. Returns an error if `line` would be longer than `max` bytes.
    fn read_until<'b>(&mut self, bytes: &'b [u8], end: &[u8], max: usize) -> Result<Option<&'b [u8]>, Malformed> {
        let before = self.line.len();
        // The first bytes of `end` may already be at the end of `line`.
        let from = before.saturating_sub(end.len() - 1);
        let room = max.saturating_sub(before);
        self.line.extend_from_slice(&bytes[..bytes.len().min(room)]);
        match memmem::find(&self.line[from..], end) {
            Some(at) => {
                let len = from + at + end.len();
                self.line.truncate(len);
                Ok(Some(&bytes[len - before..]))
            }
            None if self.line.len() >= max => Err(Malformed("head or chunk line too long")),
            None => Ok(None),
        }
    }

    fn read_head<'b>(&mut self, bytes: &'b [u8]) -> Result<&'b [u8], Malformed> {
        let Some(rest) = self.read_until(bytes, b"\r\n\r\n", HEAD_LEN_MAX)? else {
            return Ok(&[]);
        };
        let head = parse_head(&self.line)?;
        self.line.clear();
        if head.status >= 200 {
            self.response = Some(Response { status: head.status, body_len: 0, keep_alive: head.keep_alive });
            self.state = match head.framing {
                Framing::Length(0) => ParseState::Done,
                Framing::Length(len) => ParseState::Fixed(len),
                Framing::Chunked => ParseState::ChunkSize,
                Framing::UntilClose => ParseState::UntilClose,
            };
        }
        Ok(rest)
    }

    fn read_body<'b>(&mut self, bytes: &'b [u8], left: u64, body: Option<&mut Vec<u8>>) -> &'b [u8] {
        let take = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
        let (data, rest) = bytes.split_at(take);
        if let Some(body) = body {
            body.extend_from_slice(data);
        }
        if let Some(response) = &mut self.response {
            response.body_len += take as u64;
        }
        let left = left - take as u64;
        self.state = match self.state {
            ParseState::Fixed(_) if left == 0 => ParseState::Done,
            ParseState::Fixed(_) => ParseState::Fixed(left),
            ParseState::ChunkData(_) if left == 0 => ParseState::ChunkEnd,
            ParseState::ChunkData(_) => ParseState::ChunkData(left),
            other => other,
        };
        rest
    }

    fn read_chunk_size<'b>(&mut self, bytes: &'b [u8]) -> Result<&'b [u8], Malformed> {
        let Some(rest) = self.read_until(bytes, b"\r\n", CHUNK_LINE_LEN_MAX)? else {
            return Ok(&[]);
        };
        let size = parse_chunk_size(&self.line)?;
        self.line.clear();
        self.state = if size == 0 { ParseState::Trailers } else { ParseState::ChunkData(size) };
        Ok(rest)
    }

    fn read_chunk_end<'b>(&mut self, bytes: &'b [u8]) -> Result<&'b [u8], Malformed> {
        let Some(rest) = self.read_until(bytes, b"\r\n", CHUNK_LINE_LEN_MAX)? else {
            return Ok(&[]);
        };
        if self.line.len() != 2 {
            return Err(Malformed("a chunk is longer than it says"));
        }
        self.line.clear();
        self.state = ParseState::ChunkSize;
        Ok(rest)
    }

    fn read_trailers<'b>(&mut self, bytes: &'b [u8]) -> Result<&'b [u8], Malformed> {
        let Some(rest) = self.read_until(bytes, b"\r\n", HEAD_LEN_MAX)? else {
            return Ok(&[]);
        };
        if self.line.len() == 2 {
            self.state = ParseState::Done;
        }
        self.line.clear();
        Ok(rest)
    }
}

fn parse_head(bytes: &[u8]) -> Result<Head, Malformed> {
    let text = std::str::from_utf8(bytes).map_err(|_| Malformed("the head is not text"))?;
    let mut lines = text.trim_end_matches("\r\n").split("\r\n");
    let (status, is_http11) = parse_status_line(lines.next().unwrap_or_default())?;
    let mut head = Head { status, framing: Framing::UntilClose, keep_alive: is_http11 };
    for line in lines {
        let (name, value) = line.split_once(':').ok_or(Malformed("a header without a colon"))?;
        parse_header(name, value.trim(), &mut head)?;
    }
    if status == 204 || status == 304 {
        head.framing = Framing::Length(0);
    }
    head.keep_alive &= head.framing != Framing::UntilClose;
    Ok(head)
}

fn parse_status_line(line: &str) -> Result<(u16, bool), Malformed> {
    let mut words = line.splitn(3, ' ');
    let is_http11 = match words.next() {
        Some("HTTP/1.1") => true,
        Some("HTTP/1.0") => false,
        _ => return Err(Malformed("not HTTP/1.x")),
    };
    let digits = words.next().filter(|digits| digits.len() == 3 && digits.bytes().all(|b| b.is_ascii_digit()));
    let status = digits.and_then(|digits| digits.parse().ok()).ok_or(Malformed("no status code"))?;
    Ok((status, is_http11))
}

fn parse_header(name: &str, value: &str, head: &mut Head) -> Result<(), Malformed> {
    if name.eq_ignore_ascii_case("content-length") {
        let len = Framing::Length(parse_length(value)?);
        match head.framing {
            // Chunked takes precedence over a length, in either order (RFC 9112, section 6.3).
            Framing::Chunked => {}
            Framing::Length(_) if head.framing != len => return Err(Malformed("two different lengths")),
            Framing::Length(_) | Framing::UntilClose => head.framing = len,
        }
    } else if name.eq_ignore_ascii_case("transfer-encoding") {
        if !value.eq_ignore_ascii_case("chunked") {
            return Err(Malformed("a transfer encoding other than chunked"));
        }
        head.framing = Framing::Chunked;
    } else if name.eq_ignore_ascii_case("connection") {
        head.keep_alive = value.eq_ignore_ascii_case("keep-alive")
            || (head.keep_alive && !value.split(',').any(|option| option.trim().eq_ignore_ascii_case("close")));
    }
    Ok(())
}

fn parse_length(value: &str) -> Result<u64, Malformed> {
    let digits = !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| value.parse().ok()).flatten().ok_or(Malformed("a bad content length"))
}

fn parse_chunk_size(line: &[u8]) -> Result<u64, Malformed> {
    let text = std::str::from_utf8(line).unwrap_or_default();
    let digits = text.split(';').next().unwrap_or_default().trim();
    let valid = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_hexdigit());
    valid.then(|| u64::from_str_radix(digits, 16).ok()).flatten().ok_or(Malformed("a bad chunk size"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIXED: &str = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\nDate: x\r\n\r\nhello";
    const CHUNKED: &str =
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;x=1\r\nhello\r\nA\r\n0123456789\r\n0\r\nT: 1\r\n\r\n";

    /// Parses the text in pieces of `piece` bytes.
    fn parse(text: &str, piece: usize) -> Result<(Response, String), Malformed> {
        let mut parser = ResponseParser::default();
        let mut body = Vec::new();
        let mut fed = 0;
        for bytes in text.as_bytes().chunks(piece) {
            if let Progress::Done { response, consumed } = parser.feed(bytes, Some(&mut body))? {
                assert_eq!(fed + consumed, text.len(), "consumed");
                return Ok((response, String::from_utf8(body).unwrap()));
            }
            fed += bytes.len();
        }
        parser.close().map(|response| (response, String::from_utf8(body).unwrap()))
    }

    fn response(status: u16, body_len: u64, keep_alive: bool) -> Response {
        Response { status, body_len, keep_alive }
    }

    #[test]
    fn a_body_with_a_length_in_pieces_of_any_size() {
        for piece in 1..=FIXED.len() {
            assert_eq!(parse(FIXED, piece), Ok((response(200, 5, true), "hello".into())), "{piece}");
        }
    }

    #[test]
    fn chunks_with_extensions_and_trailers_in_pieces_of_any_size() {
        for piece in 1..=CHUNKED.len() {
            assert_eq!(parse(CHUNKED, piece), Ok((response(200, 15, true), "hello0123456789".into())), "{piece}");
        }
    }

    #[test]
    fn one_response_follows_the_other_on_a_connection() {
        let mut parser = ResponseParser::default();
        let stream = format!("{FIXED}{CHUNKED}{FIXED}");
        let mut rest = stream.as_bytes();
        for len in [5, 15, 5] {
            let Ok(Progress::Done { response, consumed }) = parser.feed(rest, None) else { panic!("not done") };
            assert_eq!(response.body_len, len);
            rest = &rest[consumed..];
        }
        assert!(rest.is_empty());
    }

    #[test]
    fn responses_without_a_body() {
        assert_eq!(parse("HTTP/1.1 204 No Content\r\n\r\n", 99), Ok((response(204, 0, true), String::new())));
        assert_eq!(
            parse("HTTP/1.1 500 X\r\nContent-Length: 0\r\n\r\n", 99),
            Ok((response(500, 0, true), String::new()))
        );
    }

    #[test]
    fn an_interim_response_is_skipped() {
        let text = format!("HTTP/1.1 100 Continue\r\n\r\n{FIXED}");
        assert_eq!(parse(&text, 7), Ok((response(200, 5, true), "hello".into())));
    }

    #[test]
    fn keep_alive_follows_the_version_and_the_connection_header() {
        let of = |version: &str, connection: &str| {
            let text = format!("HTTP/{version} 200 OK\r\n{connection}Content-Length: 1\r\n\r\nx");
            parse(&text, 99).unwrap().0.keep_alive
        };
        assert!(of("1.1", ""));
        assert!(!of("1.1", "Connection: close\r\n"));
        assert!(!of("1.1", "Connection: upgrade, Close\r\n"));
        assert!(!of("1.0", ""));
        assert!(of("1.0", "Connection: keep-alive\r\n"));
    }

    #[test]
    fn without_a_length_the_body_ends_with_the_connection() {
        assert_eq!(parse("HTTP/1.1 200 OK\r\n\r\nhello", 4), Ok((response(200, 5, false), "hello".into())));
    }

    #[test]
    fn a_connection_that_closes_early_is_an_error() {
        for text in [&FIXED[..FIXED.len() - 1], &CHUNKED[..CHUNKED.len() - 1], "HTTP/1.1 200", ""] {
            assert!(parse(text, 9).is_err(), "{text}");
        }
    }

    #[test]
    fn malformed_responses_are_refused() {
        for text in [
            "HTTP/2 200 OK\r\n\r\n",
            "HTTP/1.1 2000 OK\r\n\r\n",
            "HTTP/1.1 OK\r\n\r\n",
            "HTTP/1.1 200 OK\r\nnonsense\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nxy\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n11111111111111111\r\n",
        ] {
            assert!(parse(text, 99).is_err(), "{text:?}");
            assert!(parse(text, 1).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_head_without_end_is_refused() {
        let endless = format!("HTTP/1.1 200 OK\r\nX: {}", "x".repeat(2 * HEAD_LEN_MAX));
        assert!(parse(&endless, 1_000).is_err());
    }
}
