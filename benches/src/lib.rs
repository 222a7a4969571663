//! A load generator that measures whole servers over HTTP on the loopback interface. It has two programs.
//! `sqlhttp-load` runs one workload on a server that is already running. `sqlhttp-bench` starts servers and runs all
//! workloads on each of them.
//!
//! The steps of a measurement:
//!
//! 1. [`args`] converts the command line of `sqlhttp-load` to a [`plan::Plan`], and that of `sqlhttp-bench` to a
//!    [`series::Series`]. A series starts the servers ([`launch`]) and makes a plan for each cell of its tables.
//! 2. [`setup`] creates and fills the tables, and tries each kind of request before the run.
//! 3. [`load::run`] opens the connections, sends the requests ([`worker`]), and returns a [`report::Report`].
//!
//! [`workload`] defines the operations, and [`protocol`] encodes them as requests for each kind of server. In an open
//! loop, [`schedule`] computes when each request is due, and [`pacer`] releases it at that time. [`procfs`] reads the
//! processor time and the memory of the server and of the machine.
//!
//! The generator must use less processor time than the server, because both share the cores. Therefore it has one
//! current-thread runtime per core, writes requests into a buffer that is reused, and parses responses without storing
//! their bodies.

use std::process::ExitCode;

pub mod args;
pub mod histogram;
pub mod http;
pub mod launch;
pub mod load;
pub mod options;
pub mod pacer;
pub mod plan;
pub mod procfs;
pub mod protocol;
pub mod random;
pub mod report;
pub mod schedule;
pub mod series;
pub mod setup;
pub mod tally;
pub mod worker;
pub mod workload;

/// The reason why a measurement could not be made. A failed request is not such an error: it is counted in the report.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The command line is invalid, or its options contradict each other.
    #[error("{0}")]
    Usage(String),
    /// An operation on a file, a socket or a process failed.
    #[error("{action}: {source}")]
    Io {
        /// The failed operation, as a verb phrase such as "read FILE".
        action: String,
        /// The error of the operating system.
        source: std::io::Error,
    },
    /// A request before or after the run did not get the expected response, so that the measurement cannot be made; or
    /// a part of the generator failed. The text is the reason.
    #[error("{0}")]
    Server(String),
}

impl Error {
    /// Returns a function for `map_err` that converts an I/O error to [`Error::Io`] with this action.
    pub fn io(action: impl Into<String>) -> impl FnOnce(std::io::Error) -> Error {
        let action = action.into();
        move |source| Error::Io { action, source }
    }
}

/// Returns the exit status of a program, and prints the error, if there is one, after the name of the program. The
/// status is 0 if all runs were clean. It is 1 if a run was not clean, or if the measurement could not be made. It is 2
/// if the command line is invalid.
pub fn exit_code(program: &str, result: Result<bool, Error>) -> ExitCode {
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{program}: {error}");
            ExitCode::from(if matches!(error, Error::Usage(_)) { 2 } else { 1 })
        }
    }
}
