//! Converts the JSON parameters of a statement to values. The JSON has been checked before: it is well-formed.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;

use serde::Deserializer as _;
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use sqlhttp_core::{Binding, Value};

use super::progress::Progress;
use super::text::without_lone_surrogates;
use crate::reply::Refusal;

/// Converts one JSON parameter of a statement and appends the result to `entries`. An object results in one named value
/// for each key, any other parameter in one value without a name.
pub(super) fn append(json: &str, entries: &mut Vec<Binding>, progress: &Progress) -> Result<(), Refusal> {
    if !json.starts_with('{') {
        progress.count_value()?;
        let value = value(json)?;
        entries.push(Binding { name: None, value });
        return Ok(());
    }
    let visitor = Named { progress, refusal: None };
    let named = serde_json::Deserializer::from_str(json).deserialize_map(visitor);
    entries.extend(last_wins(named.map_err(not_json)??));
    Ok(())
}

/// The visitor of a JSON object with named values. Collects the values in order.
struct Named<'p> {
    progress: &'p Progress,
    refusal: Option<Refusal>,
}

impl<'de> Visitor<'de> for Named<'_> {
    type Value = Result<Vec<Binding>, Refusal>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut entries = Vec::new();
        while let Some((name, json)) = map.next_entry::<&RawValue, &RawValue>()? {
            match self.progress.count_value().and_then(|()| named(name.get(), json.get())) {
                Ok(entry) => entries.push(entry),
                Err(refusal) => drop(self.refusal.get_or_insert(refusal)),
            }
        }
        Ok(self.refusal.map_or(Ok(entries), Err))
    }
}

fn named(name: &str, json: &str) -> Result<Binding, Refusal> {
    let name = string(name)?;
    Ok(Binding {
        // A value with an empty name is bound by its position in the list.
        name: (!name.is_empty()).then(|| name.into()),
        value: value(json)?,
    })
}

/// Removes duplicate names. Only the last value of a name is kept, at the position of the first one.
fn last_wins(entries: Vec<Binding>) -> Vec<Binding> {
    // For few names, comparing all pairs costs less than hashing.
    let few = entries.len() <= 16;
    let mut places: HashMap<Option<Box<str>>, usize> = HashMap::new();
    let mut kept: Vec<Binding> = Vec::with_capacity(entries.len());
    for entry in entries {
        let place = if few {
            kept.iter().position(|other| other.name == entry.name).unwrap_or(kept.len())
        } else {
            *places.entry(entry.name.clone()).or_insert(kept.len())
        };
        match kept.get_mut(place) {
            Some(earlier) => *earlier = entry,
            None => kept.push(entry),
        }
    }
    kept
}

fn value(json: &str) -> Result<Value, Refusal> {
    match json.as_bytes().first() {
        Some(b'n') => Ok(Value::Null),
        Some(b't') => Ok(Value::Integer(1)),
        Some(b'f') => Ok(Value::Integer(0)),
        Some(b'"') => string(json).map(text_or_blob),
        Some(b'[') => bytes(json).map(Value::Blob),
        Some(b'{') => Err(unsupported(json)),
        _ => number(json),
    }
}

fn number(json: &str) -> Result<Value, Refusal> {
    if let Ok(integer) = json.parse() {
        return Ok(Value::Integer(integer));
    }
    match json.parse::<f64>() {
        Ok(real) if real.is_finite() => Ok(Value::Real(real)),
        _ => Err(Refusal::text(400, format!("invalid number {json}"))),
    }
}

fn string(json: &str) -> Result<Cow<'_, str>, Refusal> {
    let plain = json.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    if let Some(plain) = plain
        && !plain.contains('\\')
    {
        return Ok(Cow::Borrowed(plain));
    }
    let unescaped: Result<String, _> = match without_lone_surrogates(json) {
        Some(repaired) => serde_json::from_str(&repaired),
        None => serde_json::from_str(json),
    };
    unescaped.map(Cow::Owned).map_err(not_json)
}

/// Converts a string of the form `x'0aff'` to the BLOB with these bytes, and any other string to a TEXT value.
fn text_or_blob(text: Cow<'_, str>) -> Value {
    spelled_bytes(&text).map_or_else(|| Value::Text(text.into_owned()), Value::Blob)
}

/// Returns the bytes that a string of the form `x'0aff'` spells, ignoring white space around it. `None` for any other
/// string.
pub(crate) fn spelled_bytes(text: &str) -> Option<Vec<u8>> {
    let digits = text.trim().strip_prefix(['x', 'X'])?.strip_prefix('\'')?.strip_suffix('\'')?;
    let (pairs, odd) = digits.as_bytes().as_chunks::<2>();
    if !odd.is_empty() {
        return None;
    }
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let byte = |&[high, low]: &[u8; 2]| u8::try_from(digit(high)? << 4 | digit(low)?).ok();
    pairs.iter().map(byte).collect()
}

fn bytes(json: &str) -> Result<Vec<u8>, Refusal> {
    let bytes = serde_json::Deserializer::from_str(json).deserialize_seq(Bytes);
    bytes.map_err(not_json)?
}

/// The visitor of a JSON array whose elements are bytes.
struct Bytes;

impl<'de> Visitor<'de> for Bytes {
    type Value = Result<Vec<u8>, Refusal>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut bytes = Vec::new();
        let mut refusal = None;
        while let Some(json) = seq.next_element::<&RawValue>()? {
            match json.get().parse::<i64>().ok().and_then(|number| u8::try_from(number).ok()) {
                Some(byte) => bytes.push(byte),
                None => drop(refusal.get_or_insert_with(|| unsupported(json.get()))),
            }
        }
        Ok(refusal.map_or(Ok(bytes), Err))
    }
}

/// Returns the refusal of a JSON value that cannot be bound. Like rqlite's, the message contains the number as written,
/// or the Go type of a value that is not a number.
fn unsupported(json: &str) -> Refusal {
    let kind = match json.as_bytes().first() {
        Some(b'"') => "string",
        Some(b't' | b'f') => "bool",
        Some(b'n') => "<nil>",
        Some(b'[') => "[]interface {}",
        Some(b'{') => "map[string]interface {}",
        _ => json,
    };
    Refusal::text(400, format!("unsupported type {kind}"))
}

/// Converts an error of serde to a refusal. The error does not occur, because the JSON is well-formed.
fn not_json(_: serde_json::Error) -> Refusal {
    Refusal::invalid_json()
}
