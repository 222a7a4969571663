//! Where results are written: to standard output, a pager or a file.

use std::fs::File;
use std::io::{self, BufWriter, IsTerminal as _, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use unicode_width::UnicodeWidthStr as _;

/// The destination of results.
pub(crate) struct Output {
    target: Target,
}

enum Target {
    Stdout(BufWriter<io::Stdout>),
    File {
        path: PathBuf,
        writer: BufWriter<File>,
    },
    /// A result that fits on the screen until now.
    Screen(Vec<u8>),
    Pager(Child),
}

impl Output {
    pub(crate) fn stdout() -> Output {
        Output { target: stdout() }
    }

    /// Creates a file, and writes the results to it.
    ///
    /// # Errors
    /// The file cannot be created.
    pub(crate) fn file(path: PathBuf) -> io::Result<Output> {
        let writer = BufWriter::new(File::create(&path)?);
        Ok(Output { target: Target::File { path, writer } })
    }

    /// The path of the file, if the results are written to a file.
    pub(crate) fn path(&self) -> Option<&Path> {
        if let Target::File { path, .. } = &self.target { Some(path) } else { None }
    }

    /// Whether the results are shown by a pager now.
    pub(crate) fn is_paged(&self) -> bool {
        matches!(self.target, Target::Pager(_))
    }

    /// Begins a result. If it does not fit on the screen, a pager shows it.
    pub(crate) fn begin_paged(&mut self) {
        if matches!(self.target, Target::Stdout(_)) && io::stdout().is_terminal() {
            self.target = Target::Screen(Vec::new());
        }
    }

    /// Ends a result: writes what is held, and waits until the user leaves the pager.
    ///
    /// # Errors
    /// Writing fails.
    pub(crate) fn end(&mut self) -> io::Result<()> {
        match std::mem::replace(&mut self.target, stdout()) {
            Target::Screen(held) => self.write_all(&held)?,
            Target::Pager(mut child) => {
                drop(child.stdin.take());
                let status = child.wait()?;
                if !status.success() {
                    warn(&format!("the pager has failed ({status}); '.pager off' shows results without it"));
                }
            }
            target => self.target = target,
        }
        self.flush()
    }
}

fn stdout() -> Target {
    Target::Stdout(BufWriter::new(io::stdout()))
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.target {
            Target::Stdout(writer) => writer.write(bytes),
            Target::File { writer, .. } => writer.write(bytes),
            Target::Pager(child) => child.stdin.as_mut().map_or(Ok(bytes.len()), |stdin| stdin.write(bytes)),
            Target::Screen(held) => {
                held.extend_from_slice(bytes);
                if !fits(held, console::Term::stdout().size()) {
                    let held = std::mem::take(held);
                    self.target = start_pager().map_or_else(|_| stdout(), Target::Pager);
                    self.write_all(&held)?;
                }
                Ok(bytes.len())
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.target {
            Target::Stdout(writer) => writer.flush(),
            Target::File { writer, .. } => writer.flush(),
            Target::Pager(child) => child.stdin.as_mut().map_or(Ok(()), Write::flush),
            Target::Screen(_) => Ok(()),
        }
    }
}

/// Writes a line to standard error. If standard error cannot be written, the line is lost.
pub(crate) fn warn(message: &str) {
    let _ = writeln!(io::stderr(), "sqlhttp: {message}");
}

/// Whether a text fits on a screen of this many rows and columns, with a row for the prompt.
fn fits(text: &[u8], (rows, columns): (u16, u16)) -> bool {
    let text = String::from_utf8_lossy(text);
    text.lines().count() < usize::from(rows) && text.lines().all(|line| line.width() <= usize::from(columns))
}

/// Starts the pager that the environment names; the default is `less`, which ends by itself if the text fits on the
/// screen (F), shows colours (R), cuts long lines (S) and leaves the text on the screen (X). On Unix, a shell runs it.
fn start_pager() -> io::Result<Child> {
    let named = std::env::var("SQLHTTP_PAGER").or_else(|_| std::env::var("PAGER"));
    let pager = named.ok().filter(|name| !name.trim().is_empty()).unwrap_or_else(|| "less".to_owned());
    let mut command = if cfg!(windows) { Command::new(&pager) } else { Command::new("sh") };
    if cfg!(not(windows)) {
        command.args(["-c", &pager]);
    }
    if std::env::var_os("LESS").is_none() {
        command.env("LESS", "FRSX");
    }
    command.stdin(Stdio::piped()).spawn()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_fits_if_it_is_neither_long_nor_wide() {
        assert!(fits(b"ab\ncd\n", (3, 2)));
        assert!(!fits(b"ab\ncd\n", (2, 2)));
        assert!(!fits(b"ab\ncde\n", (3, 2)));
        assert!(fits("é".as_bytes(), (2, 1)));
    }
}
