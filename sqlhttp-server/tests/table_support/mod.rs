//! The table of what each node of a real cluster answers, and its comparison with our nodes.
//!
//! The files in `fixtures/three-nodes` contain one JSON document per line:
//!
//! * `requests.jsonl`: the requests. The body `{database}` is a database file with the table `t`.
//! * `answers.jsonl`: the answers that were recorded from rqlited, each with its phase, its request and the nodes (and
//!   users) that received it.
//! * `members.jsonl`: names for the long lists of members of `/status` and `/debug/vars`.
//! * `differences.jsonl`: what our nodes answer instead, with the row of `docs/differences-rqlite.md` that says why.
//!
//! Text that differs from run to run has a name: `{leader_http}` is the address of the leader's HTTP API,
//! `{voter_raft}` the address of the voter for other nodes, `{replica_id}` the name of the read replica. `{own_http}`
//! in a header is the address of the node that was asked.

#![allow(unreachable_pub)]

mod answer;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use serde::Deserialize;
use serde_json::json;

pub use answer::{Answer, Change, Names};

use crate::common::{Request, fixtures};

/// The order in which the users send their requests.
pub const USERS: [&str; 6] = ["right", "wrong", "none", "weak-query", "weak-execute", "unknown-to-leader"];

/// The credentials of a user. Those with a wrong password take turns, because failed logins of one name are delayed.
fn credentials(user: &str, turn: usize) -> Option<&'static str> {
    match user {
        "right" => Some("admin:secret"),
        "wrong" => Some(WRONG[turn % WRONG.len()]),
        "weak-query" => Some("quin:qpass"),
        "weak-execute" => Some("exe:epass"),
        "unknown-to-leader" => Some("local:lpass"),
        _ => None,
    }
}

const WRONG: [&str; 3] = ["admin:nope", "quin:nope", "exe:nope"];

/// The suffix of the name of a case whose request is sent a second time.
const SECOND: &str = " (second)";

/// A request, which is sent to several nodes in several phases.
#[derive(Debug, Deserialize)]
struct Case {
    case: String,
    method: String,
    path: String,
    #[serde(rename = "type")]
    media_type: Option<String>,
    body: Option<String>,
}

impl Case {
    fn request(&self, database: &[u8]) -> Request {
        let request = Request::new(&self.method, &self.path);
        let request = match &self.media_type {
            Some(media_type) => request.header("Content-Type", media_type),
            None => request,
        };
        match self.body.as_deref() {
            None => request,
            Some("{database}") => request.body(database),
            Some(text) => request.body(text),
        }
    }
}

/// A line of `answers.jsonl`.
#[derive(Debug, Deserialize)]
struct Recorded {
    phase: String,
    case: String,
    #[serde(default = "no_users")]
    users: Vec<String>,
    nodes: Vec<String>,
    #[serde(flatten)]
    answer: Answer,
}

/// A line of `differences.jsonl`.
#[derive(Debug, Deserialize)]
struct Difference {
    /// The first column of a row of `docs/differences-rqlite.md`.
    row: String,
    phases: Vec<String>,
    cases: Vec<String>,
    #[serde(default = "no_users")]
    users: Vec<String>,
    nodes: Vec<String>,
    ours: Change,
    #[serde(skip)]
    was_used: AtomicBool,
}

fn no_users() -> Vec<String> {
    vec!["none".to_owned()]
}

/// A request to a node in a phase, and the recorded answer.
#[derive(Debug)]
pub struct Exchange {
    pub phase: String,
    pub case: String,
    pub user: String,
    pub credentials: Option<&'static str>,
    /// The node that is asked: `leader`, `voter`, `replica`, `voter2` (another voter) or `alone`.
    pub node: String,
    pub request: Request,
    pub answer: Answer,
}

impl Exchange {
    /// Whether this is the first or the second request of a case.
    pub fn is_of(&self, case: &str) -> bool {
        self.case.strip_suffix(SECOND).unwrap_or(&self.case) == case
    }

    /// Whether the request was sent a second time, after the response to the first one.
    pub fn is_second(&self) -> bool {
        self.case.ends_with(SECOND)
    }
}

