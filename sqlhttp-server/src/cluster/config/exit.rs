//! The end of a process that does not start.

use std::io::{self, Write};

use sqlhttp_text::flag::{self, FlagError};

use super::table;
use crate::cluster::log;

/// Why the process ends before it starts, and what it says on standard error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exit {
    /// The process's exit status.
    pub code: u8,
    /// What it says.
    pub message: ExitMessage,
}

/// Last words, without the end of the last line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExitMessage {
    /// Written to standard output as they are: what was asked for.
    Stdout(String),
    /// Written as they are.
    Stderr(String),
    /// Written as a line of the log.
    LogLine(String),
}

impl Exit {
    pub(crate) fn new(code: u8, text: impl Into<String>) -> Self {
        Exit { code, message: ExitMessage::Stderr(text.into()) }
    }

    pub(crate) fn fatal(message: &str) -> Self {
        Exit::new(1, format!("fatal: {message}"))
    }

    pub(crate) fn usage(error: &FlagError) -> Self {
        let names = table::TABLE.iter().flat_map(|flag| [flag.name, flag.alias]).filter(|name| !name.is_empty());
        let summary = |name: &str| {
            let flag = table::find(name)?;
            Some(flag::summary(flag.name, flag.kind, flag.default, flag.help))
        };
        Exit::new(2, flag::explain(error, table::PROGRAM, names, summary))
    }

    /// Writes the words: an answer to standard output, all others to standard error.
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
