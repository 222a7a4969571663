//! Static files below the directory of `-serve-dir`, for GET and HEAD requests.
//!
//! This module finds the file for the path of a request. `tower-http` creates the response, including ranges (RFC
//! 9110, section 14) and conditions (section 13). As in ws4sqlite, dotfiles and symbolic links are served, and
//! directories are not listed. A path with a parent component (`..`, however it is encoded) is never looked up.

use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::header::{self, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Method, Request, StatusCode};
use mime_guess::mime::{self, Mime};
use percent_encoding::percent_decode_str;
use tokio::fs::File;
use tokio::io::AsyncReadExt;
use tower_http::services::ServeFile;

use crate::http::reply::{self, HttpResponse, ReplyBody};

/// The number of bytes of a file that are read at a time.
const CHUNK_BYTES: usize = 64 << 10;

/// The number of bytes at the beginning of a file that are checked to find out whether the file is text. Only files
/// without an extension are checked.
const SNIFFED_BYTES: u64 = 512;

/// The directory whose files are served.
#[derive(Debug)]
pub(crate) struct Files {
    root: PathBuf,
    index: String,
}

/// A regular file that a request names.
struct FoundFile {
    path: PathBuf,
    /// The length of the file, in bytes.
    len: u64,
    modified: Option<SystemTime>,
}

/// The target of the path of a request: a file, or a redirect.
enum PathTarget {
    File(FoundFile),
    /// The path names a directory with an index file but does not end with a slash. The client is redirected to the
    /// path with a slash, because relative links in the index file require it.
    Redirect,
}

impl Files {
    /// Creates a service for the files under `root`. For a directory, the file named `index` in it is served.
    pub(crate) fn new(root: PathBuf, index: String) -> Self {
        Files { root, index }
    }

    /// Returns the response to a GET or HEAD request; `None` if the path leads to no file.
    pub(crate) async fn answer(&self, request: &Parts) -> Option<HttpResponse> {
        let path = request.uri.path();
        match self.find(path).await? {
            PathTarget::Redirect => Some(redirect(path)),
            // A file that cannot be read is treated like a missing file.
            PathTarget::File(found) => found.answer(request).await.ok(),
        }
    }

    async fn find(&self, path: &str) -> Option<PathTarget> {
        let decoded = percent_decode_str(path).decode_utf8().ok()?;
        let file = self.root.join(relative(&decoded)?);
        let metadata = tokio::fs::metadata(&file).await.ok()?;
        if !metadata.is_dir() {
            return FoundFile::new(file, &metadata).map(PathTarget::File);
        }
        let index = file.join(&self.index);
        let metadata = tokio::fs::metadata(&index).await.ok()?;
        let found = FoundFile::new(index, &metadata)?;
        Some(if decoded.ends_with('/') { PathTarget::File(found) } else { PathTarget::Redirect })
    }
}

/// Converts a decoded path of a request to a path relative to the root; `None` for a path that must not be looked up.
fn relative(path: &str) -> Option<PathBuf> {
    let mut relative = PathBuf::new();
    for part in path.split('/').filter(|part| !part.is_empty() && *part != ".") {
        // Each part must be one normal path component: no parent, no root, no drive letter, no separator of another
        // operating system.
        let mut components = Path::new(part).components();
        let normal = matches!(components.next(), Some(std::path::Component::Normal(name)) if name == part);
        if !normal || components.next().is_some() || part.contains('\0') {
            return None;
        }
        relative.push(part);
    }
    Some(relative)
}

/// Returns a redirect to the same path with a slash at its end. Several slashes at the beginning are replaced with
/// one, because `//host/` would lead to another server.
fn redirect(path: &str) -> HttpResponse {
    let mut response = reply::empty(StatusCode::FOUND);
    let location = format!("/{}/", path.trim_start_matches('/'));
    if let Ok(location) = HeaderValue::from_str(&location) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response
}

