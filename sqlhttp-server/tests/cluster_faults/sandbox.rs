//! A namespace of the kernel for each test: network, mounts and processes. A test runs as a second process of this
//! program inside it. When that process ends, the kernel ends all its children and removes the network, also if the
//! test has failed or was killed.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::common::faketime;

/// Set in the environment of the process inside the sandbox: the directory of the test.
const INSIDE: &str = "SQLHTTP_FAULTS_INSIDE";
const CHECKER: &str = "checker";
const LIBRARY: &str = "sync.so";

/// The directory for the checker, the preloaded library, and the data and logs of the nodes. Each test of each process
/// has its own, so that several can run at the same time.
pub fn directory() -> PathBuf {
    std::env::var_os(INSIDE).map(PathBuf::from).expect("the test runs in a sandbox")
}

/// The program that decides whether a history is linearizable.
pub fn checker() -> PathBuf {
    directory().join(CHECKER)
}

/// The library that delays fsync.
pub fn sync_library() -> PathBuf {
    directory().join(LIBRARY)
}

/// Runs `test` in a sandbox. `name` is the name of the test function that calls this. Without root or a program that is
/// needed, the test is skipped; in continuous integration (`CI` is set), it fails.
pub fn run(name: &str, test: impl FnOnce()) {
    if std::env::var_os(INSIDE).is_some() {
        enter();
        return test();
    }
    let missing = missing();
    if !missing.is_empty() {
        assert!(std::env::var_os("CI").is_none(), "needed, and installed by .ci/faults: {missing:?}");
        eprintln!("skipped: needed, and installed by .ci/faults: {missing:?}");
        return;
    }
    let all = Path::new(env!("CARGO_TARGET_TMPDIR")).join("cluster_faults");
    let directory = all.join(format!("{}-{name}", std::process::id()));
    build(&directory);
    let program = std::env::current_exe().expect("the path of this program");
    // The signal ends the sandbox when the thread of the test ends, whatever the reason.
    let status = Command::new("setpriv")
        .args(["--pdeathsig", "KILL", "unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"])
        .arg(program)
        .args(["--exact", name, "--include-ignored", "--nocapture", "--test-threads=1"])
        .env(INSIDE, &directory)
        .status()
        .expect("unshare can be started");
    assert!(status.success(), "the test has failed in its sandbox, see {}: {status}", directory.display());
    if !keeps() {
        let _ = std::fs::remove_dir_all(directory);
    }
}

/// Whether the directories of successful runs stay.
pub fn keeps() -> bool {
    std::env::var_os("SQLHTTP_FAULTS_KEEP").is_some()
}

/// Returns the tools and permissions that this machine lacks.
fn missing() -> Vec<&'static str> {
    let runs = |program: &str, argument: &str| Command::new(program).arg(argument).output().is_ok();
    let mut missing = Vec::new();
    if !Command::new("unshare").args(["--net", "--mount", "true"]).output().is_ok_and(|out| out.status.success()) {
        missing.push("root, and network namespaces");
    }
    for (program, argument) in
        [("setpriv", "--version"), ("ip", "-V"), ("iptables", "-V"), ("cc", "--version"), ("go", "version")]
    {
        let found = if program == "go" { runs(&go(), argument) } else { runs(program, argument) };
        if !found {
            missing.push(program);
        }
    }
    if faketime::library().is_none() {
        missing.push("libfaketime");
    }
    missing
}

fn go() -> String {
    std::env::var("SQLHTTP_GO").unwrap_or_else(|_| "go".to_owned())
}

/// Compiles the checker and the library into a directory.
fn build(directory: &Path) {
    std::fs::create_dir_all(directory).expect("a directory");
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cluster_faults");
    let mut checker = Command::new(go());
    checker.current_dir(sources.join("checker")).args(["build", "-mod=readonly", "-o"]);
    succeed(checker.arg(directory.join(CHECKER)).arg("."));
    let mut library = Command::new("cc");
    library.args(["-shared", "-fPIC", "-O2", "-Wall", "-Wextra", "-Werror", "-o"]).arg(directory.join(LIBRARY));
    succeed(library.arg(sources.join("preload/sync.c")).arg("-ldl"));
}

/// Prepares the namespaces of this process for `ip netns`.
fn enter() {
    std::fs::create_dir_all("/run/netns").expect("a directory for the names of namespaces");
    succeed(Command::new("mount").args(["-t", "tmpfs", "tmpfs", "/run/netns"]));
    succeed(Command::new("ip").args(["link", "set", "lo", "up"]));
}

/// Runs a command that must succeed.
pub fn succeed(command: &mut Command) {
    let output = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}
