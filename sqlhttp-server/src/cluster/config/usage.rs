//! The usage text, in the layout of Go's `flag` package, the version, the man page and the completion scripts.

use std::fmt::Write as _;

use sqlhttp_text::flag;

use super::table::{Flag, PROGRAM, Support, TABLE};
use crate::process::generate::{Candidates, FlagEntry, Program, generate};

/// What the program does, for the usage text and the man page.
const ABOUT: &str = "replicates an SQLite database with Raft and serves it over HTTP";

/// The heading of the flags that rqlited does not have.
const EXTENSIONS: &str = "Flags that rqlited does not have";

/// The text about all flags, which follows after their descriptions.
const NOTES: &str = "Durations are written like 250ms, 10s, 1m30s; sizes in bytes or like 64KiB, 16MiB. Switches take \
                     a value only\nafter an equals sign: -fk=false. Flags precede the data directory, which is \
                     created if it does not exist.\n";

/// Returns the usage text: the flags of rqlited, and then the flags that rqlited does not have, each sorted by name.
pub(crate) fn usage() -> String {
    let mut text = format!("{PROGRAM} {ABOUT}.\n\nUsage: {PROGRAM} [flags] <data directory>\n");
    let is_extension = |flag: &&Flag| flag.support == Support::Extension;
    describe_all(TABLE.iter().filter(|flag| !is_extension(flag)), &mut text);
    let _ = write!(text, "\n{EXTENSIONS}:\n");
    describe_all(TABLE.iter().filter(is_extension), &mut text);
    let _ = write!(text, "\n{NOTES}");
    text
}

fn describe_all<'a>(flags: impl Iterator<Item = &'a Flag>, text: &mut String) {
    let mut flags: Vec<&Flag> = flags.collect();
    flags.sort_by_key(|flag| flag.name);
    for flag in flags {
        text.push_str(&flag::describe(flag.name, flag.kind, flag.default, &help(flag)));
    }
}

fn help(flag: &Flag) -> String {
    let mut help = flag.help.to_owned();
    let _ = match flag.support {
        Support::Extension if !flag.alias.is_empty() => write!(help, "; also -{}", flag.alias),
        Support::Supported | Support::Extension => Ok(()),
        Support::Ignored(why) => write!(help, " (no effect: {why})"),
        Support::NotYet => write!(help, " (not supported yet)"),
        Support::Only { values, .. } => write!(help, " (supported for now: {})", values.join(", ")),
    };
    help
}

/// Returns the man page or the completion script that `-generate` requests with this value, without the final line
/// feed; `None` if there is no text of this kind.
pub(crate) fn generated(kind: &str) -> Option<String> {
    let flags = TABLE.iter().map(entry).collect();
    let data_directory = Some("Directory with all data of the node");
    generate(kind, Program { name: PROGRAM, about: ABOUT, notes: NOTES, flags, data_directory })
}

fn entry(flag: &Flag) -> FlagEntry {
    let candidates = match flag.support {
        Support::Only { values, .. } => Candidates::Words(values),
        _ => flag.candidates,
    };
    FlagEntry {
        name: flag.name,
        kind: flag.kind,
        default: flag.default,
        help: help(flag),
        candidates,
        variable: None,
        heading: (flag.support == Support::Extension).then_some(EXTENSIONS),
    }
}

/// Returns the line that `-version` prints, without the line feed. Tools parse this line by the positions of its
/// words. Therefore `rustc` stands where rqlited names Go's compiler.
pub(crate) fn version() -> String {
    let (version, sqlite) = (env!("CARGO_PKG_VERSION"), sqlhttp_core::sqlite_version());
    format!("{PROGRAM} v{version} {} {} rustc sqlite{sqlite} (commit unknown, compiler rustc)", os(), architecture())
}

/// Returns Go's name for this operating system (the value of `GOOS`), such as `darwin` for macOS.
fn os() -> &'static str {
    match std::env::consts::OS {
        "macos" => "darwin",
        other => other,
    }
}

/// Returns the name of the processor architecture in Go.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        other => other,
    }
}
