//! Command-line flags as Go's `flag` package reads them.
//!
//! Flags are written `-name` or `--name`. Values follow after `=` or in the next argument; the value of a boolean flag
//! only after `=`. The first argument that is not a flag ends them. Errors are worded as in Go where Go has the same
//! error. The table of flags belongs to the caller.

use std::time::Duration;

use crate::literal::{parse_bool, parse_int, parse_size, parse_uint};
use crate::{duration, spelling};

/// The type of a flag's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A boolean. Without `=`, the value is true.
    Bool,
    /// An integer literal of Go ([`parse_int`]).
    Int,
    /// An integer literal of Go without a sign ([`parse_uint`]).
    Uint,
    /// An integer literal of Go that is not negative.
    Count,
    /// Text.
    Text,
    /// Text. The flag may be repeated; all its values are used.
    List,
    /// A duration of Go that is not negative ([`duration::parse`]).
    Duration,
    /// A duration of Go ([`duration::parse_signed`]).
    SignedDuration,
    /// A number of bytes ([`parse_size`]).
    Size,
    /// One of these words.
    Choice(&'static [&'static str]),
}

/// The parsed value of a flag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// Of [`Kind::Bool`].
    Bool(bool),
    /// Of [`Kind::Int`] and [`Kind::Count`].
    Int(i64),
    /// Of [`Kind::Uint`].
    Uint(u64),
    /// Of [`Kind::Text`], [`Kind::List`] and [`Kind::Choice`].
    Text(String),
    /// Of [`Kind::Duration`].
    Duration(Duration),
    /// Of [`Kind::SignedDuration`], in nanoseconds.
    Nanos(i64),
    /// Of [`Kind::Size`], in bytes.
    Size(u64),
}

/// The result of [`scan`].
#[derive(Debug, PartialEq, Eq)]
pub enum Scanned<'a> {
    /// The flags have been read; these arguments follow them.
    Rest(&'a [String]),
    /// `-h` or `-help` was given, and the caller's table has no such flag.
    Help,
}

/// A mistake on the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FlagError {
    /// The message, worded as in Go where Go has the same error.
    pub message: String,
    /// The flag as it was typed, without dashes and value. Empty if the mistake is not about a flag.
    pub name: String,
}

impl FlagError {
    /// A mistake about the flag `name`, which may be empty.
    pub fn new(name: &str, message: String) -> Self {
        FlagError { message, name: name.to_owned() }
    }
}

/// Reads arguments until the flags end. `kind_of` returns the kind of a flag, `None` for an unknown name. `set` is
/// called with each flag's name and value, in their order.
pub fn scan<'a>(
    arguments: &'a [String],
    kind_of: impl Fn(&str) -> Option<Kind>,
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
            (None, Kind::Bool) => "true",
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

/// Returns the text after the dashes, or `None` if the flags end before this argument.
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

/// Returns Go's message about an invalid value. `place` is `flag -name`, or the name of another source of the value.
pub fn invalid(kind: Kind, text: &str, place: &str, why: &str) -> String {
    match kind {
        Kind::Bool => format!("invalid boolean value {text:?} for {}: {why}", place.trim_start_matches("flag ")),
        _ => format!("invalid value {text:?} for {place}: {why}"),
    }
}

/// Parses the value of a flag. The error is the reason, to be passed to [`invalid`].
pub fn parse_value(kind: Kind, text: &str) -> Result<Value, String> {
    let syntax = || "parse error".to_owned();
    let int = || parse_int(text).map_err(|error| error.to_string());
    match kind {
        Kind::Bool => parse_bool(text).map(Value::Bool).ok_or_else(syntax),
        Kind::Int => int().map(Value::Int),
        Kind::Uint => parse_uint(text).map(Value::Uint).map_err(|error| error.to_string()),
        Kind::Count => match int()? {
            negative if negative < 0 => Err("must not be negative".to_owned()),
            count => Ok(Value::Int(count)),
        },
        Kind::Text | Kind::List => Ok(Value::Text(text.to_owned())),
        Kind::Duration => duration::parse(text).map(Value::Duration).map_err(|_| syntax()),
        Kind::SignedDuration => duration::parse_signed(text).map(Value::Nanos).map_err(|_| syntax()),
        Kind::Size => parse_size(text).map(Value::Size).ok_or_else(syntax),
        Kind::Choice(words) if words.contains(&text) => Ok(Value::Text(text.to_owned())),
        Kind::Choice(words) => Err(format!("must be one of {}", words.join(", "))),
    }
}

/// Returns the two lines about a flag in a usage text.
pub fn describe(name: &str, kind: Kind, default: &str, help: &str) -> String {
    format!("  -{name}{}\n    \t{help}{}\n", argument(kind), shown_default(kind, default))
}

/// Describes a flag in one line.
pub fn summary(name: &str, kind: Kind, default: &str, help: &str) -> String {
    format!("-{name}{}: {help}{}", argument(kind), shown_default(kind, default))
}

/// Returns the lines that a program prints about a mistake on its command line: the mistake, a summary of the flag or
/// the name of a similar flag, and how to get help. `flags` are the names of all flags; `summary` returns the line
/// about one of them, `None` for an unknown name.
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

fn argument(kind: Kind) -> String {
    match kind {
        Kind::Bool => String::new(),
        Kind::Int | Kind::Count => " int".to_owned(),
        Kind::Uint => " uint".to_owned(),
        Kind::Text => " string".to_owned(),
        Kind::List => " value".to_owned(),
        Kind::Duration | Kind::SignedDuration => " duration".to_owned(),
        Kind::Size => " size".to_owned(),
        Kind::Choice(words) => format!(" {}", words.join("|")),
    }
}

fn shown_default(kind: Kind, default: &str) -> String {
    match (default, kind) {
        ("" | "0" | "0s" | "false", _) => String::new(),
        (default, Kind::Text) => format!(" (default \"{default}\")"),
        (default, _) => format!(" (default {default})"),
    }
}
