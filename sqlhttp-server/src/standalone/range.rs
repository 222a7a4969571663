//! The `Range` header (RFC 9110, section 14): one range of bytes.

/// What a client asks to see of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Range {
    /// Everything: no range was given, or one that this server does not take (another unit, several ranges).
    Whole,
    /// These bytes.
    Part {
        /// The first one, counted from 0.
        first: u64,
        /// How many, at least one.
        len: u64,
    },
    /// Bytes that the file does not have.
    Unsatisfiable,
}

impl Range {
    /// Understands a header value for a file of `file_len` bytes.
    pub(crate) fn parse(value: Option<&str>, file_len: u64) -> Range {
        let ranges = value.and_then(|value| value.trim().strip_prefix("bytes="));
        let Some((first, last)) = ranges.and_then(|ranges| ranges.split_once('-')) else {
            return Range::Whole;
        };
        let (first, last) = (first.trim(), last.trim());
        if first.is_empty() {
            return last.parse().map_or(Range::Whole, |len| Range::suffix(len, file_len));
        }
        let Ok(first) = first.parse::<u64>() else {
            return Range::Whole;
        };
        match last.parse::<u64>() {
            Ok(last) if last < first => Range::Whole,
            Ok(last) => Range::between(first, last, file_len),
            Err(_) if last.is_empty() => Range::between(first, u64::MAX, file_len),
            Err(_) => Range::Whole,
        }
    }

    fn suffix(len: u64, file_len: u64) -> Range {
        match len.min(file_len) {
            0 => Range::Unsatisfiable,
            len => Range::Part { first: file_len - len, len },
        }
    }

    fn between(first: u64, last: u64, file_len: u64) -> Range {
        if first >= file_len {
            return Range::Unsatisfiable;
        }
        Range::Part { first, len: last.min(file_len - 1) - first + 1 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges() {
        let part = |first, len| Range::Part { first, len };
        let cases = [
            ("bytes=0-0", part(0, 1)),
            ("bytes=2-4", part(2, 3)),
            ("bytes=2-", part(2, 8)),
            ("bytes=-3", part(7, 3)),
            ("bytes=-99", part(0, 10)),
            ("bytes=5-99", part(5, 5)),
            ("bytes=0-18446744073709551615", part(0, 10)),
            ("bytes=10-", Range::Unsatisfiable),
            ("bytes=-0", Range::Unsatisfiable),
            ("bytes=4-2", Range::Whole),
            ("bytes=0-1,3-4", Range::Whole),
            ("bytes=x-1", Range::Whole),
            ("bytes=-", Range::Whole),
            ("lines=0-1", Range::Whole),
            ("bytes=99999999999999999999-", Range::Whole),
        ];
        for (value, range) in cases {
            assert_eq!(Range::parse(Some(value), 10), range, "{value}");
        }
        assert_eq!(Range::parse(None, 10), Range::Whole);
        assert_eq!(Range::parse(Some("bytes=0-"), 0), Range::Unsatisfiable);
    }
}
