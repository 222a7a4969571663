//! What the encoder has to remember of a request, and what it is told besides the outcome.

use std::time::Duration;

use crate::endpoint::Endpoint;
use crate::params::Params;

/// How a request wants to be answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplyShape {
    pub(crate) endpoint: Endpoint,
    /// All steps are one transaction.
    pub(crate) transaction: bool,
    /// Rows as objects.
    pub(crate) associative: bool,
    pub(crate) blob_array: bool,
    pub(crate) qualify_columns: bool,
    pub(crate) timings: bool,
    pub(crate) pretty: bool,
    pub(crate) raft_index: bool,
    /// How many results there can be.
    pub(crate) steps: usize,
}

impl ReplyShape {
    /// The shape of an answer with up to this many results: those parameters that the endpoint honours.
    pub fn new(endpoint: Endpoint, params: &Params, steps: usize) -> ReplyShape {
        let runs = matches!(endpoint, Endpoint::Execute | Endpoint::Query | Endpoint::Request);
        let reads = matches!(endpoint, Endpoint::Query | Endpoint::Request);
        ReplyShape {
            endpoint,
            transaction: runs && params.transaction,
            associative: runs && params.associative,
            blob_array: runs && params.blob_array,
            qualify_columns: reads && params.qualify_columns,
            timings: params.timings,
            pretty: params.pretty,
            raft_index: runs && params.raft_index,
            steps,
        }
    }

    /// How many results there are if the database stops before all statements have run: one for each statement, but a
    /// transaction that writes ends at its first failure.
    pub(crate) fn results_when_stopped(&self) -> usize {
        if self.transaction && self.endpoint != Endpoint::Query { self.steps.min(1) } else { self.steps }
    }
}

/// What stands at the end of a reply, if the client asked for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Trailer {
    /// How long the request took.
    pub elapsed: Duration,
    /// The index of the log entry that carried the request; 0 if none did.
    pub raft_index: u64,
}
