//! Static files and compressed answers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::{Launch, Request, Response, Server, decompressed, temp_dir, write};
use serde_json::json;

const PAGE: &str = "<!doctype html><title>Hello</title>";

/// A server of a database `t` and a directory of files, beside a file that is not to be served.
fn with_files() -> (tempfile::TempDir, Server) {
    let dir = temp_dir();
    write(dir.path(), "secret.txt", "not to be served");
    write(dir.path(), "web/index.html", PAGE);
    write(dir.path(), "web/data.json", "{\"a\": 1}");
    write(dir.path(), "web/digits.txt", "0123456789");
    write(dir.path(), "web/plain", "just text\n");
    write(dir.path(), "web/.hidden", "dotfile");
    write(dir.path(), "web/t", "a file called like the database");
    write(dir.path(), "web/with space.txt", "spaced");
    write(dir.path(), "web/sub/page.html", PAGE);
    write(dir.path(), "web/empty.txt", "");
    let server = Launch::new().dir(dir.path()).args(["--serve-dir", "web", "--mem-db", "t"]).start();
    (dir, server)
}

fn get_range(server: &Server, target: &str, range: &str) -> Response {
    server.send(&Request::new("GET", target).header("Range", range))
}

#[test]
fn files_are_served_with_their_types() {
    let (_dir, server) = with_files();
    for (target, content_type, content) in [
        ("/", "text/html; charset=utf-8", PAGE),
        ("/index.html", "text/html; charset=utf-8", PAGE),
        ("/data.json?x=1", "application/json", "{\"a\": 1}"),
        ("/digits.txt", "text/plain; charset=utf-8", "0123456789"),
        ("/plain", "text/plain; charset=utf-8", "just text\n"),
        ("/with%20space.txt", "text/plain; charset=utf-8", "spaced"),
        ("/sub/page.html", "text/html; charset=utf-8", PAGE),
        ("/empty.txt", "text/plain; charset=utf-8", ""),
    ] {
        let response = server.get(target);
        assert_eq!((response.status, response.text().as_str()), (200, content), "{target}");
        let given = response.header("Content-Type").unwrap_or_default();
        assert_eq!(given.split(';').next(), content_type.split(';').next(), "{target}");
        assert!(
            !content_type.contains("charset") || given.to_lowercase().contains("charset=utf-8"),
            "{target}: {given}"
        );
        assert_eq!(response.header("Accept-Ranges"), Some("bytes"), "{target}");
        assert!(response.header("Last-Modified").is_some(), "{target}");
        let head = server.send(&Request::new("HEAD", target));
        let length = content.len().to_string();
        assert_eq!((head.status, head.header("Content-Length"), head.body.len()), (200, Some(length.as_str()), 0));
    }
    assert_eq!(server.get("/.hidden").status, 200);
}

#[test]
fn a_file_called_like_a_database_does_not_hide_it() {
    let (_dir, server) = with_files();
    assert_eq!(server.get("/t").text(), "a file called like the database");
    server.assert_alive("t");
}

#[test]
fn missing_files_and_paths_outside_are_not_found() {
    let (_dir, server) = with_files();
    for target in ["/none.html", "/sub", "/sub/", "/INDEX.HTML", "/digits.txt/x"] {
        let response = server.get(target);
        assert_eq!(response.status, 404, "{target}: {}", response.text());
        assert_eq!(response.json(), json!({"reqIdx": -1, "error": format!("Cannot GET {target}")}));
    }
    for target in [
        "/../secret.txt",
        "/%2e%2e/secret.txt",
        "/..%2fsecret.txt",
        "/sub/../../secret.txt",
        "/..\\secret.txt",
        "/%2e%2e%2fsecret.txt",
        "/./../secret.txt",
        "//etc/passwd",
        "/%00",
        "/digits.txt%00.html",
        "/%2fetc%2fpasswd",
    ] {
        let response = server.get(target);
        assert!([400, 404].contains(&response.status), "{target}: {}", response.status);
        assert!(!response.text().contains("not to be served") && !response.text().contains("root:"), "{target}");
    }
}

