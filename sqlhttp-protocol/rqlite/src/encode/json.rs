//! Strings as JSON, and the small change of objects.

/// Writes a JSON string. Everything but quotes, backslashes and control characters is written plainly.
pub(crate) fn write_string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    write_escaped(out, text);
    out.push(b'"');
}

/// Writes a JSON string of bytes that should be UTF-8; each byte that is not becomes U+FFFD.
pub(crate) fn write_text(out: &mut Vec<u8>, bytes: &[u8]) {
    out.push(b'"');
    for chunk in bytes.utf8_chunks() {
        write_escaped(out, chunk.valid());
        for _ in chunk.invalid() {
            out.extend_from_slice("\u{fffd}".as_bytes());
        }
    }
    out.push(b'"');
}

fn write_escaped(out: &mut Vec<u8>, text: &str) {
    let bytes = text.as_bytes();
    let mut written = 0;
    for (at, &byte) in bytes.iter().enumerate() {
        if byte < 0x20 || byte == b'"' || byte == b'\\' {
            out.extend_from_slice(&bytes[written..at]);
            write_escape(out, byte);
            written = at + 1;
        }
    }
    out.extend_from_slice(&bytes[written..]);
}

#[cold]
fn write_escape(out: &mut Vec<u8>, byte: u8) {
    let letter = match byte {
        b'"' | b'\\' => byte,
        0x08 => b'b',
        b'\t' => b't',
        b'\n' => b'n',
        0x0c => b'f',
        b'\r' => b'r',
        _ => return out.extend_from_slice(format!("\\u{byte:04x}").as_bytes()),
    };
    out.extend_from_slice(&[b'\\', letter]);
}

/// Writes a key of an object that has been opened with `{`, and the comma before it unless it is the first.
pub(crate) fn write_key(out: &mut Vec<u8>, key: &str) {
    if out.last() != Some(&b'{') {
        out.push(b',');
    }
    write_string(out, key);
    out.push(b':');
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

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

    proptest! {
        #[test]
        fn any_string_reads_back(text in any::<String>()) {
            prop_assert_eq!(serde_json::from_str::<String>(&written(&text)).unwrap(), text);
        }
    }
}
