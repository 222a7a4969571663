//! Writes JSON strings in the same way as Go's `encoding/json` with `SetEscapeHTML(false)`. The one difference: U+2028
//! and U+2029 are not escaped.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// A set of escapes for JSON strings. Quotes, backslashes and control characters are escaped; all other bytes are
/// written unchanged.
#[derive(Debug)]
pub struct Escapes {
    /// For each byte, the letter after the backslash of its escape; 0 for a byte that is written unchanged.
    letters: [u8; 256],
}

impl Escapes {
    /// The escapes of Go 1.22 and later, which include the short forms `\b` and `\f`.
    pub const GO_1_22: &'static Escapes = &Escapes::BEFORE_GO_1_22.with(0x08, b'b').with(0x0c, b'f');

    /// The escapes of Go before 1.22, which has no short forms for `\u0008` and `\u000c`.
    pub const BEFORE_GO_1_22: &'static Escapes = &Escapes::control_characters()
        .with(b'\t', b't')
        .with(b'\n', b'n')
        .with(b'\r', b'r')
        .with(b'"', b'"')
        .with(b'\\', b'\\');

    const fn control_characters() -> Escapes {
        let mut letters = [0; 256];
        let mut control = 0;
        while control < 0x20 {
            letters[control] = b'u';
            control += 1;
        }
        Escapes { letters }
    }

    const fn with(&self, byte: u8, letter: u8) -> Escapes {
        let mut letters = self.letters;
        letters[byte as usize] = letter;
        Escapes { letters }
    }

    /// Writes `text` as a JSON string with quotes.
    #[inline]
    pub fn write_string(&self, out: &mut Vec<u8>, text: &str) {
        out.push(b'"');
        self.write_content(out, text);
        out.push(b'"');
    }

    /// Writes `text` as the content of a JSON string, without the quotes.
    #[inline]
    pub fn write_content(&self, out: &mut Vec<u8>, text: &str) {
        let bytes = text.as_bytes();
        if is_plain(bytes) {
            out.extend_from_slice(bytes);
        } else {
            self.write_escaped(out, bytes);
        }
    }

    fn write_escaped(&self, out: &mut Vec<u8>, bytes: &[u8]) {
        let mut written = 0;
        for (at, &byte) in bytes.iter().enumerate() {
            let letter = self.letters[usize::from(byte)];
            if letter != 0 {
                out.extend_from_slice(&bytes[written..at]);
                write_escape(out, byte, letter);
                written = at + 1;
            }
        }
        out.extend_from_slice(&bytes[written..]);
    }
}

/// Returns whether no byte needs an escape. Eight bytes are checked at a time, for speed: most strings need no escape.
#[inline]
fn is_plain(bytes: &[u8]) -> bool {
    let (words, rest) = bytes.as_chunks::<8>();
    words.iter().all(|word| is_word_plain(u64::from_le_bytes(*word)))
        && rest.iter().all(|&byte| byte >= 0x20 && byte != b'"' && byte != b'\\')
}

/// Returns whether none of the eight bytes in a word needs an escape.
///
/// The method is "Determine if a word has a byte less than n" from
/// <https://graphics.stanford.edu/~seander/bithacks.html#HasLessInWord>. The word contains such a byte exactly if the
/// result is not zero.
#[inline]
fn is_word_plain(word: u64) -> bool {
    const ONES: u64 = u64::MAX / 255;
    const HIGH: u64 = ONES * 0x80;
    let below = |word: u64, limit: u64| word.wrapping_sub(ONES * limit) & !word & HIGH;
    let equals = |byte: u8| below(word ^ (ONES * u64::from(byte)), 1);
    (below(word, 0x20) | equals(b'"') | equals(b'\\')) == 0
}

#[cold]
fn write_escape(out: &mut Vec<u8>, byte: u8, letter: u8) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    out.extend_from_slice(&[b'\\', letter]);
    if letter == b'u' {
        out.extend_from_slice(&[b'0', b'0', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
    }
}

/// Writes the base64 encoding of `bytes`, with padding, as a JSON string.
#[inline]
pub fn write_base64(out: &mut Vec<u8>, bytes: &[u8]) {
    out.push(b'"');
    let start = out.len();
    out.resize(start + bytes.len().div_ceil(3) * 4, 0);
    let written = STANDARD.encode_slice(bytes, &mut out[start..]).unwrap_or(0);
    out.truncate(start + written);
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(escapes: &Escapes, text: &str) -> String {
        let mut out = Vec::new();
        escapes.write_string(&mut out, text);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn two_control_characters_have_a_short_form_in_go_1_22_only() {
        assert_eq!(written(Escapes::GO_1_22, "\u{8}\u{c}\u{1f}"), r#""\b\f\u001f""#);
        assert_eq!(written(Escapes::BEFORE_GO_1_22, "\u{8}\u{c}\u{1f}"), r#""\u0008\u000c\u001f""#);
    }

    #[test]
    fn a_string_needs_no_escape_if_no_byte_does() {
        for other in [b'a', 0x1f, 0x20, b'"', b'!', b'#', b'[', b'\\', b']', 0x7f, 0x80, 0xff] {
            for byte in 0..=u8::MAX {
                for (len, at) in (1..20).flat_map(|len| (0..len).map(move |at| (len, at))) {
                    let mut bytes = vec![other; len];
                    bytes[at] = byte;
                    let each = bytes.iter().all(|byte| Escapes::GO_1_22.letters[usize::from(*byte)] == 0);
                    assert_eq!(is_plain(&bytes), each, "{bytes:?}");
                }
            }
        }
    }

    #[test]
    fn base64_has_padding() {
        for (bytes, want) in [(&b""[..], "\"\""), (b"\xfb", "\"+w==\""), (b"\xff\xff\xff", "\"////\"")] {
            let mut out = Vec::new();
            write_base64(&mut out, bytes);
            assert_eq!(String::from_utf8(out).unwrap(), want);
        }
    }

    proptest! {
        #[test]
        fn any_string_parses_as_itself(text in any::<String>()) {
            for escapes in [Escapes::GO_1_22, Escapes::BEFORE_GO_1_22] {
                prop_assert_eq!(&serde_json::from_str::<String>(&written(escapes, &text)).unwrap(), &text);
            }
        }
    }
}
