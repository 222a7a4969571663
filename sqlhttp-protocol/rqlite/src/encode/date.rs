//! Values in DATE, DATETIME and TIMESTAMP columns, which clients get in the notation of RFC 3339.

use super::json;

const YEAR_OUT_OF_RANGE: &str = "Time.MarshalText: year outside of range [0,9999]";
const OFFSET_OUT_OF_RANGE: &str = "Time.MarshalText: timezone hour outside of range [0,23]";

/// Integers beyond this, in either direction, are milliseconds.
const SECONDS_MAX: i64 = 1_000_000_000_000;
const SECONDS_PER_DAY: i64 = 86_400;
const DAYS_PER_400_YEARS: i64 = 146_097;
/// From 0000-03-01 to 1970-01-01.
const DAYS_TO_1970: i64 = 719_468;

/// Writes an integer, which is seconds or milliseconds since 1970, as a time in UTC.
///
/// # Errors
/// The text for the client, if the year has not four digits.
pub(super) fn write_integer(out: &mut Vec<u8>, value: i64) -> Result<(), &'static str> {
    let (seconds, nanosecond) = if (-SECONDS_MAX..=SECONDS_MAX).contains(&value) {
        (value, 0)
    } else {
        // The original counts in nanoseconds, and clients may know what becomes of what does not fit.
        let nanoseconds = value.wrapping_mul(1_000_000);
        (nanoseconds.div_euclid(1_000_000_000), nanoseconds.rem_euclid(1_000_000_000))
    };
    let time = Time::of_unix(seconds, nanosecond as u32).ok_or(YEAR_OUT_OF_RANGE)?;
    time.write(out);
    Ok(())
}

/// Writes a text in RFC 3339 if it is a time, else as it is.
///
/// # Errors
/// The text for the client, if the time is a day or more away from UTC.
pub(super) fn write_text(out: &mut Vec<u8>, text: &[u8]) -> Result<(), &'static str> {
    match parse(text.strip_suffix(b"Z").unwrap_or(text)) {
        None => json::write_text(out, text),
        Some(time) if time.offset.abs() >= 24 * 60 => return Err(OFFSET_OUT_OF_RANGE),
        Some(time) => time.write(out),
    }
    Ok(())
}

#[derive(Debug, Default)]
struct Time {
    year: u32,
    month: u32,
    day: u32,
    hour: u32,
    minute: u32,
    second: u32,
    nanosecond: u32,
    /// Minutes east of Greenwich.
    offset: i32,
}

impl Time {
    /// `None` outside the years from 0 to 9999.
    fn of_unix(seconds: i64, nanosecond: u32) -> Option<Time> {
        // Years are counted from March, so that the leap day comes last.
        let days = seconds.div_euclid(SECONDS_PER_DAY) + DAYS_TO_1970;
        let (era, day_of_era) = (days.div_euclid(DAYS_PER_400_YEARS), days.rem_euclid(DAYS_PER_400_YEARS));
        let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_from_march = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
        let month = month_from_march % 12 + if month_from_march < 10 { 3 } else { -9 };
        let year = era * 400 + year_of_era + i64::from(month <= 2);
        let second = seconds.rem_euclid(SECONDS_PER_DAY) as u32;
        (0..=9999).contains(&year).then_some(Time {
            year: year as u32,
            month: month as u32,
            day: day as u32,
            hour: second / 3_600,
            minute: second / 60 % 60,
            second: second % 60,
            nanosecond,
            offset: 0,
        })
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.push(b'"');
        for (number, digits, before) in [
            (self.year, 4, None),
            (self.month, 2, Some(b'-')),
            (self.day, 2, Some(b'-')),
            (self.hour, 2, Some(b'T')),
            (self.minute, 2, Some(b':')),
            (self.second, 2, Some(b':')),
        ] {
            out.extend(before);
            write_padded(out, number, digits);
        }
        if self.nanosecond > 0 {
            out.push(b'.');
            write_padded(out, self.nanosecond, 9);
            while out.last() == Some(&b'0') {
                out.pop();
            }
        }
        self.write_offset(out);
        out.push(b'"');
    }

    fn write_offset(&self, out: &mut Vec<u8>) {
        if self.offset == 0 {
            return out.push(b'Z');
        }
        out.push(if self.offset < 0 { b'-' } else { b'+' });
        write_padded(out, self.offset.unsigned_abs() / 60, 2);
        out.push(b':');
        write_padded(out, self.offset.unsigned_abs() % 60, 2);
    }
}

fn write_padded(out: &mut Vec<u8>, number: u32, digits: usize) {
    let start = out.len();
    out.resize(start + digits, b'0');
    let mut left = number;
    for digit in out[start..].iter_mut().rev() {
        *digit = b'0' + (left % 10) as u8;
        left /= 10;
    }
}

