//! A timer that all waiting writes share. A Tokio timer for each write would cost more than the rest of the wait, and
//! few writes wait until their timer fires.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::sync::futures::Notified;

/// The number of ticks of a timer during the time that it was started to measure.
const TICKS_PER_TIMEOUT: u32 = 8;
const PERIOD_MIN: Duration = Duration::from_millis(10);
const PERIOD_MAX: Duration = Duration::from_secs(1);

/// A timer that wakes all futures waiting for it at every tick. Clones share the timer.
#[derive(Debug, Clone)]
pub(crate) struct CoarseTimer(Arc<Notify>);

impl CoarseTimer {
    /// Starts a timer on the current runtime. It ticks eight times during `time`, but at least once per second and at
    /// most every 10 milliseconds. The timer stops when all its clones are dropped.
    pub(crate) fn start(time: Duration) -> CoarseTimer {
        let timer = CoarseTimer(Arc::new(Notify::new()));
        let weak = Arc::downgrade(&timer.0);
        let period = (time / TICKS_PER_TIMEOUT).clamp(PERIOD_MIN, PERIOD_MAX);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(period).await;
                let Some(notify) = weak.upgrade() else { return };
                notify.notify_waiters();
            }
        });
        timer
    }

    /// Waits for a future or for the next tick of the timer. Returns the output of the future, or `None` if the tick
    /// comes first.
    pub(crate) async fn ready_before_tick<F: Future + Unpin>(&self, future: &mut F) -> Option<F::Output> {
        let mut tick = pin!(self.next_tick());
        poll_fn(|cx| match Pin::new(&mut *future).poll(cx) {
            Poll::Ready(done) => Poll::Ready(Some(done)),
            Poll::Pending => tick.as_mut().poll(cx).map(|()| None),
        })
        .await
    }

    /// Returns a future that is ready at the first tick after this call.
    fn next_tick(&self) -> Notified<'_> {
        self.0.notified()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_timer_ticks_until_it_is_dropped() {
        let timer = CoarseTimer::start(Duration::ZERO);
        let weak = Arc::downgrade(&timer.0);
        let (first, second) = (timer.next_tick(), timer.next_tick());
        first.await;
        second.await;
        timer.next_tick().await;
        let mut done = std::future::ready(7);
        assert_eq!(timer.ready_before_tick(&mut done).await, Some(7));
        assert_eq!(timer.ready_before_tick(&mut std::future::pending::<()>()).await, None);
        drop(timer);
        assert!(weak.upgrade().is_none(), "the clock's own task does not hold it between two ticks");
    }
}
