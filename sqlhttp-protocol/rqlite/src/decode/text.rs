//! Repairs JSON that contains invalid UTF-8 or lone surrogates.

use std::borrow::Cow;

/// Converts bytes to a string. Each byte that is not part of valid UTF-8 becomes U+FFFD.
pub(super) fn lossy(bytes: &[u8]) -> Cow<'_, str> {
    if let Ok(text) = std::str::from_utf8(bytes) {
        return Cow::Borrowed(text);
    }
    let mut text = String::with_capacity(bytes.len() + 16);
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().map(|_| char::REPLACEMENT_CHARACTER));
    }
    Cow::Owned(text)
}

/// Replaces each lone surrogate with `\ufffd`. A lone surrogate is an escape `\uXXXX` for one half of a surrogate pair
/// without the other half. Returns `None` if `json` contains none.
pub(super) fn without_lone_surrogates(json: &str) -> Option<String> {
    let mut repaired = String::new();
    let mut copied = 0;
    let mut at = 0;
    while let Some(found) = json[at..].find('\\') {
        at += found;
        match (code_unit(json, at), code_unit(json, at + 6)) {
            (Some(0xd800..0xdc00), Some(0xdc00..0xe000)) => at += 12,
            (Some(0xd800..0xe000), _) => {
                repaired.push_str(&json[copied..at]);
                repaired.push_str("\\ufffd");
                at += 6;
                copied = at;
            }
            (Some(_), _) => at += 6,
            // Skips the backslash and the character that it escapes.
            (None, _) => at += 1 + json[at + 1..].chars().next().map_or(0, char::len_utf8),
        }
    }
    repaired.push_str(&json[copied..]);
    (copied > 0).then_some(repaired)
}

/// Returns the UTF-16 code unit of the escape `\uXXXX` at the byte position `at`. `None` if there is no such escape.
fn code_unit(json: &str, at: usize) -> Option<u16> {
    let digits = json.get(at..at + 6)?.strip_prefix("\\u")?;
    let digits = digits.bytes().all(|b| b.is_ascii_hexdigit()).then_some(digits)?;
    u16::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_lone_surrogates_are_replaced() {
        for (json, want) in [
            (r#""plain \n""#, None),
            (r#""\ud83d\ude00 \u0041""#, None),
            (r#""\\ud83d""#, None),
            (r#""\ud8"#, None),
            (r#""\é\"#, None),
            (r#""\u+123""#, None),
            (r#""\uD83D""#, Some(r#""\ufffd""#)),
            (r#""\ude00x""#, Some(r#""\ufffdx""#)),
            (r#""\ud83d\ud83d\ude00""#, Some(r#""\ufffd\ud83d\ude00""#)),
            (r#""\\\ud83d""#, Some(r#""\\\ufffd""#)),
            (r#""é\ud83dé""#, Some(r#""é\ufffdé""#)),
        ] {
            assert_eq!(without_lone_surrogates(json).as_deref(), want, "{json}");
        }
    }

    #[test]
    fn each_invalid_byte_is_replaced() {
        assert_eq!(lossy(b"a\xe2\x82b"), "a\u{fffd}\u{fffd}b");
        assert_eq!(lossy("é".as_bytes()), "é");
    }
}
