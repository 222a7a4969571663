//! The signals that stop the process.

use std::future::Future;
use std::io;
use std::time::{Duration, Instant};

/// Ends the process after this time, whatever still runs. A statement inside one long function of SQLite cannot be interrupted,
/// and nothing that it could still do is lost: acknowledged writes are durable.
pub(crate) fn exit_after(timeout: Duration) {
    let ending = std::thread::Builder::new().name("sqlhttp-exit".into()).spawn(move || {
        std::thread::sleep(timeout);
        tracing::warn!("a statement cannot be interrupted: the process ends without it");
        std::process::exit(1);
    });
    if let Err(error) = ending {
        tracing::warn!("the process may not end by itself: {error}");
    }
}

/// How long a repetition counts as the first signal. Some senders signal both a process and its group, and a terminal's
/// Ctrl-C reaches both a process and the one that passes it on.
const REPEAT_WINDOW: Duration = Duration::from_millis(500);

/// Whether a signal is the first one once more, rather than somebody's wish to wait no longer.
fn is_repeated(first: Instant, next: Instant) -> bool {
    next.saturating_duration_since(first) < REPEAT_WINDOW
}

/// Resolves at the first SIGINT or SIGTERM (Ctrl-C elsewhere), with the signal's name. From then on, a second one ends the
/// process at once, unless it comes with the first.
///
/// # Errors
/// The system does not let the process listen to signals.
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

/// A shell's exit status for a process that a signal ended is this plus the signal's number.
#[cfg(unix)]
const EXIT_CODE_BASE: i32 = 128;

/// Resolves at the first Ctrl-C. From then on, a second one ends the process at once, unless it comes with the first.
///
/// # Errors
/// None on this system.
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
    fn what_follows_at_once_is_the_same_signal() {
        let first = Instant::now();
        let after = |ms| first + Duration::from_millis(ms);
        assert!([0, 1, 499].into_iter().all(|ms| is_repeated(first, after(ms))));
        assert!([500, 501, 600_000].into_iter().all(|ms| !is_repeated(first, after(ms))));
        // As if the clock had not moved.
        assert!(is_repeated(after(1), first));
    }
}
