//! Static files.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;
mod http_support;

use std::path::Path;

use http_support::client::call;
use http_support::{Client, Response, Server, Setup};
use tempfile::TempDir;

/// A server of a directory `web/` with some files, beside a file that is not to be served.
struct Site {
    dir: TempDir,
    server: Server,
}

impl Site {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let web = dir.path().join("web");
        let write = |name: &str, content: &[u8]| {
            let path = web.join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        };
        write("index.html", b"<h1>hello</h1>");
        write("sub/index.html", b"below");
        write("empty/x.txt", b"0123456789");
        write("README", b"plain text");
        write("binary", &[0, 1, 2, 3]);
        write("a b.css", b"body {}");
        write(".hidden", b"dot");
        write("t", b"a file called like the database");
        std::fs::write(dir.path().join("secret"), "secret").unwrap();
        Site { server: serve(&web), dir }
    }

    fn get(&self, path: &str) -> Response {
        self.server.connect().request(&format!("GET {path} HTTP/1.1"), b"")
    }
}

fn serve(web: &Path) -> Server {
    let mut setup = Setup::new();
    setup.server.serve_dir = Some(web.to_owned());
    setup.start()
}

fn head(client: &mut Client, path: &str) -> Response {
    client.send(format!("HEAD {path} HTTP/1.1\r\nHost: t\r\n\r\n"));
    client.response_to_head()
}

#[test]
fn files_are_served() {
    let site = Site::new();
    for (path, media_type, body) in [
        ("/", "text/html; charset=utf-8", "<h1>hello</h1>"),
        ("/index.html?x=1", "text/html; charset=utf-8", "<h1>hello</h1>"),
        ("/sub/", "text/html; charset=utf-8", "below"),
        ("/README", "text/plain; charset=utf-8", "plain text"),
        ("/binary", "application/octet-stream", "\0\u{1}\u{2}\u{3}"),
        ("/a%20b.css", "text/css; charset=utf-8", "body {}"),
        ("/.hidden", "text/plain; charset=utf-8", "dot"),
        ("/t", "text/plain; charset=utf-8", "a file called like the database"),
    ] {
        let response = site.get(path);
        assert_eq!((response.status, response.text()), (200, body), "{path}");
        assert_eq!(response.header("content-type"), Some(media_type), "{path}");
        assert_eq!(response.header("content-length"), Some(body.len().to_string().as_str()), "{path}");
        assert_eq!(response.header("accept-ranges"), Some("bytes"), "{path}");
        assert!(response.header("last-modified").is_some(), "{path}");
    }
}

#[test]
fn a_database_is_served_beside_files() {
    let site = Site::new();
    let mut client = site.server.connect();
    assert_eq!(client.query("x").status, 200);
    let response = client.request("PUT /t HTTP/1.1", call("x").as_bytes());
    assert_eq!(response.status, 405);
}

#[test]
fn missing_files_are_not_found() {
    let site = Site::new();
    for path in ["/none", "/empty/", "/empty", "/index.html/x", "/INDEX.HTML"] {
        let response = site.get(path);
        let expected = format!("{{\"reqIdx\":-1,\"error\":\"Cannot GET {path}\"}}");
        assert_eq!((response.status, response.text()), (404, expected.as_str()), "{path}");
    }
    let response = head(&mut site.server.connect(), "/none");
    assert_eq!((response.status, response.header("content-length")), (404, Some("41")));
}

#[test]
fn nothing_outside_is_served() {
    let site = Site::new();
    assert!(site.dir.path().join("secret").exists());
    for path in ["/../secret", "/%2e%2e/secret", "/sub/../../secret", "/..%2fsecret", "/sub/..%2f..%2fsecret", "/%00"] {
        assert_eq!(site.get(path).status, 404, "{path}");
    }
}

#[cfg(unix)]
#[test]
fn links_are_followed_and_pipes_are_not_opened() {
    let site = Site::new();
    let web = site.dir.path().join("web");
    std::os::unix::fs::symlink(site.dir.path().join("secret"), web.join("link")).unwrap();
    assert_eq!(site.get("/link").text(), "secret");
    let made = std::process::Command::new("mkfifo").arg(web.join("pipe")).status();
    if made.is_ok_and(|status| status.success()) {
        assert_eq!(site.get("/pipe").status, 404);
    }
}

#[test]
fn directories_are_redirected_to_their_slash() {
    let site = Site::new();
    let response = site.get("/sub");
    assert_eq!((response.status, response.header("location")), (302, Some("/sub/")));
}

#[test]
fn answers_to_head_have_no_body() {
    let site = Site::new();
    let mut client = site.server.connect();
    let response = head(&mut client, "/README");
    assert_eq!((response.status, response.header("content-length")), (200, Some("10")));
    assert_eq!(response.header("content-type"), Some("text/plain; charset=utf-8"));
    assert_eq!(client.query("x").status, 200);
}

#[test]
fn ranges_are_served() {
    let site = Site::new();
    let mut client = site.server.connect();
    for (range, status, body, content_range) in [
        ("bytes=2-4", 206, "234", "bytes 2-4/10"),
        ("bytes=7-", 206, "789", "bytes 7-9/10"),
        ("bytes=-2", 206, "89", "bytes 8-9/10"),
        ("bytes=10-", 416, "Range Not Satisfiable", "bytes */10"),
    ] {
        let head = format!("GET /empty/x.txt HTTP/1.1\r\nRange: {range}");
        let response = client.request(&head, b"");
        assert_eq!((response.status, response.text()), (status, body), "{range}");
        assert_eq!(response.header("content-range"), Some(content_range), "{range}");
    }
    let all = client.request("GET /empty/x.txt HTTP/1.1\r\nRange: bytes=0-1,3-4", b"");
    assert_eq!((all.status, all.text()), (200, "0123456789"));
}

#[test]
fn unchanged_files_are_not_sent_again() {
    let site = Site::new();
    let mut client = site.server.connect();
    let modified = site.get("/README").header("last-modified").unwrap().to_owned();
    let head = format!("GET /README HTTP/1.1\r\nIf-Modified-Since: {modified}");
    let response = client.request(&head, b"");
    assert_eq!((response.status, response.body.len()), (304, 0));
    let head = "GET /README HTTP/1.1\r\nIf-Modified-Since: Thu, 01 Jan 1970 00:00:00 GMT";
    assert_eq!(client.request(head, b"").status, 200);

    let stale = "GET /README HTTP/1.1\r\nRange: bytes=0-1\r\nIf-Range: Thu, 01 Jan 1970 00:00:00 GMT";
    assert_eq!(client.request(stale, b"").status, 200);
    let fresh = format!("GET /README HTTP/1.1\r\nRange: bytes=0-1\r\nIf-Range: {modified}");
    assert_eq!(client.request(&fresh, b"").text(), "pl");
}

#[test]
fn a_large_file_is_streamed() {
    let site = Site::new();
    let content: Vec<u8> = (0..3_000_000_u32).map(|i| (i % 251) as u8).collect();
    std::fs::write(site.dir.path().join("web/large.bin"), &content).unwrap();
    let response = site.get("/large.bin");
    assert_eq!(response.header("content-length"), Some("3000000"));
    assert!(response.body == content);
}
