//! libfaketime, a library that gives a process a clock of its own when it is preloaded.

use std::path::PathBuf;
use std::process::Command;

/// The places where Debian installs the library.
const PLACES: [&str; 2] = ["/usr/lib/*/faketime/libfaketimeMT.so.1", "/usr/lib/faketime/libfaketimeMT.so.1"];

/// Variables that keep the clock of one process apart from others, and the monotonic clock as it is: no operating
/// system lets that clock jump.
pub const VARIABLES: [(&str, &str); 3] =
    [("FAKETIME_DONT_FAKE_MONOTONIC", "1"), ("DONT_FAKE_MONOTONIC", "1"), ("FAKETIME_DISABLE_SHM", "1")];

/// The path of the library, if it is installed.
pub fn library() -> Option<PathBuf> {
    let listed = Command::new("sh").args(["-c", &format!("ls {} 2>/dev/null", PLACES.join(" "))]).output().ok()?;
    String::from_utf8_lossy(&listed.stdout).lines().next().map(PathBuf::from)
}
