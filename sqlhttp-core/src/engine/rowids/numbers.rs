//! The integers in an SQL text and in bound values.

use std::ffi::CStr;

use crate::model::Value;

/// Returns the integers in an SQL text and in bound values, sorted. A TEXT value and a REAL value count if SQLite would
/// convert them to an integer for an INTEGER PRIMARY KEY.
pub(super) fn numbers_of<'v>(sql: &CStr, values: impl Iterator<Item = &'v Value>) -> Vec<i64> {
    let is_word = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.');
    let words = sql.to_bytes().split(|byte| !is_word(byte)).filter_map(|word| std::str::from_utf8(word).ok());
    let mut numbers: Vec<i64> = words.filter_map(literal).chain(values.filter_map(integer)).collect();
    numbers.sort_unstable();
    numbers
}

/// The integer of a numeric literal (<https://sqlite.org/lang_expr.html#literal_values_constants_>).
fn literal(word: &str) -> Option<i64> {
    if !word.starts_with(|first: char| first.is_ascii_digit() || first == '.') {
        return None;
    }
    let digits = word.replace('_', "");
    match digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
        Some(hex) => u64::from_str_radix(hex, 16).ok().map(u64::cast_signed),
        None => text(&digits),
    }
}

fn integer(value: &Value) -> Option<i64> {
    match value {
        Value::Integer(integer) => Some(*integer),
        Value::Real(real) => whole(*real),
        Value::Text(digits) => text(digits.trim()),
        _ => None,
    }
}

fn text(digits: &str) -> Option<i64> {
    digits.parse().ok().or_else(|| digits.parse().ok().and_then(whole))
}

fn whole(real: f64) -> Option<i64> {
    let integer = real as i64;
    (integer as f64 == real).then_some(integer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_found_in_sql_and_values() {
        let sql = c"INSERT INTO t2 VALUES (1, -20, '300', 0x1F, 4_000, 5e3, 6.5, x'07', t8, ?9)";
        let values = [Value::Integer(-7), Value::Real(8.0), Value::Real(8.5), Value::Text(" 90 ".into()), Value::Null];
        assert_eq!(numbers_of(sql, values.iter()), [-7, 1, 7, 8, 9, 20, 31, 90, 300, 4000, 5000]);
    }
}
