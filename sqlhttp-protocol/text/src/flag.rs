//! Parses command-line flags in the syntax of Go's `flag` package.
//!
//! A flag is written `-name` or `--name`. Its value follows after `=` or in the next argument; the value of a boolean
//! flag can only follow after `=`. The flags end before the first argument that is not a flag. If Go's package has an
//! error for a mistake, the message is the same as in Go. The caller passes the table of known flags.

use std::time::Duration;

use crate::literal::{parse_bool, parse_int, parse_size, parse_uint};
use crate::{duration, spelling};

/// The type of the value of a flag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FlagKind {
    /// A boolean. The value is true if there is no `=`.
    Bool,
    /// An integer literal in Go's syntax ([`parse_int`]).
    Int,
    /// An integer literal in Go's syntax, without a sign ([`parse_uint`]).
    Uint,
    /// An integer literal in Go's syntax that is not negative.
    Count,
    /// Any text.
    Text,
    /// Any text. The flag may be repeated, and each of its values is used.
    List,
    /// A duration in Go's syntax that is not negative ([`duration::parse`]).
    Duration,
    /// A duration in Go's syntax, possibly negative ([`duration::parse_signed`]).
    SignedDuration,
    /// A number of bytes ([`parse_size`]).
    Size,
    /// One of the listed words.
    Choice(&'static [&'static str]),
}

/// The parsed value of a flag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// The value of a [`FlagKind::Bool`] flag.
    Bool(bool),
    /// The value of a [`FlagKind::Int`] or [`FlagKind::Count`] flag.
    Int(i64),
    /// The value of a [`FlagKind::Uint`] flag.
    Uint(u64),
    /// The value of a [`FlagKind::Text`], [`FlagKind::List`] or [`FlagKind::Choice`] flag.
    Text(String),
    /// The value of a [`FlagKind::Duration`] flag.
    Duration(Duration),
    /// The value of a [`FlagKind::SignedDuration`] flag, in nanoseconds.
    Nanos(i64),
    /// The value of a [`FlagKind::Size`] flag, in bytes.
    Size(u64),
}

/// The result of [`scan`], if the command line contains no mistake.
#[derive(Debug, PartialEq, Eq)]
pub enum Scanned<'a> {
    /// All flags were read. The list contains the arguments after the flags.
    Rest(&'a [String]),
    /// `-h` or `-help` was given, and the caller's table does not contain that flag.
    Help,
}

/// A mistake on the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FlagError {
    /// The error message. If Go's `flag` package has the same error, the message is the same as in Go.
    pub message: String,
    /// The name of the flag as it was typed, without dashes and value. Empty if the mistake does not concern a flag.
    pub name: String,
}

impl FlagError {
    /// Creates the error for a mistake that concerns the flag `name`. `name` is empty if the mistake does not concern a
    /// flag.
    pub fn new(name: &str, message: String) -> Self {
        FlagError { message, name: name.to_owned() }
    }
}

/// Reads the flags at the beginning of `arguments`. `kind_of` returns the kind of a flag, or `None` if there is no flag
/// with that name. `set` is called with the name and value of each flag, in order.
pub fn scan<'a>(
    arguments: &'a [String],
    kind_of: impl Fn(&str) -> Option<FlagKind>,
    mut set: impl FnMut(&str, Value),
) -> Result<Scanned<'a>, FlagError> {
    let mut words = arguments.iter();
    while let Some(word) = words.as_slice().first() {
        let Some(name) = flag_name(word)? else { break };
        words.next();
        let (name, attached) = split_value(name);
        let Some(kind) = kind_of(name) else {
            if matches!(name, "h" | "help") {
                return Ok(Scanned::Help);
            }
            return Err(FlagError::new(name, format!("flag provided but not defined: -{name}")));
        };
        let text = match (attached, kind) {
            (Some(text), _) => text,
            (None, FlagKind::Bool) => "true",
            (None, _) => {
                words.next().ok_or_else(|| FlagError::new(name, format!("flag needs an argument: -{name}")))?
            }
        };
        let value = parse_value(kind, text)
            .map_err(|why| FlagError::new(name, invalid(kind, text, &format!("flag -{name}"), &why)))?;
        set(name, value);
    }
    Ok(Scanned::Rest(match words.as_slice() {
        [dashes, rest @ ..] if dashes == "--" => rest,
        rest => rest,
    }))
}

