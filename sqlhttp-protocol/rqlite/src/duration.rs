//! Durations in the notation of Go: `1m30s`, `1.5h`, `250ms`.

use std::time::Duration;

/// The units, in nanoseconds.
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

/// The magnitude of the smallest `i64`; that of the largest is one less.
const MAGNITUDE_MAX: u64 = 1 << 63;

/// Reads a duration; `None` if it is none. One below zero is given as zero.
pub(crate) fn parse(text: &str) -> Option<Duration> {
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let magnitude = if digits == "0" { 0 } else { magnitude(digits)? };
    match (negative, magnitude) {
        (true, _) => Some(Duration::ZERO),
        (false, MAGNITUDE_MAX) => None,
        (false, nanoseconds) => Some(Duration::from_nanos(nanoseconds)),
    }
}

/// One number with a unit after the other, in nanoseconds.
fn magnitude(text: &str) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    let mut rest = text;
    let mut sum = 0_u64;
    while !rest.is_empty() {
        let (term, after) = term(rest)?;
        sum = sum.checked_add(term).filter(|&sum| sum <= MAGNITUDE_MAX)?;
        rest = after;
    }
    Some(sum)
}

fn term(text: &str) -> Option<(u64, &str)> {
    let (whole, rest) = split_digits(text);
    let (fraction, rest) = rest.strip_prefix('.').map_or(("", rest), split_digits);
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let end = rest.find(|c: char| c == '.' || c.is_ascii_digit()).unwrap_or(rest.len());
    let (name, rest) = rest.split_at(end);
    let unit = UNITS.iter().find(|(known, _)| *known == name)?.1;
    let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let term = whole.checked_mul(unit)?.checked_add(part_of(unit, fraction))?;
    Some((term, rest))
}

fn split_digits(text: &str) -> (&str, &str) {
    text.split_at(text.bytes().take_while(u8::is_ascii_digit).count())
}

/// `0.fraction` of a unit, rounded down. Digits that weigh less than a nanosecond do not matter.
fn part_of(unit: u64, fraction: &str) -> u64 {
    let mut weight = u128::from(unit) * 1_000_000;
    let mut sum = 0;
    for digit in fraction.bytes() {
        weight /= 10;
        sum += weight * u128::from(digit - b'0');
    }
    u64::try_from(sum / 1_000_000).unwrap_or(u64::MAX)
}

/// Writes a duration as Go prints it: `1m30s`, `41.878µs`, `0s`.
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

/// The quotient with as many decimals as it needs. The divisor is a power of ten.
fn decimal(number: u128, divisor: u128) -> String {
    let places = divisor.ilog10() as usize;
    let text = format!("{}.{:0places$}", number / divisor, number % divisor);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_go_accepts() {
        for (text, nanoseconds) in [
            ("0", 0),
            ("-0", 0),
            ("+0", 0),
            ("0s", 0),
            ("-1s", 0),
            ("-9223372036854775808ns", 0),
            ("5ns", 5),
            ("1us", 1_000),
            ("1µs", 1_000),
            ("1μs", 1_000),
            ("50ms", 50_000_000),
            ("1m30s", 90_000_000_000),
            ("1h1h", 7_200_000_000_000),
            ("+1s", 1_000_000_000),
            (".5s", 500_000_000),
            ("1.s", 1_000_000_000),
            ("1.5h", 5_400_000_000_000),
            ("0.1234567899s", 123_456_789),
            ("0.33333333333333333333h", 1_200_000_000_000 - 1),
            ("9223372036854775807ns", i64::MAX as u64),
        ] {
            assert_eq!(parse(text), Some(Duration::from_nanos(nanoseconds)), "{text}");
        }
    }

    #[test]
    fn what_go_rejects() {
        for text in [
            "",
            "5",
            "1.5",
            "1d",
            "1S",
            "1e3s",
            "1 s",
            "1s ",
            " 1s",
            ".s",
            "1h-5m",
            "s",
            "-",
            "+",
            ".",
            "--1s",
            "00",
            "9223372036854775808ns",
            "2562048h",
            "-2562048h",
            "99999999999999999999s",
            "1s1",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn as_go_prints_it() {
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
        fn what_is_printed_can_be_read(nanoseconds in 0..=i64::MAX as u64) {
            let duration = Duration::from_nanos(nanoseconds);
            prop_assert_eq!(parse(&format(duration)), Some(duration));
        }
    }
}
