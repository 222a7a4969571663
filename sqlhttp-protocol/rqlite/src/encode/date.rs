//! Writes the values of DATE, DATETIME and TIMESTAMP columns as times in RFC 3339.

use sqlhttp_text::number;
use sqlhttp_text::time::{ParseOptions, Time};

use crate::json;

/// The maximum magnitude of an integer that is read as seconds since 1970. An integer of a larger magnitude is read as
/// milliseconds.
const SECONDS_MAX: i64 = 1_000_000_000_000;
/// The parser options for times. Like rqlite, the parser accepts UTC offsets of up to 24 hours and 60 minutes.
const OPTIONS: ParseOptions = ParseOptions { repeated_blanks: true, offset_hours_max: 24, offset_minutes_max: 60 };

/// Writes the integer value of a time column as a time in UTC. The integer counts seconds or milliseconds since 1970.
/// If the year is outside the range from 0 to 9999, the integer is written unchanged.
pub(super) fn write_integer(out: &mut Vec<u8>, value: i64) {
    let (seconds, milliseconds) = if (-SECONDS_MAX..=SECONDS_MAX).contains(&value) {
        (value, 0)
    } else {
        (value.div_euclid(1_000), value.rem_euclid(1_000))
    };
    match Time::from_unix(seconds, milliseconds as u32 * 1_000_000) {
        Some(time) => time.write_json(out),
        None => number::write_integer(out, value),
    }
}

/// Writes the TEXT value of a time column as a time in RFC 3339. A TEXT value that is not a time is written unchanged,
/// and so is a time with a UTC offset of a day or more.
pub(super) fn write_text(out: &mut Vec<u8>, text: &[u8]) {
    match Time::parse(text, &OPTIONS) {
        Some(time) if time.offset_minutes().abs() < 24 * 60 => time.write_json(out),
        _ => json::write_text(out, text),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(text: &str) -> String {
        let mut out = Vec::new();
        write_text(&mut out, text.as_bytes());
        serde_json::from_slice(&out).unwrap()
    }

    fn integer(value: i64) -> String {
        let mut out = Vec::new();
        write_integer(&mut out, value);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn texts_that_are_times() {
        for (stored, want) in [
            ("2004-02-14", "2004-02-14T00:00:00Z"),
            ("2004-02-14Z", "2004-02-14T00:00:00Z"),
            ("2004-02-14 07:15", "2004-02-14T07:15:00Z"),
            ("2004-02-14T7:15", "2004-02-14T07:15:00Z"),
            ("2004-02-14   07:15:00", "2004-02-14T07:15:00Z"),
            ("2004-02-14T07:15:00Z", "2004-02-14T07:15:00Z"),
            ("2021-10-22 19:39:32.016087", "2021-10-22T19:39:32.016087Z"),
            ("2004-02-14 07:15:00.120", "2004-02-14T07:15:00.12Z"),
            ("2004-02-14 07:15:00,5", "2004-02-14T07:15:00.5Z"),
            ("2004-02-14 07:15:00.1234567899", "2004-02-14T07:15:00.123456789Z"),
            ("2004-02-14 07:15:00+02:00", "2004-02-14T07:15:00+02:00"),
            ("2004-02-14T07:15:00.5-11:30", "2004-02-14T07:15:00.5-11:30"),
            ("2004-02-14 07:15:00-00:00", "2004-02-14T07:15:00Z"),
            ("2004-02-14 07:15:00+05:60", "2004-02-14T07:15:00+06:00"),
            ("2004-02-29", "2004-02-29T00:00:00Z"),
            ("0000-01-01", "0000-01-01T00:00:00Z"),
        ] {
            assert_eq!(text(stored), want);
        }
    }

    #[test]
    fn other_texts_are_unchanged() {
        for stored in [
            "",
            "garbage",
            "2003-02-29",
            "2004-13-01",
            "2004-2-14",
            "2004-02-14 24:00",
            "2004-02-14 07:15:60",
            "2004-02-14t07:15",
            "2004-02-14 07:15+02:00",
            "2004-02-14 07:15:00+0200",
            "2004-02-14 07:15:00 +02:00",
            "2004-02-14 07:15:00.",
            "2004-02-14 ",
            "2004-02-14 07:15:00+25:00",
            "10000-01-01",
            "2004-02-14 07:15:00+24:00",
            "2004-02-14 07:15:00-23:60",
        ] {
            assert_eq!(text(stored), stored);
        }
    }

    #[test]
    fn integers() {
        for (stored, want) in [
            (0, "1970-01-01T00:00:00Z"),
            (-1, "1969-12-31T23:59:59Z"),
            (1_076_742_900, "2004-02-14T07:15:00Z"),
            (1_076_742_900_120, "2004-02-14T07:15:00.12Z"),
            (-1_000_000_000_001, "1938-04-24T22:13:19.999Z"),
            (253_402_300_799, "9999-12-31T23:59:59Z"),
            (-62_167_219_200, "0000-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (253_402_300_799_999, "9999-12-31T23:59:59.999Z"),
            (-62_167_219_200_000, "0000-01-01T00:00:00Z"),
        ] {
            assert_eq!(integer(stored), format!("\"{want}\""));
        }
    }

    #[test]
    fn integers_of_other_years_are_unchanged() {
        for stored in [
            253_402_300_800,
            -62_167_219_201,
            SECONDS_MAX,
            -SECONDS_MAX,
            253_402_300_800_000,
            // Microseconds and nanoseconds of this century.
            1_706_842_979_630_000,
            1_706_842_979_630_000_000,
            i64::MAX,
            i64::MIN,
        ] {
            assert_eq!(integer(stored), stored.to_string());
        }
    }

    proptest! {
        #[test]
        fn written_times_are_unchanged_when_written_again(seconds in -62_167_219_200_i64..=253_402_300_799) {
            let written: String = serde_json::from_str(&integer(seconds)).unwrap();
            prop_assert_eq!(text(&written), written);
        }
    }
}
