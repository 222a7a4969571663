//! The values of the flags: the given ones, and the defaults of the flags that are not given.

use std::collections::HashMap;
use std::time::Duration;

use sqlhttp_text::flag::{Value, parse_value};

use super::extensions::holds_extensions;
use super::table::{EXTENSIONS_PATH, Flag, Support, TABLE, find};

/// The values of the flags on the command line. A flag that is not given has its default value.
#[derive(Debug, Default)]
pub(crate) struct FlagValues {
    values: HashMap<&'static str, Value>,
}

/// The flags that have an effect only if the traffic between nodes is encrypted.
const NODE_TLS: [&str; 4] =
    ["node-no-verify", "node-verify-client", "node-verify-server-name", "node-verify-common-name"];

/// The reason for which the flags in [`NODE_TLS`] have no effect, for the log.
const NOT_ENCRYPTED: &str = "the traffic between nodes is not encrypted without -node-cert";

impl FlagValues {
    /// Sets the value of a flag. If a flag is given several times, the last value applies.
    pub(crate) fn set(&mut self, name: &str, value: Value) {
        if let Some(flag) = find(name) {
            self.values.insert(flag.name, value);
        }
    }

    /// Returns whether a flag was given on the command line.
    pub(crate) fn is_given(&self, name: &str) -> bool {
        self.values.contains_key(name)
    }

    /// Returns whether a flag is given with a value that differs from its default.
    pub(crate) fn is_changed(&self, name: &str) -> bool {
        find(name).is_some_and(|flag| self.differs(flag))
    }

    fn differs(&self, flag: &Flag) -> bool {
        self.values.get(flag.name).is_some_and(|value| Some(value) != default(flag).as_ref())
    }

    /// Returns the error of the first flag, in the order of the table, whose value requires a feature of rqlited that
    /// this program does not have yet; `None` if there is no such flag.
    pub(crate) fn first_unsupported(&self) -> Option<String> {
        let requires = |flag: &&Flag| match flag.support {
            Support::Supported | Support::Extension => false,
            Support::Ignored(_) => flag.name == EXTENSIONS_PATH && holds_extensions(&self.text(flag.name)),
            Support::NotYet => self.differs(flag),
            Support::Only { values, .. } => self.differs(flag) && !values.contains(&self.text(flag.name).as_str()),
        };
        TABLE.iter().find(requires).map(|flag| match flag.support {
            Support::Only { remedy, .. } => {
                format!("-{} {} is not supported yet: {remedy}", flag.name, self.text(flag.name))
            }
            _ => format!("-{} is not supported yet", flag.name),
        })
    }

    /// Returns the given flags that this program accepts but ignores, each with the reason.
    pub(crate) fn ignored(&self) -> Vec<(&'static str, &'static str)> {
        let encrypts = self.text_opt("node-cert").is_some();
        let reason = |flag: &'static Flag| match flag.support {
            Support::Ignored(why) if self.differs(flag) => Some((flag.name, why)),
            _ if self.differs(flag) && !encrypts && NODE_TLS.contains(&flag.name) => Some((flag.name, NOT_ENCRYPTED)),
            _ => None,
        };
        TABLE.iter().filter_map(reason).collect()
    }

    /// Returns the first flag, in the order of the table, with a negative duration; `None` if there is none.
    pub(crate) fn first_negative_duration(&self) -> Option<&'static str> {
        let negative = |flag: &&Flag| matches!(self.values.get(flag.name), Some(Value::Nanos(nanos)) if *nanos < 0);
        TABLE.iter().find(negative).map(|flag| flag.name)
    }

    fn get(&self, name: &str) -> Option<Value> {
        self.values.get(name).cloned().or_else(|| default(find(name)?))
    }

    /// Returns the value of a text flag or a choice flag.
    pub(crate) fn text(&self, name: &str) -> String {
        self.text_opt(name).unwrap_or_default()
    }

    /// Returns the value of a text flag or a choice flag; `None` if the value is empty.
    pub(crate) fn text_opt(&self, name: &str) -> Option<String> {
        match self.get(name) {
            Some(Value::Text(text)) if !text.is_empty() => Some(text),
            _ => None,
        }
    }

    /// Returns the value of a boolean flag.
    pub(crate) fn bool(&self, name: &str) -> bool {
        self.get(name) == Some(Value::Bool(true))
    }

    /// Returns the value of an integer flag.
    pub(crate) fn int(&self, name: &str) -> i64 {
        match self.get(name) {
            Some(Value::Int(value)) => value,
            _ => 0,
        }
    }

    /// Returns the value of a flag of any numeric kind; zero if it is negative.
    pub(crate) fn count(&self, name: &str) -> u64 {
        match self.get(name) {
            Some(Value::Int(value)) => u64::try_from(value).unwrap_or(0),
            Some(Value::Uint(value) | Value::Size(value)) => value,
            _ => 0,
        }
    }

    /// Returns the value of a duration flag; zero if it is negative.
    pub(crate) fn duration(&self, name: &str) -> Duration {
        match self.get(name) {
            Some(Value::Nanos(nanos)) => Duration::from_nanos(u64::try_from(nanos).unwrap_or(0)),
            Some(Value::Duration(duration)) => duration,
            _ => Duration::ZERO,
        }
    }

    /// Returns the value of a duration flag; `None` if it is zero or negative.
    pub(crate) fn duration_opt(&self, name: &str) -> Option<Duration> {
        Some(self.duration(name)).filter(|duration| !duration.is_zero())
    }
}

/// Returns the default value of a flag. The default value of a text flag without a default is empty.
fn default(flag: &Flag) -> Option<Value> {
    parse_value(flag.kind, flag.default).ok()
}
