//! The serde visitors of parameter values: of `values`, and of the elements of `valuesBatch`.

use std::collections::{HashMap, HashSet};
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use sqlhttp_core::{BindRule, Binding, Bindings, Failure, Value};

use crate::call::Values;

/// The way in which JSON numbers are parsed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Numbers {
    /// serde_json parses the numbers. It rejects the whole body if a number is out of the range of a double.
    Native,
    /// Each number is parsed separately from its JSON text. A number out of the range of a double then fails only the
    /// query or statement that contains it.
    Checked,
}

/// Returns whether the parser rejected a number out of the range of a double, such as `1e400`.
pub(super) fn is_out_of_range(error: &serde_json::Error) -> bool {
    error.to_string().starts_with("number out of range")
}

/// The visitor of one set of parameter values. Returns `None` for `null`.
#[derive(Clone, Copy)]
pub(super) struct ValuesSeed(pub(super) Numbers);

impl<'de> DeserializeSeed<'de> for ValuesSeed {
    type Value = Option<Values>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        match self.0 {
            Numbers::Native => deserializer.deserialize_any(self),
            Numbers::Checked => {
                let raw = <&RawValue as serde::Deserialize>::deserialize(deserializer)?.get();
                if !raw.starts_with(['[', '{', 'n']) {
                    return Ok(Some(Err(no_container())));
                }
                serde_json::Deserializer::from_str(raw).deserialize_any(self).map_err(D::Error::custom)
            }
        }
    }
}

impl<'de> Visitor<'de> for ValuesSeed {
    type Value = Option<Values>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array or an object of values")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(Some(Err(no_container())))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(Some(Err(no_container())))
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
        Ok(Some(Err(no_container())))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(Some(Err(no_container())))
    }

    fn visit_str<E>(self, _: &str) -> Result<Self::Value, E> {
        Ok(Some(Err(no_container())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut set = Set::default();
        while let Some(scalar) = seq.next_element_seed(ScalarSeed(self.0))? {
            set.push(None, scalar);
        }
        Ok(Some(set.finish()))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut set = Set::default();
        while let Some(name) = map.next_key::<Box<str>>()? {
            let scalar = map.next_value_seed(ScalarSeed(self.0))?;
            set.push(Some(name), scalar);
        }
        set.entries = last_wins(set.entries);
        Ok(Some(set.finish()))
    }
}

/// A set of parameter values that is being decoded.
#[derive(Default)]
struct Set {
    entries: Vec<Binding>,
    beyond_double: Option<Failure>,
    no_scalar: Option<Failure>,
}

impl Set {
    fn push(&mut self, name: Option<Box<str>>, scalar: Scalar) {
        let value = match scalar {
            Scalar::Value(value) => value,
            Scalar::BeyondDouble(text) => {
                self.beyond_double.get_or_insert_with(|| beyond_double(&text));
                Value::Null
            }
            Scalar::Container(kind) => {
                let position = self.entries.len() + 1;
                self.no_scalar.get_or_insert_with(|| no_scalar(name.as_deref(), position, kind));
                Value::Null
            }
        };
        self.entries.push(Binding { name, value });
    }

    /// Returns the values, or the failure if one of them cannot be bound. If the set contains both a number out of the
    /// range of a double and an array or object, the number is reported, whichever comes first.
    fn finish(self) -> Values {
        match self.beyond_double.or(self.no_scalar) {
            Some(failure) => Err(failure),
            None => Ok(Bindings { entries: self.entries, rule: BindRule::Strict }),
        }
    }
}

/// Removes duplicate names. Only the last value of a name is kept, at the position of the first one.
fn last_wins(entries: Vec<Binding>) -> Vec<Binding> {
    if !has_duplicates(&entries) {
        return entries;
    }
    let mut places: HashMap<Box<str>, usize> = HashMap::new();
    let mut kept: Vec<Binding> = Vec::with_capacity(entries.len());
    for entry in entries {
        let name = entry.name.clone().unwrap_or_default();
        let place = *places.entry(name).or_insert(kept.len());
        match kept.get_mut(place) {
            Some(earlier) => *earlier = entry,
            None => kept.push(entry),
        }
    }
    kept
}

fn has_duplicates(entries: &[Binding]) -> bool {
    // For few names, comparing all pairs costs less than hashing.
    if entries.len() <= 16 {
        return entries.iter().enumerate().any(|(i, entry)| entries[..i].iter().any(|other| other.name == entry.name));
    }
    let mut seen = HashSet::with_capacity(entries.len());
    !entries.iter().all(|entry| seen.insert(&entry.name))
}

/// The JSON value of one parameter.
enum Scalar {
    Value(Value),
    /// A number out of the range of a double. The string is its JSON text.
    BeyondDouble(String),
    /// An array or object, which cannot be bound. The string describes it in the words of ws4sqlite's error message.
    Container(&'static str),
}

#[derive(Clone, Copy)]
struct ScalarSeed(Numbers);

impl<'de> DeserializeSeed<'de> for ScalarSeed {
    type Value = Scalar;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Scalar, D::Error> {
        match self.0 {
            Numbers::Native => deserializer.deserialize_any(self),
            Numbers::Checked => {
                let raw = <&RawValue as serde::Deserialize>::deserialize(deserializer)?.get();
                match serde_json::Deserializer::from_str(raw).deserialize_any(self) {
                    Err(error) if is_out_of_range(&error) => Ok(Scalar::BeyondDouble(raw.to_owned())),
                    scalar => scalar.map_err(D::Error::custom),
                }
            }
        }
    }
}

impl<'de> Visitor<'de> for ScalarSeed {
    type Value = Scalar;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Scalar, E> {
        Ok(Scalar::Value(Value::Null))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Scalar, E> {
        Ok(Scalar::Value(Value::Integer(value.into())))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Scalar, E> {
        Ok(Scalar::Value(Value::Integer(value)))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Scalar, E> {
        Ok(Scalar::Value(i64::try_from(value).map_or(Value::Real(value as f64), Value::Integer)))
    }

    // This method is also called for `-0`. Clients written in Go write the double -0 as `-0`, so it becomes a REAL
    // rather than an INTEGER.
    fn visit_f64<E>(self, value: f64) -> Result<Scalar, E> {
        Ok(Scalar::Value(Value::Real(value)))
    }

    fn visit_str<E>(self, value: &str) -> Result<Scalar, E> {
        Ok(Scalar::Value(Value::Text(value.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Scalar, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Scalar::Container("[]interface {}, a slice of interface"))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Scalar, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Scalar::Container("map[string]interface {}, a map"))
    }
}

fn no_container() -> Failure {
    failure("values should be an array or an object".to_owned())
}

fn beyond_double(text: &str) -> Failure {
    failure(format!("json: cannot unmarshal number {text} into Go value of type float64"))
}

fn no_scalar(name: Option<&str>, position: usize, kind: &str) -> Failure {
    let argument = name.map_or_else(|| format!("${position}"), |name| format!("with name {name:?}"));
    failure(format!("sql: converting argument {argument} type: unsupported type {kind}"))
}

/// Returns a failure with status 500. Like ws4sqlite, this server uses 500 rather than 400 for values that cannot be
/// bound.
fn failure(message: String) -> Failure {
    Failure::Protocol { status: 500, message }
}