impl FoundFile {
    /// Returns `None` for anything but a regular file. For example, opening a pipe would block until its other end is
    /// opened.
    fn new(path: PathBuf, metadata: &std::fs::Metadata) -> Option<FoundFile> {
        metadata.is_file().then(|| FoundFile { path, len: metadata.len(), modified: metadata.modified().ok() })
    }

    async fn answer(self, request: &Parts) -> io::Result<HttpResponse> {
        let mut file = ServeFile::new_with_mime(&self.path, &self.media_type().await?)
            .with_buf_chunk_size(CHUNK_BYTES)
            .ignore_multi_range_requests(true);
        let (head, body) = file.try_call(self.request(request)).await?.into_parts();
        let length = head.headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
        let body = if request.method == Method::HEAD || length.is_none() {
            ReplyBody::EMPTY
        } else {
            // If the file becomes shorter while it is sent, the body ends early and the connection is closed.
            ReplyBody::Stream { stream: Box::pin(body.into_data_stream()), len: length }
        };
        if head.status == StatusCode::RANGE_NOT_SATISFIABLE {
            let mut response = reply::text(head.status, "Range Not Satisfiable");
            response.headers_mut().extend(head.headers);
            return Ok(response);
        }
        Ok(HttpResponse::from_parts(head, body))
    }

    /// Returns the request in the form that `tower-http` requires. `tower-http` does not support `If-Range`.
    /// Therefore, if that condition is false, the header `Range` is removed and the client receives the whole file.
    fn request(&self, request: &Parts) -> Request<Empty<Bytes>> {
        let mut copy = Request::new(Empty::new());
        *copy.method_mut() = request.method.clone();
        *copy.uri_mut() = request.uri.clone();
        copy.headers_mut().clone_from(&request.headers);
        let condition = request.headers.get(header::IF_RANGE);
        if condition.is_some_and(|value| date(value).is_none_or(|date| self.modified_at() != Some(date))) {
            copy.headers_mut().remove(header::RANGE);
        } else if request.headers.get(header::RANGE).is_some_and(|range| self.is_covered_by_suffix(range)) {
            copy.headers_mut().insert(header::RANGE, HeaderValue::from_static("bytes=0-"));
        }
        copy
    }

    /// Returns whether `range` is a suffix that is longer than the file. It then means the whole file (RFC 9110,
    /// section 14.1.2), but `tower-http` answers 416.
    fn is_covered_by_suffix(&self, range: &HeaderValue) -> bool {
        let suffix = range.to_str().ok().and_then(|range| range.trim().strip_prefix("bytes=-"));
        suffix.and_then(|len| len.parse::<u64>().ok()).is_some_and(|len| len > self.len)
    }

    /// Returns the time of the file's last modification in whole seconds, which is the precision of HTTP headers.
    fn modified_at(&self) -> Option<httpdate::HttpDate> {
        self.modified.map(httpdate::HttpDate::from)
    }

    async fn media_type(&self) -> io::Result<Mime> {
        if self.path.extension().is_some() {
            return Ok(media_type_of(&self.path));
        }
        let mut head = Vec::with_capacity(SNIFFED_BYTES as usize);
        File::open(&self.path).await?.take(SNIFFED_BYTES).read_to_end(&mut head).await?;
        Ok(if looks_like_text(&head) { mime::TEXT_PLAIN_UTF_8 } else { mime::APPLICATION_OCTET_STREAM })
    }
}

fn date(value: &HeaderValue) -> Option<httpdate::HttpDate> {
    value.to_str().ok()?.parse().ok()
}

/// Returns the media type for the extension of a path. Text types get `charset=utf-8`.
fn media_type_of(path: &Path) -> Mime {
    let media_type = mime_guess::from_path(path).first_or_octet_stream();
    if media_type.type_() != mime::TEXT || media_type.get_param(mime::CHARSET).is_some() {
        return media_type;
    }
    format!("{}; charset=utf-8", media_type.essence_str()).parse().unwrap_or(media_type)
}

/// Returns whether the bytes contain no control characters except those that occur in text. They need not be valid
/// UTF-8, because the last character may be incomplete.
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
        let of = |name: &str| media_type_of(Path::new(name)).to_string();
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