/// All fixtures.
#[derive(Debug)]
pub struct Table {
    cases: Vec<Case>,
    recorded: Vec<Recorded>,
    differences: Vec<Difference>,
}

fn file(name: &str) -> PathBuf {
    fixtures("three-nodes").join(name)
}

fn lines<T: for<'de> Deserialize<'de>>(name: &str) -> Vec<T> {
    let text = std::fs::read_to_string(file(name)).expect("the fixture");
    let line = |line: &str| serde_json::from_str(line).unwrap_or_else(|e| panic!("{name}: {e}: {line}"));
    text.lines().map(line).collect()
}

impl Table {
    pub fn read() -> Table {
        let mut recorded: Vec<Recorded> = lines("answers.jsonl");
        let members = lines("members.jsonl");
        recorded.iter_mut().for_each(|recorded| recorded.answer.resolve_members(&members));
        Table { cases: lines("requests.jsonl"), recorded, differences: lines("differences.jsonl") }
    }

    /// The requests of a phase, in the order in which they were sent. `database` is a database file with the table `t`.
    pub fn phase(&self, phase: &str, database: &[u8]) -> Vec<Exchange> {
        let mut exchanges = Vec::new();
        for user in USERS {
            let of_phase = self.recorded.iter().filter(|recorded| recorded.phase == phase);
            let of_user = of_phase.filter(|recorded| recorded.users.iter().any(|it| it == user));
            for (turn, recorded) in of_user.enumerate() {
                let name = recorded.case.strip_suffix(SECOND).unwrap_or(&recorded.case);
                let case = self.cases.iter().find(|case| case.case == name).expect("the request of the answer");
                let credentials = credentials(user, turn);
                let request = match credentials {
                    Some(credentials) => case.request(database).basic(credentials),
                    None => case.request(database),
                };
                exchanges.extend(recorded.nodes.iter().map(|node| Exchange {
                    phase: phase.to_owned(),
                    case: recorded.case.clone(),
                    user: user.to_owned(),
                    credentials,
                    node: node.clone(),
                    request: request.clone(),
                    answer: recorded.answer.clone(),
                }));
            }
        }
        assert!(!exchanges.is_empty(), "no phase is called {phase}");
        exchanges
    }

    /// Compares an answer with the recorded one. Returns what is wrong.
    pub fn problem(&self, exchange: &Exchange, got: &Answer) -> Option<String> {
        let Exchange { phase, case, user, node, .. } = exchange;
        let has = |list: &[String], one: &String| list.contains(one);
        let listed = self
            .differences
            .iter()
            .find(|it| has(&it.phases, phase) && has(&it.cases, case) && has(&it.users, user) && has(&it.nodes, node));
        let differs = !exchange.answer.equals(got);
        let wrong = match listed {
            None if differs => "another answer than recorded",
            Some(_) if !differs => "listed as different, but equal",
            Some(listed) if !exchange.answer.changed(&listed.ours).equals(got) => "another answer than listed",
            _ => {
                if let Some(listed) = listed {
                    listed.was_used.store(true, Ordering::Relaxed);
                }
                return None;
            }
        };
        let ours = exchange.answer.difference(got);
        let line = json!({ "phases": [phase], "cases": [case], "users": [user], "nodes": [node], "ours": ours });
        Some(format!("{wrong}: {line}"))
    }

    /// The rows of `docs/differences-rqlite.md` that the differences name.
    pub fn rows(&self) -> Vec<&str> {
        self.differences.iter().map(|difference| difference.row.as_str()).collect()
    }

    /// The listed differences of these phases that no exchange had.
    pub fn unused_differences(&self, phases: &[&str]) -> Vec<String> {
        let of_phases = |it: &&Difference| it.phases.iter().any(|phase| phases.contains(&phase.as_str()));
        let unused = self.differences.iter().filter(|it| !it.was_used.load(Ordering::Relaxed)).filter(of_phases);
        unused.map(|it| format!("no such answer: {:?} {:?} {:?}", it.phases, it.cases, it.nodes)).collect()
    }
}
