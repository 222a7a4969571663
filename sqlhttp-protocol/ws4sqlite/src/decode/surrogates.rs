//! Repairs JSON that contains lone surrogates: escapes such as `\ud800` without the other half of the surrogate pair.
//!
//! JSON's grammar allows such escapes, but they do not denote a character.

use std::borrow::Cow;

/// Replaces each lone surrogate escape in a JSON document with `\ufffd`. This escape has the same length.
pub(super) fn replace_lone(text: &str) -> Cow<'_, str> {
    let bytes = text.as_bytes();
    let mut lone = Vec::new();
    let mut at = 0;
    while let Some(found) = bytes.get(at..).and_then(|rest| rest.iter().position(|&b| b == b'\\')) {
        at += found;
        at += match (unit(bytes, at), unit(bytes, at + 6)) {
            (Some(0xd800..=0xdbff), Some(0xdc00..=0xdfff)) => 12,
            (Some(0xd800..=0xdfff), _) => {
                lone.push(at);
                6
            }
            (Some(_), _) => 6,
            (None, _) => 2,
        };
    }
    if lone.is_empty() { Cow::Borrowed(text) } else { Cow::Owned(overwrite(text, &lone)) }
}

/// Returns the UTF-16 code unit of the escape `\uXXXX` at the byte position `at`. `None` if there is no such escape.
fn unit(bytes: &[u8], at: usize) -> Option<u16> {
    let digits = bytes.get(at..at + 6)?.strip_prefix(b"\\u")?;
    let digit = |unit: u16, &b: &u8| Some(unit << 4 | char::from(b).to_digit(16)? as u16);
    digits.iter().try_fold(0, digit)
}

fn overwrite(text: &str, lone: &[usize]) -> String {
    let mut repaired = String::with_capacity(text.len());
    let mut copied = 0;
    for &at in lone {
        repaired.push_str(&text[copied..at]);
        repaired.push_str("\\ufffd");
        copied = at + 6;
    }
    repaired.push_str(&text[copied..]);
    repaired
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_lone_surrogates_are_replaced() {
        for (text, want) in [
            (r#""plain""#, r#""plain""#),
            (r#""\ud83d\ude00""#, r#""\ud83d\ude00""#),
            (r#""\uD83D""#, r#""\ufffd""#),
            (r#""\ude00x""#, r#""\ufffdx""#),
            (r#""\ud83d\ud83d\ude00""#, r#""\ufffd\ud83d\ude00""#),
            (r#""\ud83d\u0041""#, r#""\ufffd\u0041""#),
            (r#""\\ud83d""#, r#""\\ud83d""#),
            (r#""\\\ud83d""#, r#""\\\ufffd""#),
            (r#""é\ud83dé""#, r#""é\ufffdé""#),
            (r#""\ud8"#, r#""\ud8"#),
            (r#""\u+123""#, r#""\u+123""#),
            (r#"\"#, r#"\"#),
        ] {
            assert_eq!(replace_lone(text), want);
        }
    }
}
