//! Parses and formats durations in the notation of Go's `time.Duration`: `1m30s`, `1.5h`, `250ms`.

use std::fmt;
use std::time::Duration;

/// The names of the units, each with the length of the unit in nanoseconds.
const UNITS: &[(&str, u64)] = &[
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000), // U+00B5
    ("μs", 1_000), // U+03BC
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

/// The error for a string that is not a duration. [`Display`](fmt::Display) writes the error message of Go's
/// `time.ParseDuration`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DurationError {
    text: String,
    reason: Reason,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Reason {
    Invalid,
    MissingUnit,
    UnknownUnit(String),
}

impl std::error::Error for DurationError {}

impl fmt::Display for DurationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = &self.text;
        match &self.reason {
            Reason::Invalid => write!(f, "time: invalid duration \"{text}\""),
            Reason::MissingUnit => write!(f, "time: missing unit in duration \"{text}\""),
            Reason::UnknownUnit(unit) => write!(f, "time: unknown unit \"{unit}\" in duration \"{text}\""),
        }
    }
}

/// Parses a duration such as `1m30s`, `-250ms`, `1.5h` or `0`, and returns it in nanoseconds. Accepts what Go's
/// `time.ParseDuration` accepts. Fractions of a nanosecond are dropped.
pub fn parse_signed(text: &str) -> Result<i64, DurationError> {
    signed(text).map_err(|reason| DurationError { text: text.to_owned(), reason })
}

/// Parses a duration like [`parse_signed`], but rejects a minus sign.
pub fn parse(text: &str) -> Result<Duration, DurationError> {
    let invalid = || DurationError { text: text.to_owned(), reason: Reason::Invalid };
    if text.starts_with('-') {
        return Err(invalid());
    }
    u64::try_from(parse_signed(text)?).map(Duration::from_nanos).map_err(|_| invalid())
}

fn signed(text: &str) -> Result<i64, Reason> {
    let (negative, unsigned) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    let magnitude = if unsigned == "0" { 0 } else { magnitude(unsigned)? };
    match negative {
        true => 0_i64.checked_sub_unsigned(magnitude),
        false => i64::try_from(magnitude).ok(),
    }
    .ok_or(Reason::Invalid)
}

/// Parses a sequence of numbers, each of which is followed by a unit. Returns the sum in nanoseconds.
fn magnitude(text: &str) -> Result<u64, Reason> {
    if text.is_empty() {
        return Err(Reason::Invalid);
    }
    let mut rest = text;
    let mut sum = 0_u64;
    while !rest.is_empty() {
        let (term, after) = term(rest)?;
        sum = sum.checked_add(term).ok_or(Reason::Invalid)?;
        rest = after;
    }
    Ok(sum)
}

/// Parses the number and the unit at the beginning of `text`. Returns their product in nanoseconds and the rest of
/// `text`.
fn term(text: &str) -> Result<(u64, &str), Reason> {
    let (whole, rest) = split_digits(text);
    let (fraction, rest) = rest.strip_prefix('.').map_or(("", rest), split_digits);
    if (whole.is_empty() && fraction.is_empty()) || rest.starts_with('.') {
        return Err(Reason::Invalid);
    }
    let end = rest.find(|c: char| c == '.' || c.is_ascii_digit()).unwrap_or(rest.len());
    let (name, rest) = rest.split_at(end);
    let nanoseconds = product(whole, fraction, unit(name)?).ok_or(Reason::Invalid)?;
    Ok((nanoseconds, rest))
}

/// Returns the length of the unit with this name, in nanoseconds.
fn unit(name: &str) -> Result<u64, Reason> {
    if name.is_empty() {
        return Err(Reason::MissingUnit);
    }
    let unit = UNITS.iter().find(|(known, _)| *known == name);
    unit.map(|(_, nanoseconds)| *nanoseconds).ok_or_else(|| Reason::UnknownUnit(name.to_owned()))
}

/// Returns the product of the decimal number `whole.fraction` and `unit`. `None` if the product does not fit into 64
/// bits.
fn product(whole: &str, fraction: &str, unit: u64) -> Option<u64> {
    let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    whole.checked_mul(unit)?.checked_add(part_of(unit, fraction))
}

fn split_digits(text: &str) -> (&str, &str) {
    text.split_at(text.bytes().take_while(u8::is_ascii_digit).count())
}

/// Returns the product of the decimal number `0.fraction` and `unit`, rounded down. Digits that are worth less than a
/// millionth of a nanosecond are ignored.
fn part_of(unit: u64, fraction: &str) -> u64 {
    let mut weight = u128::from(unit) * 1_000_000;
    let mut sum = 0;
    for digit in fraction.bytes() {
        weight /= 10;
        sum += weight * u128::from(digit - b'0');
    }
    u64::try_from(sum / 1_000_000).unwrap_or(u64::MAX)
}

