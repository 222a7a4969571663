//! Static files, for GET and HEAD: `--serve-dir`.
//!
//! As in the original, dotfiles and symbolic links are served and directories are not listed. A path that names its
//! parent (`..`, however it is spelled) is never looked up.

use std::io::{self, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Method, StatusCode};
use percent_encoding::percent_decode_str;
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio_util::io::ReaderStream;

use super::range::Range;
use crate::http::reply::{self, HttpResponse, ReplyBody};

/// How many bytes are read from a file at a time.
const PIECE_BYTES: usize = 64 << 10;

/// How many bytes of a file without an extension are looked at to guess what it is.
const SNIFFED_BYTES: u64 = 512;

/// A directory that is served.
#[derive(Debug)]
pub(crate) struct Files {
    root: PathBuf,
    index: String,
}

/// A regular file that is open.
struct Found {
    file: File,
    len: u64,
    modified: Option<SystemTime>,
    path: PathBuf,
}

/// What a path leads to.
enum Target {
    File(Found),
    /// A directory that has an index file, asked for without the slash that its relative links need.
    Redirect,
}

impl Files {
    /// Serves the files under `root`, and for a directory the one called `index`.
    pub(crate) fn new(root: PathBuf, index: String) -> Self {
        Files { root, index }
    }

    /// The answer to a GET or HEAD; `None` if there is no such file.
    pub(crate) async fn answer(&self, request: &Parts) -> Option<HttpResponse> {
        let path = request.uri.path();
        match self.find(path).await? {
            Target::Redirect => Some(redirect(path)),
            // A file that cannot be read is like one that is not there.
            Target::File(found) => found.answer(request).await.ok(),
        }
    }

    async fn find(&self, path: &str) -> Option<Target> {
        let decoded = percent_decode_str(path).decode_utf8().ok()?;
        let file = self.root.join(relative(&decoded)?);
        let about = tokio::fs::metadata(&file).await.ok()?;
        if !about.is_dir() {
            return open(file, &about).await.map(Target::File);
        }
        let index = file.join(&self.index);
        let about = tokio::fs::metadata(&index).await.ok()?;
        let found = open(index, &about).await?;
        Some(if decoded.ends_with('/') { Target::File(found) } else { Target::Redirect })
    }
}

/// The path below the root; `None` for one that must not be followed.
fn relative(path: &str) -> Option<PathBuf> {
    let mut relative = PathBuf::new();
    for part in path.split('/').filter(|part| !part.is_empty() && *part != ".") {
        // One part must remain one: no parent, no root, no drive letter, no separator of another system.
        let mut components = Path::new(part).components();
        let normal = matches!(components.next(), Some(std::path::Component::Normal(name)) if name == part);
        if !normal || components.next().is_some() || part.contains('\0') {
            return None;
        }
        relative.push(part);
    }
    Some(relative)
}

/// Only regular files: opening a pipe would wait for its other end.
async fn open(path: PathBuf, about: &std::fs::Metadata) -> Option<Found> {
    if !about.is_file() {
        return None;
    }
    let file = File::open(&path).await.ok()?;
    Some(Found { file, len: about.len(), modified: about.modified().ok(), path })
}

/// To the same path with a slash. Slashes in front are taken together, because `//host/` would be another server.
fn redirect(path: &str) -> HttpResponse {
    let mut response = reply::empty(StatusCode::FOUND);
    let location = format!("/{}/", path.trim_start_matches('/'));
    if let Ok(location) = HeaderValue::from_str(&location) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response
}

