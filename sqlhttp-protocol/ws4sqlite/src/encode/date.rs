//! Texts in DATE, DATETIME and TIMESTAMP columns, which clients get in the notation of RFC 3339.

/// Whether a column declared so has its texts converted.
pub(crate) fn is_date_type(declared: &str) -> bool {
    ["DATE", "DATETIME", "TIMESTAMP"].iter().any(|name| name.eq_ignore_ascii_case(declared))
}

/// Writes a text that is a time as a JSON string in RFC 3339. Returns false, and writes nothing, for any other text.
pub(crate) fn write_date(out: &mut Vec<u8>, text: &[u8]) -> bool {
    let Some(time) = parse(text) else { return false };
    out.push(b'"');
    time.write(out);
    out.push(b'"');
    true
}

#[derive(Debug, PartialEq)]
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

fn parse(text: &[u8]) -> Option<Time> {
    parse_stored(text.strip_suffix(b"Z").unwrap_or(text)).or_else(|| parse_printed(text))
}

/// `2006-01-02`, `2006-01-02 15:04`, `2006-01-02 15:04:05.999999999`, the latter also with `-07:00`; `T` for the blank.
fn parse_stored(text: &[u8]) -> Option<Time> {
    let mut cursor = Cursor(text);
    let mut time = cursor.date()?;
    if cursor.is_at_end() {
        return Some(time);
    }
    if !cursor.skip(b' ') && !cursor.skip(b'T') {
        return None;
    }
    let has_seconds = cursor.clock(&mut time)?;
    if has_seconds && !cursor.is_at_end() {
        time.offset = cursor.offset(true)?;
    }
    cursor.is_at_end().then_some(time)
}

/// `2006-01-02 15:04:05.999999999 -0700 MST`, maybe followed by ` m=+0.1`: a time as a Go program prints it.
fn parse_printed(text: &[u8]) -> Option<Time> {
    let end = text.windows(2).position(|pair| pair == b"m=").filter(|&at| at > 0).unwrap_or(text.len());
    let mut cursor = Cursor(text[..end].trim_ascii());
    let mut time = cursor.date()?;
    cursor.blanks()?;
    if !cursor.clock(&mut time)? {
        return None;
    }
    cursor.blanks()?;
    time.offset = cursor.offset(false)?;
    cursor.blanks()?;
    is_zone_name(cursor.0).then_some(time)
}

/// `CEST`, `UTC`, or `+03` for a zone without a name.
fn is_zone_name(name: &[u8]) -> bool {
    match name {
        [b'+' | b'-', digits @ ..] => matches!(digits.len(), 2 | 4) && digits.iter().all(u8::is_ascii_digit),
        letters => (3..=5).contains(&letters.len()) && letters.iter().all(u8::is_ascii_alphabetic),
    }
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

    fn blanks(&mut self) -> Option<()> {
        let found = self.skip(b' ');
        while self.skip(b' ') {}
        found.then_some(())
    }

    /// Exactly this many digits.
    fn number(&mut self, digits: usize) -> Option<u32> {
        let (head, rest) = self.0.split_at_checked(digits)?;
        let number = head.iter().try_fold(0, |n, &b| Some(n * 10 + char::from(b).to_digit(10)?))?;
        self.0 = rest;
        Some(number)
    }

    fn date(&mut self) -> Option<Time> {
        let year = self.number(4)?;
        let month = self.skip(b'-').then(|| self.number(2))??;
        let day = self.skip(b'-').then(|| self.number(2))??;
        let valid = (1..=12).contains(&month) && (1..=days_in(year, month)).contains(&day);
        valid.then_some(Time { year, month, day, hour: 0, minute: 0, second: 0, nanosecond: 0, offset: 0 })
    }

    /// The time of day, and whether it has seconds.
    fn clock(&mut self, time: &mut Time) -> Option<bool> {
        time.hour = self.number(2).or_else(|| self.number(1))?;
        time.minute = self.skip(b':').then(|| self.number(2))??;
        let has_seconds = self.skip(b':');
        if has_seconds {
            time.second = self.number(2)?;
            time.nanosecond = self.fraction();
        }
        (time.hour < 24 && time.minute < 60 && time.second < 60).then_some(has_seconds)
    }

    /// Nanoseconds after a point or comma; further digits are dropped.
    fn fraction(&mut self) -> u32 {
        let [b'.' | b',', rest @ ..] = self.0 else { return 0 };
        let digits = rest.iter().take_while(|b| b.is_ascii_digit()).count();
        if digits == 0 {
            return 0;
        }
        self.0 = &rest[digits..];
        let padded = rest[..digits].iter().copied().chain(std::iter::repeat(b'0')).take(9);
        padded.fold(0, |n, b| n * 10 + u32::from(b - b'0'))
    }

    fn offset(&mut self, colon: bool) -> Option<i32> {
        let sign = if self.skip(b'-') { -1 } else { self.skip(b'+').then_some(1)? };
        let hours = self.number(2)?;
        if colon && !self.skip(b':') {
            return None;
        }
        let minutes = self.number(2)?;
        (hours < 24 && minutes < 60).then_some(sign * (hours * 60 + minutes) as i32)
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

impl Time {
    fn write(&self, out: &mut Vec<u8>) {
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
        self.write_fraction(out);
        self.write_offset(out);
    }

    fn write_fraction(&self, out: &mut Vec<u8>) {
        if self.nanosecond > 0 {
            out.push(b'.');
            write_padded(out, self.nanosecond, 9);
            while out.last() == Some(&b'0') {
                out.pop();
            }
        }
    }

    fn write_offset(&self, out: &mut Vec<u8>) {
        if self.offset == 0 {
            return out.push(b'Z');
        }
        let minutes = self.offset.unsigned_abs();
        out.push(if self.offset < 0 { b'-' } else { b'+' });
        write_padded(out, minutes / 60, 2);
        out.push(b':');
        write_padded(out, minutes % 60, 2);
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
