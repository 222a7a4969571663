//! A client as a [`Backend`], so that a program runs on a server as it runs on an embedded database.

use std::collections::VecDeque;
use std::sync::Arc;

use sqlhttp_core::{
    Answer, Atomicity, Backend, Batch, Block, BoxFuture, Changed, Column, Columns, Deadline, Ending, Error, Expect,
    Failure, Part, PartStream, ReadLevel, Rows, SqlError, StepInfo, StepOutcome, Value, ValueRef,
};
use sqlhttp_text::http::{ResponseBody, Transport};
use sqlhttp_text::sqlite::code_of_message;

use super::failover::{Client, ClientError};
use super::reply::{Changes, ReplyError, StatementResult};
use super::stream::{Part as ReplyPart, ResultStream};
use crate::endpoint::Endpoint;
use crate::params::Params;

/// The result code of an error without a more specific code (<https://sqlite.org/rescode.html#error>).
const SQLITE_ERROR: i32 = 1;

/// A client runs batches at `/db/request`, and batches that must not write at `/db/query`. The methods of
/// [`sqlhttp_core::Executor`] are therefore available for a client, too.
///
/// Differences from an embedded database:
///
/// * A REAL without a fraction may become an INTEGER: SQLite's `1.0` is `1` in the JSON of rqlite. It can be read as
///   `f64` all the same.
/// * A BLOB that is UTF-8 becomes TEXT if its column is an expression or has a type such as TEXT or JSON. An INTEGER in
///   a column of the type BOOLEAN becomes 1 or 0. In a column of the type DATE, DATETIME or TIMESTAMP, an INTEGER and a
///   TEXT value that is a time become TEXT in RFC 3339. An infinite number becomes the TEXT `Infinity` or `-Infinity`.
/// * An error has a message and no code. The code of the usual messages ("UNIQUE constraint failed: …") is restored, so
///   that [`Error::is_unique`] and the other predicates work; that of others is 1 (SQLITE_ERROR).
/// * [`Error::Unsupported`]: a number of rows that a step must change or return, a step after whose failure a
///   transaction continues, a step that runs several times, a stamp, a TEXT value that looks like a BLOB (`x'00'`), an
///   infinite number.
/// * A batch with a step that is known to fail ([`Batch::known_failure`]), such as a parameter for which SQLite has no
///   value, is not sent. The failure is that of this step, although a step before it could fail first.
/// * If an SQL text has several statements, each takes the values after those of the statements before it. A parameter
///   without a named value is NULL, and a surplus value is ignored.
/// * The number of changed rows of a statement that returns rows is the number of these rows.
/// * The server applies the time limit of a call. A server that does not respond is subject to that of the transport.
/// * A statement that fails is the first element of a stream of rows.
///
/// If the connection fails after the request was sent, or the response does not say whether the server has carried it
/// out, the call fails with [`Error::ConnectionLost`]: the batch may have taken effect. A client does not send it
/// again. Status 503 means that nothing took effect only if the text is one that the servers send, because a proxy may
/// send that status, too, after the server has received the request.
impl<T: Transport + 'static> Backend for Client<T>
where
    T::Body: 'static,
{
    fn request(&self, batch: Batch, level: ReadLevel, deadline: Deadline) -> BoxFuture<'_, Result<Answer, Error>> {
        Box::pin(self.answer(Endpoint::Request, batch, level, deadline))
    }

    fn write_batch(&self, batch: Batch, deadline: Deadline) -> BoxFuture<'_, Result<Answer, Error>> {
        // At this level, the server also sends a batch that only reads through the Raft log.
        Box::pin(self.answer(Endpoint::Request, batch, ReadLevel::Strong, deadline))
    }

    fn read_batch(&self, batch: Batch, level: ReadLevel, deadline: Deadline) -> BoxFuture<'_, Result<Answer, Error>> {
        Box::pin(self.answer(Endpoint::Query, batch, level, deadline))
    }
}

impl<T: Transport + 'static> Client<T>
where
    T::Body: 'static,
{
    async fn answer(
        &self,
        endpoint: Endpoint,
        batch: Batch,
        level: ReadLevel,
        deadline: Deadline,
    ) -> Result<Answer, Error> {
        if let Some(expect) = batch.steps.iter().map(|step| step.expect).find(is_exact) {
            return Err(Error::Unsupported(format!("the protocol cannot express {expect:?}")));
        }
        if let Some((step, failure)) = batch.known_failure() {
            return Ok(Answer::Whole(batch.rolled_back(step, failure.clone())));
        }
        let end = deadline.and(deadline.of_writes()).moment();
        let left = end.and_then(|end| self.transport().time_until(end));
        if left.is_some_and(|left| left.is_zero()) {
            return Err(Error::Timeout);
        }
        let set = |params: &mut Params| {
            params.level = level;
            params.blob_array = true;
            params.db_timeout = left;
        };
        let reads = endpoint == Endpoint::Query;
        let results = self.stream::<Value>(endpoint, &batch, set).await.map_err(|failed| error(failed, reads))?;
        let atomic = batch.atomicity == Atomicity::All;
        let expects = batch.steps.into_iter().map(|step| step.expect).collect();
        let columns = Arc::from([]);
        let parts = ReplyParts { results, expects, atomic, reads, step: 0, columns, rows: 0, ending: None };
        Ok(Answer::Parts(Box::new(parts)))
    }
}

