//! A client's connection to one node, and what a response says about the effect of a write.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;

use super::common::{Client, Request, Response};

/// The errors after which the statements have had no effect and never will. `Error` in `sqlhttp-core` defines this.
const NO_EFFECT: [&str; 7] = [
    "leader not found",
    "execute timeout",
    "query timeout",
    "the database is overloaded",
    "the database is unavailable at the moment",
    "database is locked",
    "this node was removed from the cluster",
];

/// A request without a response.
#[derive(Debug)]
pub struct Lost {
    /// Whether a part of the request may have been sent.
    pub sent: bool,
    pub source: io::Error,
}

/// The meaning of a response.
#[derive(Debug)]
pub enum Reply {
    /// The results of the statements.
    Results(Vec<Value>),
    /// The statements have had no effect and never will.
    NoEffect(String),
    /// The statements may have had an effect, or may have one later.
    Unknown(String),
}

/// A connection that is kept between requests, to the node of the last request.
#[derive(Debug)]
pub struct Connection {
    open: Option<(SocketAddr, Client)>,
    patience: Duration,
}

impl Connection {
    /// A connection that waits this long for each response.
    pub fn new(patience: Duration) -> Connection {
        Connection { open: None, patience }
    }

    /// Sends a request to a node.
    pub fn send(&mut self, node: SocketAddr, request: &Request) -> Result<Response, Lost> {
        let mut client = match self.open.take() {
            Some((address, client)) if address == node => client,
            _ => Client::connect(node).map_err(|source| Lost { sent: false, source })?,
        };
        client.set_patience(self.patience);
        let response = client.send(request).map_err(|source| Lost { sent: true, source })?;
        self.open = Some((node, client));
        Ok(response)
    }

    /// Sends statements to a node.
    pub fn statements(&mut self, node: SocketAddr, target: &str, statements: &Value) -> Reply {
        self.results(node, &Request::json(target, statements))
    }

    /// Sends a request whose response contains results.
    pub fn results(&mut self, node: SocketAddr, request: &Request) -> Reply {
        match self.send(node, request) {
            Ok(response) => reply(&response),
            Err(Lost { sent: false, source }) => Reply::NoEffect(format!("cannot connect: {:?}", source.kind())),
            Err(Lost { sent: true, source }) => Reply::Unknown(format!("no response: {:?}", source.kind())),
        }
    }
}

/// Returns the meaning of a response for its request.
fn reply(response: &Response) -> Reply {
    let document: Value = serde_json::from_slice(&response.body).unwrap_or(Value::Null);
    let results = document["results"].as_array().cloned().unwrap_or_default();
    let error = results.iter().chain([&document]).find_map(|part| part["error"].as_str()).map(str::to_owned);
    match error {
        None if response.status == 200 && document.is_object() => Reply::Results(results),
        error => {
            let text = error.unwrap_or_else(|| format!("{} {}", response.status, response.text().trim_end()));
            let no_effect = NO_EFFECT.iter().any(|known| text.contains(known));
            if no_effect { Reply::NoEffect(text) } else { Reply::Unknown(text) }
        }
    }
}
