//! Answers, without what differs from run to run.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::common::replay::{masked, same};
use crate::common::{Request, Response};

/// The headers that are compared.
const HEADERS: [&str; 11] = [
    "x-rqlite-version",
    "access-control-allow-methods",
    "access-control-allow-headers",
    "www-authenticate",
    "access-control-allow-credentials",
    "access-control-allow-origin",
    "allow",
    "content-type",
    "location",
    "x-content-type-options",
    "x-rqlite-served-by",
];

/// The member of a recorded body that names a list of members.
const MEMBERS: &str = "members of";

/// An answer.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Answer {
    pub status: u16,
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// A text. For `/status` and `/debug/vars`, an object with some of the members, by their paths.
    pub body: Value,
}

/// The parts of an answer that are different. A header that is absent is null.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Change {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    headers: BTreeMap<String, Option<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    body: Option<Value>,
}

/// A named list of members, a line of `members.jsonl`.
#[derive(Debug, Deserialize)]
pub struct Members {
    name: String,
    members: Vec<String>,
}

/// The names of the texts that differ from run to run.
#[derive(Debug, Clone, Default)]
pub struct Names {
    names: Vec<(String, String)>,
    /// The headers that all answers of the phase have, with their values.
    common: Vec<(&'static str, &'static str)>,
}

impl Names {
    /// The names of a phase whose nodes have users, or not.
    pub fn new(has_users: bool) -> Names {
        let mut common = vec![("access-control-allow-methods", "OPTIONS, GET, POST")];
        common.extend(match has_users {
            true => vec![
                ("access-control-allow-headers", "Content-Type, Authorization"),
                ("www-authenticate", "Basic realm=\"rqlite\""),
                ("access-control-allow-credentials", "true"),
            ],
            false => vec![("access-control-allow-headers", "Content-Type")],
        });
        Names { names: Vec::new(), common }
    }

    /// Adds a node.
    pub fn add(&mut self, role: &str, id: &str, http: &str, raft: &str) {
        self.names.push((http.to_owned(), format!("{{{role}_http}}")));
        self.names.push((raft.to_owned(), format!("{{{role}_raft}}")));
        self.names.push((format!("\"{id}\""), format!("\"{{{role}_id}}\"")));
        self.names.push((format!("ID:{id} "), format!("ID:{{{role}_id}} ")));
    }

    fn named(&self, text: &str) -> String {
        self.names.iter().fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
    }
}

impl Answer {
    /// The answer of a node of this role.
    pub fn new(response: &Response, request: &Request, role: &str, names: &Names) -> Answer {
        let mut headers = BTreeMap::new();
        for name in HEADERS {
            let value = response.header(name);
            let common = names.common.iter().find(|(common, _)| *common == name).map(|(_, value)| *value);
            if name == "x-rqlite-version" && value.is_some() || common.is_some() && value == common {
                continue;
            }
            let value = value.map(|value| names.named(value)).or(common.map(|_| "(absent)".to_owned()));
            let own = format!("{{{role}_http}}");
            let value =
                value.map(|it| if name == "x-rqlite-served-by" && it == own { "{own_http}".into() } else { it });
            headers.extend(value.map(|value| (name.to_owned(), value)));
        }
        Answer { status: response.status, headers, body: body(response, request, names) }
    }

    /// Replaces the name of a list of members by the list.
    pub fn resolve_members(&mut self, lists: &[Members]) {
        if let Some(name) = self.body.get_mut(MEMBERS) {
            let list = lists.iter().find(|list| *name == *list.name).expect("the list of members");
            *name = list.members.clone().into();
        }
    }

    /// Whether the answer, which was recorded, is the same as that of our node.
    pub fn equals(&self, got: &Answer) -> bool {
        self.status == got.status && self.headers == got.headers && same_body(&self.body, &got.body)
    }

    /// The answer with a change.
    pub fn changed(&self, change: &Change) -> Answer {
        let mut answer = self.clone();
        answer.status = change.status.unwrap_or(answer.status);
        for (name, value) in &change.headers {
            match value {
                Some(value) => answer.headers.insert(name.clone(), value.clone()),
                None => answer.headers.remove(name),
            };
        }
        match (&mut answer.body, &change.body) {
            (Value::Object(members), Some(Value::Object(changed))) => members.extend(changed.clone()),
            (body, Some(changed)) => *body = changed.clone(),
            (_, None) => {}
        }
        answer
    }

