//! The connection on which a leader sends entries of the Raft log to one follower.
//!
//! Requests are pipelined (section 10.2.1 of the Raft dissertation): the leader sends the next entries while the
//! follower syncs the ones before. The follower responds in the order of the requests.
//!
//! # Shared responses
//!
//! openraft takes a response for the response to all requests that it has made up to then and that end with the same
//! entry, and regards the time of the last of them as the time at which the follower has confirmed the leader. A
//! request without entries, which only informs the follower of the commit index, ends with the same entry as the one
//! before. The response to the earlier request may have waited in a partitioned network while the follower voted for
//! another leader; the former leader would take it for a confirmation of its leadership. Therefore a response is not
//! reported if a later request that ends with the same entry has been made. The response to that one is enough.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::stream::{self, BoxStream};
use futures_util::{Stream, StreamExt as _};
use openraft::errors::{NetworkError, RPCError, Unreachable};
use openraft::raft::StreamAppendResult;
use tokio::io::{AsyncWriteExt as _, BufReader, ReadHalf, WriteHalf};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::Instant;

use super::client::AbortOnDrop;
use super::dialer::{BoxedStream, Dialer, Target};
use super::frame::{self, HELLO_BYTES_MAX};
use super::hello::Purpose;
use super::message::{self, APPEND, AppendReply, AppendRequest, RESPONSE};
use crate::types::{LogId, TypeConfig};

/// The maximum number of requests that have been sent to a follower and have no response.
const IN_FLIGHT_MAX: usize = 64;
/// The maximum length of these requests together, in bytes. A longer request is sent alone.
const IN_FLIGHT_BYTES_MAX: u32 = 8 << 20;
/// The time after which a follower that does not respond counts as hung: the stream fails, so that openraft can purge
/// the log, and a follower that has fallen behind receives a snapshot later.
const STALLED_AFTER: Duration = Duration::from_secs(3);
/// The time between two attempts to connect to a follower.
const RECONNECT_PAUSE: Duration = Duration::from_millis(100);
/// The assumed minimum speed of the network and of the follower's disk, in bytes per millisecond.
const BYTES_PER_MILLISECOND: usize = 1000;

type Error = RPCError<TypeConfig>;
type Reader = BufReader<ReadHalf<BoxedStream>>;
type Writer = WriteHalf<BoxedStream>;

/// The open connection to a follower.
pub(super) struct AppendLink {
    dialer: Arc<Dialer>,
    target: Target,
    /// `None` if no connection is open, or if a stream uses it.
    open: Option<(Reader, Writer)>,
}

/// The last entries of the requests that openraft has made, and that have no response.
type Unanswered = Arc<Mutex<VecDeque<Option<LogId>>>>;

/// A request that has been sent.
struct InFlight {
    prev: Option<LogId>,
    last: Option<LogId>,
    stalled_at: Instant,
    _bytes: OwnedSemaphorePermit,
}

/// The requests of a stream, and the connection.
struct Session<'s> {
    link: &'s mut AppendLink,
    reader: Reader,
    in_flight: mpsc::Receiver<InFlight>,
    unanswered: Unanswered,
    writer: AbortOnDrop<io::Result<Writer>>,
}

impl AppendLink {
    pub(super) fn new(dialer: Arc<Dialer>, target: Target) -> AppendLink {
        AppendLink { dialer, target, open: None }
    }

    /// Sends the requests of `input`, and returns the stream of their responses. The stream ends after the first error.
    ///
    /// # Errors
    /// The follower cannot be reached.
    pub(super) async fn stream<'s, S>(
        &'s mut self,
        input: S,
    ) -> Result<BoxStream<'s, Result<StreamAppendResult<TypeConfig>, Error>>, Error>
    where
        S: Stream<Item = AppendRequest> + Send + Unpin + 'static,
    {
        let (reader, writer) = match self.open.take() {
            Some(open) => open,
            None => self.connect().await?,
        };
        let (sender, in_flight) = mpsc::channel(IN_FLIGHT_MAX);
        let unanswered = Unanswered::default();
        let writer = AbortOnDrop(tokio::spawn(write_requests(input, writer, sender, unanswered.clone())));
        let session = Session { link: self, reader, in_flight, unanswered, writer };
        Ok(Box::pin(stream::unfold(Some(session), next_result)))
    }

    async fn connect(&self) -> Result<(Reader, Writer), Error> {
        let connected = self.dialer.connect(&self.target, Purpose::Append).await;
        if connected.is_err() {
            // openraft delays only requests that it has begun to send, and asks for another stream at once.
            tokio::time::sleep(RECONNECT_PAUSE).await;
        }
        let (stream, _) = connected.map_err(|error| Unreachable::new(&error))?;
        let (reader, writer) = tokio::io::split(stream);
        Ok((BufReader::new(reader), writer))
    }
}

