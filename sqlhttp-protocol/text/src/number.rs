//! Writes numbers as JSON. Doubles are written in the notation of Go's `encoding/json`.

/// 2^53. Each double of smaller magnitude that has no fraction is exactly an integer.
const EXACT: f64 = (1_u64 << 53) as f64;

/// Writes an integer in decimal.
#[inline]
pub fn write_integer(out: &mut Vec<u8>, value: impl itoa::Integer) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// Writes a double with as few digits as possible, so that it parses as the same double.
///
/// Numbers whose magnitude is from 1e-6 to below 1e21 are written without an exponent, and without a fraction if they
/// have none. JSON has no notation for infinity and NaN, and Go fails to encode them. Here, infinity is written as
/// `9e999`, which SQLite parses as infinity, and NaN as `null`.
#[inline]
pub fn write_real(out: &mut Vec<u8>, value: f64) {
    if value.fract() == 0.0 && value.abs() < EXACT && (value != 0.0 || value.is_sign_positive()) {
        return write_integer(out, value as i64);
    }
    if value.is_nan() {
        return out.extend_from_slice(b"null");
    }
    if value.is_sign_negative() {
        out.push(b'-');
    }
    let magnitude = value.abs();
    if magnitude.is_infinite() {
        return out.extend_from_slice(b"9e999");
    }
    if magnitude == 0.0 {
        return out.push(b'0');
    }
    let mut shortest = zmij::Buffer::new();
    let shortest = shortest.format_finite(magnitude);
    match ((1e-6..1e21).contains(&magnitude), shortest.contains('e')) {
        (true, false) => out.extend_from_slice(shortest.strip_suffix(".0").unwrap_or(shortest).as_bytes()),
        (true, true) => Digits::of(shortest).write_plainly(out),
        (false, _) => Digits::of(shortest).write_with_exponent(out),
    }
}

/// A positive decimal number in the form `0.DIGITS × 10^point`, where DIGITS has no leading or trailing zeros.
struct Digits {
    buffer: [u8; 24],
    len: usize,
    point: i32,
}

impl Digits {
    /// Converts a decimal number such as `12.5` or `1.25e-7`.
    fn of(text: &str) -> Digits {
        let (mantissa, exponent) = text.split_once('e').unwrap_or((text, "0"));
        let whole = mantissa.split('.').next().unwrap_or_default();
        let exponent = exponent.parse().unwrap_or(0);
        let mut digits = Digits { buffer: [0; 24], len: 0, point: exponent + whole.len() as i32 };
        for byte in mantissa.bytes().filter(u8::is_ascii_digit) {
            digits.push(byte);
        }
        while digits.len > 0 && digits.buffer[digits.len - 1] == b'0' {
            digits.len -= 1;
        }
        digits
    }

    fn push(&mut self, digit: u8) {
        if self.len == 0 && digit == b'0' {
            self.point -= 1;
        } else if let Some(slot) = self.buffer.get_mut(self.len) {
            *slot = digit;
            self.len += 1;
        }
    }

    fn digits(&self) -> &[u8] {
        &self.buffer[..self.len]
    }

    fn write_plainly(&self, out: &mut Vec<u8>) {
        let digits = self.digits();
        let Ok(point) = usize::try_from(self.point) else {
            out.extend_from_slice(b"0.");
            out.extend(std::iter::repeat_n(b'0', self.point.unsigned_abs() as usize));
            return out.extend_from_slice(digits);
        };
        match digits.split_at_checked(point) {
            Some((whole, fraction)) => {
                out.extend_from_slice(if whole.is_empty() { b"0" } else { whole });
                if !fraction.is_empty() {
                    out.push(b'.');
                    out.extend_from_slice(fraction);
                }
            }
            None => {
                out.extend_from_slice(digits);
                out.extend(std::iter::repeat_n(b'0', point - digits.len()));
            }
        }
    }

    fn write_with_exponent(&self, out: &mut Vec<u8>) {
        let (first, rest) = self.digits().split_at(1);
        out.extend_from_slice(first);
        if !rest.is_empty() {
            out.push(b'.');
            out.extend_from_slice(rest);
        }
        let exponent = self.point - 1;
        out.extend_from_slice(if exponent < 0 { b"e-" } else { b"e+" });
        write_integer(out, exponent.unsigned_abs());
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(value: f64) -> String {
        let mut out = Vec::new();
        write_real(&mut out, value);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_notation_of_go() {
        for (value, want) in [
            (0.0, "0"),
            (-0.0, "-0"),
            (1.0, "1"),
            (-1.0, "-1"),
            (-1.5, "-1.5"),
            (1.5, "1.5"),
            (-0.25, "-0.25"),
            (0.1 + 0.2, "0.30000000000000004"),
            (123456.789, "123456.789"),
            (1e-6, "0.000001"),
            (1.5e-5, "0.000015"),
            (9.99e-7, "9.99e-7"),
            (1e-7, "1e-7"),
            (1e-9, "1e-9"),
            (-1.25e-10, "-1.25e-10"),
            (1e20, "100000000000000000000"),
            (123456789012345680000.0, "123456789012345680000"),
            (999999999999999900000.0, "999999999999999900000"),
            (1e21, "1e+21"),
            (1.5e300, "1.5e+300"),
            (f64::MAX, "1.7976931348623157e+308"),
            (f64::MIN_POSITIVE, "2.2250738585072014e-308"),
            (5e-324, "5e-324"),
            (9007199254740992.0, "9007199254740992"),
            (9007199254740991.0, "9007199254740991"),
            (1152921504606846976.0, "1152921504606847000"),
            (9223372036854775808.0, "9223372036854776000"),
            (-9223372036854775808.0, "-9223372036854776000"),
            (12345678901234567890.0, "12345678901234567000"),
            (2251799813685249.5, "2251799813685249.5"),
            (f64::INFINITY, "9e999"),
            (f64::NEG_INFINITY, "-9e999"),
            (f64::NAN, "null"),
        ] {
            assert_eq!(written(value), want);
        }
    }

    proptest! {
        #[test]
        fn any_double_parses_as_itself(value in any::<f64>().prop_filter("finite", |v| v.is_finite())) {
            let text = written(value);
            prop_assert_eq!(text.parse::<f64>().unwrap().to_bits(), value.to_bits());
            let number = serde_json::from_str::<f64>(&text).unwrap();
            prop_assert_eq!(number.to_bits(), value.to_bits());
        }

        #[test]
        fn small_decimals_parse_as_themselves(mantissa in -1_000_000_i64..1_000_000, exponent in -12_i32..24) {
            let value: f64 = format!("{mantissa}e{exponent}").parse().unwrap();
            prop_assert_eq!(written(value).parse::<f64>().unwrap(), value);
        }
    }
}
