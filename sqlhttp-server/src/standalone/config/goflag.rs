//! Flags as Go's `flag` package reads them: `-name` and `--name`, values after `=` or a blank, booleans only with `=`,
//! nothing after the first word that is no flag. Errors are in Go's words where Go has some. Which flags there are is
//! the caller's business.

use std::time::Duration;

use super::literal::{IntError, parse_bool, parse_duration, parse_int, parse_signed_duration, parse_size, parse_uint};
use crate::standalone::messages;

/// What a flag takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Nothing, or a boolean after `=`.
    Bool,
    /// An integer literal of Go.
    Int,
    /// An integer literal of Go without a sign.
    Uint,
    /// An integer that must not be negative.
    Count,
    /// Text.
    Text,
    /// Text; the flag may be repeated, and all values count.
    List,
    /// A duration of Go that must not be negative.
    Duration,
    /// A duration of Go.
    SignedDuration,
    /// A number of bytes.
    Size,
    /// One of these words.
    Choice(&'static [&'static str]),
}

/// The value of a flag, as its kind says.
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

/// How the flags end.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Scanned<'a> {
    /// With these words behind them.
    Rest(&'a [String]),
    /// With `-h` or `-help`, which is not among the flags that the caller knows.
    Help,
}

/// A mistake on the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FlagError {
    /// The mistake, in Go's words where Go has some.
    pub message: String,
    /// The flag as it was typed, without dashes and value; empty if the word is no flag's name.
    pub name: String,
}

impl FlagError {
    pub(crate) fn new(name: &str, message: String) -> Self {
        FlagError { message, name: name.to_owned() }
    }
}

/// Reads words until the flags end. `kind_of` tells what a flag takes, `None` if there is none of that name; `set` is
/// given each flag's name and value, in order.
pub(crate) fn scan<'a>(
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

/// What stands behind the dashes; `None` when the flags end here.
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

/// Go's sentence about a value that does not fit. `place` is `flag -name` or another word for where it was given.
pub(crate) fn invalid(kind: Kind, text: &str, place: &str, why: &str) -> String {
    match kind {
        Kind::Bool => format!("invalid boolean value {text:?} for {}: {why}", place.trim_start_matches("flag ")),
        _ => format!("invalid value {text:?} for {place}: {why}"),
    }
}

/// Reads a value.
pub(crate) fn parse_value(kind: Kind, text: &str) -> Result<Value, String> {
    let syntax = || "parse error".to_owned();
    let int = || parse_int(text).map_err(int_error);
    match kind {
        Kind::Bool => parse_bool(text).map(Value::Bool).ok_or_else(syntax),
        Kind::Int => int().map(Value::Int),
        Kind::Uint => parse_uint(text).map(Value::Uint).map_err(int_error),
        Kind::Count => match int()? {
            negative if negative < 0 => Err("must not be negative".to_owned()),
            count => Ok(Value::Int(count)),
        },
        Kind::Text | Kind::List => Ok(Value::Text(text.to_owned())),
        Kind::Duration => parse_duration(text).map(Value::Duration).map_err(|_| syntax()),
        Kind::SignedDuration => parse_signed_duration(text).map(Value::Nanos).map_err(|_| syntax()),
        Kind::Size => parse_size(text).map(Value::Size).ok_or_else(syntax),
        Kind::Choice(words) if words.contains(&text) => Ok(Value::Text(text.to_owned())),
        Kind::Choice(words) => Err(format!("must be one of {}", words.join(", "))),
    }
}

fn int_error(error: IntError) -> String {
    match error {
        IntError::Syntax => "parse error".to_owned(),
        IntError::Range => "value out of range".to_owned(),
    }
}

/// A flag's two lines in a usage text.
pub(crate) fn describe(name: &str, kind: Kind, default: &str, help: &str) -> String {
    format!("  -{name}{}\n    \t{help}{}\n", argument(kind), shown_default(kind, default))
}

/// A flag in one line.
pub(crate) fn summary(name: &str, kind: Kind, default: &str, help: &str) -> String {
    format!("-{name}{}: {help}{}", argument(kind), shown_default(kind, default))
}

/// The lines that a program prints about a mistake on its command line: the mistake; the flag that it is about or that may have been
/// meant; where the help is. `flags` are the names of all flags, `summary` gives the line about one of them.
pub(crate) fn explain(
    error: &FlagError,
    program: &str,
    flags: impl Iterator<Item = &'static str>,
    summary: impl Fn(&str) -> Option<String>,
) -> String {
    let help = format!("'{program} -help' lists all flags.");
    let about = match (error.name.as_str(), summary(&error.name)) {
        ("", _) => None,
        (_, Some(about)) => Some(about),
        (name, None) => messages::nearest(name, flags).map(|flag| format!("Did you mean -{flag}?")),
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
