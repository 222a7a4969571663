//! Writes the output of the start to standard output and standard error.

use std::io::Write;

use chrono::Local;

use crate::standalone::messages;

/// The streams to which the start of the server writes its messages.
pub struct Console<'a> {
    /// Standard output.
    pub out: &'a mut dyn Write,
    /// Standard error.
    pub err: &'a mut dyn Write,
}

impl Console<'_> {
    // Errors of writing are ignored in all methods: a closed standard output must not prevent the server from serving.

    /// Prints a line to standard output.
    pub(super) fn print(&mut self, line: &str) {
        let _ = writeln!(self.out, "{line}").and_then(|()| self.out.flush());
    }

    /// Prints a log line to standard output, where it appears among the other lines of the start.
    pub(super) fn print_log(&mut self, level: &str, message: &str) {
        self.print(&messages::log_line(level, Local::now(), message));
    }

    /// Writes a log line to standard error.
    pub(super) fn log(&mut self, level: &str, message: &str) {
        let line = messages::log_line(level, Local::now(), message);
        let _ = writeln!(self.err, "{line}").and_then(|()| self.err.flush());
    }

    /// Writes a log line with the reason for which the process ends to standard error.
    pub fn fatal(&mut self, message: &str) {
        self.log("FATAL", message);
    }

    /// Prints the address on which the server listens, which is the last line of a start.
    pub fn listening(&mut self, host: &str, port: u16) {
        self.print(&format!("- Web Service listening on {}", messages::address(host, port)));
    }
}

impl std::fmt::Debug for Console<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Console")
    }
}
