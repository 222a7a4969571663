//! Parses integers and booleans in the syntax of Go's `strconv`, and sizes in bytes, for which Go has no syntax.

use std::fmt;

/// The error for a string that is not an integer literal, or is one out of range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IntError {
    /// The string is not an integer literal.
    Syntax,
    /// The integer does not fit into 64 bits.
    Range,
}

impl std::error::Error for IntError {}

impl fmt::Display for IntError {
    /// Writes the error message of Go's `flag` package.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            IntError::Syntax => "parse error",
            IntError::Range => "value out of range",
        })
    }
}

/// Parses an integer literal in the syntax of Go's `strconv.ParseInt(text, 0, 64)`: an optional sign, an optional
/// prefix, and digits. The prefix is `0x`, `0o`, `0b`, or a zero (octal). Underscores are allowed between digits.
pub fn parse_int(text: &str) -> Result<i64, IntError> {
    let (negative, unsigned) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    let (radix, digits) = digits(unsigned)?;
    let signed = if negative { format!("-{digits}") } else { digits };
    i64::from_str_radix(&signed, radix).map_err(|_| IntError::Range)
}

/// Parses an integer literal without a sign, in the syntax of Go's `strconv.ParseUint(text, 0, 64)`.
pub fn parse_uint(text: &str) -> Result<u64, IntError> {
    let (radix, digits) = digits(text)?;
    u64::from_str_radix(&digits, radix).map_err(|_| IntError::Range)
}

/// Splits an integer literal without a sign into its radix and its digits. The digits are returned without underscores.
fn digits(text: &str) -> Result<(u32, String), IntError> {
    let (radix, digits) = split_radix(text);
    let digits = without_underscores(digits, radix != 10).ok_or(IntError::Syntax)?;
    if digits.is_empty() || !digits.chars().all(|c| c.is_digit(radix)) {
        return Err(IntError::Syntax);
    }
    Ok((radix, digits))
}

fn split_radix(text: &str) -> (u32, &str) {
    let bytes = text.as_bytes();
    match (bytes.first(), bytes.get(1).map(u8::to_ascii_lowercase)) {
        (Some(b'0'), Some(b'x')) => (16, &text[2..]),
        (Some(b'0'), Some(b'o')) => (8, &text[2..]),
        (Some(b'0'), Some(b'b')) => (2, &text[2..]),
        (Some(b'0'), Some(_)) => (8, &text[1..]),
        _ => (10, text),
    }
}

/// Removes the underscores from the digits of an integer literal. They are allowed between digits, and between a prefix
/// and the first digit. `None` if there is an underscore elsewhere.
fn without_underscores(digits: &str, after_prefix: bool) -> Option<String> {
    let misplaced = digits.contains("__") || digits.ends_with('_') || (digits.starts_with('_') && !after_prefix);
    (!misplaced).then(|| digits.replace('_', ""))
}

/// Parses a boolean in the syntax of Go's `strconv.ParseBool`. `None` if `text` is not a boolean.
pub fn parse_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Some(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Some(false),
        _ => None,
    }
}

/// Parses a number of bytes: an integer literal, optionally followed by `K`, `M` or `G` (powers of 1024). `KiB` and
/// `KB` mean the same as `K`, and so on. `None` if `text` is not a size.
pub fn parse_size(text: &str) -> Option<u64> {
    let upper = text.trim().to_ascii_uppercase();
    let stem = upper.strip_suffix("IB").or_else(|| suffix_b(&upper)).unwrap_or(&upper);
    let (digits, scale) = match stem.as_bytes().last()? {
        b'K' => (&stem[..stem.len() - 1], 1u64 << 10),
        b'M' => (&stem[..stem.len() - 1], 1 << 20),
        b'G' => (&stem[..stem.len() - 1], 1 << 30),
        _ if stem.len() == upper.len() => (stem, 1),
        _ => return None,
    };
    u64::try_from(parse_int(digits.trim_end()).ok()?).ok()?.checked_mul(scale)
}

/// Removes the `B` at the end of `KB`, `MB` or `GB`. `None` if there is no such suffix: the `B` of `0x0B` is a digit.
fn suffix_b(upper: &str) -> Option<&str> {
    upper.strip_suffix('B').filter(|stem| stem.ends_with(['K', 'M', 'G']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_read_as_go_reads_them() {
        let good = [
            ("12321", 12321),
            ("0x5bb0", 0x5bb0),
            ("0X5BB0", 0x5bb0),
            ("0o17", 15),
            ("017", 15),
            ("0b101", 5),
            ("1_000", 1000),
            ("0x_ff", 255),
            ("-5", -5),
            ("+5", 5),
            ("0", 0),
            ("-9223372036854775808", i64::MIN),
        ];
        for (text, value) in good {
            assert_eq!(parse_int(text), Ok(value), "{text}");
        }
        for text in ["", "abc", "1_", "_1", "1__0", "0x", "08", "1.0", "- 1", "--1", "0b2", " 1", "１"] {
            assert_eq!(parse_int(text), Err(IntError::Syntax), "{text}");
        }
        assert_eq!(parse_int("9223372036854775808"), Err(IntError::Range));
    }

    #[test]
    fn integers_without_a_sign_use_all_bits() {
        assert_eq!(parse_uint("18446744073709551615"), Ok(u64::MAX));
        assert_eq!(parse_uint("0x2_0"), Ok(32));
        assert_eq!(parse_uint("18446744073709551616"), Err(IntError::Range));
        for text in ["", "-1", "+1", "x"] {
            assert_eq!(parse_uint(text), Err(IntError::Syntax), "{text}");
        }
    }

    #[test]
    fn sizes_have_suffixes() {
        let good = [
            ("0", 0),
            ("1000", 1000),
            ("64K", 64 << 10),
            ("64k", 64 << 10),
            ("64M", 64 << 20),
            ("64MiB", 64 << 20),
            ("64MB", 64 << 20),
            ("2G", 2 << 30),
            ("2 G", 2 << 30),
            ("0x0B", 11),
        ];
        for (text, bytes) in good {
            assert_eq!(parse_size(text), Some(bytes), "{text}");
        }
        for text in ["", "K", "-1", "1T", "1iB", "99999999999G", "1.5M", "MM"] {
            assert_eq!(parse_size(text), None, "{text}");
        }
    }

    #[test]
    fn booleans_are_read_as_go_reads_them() {
        assert_eq!(parse_bool("T"), Some(true));
        assert_eq!(parse_bool("0"), Some(false));
        assert_eq!(parse_bool("yes"), None);
    }
}
