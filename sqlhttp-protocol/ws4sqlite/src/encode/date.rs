//! Writes the TEXT values of DATE, DATETIME and TIMESTAMP columns as times in RFC 3339.

use sqlhttp_text::time::{ParseOptions, Time};

const OPTIONS: ParseOptions = ParseOptions { repeated_blanks: false, offset_hours_max: 23, offset_minutes_max: 59 };

/// Returns whether TEXT values of a column with this declared type are converted to RFC 3339.
pub(crate) fn is_date_type(declared: &str) -> bool {
    ["DATE", "DATETIME", "TIMESTAMP"].iter().any(|name| name.eq_ignore_ascii_case(declared))
}

/// Writes a TEXT value that is a time as a JSON string in RFC 3339, and returns true. If the value is not a time,
/// returns false and writes nothing.
pub(crate) fn write_date(out: &mut Vec<u8>, text: &[u8]) -> bool {
    // `or_else` is not used, because it would move the time in memory. That move takes a sixth of this function's
    // running time.
    match Time::parse(text, &OPTIONS) {
        Some(time) => time.write_json(out),
        None => return write_printed_date(out, text),
    }
    true
}

fn write_printed_date(out: &mut Vec<u8>, text: &[u8]) -> bool {
    let Some(time) = Time::parse_printed(text, &OPTIONS) else { return false };
    time.write_json(out);
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn converted(text: &str) -> Option<String> {
        let mut out = Vec::new();
        write_date(&mut out, text.as_bytes()).then(|| String::from_utf8(out).unwrap().trim_matches('"').to_owned())
    }

    #[test]
    fn times_are_converted() {
        for (stored, returned) in [
            ("2024-01-02", "2024-01-02T00:00:00Z"),
            ("2024-01-02Z", "2024-01-02T00:00:00Z"),
            ("2024-01-02 03:04", "2024-01-02T03:04:00Z"),
            ("2024-01-02T03:04", "2024-01-02T03:04:00Z"),
            ("2024-01-02 3:04", "2024-01-02T03:04:00Z"),
            ("2024-01-02 03:04:05", "2024-01-02T03:04:05Z"),
            ("2024-01-02T03:04:05Z", "2024-01-02T03:04:05Z"),
            ("2024-01-02 03:04:05.678", "2024-01-02T03:04:05.678Z"),
            ("2024-01-02 03:04:05.600", "2024-01-02T03:04:05.6Z"),
            ("2024-01-02 03:04:05.000", "2024-01-02T03:04:05Z"),
            ("2024-01-02 03:04:05.1234567891", "2024-01-02T03:04:05.123456789Z"),
            ("2024-01-02 03:04:05+02:00", "2024-01-02T03:04:05+02:00"),
            ("2024-01-02 03:04:05.5-11:30", "2024-01-02T03:04:05.5-11:30"),
            ("2024-01-02 03:04:05+00:00", "2024-01-02T03:04:05Z"),
            ("2024-01-02 03:04:05 +0200 CEST", "2024-01-02T03:04:05+02:00"),
            ("2024-01-02 03:04:05.25 +0000 UTC", "2024-01-02T03:04:05.25Z"),
            ("2024-01-02 03:04:05 +0200 CEST m=+0.001", "2024-01-02T03:04:05+02:00"),
            ("2024-01-02 03:04:05 -0300 -03", "2024-01-02T03:04:05-03:00"),
            ("2024-02-29", "2024-02-29T00:00:00Z"),
            ("0000-01-01", "0000-01-01T00:00:00Z"),
            ("9999-12-31 23:59:59", "9999-12-31T23:59:59Z"),
        ] {
            assert_eq!(converted(stored).as_deref(), Some(returned), "{stored}");
        }
    }

    #[test]
    fn other_texts_are_left_alone() {
        for text in [
            "",
            "Z",
            "not a date",
            "2024-13-45",
            "2024-00-10",
            "2023-02-29",
            "1900-02-29",
            "10:11:12",
            " 2024-01-02",
            "2024-01-02 ",
            "2024-01-02 24:00:00",
            "2024-01-02 03:60",
            "2024-01-02 03:04:60",
            "10000-01-01",
            "2024-1-2",
            "2024-01-02 03",
            "2024-01-02 03:04+02:00",
            "2024-01-02 03:04:05+0200",
            "2024-01-02 03:04:05 CEST",
            "2024-01-02 03:04:05+24:00",
            "2024-01-02x",
            "m=",
            "2024-01-02 03:04:05.",
            "20é4-01-02",
        ] {
            assert_eq!(converted(text), None, "{text}");
        }
    }

    #[test]
    fn date_types_match_exactly_but_in_any_case() {
        for (declared, want) in [
            ("DATE", true),
            ("datetime", true),
            ("TimeStamp", true),
            ("TIME", false),
            ("DATETIME(3)", false),
            ("", false),
        ] {
            assert_eq!(is_date_type(declared), want, "{declared}");
        }
    }
}
