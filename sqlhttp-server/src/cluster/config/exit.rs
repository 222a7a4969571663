//! The message and the exit status of a process that does not start.

use std::io::{self, Write};

use sqlhttp_text::flag::{self, FlagError};

use super::table;
use crate::cluster::log;

/// The end of a process that does not start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exit {
    /// The exit status of the process.
    pub code: u8,
    /// The last message of the process.
    pub message: ExitMessage,
}

/// The last message of a process, without the final line feed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExitMessage {
    /// A text for standard output, which the command line has requested.
    Stdout(String),
    /// A text for standard error.
    Stderr(String),
    /// The text of a log line.
    LogLine(String),
}

impl Exit {
    /// Makes an exit with a text for standard error.
    pub(crate) fn new(code: u8, text: impl Into<String>) -> Self {
        Exit { code, message: ExitMessage::Stderr(text.into()) }
    }

    /// Makes an exit because of an invalid command line, in rqlited's format.
    pub(crate) fn fatal(message: &str) -> Self {
        Exit::new(1, format!("fatal: {message}"))
    }

    /// Makes an exit because of an invalid flag, with a hint.
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
