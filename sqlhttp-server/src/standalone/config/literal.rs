//! Values as Go writes them: integers, durations, booleans. And sizes, which Go has no type for.

use std::time::Duration;

/// Why an integer was not understood, in the words of Go's `strconv`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum IntError {
    /// No integer at all.
    Syntax,
    /// More than 64 bits.
    Range,
}

/// An integer literal: an optional sign, a prefix `0x`, `0o`, `0b` or a leading zero (octal), and underscores between
/// digits, as `strconv.ParseInt(text, 0, 64)` takes them.
pub(crate) fn parse_int(text: &str) -> Result<i64, IntError> {
    let (negative, unsigned) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    let (radix, digits) = digits(unsigned)?;
    let signed = if negative { format!("-{digits}") } else { digits };
    i64::from_str_radix(&signed, radix).map_err(|_| IntError::Range)
}

/// An integer literal without a sign, as `strconv.ParseUint(text, 0, 64)` takes it.
pub(crate) fn parse_uint(text: &str) -> Result<u64, IntError> {
    let (radix, digits) = digits(text)?;
    u64::from_str_radix(&digits, radix).map_err(|_| IntError::Range)
}

/// The radix and the digits of a literal without a sign.
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

/// Underscores may stand between digits, and between a prefix and the first digit.
fn without_underscores(digits: &str, after_prefix: bool) -> Option<String> {
    let misplaced = digits.contains("__") || digits.ends_with('_') || (digits.starts_with('_') && !after_prefix);
    (!misplaced).then(|| digits.replace('_', ""))
}

/// A boolean as `strconv.ParseBool` takes it.
pub(crate) fn parse_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Some(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Some(false),
        _ => None,
    }
}

const UNITS: [(&str, u64); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("μs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

/// A duration such as `1m30s`, `250ms`, `1.5h` or `0`, as `time.ParseDuration` takes it, except that it must not be
/// negative. Errors are in Go's words.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    let invalid = || format!("time: invalid duration \"{text}\"");
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    if rest == "0" {
        return Ok(Duration::ZERO);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut nanos: u64 = 0;
    while !rest.is_empty() {
        let number_len = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, tail) = rest.split_at(number_len);
        let unit_len = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit_len);
        if !number.contains(|c: char| c.is_ascii_digit()) || number.matches('.').count() > 1 {
            return Err(invalid());
        }
        if unit.is_empty() {
            return Err(format!("time: missing unit in duration \"{text}\""));
        }
        let scale = UNITS.iter().find(|(name, _)| *name == unit).map(|(_, scale)| *scale);
        let scale = scale.ok_or_else(|| format!("time: unknown unit \"{unit}\" in duration \"{text}\""))?;
        nanos = scaled(number, scale).and_then(|part| nanos.checked_add(part)).ok_or_else(invalid)?;
        rest = tail;
    }
    // Go counts in signed 64-bit nanoseconds.
    i64::try_from(nanos).map_err(|_| invalid())?;
    Ok(Duration::from_nanos(nanos))
}

/// A duration that may be negative, in nanoseconds, as `time.ParseDuration` takes it.
pub(crate) fn parse_signed_duration(text: &str) -> Result<i64, String> {
    let (negative, magnitude) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let invalid = || format!("time: invalid duration \"{text}\"");
    if negative && magnitude.starts_with('+') {
        return Err(invalid());
    }
    let nanos = i64::try_from(parse_duration(magnitude)?.as_nanos()).map_err(|_| invalid())?;
    Ok(if negative { -nanos } else { nanos })
}

/// A decimal number times a scale, rounded down.
fn scaled(number: &str, scale: u64) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let (mut part, mut unit) = (0, scale);
    for digit in fraction.bytes() {
        unit /= 10;
        part += u64::from(digit - b'0') * unit;
    }
    whole.checked_mul(scale)?.checked_add(part)
}

/// A number of bytes: an integer literal, and perhaps `K`, `M` or `G` (powers of 1024; `KiB` and `KB` mean the same).
pub(crate) fn parse_size(text: &str) -> Option<u64> {
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

/// The `B` of `KB` is no digit; that of `0x0B` is.
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
    fn durations_may_have_a_sign() {
        for (text, nanos) in [("-1.5s", -1_500_000_000), ("+2ms", 2_000_000), ("-0", 0), ("1h", 3_600_000_000_000)] {
            assert_eq!(parse_signed_duration(text), Ok(nanos), "{text}");
        }
        for text in ["-", "--1s", "-+1s", "-5", ""] {
            assert!(parse_signed_duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn durations_are_read_as_go_reads_them() {
        let good = [
            ("0", 0),
            ("5s", 5_000_000_000),
            ("1m30s", 90_000_000_000),
            ("250ms", 250_000_000),
            ("1.5h", 5_400_000_000_000),
            (".5s", 500_000_000),
            ("1.s", 1_000_000_000),
            ("3µs", 3_000),
            ("0s", 0),
        ];
        for (text, nanos) in good {
            assert_eq!(parse_duration(text), Ok(Duration::from_nanos(nanos)), "{text}");
        }
        assert_eq!(parse_duration("5"), Err("time: missing unit in duration \"5\"".into()));
        assert_eq!(parse_duration("5x"), Err("time: unknown unit \"x\" in duration \"5x\"".into()));
        for text in ["", "x", "-5s", ".s", "1.2.3s", "9999999999h", "s"] {
            assert_eq!(parse_duration(text), Err(format!("time: invalid duration \"{text}\"")), "{text}");
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
