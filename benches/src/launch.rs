//! Starts a server on an empty directory, and stops it.

use std::ffi::OsString;
use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::Error;
use crate::http::Endpoint;
use crate::plan::Target;
use crate::protocol::{Auth, Protocol, Rqlite, Ws4sqlite};
use crate::setup::BlockingClient;
use crate::workload::Operation;

/// The name of the database on which a server with the protocol of ws4sqlite is measured.
const DB: &str = "bench";
/// The time limit for a server to respond after its start, and to end after SIGTERM.
const PATIENCE: Duration = Duration::from_secs(20);
/// The pause between two checks whether the server responds, or whether it has ended.
const POLL_INTERVAL: Duration = Duration::from_millis(1);

/// The style of a program's command line. It also determines the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommandLineStyle {
    /// The options and the protocol of ws4sqlite.
    Ws4sqlite,
    /// The options and the protocol of rqlited, for a cluster of one node.
    Rqlited,
}

/// A program that is started and measured.
#[derive(Debug, Clone)]
pub struct ServerProgram {
    /// The name of the program in the tables.
    pub name: String,
    /// The path of the executable file.
    pub file: PathBuf,
    /// The style of the program's command line.
    pub command_line: CommandLineStyle,
}

/// A running server on a directory of its own. Dropping this value kills the process and removes the directory.
#[derive(Debug)]
pub struct Server {
    child: Child,
    target: Target,
    start_to_answer: Duration,
    // Fields are dropped after `drop` has run. So the directory is removed after the process that uses it has been
    // killed.
    dir: TempDir,
}

impl CommandLineStyle {
    fn protocol(self) -> Arc<dyn Protocol> {
        match self {
            CommandLineStyle::Ws4sqlite => Arc::new(Ws4sqlite::new(DB, &Auth::None)),
            CommandLineStyle::Rqlited => Arc::new(Rqlite::default()),
        }
    }

    /// Returns the arguments with which the program is started. Relative paths in them refer to its working directory.
    fn arguments(self, address: SocketAddr, further: &[OsString]) -> Result<Vec<OsString>, Error> {
        let port = address.port().to_string();
        let (first, last): (Vec<String>, Option<&str>) = match self {
            CommandLineStyle::Ws4sqlite => {
                let database = format!("{DB}.db");
                (["--bind-host", "127.0.0.1", "--port", &port, "--db", &database].map(str::to_owned).to_vec(), None)
            }
            CommandLineStyle::Rqlited => {
                let (http, raft) = (address.to_string(), free_address()?.to_string());
                (["-http-addr", &http, "-raft-addr", &raft].map(str::to_owned).to_vec(), Some("data"))
            }
        };
        let mut arguments: Vec<OsString> = first.into_iter().map(OsString::from).collect();
        arguments.extend_from_slice(further);
        // The data directory is the last argument, because rqlited accepts no options after it.
        arguments.extend(last.map(OsString::from));
        Ok(arguments)
    }
}

impl ServerProgram {
    /// Parses `NAME=PROGRAM` or `PROGRAM`. Without `NAME=`, the file name of the program is used as the name.
    pub fn parse(text: &str, command_line: CommandLineStyle) -> Result<Self, String> {
        let (name, file) = text.split_once('=').map_or((None, text), |(name, file)| (Some(name), file));
        let file = PathBuf::from(file);
        let file_name = file.file_name().ok_or_else(|| format!("'{text}' names no program"))?;
        let name = name.map_or_else(|| file_name.to_string_lossy().into_owned(), str::to_owned);
        Ok(ServerProgram { name, file, command_line })
    }
}

impl Server {
    /// Starts the program on a new directory inside `parent`, and waits for its first successful response. `args` are
    /// additional arguments for the program.
    pub fn start(program: &ServerProgram, args: &[OsString], parent: &Path) -> Result<Self, Error> {
        let (file, style) = (&program.file, program.command_line);
        let dir = TempDir::with_prefix_in("sqlhttp-bench-", parent).map_err(Error::io("create a directory"))?;
        let log = File::create(dir.path().join("server.log")).map_err(Error::io("create the server's log"))?;
        let log_for_stderr = log.try_clone().map_err(Error::io("share the server's log"))?;
        let address = free_address()?;
        let target = Target { endpoint: Endpoint { address }, protocol: style.protocol(), auth: Auth::None };
        let file = file.canonicalize().map_err(Error::io(format!("find {}", file.display())))?;
        let started = Instant::now();
        let child = Command::new(&file)
            .args(style.arguments(address, args)?)
            .current_dir(dir.path())
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(log_for_stderr)
            .spawn()
            .map_err(Error::io(format!("start {}", file.display())))?;
        let mut server = Server { child, target, start_to_answer: Duration::ZERO, dir };
        server.wait_until_ready(started)?;
        server.start_to_answer = started.elapsed();
        Ok(server)
    }

    /// Returns the address, the protocol and the credentials for requests to the server.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// Returns the process id of the server.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Returns the time between the start of the process and its first successful response. It is exact to about a
    /// millisecond.
    pub fn start_to_answer(&self) -> Duration {
        self.start_to_answer
    }

    /// Sends SIGTERM to the process and waits until the process has ended.
    pub fn stop(mut self) -> Result<(), Error> {
        kill_process(Pid::from_child(&self.child), Signal::TERM)
            .map_err(std::io::Error::from)
            .map_err(Error::io("stop the server"))?;
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if self.exited()?.is_some() {
                return Ok(());
            }
            thread::sleep(POLL_INTERVAL);
        }
        Err(Error::Server(format!("the server did not stop within {} s", PATIENCE.as_secs())))
    }

    fn wait_until_ready(&mut self, started: Instant) -> Result<(), Error> {
        while started.elapsed() < PATIENCE {
            if let Some(status) = self.exited()? {
                return Err(Error::Server(format!(
                    "the server ended before its first answer ({status}): {}",
                    self.log()
                )));
            }
            // The request is a write. A node accepts connections before the cluster has a leader, but refuses writes
            // until then.
            let response =
                BlockingClient::open(&self.target).and_then(|mut client| client.execute(&Operation::CreateTables));
            if response.is_ok() {
                return Ok(());
            }
            thread::sleep(POLL_INTERVAL);
        }
        Err(Error::Server(format!("the server did not answer within {} s: {}", PATIENCE.as_secs(), self.log())))
    }

    fn exited(&mut self) -> Result<Option<std::process::ExitStatus>, Error> {
        self.child.try_wait().map_err(Error::io("wait for the server"))
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("server.log")).unwrap_or_default()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // The process may have ended already, so errors are ignored. `drop` could not return them anyway.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Returns a loopback address with a free port. If another process takes the port before the server does, the server
/// fails to start, and its log contains the reason.
fn free_address() -> Result<SocketAddr, Error> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(Error::io("find a free port"))?;
    listener.local_addr().map_err(Error::io("find a free port"))
}
