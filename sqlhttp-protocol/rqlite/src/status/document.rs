//! Encodes a JSON document of which a client may request only a part.

use serde::Serialize as _;
use serde_json::ser::PrettyFormatter;
use serde_json::{Serializer, Value, json};

/// Encodes a document, indented by four spaces if `pretty`. If `key` is not empty, encodes only the value at the path
/// `key`, and always compactly.
pub(super) fn encode(document: &Value, pretty: bool, key: &str) -> Vec<u8> {
    match key {
        "" => write(document, pretty),
        key => write(pick(document, key), false),
    }
}

/// Returns the value at a path of names separated by periods. If the path leads to a value that is not an object, the
/// rest of the path is ignored and that value is returned. If a name does not exist, an empty object is returned.
fn pick<'v>(document: &'v Value, key: &str) -> &'v Value {
    static NOTHING: std::sync::LazyLock<Value> = std::sync::LazyLock::new(|| json!({}));
    let mut value = document;
    for name in key.split('.') {
        let Some(object) = value.as_object() else { return value };
        let Some(found) = object.get(name) else { return &NOTHING };
        value = found;
    }
    value
}

/// Encodes a value as JSON. The errors of serde are ignored, because encoding JSON into memory cannot fail.
fn write(value: &Value, pretty: bool) -> Vec<u8> {
    if !pretty {
        return serde_json::to_vec(value).unwrap_or_default();
    }
    let mut out = Vec::new();
    let _ = value.serialize(&mut Serializer::with_formatter(&mut out, PrettyFormatter::with_indent(b"    ")));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys() {
        let document = json!({ "a": { "b": { "c": 1 } }, "l": [1] });
        assert_eq!(pick(&document, "a.b"), &json!({ "c": 1 }));
        assert_eq!(pick(&document, "a.b.c"), &json!(1));
        assert_eq!(pick(&document, "a.b.c.d"), &json!(1));
        assert_eq!(pick(&document, "l.0"), &json!([1]));
        assert_eq!(pick(&document, "a.x"), &json!({}));
    }

    #[test]
    fn a_part_is_compact() {
        let document = json!({ "a": { "b": 1 } });
        assert_eq!(encode(&document, true, ""), b"{\n    \"a\": {\n        \"b\": 1\n    }\n}");
        assert_eq!(encode(&document, true, "a"), b"{\"b\":1}");
        assert_eq!(encode(&document, false, ""), b"{\"a\":{\"b\":1}}");
    }
}
