//! The last message and the exit status of a process that ends instead of starting the node.

use std::io::{self, Write};

use sqlhttp_text::flag::{self, FlagError};

use super::table;
use crate::cluster::log;

/// How a process ends that does not start the node: because the command line is invalid, or because it only requests
/// the version, the usage text or a generated text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exit {
    /// The exit status of the process.
    pub code: u8,
    /// The last message of the process.
    pub message: ExitMessage,
}

/// The last message of a process that does not start the node, without the final line feed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExitMessage {
    /// Text for standard output, which the command line has requested.
    Stdout(String),
    /// Text for standard error.
    Stderr(String),
    /// The message of a log line, which is written to standard error with a component and a time.
    LogLine(String),
}

impl Exit {
    /// Creates an `Exit` that writes `text` to standard error.
    pub(crate) fn new(code: u8, text: impl Into<String>) -> Self {
        Exit { code, message: ExitMessage::Stderr(text.into()) }
    }

    /// Creates an `Exit` for an invalid command line, in rqlited's format.
    pub(crate) fn fatal(message: &str) -> Self {
        Exit::new(1, format!("fatal: {message}"))
    }

    /// Creates an `Exit` for an invalid flag. The message also describes the flag or suggests a similar one.
    pub(crate) fn usage(error: &FlagError) -> Self {
        let names = table::TABLE.iter().flat_map(|flag| [flag.name, flag.alias]).filter(|name| !name.is_empty());
        let summary = |name: &str| {
            let flag = table::find(name)?;
            Some(flag::summary(flag.name, flag.kind, flag.default, flag.help))
        };
        Exit::new(2, flag::explain(error, table::PROGRAM, names, summary))
    }

    /// Writes the message to standard output or to standard error.
    pub fn write(&self, out: &mut dyn Write, err: &mut dyn Write) -> io::Result<()> {
        match &self.message {
            ExitMessage::Stdout(text) => writeln!(out, "{text}")?,
            ExitMessage::Stderr(text) => writeln!(err, "{text}")?,
            ExitMessage::LogLine(text) => writeln!(err, "{}", log::line(log::PROCESS, text))?,
        }
        out.flush()?;
        err.flush()
    }
}
