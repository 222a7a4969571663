//! Replays recorded conversations against a server. A file holds conversations separated by `===`, each of which is
//! replayed against a freshly started server:
//!
//! ```text
//! @server KIND        the server that the conversation was recorded from
//! @flags  …           more command-line words; {dir} is a fresh directory
//! @file   NAME        the lines up to `@end` are first written to {dir}/NAME
//! @prefix TEXT        bodies are compared up to and including TEXT if the expected body contains it
//! @mask   …           numbers that are not compared; it must be one of [`MASKED`]
//! ### title           an exchange, with or without a title: lines of remarks that begin with `# `,
//!                     the request line, headers, an empty line, the body,
//! <<< 200             then the expected status, headers, an empty line, the body
//! ```
//!
//! Bodies are equal if they are equal as JSON, including the order of keys and the spelling of integers.

use std::path::{Path, PathBuf};
use std::sync::Mutex;

use super::{Request, Response, Server, json, temp_dir, write};

const THREADS: usize = 2;

/// Keys with numbers that differ from run to run.
const MASKED: [&str; 3] = ["time", "sequence_number", "raft_index"];

/// A set of recorded conversations, and how they are replayed.
#[derive(Debug)]
pub struct Replay {
    /// The folder below `tests/fixtures`.
    pub folder: &'static str,
    /// The server that they were recorded from.
    pub server: &'static str,
    /// Starts a server for a conversation.
    pub start: fn(&Conversation, &Path) -> Server,
    /// Titles of exchanges that have another answer here, and the reason.
    pub differs: &'static [(&'static str, &'static str)],
}

#[derive(Debug, Default)]
pub struct Conversation {
    pub flags: Vec<String>,
    pub files: Vec<(String, String)>,
    pub prefixes: Vec<String>,
    pub exchanges: Vec<Exchange>,
}

