//! Replays conversations recorded from the original server (`fixtures/ws4sqlite`) against ours. A file holds
//! conversations separated by `===`; each talks to a freshly started server:
//!
//! ```text
//! @flags  …           extra command-line words; {dir} is a fresh directory
//! @file   NAME        the lines up to `@end` are written to {dir}/NAME first
//! @prefix TEXT        bodies are compared up to and including TEXT where the expected body has it
//! ### title           an exchange: request line, headers, empty line, body,
//! <<< 200             then the expected status, headers, empty line, body
//! ```
//!
//! Bodies are the same if they are equal as JSON, including the order of keys and the spelling of integers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::path::{Path, PathBuf};
use std::sync::Mutex;

use common::{Launch, Request, Response, Server, json, temp_dir, write};

const THREADS: usize = 2;

#[derive(Debug, Default)]
struct Conversation {
    flags: Vec<String>,
    files: Vec<(String, String)>,
    prefixes: Vec<String>,
    exchanges: Vec<Exchange>,
}

#[derive(Debug)]
struct Exchange {
    title: String,
    request: Request,
    status: u16,
    headers: Vec<(String, String)>,
    body: String,
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/ws4sqlite")
}

fn read_conversations(name: &str) -> Vec<Conversation> {
    let text = std::fs::read_to_string(fixtures().join(name)).expect("the fixture");
    let lines: Vec<&str> = text.split('\n').collect();
    lines.split(|line| *line == "===").map(parse_conversation).collect()
}

fn parse_conversation(lines: &[&str]) -> Conversation {
    let first = lines.iter().position(|line| line.starts_with("### ")).expect("an exchange");
    let mut conversation = parse_head(&lines[..first]);
    for block in lines[first..].chunk_by(|_, next| !next.starts_with("### ")) {
        conversation.exchanges.push(parse_exchange(block));
    }
    conversation
}

fn parse_head(lines: &[&str]) -> Conversation {
    let mut conversation = Conversation::default();
    let mut lines = lines.iter();
    while let Some(line) = lines.next() {
        match line.split_once(' ').unwrap_or((line, "")) {
            ("@server", kind) => assert_eq!(kind, "ws4sqlite"),
            ("@flags", words) => conversation.flags.extend(words.split_whitespace().map(str::to_owned)),
            ("@prefix", prefix) => conversation.prefixes.push(prefix.to_owned()),
            ("@file", name) => {
                let content = lines.by_ref().take_while(|line| **line != "@end");
                let content = content.flat_map(|line| [*line, "\n"]).collect();
                conversation.files.push((name.trim().to_owned(), content));
            }
            (other, _) => assert!(other.is_empty(), "unknown directive {other}"),
        }
    }
    conversation
}

fn parse_exchange(lines: &[&str]) -> Exchange {
    let title = lines[0][4..].trim().to_owned();
    let answer = lines.iter().position(|line| line.starts_with("<<<")).expect("an expected answer");
    let question: Vec<&str> =
        lines[1..answer].iter().copied().skip_while(|line| line.trim().is_empty() || line.starts_with("# ")).collect();
    let (method, target) = question[0].split_once(' ').expect("a request line");
    let (headers, body) = split_message(&question[1..]);
    let mut request = Request::new(method, target).body(decode_body(&body));
    for line in headers {
        request = match line.strip_prefix("@auth ") {
            Some(credentials) => request.basic(credentials),
            None => {
                let (name, value) = split_header(line);
                request.header(&name, value)
            }
        };
    }
    let (headers, body) = split_message(&lines[answer + 1..]);
    let status = lines[answer][3..].trim().parse().expect("a status");
    Exchange { title, request, status, headers: headers.iter().map(|line| split_header(line)).collect(), body }
}

/// Splits at the first empty line; empty lines at the end do not count.
fn split_message<'a>(lines: &[&'a str]) -> (Vec<&'a str>, String) {
    let end = lines.iter().rposition(|line| !line.trim().is_empty()).map_or(0, |last| last + 1);
    let lines = &lines[..end];
    let gap = lines.iter().position(|line| line.trim().is_empty()).unwrap_or(lines.len());
    (lines[..gap].to_vec(), lines.get(gap + 1..).unwrap_or_default().join("\n"))
}

fn split_header(line: &str) -> (String, String) {
    let (name, value) = line.split_once(':').expect("a header");
    (name.trim().to_owned(), value.trim().to_owned())
}

/// A body is text, or bytes written as `@hex 00ff…`.
fn decode_body(text: &str) -> Vec<u8> {
    let Some(digits) = text.strip_prefix("@hex") else {
        return text.as_bytes().to_vec();
    };
    let digits = digits.trim();
    (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).expect("hex")).collect()
}

