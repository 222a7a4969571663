//! A client as a [`Backend`], so that a program runs on a server as it runs on an embedded database.

use std::sync::Arc;

use sqlhttp_core::{
    Answer, Backend, Batch, Block, BoxFuture, Changed, Column, Columns, Deadline, Ending, Error, Outcome, Part,
    PartStream, ReadLevel, Rows, StepInfo, StepOutcome, ValueRef,
};
use sqlhttp_text::http::{Host, ResponseBody, SendError, Transport, receive};

use super::call::adapt;
use super::failover::{Client, ClientError};
use super::failure::{UNKNOWN_STATUS, error, failure, foreign_error};
use super::reply::{ItemResult, ReplyError, refusal};
use super::stream::{Part as ReplyPart, ReplyReader};

/// A client runs each batch as one request, which is one transaction. The methods of [`sqlhttp_core::Executor`] are
/// therefore available for a client, too.
///
/// Differences from an embedded database:
///
/// * [`Changed::last_insert_id`] is `None`, because replies do not contain it. `INSERT … RETURNING` returns it as a
///   row.
/// * A REAL without a fraction becomes an INTEGER: SQLite's `1.0` is `1` in the JSON. It can be read as `f64` all the
///   same.
/// * A BLOB becomes a TEXT value with its base64, and an empty BLOB becomes NULL. Reading it as `Vec<u8>` fails,
///   because the value is TEXT; `SELECT hex(x)` shows the bytes unambiguously. A BLOB as a parameter fails with
///   [`Error::Unsupported`]; `unhex(?)` makes one from TEXT.
/// * A TEXT value in a column of the declared type DATE, DATETIME or TIMESTAMP that is a time arrives in RFC 3339. A
///   TEXT value that is not UTF-8 arrives with U+FFFD in it.
/// * A column has a name, but no declared type and no table.
/// * The result code of an error of SQLite is restored from its text, so that [`Error::is_unique`] and the other
///   predicates work. The offset in the SQL text is lost.
/// * [`Error::Unsupported`]: a number of rows that a step must change or return, a stamp, steps that are transactions
///   of their own ([`Atomicity::Each`](sqlhttp_core::Atomicity::Each)), values of which only some have names, an
///   infinite number, an SQL text that begins with `#`.
/// * [`Backend::read_batch`] is unsupported: the protocol has no request that must not write.
/// * A step that expects rows or a count ([`Expect::Either`](sqlhttp_core::Expect::Either),
///   [`Expect::Returning`](sqlhttp_core::Expect::Returning)) is a query: the number of rows that it has changed is
///   lost, and if it has no columns, it returns rows without columns.
/// * A surplus value is ignored. A PRAGMA without effect in a transaction is ignored.
/// * If a batch is rolled back, the results of the steps before the failed one are empty.
/// * A batch with a step that is known to fail ([`Batch::known_failure`]), such as a parameter for which SQLite has no
///   value, is not sent. The failure is that of this step, although a step before it could fail first.
/// * The consistency level is sent to the server, but only the nodes of a cluster take it.
/// * The time limit of a call is not sent to the server. If the transport has a clock, it limits the time until the
///   response begins, from whichever host. After that time the call fails with [`Error::ConnectionLost`], because a
///   write may have taken effect, or with [`Error::Unavailable`] if no connection could be opened. The connection is
///   closed, and the server interrupts the batch if it still runs. The limits of the server apply, too.
///
/// If the connection fails after the request was sent, or the response does not say whether the server has carried it
/// out, the call fails with [`Error::ConnectionLost`]: the batch may have taken effect, unless it only reads. A client
/// does not send it again. A server also closes the connection when a query fails after the response has begun. Status
/// 503 means that nothing took effect only if its body is the JSON error object of the server, because a proxy may send
/// that status, too, after the server has received the request.
impl<T: Transport + 'static> Backend for Client<T>
where
    T::Body: 'static,
{
    fn request(&self, batch: Batch, level: ReadLevel, deadline: Deadline) -> BoxFuture<'_, Result<Answer, Error>> {
        Box::pin(self.answer(batch, level, deadline))
    }

    fn write_batch(&self, batch: Batch, deadline: Deadline) -> BoxFuture<'_, Result<Answer, Error>> {
        // At this level, a node of a cluster also sends a batch that only reads through the Raft log.
        Box::pin(self.answer(batch, ReadLevel::Strong, deadline))
    }

    fn read_batch(&self, _: Batch, _: ReadLevel, _: Deadline) -> BoxFuture<'_, Result<Answer, Error>> {
        let what = "the protocol has no request that must not write";
        Box::pin(std::future::ready(Err(Error::Unsupported(what.to_owned()))))
    }
}

