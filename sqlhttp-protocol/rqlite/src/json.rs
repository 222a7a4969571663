//! Writes JSON strings and the keys of JSON objects.

use sqlhttp_text::json::Escapes;
pub(crate) use sqlhttp_text::json::write_base64;

const ESCAPES: &Escapes = Escapes::GO_1_22;

/// Writes `text` as a JSON string. Only quotes, backslashes and control characters are escaped.
#[inline]
pub(crate) fn write_string(out: &mut Vec<u8>, text: &str) {
    ESCAPES.write_string(out, text);
}

/// Writes bytes as a JSON string. Each byte that is not part of valid UTF-8 is replaced with U+FFFD.
#[inline]
pub(crate) fn write_text(out: &mut Vec<u8>, bytes: &[u8]) {
    match std::str::from_utf8(bytes) {
        Ok(text) => write_string(out, text),
        Err(_) => write_broken(out, bytes),
    }
}

#[cold]
fn write_broken(out: &mut Vec<u8>, bytes: &[u8]) {
    out.push(b'"');
    for chunk in bytes.utf8_chunks() {
        ESCAPES.write_content(out, chunk.valid());
        for _ in chunk.invalid() {
            out.extend_from_slice("\u{fffd}".as_bytes());
        }
    }
    out.push(b'"');
}

/// Writes the key of the next member of a JSON object whose `{` is already in `out`. Unless it is the first member, a
/// comma is written before the key.
pub(crate) fn write_key(out: &mut Vec<u8>, key: &str) {
    if out.last() != Some(&b'{') {
        out.push(b',');
    }
    write_string(out, key);
    out.push(b':');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(text: &str) -> String {
        let mut out = Vec::new();
        write_string(&mut out, text);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn escapes() {
        assert_eq!(written("a<b>&c/\u{2028}\u{7f}é😀"), "\"a<b>&c/\u{2028}\u{7f}é😀\"");
        assert_eq!(written("\"\\\t\n\r\u{8}\u{c}\u{0}\u{1f}"), r#""\"\\\t\n\r\b\f\u0000\u001f""#);
        assert_eq!(written(""), "\"\"");
    }

    #[test]
    fn each_invalid_byte_is_replaced() {
        let mut out = Vec::new();
        write_text(&mut out, b"\xe2\x82A\"\xff");
        assert_eq!(String::from_utf8(out).unwrap(), "\"\u{fffd}\u{fffd}A\\\"\u{fffd}\"");
    }
}