#[test]
fn ranges_are_served() {
    let (_dir, server) = with_files();
    for (range, content, content_range) in [
        ("bytes=0-3", "0123", "bytes 0-3/10"),
        ("bytes=4-", "456789", "bytes 4-9/10"),
        ("bytes=-2", "89", "bytes 8-9/10"),
        ("bytes=8-99", "89", "bytes 8-9/10"),
        ("bytes=-99", "0123456789", "bytes 0-9/10"),
    ] {
        let response = get_range(&server, "/digits.txt", range);
        assert_eq!((response.status, response.text().as_str()), (206, content), "{range}");
        assert_eq!(response.header("Content-Range"), Some(content_range), "{range}");
    }
    let response = get_range(&server, "/digits.txt", "bytes=10-");
    assert_eq!((response.status, response.text().as_str()), (416, "Range Not Satisfiable"));
    for range in ["lines=1-2", "bytes=nonsense", "bytes=5-1"] {
        let status = get_range(&server, "/digits.txt", range).status;
        assert!([200, 416].contains(&status), "{range}: {status}");
    }
}

#[test]
fn files_that_did_not_change_are_not_sent_again() {
    let (dir, server) = with_files();
    let modified = server.get("/digits.txt").header("Last-Modified").expect("a time").to_owned();
    let again = Request::new("GET", "/digits.txt").header("If-Modified-Since", &modified);
    let response = server.send(&again);
    assert_eq!((response.status, response.body.len()), (304, 0));
    let earlier = Request::new("GET", "/digits.txt").header("If-Modified-Since", "Sat, 01 Jan 2000 00:00:00 GMT");
    assert_eq!(server.send(&earlier).status, 200);
    // A change is visible at once.
    write(dir.path(), "web/digits.txt", "changed");
    assert_eq!(server.get("/digits.txt").text(), "changed");
}

#[test]
fn files_need_no_database_and_another_index_can_be_named() {
    let dir = temp_dir();
    write(dir.path(), "web/start.html", PAGE);
    let server = Launch::new().dir(dir.path()).args(["--serve-dir", "web", "--index-file", "start.html"]).start();
    assert_eq!(server.get("/").text(), PAGE);
    assert_eq!(server.send(&Request::new("PUT", "/start.html")).status / 100, 4);
}

#[test]
fn without_a_directory_nothing_is_served() {
    let server = Server::memory();
    assert_eq!(server.get("/").error(), "Cannot GET /");
    assert_eq!(server.get("/t").status, 405);
}

#[test]
fn answers_are_compressed_when_asked_for() {
    let server = Server::memory();
    // The first answer is sent as a whole, the second is streamed.
    for rows in [200, 200_000] {
        let sql = format!(
            "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM c WHERE x < {rows}) SELECT x, 'some text' AS y FROM c"
        );
        let ask = Request::json("/t", json!({"transaction": [{"query": sql}]}));
        let plain = server.send(&ask);
        assert_eq!(plain.header("Content-Encoding"), None);
        for encoding in ["gzip", "deflate", "br"] {
            let response = server.send(&ask.clone().header("Accept-Encoding", encoding));
            assert_eq!((response.status, response.header("Content-Encoding")), (200, Some(encoding)), "{rows}");
            assert!(response.header("Vary").is_some_and(|vary| vary.to_lowercase().contains("accept-encoding")));
            assert!(response.body.len() < plain.body.len() / 2, "{encoding} saves nothing");
            assert!(decompressed(encoding, &response.body) == plain.body, "{encoding} with {rows} rows differs");
        }
        for refused in ["identity", "gzip;q=0", "unknown"] {
            let response = server.send(&ask.clone().header("Accept-Encoding", refused));
            assert_eq!(response.header("Content-Encoding"), None, "{refused}");
        }
    }
}
