//! What was flags: a value for each flag that was given, the default for the others.

use std::collections::HashMap;
use std::time::Duration;

use sqlhttp_text::flag::{Value, parse_value};

use super::extensions::holds_extensions;
use super::table::{EXTENSIONS_PATH, Flag, Support, TABLE, find};

/// What the command line says.
#[derive(Debug, Default)]
pub(crate) struct FlagValues {
    values: HashMap<&'static str, Value>,
}

impl FlagValues {
    /// Takes a flag's value; the last of several counts.
    pub(crate) fn set(&mut self, name: &str, value: Value) {
        if let Some(flag) = find(name) {
            self.values.insert(flag.name, value);
        }
    }

    /// Whether the flag was given at all.
    pub(crate) fn is_given(&self, name: &str) -> bool {
        self.values.contains_key(name)
    }

    /// Whether the flag has another value than its default.
    pub(crate) fn is_changed(&self, name: &str) -> bool {
        find(name).is_some_and(|flag| self.differs(flag))
    }

    fn differs(&self, flag: &Flag) -> bool {
        self.values.get(flag.name).is_some_and(|value| Some(value) != default(flag).as_ref())
    }

    /// The first flag whose value asks for what does not exist yet.
    pub(crate) fn first_unsupported(&self) -> Option<&'static str> {
        let asks = |flag: &&Flag| match flag.support {
            Support::Supported | Support::Extension => false,
            Support::Ignored(_) => flag.name == EXTENSIONS_PATH && holds_extensions(&self.text(flag.name)),
            Support::NotYet => self.differs(flag),
            Support::UpTo(max) => self.int(flag.name) > max,
        };
        TABLE.iter().find(asks).map(|flag| flag.name)
    }

    /// The flags that were given for nothing, and why.
    pub(crate) fn ignored(&self) -> Vec<(&'static str, &'static str)> {
        let reason = |flag: &'static Flag| match flag.support {
            Support::Ignored(why) if self.differs(flag) => Some((flag.name, why)),
            _ => None,
        };
        TABLE.iter().filter_map(reason).collect()
    }

    /// The first flag whose duration is negative.
    pub(crate) fn first_negative_duration(&self) -> Option<&'static str> {
        let negative = |flag: &&Flag| matches!(self.values.get(flag.name), Some(Value::Nanos(nanos)) if *nanos < 0);
        TABLE.iter().find(negative).map(|flag| flag.name)
    }

    fn get(&self, name: &str) -> Option<Value> {
        self.values.get(name).cloned().or_else(|| default(find(name)?))
    }

    /// A flag of kind text or choice.
    pub(crate) fn text(&self, name: &str) -> String {
        self.text_opt(name).unwrap_or_default()
    }

    /// The same, `None` when empty.
    pub(crate) fn text_opt(&self, name: &str) -> Option<String> {
        match self.get(name) {
            Some(Value::Text(text)) if !text.is_empty() => Some(text),
            _ => None,
        }
    }

    /// A flag of kind boolean.
    pub(crate) fn bool(&self, name: &str) -> bool {
        self.get(name) == Some(Value::Bool(true))
    }

    /// A flag of kind integer.
    pub(crate) fn int(&self, name: &str) -> i64 {
        match self.get(name) {
            Some(Value::Int(value)) => value,
            _ => 0,
        }
    }

    /// A flag of any kind of number; zero for what is negative.
    pub(crate) fn count(&self, name: &str) -> u64 {
        match self.get(name) {
            Some(Value::Int(value)) => u64::try_from(value).unwrap_or(0),
            Some(Value::Uint(value) | Value::Size(value)) => value,
            _ => 0,
        }
    }

    /// A flag of kind duration; zero for what is negative.
    pub(crate) fn duration(&self, name: &str) -> Duration {
        match self.get(name) {
            Some(Value::Nanos(nanos)) => Duration::from_nanos(u64::try_from(nanos).unwrap_or(0)),
            Some(Value::Duration(duration)) => duration,
            _ => Duration::ZERO,
        }
    }

    /// The same, `None` when zero.
    pub(crate) fn duration_opt(&self, name: &str) -> Option<Duration> {
        Some(self.duration(name)).filter(|duration| !duration.is_zero())
    }
}

/// Without a default of its own, text is empty.
fn default(flag: &Flag) -> Option<Value> {
    parse_value(flag.kind, flag.default).ok()
}