impl<T: Transport + 'static> Client<T>
where
    T::Body: 'static,
{
    async fn answer(&self, batch: Batch, level: ReadLevel, deadline: Deadline) -> Result<Answer, Error> {
        if batch.steps.is_empty() {
            // The protocol has no request without steps.
            return Ok(Answer::Whole(Outcome::default()));
        }
        let batch = adapt(batch);
        if let Some((step, failure)) = batch.known_failure() {
            return Ok(Answer::Whole(batch.rolled_back(step, failure.clone())));
        }
        let end = deadline.and(deadline.of_writes()).moment();
        if end.and_then(|end| self.transport().time_until(end)).is_some_and(|left| left.is_zero()) {
            return Err(Error::Timeout);
        }
        let (host, response) = self.send(&batch, level, end).await.map_err(client_error)?;
        let (status, held_bytes_max) = (response.status, self.response_bytes_max());
        if status == 200 {
            let (host, body, reader) = (host.clone(), response.body, Some(ReplyReader::default()));
            let (steps, columns) = (batch.steps.len(), Arc::from([]));
            return Ok(Answer::Parts(Box::new(ReplyParts { host, body, reader, held_bytes_max, steps, columns })));
        }
        let response = receive(host, response, held_bytes_max).await.map_err(|error| client_error(error.into()))?;
        let Some(refusal) = refusal(status, &response.body) else {
            return Err(foreign_error(status, String::from_utf8_lossy(&response.body).into_owned()));
        };
        match usize::try_from(refusal.req_idx) {
            Ok(step) if step < batch.steps.len() => {
                Ok(Answer::Whole(batch.rolled_back(step, failure(status, &refusal.error))))
            }
            _ => Err(error(refusal)),
        }
    }
}

fn rows(columns: Arc<Columns>) -> StepOutcome {
    StepOutcome::Rows(Rows { columns, blocks: Vec::new(), changed: Changed::default() })
}

/// The parts of a reply, as parts of an outcome. If it is dropped before the end, the connection is closed, and the
/// server interrupts a read.
struct ReplyParts<B> {
    host: Host,
    body: B,
    /// `None` after the end or an error.
    reader: Option<ReplyReader>,
    held_bytes_max: usize,
    /// The number of steps whose result has not arrived.
    steps: usize,
    /// The columns of the step whose rows arrive.
    columns: Arc<Columns>,
}

impl<B: ResponseBody> PartStream for ReplyParts<B> {
    fn next(&mut self) -> BoxFuture<'_, Option<Result<Part, Error>>> {
        Box::pin(async move {
            self.reader.as_ref()?;
            let part = self.receive().await;
            if !matches!(part, Ok(Part::Columns(_) | Part::Rows(_) | Part::Step(..))) {
                self.reader = None;
            }
            Some(part)
        })
    }
}

impl<B: ResponseBody> ReplyParts<B> {
    /// Receives the next part.
    async fn receive(&mut self) -> Result<Part, Error> {
        while let Some(reader) = &mut self.reader {
            if let Some(part) = reader.next() {
                return self.convert(part);
            }
            match self.body.chunk().await.map_err(|error| SendError::lost(&self.host, &error)) {
                Ok(Some(chunk)) => reader.push(&chunk).map_err(|error| client_error(error.into()))?,
                Ok(None) => break,
                Err(error) => return Err(client_error(error.into())),
            }
            if reader.held_bytes() > self.held_bytes_max {
                return Err(client_error(SendError::TooLong(self.held_bytes_max).into()));
            }
        }
        if let Some(reader) = self.reader.take() {
            reader.finish().map_err(|error| client_error(error.into()))?;
        }
        if self.steps > 0 {
            return Err(undecided("the reply has fewer results than the batch has steps".to_owned()));
        }
        Ok(Part::End(Ending::Done))
    }
}

impl<B> ReplyParts<B> {
    fn convert(&mut self, part: ReplyPart) -> Result<Part, Error> {
        if self.steps == 0 {
            return Err(undecided("the reply has more results than the batch has steps".to_owned()));
        }
        Ok(match part {
            ReplyPart::Columns(names) => {
                self.columns = names.into_iter().map(|name| Column { name, ..Column::default() }).collect();
                Part::Columns(self.columns.clone())
            }
            ReplyPart::Rows(rows) => {
                let mut block = Block::new(self.columns.len());
                rows.iter().for_each(|row| block.push_row(row.iter().map(ValueRef::from)));
                Part::Rows(block)
            }
            ReplyPart::End(result) => {
                self.steps -= 1;
                let columns = std::mem::replace(&mut self.columns, Arc::from([]));
                Part::Step(outcome(result, columns), StepInfo::default())
            }
        })
    }
}

fn outcome(result: ItemResult, columns: Arc<Columns>) -> StepOutcome {
    let changed = |rows| Changed { rows, last_insert_id: None };
    match result {
        ItemResult::Rows { .. } => rows(columns),
        ItemResult::Updated(rows) => StepOutcome::Changed(changed(rows)),
        ItemResult::UpdatedEach(each) => StepOutcome::ChangedEach(each.into_iter().map(changed).collect()),
        ItemResult::Failed(text) => StepOutcome::Failed(failure(UNKNOWN_STATUS, &text)),
    }
}

/// The error of a request after which the server may have carried out the batch.
fn undecided(why: String) -> Error {
    Error::ConnectionLost(why.into())
}

fn client_error(failed: ClientError) -> Error {
    match failed {
        ClientError::Http(SendError::Unreachable(_)) => Error::Unavailable(failed.to_string().into()),
        ClientError::Http(SendError::Lost { .. } | SendError::TooLong(_))
        | ClientError::Reply(ReplyError::Malformed(_)) => undecided(failed.to_string()),
        ClientError::Reply(ReplyError::Refused(refusal)) => error(refusal),
        ClientError::Http(SendError::Body(_)) | ClientError::NotExpressible(_) => {
            Error::Unsupported(failed.to_string())
        }
    }
}
