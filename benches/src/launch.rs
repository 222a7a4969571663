//! Starts a server on a fresh directory and stops it again.

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

/// The id of the database.
const DB: &str = "bench";
/// How long a server may take to answer, and to stop.
const PATIENCE: Duration = Duration::from_secs(20);
/// How often it is looked whether it does.
const POLL_INTERVAL: Duration = Duration::from_millis(1);

/// How a program is told where to listen and where its data lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommandLineStyle {
    /// As ws4sqlite is; it speaks ws4sqlite's protocol.
    Ws4sqlite,
    /// As rqlited is, for a cluster of one node; it speaks rqlite's protocol.
    Rqlited,
}

/// A server that is measured.
#[derive(Debug, Clone)]
pub struct ServerProgram {
    /// What the tables call it.
    pub name: String,
    /// Its program.
    pub file: PathBuf,
    /// How the program is told what to do, and with it which protocol it speaks.
    pub command_line: CommandLineStyle,
}

/// A server that runs, on a directory of its own. Both are gone when this is dropped.
#[derive(Debug)]
pub struct Server {
    child: Child,
    target: Target,
    start_to_answer: Duration,
    // Dropped last: the child is killed before its directory is removed.
    _dir: TempDir,
}

impl CommandLineStyle {
    fn protocol(self) -> Arc<dyn Protocol> {
        match self {
            CommandLineStyle::Ws4sqlite => Arc::new(Ws4sqlite::new(DB, &Auth::None)),
            CommandLineStyle::Rqlited => Arc::new(Rqlite),
        }
    }

    /// The whole command line, for a program whose working directory is its own.
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
        // rqlited knows no options behind the directory.
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
    /// Starts a program with further arguments on a new directory inside `parent`.
    pub fn start(program: &ServerProgram, args: &[OsString], parent: &Path) -> Result<Self, Error> {
        let (file, style) = (&program.file, program.command_line);
        let dir = TempDir::with_prefix_in("sqlhttp-bench-", parent).map_err(Error::io("create a directory"))?;
        let log = File::create(dir.path().join("server.log")).map_err(Error::io("create the server's log"))?;
        let log_too = log.try_clone().map_err(Error::io("share the server's log"))?;
        let address = free_address()?;
        let target = Target { endpoint: Endpoint { address }, protocol: style.protocol(), auth: Auth::None };
        let file = file.canonicalize().map_err(Error::io(format!("find {}", file.display())))?;
        let started = Instant::now();
        let child = Command::new(&file)
            .args(style.arguments(address, args)?)
            .current_dir(dir.path())
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(log_too)
            .spawn()
            .map_err(Error::io(format!("start {}", file.display())))?;
        let mut server = Server { child, target, start_to_answer: Duration::ZERO, _dir: dir };
        server.wait_until_ready(started)?;
        server.start_to_answer = started.elapsed();
        Ok(server)
    }

    /// How to reach it.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// How long it took from the start of the process to its first answer, exact to about a millisecond.
    pub fn start_to_answer(&self) -> Duration {
        self.start_to_answer
    }

    /// Asks it to end, and waits until it has.
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
                return Err(Error::Server(format!("the server ended at once ({status}): {}", self.log())));
            }
            // A node listens before it has a leader, and refuses writes until then.
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
        std::fs::read_to_string(self._dir.path().join("server.log")).unwrap_or_default()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already; there is nobody to tell.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An address where nobody listens. Somebody else could take it before the server does; then the server says so.
fn free_address() -> Result<SocketAddr, Error> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(Error::io("find a free port"))?;
    listener.local_addr().map_err(Error::io("find a free port"))
}
