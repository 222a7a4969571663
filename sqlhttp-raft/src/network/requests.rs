//! Responds to the requests on one connection, within limits of its memory.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWriteExt as _, BufReader, WriteHalf};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::budget::{Budget, Taken};
use super::client::AbortOnDrop;
use super::dialer::BoxedStream;
use super::frame::{self, Frame};
use super::message::{REFUSAL, RESPONSE};
use super::server::Service;

/// The maximum number of requests of one connection that are being handled, or whose responses have not been written.
const REQUESTS_MAX: usize = 1024;
/// The number of bytes of responses of one connection that wait to be written, from which on it is not read. The
/// responses to the requests that are being handled then come on top.
const RESPONSE_BYTES_MAX: usize = 64 << 20;
/// The maximum length of the frames that are written to a connection together, in bytes.
const WRITE_BYTES_MAX: usize = 256 << 10;
/// The assumed minimum speed of the network, in bytes per millisecond.
const BYTES_PER_MILLISECOND: usize = 1000;

/// The limits of the requests that another node sends on one connection. Other connections may share `budget`.
pub(super) struct Limits {
    /// Whether the peer and this node belong to the same cluster.
    pub(super) is_member: bool,
    /// The maximum length of a request, in bytes.
    pub(super) bytes_max: usize,
    /// The bytes of the requests that are being handled.
    pub(super) budget: Budget,
    /// The time after which a connection without requests is closed; `None` if it stays open.
    pub(super) idle_timeout: Option<Duration>,
    /// The time within which the body of a request must arrive, in addition to its time at [`BYTES_PER_MILLISECOND`]. A
    /// peer that announces a long request and does not send it must not occupy the bytes for it.
    pub(super) body_timeout: Duration,
}

/// A response that waits to be written.
struct Reply {
    bytes: Vec<u8>,
    /// Returned when the response has been written.
    held: (OwnedSemaphorePermit, Taken),
}

/// Responds to requests until the connection ends. Several are handled at the same time, and each response is sent when
/// it is ready.
///
/// # Errors
/// The connection is broken, or the peer exceeds a limit.
pub(super) async fn serve(stream: BoxedStream, service: &Arc<impl Service>, limits: &Limits) -> io::Result<()> {
    let (reader, writer) = tokio::io::split(stream);
    let mut reader = BufReader::with_capacity(64 << 10, reader);
    let (replies, queue) = mpsc::channel(REQUESTS_MAX);
    let mut writing = AbortOnDrop(tokio::spawn(write_replies(writer, queue)));
    let (slots, responses) = (Arc::new(Semaphore::new(REQUESTS_MAX)), Budget::new(RESPONSE_BYTES_MAX));
    loop {
        let slot = slots.clone().acquire_owned().await.map_err(io::Error::other)?;
        // The semaphore is fair: this waits behind the responses that wait for their bytes.
        drop(responses.take(1).await?);
        let next = tokio::select! {
            biased;
            _ = &mut writing => None,
            next = read_within(&mut reader, limits) => next?,
        };
        let Some((frame, taken)) = next else { return Ok(()) };
        let (service, replies, responses, is_member) =
            (service.clone(), replies.clone(), responses.clone(), limits.is_member);
        tokio::spawn(async move {
            let bytes = respond(&*service, frame, is_member).await;
            // A peer that does not read its responses must not keep the bytes that all connections share.
            drop(taken);
            let Ok(room) = responses.take(bytes.len()).await else { return };
            // The send fails if the connection is broken.
            let _ = replies.send(Reply { bytes, held: (slot, room) }).await;
        });
    }
}