impl Found {
    async fn answer(mut self, request: &Parts) -> io::Result<HttpResponse> {
        if self.not_modified(&request.headers) {
            return Ok(self.describe(reply::empty(StatusCode::NOT_MODIFIED)));
        }
        let range = match self.range(&request.headers) {
            Range::Whole => (0, self.len, StatusCode::OK),
            Range::Part { first, len } => (first, len, StatusCode::PARTIAL_CONTENT),
            Range::Unsatisfiable => return Ok(self.unsatisfiable()),
        };
        let (first, len, status) = range;
        let media_type = self.media_type().await?;
        let mut response = self.describe(reply::empty(status));
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, media_type);
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(len));
        if status == StatusCode::PARTIAL_CONTENT {
            headers.insert(header::CONTENT_RANGE, content_range(format!("{first}-{}", first + len - 1), self.len));
        }
        if request.method != Method::HEAD {
            *response.body_mut() = self.body(first, len).await?;
        }
        Ok(response)
    }

    /// If the file shrinks meanwhile, the body ends early and the connection is cut.
    async fn body(mut self, first: u64, len: u64) -> io::Result<ReplyBody> {
        self.file.seek(SeekFrom::Start(first)).await?;
        let stream = ReaderStream::with_capacity(self.file.take(len), PIECE_BYTES);
        Ok(ReplyBody::Stream { stream: Box::pin(stream), len: Some(len) })
    }

    fn not_modified(&self, headers: &HeaderMap) -> bool {
        match (self.modified_at(), date(headers.get(header::IF_MODIFIED_SINCE))) {
            (Some(modified), Some(since)) => modified <= since,
            _ => false,
        }
    }

    fn range(&self, headers: &HeaderMap) -> Range {
        // A part is of use only if it fits to what the client has.
        let fits = match headers.get(header::IF_RANGE) {
            None => true,
            condition => date(condition).is_some_and(|date| self.modified_at() == Some(date)),
        };
        let value = headers.get(header::RANGE).filter(|_| fits).and_then(|value| value.to_str().ok());
        Range::parse(value, self.len)
    }

    fn unsatisfiable(&self) -> HttpResponse {
        let mut response = reply::text(StatusCode::RANGE_NOT_SATISFIABLE, "Range Not Satisfiable");
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
        response.headers_mut().insert(header::CONTENT_RANGE, content_range("*".to_owned(), self.len));
        response
    }

    /// What is said of the file whether it is sent or not.
    fn describe(&self, mut response: HttpResponse) -> HttpResponse {
        let headers = response.headers_mut();
        headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
        let modified = self.modified.map(httpdate::fmt_http_date);
        if let Some(modified) = modified.and_then(|date| HeaderValue::try_from(date).ok()) {
            headers.insert(header::LAST_MODIFIED, modified);
        }
        response
    }

    /// When it was modified, to the second: more does not fit into a header.
    fn modified_at(&self) -> Option<httpdate::HttpDate> {
        self.modified.map(httpdate::HttpDate::from)
    }

    async fn media_type(&mut self) -> io::Result<HeaderValue> {
        if self.path.extension().is_some() {
            return Ok(media_type_of(&self.path));
        }
        let mut head = Vec::with_capacity(SNIFFED_BYTES as usize);
        (&mut self.file).take(SNIFFED_BYTES).read_to_end(&mut head).await?;
        let media_type = if looks_like_text(&head) { "text/plain; charset=utf-8" } else { "application/octet-stream" };
        Ok(HeaderValue::from_static(media_type))
    }
}

fn content_range(range: String, file_len: u64) -> HeaderValue {
    HeaderValue::try_from(format!("bytes {range}/{file_len}")).unwrap_or(HeaderValue::from_static("bytes */*"))
}

fn date(value: Option<&HeaderValue>) -> Option<httpdate::HttpDate> {
    value?.to_str().ok()?.parse().ok()
}

fn media_type_of(path: &Path) -> HeaderValue {
    let media_type = mime_guess::from_path(path).first_or_octet_stream();
    let essence = media_type.essence_str();
    let has_charset = media_type.type_() == mime_guess::mime::TEXT && media_type.get_param("charset").is_none();
    let text = if has_charset { format!("{essence}; charset=utf-8") } else { media_type.to_string() };
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("application/octet-stream"))
}

/// No control characters but those that text has. (UTF-8 is not asked for: the last character may be cut.)
fn looks_like_text(head: &[u8]) -> bool {
    !head.iter().any(|byte| byte.is_ascii_control() && !b"\t\n\r\x0c\x1b\x7f".contains(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stay_below_the_root() {
        assert_eq!(relative("/a/b.txt"), Some(PathBuf::from("a/b.txt")));
        assert_eq!(relative("//a/./b/"), Some(PathBuf::from("a/b")));
        assert_eq!(relative("/"), Some(PathBuf::new()));
        assert_eq!(relative("/.hidden/..x"), Some(PathBuf::from(".hidden/..x")));
        for path in ["/..", "/a/../b", "/../etc/passwd", "/a\0b"] {
            assert_eq!(relative(path), None, "{path}");
        }
    }

    #[test]
    fn media_types() {
        let of = |name: &str| media_type_of(Path::new(name)).to_str().unwrap().to_owned();
        assert_eq!(of("index.html"), "text/html; charset=utf-8");
        assert_eq!(of("a.css"), "text/css; charset=utf-8");
        assert_eq!(of("a.json"), "application/json");
        assert_eq!(of("a.png"), "image/png");
        assert_eq!(of("a.nobody-knows"), "application/octet-stream");
    }

    #[test]
    fn text_is_recognised() {
        assert!(looks_like_text(b"plain text\n"));
        assert!(looks_like_text("数据".as_bytes()));
        assert!(looks_like_text(b""));
        assert!(!looks_like_text(b"\x7fELF\x02\x01\x01\x00"));
    }

    #[test]
    fn redirects_stay_on_this_server() {
        assert_eq!(redirect("//evil.com").headers()[header::LOCATION], "/evil.com/");
        assert_eq!(redirect("/docs").headers()[header::LOCATION], "/docs/");
    }
}
