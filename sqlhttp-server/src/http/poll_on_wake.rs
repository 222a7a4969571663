//! A wrapper that polls a future only after the future's own waker was called.
//!
//! A task that awaits several futures polls all of them each time it is woken. The futures that signal the end of a
//! connection become ready only once, but each poll of them takes a lock. [`PollOnWake`] gives such a future its own
//! waker and skips a poll if that waker was not called. (`futures_util::stream::FuturesUnordered` does the same for the
//! futures that it contains.)

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use futures_util::task::AtomicWaker;
use hyper_util::server::graceful::GracefulConnection;

/// A future that is polled only if its own waker was called, or if the polling task is not the one that polled it last.
pub(crate) struct PollOnWake<F> {
    future: Pin<Box<F>>,
    flag: Arc<WakeFlag>,
    /// The waker that is passed to the inner future. It sets `flag` and wakes the task.
    waker: Waker,
    /// The waker of the task that last polled the future, as registered in `flag`.
    task: Waker,
}

/// The waker of the inner future of a [`PollOnWake`]. When called, it sets `is_woken` and wakes the task.
struct WakeFlag {
    is_woken: AtomicBool,
    task: AtomicWaker,
}

impl Wake for WakeFlag {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.is_woken.store(true, Ordering::Release);
        self.task.wake();
    }
}

impl<F: Future> PollOnWake<F> {
    pub(crate) fn new(future: F) -> Self {
        let flag = Arc::new(WakeFlag { is_woken: AtomicBool::new(true), task: AtomicWaker::new() });
        let waker = Waker::from(Arc::clone(&flag));
        PollOnWake { future: Box::pin(future), flag, waker, task: Waker::noop().clone() }
    }

    /// Polls the inner future if its waker was called, or if the polling task is not the one that polled it last.
    /// Otherwise returns `Pending`.
    #[inline]
    pub(crate) fn poll(&mut self, cx: &Context<'_>) -> Poll<F::Output> {
        if !self.flag.is_woken.load(Ordering::Acquire) && self.task.will_wake(cx.waker()) {
            return Poll::Pending;
        }
        self.poll_inner(cx)
    }

    #[cold]
    fn poll_inner(&mut self, cx: &Context<'_>) -> Poll<F::Output> {
        // The order of these steps matters, because the inner future's waker can be called at any time. If it is called
        // before the task is registered, the poll below observes the change. If it is called later, it sets the flag
        // and wakes the task.
        self.flag.is_woken.store(false, Ordering::Relaxed);
        self.flag.task.register(cx.waker());
        self.task.clone_from(cx.waker());
        self.future.as_mut().poll(&mut Context::from_waker(&self.waker))
    }
}

/// Runs `work` until it completes or `end` becomes ready. In the second case `work` is dropped.
pub(crate) async fn run_until(end: impl Future, work: impl Future<Output = ()>) {
    let (mut end, mut work) = (PollOnWake::new(end), pin!(work));
    poll_fn(|cx| match end.poll(cx) {
        Poll::Ready(_) => Poll::Ready(()),
        Poll::Pending => work.as_mut().poll(cx),
    })
    .await;
}

/// Serves a connection until it closes. When `stop` becomes ready, the connection finishes its running requests and
/// closes.
pub(crate) async fn serve_until_shutdown<C: GracefulConnection>(connection: C, stop: impl Future) -> C::Output {
    let (mut stop, mut connection) = (Some(PollOnWake::new(stop)), pin!(connection));
    poll_fn(|cx| {
        if stop.as_mut().is_some_and(|stop| stop.poll(cx).is_ready()) {
            stop = None;
            connection.as_mut().graceful_shutdown();
        }
        connection.as_mut().poll(cx)
    })
    .await
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::rc::Rc;
    use std::sync::atomic::AtomicUsize;

    use tokio::sync::oneshot;

    use super::*;

    /// Wraps `future` so that its polls are counted. Returns the counter and the wrapped future.
    fn counted<F: Future>(future: F) -> (Rc<Cell<usize>>, impl Future<Output = F::Output>) {
        let polls = Rc::new(Cell::new(0));
        let (count, mut future) = (Rc::clone(&polls), Box::pin(future));
        let counting = poll_fn(move |cx| {
            count.set(count.get() + 1);
            future.as_mut().poll(cx)
        });
        (polls, counting)
    }

    #[derive(Default)]
    struct Task(AtomicUsize);

    impl Wake for Task {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn the_future_is_polled_only_after_its_waker_was_called() {
        let (sender, receiver) = oneshot::channel();
        let (polls, future) = counted(receiver);
        let mut quiet = PollOnWake::new(future);
        let task = Arc::new(Task::default());
        let waker = Waker::from(Arc::clone(&task));
        let cx = Context::from_waker(&waker);
        for _ in 0..3 {
            assert!(quiet.poll(&cx).is_pending());
        }
        assert_eq!((polls.get(), task.0.load(Ordering::Relaxed)), (1, 0));
        sender.send(7).unwrap();
        assert_eq!(task.0.load(Ordering::Relaxed), 1);
        assert_eq!(quiet.poll(&cx), Poll::Ready(Ok(7)));
    }

    #[test]
    fn the_task_that_polled_last_is_woken() {
        let (sender, receiver) = oneshot::channel();
        let mut quiet = PollOnWake::new(receiver);
        let tasks = [Arc::new(Task::default()), Arc::new(Task::default())];
        for task in &tasks {
            let waker = Waker::from(Arc::clone(task));
            assert!(quiet.poll(&Context::from_waker(&waker)).is_pending());
        }
        sender.send(()).unwrap();
        assert_eq!(tasks.map(|task| task.0.load(Ordering::Relaxed)), [0, 1]);
    }

    #[test]
    fn each_call_of_the_waker_causes_a_poll() {
        let wakers = Rc::new(Cell::new(Vec::new()));
        let seen = Rc::clone(&wakers);
        let mut quiet = PollOnWake::new(poll_fn(move |cx| {
            let mut all = seen.take();
            all.push(cx.waker().clone());
            seen.set(all);
            Poll::<()>::Pending
        }));
        let task = Arc::new(Task::default());
        let waker = Waker::from(Arc::clone(&task));
        for times in 0..3 {
            assert!(quiet.poll(&Context::from_waker(&waker)).is_pending());
            let all = wakers.take();
            assert_eq!(all.len(), times + 1);
            all[times].wake_by_ref();
            wakers.set(all);
            assert_eq!(task.0.load(Ordering::Relaxed), times + 1);
        }
    }

    #[tokio::test]
    async fn work_runs_until_it_completes_or_the_end_is_ready() {
        run_until(std::future::pending::<()>(), async {}).await;
        run_until(async {}, std::future::pending()).await;
    }
}
