//! The facts about a request that its reply depends on, besides the outcome of the batch.

use std::time::Duration;

use crate::endpoint::Endpoint;
use crate::params::Params;

/// The form of the reply that a request asks for with its endpoint and parameters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplyShape {
    pub(crate) endpoint: Endpoint,
    /// Whether all statements of the request are one transaction.
    pub(crate) transaction: bool,
    /// Whether each row is a JSON object rather than an array.
    pub(crate) associative: bool,
    pub(crate) blob_array: bool,
    pub(crate) qualify_columns: bool,
    pub(crate) timings: bool,
    pub(crate) pretty: bool,
    pub(crate) raft_index: bool,
    /// The maximum number of results in the reply: one for each statement.
    pub(crate) steps: usize,
}

impl ReplyShape {
    /// Creates the shape of a reply from those parameters that have an effect at the endpoint. `steps` is the maximum
    /// number of results in the reply.
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

    /// Returns the number of results in the reply if the database stops before all statements have run. This is one
    /// result for each statement. A transaction that writes has only one result, because it ends at its first failure.
    pub(crate) fn results_when_stopped(&self) -> usize {
        if self.transaction && self.endpoint != Endpoint::Query { self.steps.min(1) } else { self.steps }
    }
}

/// The values at the end of a reply. Each is written only if the client asked for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Trailer {
    /// The duration of the whole request.
    pub elapsed: Duration,
    /// The index of the Raft log entry that contains the request; 0 if there is no such entry.
    pub raft_index: u64,
}