/// Writes requests to the connection, and registers each in `in_flight`. Returns the connection when `input` has ended.
async fn write_requests<S>(
    mut input: S,
    mut writer: Writer,
    in_flight: mpsc::Sender<InFlight>,
    unanswered: Unanswered,
) -> io::Result<Writer>
where
    S: Stream<Item = AppendRequest> + Send + Unpin + 'static,
{
    let bytes_left = Arc::new(Semaphore::new(IN_FLIGHT_BYTES_MAX as usize));
    let mut buffer = Vec::new();
    while let Some(request) = input.next().await {
        let last = request.entries.last().map(|entry| entry.log_id).or(request.prev_log_id);
        unanswered.lock().unwrap_or_else(PoisonError::into_inner).push_back(last);
        if request.entries.is_empty() {
            // The request informs the follower of the commit index. This node applies its entries first, because the
            // callers wait for that. All tasks of replication share one thread, so the state machine runs now.
            tokio::task::yield_now().await;
        }
        buffer.clear();
        frame::push(&mut buffer, APPEND, 0, |out| message::encode_append(out, &request))?;
        let wanted = u32::try_from(buffer.len()).unwrap_or(u32::MAX).min(IN_FLIGHT_BYTES_MAX);
        let permit = bytes_left.clone().acquire_many_owned(wanted).await.map_err(io::Error::other)?;
        let patience = STALLED_AFTER + Duration::from_millis((buffer.len() / BYTES_PER_MILLISECOND) as u64);
        let sent = InFlight { prev: request.prev_log_id, last, stalled_at: Instant::now() + patience, _bytes: permit };
        if in_flight.send(sent).await.is_err() {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        writer.write_all(&buffer).await?;
        writer.flush().await?;
        buffer.shrink_to(IN_FLIGHT_BYTES_MAX as usize);
    }
    Ok(writer)
}

/// Returns the result of the next request, and the session if more results may follow.
async fn next_result(
    session: Option<Session<'_>>,
) -> Option<(Result<StreamAppendResult<TypeConfig>, Error>, Option<Session<'_>>)> {
    let mut session = session?;
    loop {
        let Some(request) = session.in_flight.recv().await else {
            // The input has ended, or the connection broke while a request was written.
            let Session { link, reader, writer, .. } = session;
            return match writer.await {
                Ok(Ok(writer)) => {
                    link.open = Some((reader, writer));
                    None
                }
                Ok(Err(error)) => Some((Err(network_error(&error)), None)),
                Err(error) => Some((Err(network_error(&error)), None)),
            };
        };
        let result = match session.read_result(&request).await {
            Ok(result) => result,
            Err(error) => return Some((Err(network_error(&error)), None)),
        };
        let goes_on = result.as_ref().is_ok_and(|last| *last == request.last);
        if !session.is_shared(&request) || !goes_on {
            return Some((Ok(result), goes_on.then_some(session)));
        }
    }
}

impl Session<'_> {
    async fn read_result(&mut self, request: &InFlight) -> io::Result<StreamAppendResult<TypeConfig>> {
        let reading = frame::read(&mut self.reader, HELLO_BYTES_MAX);
        let read = tokio::time::timeout_at(request.stalled_at, reading).await;
        let read = read.unwrap_or_else(|_| {
            Err(io::Error::new(io::ErrorKind::TimedOut, "the follower does not respond to append requests"))
        });
        let frame = read?.ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))?;
        if frame.kind != RESPONSE {
            return Err(refused(&frame.body));
        }
        let result = into_result(message::decode::<AppendReply>(&frame.body)?, request);
        result.ok_or_else(|| io::Error::other("the response of the follower is malformed"))
    }

    /// Records the response to a request. Returns whether openraft would take it for the response to a later request
    /// too.
    fn is_shared(&self, request: &InFlight) -> bool {
        let mut unanswered = self.unanswered.lock().unwrap_or_else(PoisonError::into_inner);
        unanswered.pop_front();
        unanswered.front() == Some(&request.last) && !mutated!(SharedResponse)
    }
}

/// Returns `None` for a conflict with an entry before the first one, which cannot exist.
fn into_result(reply: AppendReply, request: &InFlight) -> Option<StreamAppendResult<TypeConfig>> {
    use openraft::raft::StreamAppendError::{Conflict, HigherVote};
    Some(match reply {
        AppendReply::Appended => Ok(request.last),
        AppendReply::AppendedUpTo(id) => Ok(id.map(LogId::from)),
        AppendReply::Conflict => Err(Conflict(request.prev?)),
        AppendReply::HigherVote(vote) => Err(HigherVote(vote.into())),
    })
}

fn refused(reason: &[u8]) -> io::Error {
    io::Error::other(String::from_utf8_lossy(reason).into_owned())
}

fn network_error(error: &(impl std::error::Error + 'static)) -> Error {
    NetworkError::new(error).into()
}
