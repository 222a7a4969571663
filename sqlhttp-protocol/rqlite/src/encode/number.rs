//! Numbers as JSON, doubles in the notation of Go's encoding/json.

/// Below this, all integral doubles are exact integers.
const EXACT: f64 = (1_u64 << 53) as f64;

/// Writes an integer.
pub(crate) fn write_integer(out: &mut Vec<u8>, value: impl itoa::Integer) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// Writes a double with the fewest digits that read back as the same double: plainly from 1e-6 to below 1e21, without
/// a fraction if there is none, else with an exponent. `9e999` is infinity, which JSON has no word for, and reads back
/// as infinity.
pub(crate) fn write_real(out: &mut Vec<u8>, value: f64) {
    let negative_zero = value == 0.0 && value.is_sign_negative();
    if value.fract() == 0.0 && value.abs() < EXACT && !negative_zero {
        return write_integer(out, value as i64);
    }
    if value.is_nan() {
        return out.extend_from_slice(b"null");
    }
    if value.is_sign_negative() {
        out.push(b'-');
    }
    match value.abs() {
        0.0 => out.push(b'0'),
        f64::INFINITY => out.extend_from_slice(b"9e999"),
        magnitude => write_positive(out, magnitude),
    }
}

fn write_positive(out: &mut Vec<u8>, magnitude: f64) {
    let mut buffer = zmij::Buffer::new();
    let shortest = buffer.format_finite(magnitude);
    let plainly = (1e-6..1e21).contains(&magnitude);
    if plainly && !shortest.contains('e') {
        return out.extend_from_slice(shortest.strip_suffix(".0").unwrap_or(shortest).as_bytes());
    }
    let (digits, point) = decimal(shortest);
    let digits = digits.as_bytes();
    if !plainly {
        return write_scientific(out, digits, point - 1);
    }
    match usize::try_from(point) {
        Ok(point) if point < digits.len() => {
            out.extend_from_slice(if point == 0 { b"0" } else { &digits[..point] });
            out.push(b'.');
            out.extend_from_slice(&digits[point..]);
        }
        Ok(point) => {
            out.extend_from_slice(digits);
            out.resize(out.len() + point - digits.len(), b'0');
        }
        Err(_) => {
            out.extend_from_slice(b"0.");
            out.resize(out.len() + point.unsigned_abs() as usize, b'0');
            out.extend_from_slice(digits);
        }
    }
}

fn write_scientific(out: &mut Vec<u8>, digits: &[u8], exponent: i32) {
    out.push(digits.first().copied().unwrap_or(b'0'));
    if let Some(rest) = digits.get(1..).filter(|rest| !rest.is_empty()) {
        out.push(b'.');
        out.extend_from_slice(rest);
    }
    out.extend_from_slice(if exponent < 0 { b"e-" } else { b"e+" });
    write_integer(out, exponent.unsigned_abs());
}

/// Takes a number like `12.5`, `100.0` or `1.25e-7` apart: it is `0.DIGITS` times ten to the power of the second.
fn decimal(text: &str) -> (String, i32) {
    let (mantissa, exponent) = text.split_once('e').unwrap_or((text, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let all = [whole, fraction].concat();
    let digits = all.trim_start_matches('0');
    let point = exponent.parse().unwrap_or(0) + whole.len() as i32 - (all.len() - digits.len()) as i32;
    (digits.trim_end_matches('0').to_owned(), point)
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
            (-1.5, "-1.5"),
            (0.1 + 0.2, "0.30000000000000004"),
            (123456.789, "123456.789"),
            (1e-6, "0.000001"),
            (1.5e-5, "0.000015"),
            (9.99e-7, "9.99e-7"),
            (1e-7, "1e-7"),
            (-1.25e-10, "-1.25e-10"),
            (1e20, "100000000000000000000"),
            (123456789012345680000.0, "123456789012345680000"),
            (1e21, "1e+21"),
            (1.5e300, "1.5e+300"),
            (f64::MAX, "1.7976931348623157e+308"),
            (5e-324, "5e-324"),
            (9223372036854775808.0, "9223372036854776000"),
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
        fn any_double_reads_back(value in any::<f64>().prop_filter("finite", |v| v.is_finite())) {
            prop_assert_eq!(written(value).parse::<f64>().unwrap().to_bits(), value.to_bits());
        }

        #[test]
        fn small_decimals_read_back(mantissa in -1_000_000_i64..1_000_000, exponent in -12_i32..24) {
            let value: f64 = format!("{mantissa}e{exponent}").parse().unwrap();
            prop_assert_eq!(written(value).parse::<f64>().unwrap(), value);
        }
    }
}
