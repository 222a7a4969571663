//! The output of a start.

use std::io::Write;

use chrono::Local;

use crate::standalone::messages;

/// Where a start tells how it goes.
pub struct Console<'a> {
    /// Standard output.
    pub out: &'a mut dyn Write,
    /// Standard error.
    pub err: &'a mut dyn Write,
}

impl Console<'_> {
    // That nobody reads what we print is no reason not to serve.

    pub(super) fn print(&mut self, line: &str) {
        let _ = writeln!(self.out, "{line}").and_then(|()| self.out.flush());
    }

    pub(super) fn print_log(&mut self, level: &str, message: &str) {
        self.print(&messages::log_line(level, Local::now(), message));
    }

    pub(super) fn log(&mut self, level: &str, message: &str) {
        let line = messages::log_line(level, Local::now(), message);
        let _ = writeln!(self.err, "{line}").and_then(|()| self.err.flush());
    }

    /// Tells why the process ends.
    pub fn fatal(&mut self, message: &str) {
        self.log("FATAL", message);
    }

    /// Tells where the service can be reached.
    pub fn listening(&mut self, host: &str, port: u16) {
        self.print(&format!("- Web Service listening on {}", messages::address(host, port)));
    }
}

impl std::fmt::Debug for Console<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Console")
    }
}
