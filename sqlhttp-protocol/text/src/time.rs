//! Parses, converts and writes dates and times.
//!
//! They are parsed in the formats that Go's SQLite drivers accept in DATE, DATETIME and TIMESTAMP columns. They are
//! written in RFC 3339, in the same way as Go writes a `time.Time`.

const SECONDS_PER_DAY: i64 = 86_400;
const DAYS_PER_400_YEARS: i64 = 146_097;
/// The number of days between 0000-03-01 and 1970-01-01.
const DAYS_TO_1970: i64 = 719_468;

/// The options in which the time parsers of Go's SQLite drivers differ.
#[derive(Debug)]
pub struct ParseOptions {
    /// Whether the date and the time of day may be separated by several spaces.
    pub repeated_blanks: bool,
    /// The maximum number of hours in a UTC offset.
    pub offset_hours_max: u32,
    /// The maximum number of minutes in a UTC offset, in addition to its hours.
    pub offset_minutes_max: u32,
}

/// A date and a time of day, with a UTC offset. The year is in the range from 0 to 9999.
#[derive(Debug, Default, PartialEq)]
pub struct Time {
    year: u32,
    month: u32,
    day: u32,
    hour: u32,
    minute: u32,
    second: u32,
    nanosecond: u32,
    /// The UTC offset in minutes. Positive for zones east of Greenwich.
    offset: i32,
}

impl Time {
    /// Converts a Unix time to a time in UTC. The Unix time consists of seconds and of nanoseconds, which must be less
    /// than a billion. `None` if the year is not in the range from 0 to 9999.
    pub fn from_unix(seconds: i64, nanosecond: u32) -> Option<Time> {
        // In this calculation, years begin in March, so that the leap day is the last day of a year.
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

    /// Parses a time of the form `2006-01-02`, `2006-01-02 15:04` or `2006-01-02 15:04:05.999999999`.
    ///
    /// The last form may have a UTC offset (`-07:00`). In each form, a `T` may replace the space, and a `Z` may follow
    /// at the end. `None` if `text` has none of these forms.
    #[inline]
    pub fn parse(text: &[u8], options: &ParseOptions) -> Option<Time> {
        let mut cursor = Cursor(text.strip_suffix(b"Z").unwrap_or(text));
        let mut time = Time::default();
        cursor.date(&mut time)?;
        if cursor.is_at_end() {
            return Some(time);
        }
        cursor.date_separator(options)?;
        let has_seconds = cursor.clock(&mut time)?;
        if has_seconds && !cursor.is_at_end() {
            time.offset = cursor.offset(Some(b':'), options)?;
        }
        cursor.is_at_end().then_some(time)
    }

    /// Parses a time in the form in which Go prints it: `2006-01-02 15:04:05.999999999 -0700 MST`, optionally followed
    /// by ` m=+0.1`. `None` if `text` does not have this form.
    pub fn parse_printed(text: &[u8], options: &ParseOptions) -> Option<Time> {
        let end = text.windows(2).position(|pair| pair == b"m=").filter(|&at| at > 0).unwrap_or(text.len());
        let mut cursor = Cursor(text[..end].trim_ascii());
        let mut time = Time::default();
        cursor.date(&mut time)?;
        cursor.blanks()?;
        if !cursor.clock(&mut time)? {
            return None;
        }
        cursor.blanks()?;
        time.offset = cursor.offset(None, options)?;
        cursor.blanks()?;
        is_zone_name(cursor.0).then_some(time)
    }

    /// Returns the UTC offset in minutes. Positive for zones east of Greenwich.
    pub fn offset_minutes(&self) -> i32 {
        self.offset
    }

    /// Writes the time as a JSON string in RFC 3339. The UTC offset must be less than a hundred hours, because its
    /// hours have two digits.
    pub fn write_json(&self, out: &mut Vec<u8>) {
        let mut text = *b"\"0000-00-00T00:00:00";
        put_digits(&mut text[1..5], self.year);
        put_digits(&mut text[6..8], self.month);
        put_digits(&mut text[9..11], self.day);
        put_digits(&mut text[12..14], self.hour);
        put_digits(&mut text[15..17], self.minute);
        put_digits(&mut text[18..20], self.second);
        out.extend_from_slice(&text);
        self.write_fraction(out);
        self.write_offset(out);
        out.push(b'"');
    }

    fn write_fraction(&self, out: &mut Vec<u8>) {
        if self.nanosecond > 0 {
            let mut text = *b".000000000";
            put_digits(&mut text[1..], self.nanosecond);
            let zeros = text.iter().rev().take_while(|&&digit| digit == b'0').count();
            out.extend_from_slice(&text[..text.len() - zeros]);
        }
    }

    fn write_offset(&self, out: &mut Vec<u8>) {
        if self.offset == 0 {
            return out.push(b'Z');
        }
        let minutes = self.offset.unsigned_abs();
        let mut text = *b"+00:00";
        if self.offset < 0 {
            text[0] = b'-';
        }
        put_digits(&mut text[1..3], minutes / 60);
        put_digits(&mut text[4..6], minutes % 60);
        out.extend_from_slice(&text);
    }
}

/// Writes the last digits of `number`, one into each element of the slice.
#[inline]
fn put_digits(digits: &mut [u8], number: u32) {
    let mut left = number;
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (left % 10) as u8;
        left /= 10;
    }
}