/// Formats a duration as Go prints it: `1m30s`, `41.878µs`, `0s`.
pub fn format(duration: Duration) -> String {
    let nanoseconds = duration.as_nanos();
    match nanoseconds {
        0 => "0s".to_owned(),
        1..1_000 => format!("{nanoseconds}ns"),
        1_000..1_000_000 => decimal(nanoseconds, 1_000) + "µs",
        1_000_000..1_000_000_000 => decimal(nanoseconds, 1_000_000) + "ms",
        _ => clock(nanoseconds),
    }
}

/// Formats a duration of at least one second as hours, minutes and seconds.
fn clock(nanoseconds: u128) -> String {
    const MINUTE: u128 = 60_000_000_000;
    let seconds = decimal(nanoseconds % MINUTE, 1_000_000_000) + "s";
    let minutes = nanoseconds / MINUTE;
    match (minutes / 60, minutes % 60) {
        (0, 0) => seconds,
        (0, minutes) => format!("{minutes}m{seconds}"),
        (hours, minutes) => format!("{hours}h{minutes}m{seconds}"),
    }
}

/// Formats `number / divisor` as a decimal number without trailing zeros. The divisor must be a power of ten.
fn decimal(number: u128, divisor: u128) -> String {
    let places = divisor.ilog10() as usize;
    let text = format!("{}.{:0places$}", number / divisor, number % divisor);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn error(text: &str) -> String {
        parse_signed(text).unwrap_err().to_string()
    }

    #[test]
    fn durations_that_go_accepts() {
        for (text, nanoseconds) in [
            ("0", 0),
            ("-0", 0),
            ("+0", 0),
            ("0s", 0),
            ("5s", 5_000_000_000),
            ("5ns", 5),
            ("1us", 1_000),
            ("1µs", 1_000),
            ("1μs", 1_000),
            ("50ms", 50_000_000),
            ("1m30s", 90_000_000_000),
            ("1h1h", 7_200_000_000_000),
            ("+1s", 1_000_000_000),
            ("-1s", -1_000_000_000),
            ("-1.5s", -1_500_000_000),
            (".5s", 500_000_000),
            ("1.s", 1_000_000_000),
            ("1.5h", 5_400_000_000_000),
            ("0.1234567899s", 123_456_789),
            ("0.33333333333333333333h", 1_200_000_000_000 - 1),
            ("9223372036854775807ns", i64::MAX),
            ("-9223372036854775808ns", i64::MIN),
        ] {
            assert_eq!(parse_signed(text), Ok(nanoseconds), "{text}");
            let unsigned = u64::try_from(nanoseconds).ok().filter(|_| !text.starts_with('-'));
            assert_eq!(parse(text).ok(), unsigned.map(Duration::from_nanos), "{text}");
        }
    }

    #[test]
    fn durations_that_go_rejects() {
        for text in [
            "",
            " 1s",
            ".s",
            "s",
            "x",
            "-",
            "+",
            ".",
            "--1s",
            "-+1s",
            "1.2.3s",
            "9999999999h",
            "9223372036854775808ns",
            "-9223372036854775809ns",
            "2562048h",
            "-2562048h",
            "99999999999999999999s",
        ] {
            assert_eq!(error(text), format!("time: invalid duration \"{text}\""));
        }
        for text in ["5", "-5", "1.5", "00", "1s1"] {
            assert_eq!(error(text), format!("time: missing unit in duration \"{text}\""));
        }
        for (text, unit) in
            [("5x", "x"), ("1d", "d"), ("1S", "S"), ("1e3s", "e"), ("1 s", " s"), ("1s ", "s "), ("1h-5m", "h-")]
        {
            assert_eq!(error(text), format!("time: unknown unit \"{unit}\" in duration \"{text}\""));
        }
    }

    #[test]
    fn a_duration_without_sign_has_no_minus() {
        for text in ["-5s", "-0"] {
            assert_eq!(parse(text).unwrap_err().to_string(), format!("time: invalid duration \"{text}\""));
        }
    }

    #[test]
    fn durations_are_formatted_as_go_prints_them() {
        for (nanoseconds, text) in [
            (0, "0s"),
            (7, "7ns"),
            (41_878, "41.878µs"),
            (1_100_000, "1.1ms"),
            (30_000_000_000, "30s"),
            (1_500_000_000, "1.5s"),
            (60_000_000_000, "1m0s"),
            (332_066_110_456, "5m32.066110456s"),
            (86_400_000_000_000, "24h0m0s"),
        ] {
            assert_eq!(format(Duration::from_nanos(nanoseconds)), text);
        }
    }

    proptest! {
        #[test]
        fn a_formatted_duration_parses_as_itself(nanoseconds in 0..=i64::MAX as u64) {
            let duration = Duration::from_nanos(nanoseconds);
            prop_assert_eq!(parse(&format(duration)), Ok(duration));
        }
    }
}