/// `2006-01-02`, `2006-01-02 15:04`, `2006-01-02 15:04:05.999999999`, the latter also with `-07:00`; `T` for the blank.
fn parse(text: &[u8]) -> Option<Time> {
    let mut cursor = Cursor(text);
    let mut time = Time::default();
    cursor.date(&mut time)?;
    if cursor.is_at_end() {
        return Some(time);
    }
    if cursor.skip(b' ') {
        while cursor.skip(b' ') {}
    } else if !cursor.skip(b'T') {
        return None;
    }
    let has_seconds = cursor.clock(&mut time)?;
    if has_seconds && !cursor.is_at_end() {
        time.offset = cursor.offset()?;
    }
    cursor.is_at_end().then_some(time)
}

struct Cursor<'a>(&'a [u8]);

impl Cursor<'_> {
    fn is_at_end(&self) -> bool {
        self.0.is_empty()
    }

    fn skip(&mut self, byte: u8) -> bool {
        let rest = self.0.strip_prefix(&[byte]);
        self.0 = rest.unwrap_or(self.0);
        rest.is_some()
    }

    /// Exactly this many digits.
    fn number(&mut self, digits: usize) -> Option<u32> {
        let (head, rest) = self.0.split_at_checked(digits)?;
        let digit = |number: u32, &byte: &u8| Some(number * 10 + char::from(byte).to_digit(10)?);
        let number = head.iter().try_fold(0, digit)?;
        self.0 = rest;
        Some(number)
    }

    /// This separator and two digits.
    fn field(&mut self, separator: u8) -> Option<u32> {
        self.skip(separator).then(|| self.number(2))?
    }

    fn date(&mut self, time: &mut Time) -> Option<()> {
        time.year = self.number(4)?;
        time.month = self.field(b'-')?;
        time.day = self.field(b'-')?;
        let valid = (1..=12).contains(&time.month) && (1..=days_in(time.year, time.month)).contains(&time.day);
        valid.then_some(())
    }

    /// The time of day, and whether it has seconds.
    fn clock(&mut self, time: &mut Time) -> Option<bool> {
        time.hour = self.number(2).or_else(|| self.number(1))?;
        time.minute = self.field(b':')?;
        let has_seconds = self.0.first() == Some(&b':');
        if has_seconds {
            time.second = self.field(b':')?;
            time.nanosecond = self.fraction();
        }
        (time.hour < 24 && time.minute < 60 && time.second < 60).then_some(has_seconds)
    }

    /// Nanoseconds after a point or comma; further digits are dropped.
    fn fraction(&mut self) -> u32 {
        let [b'.' | b',', rest @ ..] = self.0 else { return 0 };
        let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        if digits == 0 {
            return 0;
        }
        self.0 = &rest[digits..];
        let padded = rest[..digits].iter().copied().chain(std::iter::repeat(b'0')).take(9);
        padded.fold(0, |number, byte| number * 10 + u32::from(byte - b'0'))
    }

    /// `+07:00`, in minutes. The original takes 24 hours and 60 minutes for valid.
    fn offset(&mut self) -> Option<i32> {
        let sign = if self.skip(b'-') { -1 } else { self.skip(b'+').then_some(1)? };
        let hours = self.number(2)?;
        let minutes = self.field(b':')?;
        (hours <= 24 && minutes <= 60).then_some(sign * (hours * 60 + minutes) as i32)
    }
}

fn days_in(year: u32, month: u32) -> u32 {
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(text: &str) -> Result<String, &'static str> {
        let mut out = Vec::new();
        write_text(&mut out, text.as_bytes()).map(|()| serde_json::from_slice(&out).unwrap())
    }

    fn integer(value: i64) -> Result<String, &'static str> {
        let mut out = Vec::new();
        write_integer(&mut out, value).map(|()| serde_json::from_slice(&out).unwrap())
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
            assert_eq!(text(stored).as_deref(), Ok(want), "{stored}");
        }
    }

    #[test]
    fn other_texts_stay_as_they_are() {
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
        ] {
            assert_eq!(text(stored).as_deref(), Ok(stored));
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
            (i64::MAX, "1969-12-31T23:59:59.999Z"),
        ] {
            assert_eq!(integer(stored).as_deref(), Ok(want), "{stored}");
        }
    }

    #[test]
    fn times_that_cannot_be_written() {
        for stored in [253_402_300_800, -62_167_219_201, SECONDS_MAX, -SECONDS_MAX] {
            assert_eq!(integer(stored), Err(YEAR_OUT_OF_RANGE));
        }
        assert_eq!(text("2004-02-14 07:15:00+24:00"), Err(OFFSET_OUT_OF_RANGE));
        assert_eq!(text("2004-02-14 07:15:00-23:60"), Err(OFFSET_OUT_OF_RANGE));
    }

    proptest! {
        #[test]
        fn what_is_written_stays_as_it_is(seconds in -62_167_219_200_i64..=253_402_300_799) {
            let written = integer(seconds).unwrap();
            prop_assert_eq!(text(&written), Ok(written));
        }
    }
}