/// Reads the next frame. Takes the bytes of its body from the budget before it reads the body. Returns `None` if the
/// peer has closed the connection, or has sent nothing for the idle timeout.
///
/// # Errors
/// The connection is broken; the body is too long, does not arrive in time, or has a wrong checksum.
pub(super) async fn read_within(
    reader: &mut (impl AsyncRead + Unpin),
    limits: &Limits,
) -> io::Result<Option<(Frame, Taken)>> {
    let reading = frame::read_header(reader, limits.bytes_max);
    let header = match limits.idle_timeout {
        Some(timeout) => tokio::time::timeout(timeout, reading).await.unwrap_or(Ok(None))?,
        None => reading.await?,
    };
    let Some(header) = header else { return Ok(None) };
    let taken = limits.budget.take(header.len).await?;
    let patience = limits.body_timeout + Duration::from_millis((header.len / BYTES_PER_MILLISECOND) as u64);
    // The bytes have been taken, so all of them are allocated at once: a growing buffer would need twice as many.
    let body = tokio::time::timeout(patience, header.read_body(reader, header.len)).await;
    let too_slow = |_| Err(io::Error::new(io::ErrorKind::TimedOut, "a message arrives too slowly"));
    Ok(Some((body.unwrap_or_else(too_slow)?, taken)))
}

async fn respond(service: &impl Service, frame: Frame, is_member: bool) -> Vec<u8> {
    let Frame { kind, id, body } = frame;
    let mut out = Vec::new();
    let pushed = match service.handle(kind, body, is_member).await {
        Ok(reply) => frame::push(&mut out, RESPONSE, id, |out| {
            out.extend_from_slice(&reply);
            Ok(())
        }),
        Err(why) => push_refusal(&mut out, id, &why),
    };
    if pushed.is_err() {
        // The response is too long. The request may have had an effect, so this must not be a refusal; the peer does
        // not accept an empty response.
        out.clear();
        let _ = frame::push(&mut out, RESPONSE, id, |_| Ok(()));
    }
    out
}

/// Appends the frame of a refusal to `out`.
pub(super) fn push_refusal(out: &mut Vec<u8>, id: u32, why: &str) -> io::Result<()> {
    frame::push(out, REFUSAL, id, |out| {
        out.extend_from_slice(why.as_bytes());
        Ok(())
    })
}

