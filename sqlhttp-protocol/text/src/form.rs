//! Names and values of query strings and forms, in the encoding `application/x-www-form-urlencoded`, and segments of
//! paths.

use std::borrow::Cow;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode, percent_encode};

/// The bytes that [`encode`] and [`encode_segment`] replace, and the space. All other bytes are unreserved characters
/// (RFC 3986, section 2.3).
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// Decodes `+` to a space and `%XX` to a byte. A `%` without two hexadecimal digits after it stays unchanged.
pub fn decode(text: &[u8]) -> Cow<'_, [u8]> {
    if !text.contains(&b'+') {
        return percent_decode(text).into();
    }
    let spaced: Vec<u8> = text.iter().map(|&byte| if byte == b'+' { b' ' } else { byte }).collect();
    Cow::Owned(percent_decode(&spaced).collect())
}

/// Returns the first `%` without two hexadecimal digits after it, with up to two bytes after it; `None` if there is
/// none. Go's `url.QueryUnescape` fails there.
pub fn invalid_escape(text: &[u8]) -> Option<&[u8]> {
    let starts = (0..text.len()).filter(|&at| text[at] == b'%');
    let mut escapes = starts.map(|at| &text[at..text.len().min(at + 3)]);
    escapes.find(|escape| escape.len() < 3 || !escape[1..].iter().all(u8::is_ascii_hexdigit))
}

/// Appends a value to `out`: a space becomes `+`, and each byte that is not an unreserved character becomes `%XX`.
pub fn encode(value: &[u8], out: &mut String) {
    for (number, part) in value.split(|&byte| byte == b' ').enumerate() {
        if number > 0 {
            out.push('+');
        }
        out.extend(percent_encode(part, ENCODED));
    }
}

/// Returns a segment of a path: each byte that is not an unreserved character, also `/`, becomes `%XX`.
pub fn encode_segment(segment: &str) -> String {
    percent_encode(segment.as_bytes(), ENCODED).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_decoded() {
        for (text, decoded) in [
            ("", ""),
            ("a", "a"),
            ("a+b", "a b"),
            ("%61%2B+%2b", "a+ +"),
            ("%C3%BC", "ü"),
            ("X%", "X%"),
            ("%4+%zz", "%4 %zz"),
        ] {
            assert_eq!(String::from_utf8_lossy(&decode(text.as_bytes())), decoded, "{text}");
        }
    }

    #[test]
    fn invalid_escapes_are_found() {
        for (text, found) in [("%61+", None), ("a%zz%61", Some("%zz")), ("%6", Some("%6")), ("%61%", Some("%"))] {
            assert_eq!(invalid_escape(text.as_bytes()), found.map(str::as_bytes), "{text}");
        }
    }

    #[test]
    fn encoded_values_decode_to_themselves() {
        let all: Vec<u8> = (0..=255).collect();
        let mut encoded = String::new();
        encode(&all, &mut encoded);
        assert_eq!(decode(encoded.as_bytes()), all.as_slice());
        let mut text = String::new();
        encode("a b-_.~/ü".as_bytes(), &mut text);
        assert_eq!(text, "a+b-_.~%2F%C3%BC");
        assert_eq!(encode_segment("a b-_.~/ü"), "a%20b-_.~%2F%C3%BC");
    }
}
