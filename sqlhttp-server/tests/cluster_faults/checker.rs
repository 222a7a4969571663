//! The verdict of the checker, a program of its own (`checker/`), on a history.

use std::path::Path;
use std::process::Command;

use super::sandbox;

/// The verdict on a history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Linearizable,
    NotLinearizable,
    /// The time limit has ended the check.
    Undecided,
}

/// Checks a history. If it is not linearizable, writes a visualization beside it.
pub fn check(history: &Path) -> Verdict {
    let picture = history.with_extension("html");
    let output = Command::new(sandbox::checker()).arg(history).arg(&picture).output().expect("the checker runs");
    let (text, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    match output.status.code() {
        Some(0) => Verdict::Linearizable,
        Some(1) => {
            assert!(picture.exists(), "no visualization: {errors}");
            eprintln!("{}: {text}see {}", history.display(), picture.display());
            Verdict::NotLinearizable
        }
        Some(3) => Verdict::Undecided,
        _ => panic!("{}: the checker has failed: {text}{errors}", history.display()),
    }
}