/// Returns whether `name` is a time zone name as Go prints it: `CEST`, `UTC`, or `+03` for a zone without a name.
fn is_zone_name(name: &[u8]) -> bool {
    match name {
        [b'+' | b'-', digits @ ..] => matches!(digits.len(), 2 | 4) && digits.iter().all(u8::is_ascii_digit),
        letters => (3..=5).contains(&letters.len()) && letters.iter().all(u8::is_ascii_alphabetic),
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

/// The part of the text that has not been parsed yet.
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

    /// Skips one or more spaces. `None` if there is no space.
    fn blanks(&mut self) -> Option<()> {
        let found = self.skip(b' ');
        while self.skip(b' ') {}
        found.then_some(())
    }

    /// Skips the separator between the date and the time of day. `None` if there is no separator.
    fn date_separator(&mut self, options: &ParseOptions) -> Option<()> {
        if self.skip(b'T') {
            return Some(());
        }
        if options.repeated_blanks { self.blanks() } else { self.skip(b' ').then_some(()) }
    }

    /// Parses a number with exactly this many digits.
    fn number(&mut self, digits: usize) -> Option<u32> {
        let (head, rest) = self.0.split_at_checked(digits)?;
        let digit = |number: u32, &byte: &u8| Some(number * 10 + char::from(byte).to_digit(10)?);
        let number = head.iter().try_fold(0, digit)?;
        self.0 = rest;
        Some(number)
    }

    /// Parses a separator and a number with two digits.
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

    /// Parses the time of day. Returns whether it includes seconds.
    fn clock(&mut self, time: &mut Time) -> Option<bool> {
        time.hour = self.number(2).or_else(|| self.number(1))?;
        time.minute = self.field(b':')?;
        let has_seconds = self.skip(b':');
        if has_seconds {
            time.second = self.number(2)?;
            time.nanosecond = self.fraction();
        }
        (time.hour < 24 && time.minute < 60 && time.second < 60).then_some(has_seconds)
    }

    /// Parses the fraction of a second after a period or comma, and returns it in nanoseconds. Digits after the ninth
    /// are dropped. Returns 0 if there is no fraction.
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

    /// Parses a UTC offset such as `+0700`, and returns it in minutes. `separator` stands between the hours and the
    /// minutes; `None` if nothing does.
    fn offset(&mut self, separator: Option<u8>, options: &ParseOptions) -> Option<i32> {
        let sign = if self.skip(b'-') { -1 } else { self.skip(b'+').then_some(1)? };
        let hours = self.number(2)?;
        let minutes = match separator {
            Some(separator) => self.field(separator),
            None => self.number(2),
        }?;
        let valid = hours <= options.offset_hours_max && minutes <= options.offset_minutes_max;
        valid.then_some(sign * (hours * 60 + minutes) as i32)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LAX: ParseOptions = ParseOptions { repeated_blanks: true, offset_hours_max: 24, offset_minutes_max: 60 };
    const STRICT: ParseOptions = ParseOptions { repeated_blanks: false, offset_hours_max: 23, offset_minutes_max: 59 };

    fn written(time: &Time) -> String {
        let mut out = Vec::new();
        time.write_json(&mut out);
        serde_json::from_slice(&out).unwrap()
    }

    fn parsed(text: &str, options: &ParseOptions) -> Option<String> {
        Time::parse(text.as_bytes(), options).as_ref().map(written)
    }

    #[test]
    fn options_decide_which_texts_are_times() {
        for (text, lax) in [
            ("2004-02-14  07:15", "2004-02-14T07:15:00Z"),
            ("2004-02-14 07:15:00+24:00", "2004-02-14T07:15:00+24:00"),
            ("2004-02-14 07:15:00-05:60", "2004-02-14T07:15:00-06:00"),
        ] {
            assert_eq!(parsed(text, &LAX).as_deref(), Some(lax), "{text}");
            assert_eq!(parsed(text, &STRICT), None, "{text}");
        }
        for text in ["2004-02-14 T07:15", "2004-02-14T 07:15", "2004-02-14 07:15:00+25:00"] {
            assert_eq!(parsed(text, &LAX), None, "{text}");
        }
    }

    #[test]
    fn times_printed_by_go() {
        for (text, want) in [
            ("2004-02-14 07:15:00.25 +0200 CEST m=+0.001", Some("2004-02-14T07:15:00.25+02:00")),
            ("2004-02-14  07:15:00  -0300  -03", Some("2004-02-14T07:15:00-03:00")),
            ("2004-02-14 07:15:00 +02:00 CEST", None),
            ("2004-02-14 07:15:00 +2400 CEST", None),
            ("2004-02-14 07:15 +0200 CEST", None),
            ("2004-02-14 07:15:00 +0200", None),
        ] {
            let time = Time::parse_printed(text.as_bytes(), &STRICT);
            assert_eq!(time.as_ref().map(written).as_deref(), want, "{text}");
        }
    }

    #[test]
    fn unix_times_outside_of_four_digit_years_are_rejected() {
        for (seconds, want) in [
            (253_402_300_799, Some("9999-12-31T23:59:59Z")),
            (253_402_300_800, None),
            (-62_167_219_200, Some("0000-01-01T00:00:00Z")),
            (-62_167_219_201, None),
            (951_782_400, Some("2000-02-29T00:00:00Z")),
        ] {
            assert_eq!(Time::from_unix(seconds, 0).as_ref().map(written).as_deref(), want, "{seconds}");
        }
    }

    proptest! {
        #[test]
        fn written_times_parse_as_the_same_time(
            seconds in -62_167_219_200_i64..=253_402_300_799,
            nanosecond in 0_u32..1_000_000_000,
            offset in -1_439_i32..=1_439,
        ) {
            let time = Time { offset, ..Time::from_unix(seconds, nanosecond).unwrap() };
            prop_assert_eq!(Time::parse(written(&time).as_bytes(), &STRICT), Some(time));
        }
    }
}
