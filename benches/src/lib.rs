//! A load generator that measures whole servers over HTTP on the loopback interface. It has two programs:
//! `sqlhttp-load` runs one workload on a server that is already running; `sqlhttp-bench` starts servers and runs all
//! workloads on them.
//!
//! The steps of a measurement:
//!
//! 1. [`args`] turns the command line into a [`plan::Plan`], or for `sqlhttp-bench` into a [`series::Series`], which
//!    starts the servers ([`launch`]) and makes a plan for each cell of its tables.
//! 2. [`setup`] creates and fills the tables, and tries each kind of request once.
//! 3. [`load::run`] opens the connections, sends the requests ([`worker`]), and returns a [`report::Report`].
//!
//! [`workload`] defines the requests, [`protocol`] their form for each kind of server. [`schedule`] and [`pacer`]
//! decide when a request of an open loop is due. [`procfs`] reads the processor time and the memory of the server and
//! of the machine.
//!
//! The generator must use less processor time than the server, because they share the cores. It therefore has one
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

/// A reason why a measurement could not be made. A request that fails is no such error: the report counts it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The command line is wrong, or its options contradict each other.
    #[error("{0}")]
    Usage(String),
    /// An operation on a file, a socket or a process failed.
    #[error("{action}: {source}")]
    Io {
        /// The operation, in the infinitive.
        action: String,
        /// The error of the operating system.
        source: std::io::Error,
    },
    /// The server gave no correct answer to a request outside of the measured time, on which the measurement depends;
    /// or a part of the generator failed.
    #[error("{0}")]
    Server(String),
}

impl Error {
    /// Returns a function for `map_err` that adds the name of the failed operation.
    pub fn io(action: impl Into<String>) -> impl FnOnce(std::io::Error) -> Error {
        let action = action.into();
        move |source| Error::Io { action, source }
    }
}

/// The exit status of a program: 0 if all runs were clean, 1 if not or if the measurement could not be made, 2 if the
/// command line is wrong. An error is printed after the name of the program.
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
