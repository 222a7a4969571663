//! Starts a server on a fresh directory, and stops it.

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

/// The name of the database.
const DB: &str = "bench";
/// The longest time from the start of a server to its first answer, and from SIGTERM to its end.
const PATIENCE: Duration = Duration::from_secs(20);
/// The pause between two attempts to find out whether the server answers or has ended.
const POLL_INTERVAL: Duration = Duration::from_millis(1);

/// The command line with which a program is started. It also determines the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommandLineStyle {
    /// The options and the protocol of ws4sqlite.
    Ws4sqlite,
    /// The options and the protocol of rqlited, for a cluster of one node.
    Rqlited,
}

/// A program that is started and measured as a server.
#[derive(Debug, Clone)]
pub struct ServerProgram {
    /// The name in the tables.
    pub name: String,
    /// The path of the program.
    pub file: PathBuf,
    /// The form of its command line.
    pub command_line: CommandLineStyle,
}

/// A running server on a directory of its own. Dropping it kills the process and removes the directory.
#[derive(Debug)]
pub struct Server {
    child: Child,
    target: Target,
    start_to_answer: Duration,
    // The directory is removed after `drop` has killed the process that uses it.
    dir: TempDir,
}

impl CommandLineStyle {
    fn protocol(self) -> Arc<dyn Protocol> {
        match self {
            CommandLineStyle::Ws4sqlite => Arc::new(Ws4sqlite::new(DB, &Auth::None)),
            CommandLineStyle::Rqlited => Arc::new(Rqlite),
        }
    }

    /// The arguments of the program. Paths in them are relative to its working directory.
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
        // rqlited accepts no options after the data directory.
        arguments.extend(last.map(OsString::from));
        Ok(arguments)
    }
}

impl ServerProgram {
    /// Parses `NAME=PROGRAM` or `PROGRAM`. Without a name, the name of the file is used.
    pub fn parse(text: &str, command_line: CommandLineStyle) -> Result<Self, String> {
        let (name, file) = text.split_once('=').map_or((None, text), |(name, file)| (Some(name), file));
        let file = PathBuf::from(file);
        let file_name = file.file_name().ok_or_else(|| format!("'{text}' names no program"))?;
        let name = name.map_or_else(|| file_name.to_string_lossy().into_owned(), str::to_owned);
        Ok(ServerProgram { name, file, command_line })
    }
}

impl Server {
    /// Starts the program with the additional arguments `args` on a new directory in `parent`, and waits for its first
    /// answer.
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

    /// The address, the protocol and the credentials of the server.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// The id of the process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The time from the start of the process to its first answer, exact to about a millisecond.
    pub fn start_to_answer(&self) -> Duration {
        self.start_to_answer
    }

    /// Sends SIGTERM and waits until the process has ended.
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
            // A write, because a node accepts connections before it has a leader, and refuses writes until then.
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
        // The process may have ended already. `drop` cannot return an error.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A loopback address with a free port. If another process takes the port before the server does, the server fails to
/// start, and its log says why.
fn free_address() -> Result<SocketAddr, Error> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(Error::io("find a free port"))?;
    listener.local_addr().map_err(Error::io("find a free port"))
}
