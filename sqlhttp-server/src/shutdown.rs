//! The signals that stop the process.

use std::future::Future;
use std::io;

/// Resolves at the first SIGINT or SIGTERM (Ctrl-C elsewhere), with the signal's name. From then on, a second one ends the process at once.
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
        tokio::spawn(async move {
            let (code, _) = next().await;
            tracing::warn!("stopped by a second signal");
            std::process::exit(code);
        });
        name
    })
}

/// A shell's exit status for a process that a signal ended is this plus the signal's number.
#[cfg(unix)]
const EXIT_CODE_BASE: i32 = 128;

/// Resolves at the first Ctrl-C. From then on, a second one ends the process at once.
///
/// # Errors
/// None on this system.
#[cfg(not(unix))]
pub fn signals() -> io::Result<impl Future<Output = &'static str> + Send + 'static> {
    Ok(async {
        let _ = tokio::signal::ctrl_c().await;
        tokio::spawn(async {
            let _ = tokio::signal::ctrl_c().await;
            std::process::exit(1);
        });
        "interrupt"
    })
}
