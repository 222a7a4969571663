//! Parses the command line of `sqlhttp-cluster`.

use std::ffi::OsString;

use sqlhttp_text::flag::{FlagError, Scanned, scan};

use super::exit::{Exit, ExitMessage};
use super::flag_values::FlagValues;
use super::types::ClusterConfig;
use super::{resolve, table, usage, validate};
use crate::process::generate;

/// Parses the command line, without the name of the program. Reads the current directory, to make the data directory
/// absolute, and checks the paths of SQLite extensions. Otherwise the result depends on the arguments alone.
pub fn parse(arguments: &[OsString]) -> Result<ClusterConfig, Exit> {
    if arguments.is_empty() {
        let text = "failed to parse command-line flags: missing required argument: DataPath";
        return Err(Exit { code: 1, message: ExitMessage::LogLine(text.to_owned()) });
    }
    let arguments = arguments.iter().map(utf8).collect::<Result<Vec<String>, Exit>>()?;
    let mut flags = FlagValues::default();
    let kind_of = |name: &str| table::find(name).map(|flag| flag.kind);
    let rest = match scan(&arguments, kind_of, |name, value| flags.set(name, value)) {
        Ok(Scanned::Rest(rest)) => rest,
        Ok(Scanned::Help) => {
            return Err(Exit { code: 0, message: ExitMessage::Stdout(usage::usage().trim_end().to_owned()) });
        }
        Err(error) => return Err(Exit::usage(&error)),
    };
    if let Some(text) = flags.text_opt(generate::FLAG).and_then(|kind| usage::generated(&kind)) {
        return Err(Exit { code: 0, message: ExitMessage::Stdout(text) });
    }
    if flags.bool("version") {
        return Err(Exit::new(0, usage::version()));
    }
    let data_dir = data_directory(rest)?;
    validate::validate(&flags).map_err(|message| Exit::fatal(&message))?;
    if let Some(message) = flags.first_unsupported() {
        return Err(Exit::fatal(&message));
    }
    resolve::resolve(&flags, data_dir).map_err(|message| Exit::fatal(&message))
}

fn utf8(word: &OsString) -> Result<String, Exit> {
    let text = word.to_str().map(str::to_owned);
    text.ok_or_else(|| {
        let message = format!("argument is not valid UTF-8: {}", word.to_string_lossy());
        Exit::usage(&FlagError::new("", message))
    })
}

/// Returns the data directory, which must be the only argument after the flags.
fn data_directory(words: &[String]) -> Result<&str, Exit> {
    match words {
        [] => Err(Exit::fatal("data directory path is required")),
        [directory] if directory.is_empty() => Err(Exit::fatal("data directory path is required")),
        [directory] => Ok(directory),
        [directory, more @ ..] => {
            let more = more.join(" ");
            Err(Exit::new(1, format!("arguments after data directory ({directory}) are not accepted ([{more}])")))
        }
    }
}