fn is_exact(expect: &Expect) -> bool {
    matches!(expect, Expect::ExactCount(_) | Expect::ExactRows(_))
}

/// The parts of a reply, as parts of an outcome.
struct ReplyParts<B> {
    results: ResultStream<B>,
    /// The expected result of each step whose result has not arrived.
    expects: VecDeque<Expect>,
    /// Whether a failed step ends the batch.
    atomic: bool,
    /// Whether the batch must not write.
    reads: bool,
    /// The index of the step whose result arrives next.
    step: usize,
    /// The columns of the step whose rows arrive.
    columns: Arc<Columns>,
    /// The number of rows of that step.
    rows: u64,
    /// The end of the batch, [`Ending::Done`] also after an error. `None` until the reply has ended, or a step has
    /// failed and has ended the batch.
    ending: Option<Ending>,
}

impl<B: ResponseBody> PartStream for ReplyParts<B> {
    fn next(&mut self) -> BoxFuture<'_, Option<Result<Part, Error>>> {
        Box::pin(async move {
            loop {
                if self.ending == Some(Ending::Done) {
                    return None;
                }
                match self.results.next().await {
                    // At `/db/query`, the statements after a failed one run, too. They are not part of the outcome.
                    Ok(Some(_)) if self.ending.is_some() => {}
                    Ok(Some(part)) => {
                        if let Some(part) = self.convert(part) {
                            return Some(Ok(part));
                        }
                    }
                    Ok(None) => return self.end(),
                    Err(failed) => {
                        self.ending = Some(Ending::Done);
                        return Some(Err(error(failed, self.reads)));
                    }
                }
            }
        })
    }
}

impl<B> ReplyParts<B> {
    /// Returns the end of the batch.
    fn end(&mut self) -> Option<Result<Part, Error>> {
        let left = std::mem::take(&mut self.expects);
        Some(match self.ending.replace(Ending::Done) {
            Some(ending) => Ok(Part::End(ending)),
            None if left.is_empty() => Ok(Part::End(Ending::Done)),
            None => Err(undecided("the reply has fewer results than the batch has steps".to_owned(), self.reads)),
        })
    }

    /// Converts a part; `None` if it is not a part of the outcome.
    fn convert(&mut self, part: ReplyPart) -> Option<Part> {
        match part {
            ReplyPart::Columns { names, types } => {
                self.columns = names.into_iter().zip(types).map(column).collect();
                self.rows = 0;
                Some(Part::Columns(self.columns.clone()))
            }
            ReplyPart::Rows(rows) => {
                self.rows += rows.len() as u64;
                let mut block = Block::new(self.columns.len());
                rows.iter().for_each(|row| block.push_row(row.iter().map(ValueRef::from)));
                Some(Part::Rows(block))
            }
            ReplyPart::End(result) => {
                let outcome = self.outcome(result);
                if self.atomic && matches!(outcome, StepOutcome::Failed(_)) {
                    self.ending = Some(Ending::Aborted(self.step));
                }
                self.step += 1;
                Some(Part::Step(outcome, StepInfo::default()))
            }
        }
    }

    /// Converts the result of a statement. The endpoint determines whether it contains rows, not the step.
    fn outcome(&mut self, result: StatementResult) -> StepOutcome {
        let expect = self.expects.pop_front().unwrap_or_default();
        let columns = std::mem::replace(&mut self.columns, Arc::from([]));
        match (result, expect) {
            (StatementResult::Failed(message), _) => StepOutcome::Failed(failure(message)),
            (StatementResult::Rows(_), Expect::Count) => {
                StepOutcome::Changed(Changed { rows: self.rows, last_insert_id: None })
            }
            (StatementResult::Rows(_), _) => {
                StepOutcome::Rows(Rows { columns, blocks: Vec::new(), changed: Changed::default() })
            }
            (StatementResult::Changed(changes), Expect::Rows) => {
                StepOutcome::Rows(Rows { columns, blocks: Vec::new(), changed: changed(changes) })
            }
            (StatementResult::Changed(changes), _) => StepOutcome::Changed(changed(changes)),
        }
    }
}

fn column((name, decl_type): (String, String)) -> Column {
    Column { name, decl_type: Some(decl_type).filter(|decl_type| !decl_type.is_empty()), table: None }
}

fn changed(changes: Changes) -> Changed {
    Changed { rows: changes.rows_affected, last_insert_id: changes.last_insert_id.filter(|id| *id != 0) }
}

/// The failure of a statement with this message.
fn failure(message: String) -> Failure {
    if ["query timeout", "execute timeout"].contains(&message.as_str()) {
        return Failure::Timeout;
    }
    let code = code_of_message(&message).unwrap_or(SQLITE_ERROR);
    Failure::Sql(SqlError { code, generic: String::new(), message, offset: None })
}

