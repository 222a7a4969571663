//! The sections `build`, `node`, `os` and `runtime` of `/status`: the program and its process.

use std::time::Duration;

use serde_json::{Map, Value, json};
use sqlhttp_text::duration;

use crate::VERSION;

/// The facts about the server process that `/status` reports.
#[derive(Debug, Clone, Default)]
pub struct Process {
    /// The name and version of the server program.
    pub server: String,
    /// The current time, in RFC 3339 with nanoseconds.
    pub current_time: String,
    /// The time when the process started, in RFC 3339 with nanoseconds.
    pub start_time: String,
    /// The time since the process started.
    pub uptime: Duration,
    /// The path of the server's executable.
    pub executable: String,
    /// The name of the host on which the server runs.
    pub hostname: String,
    /// The size of a page of memory on this host, in bytes.
    pub page_bytes: usize,
    /// The id of the server process.
    pub process_id: u32,
    /// The id of the parent process.
    pub parent_id: u32,
    /// The architecture, under its name in `std::env::consts::ARCH`.
    pub architecture: &'static str,
    /// The operating system, under its name in `std::env::consts::OS`.
    pub system: &'static str,
    /// The number of processors that the process may use.
    pub processors: usize,
    /// The number of threads of the process.
    pub threads: u64,
    /// Whether the process seems to run in Kubernetes.
    pub in_kubernetes: bool,
}

impl Process {
    /// Adds the sections about the process to the document of `/status`.
    pub(super) fn add_to(&self, document: &mut Map<String, Value>) {
        document.insert("build".to_owned(), self.build());
        document.insert("node".to_owned(), self.node());
        document.insert("os".to_owned(), self.os());
        document.insert("runtime".to_owned(), self.runtime());
    }

    fn build(&self) -> Value {
        json!({
            "build_time": "unknown",
            "commit": "unknown",
            "compiler_command": "unknown",
            "compiler_toolchain": "rustc",
            "server": self.server,
            "version": VERSION,
        })
    }

    fn node(&self) -> Value {
        json!({
            "current_time": self.current_time,
            "start_time": self.start_time,
            "uptime": duration::format(self.uptime),
        })
    }

    fn os(&self) -> Value {
        json!({
            "executable": self.executable,
            "hostname": self.hostname,
            "page_size": self.page_bytes,
            "pid": self.process_id,
            "ppid": self.parent_id,
        })
    }

    /// Describes the platform under the names that Go uses for architectures and systems.
    fn runtime(&self) -> Value {
        let architecture = match self.architecture {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        };
        let system = match self.system {
            "macos" => "darwin",
            other => other,
        };
        json!({
            "GOARCH": architecture,
            "GOMAXPROCS": self.processors,
            "GOOS": system,
            "kubernetes_hint": self.in_kubernetes,
            "num_cpu": self.processors,
            "num_goroutine": self.threads,
            "version": "rust",
        })
    }
}
