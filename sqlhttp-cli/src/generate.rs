//! Prints the man page and the completions of shells, made from the definition of the command line.

use std::io::{self, Write};

use clap::{CommandFactory as _, ValueEnum};
use clap_complete::Shell;

use crate::args::Args;

/// What is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// A man page
    Man,
    /// Completions for bash
    Bash,
    /// Completions for zsh
    Zsh,
    /// Completions for fish
    Fish,
}

/// Prints a man page or completions.
///
/// # Errors
/// Writing fails.
pub(crate) fn print(kind: Kind, out: &mut dyn Write) -> io::Result<()> {
    let mut command = Args::command();
    let shell = match kind {
        Kind::Man => return clap_mangen::Man::new(command).render(out),
        Kind::Bash => Shell::Bash,
        Kind::Zsh => Shell::Zsh,
        Kind::Fish => Shell::Fish,
    };
    // The generator panics if writing fails.
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut command, "sqlhttp", &mut text);
    out.write_all(&text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_flag_occurs() {
        for kind in [Kind::Man, Kind::Bash, Kind::Zsh, Kind::Fish] {
            let mut out = Vec::new();
            print(kind, &mut out).unwrap();
            let text = String::from_utf8(out).unwrap().replace('\\', "");
            for argument in Args::command().get_arguments().filter_map(|argument| argument.get_long()) {
                assert!(text.contains(argument), "{kind:?} lacks {argument}");
            }
        }
    }
}