/// The error of a request after which the server may have carried out the batch, or may only have read.
fn undecided(why: String, reads: bool) -> Error {
    if reads { Error::Unavailable(why.into()) } else { Error::ConnectionLost(why.into()) }
}

/// Converts an error. `reads`: whether the batch must not write, so that it has had no effect.
fn error(error: ClientError, reads: bool) -> Error {
    match error {
        ClientError::Unreachable(_) => Error::Unavailable(error.to_string().into()),
        ClientError::Lost { .. } | ClientError::TooLong(_) | ClientError::Reply(ReplyError::Malformed(_)) => {
            undecided(error.to_string(), reads)
        }
        ClientError::Reply(ReplyError::Refused { status, text }) => refused(status, &text, reads),
        ClientError::Reply(ReplyError::Failed(message)) => failed(message),
        ClientError::Body(_)
        | ClientError::Redirect(_)
        | ClientError::TooManyRedirects
        | ClientError::NotExpressible(_) => Error::Unsupported(error.to_string()),
    }
}

/// The texts of responses with status 503 to requests of which the server has carried nothing out. The last one is that
/// of `sqlhttp-standalone` for a connection that it does not accept.
const REFUSALS: [&str; 6] = [
    "store not open",
    "too many connections",
    "too many passwords are being checked",
    "Too many failed attempts",
    "credentials cannot be checked",
    r#"{"reqIdx":-1,"error":"Too many connections"}"#,
];

/// The beginnings of such texts: those of [`Error::Overloaded`], [`Error::Unavailable`] and [`Error::Removed`], and of
/// the refusal of a body.
const REFUSALS_BEGIN: [&str; 4] = [
    "the database is overloaded: ",
    "the database is unavailable at the moment: ",
    "this node was removed from the cluster",
    "too many request bodies in memory",
];

/// Whether a server sends this text with status 503, which means that it has carried nothing out. A proxy sends other
/// texts with this status, also after the server has received the request.
fn is_refusal(text: &str) -> bool {
    REFUSALS.contains(&text) || REFUSALS_BEGIN.iter().any(|begin| text.starts_with(begin))
}

/// The error of a response with an error status. `reads`: whether the batch must not write.
fn refused(status: u16, text: &str, reads: bool) -> Error {
    let shown = format!("{status}: {text}");
    match status {
        401 | 403 => Error::Unauthorized,
        503 if text.trim_end() == "leader not found" => Error::NoLeader,
        503 if is_refusal(text.trim_end()) => Error::Unavailable(shown.into()),
        408 | 504 if reads => Error::Timeout,
        408 | 500.. => undecided(shown, reads),
        _ => Error::Unsupported(shown),
    }
}

/// The error of a request that failed as a whole.
fn failed(message: String) -> Error {
    match message.as_str() {
        "leader not found" => Error::NoLeader,
        "leadership lost while committing log" => Error::LeadershipLost,
        _ if message.contains("outcome is unknown") => Error::Unknown,
        _ => match failure(message) {
            Failure::Timeout => Error::Timeout,
            Failure::Sql(error) if error.is_busy() => Error::Busy(error),
            failure => Error::Failed { step: None, failure },
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_response_that_leaves_the_outcome_open_is_no_refusal() {
        let too_long = || ClientError::TooLong(7);
        assert!(error(too_long(), false).is_unknown_outcome() && !error(too_long(), false).retry());
        assert!(error(too_long(), true).retry());
        for status in [408, 500, 502, 504] {
            assert!(refused(status, "x", false).is_unknown_outcome(), "{status}");
            assert!(!refused(status, "x", true).is_unknown_outcome(), "{status}");
        }
        for text in ["Service Unavailable", "<html>the database is overloaded: x</html>", ""] {
            assert!(matches!(refused(503, text, false), Error::ConnectionLost(_)), "{text}");
            assert!(matches!(refused(503, text, true), Error::Unavailable(_)), "{text}");
        }
        assert!(matches!(refused(503, "leader not found", false), Error::NoLeader));
        for text in [
            &Error::Overloaded("too many writes are waiting").to_string(),
            &Error::Unavailable("the disk is full".into()).to_string(),
            &Error::Removed.to_string(),
            "store not open",
            "too many connections",
            "Too many failed attempts",
            "too many request bodies in memory, see -x",
            r#"{"reqIdx":-1,"error":"Too many connections"}"#,
        ] {
            assert!(matches!(refused(503, text, false), Error::Unavailable(_)), "{text}");
        }
        assert!(matches!(refused(401, "", false), Error::Unauthorized));
        assert!(!refused(400, "bad request", false).retry());
    }

    #[test]
    fn messages_have_codes() {
        assert!(failure("UNIQUE constraint failed: t.a".to_owned()).is_unique());
        assert!(failure("database is locked".to_owned()).is_busy());
        assert_eq!(failure("query timeout".to_owned()), Failure::Timeout);
        assert_eq!(failure("no such table: t".to_owned()).sql_error().map(|error| error.code), Some(1));
    }
}
