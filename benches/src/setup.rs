//! Sends the requests before and after a run. They create and fill the tables, try each kind of operation and check its
//! result, and count rows.

use std::time::Duration;

use tokio::runtime;
use tokio::time::timeout;

use crate::Error;
use crate::http::{Connection, RequestWriter};
use crate::plan::Target;
use crate::workload::{Operation, OperationKind, OperationResult, ROWS_PER_QUERY, Workload};

/// The time limit for opening a connection, and for a request with its response.
const TIMEOUT: Duration = Duration::from_secs(60);
/// The number of rows that one request inserts when the table is filled: about 150 KB of JSON.
const ROWS_PER_FILL: u64 = 1_000;

/// A client that sends one request at a time and blocks until the response has arrived. Unlike the connections of a
/// run, it parses the response bodies.
#[derive(Debug)]
pub struct BlockingClient<'t> {
    runtime: runtime::Runtime,
    /// The open connection. `None` if the server closed the connection after the last response.
    connection: Option<Connection>,
    target: &'t Target,
    writer: RequestWriter<'t>,
}

impl<'t> BlockingClient<'t> {
    /// Opens a connection with the server and creates the client.
    pub fn open(target: &'t Target) -> Result<Self, Error> {
        let runtime =
            runtime::Builder::new_current_thread().enable_all().build().map_err(Error::io("start a runtime"))?;
        let writer = RequestWriter::new(target.endpoint, &*target.protocol, &target.auth);
        let connection = Some(connect(&runtime, target)?);
        Ok(BlockingClient { runtime, connection, target, writer })
    }

    /// Sends the request for an operation. Returns the status and the body of the response.
    fn send(&mut self, operation: &Operation) -> Result<(u16, Vec<u8>), Error> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => connect(&self.runtime, self.target)?,
        };
        let mut body = Vec::new();
        let exchange = connection.exchange(self.writer.write(operation), Some(&mut body));
        match self.runtime.block_on(async { timeout(TIMEOUT, exchange).await }) {
            Ok(Ok(response)) => {
                self.connection = response.keep_alive.then_some(connection);
                Ok((response.status, body))
            }
            Ok(Err(error)) => Err(Error::Server(format!("{operation:?}: {error}"))),
            Err(_) => Err(Error::Server(format!("{operation:?}: no answer within {} s", TIMEOUT.as_secs()))),
        }
    }

    /// Sends the request for an operation. Returns the result of the operation, and the length of the response body in
    /// bytes. Returns an error if the operation does not succeed.
    pub fn execute(&mut self, operation: &Operation) -> Result<(OperationResult, u64), Error> {
        let (status, body) = self.send(operation)?;
        let refuse = |why: &str| {
            let shown = String::from_utf8_lossy(&body[..body.len().min(300)]).into_owned();
            Error::Server(format!("{operation:?}: {why} (status {status}, {shown})"))
        };
        if status != 200 {
            return Err(refuse("the server refused the request"));
        }
        let result = self.target.protocol.read_result(&body).map_err(|why| refuse(&why))?;
        Ok((result, body.len() as u64))
    }

    /// Creates the tables unless they exist, and adds rows to `load_items` until the table contains the ids from 1 to
    /// `items`.
    pub fn prepare(&mut self, items: u64) -> Result<(), Error> {
        self.execute(&Operation::CreateTables)?;
        let mut filled = self.count(&Operation::CountItems)?;
        while filled < items {
            let last = items.min(filled + ROWS_PER_FILL);
            self.execute(&Operation::Fill { first: filled + 1, last })?;
            filled = last;
        }
        Ok(())
    }

    /// Returns the number of rows in `load_inserts`. If the protocol has queued writes, waits first until they have
    /// been executed.
    pub fn count_inserts(&mut self) -> Result<u64, Error> {
        if self.target.protocol.has_queued_writes() {
            self.execute(&Operation::Flush)?;
        }
        self.count(&Operation::CountInserts)
    }

    fn count(&mut self, operation: &Operation) -> Result<u64, Error> {
        let (result, _) = self.execute(operation)?;
        result.first.ok_or_else(|| Error::Server(format!("{operation:?}: the answer contains no count")))
    }

    /// Checks that the server returns the expected results. Sends each kind of operation of a workload twice, for the
    /// first and the last row of a table of `items` rows, and compares the results with the expected ones. Returns the
    /// minimum length of the body of a successful response for each kind, in bytes. During the run, only that length is
    /// checked.
    pub fn probe(&mut self, workload: Workload, items: u64) -> Result<[u64; OperationKind::ALL.len()], Error> {
        let mut body_len_min = [0; OperationKind::ALL.len()];
        for kind in workload.kinds() {
            let mut shortest = u64::MAX;
            for operation in operations_at_both_ends(*kind, items) {
                let (result, len) = self.execute(&operation)?;
                if !matches_expected(&result, &operation.expected_result()) {
                    return Err(Error::Server(format!(
                        "{operation:?}: unexpected result {result:?}; the table may be smaller than --rows (--prepare fills it)"
                    )));
                }
                shortest = shortest.min(len);
            }
            // The limit is a quarter lower, because numbers have fewer digits in some rows. A response without rows is
            // much shorter.
            body_len_min[kind.index()] = shortest * 3 / 4;
        }
        Ok(body_len_min)
    }
}

fn connect(runtime: &runtime::Runtime, target: &Target) -> Result<Connection, Error> {
    let address = target.endpoint.address;
    let connected = runtime.block_on(async { timeout(TIMEOUT, Connection::open(address)).await });
    let connected = connected.unwrap_or_else(|elapsed| Err(elapsed.into()));
    connected.map_err(Error::io(format!("connect to {address}")))
}

/// Returns the operations of this kind for the first and the last row of a table of `items` rows.
fn operations_at_both_ends(kind: OperationKind, items: u64) -> [Operation; 2] {
    match kind {
        OperationKind::Insert => [Operation::Insert(0), Operation::Insert(1)],
        OperationKind::Point => [Operation::Point(1), Operation::Point(items)],
        OperationKind::Rows => [Operation::RowsAfter(0), Operation::RowsAfter(items.saturating_sub(ROWS_PER_QUERY))],
        OperationKind::Batch => [Operation::Batch(0), Operation::Batch(1)],
        OperationKind::Queued => [Operation::Queued(0), Operation::Queued(1)],
    }
}

fn matches_expected(result: &OperationResult, expected: &OperationResult) -> bool {
    let counts = |result: &OperationResult| (result.rows, result.columns, result.changed);
    counts(result) == counts(expected) && (expected.first.is_none() || result.first == expected.first)
}
