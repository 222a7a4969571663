//! What happens before and after a run: tables are made and filled, each operation is tried once and its result
//! understood, and rows are counted.

use std::time::Duration;

use tokio::runtime;
use tokio::time::timeout;

use crate::Error;
use crate::http::{Connection, RequestWriter};
use crate::plan::Target;
use crate::workload::{Operation, OperationKind, OperationResult, ROWS_PER_QUERY, Workload};

/// How long one request may take here.
const TIMEOUT: Duration = Duration::from_secs(60);
/// How many rows are sent in one request when the table is filled: some 150 KB of JSON.
const ROWS_PER_FILL: u64 = 1_000;

/// A connection for one request at a time, for a thread that may block. Unlike in a run, answers are understood.
#[derive(Debug)]
pub struct BlockingClient<'t> {
    runtime: runtime::Runtime,
    /// None if the server did not keep it.
    connection: Option<Connection>,
    target: &'t Target,
    writer: RequestWriter<'t>,
}

impl<'t> BlockingClient<'t> {
    /// Connects.
    pub fn open(target: &'t Target) -> Result<Self, Error> {
        let runtime =
            runtime::Builder::new_current_thread().enable_all().build().map_err(Error::io("start a runtime"))?;
        let writer = RequestWriter::new(target.endpoint, &*target.protocol, &target.auth);
        let connection = Some(connect(&runtime, target)?);
        Ok(BlockingClient { runtime, connection, target, writer })
    }

    /// Sends an operation; the status and the body of the result.
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

    /// Sends an operation; what the result says, and how long it is. Anything but success is an error.
    pub fn execute(&mut self, operation: &Operation) -> Result<(OperationResult, u64), Error> {
        let (status, body) = self.send(operation)?;
        let refuse = |why: &str| {
            let shown = String::from_utf8_lossy(&body[..body.len().min(300)]).into_owned();
            Error::Server(format!("{operation:?}: {why} (status {status}, {shown})"))
        };
        if status != 200 {
            return Err(refuse("the server refuses"));
        }
        let result = self.target.protocol.read_result(&body).map_err(|why| refuse(&why))?;
        Ok((result, body.len() as u64))
    }

    /// Creates the tables and fills `load_items` with rows numbered from 1 to `items`, as far as they are missing.
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

    /// How many rows `load_inserts` has, queued ones included if there may be some.
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

    /// Tries each kind of operation of a workload, at both ends of a table of `items` rows, and compares the answers with
    /// what they must say. How long a good result of each kind is at least: during the run, only that is looked at.
    pub fn probe(&mut self, workload: Workload, items: u64) -> Result<[u64; OperationKind::ALL.len()], Error> {
        let mut body_len_min = [0; OperationKind::ALL.len()];
        for kind in workload.kinds() {
            let mut shortest = u64::MAX;
            for operation in operations_at_both_ends(*kind, items) {
                let (result, len) = self.execute(&operation)?;
                if !matches_expected(&result, &operation.expected_result()) {
                    return Err(Error::Server(format!(
                        "{operation:?}: the server answered {result:?}; has the table that many rows (--prepare, --rows)?"
                    )));
                }
                shortest = shortest.min(len);
            }
            // Numbers have fewer digits in some rows than in others; an answer without rows is much shorter.
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

/// The operations of a kind that touch the first and the last row of a table of `items` rows.
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