    /// The change that makes this answer, which was recorded, that of our node.
    pub fn difference(&self, got: &Answer) -> Change {
        let mut headers = BTreeMap::new();
        for name in self.headers.keys().chain(got.headers.keys()) {
            if self.headers.get(name) != got.headers.get(name) {
                headers.insert(name.clone(), got.headers.get(name).cloned());
            }
        }
        let body = match (&self.body, &got.body) {
            (expected, got) if same_body(expected, got) => None,
            (Value::Object(expected), got @ Value::Object(_)) => Some(changed_members(expected, got)),
            (_, got) => Some(got.clone()),
        };
        Change { status: (self.status != got.status).then_some(got.status), headers, body }
    }
}

/// The body, with names in place of what differs from run to run.
fn body(response: &Response, request: &Request, names: &Names) -> Value {
    if response.body.starts_with(b"SQLite format 3\0") {
        return format!("<sqlite file, journal bytes {}{}>", response.body[18], response.body[19]).into();
    }
    if response.body.starts_with(b"\x1f\x8b") {
        return "<gzip>".into();
    }
    let text = masked_texts(&masked(&names.named(&response.text())));
    let path = request.target.as_str();
    let is_object = path == "/status" || path.starts_with("/debug/vars");
    match serde_json::from_str(&text) {
        Ok(object @ Value::Object(_)) if is_object => object,
        _ => text.into(),
    }
}

/// The text without the durations and versions that it contains as strings.
fn masked_texts(text: &str) -> String {
    let text = masked_text(text, "\"time_s\":", "{var}");
    masked_text(&text, "\"version\":", "{version}")
}

/// Replaces the strings after this key, unless they are empty.
fn masked_text(text: &str, key: &str, name: &str) -> String {
    let mut pieces = text.split(key);
    let mut out = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        out += key;
        let value = piece.trim_start().strip_prefix('"').and_then(|rest| rest.split_once('"'));
        match value {
            Some((value, rest)) if !value.is_empty() => {
                out += &piece[..piece.len() - piece.trim_start().len()];
                out += &format!("\"{name}\"{rest}");
            }
            _ => out += piece,
        }
    }
    out
}

fn same_body(expected: &Value, got: &Value) -> bool {
    match (expected, got) {
        (Value::Object(members), got) => members.iter().all(|(path, value)| same_member(path, value, got)),
        (Value::String(expected), Value::String(got)) => same(&masked(expected), &masked(got), &[]),
        _ => false,
    }
}

/// Whether the member at this path is the recorded one. Some members were recorded as the set of possible values.
fn same_member(path: &str, expected: &Value, got: &Value) -> bool {
    if let (MEMBERS, Some(paths)) = (path, expected.as_array()) {
        return paths.iter().all(|path| dig(got, path.as_str().unwrap_or_default()).is_some());
    }
    let Some(got) = dig(got, path) else { return false };
    match (expected.as_str(), got.as_str()) {
        (Some("duration"), Some(got)) => got != "never" && got != "0",
        (Some("Follower|Candidate"), Some(got)) => ["Follower", "Candidate"].contains(&got),
        _ => got == expected,
    }
}

/// The members of an object that are not the recorded ones, by their paths.
fn changed_members(expected: &Map<String, Value>, got: &Value) -> Value {
    let changed = expected.iter().filter(|(path, value)| !same_member(path, value, got));
    changed
        .map(|(path, value)| match value.as_array() {
            Some(paths) if path == MEMBERS => {
                let known = paths.iter().filter(|path| dig(got, path.as_str().unwrap_or_default()).is_some());
                (path.clone(), known.cloned().collect())
            }
            _ => (path.clone(), dig(got, path).cloned().unwrap_or_default()),
        })
        .collect::<Map<_, _>>()
        .into()
}

/// The member at a path such as `store.raft.term`. The name of a member may contain dots.
fn dig<'a>(value: &'a Value, path: &str) -> Option<&'a Value> {
    let of_prefix = |(at, _)| value.get(&path[..at]).and_then(|inner| dig(inner, &path[at + 1..]));
    value.get(path).or_else(|| path.match_indices('.').find_map(of_prefix))
}
