//! The facts that the encoder needs besides an outcome.

use std::time::Duration;

use crate::endpoint::Endpoint;
use crate::params::Params;

/// The form of the reply that a request asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplyShape {
    pub(crate) endpoint: Endpoint,
    /// Whether all steps are one transaction.
    pub(crate) transaction: bool,
    /// Whether rows are objects rather than arrays.
    pub(crate) associative: bool,
    pub(crate) blob_array: bool,
    pub(crate) qualify_columns: bool,
    pub(crate) timings: bool,
    pub(crate) pretty: bool,
    pub(crate) raft_index: bool,
    /// The maximum number of results.
    pub(crate) steps: usize,
}

impl ReplyShape {
    /// Creates the shape of a reply from the parameters that the endpoint honours. `steps` is the maximum number of
    /// results.
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

    /// Returns the number of results if the database stops before all statements have run: one for each statement,
    /// except that a transaction that writes ends at its first failure.
    pub(crate) fn results_when_stopped(&self) -> usize {
        if self.transaction && self.endpoint != Endpoint::Query { self.steps.min(1) } else { self.steps }
    }
}

/// The facts at the end of a reply. They are written if the client asked for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Trailer {
    /// The duration of the request.
    pub elapsed: Duration,
    /// The index of the log entry that contains the request; 0 if there is none.
    pub raft_index: u64,
}