async fn write_replies(mut writer: WriteHalf<BoxedStream>, mut queue: mpsc::Receiver<Reply>) -> io::Result<()> {
    let mut buffer = Vec::new();
    while let Some(first) = queue.recv().await {
        buffer.clear();
        buffer.extend_from_slice(&first.bytes);
        let mut held = vec![first.held];
        while buffer.len() < WRITE_BYTES_MAX {
            let Ok(next) = queue.try_recv() else { break };
            buffer.extend_from_slice(&next.bytes);
            held.push(next.held);
        }
        writer.write_all(&buffer).await?;
        writer.flush().await?;
        buffer.shrink_to(WRITE_BYTES_MAX);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::io::{AsyncReadExt as _, DuplexStream};

    use super::super::server::Handled;
    use super::*;

    /// Responds to a request when a permit is added, with a copy of the body.
    struct Gate {
        permits: Semaphore,
        /// The number of requests that are being handled, and the greatest number so far.
        handling: AtomicUsize,
        handling_max: AtomicUsize,
    }

    impl Gate {
        fn new(permits: usize) -> Arc<Gate> {
            let (handling, handling_max) = Default::default();
            Arc::new(Gate { permits: Semaphore::new(permits), handling, handling_max })
        }
    }

    impl Service for Gate {
        async fn handle(&self, _kind: u8, body: Vec<u8>, _is_member: bool) -> Handled {
            let handling = self.handling.fetch_add(1, Ordering::Relaxed) + 1;
            self.handling_max.fetch_max(handling, Ordering::Relaxed);
            self.permits.acquire().await.unwrap().forget();
            self.handling.fetch_sub(1, Ordering::Relaxed);
            Ok(body)
        }

        fn leader_contact(&self) {}

        fn may_join(&self) -> bool {
            false
        }
    }

    fn limits(bytes: usize) -> Limits {
        let timeout = Duration::from_millis(200);
        let budget = Budget::new(bytes);
        Limits { is_member: false, bytes_max: bytes, budget, idle_timeout: Some(timeout), body_timeout: timeout }
    }

    fn request(id: u32, len: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        frame::push(&mut bytes, 7, id, |out| {
            out.resize(out.len() + len, 0);
            Ok(())
        })
        .unwrap();
        bytes
    }

    /// Serves one end of a connection, and returns the other end.
    fn connect(service: &Arc<Gate>, limits: Limits) -> (DuplexStream, tokio::task::JoinHandle<io::Result<()>>) {
        let (own, peers) = tokio::io::duplex(1 << 20);
        let service = service.clone();
        (own, tokio::spawn(async move { serve(Box::new(peers), &service, &limits).await }))
    }

    #[tokio::test]
    async fn requests_beyond_the_budget_are_not_read() {
        let service = Gate::new(0);
        let shared = Limits { idle_timeout: None, ..limits(100) };
        let budget = shared.budget.clone();
        let (mut peer, _serving) = connect(&service, shared);
        for id in 1..=3 {
            peer.write_all(&request(id, 60)).await.unwrap();
        }
        // The server has the time to read everything that it is willing to read.
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        service.permits.add_permits(1);
        assert_eq!(frame::read(&mut peer, 100).await.unwrap().unwrap().id, 1);
        // A peer on another connection uses the same budget, and comes after the second request.
        let (mut other, _serving) = connect(&service, Limits { idle_timeout: None, budget, ..limits(100) });
        other.write_all(&request(9, 60)).await.unwrap();
        service.permits.add_permits(3);
        let ids = [frame::read(&mut peer, 100).await, frame::read(&mut peer, 100).await];
        assert_eq!(ids.map(|frame| frame.unwrap().unwrap().id), [2, 3]);
        assert_eq!(frame::read(&mut other, 100).await.unwrap().unwrap().id, 9);
        assert_eq!(service.handling_max.load(Ordering::Relaxed), 1, "two requests exceed the budget");
    }

    #[tokio::test]
    async fn a_peer_that_sends_slowly_or_too_much_is_disconnected() {
        let service = Gate::new(10);
        // The connection is idle.
        let (mut peer, serving) = connect(&service, limits(100));
        assert_eq!(peer.read(&mut [0]).await.unwrap(), 0);
        assert!(serving.await.unwrap().is_ok());
        // A body does not arrive; its bytes are returned.
        let slow = limits(100);
        let budget = slow.budget.clone();
        let (mut peer, serving) = connect(&service, slow);
        peer.write_all(&request(1, 100)[..50]).await.unwrap();
        assert_eq!(serving.await.unwrap().unwrap_err().kind(), io::ErrorKind::TimedOut);
        drop(budget.take(100).await.unwrap());
        // A request is too long.
        let (mut peer, serving) = connect(&service, limits(100));
        peer.write_all(&request(1, 101)).await.unwrap();
        assert_eq!(serving.await.unwrap().unwrap_err().kind(), io::ErrorKind::InvalidData);
    }

    #[tokio::test]
    async fn a_peer_that_reads_no_responses_is_not_read() {
        let service = Gate::new(REQUESTS_MAX);
        let bytes = RESPONSE_BYTES_MAX / 8;
        let budget = Budget::new(RESPONSE_BYTES_MAX * 4);
        let shared = budget.clone();
        let (mut peer, _serving) =
            connect(&service, Limits { idle_timeout: None, bytes_max: bytes, budget, ..limits(0) });
        let sending = async {
            for id in 1.. {
                peer.write_all(&request(id, bytes)).await.unwrap();
            }
        };
        // Sending stops at some point, because this peer reads no response.
        let handled = || REQUESTS_MAX - service.permits.available_permits();
        let stopped = async {
            let mut last = 0;
            while handled() < 8 || handled() > last {
                last = handled();
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
        };
        tokio::select! {
            () = sending => {}
            () = stopped => {}
        }
        assert!((8..=24).contains(&handled()), "{}", handled());
        // The requests have returned their bytes: other connections are not affected.
        let all = tokio::time::timeout(Duration::from_secs(10), shared.take(RESPONSE_BYTES_MAX * 3)).await;
        assert!(all.is_ok());
    }
}
