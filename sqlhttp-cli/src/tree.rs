//! Writes a JSON object as an indented tree.

use std::io::{self, Write};

use serde_json::Value;

/// A JSON object.
pub(crate) type Object = serde_json::Map<String, Value>;

/// Writes `key: value` lines, with the keys in alphabetical order. Null values are left out.
pub(crate) fn write(out: &mut dyn Write, object: &Object) -> io::Result<()> {
    write_at(out, object, 0)
}

fn write_at(out: &mut dyn Write, object: &Object, depth: usize) -> io::Result<()> {
    let mut fields: Vec<_> = object.iter().filter(|(_, value)| !value.is_null()).collect();
    fields.sort_by_key(|(name, _)| *name);
    let indent = 2 * depth;
    for (name, value) in fields {
        match value {
            Value::Object(inner) => {
                writeln!(out, "{:indent$}{name}:", "")?;
                write_at(out, inner, depth + 1)?;
            }
            value => writeln!(out, "{:indent$}{name}: {}", "", text(value))?,
        }
    }
    Ok(())
}

/// Returns a value without quotes. The elements of an array are separated by spaces: `[a b]`.
fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(values) => format!("[{}]", values.iter().map(text).collect::<Vec<_>>().join(" ")),
        value => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_indented_and_sorted() {
        let value = serde_json::json!({"b": {"d": [1, "x"], "c": null, "a": true}, "a": "text", "z": 1048576});
        let mut out = Vec::new();
        write(&mut out, value.as_object().unwrap()).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "a: text\nb:\n  a: true\n  d: [1 x]\nz: 1048576\n");
    }
}
