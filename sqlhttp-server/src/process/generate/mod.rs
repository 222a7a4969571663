//! The man page and the shell completion scripts of a program, which the flag `-generate` prints.
//!
//! The caller converts its table of flags to a [`Program`]. [`generate`] converts the program to a [`clap::Command`],
//! from which clap_mangen and clap_complete generate the text. The programs do not parse their command lines with clap.

use clap::builder::PossibleValuesParser;
use clap::{Arg, ArgAction, Command, ValueHint};
use clap_complete::Shell;
use clap_mangen::Man;
use sqlhttp_text::flag::FlagKind;

/// The name of the flag that requests a generated text.
pub(crate) const FLAG: &str = "generate";

/// The type of the flag [`FLAG`]: the kinds of generated texts.
pub(crate) const KINDS: FlagKind = FlagKind::Choice(&["man", "bash", "zsh", "fish"]);

/// The description of the flag [`FLAG`] in the usage text.
pub(crate) const HELP: &str = "Print the man page or the completion script of a shell, and exit";

/// The values that a shell offers for a flag. The values of a [`FlagKind::Choice`] flag are offered in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Candidates {
    /// No values.
    None,
    /// The paths of files.
    Files,
    /// The paths of directories.
    Directories,
    /// These words. A default value must be one of them.
    Words(&'static [&'static str]),
}

/// The description of a flag.
#[derive(Debug)]
pub(crate) struct FlagEntry {
    /// The name of the flag, without dashes.
    pub(crate) name: &'static str,
    /// The type of the flag's value.
    pub(crate) kind: FlagKind,
    /// The default value of the flag, as on the command line; empty if there is none.
    pub(crate) default: &'static str,
    /// The description of the flag, without a final full stop.
    pub(crate) help: String,
    /// The values that a shell offers.
    pub(crate) candidates: Candidates,
    /// The environment variable that also sets the flag; `None` if there is none.
    pub(crate) variable: Option<String>,
    /// The heading of the section of the man page that contains the flag; `None` for the section OPTIONS.
    pub(crate) heading: Option<&'static str>,
}

/// The description of a program and its command line.
#[derive(Debug)]
pub(crate) struct Program {
    /// The name of the program.
    pub(crate) name: &'static str,
    /// What the program does: the rest of a sentence that begins with its name, without a full stop.
    pub(crate) about: &'static str,
    /// Further sentences for the man page. They may contain line breaks.
    pub(crate) notes: &'static str,
    /// The flags, in the order of the man page.
    pub(crate) flags: Vec<FlagEntry>,
    /// The description of the data directory, which follows after the flags; `None` if the program has no such
    /// argument.
    pub(crate) data_directory: Option<&'static str>,
}

/// Returns the generated text of this kind, without the final line feed; `None` if there is no such kind.
pub(crate) fn generate(kind: &str, program: Program) -> Option<String> {
    let mut text = match kind {
        "man" => man_page(command(program)),
        "bash" => script(Shell::Bash, program),
        "zsh" => script(Shell::Zsh, program),
        "fish" => script(Shell::Fish, program),
        _ => return None,
    };
    text.truncate(text.trim_end().len());
    Some(text)
}

fn man_page(command: Command) -> String {
    let mut page = Vec::new();
    // A write to a vector does not fail.
    let _ = Man::new(command).render(&mut page);
    String::from_utf8_lossy(&page).into_owned()
}

fn script(shell: Shell, program: Program) -> String {
    let (name, mut script) = (program.name, Vec::new());
    clap_complete::generate(shell, &mut command(program), name, &mut script);
    String::from_utf8_lossy(&script).into_owned()
}

fn command(program: Program) -> Command {
    let Program { name, about, notes, flags, data_directory } = program;
    let operand = if data_directory.is_some() { " <data directory>" } else { "" };
    Command::new(name)
        .about(about)
        .long_about(format!("{name} {about}.\n\n{notes}\nEach flag may be written -name or --name."))
        .override_usage(format!("{name} [flags]{operand}"))
        .version(env!("CARGO_PKG_VERSION"))
        // The flag -version is in the table. clap's description of -help says that -h prints a shorter text.
        .disable_version_flag(true)
        .disable_help_flag(true)
        .arg(Arg::new("help").short('h').long("help").help("Print all flags and exit").action(ArgAction::SetTrue))
        .args(flags.into_iter().map(flag))
        .args(data_directory.map(directory))
}

fn directory(help: &'static str) -> Arg {
    Arg::new("data directory").value_name("data directory").help(help).value_hint(ValueHint::DirPath).required(true)
}

fn flag(flag: FlagEntry) -> Arg {
    let help = match (flag.kind, flag.default) {
        (FlagKind::Bool, "true") => format!("{} (default true)", flag.help),
        _ => flag.help.clone(),
    };
    let arg = Arg::new(flag.name).long(flag.name).help(help.clone()).help_heading(flag.heading);
    // clap_mangen prefers the long help. The completion scripts contain the short one.
    let arg = match &flag.variable {
        Some(variable) => arg.long_help(format!("{help}. Environment variable: {variable}")),
        None => arg,
    };
    match flag.kind {
        FlagKind::Bool => arg.action(ArgAction::SetTrue),
        FlagKind::List => with_value(arg, &flag).action(ArgAction::Append),
        _ => with_value(arg, &flag).action(ArgAction::Set),
    }
}

/// Adds the name, the default and the candidates of the value of a flag.
fn with_value(arg: Arg, flag: &FlagEntry) -> Arg {
    let candidates = match flag.kind {
        FlagKind::Choice(words) => Candidates::Words(words),
        _ => flag.candidates,
    };
    let arg = arg.value_name(value_name(flag.kind, candidates));
    let arg = if flag.default.is_empty() { arg } else { arg.default_value(flag.default) };
    match candidates {
        Candidates::None => arg.value_hint(ValueHint::Other),
        Candidates::Files => arg.value_hint(ValueHint::FilePath),
        Candidates::Directories => arg.value_hint(ValueHint::DirPath),
        Candidates::Words(words) => arg.value_parser(PossibleValuesParser::new(words)),
    }
}

/// Returns the name of a flag's value in the man page.
fn value_name(kind: FlagKind, candidates: Candidates) -> &'static str {
    match (kind, candidates) {
        (_, Candidates::Files) => "file",
        (_, Candidates::Directories) => "directory",
        (_, Candidates::Words(_)) => "word",
        (FlagKind::Int | FlagKind::Uint | FlagKind::Count, _) => "number",
        (FlagKind::Duration | FlagKind::SignedDuration, _) => "duration",
        (FlagKind::Size, _) => "size",
        (FlagKind::Bool | FlagKind::Text | FlagKind::List | FlagKind::Choice(_), _) => "value",
    }
}

#[cfg(test)]
pub(crate) mod tests;