fn encode_body(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.contains(['\r', '\0']) && !text.starts_with("@hex") => text.to_owned(),
        _ => format!("@hex {}", bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>()),
    }
}

fn same(expected: &str, got: &str, prefixes: &[String]) -> bool {
    if expected == got {
        return true;
    }
    if let Some((prefix, at)) = prefixes.iter().find_map(|prefix| expected.find(prefix).map(|at| (prefix, at))) {
        return got.starts_with(&expected[..at + prefix.len()]);
    }
    match (json::parse(expected), json::parse(got)) {
        (Some(a), Some(b)) => a == b && expected.contains('\n') == got.contains('\n'),
        _ => false,
    }
}

fn differences(exchange: &Exchange, response: &Response, prefixes: &[String], port: u16) -> Vec<String> {
    let mut wrong = Vec::new();
    let port = format!(":{port}");
    if response.status != exchange.status {
        wrong.push(format!("status {}, expected {}", response.status, exchange.status));
    }
    let body = encode_body(&response.body).replace(&port, ":{port}");
    let body = body.trim_end_matches('\n');
    if !same(exchange.body.trim_end_matches('\n'), body, prefixes) {
        wrong.push(format!("body\n      expected {}\n      got      {body}", exchange.body));
    }
    for (name, value) in &exchange.headers {
        let mut values = response.headers.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v);
        if !values.any(|v| v.replace(&port, ":{port}") == *value) {
            wrong.push(format!("header {name}: expected {value:?}, got {:?}", response.header(name)));
        }
    }
    wrong
}

fn start(conversation: &Conversation, dir: &Path) -> Server {
    for (name, content) in &conversation.files {
        write(dir, name, content);
    }
    let flags = conversation.flags.iter().map(|flag| flag.replace("{dir}", &dir.to_string_lossy()));
    Launch::new().dir(dir).args(flags).start()
}

fn replay(conversation: &Conversation) -> Vec<String> {
    let dir = temp_dir();
    let server = start(conversation, dir.path());
    let mut problems = Vec::new();
    for exchange in &conversation.exchanges {
        let wrong = match server.client().send(&exchange.request) {
            Ok(response) => differences(exchange, &response, &conversation.prefixes, server.port()),
            Err(e) => vec![format!("no answer: {e}")],
        };
        if !wrong.is_empty() {
            let Request { method, target, .. } = &exchange.request;
            problems.push(format!("{} [{method} {target}]: {}", exchange.title, wrong.join("; ")));
        }
    }
    problems
}

fn replay_file(name: &str) {
    let queue = Mutex::new(read_conversations(name).into_iter());
    let problems = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                loop {
                    let next = queue.lock().expect("queue").next();
                    let Some(conversation) = next else { break };
                    problems.lock().expect("problems").extend(replay(&conversation));
                }
            });
        }
    });
    let problems = problems.into_inner().expect("problems");
    assert!(problems.is_empty(), "{} differences in {name}:\n{}", problems.len(), problems.join("\n"));
}

macro_rules! replayed {
    ($($test:ident: $file:literal,)*) => {
        $(#[test] fn $test() { replay_file($file); })*

        #[test]
        fn every_fixture_is_replayed() {
            let mut replayed = vec![$($file),*];
            replayed.sort();
            assert_eq!(common::names(&fixtures()), replayed);
        }
    };
}

replayed! {
    auth: "auth.case",
    cors: "cors.case",
    deliberate_differences: "differences.case",
    errors: "errors.case",
    http: "http.case",
    other: "other.case",
    parameters: "parameters.case",
    parsing: "parsing.case",
    results: "results.case",
    statements: "statements.case",
    stored_statements: "stored.case",
    transactions: "transactions.case",
    types: "types.case",
    values_batch: "values-batch.case",
}

#[test]
fn comparison_sees_what_matters_and_nothing_else() {
    let same = |a, b| same(a, b, &["in parsing body: ".to_owned()]);
    assert!(same(r#"{"a": 1, "b": "\u003c"}"#, r#"{"a":1,"b":"<"}"#));
    assert!(!same(r#"{"a":1,"b":2}"#, r#"{"b":2,"a":1}"#), "the order of keys matters");
    assert!(!same("[1]", "[1.0]"), "the kind of a number matters");
    assert!(!same("[9007199254740993]", "[9007199254740992]"), "large integers are compared exactly");
    assert!(same("[1e-7]", "[0.0000001]"));
    assert!(same(r#"{"error":"in parsing body: x"}"#, r#"{"error":"in parsing body: y"}"#));
    assert!(!same(r#"{"error":"x"}"#, r#"{"error":"y"}"#));
    assert!(!same("{}", "{} trailing"));
}