#[derive(Debug)]
pub struct Exchange {
    /// The number of its first line in the file.
    pub line: usize,
    pub title: String,
    pub request: Request,
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

/// Parses a conversation that begins in this line of its file.
fn parse_conversation(first_line: usize, lines: &[&str], server: &str) -> Conversation {
    let starts: Vec<usize> = (0..lines.len()).filter(|at| lines[*at].starts_with("###")).collect();
    let mut conversation = parse_head(&lines[..starts[0]], server);
    let ends = starts.iter().copied().skip(1).chain([lines.len()]);
    for (start, end) in starts.iter().copied().zip(ends) {
        conversation.exchanges.push(parse_exchange(first_line + start, &lines[start..end]));
    }
    conversation
}

fn parse_head(lines: &[&str], server: &str) -> Conversation {
    let mut conversation = Conversation::default();
    let mut lines = lines.iter();
    while let Some(line) = lines.next() {
        match line.split_once(' ').unwrap_or((line, "")) {
            ("@server", kind) => assert_eq!(kind, server),
            ("@mask", mask) => {
                assert!(MASKED.iter().any(|key| mask.starts_with(&format!("\"{key}\""))), "unknown mask {mask}")
            }
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

fn parse_exchange(line: usize, lines: &[&str]) -> Exchange {
    let title = lines[0][3..].trim().to_owned();
    let answer = lines.iter().position(|line| line.starts_with("<<<")).expect("an expected answer");
    let question: Vec<&str> =
        lines[1..answer].iter().copied().skip_while(|line| line.trim().is_empty() || line.starts_with("# ")).collect();
    let (method, target) = question[0].split_once(' ').expect("a request line");
    let (headers, body) = split_message(&question[1..]);
    let mut request = Request::new(method, target).body(decode_body(&body));
    for header in headers {
        request = match header.strip_prefix("@auth ") {
            Some(credentials) => request.basic(credentials),
            None => {
                let (name, value) = split_header(header);
                request.header(&name, value)
            }
        };
    }
    let (headers, body) = split_message(&lines[answer + 1..]);
    let status = lines[answer][3..].trim().parse().expect("a status");
    let headers = headers.iter().map(|header| split_header(header)).collect();
    Exchange { line, title, request, status, headers, body }
}

/// Splits at the first empty line. Empty lines at the end are ignored.
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

/// Decodes a body, which is text, or bytes written as `@hex 00ff…`.
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

pub fn same(expected: &str, got: &str, prefixes: &[String]) -> bool {
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

/// The ports of the answering server, which differ from run to run.
#[derive(Debug, Clone, Copy)]
pub struct Ports {
    pub http: u16,
    /// The port for other nodes, which recorded answers contain as that of the leader.
    pub raft: Option<u16>,
}

impl Ports {
    fn of(server: &Server) -> Ports {
        Ports { http: server.port(), raft: server.raft_port() }
    }

    /// The text with names in place of the ports.
    fn named(self, text: &str) -> String {
        let text = text.replace(&format!(":{}", self.http), ":{port}");
        match self.raft {
            Some(port) => text.replace(&format!(":{port}"), ":{raft_port}"),
            None => text,
        }
    }
}

fn differences(exchange: &Exchange, response: &Response, prefixes: &[String], ports: Ports) -> Vec<String> {
    let mut wrong = Vec::new();
    if response.status != exchange.status {
        wrong.push(format!("status {}, expected {}", response.status, exchange.status));
    }
    let body = masked(&ports.named(&encode_body(&response.body)));
    let body = body.trim_end_matches('\n');
    if !same(masked(&exchange.body).trim_end_matches('\n'), body, prefixes) {
        wrong.push(format!("body\n      expected {}\n      got      {body}", exchange.body));
    }
    for (name, value) in &exchange.headers {
        let mut values = response.headers.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v);
        if !values.any(|v| ports.named(v) == *value) {
            wrong.push(format!("header {name}: expected {value:?}, got {:?}", response.header(name)));
        }
    }
    wrong
}

impl Conversation {
    /// Writes the files that the conversation needs.
    pub fn write_files(&self, dir: &Path) {
        for (name, content) in &self.files {
            write(dir, name, content);
        }
    }

    /// The flags, with this directory in place of `{dir}`.
    pub fn flags_in(&self, dir: &Path) -> Vec<String> {
        self.flags.iter().map(|flag| flag.replace("{dir}", &dir.to_string_lossy())).collect()
    }

    /// Sends the requests in their order. Returns a line for each response that is not the recorded one although the
    /// exchange is not listed as different, and for each that is the recorded one although it is listed.
    pub fn replay(
        &self,
        ports: Ports,
        mut send: impl FnMut(&Request) -> std::io::Result<Response>,
        is_listed: impl Fn(&Exchange) -> bool,
    ) -> Vec<String> {
        let problems = self.exchanges.iter().filter_map(|exchange| {
            let wrong = match send(&exchange.request) {
                Ok(response) => differences(exchange, &response, &self.prefixes, ports),
                Err(e) => vec![format!("no answer: {e}")],
            };
            let wrong = match (is_listed(exchange), wrong.is_empty()) {
                (true, true) => "listed as different, but equal".to_owned(),
                (false, false) => wrong.join("; "),
                _ => return None,
            };
            let Exchange { line, title, request: Request { method, target, .. }, .. } = exchange;
            Some(format!("line {line} {title} [{method} {target}]: {wrong}"))
        });
        problems.collect()
    }
}

/// The conversations in a file of a folder of fixtures, which were recorded from this server.
pub fn conversations(folder: &Path, name: &str, server: &str) -> Vec<Conversation> {
    let text = std::fs::read_to_string(folder.join(name)).expect("the fixture");
    let lines: Vec<&str> = text.split('\n').collect();
    let mut first_line = 1;
    let mut conversations = Vec::new();
    for block in lines.split(|line| *line == "===") {
        conversations.push(parse_conversation(first_line, block, server));
        first_line += block.len() + 1;
    }
    conversations
}

impl Replay {
    pub fn fixtures(&self) -> PathBuf {
        super::fixtures(self.folder)
    }

    fn conversations(&self, name: &str) -> Vec<Conversation> {
        conversations(&self.fixtures(), name, self.server)
    }

    /// Asserts that these are all files of the folder.
    pub fn assert_complete(&self, files: &[&str]) {
        let mut files = files.to_vec();
        files.sort_unstable();
        assert_eq!(super::names(&self.fixtures()), files);
    }

    /// Asserts that each title of [`differs`](Replay::differs) is that of an exchange in one of these files.
    pub fn assert_differences_exist(&self, files: &[&str]) {
        let conversations = files.iter().flat_map(|file| self.conversations(file));
        let titles: Vec<String> = conversations.flat_map(|it| it.exchanges).map(|exchange| exchange.title).collect();
        for (title, why) in self.differs {
            assert!(titles.iter().any(|known| known == title), "no exchange is titled {title:?} ({why})");
        }
    }

    /// Replays a file. Panics with all differences that are not known.
    pub fn file(&self, name: &str) {
        let queue = Mutex::new(self.conversations(name).into_iter());
        let problems = Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    loop {
                        let next = queue.lock().expect("queue").next();
                        let Some(conversation) = next else { break };
                        problems.lock().expect("problems").extend(self.conversation(&conversation));
                    }
                });
            }
        });
        let problems = problems.into_inner().expect("problems");
        assert!(problems.is_empty(), "{} differences in {name}:\n{}", problems.len(), problems.join("\n"));
    }

    fn conversation(&self, conversation: &Conversation) -> Vec<String> {
        let dir = temp_dir();
        let server = (self.start)(conversation, dir.path());
        let is_listed = |exchange: &Exchange| self.differs.iter().any(|(title, _)| *title == exchange.title);
        conversation.replay(Ports::of(&server), |request| server.client().send(request), is_listed)
    }
}

/// Declares a test for each file of a [`Replay`], and the list `FILES` of them.
macro_rules! replay_tests {
    ($replay:expr; $($test:ident: $file:literal,)*) => {
        const FILES: &[&str] = &[$($file),*];

        $(#[test] fn $test() { $replay.file($file); })*
    };
}
pub(crate) use replay_tests;

/// The text with zeros in place of the numbers that are not compared.
pub fn masked(text: &str) -> String {
    MASKED.iter().fold(text.to_owned(), |text, key| {
        let key = format!("\"{key}\":");
        let mut pieces = text.split(&key);
        let mut out = pieces.next().unwrap_or_default().to_owned();
        for piece in pieces {
            let number = piece.trim_start().trim_start_matches(|c: char| "+-.eE".contains(c) || c.is_ascii_digit());
            out += &key;
            out += if number.len() < piece.trim_start().len() { " 0" } else { "" };
            out += if number.len() < piece.trim_start().len() { number } else { piece };
        }
        out
    })
}
