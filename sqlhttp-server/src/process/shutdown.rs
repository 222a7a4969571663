//! The signals that stop the process, and the maximum time for stopping.

use std::future::Future;
use std::io;
use std::time::{Duration, Instant};

/// Starts a timer that ends the process after `timeout`, even if statements are still running then. This is necessary
/// because SQLite cannot interrupt a statement inside one long SQL function. No acknowledged write is lost, because
/// acknowledged writes are durable.
pub(crate) fn exit_after(timeout: Duration) {
    let ending = std::thread::Builder::new().name("sqlhttp-exit".into()).spawn(move || {
        std::thread::sleep(timeout);
        tracing::warn!("a statement cannot be interrupted: the process exits without waiting for it");
        std::process::exit(1);
    });
    if let Err(error) = ending {
        tracing::warn!("cannot start the thread that ends the process at the time limit: {error}");
    }
}

/// The time after the first signal during which further signals are ignored as repetitions. Some senders signal both a
/// process and its process group. Ctrl-C in a terminal is delivered both to this process and to a parent that may
/// forward it.
const REPEAT_WINDOW: Duration = Duration::from_millis(500);

/// Returns whether the signal at time `next` is a repetition of the signal at time `first`. If not, the user has sent a
/// second signal.
fn is_repeated(first: Instant, next: Instant) -> bool {
    next.saturating_duration_since(first) < REPEAT_WINDOW
}

/// Installs handlers for SIGINT and SIGTERM. Returns a future that resolves to the name of the first of these signals.
/// After that, a second signal ends the process immediately, unless it arrives within half a second of the first.
///
/// # Errors
/// Fails if the signal handlers cannot be installed.
#[cfg(unix)]
pub fn signals() -> io::Result<impl Future<Output = &'static str> + Send + 'static> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut next = async move || {
        tokio::select! {
            _ = interrupt.recv() => (EXIT_CODE_BASE + 2, "interrupt"),
            _ = terminate.recv() => (EXIT_CODE_BASE + 15, "terminated"),
        }
    };
    Ok(async move {
        let (_, name) = next().await;
        let first = Instant::now();
        tokio::spawn(async move {
            let code = loop {
                let (code, _) = next().await;
                if !is_repeated(first, Instant::now()) {
                    break code;
                }
            };
            tracing::warn!("stopped by a second signal");
            std::process::exit(code);
        });
        name
    })
}

/// The exit status of a process that was ended by a signal is this number plus the signal number, as in a shell.
#[cfg(unix)]
const EXIT_CODE_BASE: i32 = 128;

/// Returns a future that resolves at the first Ctrl-C. After that, a second Ctrl-C ends the process immediately, unless
/// it arrives within half a second of the first.
///
/// # Errors
/// Never fails on this system.
#[cfg(not(unix))]
pub fn signals() -> io::Result<impl Future<Output = &'static str> + Send + 'static> {
    Ok(async {
        let _ = tokio::signal::ctrl_c().await;
        let first = Instant::now();
        tokio::spawn(async move {
            loop {
                let _ = tokio::signal::ctrl_c().await;
                if !is_repeated(first, Instant::now()) {
                    std::process::exit(1);
                }
            }
        });
        "interrupt"
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_within_half_a_second_is_a_repetition() {
        let first = Instant::now();
        let after = |ms| first + Duration::from_millis(ms);
        assert!([0, 1, 499].into_iter().all(|ms| is_repeated(first, after(ms))));
        assert!([500, 501, 600_000].into_iter().all(|ms| !is_repeated(first, after(ms))));
        // The `Instant`s of two threads may be out of order.
        assert!(is_repeated(after(1), first));
    }
}
