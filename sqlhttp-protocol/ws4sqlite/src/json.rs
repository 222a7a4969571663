//! Writes JSON strings.

use sqlhttp_text::json::Escapes;
pub(crate) use sqlhttp_text::json::write_base64;

const ESCAPES: &Escapes = Escapes::BEFORE_GO_1_22;

/// Writes `text` as a JSON string. Only quotes, backslashes and control characters are escaped.
#[inline]
pub(crate) fn write_string(out: &mut Vec<u8>, text: &str) {
    ESCAPES.write_string(out, text);
}

/// Writes bytes as a JSON string. Invalid UTF-8 is replaced with U+FFFD.
pub(crate) fn write_text(out: &mut Vec<u8>, bytes: &[u8]) {
    match std::str::from_utf8(bytes) {
        Ok(text) => write_string(out, text),
        Err(_) => write_string(out, &String::from_utf8_lossy(bytes)),
    }
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
        assert_eq!(written("a<b>&c\u{2028}\u{7f}é"), "\"a<b>&c\u{2028}\u{7f}é\"");
        assert_eq!(written("\"\\\t\n\r\u{8}\u{c}\u{0}\u{1f}"), r#""\"\\\t\n\r\u0008\u000c\u0000\u001f""#);
        assert_eq!(written(""), "\"\"");
    }

    #[test]
    fn invalid_utf8_is_replaced() {
        let mut out = Vec::new();
        write_text(&mut out, b"\xffA\"");
        assert_eq!(out, "\"\u{fffd}A\\\"\"".as_bytes());
    }
}
