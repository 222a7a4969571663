//! The parts of two programs that measure whole servers from outside, over HTTP on the loopback interface:
//! `sqlhttp-load` puts one workload on a running server, and `sqlhttp-bench` starts servers and runs all workloads.
//!
//! The way of a measurement: a [`plan::Plan`] says what is asked of the server; [`load::run`] opens the connections,
//! keeps them busy ([`worker`]) and hands back a [`report::Report`]. What the workloads do is [`workload`]; how it is
//! said to a server is [`protocol`]; [`schedule`] and [`pacer`] tell when, for open loops; [`process`] looks at what
//! it costs the server and the machine.
//!
//! The generator has to be cheaper than what it measures, for they share the cores: one current-thread runtime per
//! core, requests written into a buffer that is used again, answers parsed without being kept.

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

/// Why a measurement could not be made. (A request that fails is a result, not one of these.)
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The command line, or a combination of its options, makes no sense.
    #[error("{0}")]
    Usage(String),
    /// A file, a socket or a process.
    #[error("{action}: {source}")]
    Io {
        /// What was attempted.
        action: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The server did not answer a request that the measurement depends on as it must.
    #[error("{0}")]
    Server(String),
}

impl Error {
    /// For `map_err`: what was attempted when the system refused.
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