/// Returns the text after the dashes of an argument. `None` if the argument is not a flag, so that the flags end before
/// it, or is `--`.
fn flag_name(word: &str) -> Result<Option<&str>, FlagError> {
    let Some(one) = word.strip_prefix('-').filter(|rest| !rest.is_empty()) else {
        return Ok(None);
    };
    let name = match one.strip_prefix('-') {
        Some("") => return Ok(None),
        Some(two) => two,
        None => one,
    };
    if name.starts_with(['-', '=']) {
        return Err(FlagError::new("", format!("bad flag syntax: {word}")));
    }
    Ok(Some(name))
}

fn split_value(name: &str) -> (&str, Option<&str>) {
    name.split_once('=').map_or((name, None), |(name, value)| (name, Some(value)))
}

/// Returns Go's error message for an invalid value. `place` says where the value `text` comes from: `flag -name`, or
/// another source such as an environment variable. `why` is the reason.
pub fn invalid(kind: FlagKind, text: &str, place: &str, why: &str) -> String {
    match kind {
        FlagKind::Bool => format!("invalid boolean value {text:?} for {}: {why}", place.trim_start_matches("flag ")),
        _ => format!("invalid value {text:?} for {place}: {why}"),
    }
}

/// Parses the value of a flag. The error is the reason why the value is invalid, which the caller passes to
/// [`invalid`].
pub fn parse_value(kind: FlagKind, text: &str) -> Result<Value, String> {
    let syntax = || "parse error".to_owned();
    let int = || parse_int(text).map_err(|error| error.to_string());
    match kind {
        FlagKind::Bool => parse_bool(text).map(Value::Bool).ok_or_else(syntax),
        FlagKind::Int => int().map(Value::Int),
        FlagKind::Uint => parse_uint(text).map(Value::Uint).map_err(|error| error.to_string()),
        FlagKind::Count => match int()? {
            negative if negative < 0 => Err("must not be negative".to_owned()),
            count => Ok(Value::Int(count)),
        },
        FlagKind::Text | FlagKind::List => Ok(Value::Text(text.to_owned())),
        FlagKind::Duration => duration::parse(text).map(Value::Duration).map_err(|_| syntax()),
        FlagKind::SignedDuration => duration::parse_signed(text).map(Value::Nanos).map_err(|_| syntax()),
        FlagKind::Size => parse_size(text).map(Value::Size).ok_or_else(syntax),
        FlagKind::Choice(words) if words.contains(&text) => Ok(Value::Text(text.to_owned())),
        FlagKind::Choice(words) => Err(format!("must be one of {}", words.join(", "))),
    }
}

/// Returns the two lines that describe a flag in the usage text of a program.
pub fn describe(name: &str, kind: FlagKind, default: &str, help: &str) -> String {
    format!("  -{name}{}\n    \t{help}{}\n", argument(kind), shown_default(kind, default))
}

/// Returns a description of a flag in one line.
pub fn summary(name: &str, kind: FlagKind, default: &str, help: &str) -> String {
    format!("-{name}{}: {help}{}", argument(kind), shown_default(kind, default))
}

/// Returns the lines that a program prints after a mistake on its command line:
///
/// * the error message
/// * the summary of the flag, or the name of a similar flag if there is no such flag
/// * how to get help
///
/// `flags` returns the names of all flags. `summary` returns the description of one flag in one line, or `None` if
/// there is no flag with that name.
pub fn explain(
    error: &FlagError,
    program: &str,
    flags: impl Iterator<Item = &'static str>,
    summary: impl Fn(&str) -> Option<String>,
) -> String {
    let help = format!("'{program} -help' lists all flags.");
    let about = match (error.name.as_str(), summary(&error.name)) {
        ("", _) => None,
        (_, Some(about)) => Some(about),
        (name, None) => spelling::nearest(name, flags).map(|flag| format!("Did you mean -{flag}?")),
    };
    let lines: Vec<String> = [Some(error.message.clone()), about, Some(help)].into_iter().flatten().collect();
    lines.join("\n")
}

fn argument(kind: FlagKind) -> String {
    match kind {
        FlagKind::Bool => String::new(),
        FlagKind::Int | FlagKind::Count => " int".to_owned(),
        FlagKind::Uint => " uint".to_owned(),
        FlagKind::Text => " string".to_owned(),
        FlagKind::List => " value".to_owned(),
        FlagKind::Duration | FlagKind::SignedDuration => " duration".to_owned(),
        FlagKind::Size => " size".to_owned(),
        FlagKind::Choice(words) => format!(" {}", words.join("|")),
    }
}

fn shown_default(kind: FlagKind, default: &str) -> String {
    match (default, kind) {
        ("" | "0" | "0s" | "false", _) => String::new(),
        (default, FlagKind::Text) => format!(" (default \"{default}\")"),
        (default, _) => format!(" (default {default})"),
    }
}
