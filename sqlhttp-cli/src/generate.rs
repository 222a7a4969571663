//! Prints the man page and the completions of shells, made from the definition of the command line.

use std::io::{self, Write};

use clap::{Command, CommandFactory as _, ValueEnum};
use clap_complete::Shell;

use crate::args::Args;

/// The text that `--generate` prints.
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
        Kind::Man => return clap_mangen::Man::new(with_subcommands_described(command)).render(out),
        Kind::Bash => Shell::Bash,
        Kind::Zsh => Shell::Zsh,
        Kind::Fish => Shell::Fish,
    };
    // The generator panics if writing fails.
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut command, "sqlhttp", &mut text);
    out.write_all(&text)
}

/// Returns the command with a text about its subcommands, so that one page describes all of them.
fn with_subcommands_described(mut command: Command) -> Command {
    command.build();
    let mut notes = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    for task in command.get_subcommands_mut() {
        for source in task.get_subcommands_mut() {
            let name = source.get_bin_name().unwrap_or_default().to_owned();
            notes += &format!("\n\n{}\n\n{}", name, source.render_long_help());
        }
    }
    let mut described = Args::command().after_help(notes);
    let names: Vec<String> = described.get_subcommands().map(|task| task.get_name().to_owned()).collect();
    for name in names {
        described = described.mut_subcommand(name, |task| task.hide(true));
    }
    described
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the long names of the flags of a command and of its subcommands.
    fn flags(command: &Command) -> Vec<String> {
        let own = command.get_arguments().filter_map(|argument| argument.get_long().map(str::to_owned));
        own.chain(command.get_subcommands().flat_map(flags)).collect()
    }

    #[test]
    fn each_flag_occurs() {
        assert!(flags(&Args::command()).contains(&"perform".to_owned()));
        for kind in [Kind::Man, Kind::Bash, Kind::Zsh, Kind::Fish] {
            let mut out = Vec::new();
            print(kind, &mut out).unwrap();
            let text = String::from_utf8(out).unwrap();
            // The commands of roff for fonts.
            let text =
                ["\\fB", "\\fI", "\\fR"].iter().fold(text, |text, font| text.replace(font, "")).replace('\\', "");
            let begin = if kind == Kind::Fish { "-l " } else { "--" };
            for flag in flags(&Args::command()) {
                let name = format!("{begin}{flag}");
                let mut places = text.match_indices(&name).map(|(at, found)| &text[at + found.len()..]);
                let ends = |rest: &str| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '-');
                assert!(places.any(ends), "{kind:?} lacks {flag}");
            }
        }
    }
}
